"""Every worker process killed again and again in a recorded call.

After each kill: how long what the worker makes did not come, and what the person was told of it.
What must hold: no gap is longer than 3 s (of the model 5 s), what is missing is marked, every state
and gap that was told is in the record, and the call ends as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.clip import Clip, the_clip
from benchmarks.chaos.journal import Journal, Result
from benchmarks.chaos.watch import Records, call, group
from benchmarks.served import serve
from stream.record_files import SessionFolder
from tests.serving import Caller
from tests.webrtc_peers import until

WORKERS = {"face": 3.0, "voice": 3.0, "words": 3.0, "text": 3.0, "model": 5.0}
"""Worker -> seconds that its gap may last."""
REST_S = (6.0, 9.0)
"""Between two kills: enough for what was lost to be told."""
FAILURES = ("failed", "restarted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=20, help="of each worker")
    parser.add_argument("--workers", nargs="+", choices=sorted(WORKERS), default=list(WORKERS))
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace, journal: Journal) -> Result:
    clip = the_clip()
    rows = {
        name: journal.do(name, lambda name=name: asyncio.run(killing(clip, name, options)))  # type: ignore[misc]
        for name in options.workers
    }
    return {"workers": rows, "held": all(row["held"] for row in rows.values())}


async def killing(clip: Clip, worker: str, options: argparse.Namespace) -> Result:
    rng = random.Random(f"{options.seed} {worker}")
    gaps: list[float] = []
    told: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "records"
        record = (
            f"record.folder={root}",
            "record.days.words=1",
            "record.days.faces=1",
            "overload.degrade=false",
        )
        with serve(Path(folder), *record) as server:
            async with call(server.url, clip, record=True) as caller:
                await until(lambda: "transcript" in caller.kinds(), 90.0)
                await asyncio.sleep(5.0)
                for _ in range(options.kills):
                    victim = worker_process(server.pid, worker)
                    at, begin = time.time(), len(caller.records)
                    victim.kill()
                    await asyncio.sleep(rng.uniform(*REST_S))
                    since = caller.records[begin:]
                    gaps.append(round(gap_of(worker, caller.records, since, at), 2))
                    told.append(sum(marks(record) for record in since))
                await hang_up_and_wait(caller)
        complete = compare(caller, SessionFolder(root, caller.session))
    whole = caller.records[-1]["type"] == "end" and caller.records[-1]["reason"] == "left"
    unmarked = (
        sum(gap > 0.5 and not marked for gap, marked in zip(gaps, told, strict=True))
        if worker in ("face", "model")
        else 0
    )
    return {
        "kills": len(gaps),
        "gap_s": sorted(gaps),
        "gaps_marked": told,
        "longer_than_0.5_s_and_unmarked": unmarked,
        **complete,
        "held": max(gaps) <= WORKERS[worker] and whole and not unmarked and complete["lost"] == 0,
    }


def worker_process(pid: int, worker: str) -> psutil.Process:
    # the one in use is older than its spare
    for process in sorted(group(pid)[1:], key=lambda each: each.create_time()):
        try:
            line = process.cmdline()
        except psutil.Error:  # it was killed, and nobody has asked it for anything since
            continue
        name = "face" if "face_process" in " ".join(line) else line[-1]
        if name == worker:
            return process
    raise LookupError(f"the server has no worker {worker}")


def marks(record: dict[str, Any]) -> bool:
    return record["type"] == "gap" and record["reason"] in FAILURES


def gap_of(worker: str, before: Records, since: Records, at: float) -> float:
    """Seconds for which what `worker` makes was missing after it was killed at `at`.

    Of faces and estimates: the longest silence. Of voice: until no estimate says any more that it
    failed or stands still. Of words: speech that was lost, or the delay of the first caption.
    """
    if worker == "face":
        return silence([each["arrived"] for each in since if each["type"] == "face"], at)
    states = [each for each in since if each["type"] == "state" and each["revision"] == 0]
    if worker == "model":
        sure = [each["arrived"] for each in states if not {"stale", "failed"} & {*each["reasons"]}]
        return silence(sure, at)
    if worker == "voice":
        bad = [each["arrived"] for each in states if {"stale", "failed"} & {*each["reasons"]}]
        return max(bad, default=at) - at
    lost = sum(each["t1"] - each["t0"] for each in since if marks(each))
    usual = [each["lag_s"] for each in before[: -len(since)] if each["type"] == "transcript"]
    late = max((each["lag_s"] for each in since if each["type"] == "transcript"), default=0.0)
    return float(max(lost, late - sorted(usual)[len(usual) // 2]))


def silence(times: list[float], at: float) -> float:
    """The longest time without any of `times`, from `at` on."""
    gaps = [after - before for before, after in pairwise([at, *times])]
    return max(gaps, default=float("inf"))


async def hang_up_and_wait(caller: Caller) -> None:
    path = f"/api/sessions/{caller.session}"
    async with caller.http.delete(path, headers=caller.bearer) as response:
        assert response.status == 204
    await until(lambda: "end" in caller.kinds(), 30.0)
    await asyncio.sleep(2.0)


def compare(caller: Caller, folder: SessionFolder) -> Result:
    """What was told and is not in the record; the first are told before recording begins."""
    kinds = ("state", "gap", "event", "transcript", "end")

    def key(record: dict[str, Any]) -> tuple[Any, ...]:
        names = ("type", "index", "revision", "t", "t0", "t1", "kind", "label", "reason", "source")
        return tuple(record.get(name) for name in names)

    stored = {key(record) for record in folder.records()}
    told = [key(record) for record in caller.records if record["type"] in kinds]
    told = [each for each in told if each[1] != -1]
    return {"told": len(told), "lost": sum(each not in stored for each in told)}
