"""More real calls at once than the server can carry, on one core.

One call alone gives the cores that a call needs. Then so many calls begin together that they need
`--factor` times the core that server and workers are pinned to, with admission off. What must hold:
memory grows by less than 1 MB per minute in the second half, what arrives is at most 1.5 s old
(95th percentile of outlines, first estimates of windows and captions each), and every mailbox's
account is exact.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from benchmarks.chaos.clip import Clip, the_clip
from benchmarks.chaos.journal import Journal, Result
from benchmarks.chaos.watch import (
    Records,
    Sample,
    accounts_differ_by,
    ages,
    call,
    every,
    p95,
    sample,
    slope_per_minute,
)
from benchmarks.served import serve

ROOM = ("overload.admit=false", "max_sessions=32")
ALL = ("limits.calls_per_address=32", "limits.calls_per_room=32", "limits.offers_per_minute=600")
SLOPE, AGE = 1.0, 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--factor", type=float, default=3.0)
    parser.add_argument("--core", type=int, default=0, help="that server and workers run on")


def run(options: argparse.Namespace, journal: Journal) -> Result:
    clip = the_clip()
    alone = journal.do("alone", lambda: asyncio.run(cost(clip)))
    calls = math.ceil(options.factor / alone["cores"])
    together = journal.do(
        f"{calls} calls",
        lambda: asyncio.run(overloaded(clip, calls, options.seconds, options.core)),
    )
    held = (
        together["memory_mb_per_minute"] < SLOPE
        and all(age is None or age <= AGE for age in together["age_p95_s"].values())
        and together["accounts_differ_by"] == {}
    )
    asked = round(calls * alone["cores"], 2)
    return {"alone": alone, "calls": calls, "cores_asked_of_1": asked, **together, "held": held}


async def cost(clip: Clip) -> Result:
    """Cores that one call needs when nothing is left out."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder), "overload.degrade=false") as server,
    ):
        async with call(server.url, clip):
            await asyncio.sleep(10.0)
            first = await sample(server.url, server.pid)
            await asyncio.sleep(30.0)
            last = await sample(server.url, server.pid)
    return {"cores": round((last.cpu_s - first.cpu_s) / (last.t - first.t), 3)}


async def overloaded(clip: Clip, calls: int, seconds: float, core: int) -> Result:
    samples: list[Sample] = []
    records: list[Records] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with pinned(core):
            server = stack.enter_context(serve(folder, *ROOM, *ALL))
        async with AsyncExitStack() as callers:
            for _ in range(calls):
                caller = await callers.enter_async_context(call(server.url, clip))
                records.append(caller.records)
            await every(5.0, seconds, samples, server.url, server.pid)
            running = await accounts_differ_by(server.url)
        await asyncio.sleep(12.0)
        ended = await accounts_differ_by(server.url)
    return {
        "seconds": seconds,
        "memory_mb_per_minute": slope_per_minute(samples, after_s=seconds / 2),
        "memory_mb": [round(samples[0].memory_mb), round(samples[-1].memory_mb)],
        "cores_used": round(
            (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].t - samples[0].t), 2
        ),
        "age_p95_s": of_all(records),
        "states_per_call": [sum(each["type"] == "state" for each in one) for one in records],
        "loads": dict(Counter(each["load"] for one in records for each in one if "load" in each)),
        "load_at_end": [last_load(one) for one in records],
        "accounts_differ_by": running | ended,
    }


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes that begin here have this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def of_all(records: list[Records]) -> dict[str, float | None]:
    found = [ages(one) for one in records]
    return {kind: p95([age for one in found for age in one[kind]]) for kind in found[0]}


def last_load(records: Records) -> str:
    loads: list[str] = [record["load"] for record in records if record["type"] == "load"]
    return loads[-1] if loads else "full"
