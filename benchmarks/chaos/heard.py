"""What two receivers hear of a voice, ours and plain aiortc, and how much and how late."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from benchmarks.chaos.journal import Result
from benchmarks.chaos.speech import Voice
from stream.webrtc import Peer
from workers.messages import SAMPLE_RATE, AudioChunk, Control, Float32, Gap, VideoFrame

Span = tuple[float, float]
"""Monotonic seconds, from and to."""


@dataclass
class Heard:
    """What arrived at one receiver, in monotonic seconds.

    ``arrived`` are (arrival, when its last packet was sent), ``pieces`` (capture of the first
    sample, (n,) at 16 kHz).
    """

    arrived: list[tuple[float, float]] = field(default_factory=list)
    pieces: list[tuple[float, Float32]] = field(default_factory=list)


class Ours:
    """Our receiver, and what it gives."""

    def __init__(self) -> None:
        self.chunks: list[tuple[float, AudioChunk]] = []
        self.gaps: list[Gap] = []
        self.peer = Peer("p1", frozenset({"audio"}), self, fps=10, max_width=640)

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        if isinstance(item, AudioChunk):
            self.chunks.append((time.monotonic(), item))
        elif isinstance(item, Gap):
            self.gaps.append(item)

    def clock(self, unix_at_zero: float | None) -> None:
        """Read from the peer at the end."""

    def heard(self, voice: Voice) -> Heard:
        at = self.peer.clock.unix_at_zero
        assert at is not None, "no sender report came"
        zero = at - time.time() + time.monotonic()
        return Heard(
            [(arrival, voice.sent(zero + chunk.t1)) for arrival, chunk in self.chunks],
            [(zero + chunk.t0, chunk.samples) for _, chunk in self.chunks],
        )


class Plain:
    """aiortc as it is."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection()
        self.frames: list[tuple[float, int, Float32]] = []
        self._reading: asyncio.Task[None] | None = None
        self.connection.on("track", self._track)

    def _track(self, track: MediaStreamTrack) -> None:
        self._reading = asyncio.create_task(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            mono = frame.to_ndarray().reshape(-1, 6).mean(1) / 32768  # 48 kHz stereo -> 16 kHz
            self.frames.append((time.monotonic(), frame.pts, mono.astype(np.float32)))

    async def answer(self, offer: str) -> str:
        connection = self.connection
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        text: str = connection.localDescription.sdp
        return text

    def heard(self, voice: Voice, first: int) -> Heard:
        """`first`: number of the packet whose timestamp aiortc calls 0."""
        step = voice.step / 960

        def capture(pts: int) -> float:
            return voice.begin + first * voice.step + pts * step

        return Heard(
            [(arrival, voice.sent(capture(pts + 960))) for arrival, pts, _ in self.frames],
            [(capture(pts), samples) for _, pts, samples in self.frames],
        )


def lost(ours: Ours, voice: Voice, span: Span) -> float:
    """Share of the sound captured in `span` that is not there, or is told as a gap."""
    return 1 - covered(ours.heard(voice).pieces, span) + told(ours, span)


def told(ours: Ours, span: Span) -> float:
    """Share of `span` that is there, but told to be made up."""
    at = ours.peer.clock.unix_at_zero
    assert at is not None
    zero = at - time.time() + time.monotonic()
    there = [(chunk.t0, chunk.t1) for _, chunk in ours.chunks]
    starts = np.array([t0 for t0, _ in there])
    total = 0.0
    for gap in ours.gaps:
        t0, t1 = max(gap.t0, span[0] - zero), min(gap.t1, span[1] - zero)
        for k in range(max(0, int(np.searchsorted(starts, t0)) - 2), len(there)):
            if there[k][0] >= t1:
                break
            total += max(0.0, min(t1, there[k][1]) - max(t0, there[k][0]))
    return total / (span[1] - span[0])


def lost_plain(plain: Plain, voice: Voice, first: int, span: Span) -> float:
    return 1 - covered(plain.heard(voice, first).pieces, span)


def covered(pieces: list[tuple[float, Float32]], span: Span) -> float:
    """Share of `span` in which there is sound."""
    total = 0.0
    reached = span[0]
    for t0, samples in sorted(pieces, key=lambda piece: piece[0]):
        t1 = min(span[1], t0 + len(samples) / SAMPLE_RATE)
        total += max(0.0, t1 - max(t0, reached))
        reached = max(reached, t1)
    return min(1.0, total / (span[1] - span[0]))


def latencies(heard: Heard, span: Span, tail_s: float) -> Result:
    """Latencies in ms before, during and after the faults of `span`, which `tail_s` follow."""
    arrival, sent = np.array(heard.arrived).T
    latency = 1000 * (arrival - sent)
    begin, end = span
    usual = float(np.median(latency[arrival < begin]))
    added = latency - usual
    during = added[(arrival >= begin) & (arrival < end)]
    return {
        "latency_ms": round(usual, 1),
        "added_p50_ms": round(float(np.median(during)), 1),
        "added_p95_ms": round(float(np.percentile(during, 95)), 1),
        "added_max_ms": round(float(during.max()), 1),
        "settled_s": settled(arrival - end, added, tail_s),
        "added_at_end_ms": round(float(np.median(added[arrival > end + tail_s - 2])), 1),
    }


def settled(after: Any, added: Any, tail_s: float) -> float | None:
    """Seconds from the faults until less than 20 ms are added (medians of half a second)."""
    late = None
    for at in np.arange(0.0, tail_s - 0.5, 0.5):
        part = added[(after >= at) & (after < at + 0.5)]
        if len(part) and float(np.median(part)) >= 20:
            late = at + 0.5
    if late is None:
        return 0.0
    return float(late) if late < tail_s - 1 else None
