"""A few calls for a long time, recorded.

What must hold: from the fifth minute on memory grows by less than 0.5 MB per minute; when the calls
are over the server holds no more descriptors, threads and tasks than after a first short call.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.chaos.clip import Clip, the_clip
from benchmarks.chaos.cycles import settled
from benchmarks.chaos.journal import Journal, Result
from benchmarks.chaos.overload import last_load, of_all
from benchmarks.chaos.watch import (
    Records,
    Sample,
    accounts_differ_by,
    call,
    every,
    hang_up,
    plain,
    sample,
    slope_per_minute,
)
from benchmarks.served import serve

SLOPE = 0.5
WARM_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--calls", type=int, default=2)


def run(options: argparse.Namespace, journal: Journal) -> Result:
    return journal.do("soak", lambda: asyncio.run(soak(the_clip(), options.calls, options.seconds)))


async def soak(clip: Clip, calls: int, seconds: float) -> Result:
    samples: list[Sample] = []
    records: list[Records] = []
    with tempfile.TemporaryDirectory() as folder:
        record = f"record.folder={folder}/records"
        with serve(Path(folder), record, "overload.admit=false") as server:
            async with call(server.url, clip, record=True) as caller:
                await asyncio.sleep(10.0)
                await hang_up(caller)
            await settled(server.url)
            before = await sample(server.url, server.pid)
            async with AsyncExitStack() as stack:
                callers = []
                for _ in range(calls):
                    joined = await stack.enter_async_context(call(server.url, clip, record=True))
                    callers.append(joined)
                    records.append(joined.records)
                await every(10.0, seconds, samples, server.url, server.pid)
                for joined in callers:
                    await hang_up(joined)
            await settled(server.url)
            after = await sample(server.url, server.pid)
            wrong = await accounts_differ_by(server.url)
    slope = slope_per_minute(samples, after_s=min(WARM_S, seconds / 3))
    same = all(
        getattr(after, what) <= getattr(before, what)
        for what in ("descriptors", "threads", "tasks")
    )
    return {
        "seconds": seconds,
        "calls": calls,
        "memory_mb_per_minute": slope,
        "memory_mb": [round(each.memory_mb) for each in samples[:: max(1, len(samples) // 30)]],
        "before": plain(before),
        "during": plain(samples[-1]),
        "after": plain(after),
        "age_p95_s": of_all(records),
        "states_per_call": [sum(each["type"] == "state" for each in one) for one in records],
        "load_at_end": [last_load(one) for one in records],
        "accounts_differ_by": wrong,
        "held": slope < SLOPE and same and wrong == {},
    }
