"""A served process and its workers, looked at from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.chaos.clip import Clip, players
from tests.serving import Caller, calling

MB = 1 << 20

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """What the server and its workers hold together; tasks are those of its event loop."""

    t: float
    """Seconds, monotonic."""
    memory_mb: float
    descriptors: int
    threads: int
    tasks: int
    cpu_s: float
    children: int


def group(pid: int) -> list[psutil.Process]:
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


async def sample(url: str, pid: int) -> Sample:
    metrics = await read_metrics(url)
    memory, descriptors, threads, cpu = 0, 0, 0, 0.0
    processes = group(pid)
    for process in processes:
        try:
            memory += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
            times = process.cpu_times()
        except psutil.Error:  # it was killed just now
            continue
        cpu += times.user + times.system
    tasks = int(sum(metrics["lddu_tasks"].values()))
    t = time.monotonic()
    return Sample(t, memory / MB, descriptors, threads, tasks, cpu, len(processes) - 1)


async def read_metrics(url: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Name -> values of its labels -> value."""
    async with ClientSession(url) as http, http.get("/metrics") as response:
        text = await response.text()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            found.setdefault(each.name, {})[tuple(each.labels.values())] = each.value
    return found


async def accounts_differ_by(url: str) -> dict[str, float]:
    """Mailbox -> put - taken - dropped - inside, where that is not 0."""
    metrics = await read_metrics(url)
    wrong = {}
    for (box,), put in metrics["lddu_mailbox_put_total"].items():
        dropped = sum(
            n for key, n in metrics.get("lddu_mailbox_dropped_total", {}).items() if key[0] == box
        )
        taken = metrics["lddu_mailbox_taken_total"][box,]
        left = put - taken - dropped - metrics["lddu_mailbox_inside"][box,]
        if left:
            wrong[box] = left
    return wrong


class Received(Records):
    """Records of a call, each with ``arrived`` (wall clock)."""

    def append(self, record: dict[str, Any]) -> None:
        super().append({**record, "arrived": time.time()})


@asynccontextmanager
async def call(url: str, clip: Clip, **consent: Any) -> AsyncIterator[Caller]:
    """A call with the clip as camera and microphone."""
    sound, picture = players(clip)
    async with calling(url, sound, picture, **consent) as caller:
        caller.records = Received(caller.records)
        yield caller


async def hang_up(caller: Caller) -> None:
    """As a page does when its person leaves."""
    path = f"/api/sessions/{caller.session}"
    async with caller.http.delete(path, headers=caller.bearer) as response:
        assert response.status == 204
    await caller.sender.close()


def ages(records: Records) -> dict[str, list[float]]:
    """Type -> seconds from capture to arrival here, once the sender's clock was known."""
    zero = None
    found: dict[str, list[float]] = {"face": [], "state": [], "transcript": []}
    newest = -1
    for record in records:
        kind = record["type"]
        if kind == "clock":
            zero = record["unix_at_zero"]
        if zero is None or kind not in found or "arrived" not in record:
            continue
        if kind == "state":  # the first word on each window
            if record["index"] <= newest:
                continue
            newest = record["index"]
        t = record["t1"] if kind == "transcript" else record["t"]
        found[kind].append(record["arrived"] - zero - t)
    return found


def p95(values: Sequence[float]) -> float | None:
    return round(float(np.percentile(values, 95)), 3) if len(values) else None


def slope_per_minute(samples: Sequence[Sample], after_s: float) -> float:
    """MB per minute, by least squares, from `after_s` seconds on."""
    begin = samples[0].t + after_s
    late = [(each.t / 60, each.memory_mb) for each in samples if each.t >= begin]
    if len(late) < 3:
        return float("nan")
    t, memory = np.array(late).T
    return round(float(np.polyfit(t - t[0], memory, 1)[0]), 3)


def plain(each: Sample) -> dict[str, Any]:
    return {name: round(value, 2) for name, value in asdict(each).items()}


async def every(period: float, seconds: float, samples: list[Sample], url: str, pid: int) -> None:
    """Sample for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(await sample(url, pid))
        await asyncio.sleep(period)
