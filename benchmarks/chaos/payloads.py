"""Mutated Opus, VP8 and H.264 payloads into live tracks, in bursts with whole ones between.

What must hold: no call and no track dies, media arrives again within 1 s after every burst, and the
account of sound is exact: every packet was decoded, or is counted with what became of it. Sender
and receiver share one event loop: ``stall_max_s`` says for how long it stood still at worst.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.rtp import is_rtcp

from benchmarks.chaos.journal import Journal, Result
from benchmarks.chaos.mutate import mutate
from stream.metrics import Metrics
from stream.receivers import UNDECODABLE, Kind
from stream.webrtc import Peer
from tests.webrtc_peers import Beeps, Flashes, accept, new_sender, offer_of, report_exactly
from workers.messages import END, AudioChunk, Control, Gap, VideoFrame

CODECS = ("opus", "vp8", "h264")
LONGEST = 12
"""Packets of a burst."""

BETWEEN_S = {"opus": 0.4, "vp8": 1.2, "h264": 1.2}
"""From the end of a burst to the next one."""

WITHIN_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--payloads", type=int, default=10_000, help="mutated ones, per codec")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--calls", type=int, default=6, help="at the same time")
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace, journal: Journal) -> Result:
    figures: dict[str, Result] = {}
    for codec in options.codecs:
        done = 0
        rounds: list[Result] = []
        while done < options.payloads:
            each = min(250, -(-(options.payloads - done) // options.calls))
            key = f"{codec} {len(rounds)}"
            seed = f"{options.seed} {key}"

            def some(codec: str = codec, each: int = each, seed: str = seed) -> Result:
                return asyncio.run(calls(codec, options.calls, each, seed))

            rounds.append(journal.do(key, some))
            done = sum(each["mutated"] for each in rounds)
            print(codec, done, rounds[-1], flush=True)
        figures[codec] = total(rounds)
    return {"codecs": figures, "held": all(figure["held"] for figure in figures.values())}


@dataclass
class Live:
    """One call: a sender of ours whose payloads are mutated, and when media arrived."""

    rng: random.Random
    wanted: int
    codec: str
    arrived: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)
    """When each was over: the first whole packet was sent."""
    sent: int = 0
    mutated: int = 0
    ended: list[str] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)
    _left: int = 0
    _next: float = 0.0
    _seen: list[bytes] = field(default_factory=list)

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        if isinstance(item, Gap):
            self.gaps[item.reason] += 1
        elif isinstance(item, AudioChunk | VideoFrame) or item.t != END:
            self.arrived.append(time.monotonic())
        else:
            self.ended.append(item.source)

    def clock(self, unix_at_zero: float | None) -> None:
        """Not needed."""

    def spoil(self, data: bytes) -> bytes:
        """An RTP packet as it is sent instead."""
        start = payload_start(data)
        now = time.monotonic()
        self.sent += 1
        if self._left == 0 and now >= self._next and self.mutated < self.wanted and self.arrived:
            self._left = min(self.rng.randint(1, LONGEST), self.wanted - self.mutated)
        if self._left == 0:
            return data
        self._left -= 1
        self.mutated += 1
        if self._left == 0:
            self.bursts.append(now)
            self._next = now + BETWEEN_S[self.codec]
        self._seen = [*self._seen[-20:], data[start:]]
        return data[:start] + mutate(self.rng, data[start:], self._seen)


def payload_start(data: bytes) -> int:
    """Where the payload of an RTP packet begins (RFC 3550, 5.1)."""
    start = 12 + 4 * (data[0] & 0x0F)
    if data[0] & 0x10:
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    return start


async def calls(codec: str, n: int, each: int, seed: str) -> Result:
    """`n` calls at the same time, `each` mutated payloads in each."""
    load = os.getloadavg()[0]
    metrics = Metrics()
    watching = asyncio.create_task(metrics.watch_loop())
    results = await asyncio.gather(
        *(call(codec, each, random.Random(f"{seed} {number}")) for number in range(n))
    )
    watching.cancel()
    counts: Counter[str] = Counter()
    recovery: list[float] = []
    for result in results:
        counts.update(result["counts"])
        recovery += result["recovery"]
    return {
        "mutated": sum(result["mutated"] for result in results),
        "bursts": len(recovery),
        "dead": sum(result["dead"] for result in results),
        "unaccounted": sum(result["unaccounted"] for result in results),
        "recovery_p95_s": round(float(np.percentile(recovery, 95)), 3),
        "recovery_max_s": round(max(recovery), 3),
        "counts": dict(counts),
        "stall_max_s": round(metrics.stall_max_s, 3),
        "load": round(load, 1),
    }


async def call(codec: str, wanted: int, rng: random.Random) -> Result:
    live = Live(rng, wanted, codec)
    kind: Kind = "audio" if codec == "opus" else "video"
    peer = Peer("p1", frozenset({kind}), live, fps=30, max_width=160)
    sender = new_sender()
    begin = time.monotonic() + 0.5
    sender.addTrack(Beeps(begin, 0.0) if kind == "audio" else Flashes(begin))
    if codec == "h264":
        prefer_h264(sender)
    await accept(sender, await peer.answer(await offer_of(sender)))
    report_exactly(sender)
    spoil(sender, live)
    stalled = time.monotonic() + 60 + 3 * wanted
    while live.mutated < wanted and time.monotonic() < stalled:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(peer.ended), 0.1)
            break
    await asyncio.sleep(1.5)
    counts = peer.counts[kind]
    now = time.monotonic()
    dead = peer.ended.done() or kind in live.ended or now - live.arrived[-1] > WITHIN_S
    unaccounted = 0
    if kind == "audio":  # some may be on their way
        known = counts["frames"] + counts["packets_lost"] + counts["packets_repeated"]
        unaccounted = max(0, abs(live.sent - known) - 3)
    await sender.close()
    await peer.close()
    arrived = np.array(live.arrived)
    recovery = [
        float(arrived[np.searchsorted(arrived, end)] - end) if arrived[-1] > end else 99.0
        for end in live.bursts
    ]
    return {
        "mutated": live.mutated,
        "dead": int(dead or counts[UNDECODABLE] > 0),
        "unaccounted": unaccounted,
        "recovery": recovery,
        "counts": {**counts, **peer.faults, **{f"gap {k}": n for k, n in live.gaps.items()}},
    }


def prefer_h264(sender: RTCPeerConnection) -> None:
    able = RTCRtpSender.getCapabilities("video")
    assert able is not None
    wanted = [codec for codec in able.codecs if codec.mimeType.lower() == "video/h264"]
    for transceiver in sender.getTransceivers():
        transceiver.setCodecPreferences(wanted)


def spoil(sender: RTCPeerConnection, live: Live) -> None:
    transport = sender.getSenders()[0].transport
    send: Callable[[bytes], Awaitable[None]] = transport._send_rtp

    async def send_spoilt(data: bytes) -> None:
        await send(data if is_rtcp(data) else live.spoil(data))

    vars(transport)["_send_rtp"] = send_spoilt


def total(rounds: list[Result]) -> Result:
    counts: Counter[str] = Counter()
    for each in rounds:
        counts.update(each["counts"])
    dead = sum(each["dead"] for each in rounds)
    unaccounted = sum(each["unaccounted"] for each in rounds)
    slowest = max(each["recovery_max_s"] for each in rounds)
    return {
        "mutated": sum(each["mutated"] for each in rounds),
        "bursts": sum(each["bursts"] for each in rounds),
        "dead_tracks": dead,
        "unaccounted": unaccounted,
        "recovery_p95_s": max(each["recovery_p95_s"] for each in rounds),
        "recovery_max_s": slowest,
        "stall_max_s": max(each["stall_max_s"] for each in rounds),
        "counts": dict(sorted(counts.items())),
        "load": [each["load"] for each in rounds],
        "held": not dead and not unaccounted and slowest <= WITHIN_S,
    }
