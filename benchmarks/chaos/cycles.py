"""Calls that begin and end, one after the other.

What must hold: after all of them the server holds no more descriptors, threads and tasks than after
the first few, and memory has grown by less than 0.1 MB per call.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks.chaos.clip import Clip, the_clip
from benchmarks.chaos.journal import Journal, Result
from benchmarks.chaos.watch import Sample, call, hang_up, plain, sample
from benchmarks.served import serve
from tests.serving import until_no_call
from tests.webrtc_peers import until

FIRST = 20
"""Calls after which caches are full."""
GROWTH_MB = 0.1
MANY = ("limits.offers_per_minute=6000",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=200)


def run(options: argparse.Namespace, journal: Journal) -> Result:
    return journal.do("cycles", lambda: asyncio.run(cycles(the_clip(), options.calls)))


async def cycles(clip: Clip, calls: int) -> Result:
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), *MANY) as server:
        for number in range(calls):
            async with call(server.url, clip) as caller:
                await until(lambda: "face" in caller.kinds(), 60.0)
                if number % 2:  # the other half just vanishes
                    await hang_up(caller)
            if number % 10 == 9:
                await asyncio.sleep(1.0)
                if number + 1 in (FIRST, calls):
                    await settled(server.url)
                samples.append(await sample(server.url, server.pid))
    first, last = samples[FIRST // 10 - 1], samples[-1]
    grown = (last.memory_mb - first.memory_mb) / max(1, calls - FIRST)
    same = all(
        getattr(last, what) <= getattr(first, what) for what in ("descriptors", "threads", "tasks")
    )
    return {
        "calls": calls,
        "first": plain(first),
        "last": plain(last),
        "memory_mb": [round(each.memory_mb) for each in samples],
        "mb_per_call": round(grown, 4),
        "held": same and grown < GROWTH_MB,
    }


async def settled(url: str) -> None:
    """Wait until all calls are over, those that vanished included."""
    from aiohttp import ClientSession

    async with ClientSession(url) as http:
        for _ in range(10):
            try:
                await until_no_call(http)
            except AssertionError:
                continue
            break
    await asyncio.sleep(3.0)
