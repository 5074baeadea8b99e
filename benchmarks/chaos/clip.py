"""A talking clip as it travels: encoded once, then sent by any number of callers, for any time."""

from __future__ import annotations

import asyncio
import fractions
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet

PROJECT = Path(__file__).resolve().parents[2]
CLIP = "media/talking/WDA_AlexandriaOcasioCortez_000.mp4"
SECONDS = 20.0
"""So much of a longer clip is used."""
FPS, RATE = 25, 48_000

Encoded = list[tuple[float, bytes]]
"""Capture time and content of each frame."""


@dataclass(frozen=True)
class Clip:
    audio: Encoded
    video: Encoded

    @property
    def seconds(self) -> float:
        """After so many it begins again."""
        return min(len(self.audio) / 50, len(self.video) / FPS)


def encoded(path: Path) -> Clip:
    """Opus and VP8 (640 wide, a key frame every second) of the beginning of a recording."""
    return Clip(_audio(path), _video(path))


class Player(MediaStreamTrack):
    """Sends what was encoded, again and again, when it is due; `begin` is monotonic time."""

    def __init__(self, kind: str, clip: Clip, begin: float) -> None:
        super().__init__()
        self.kind = kind
        frames = clip.audio if kind == "audio" else clip.video
        self._frames = [each for each in frames if each[0] < clip.seconds]
        self._seconds = clip.seconds
        self._begin = begin
        self._n = 0

    async def recv(self) -> Packet[Any]:  # aiortc sends packets as they are
        if self.readyState != "live":
            raise MediaStreamError
        rounds, n = divmod(self._n, len(self._frames))
        self._n += 1
        t, data = self._frames[n]
        t += rounds * self._seconds
        await asyncio.sleep(self._begin + t - time.monotonic())
        packet = Packet(data)
        packet.time_base = fractions.Fraction(1, 90_000)
        packet.pts = round(t * 90_000)
        return packet


def players(clip: Clip) -> tuple[Player, Player]:
    """Sound and picture of one more caller."""
    begin = time.monotonic() + 0.2
    return Player("audio", clip, begin), Player("video", clip, begin)


def the_clip() -> Clip:
    """Of the shared media."""
    folder = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared")
    return encoded(folder / CLIP)


def _audio(path: Path) -> Encoded:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "stereo", "s16"
    encoder.options = {"frame_duration": "20"}
    fifo = av.AudioFifo()
    frames: Encoded = []
    with av.open(str(path)) as source:
        resampler = av.AudioResampler("s16", "stereo", RATE)
        for frame in source.decode(audio=0):
            for each in resampler.resample(frame):
                each.pts = None
                fifo.write(each)
    while len(frames) < SECONDS * 50 and (piece := fifo.read(960)) is not None:
        piece.pts = None
        frames += [(len(frames) * 0.02, bytes(packet)) for packet in encoder.encode(piece)]
    return [(i * 0.02, data) for i, (_, data) in enumerate(frames)]


def _video(path: Path) -> Encoded:
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.time_base = fractions.Fraction(1, FPS)
    encoder.bit_rate = 900_000
    encoder.options = {"g": str(FPS), "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    frames: Encoded = []
    with av.open(str(path)) as source:
        wanted = 0
        for frame in source.decode(video=0):
            if frame.time < wanted / FPS:
                continue
            if wanted >= SECONDS * FPS:
                break
            picture = frame.reformat(640, 360, "yuv420p")
            picture.pts, picture.time_base = wanted, encoder.time_base
            frames += [(wanted / FPS, bytes(packet)) for packet in encoder.encode(picture)]
            wanted += 1
    assert all(before[0] < after[0] for before, after in pairwise(frames))
    return frames
