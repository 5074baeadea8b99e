"""Recordings -> messages, with FFmpeg (PyAV). Runs in a process of its own: ``stream.media``.

Sound and picture are read through two openings of the file and merged by time, so the order of
the messages does not depend on how the file was interleaved. Stream time 0 is the earliest start
of any sound or picture in the file.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import Any, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame as Picture
from numpy.typing import NDArray

from stream import boxes, ebml, riff
from stream.decimate import Decimator
from stream.errors import MediaError
from stream.media import Request
from workers.messages import (
    END,
    SAMPLE_RATE,
    AudioChunk,
    Float32,
    Gap,
    Message,
    Progress,
    VideoFrame,
    freeze,
)

FORMATS = "mov,matroska,webm,wav,w64,flac,mp3,ogg,flv,avi,aac,mpegts,mpeg"
"""What FFmpeg may take a file for: no playlists or scripts, which name other files."""

CHUNK = SAMPLE_RATE // 10
"""Samples per ``AudioChunk`` (the last one before a hole or the end may be shorter)."""

TOLERANCE_S = 0.03
"""Timestamps of sound this far off the count of its samples are believed, smaller ones are noise
(containers round to milliseconds)."""

ESTIMATED = ("mp3", "aac", "mpegts", "mpeg")
"""Formats that do not say how long they last."""

MAX_JUMP_S = 600.0
"""A longer hole is taken for broken timestamps: it would be filled with silence."""

Timed = tuple[float, Message]


@dataclass(frozen=True, slots=True)
class Info:
    has_audio: bool
    has_video: bool
    duration: float | None
    """Seconds from the start of the earliest to the end of the last stream, as the file says."""
    exact: bool
    """False where FFmpeg estimates the duration from the bit rate."""


class Decoder:
    """One recording, iterated once. `problems` and `damaged` are final when iteration ends."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.problems: list[str] = []
        """Why a stream could not be read to its end."""
        self.damaged = 0
        """Packets that could not be decoded and were skipped."""
        with _open(request.path) as container:
            streams = [s for s in (_first(container, "audio"), _first(container, "video")) if s]
            starts = [_seconds(s, s.start_time) for s in streams]
            known = [] if request.as_stored else [t for t in starts if t is not None]
            self._origin = min(known, default=Fraction(0))
            has_audio, has_video = (
                any(s.type == kind for s in streams) for kind in ("audio", "video")
            )
            duration = _duration(container, streams, self._origin)
            exact = container.format.name not in ESTIMATED
            self._check_size(container.format.name)
        if not streams:
            raise MediaError(
                f"{request.path} has neither sound nor picture",
                hint="give a recording with an audio or a video stream",
            )
        self.info = Info(has_audio and request.audio, has_video and request.video, duration, exact)
        if not (self.info.has_audio or self.info.has_video):
            kind = "sound" if has_audio else "picture"
            raise MediaError(
                f"{request.path} has only {kind}, which is not to be analysed",
                hint=f"allow {kind} in purpose and consent, or leave the file out",
            )

    def __iter__(self) -> Iterator[Message]:
        """Sound, pictures, gaps and progress in order of time; a source ends with ``END``."""
        sources = []
        for present, kind, read in (
            (self.info.has_audio, "audio", self._sound),
            (self.info.has_video, "video", self._pictures),
        ):
            sources.append(read() if present else iter([(0.0, self._ended(kind))]))
        for _, message in heapq.merge(*sources, key=itemgetter(0)):
            yield message

    def _check_size(self, name: str) -> None:
        """Note what FFmpeg does not tell of a file that was cut off."""
        sound = riff.sound(self.request.path) if name in ("wav", "w64") else None
        if sound is not None and sound.there < sound.promised:
            self.problems.append(
                f"its header promises {sound.promised} bytes of sound, {sound.there} are there"
            )
        lacking = boxes.lacking(self.request.path) if name.startswith("mov,") else None
        if lacking is not None:
            self.problems.append(f"{lacking[1]} bytes are missing at the end of its {lacking[0]}")
        # Kept media may end anywhere: with its server. What was recorded of the call tells.
        watched = name.startswith("matroska") and not self.request.as_stored
        missing = ebml.lacking(self.request.path) if watched else None
        if missing is not None:
            self.problems.append(f"at least {missing} bytes are missing at its end")

    def _ended(self, kind: str) -> Progress:
        return Progress(self.request.person, "audio" if kind == "audio" else "video", END)

    def _sound(self) -> Iterator[Timed]:
        grid = SampleGrid()
        person = self.request.person
        t = end = 0.0
        lost = False
        for frame in self._frames("audio"):
            if not isinstance(frame, AudioFrame):
                lost = True
                continue
            t = self._time(frame, default=end)
            if not self._plausible("sound", end, t):
                break
            if lost:
                yield from self._chunks(grid.flush())
                if t > end:
                    yield end, Gap(person, "audio", end, t, "decode_error")
            yield from self._chunks(grid.push(frame, t))
            end, lost = t + frame.samples / frame.sample_rate, False
        yield from self._chunks(grid.flush())
        yield end, self._ended("audio")

    def _chunks(self, pieces: list[tuple[float, Float32]]) -> Iterator[Timed]:
        for t0, samples in pieces:
            chunk = AudioChunk(self.request.person, t0, samples)
            yield chunk.t1, chunk

    def _pictures(self) -> Iterator[Timed]:
        decimator = Decimator(self.request.fps)
        person = self.request.person
        last = 0.0
        lost = False
        for frame in self._frames("video"):
            if not isinstance(frame, Picture):
                lost = True
                continue
            t = self._time(frame, default=last)
            if not self._plausible("picture", last, t):
                break
            if lost and t > last:
                yield last, Gap(person, "video", last, t, "decode_error")
            last, lost = max(t, last), False
            if decimator.keep(t):
                yield last, VideoFrame(person, t, to_rgb(frame, self.request.max_width))
            else:
                yield last, Progress(person, "video", last)
        yield last, self._ended("video")

    def _time(self, frame: AudioFrame | Picture, default: float) -> float:
        if frame.pts is None or frame.time_base is None:
            return default
        return max(0.0, float(frame.pts * frame.time_base - self._origin))

    def _plausible(self, what: str, before: float, t: float) -> bool:
        if abs(t - before) <= MAX_JUMP_S:
            return True
        self.problems.append(f"the time of the {what} jumps from {before:.1f} s to {t:.1f} s")
        return False

    def _frames(self, kind: Literal["audio", "video"]) -> Iterator[AudioFrame | Picture | None]:
        """Decoded frames of the first stream of a kind; None in place of what is damaged."""
        with _open(self.request.path) as container:
            stream = _first(container, kind)
            assert stream is not None, "looked for in __init__"
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except FFmpegError as error:
                    self.problems.append(f"the {kind} stream breaks off: {error.strerror}")
                    packet = av.Packet()  # an empty packet makes the decoder give what it holds
                    packet.stream = stream
                    packets = iter(())
                try:
                    frames: list[Any] = packet.decode()
                except (FFmpegError, ValueError):
                    self.damaged += 1
                    yield None
                else:
                    yield from frames


class SampleGrid:
    """Frames of any rate and layout -> mono chunks at ``SAMPLE_RATE``, timed by their count.

    Within an unbroken run the time of a sample follows from its number, because timestamps of
    containers are rounded; a timestamp further off than ``TOLERANCE_S`` starts a new run.
    """

    def __init__(self) -> None:
        self._resampler: AudioResampler | None = None
        self._setup: tuple[str, str, int] | None = None
        self._start = 0.0
        """Stream time of the first sample of the run."""
        self._heard = Fraction(0)
        """Seconds of input since then."""
        self._given = 0
        """Output samples since then."""
        self._pending: list[Float32] = []

    def push(self, frame: AudioFrame, t: float) -> list[tuple[float, Float32]]:
        """Chunks that are complete: (t0, (n,) samples)."""
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        off = abs(t - self._start - float(self._heard))
        out: list[tuple[float, Float32]] = []
        if self._resampler is None or setup != self._setup or off > TOLERANCE_S:
            out = self.flush()
            self._setup, self._start, self._heard = setup, t, Fraction(0)
            # FFmpeg mixes float channels to mono 3 dB louder than integer ones: averaged here.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = AudioResampler("fltp", layout, SAMPLE_RATE)
        self._heard += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        self._collect(self._resampler.resample(frame))
        return out + self._cut(CHUNK)

    def flush(self) -> list[tuple[float, Float32]]:
        """End the run; what is left of it."""
        if self._resampler is None:
            return []
        self._collect(self._resampler.resample(None))
        self._resampler = None
        out = self._cut(1)
        self._given = 0
        return out

    def _collect(self, frames: Sequence[AudioFrame | None]) -> None:
        for frame in frames:
            if frame is not None and frame.samples:
                mono = frame.to_ndarray().mean(axis=0, dtype=np.float32)
                self._pending.append(np.clip(mono, -1.0, 1.0))

    def _cut(self, least: int) -> list[tuple[float, Float32]]:
        if sum(map(len, self._pending)) < least:
            return []
        samples = np.concatenate(self._pending)
        out = []
        while len(samples) >= least:
            piece, samples = samples[:CHUNK], samples[CHUNK:]
            out.append((self._start + self._given / SAMPLE_RATE, freeze(piece.copy())))
            self._given += len(piece)
        self._pending = [samples] if len(samples) else []
        return out


def to_rgb(picture: Picture, max_width: int) -> NDArray[np.uint8]:
    """(H, W, 3), turned as it is to be shown, with square pixels, at most `max_width` wide."""
    turns = round(picture.rotation / 90) % 4
    shown = picture.height if turns % 2 else picture.width
    scale = min(1.0, max_width / shown)
    width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
    image = picture.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return freeze(np.ascontiguousarray(np.rot90(image, turns)))


def _open(path: str) -> InputContainer:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", options=options)
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, ArgumentError):
            reason = "its format is none of those that are read"
        raise MediaError(
            f"{path} is not a recording that can be read: {reason}",
            hint="give a whole mp4, mkv, webm, mov, wav, flac or mp3 file; copy it again if it was"
            " cut off, or convert it with ffmpeg",
        ) from None


def _first(container: InputContainer, kind: Literal["audio", "video"]) -> Stream | None:
    """The first stream of a kind that can be decoded; cover pictures do not count."""
    for stream in container.streams:
        cover = stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        decodable = stream.codec_context is not None
        if stream.type == kind and decodable and not cover:
            return stream
    return None


def _seconds(stream: Stream, ticks: int | None) -> Fraction | None:
    return None if ticks is None or stream.time_base is None else ticks * stream.time_base


def _duration(container: InputContainer, streams: list[Stream], origin: Fraction) -> float | None:
    ends = []
    for stream in streams:
        duration = _seconds(stream, stream.duration)
        if duration is not None:
            ends.append((_seconds(stream, stream.start_time) or Fraction(0)) + duration - origin)
    if not ends and container.duration is not None:
        ends.append(Fraction(container.duration, av.time_base) - origin)
    duration_s = float(max(ends, default=Fraction(0)))
    return duration_s if math.isfinite(duration_s) and duration_s > 0 else None
