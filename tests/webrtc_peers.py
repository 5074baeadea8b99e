"""Senders for tests: real aiortc peers with generated sound and pictures."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket, is_rtcp

from stream.clock import NTP_TO_UNIX
from workers.messages import AudioChunk, Control, Gap, Progress, VideoFrame

PERIOD = 1.0
"""Seconds between two beeps, and two flashes."""

LENGTH = 0.1
"""Of a beep and a flash."""


class Paced(MediaStreamTrack):
    """A track that captures item n at `begin` + n * `step` on the monotonic clock."""

    rate: int
    """RTP ticks per second."""

    def __init__(self, begin: float, step: float) -> None:
        super().__init__()
        self.begin = begin
        self.step = step
        self.n = 0
        self.late = 0.0
        """Most seconds by which this process was late to capture: on a busy machine it is."""

    async def pace(self) -> tuple[int, float]:
        """Wait for the next item; its number and capture time."""
        n, self.n = self.n, self.n + 1
        capture = self.begin + n * self.step
        await asyncio.sleep(max(0.0, capture - time.monotonic()))
        self.late = max(self.late, time.monotonic() - capture)
        return n, capture


class Beeps(Paced):
    """48 kHz stereo; a 1 kHz beep whenever ``time % PERIOD`` is in [phase, phase + LENGTH)."""

    kind = "audio"
    rate = 48_000

    def __init__(self, begin: float, phase: float) -> None:
        super().__init__(begin, 0.02)
        self.phase = phase

    async def recv(self) -> av.AudioFrame:
        n, capture = await self.pace()
        t = capture + np.arange(960) / 48_000
        sounding = (t - self.phase) % PERIOD < LENGTH
        wave = np.where(sounding, np.sin(2 * np.pi * 1000 * t) * 12_000, 0).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None, :], "s16", "stereo")
        frame.sample_rate = 48_000
        frame.pts = n * 960
        frame.time_base = fractions.Fraction(1, self.rate)
        return frame


class Flashes(Paced):
    """30 pictures per second; bright for ``LENGTH`` from every 30th, first number 15."""

    kind = "video"
    rate = 90_000

    def __init__(self, begin: float, width: int = 160, height: int = 90) -> None:
        super().__init__(begin, 1 / 30)
        self.shape = (height, width, 3)

    @property
    def phase(self) -> float:
        return (self.begin + 0.5) % PERIOD

    async def recv(self) -> av.VideoFrame:
        n, _ = await self.pace()
        bright = n % 30 in (15, 16, 17)
        image = np.full(self.shape, 230 if bright else 20, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = n * 3000
        frame.time_base = fractions.Fraction(1, self.rate)
        return frame


@dataclass
class Recorder:
    """A sink that keeps what it gets, with when it came (monotonic clock)."""

    audio: list[AudioChunk] = field(default_factory=list)
    video: list[VideoFrame] = field(default_factory=list)
    control: list[Control] = field(default_factory=list)
    clocks: list[float | None] = field(default_factory=list)
    arrived: list[tuple[float, float]] = field(default_factory=list)
    """Arrival and stream time of every chunk's and picture's end."""

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        match item:
            case AudioChunk():
                self.audio.append(item)
            case VideoFrame():
                self.video.append(item)
            case _:
                self.control.append(item)

    def clock(self, unix_at_zero: float | None) -> None:
        self.clocks.append(unix_at_zero)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.control if isinstance(item, Gap)]

    def ended(self) -> set[str]:
        """Sources that told their end."""
        return {
            item.source
            for item in self.control
            if isinstance(item, Progress) and item.t == float("inf")
        }

    def beeps(self) -> list[tuple[float, bool]]:
        """Stream time at which each beep starts, and whether it was provisional."""
        found: list[tuple[float, bool]] = []
        quiet_since = -1.0
        for chunk in self.audio:
            for i in np.flatnonzero(np.abs(chunk.samples) > 0.1):
                t = chunk.t0 + int(i) / 16_000
                if t - quiet_since > 0.3:
                    found.append((t, chunk.provisional))
                quiet_since = t
        return found

    def flashes(self) -> list[tuple[float, bool]]:
        """Stream time of the first bright picture of each flash, and whether provisional."""
        found = []
        before = False
        for frame in self.video:
            bright = float(frame.image.mean()) > 128
            if bright and not before:
                found.append((frame.t, frame.provisional))
            before = bright
        return found


def report_exactly(sender: RTCPeerConnection) -> None:
    """Let sender reports name capture times, as a browser's do.

    aiortc dates a report when it has sent a packet, which on a busy machine is much later.
    """
    transport = sender.getSenders()[0].transport
    send = transport._send_rtp
    tracks = {part._ssrc: part.track for part in sender.getSenders()}
    origins: dict[int, int] = {}

    async def send_exactly(data: bytes) -> None:
        if not is_rtcp(data):
            packet = RtpPacket.parse(data)
            origins.setdefault(packet.ssrc, packet.timestamp)
            await send(data)
            return
        packets = RtcpPacket.parse(data)
        for report in packets:
            if isinstance(report, RtcpSrPacket) and report.ssrc in origins:
                track = tracks[report.ssrc]
                assert isinstance(track, Paced)
                ticks = (report.sender_info.rtp_timestamp - origins[report.ssrc]) % 2**32
                capture = track.begin + ticks / track.rate - time.monotonic() + time.time()
                report.sender_info.ntp_timestamp = int((capture + NTP_TO_UNIX) * 2**32)
        await send(b"".join(bytes(packet) for packet in packets))

    vars(transport)["_send_rtp"] = send_exactly


async def offer_of(connection: RTCPeerConnection) -> str:
    await connection.setLocalDescription(await connection.createOffer())
    return connection.localDescription.sdp


def new_sender() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def accept(connection: RTCPeerConnection, answer: str) -> None:
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for `condition`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        await asyncio.sleep(0.02)
