"""A server that has too much to do refuses calls with a reason, or begins them with less."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession

from stream import overload
from stream.call import BusyError
from stream.metrics import Metrics
from stream.overload import Overload, Processor
from stream.sections import OverloadConfig
from tests.metrics_text import value
from tests.serving import Caller, calling, offer_body, serving
from tests.webrtc_peers import Beeps, Flashes, new_sender, until

pytestmark = pytest.mark.live


async def second(url: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of one more offer."""
    sender = new_sender()
    sender.addTrack(Beeps(time.monotonic(), 0.0))
    try:
        async with (
            ClientSession(url) as http,
            http.post("/api/offer", json=await offer_body(sender)) as response,
        ):
            return response.status, await response.json()
    finally:
        await sender.close()


def states(caller: Caller) -> int:
    return sum(record["type"] == "state" for record in caller.records)


async def while_calling(**config: Any) -> tuple[tuple[int, dict[str, Any]], str]:
    """What a second caller is told while a first call runs, and the metrics then."""
    async with serving(overload=config) as url:
        begin = time.monotonic()
        async with calling(url, Beeps(begin, 0.0), Flashes(begin)) as caller:
            await until(lambda: states(caller) >= 4)
            told = await second(url)
            async with ClientSession(url) as http, http.get("/metrics") as response:
                return told, await response.text()


def test_a_call_is_refused_where_there_is_no_room() -> None:
    (status, answer), metrics = asyncio.run(while_calling(max_cpu=0.001))
    assert status == 503
    assert "no room for another call: it uses" in answer["error"] and "cores" in answer["error"]
    assert answer["hint"] == "try again when other calls have ended"
    assert value(metrics, "lddu_calls_refused_total", why="cpu") == 1


def test_a_call_begins_where_there_is_room() -> None:
    (status, answer), metrics = asyncio.run(while_calling(max_stall=60.0, degrade=False))
    assert (status, answer["load"]) == (200, "full")
    assert value(metrics, "lddu_calls_load", load="full") == 2


@pytest.mark.parametrize(
    ("used", "stall", "grown", "why"),
    [(5.0, 0.0, 0.0, "cpu"), (0.1, 0.3, 0.0, "event_loop"), (0.1, 0.0, 500.0, "memory")],
)
def test_what_there_is_too_much_of_is_named(
    used: float, stall: float, grown: float, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    memory = [1000 * overload.MB]
    monkeypatch.setattr(overload, "_memory", lambda: memory[0])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(Processor, "cores", used)
    watched = Overload(OverloadConfig(), metrics, list)
    metrics.stalls.extend([stall] * 40)
    watched._memory = memory[0] + int(grown * overload.MB)
    call: Any = object()
    assert watched.admit([]) == "full"  # the first call always begins
    with pytest.raises(BusyError):
        watched.admit([call])
    assert metrics.refused == {why: 1}


def test_a_call_that_would_be_too_much_begins_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    call: Any = object()
    for used, load in ((0.8, "full"), (1.0, "fewer_pictures")):
        monkeypatch.setattr(Processor, "cores", used)
        assert Overload(OverloadConfig(), Metrics(), list).admit([call]) == load


def spent_by(processes: list[int]) -> float:
    """Processor seconds so far, as the kernel has it."""
    times = [psutil.Process(process).cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def test_processor_time_is_that_of_the_processes() -> None:
    """Also that of threads, and of others that run beside; the kernel counts in 10 ms."""
    command = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(command) as busy:
        try:
            others = [os.getpid(), busy.pid]
            processor = Processor(lambda: [*others, 2**22])  # one that is not there
            processor.measure()
            before = spent_by(others), time.monotonic()
            end = time.process_time() + 0.5
            while time.process_time() < end:
                pass
            spent, took = (
                spent_by(others) - before[0],
                time.monotonic() - before[1],
            )
            processor.measure()
        finally:
            busy.kill()
    assert spent >= 0.5
    assert processor.cores == pytest.approx(spent / took, rel=0.1)


def test_processor_time_is_known_after_a_long_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all times then the server must not seem to have nothing to do."""
    now, spent = [0.0], [0.0]
    monkeypatch.setattr(overload, "_spent", lambda _: spent[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    processor = Processor(lambda: [1])
    for step in (0.5, 0.5, 3 * overload.CPU_S):
        now[0], spent[0] = now[0] + step, spent[0] + 1.5 * step
        processor.measure()
    monkeypatch.undo()
    assert processor.cores == pytest.approx(1.5)


def test_a_call_that_holds_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "MB", 1)  # 64 bytes: any picture that waits
    monkeypatch.setattr(overload, "PERIOD_S", 0.01)  # it waits for a moment only

    async def run() -> list[dict[str, Any]]:
        async with serving() as url:
            begin = time.monotonic()
            async with calling(url, Beeps(begin, 0.0), Flashes(begin)) as caller:
                await until(lambda: "end" in caller.kinds(), 30.0)
                return caller.records

    assert asyncio.run(run())[-1] == {"type": "end", "reason": "memory"}
