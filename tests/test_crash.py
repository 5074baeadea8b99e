"""A server that is killed in a call leaves a record that ends at most a second before."""

from __future__ import annotations

import asyncio
import errno
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.record_files import sessions
from stream.session_index import Index
from tests.serving import calling
from tests.test_drain import running, url_of
from tests.test_keep import seen_and_heard
from tests.webrtc_peers import Beeps, Flashes, until

pytestmark = [pytest.mark.slow, pytest.mark.live]

LOST_S = 1.0
"""At most this much of what the person was told before the kill is missing."""


async def killed_in_a_call(folder: Path, after: float) -> list[dict[str, Any]]:
    """What the person of a call was told before the server was killed."""
    with running("cheap", folder) as process:
        begin = time.monotonic() + 0.2
        url = url_of(process)
        async with calling(url, Beeps(begin, 0.0), Flashes(begin), record=True) as caller:
            await until(lambda: sum(r["type"] == "state" for r in caller.records) >= 3)
            await asyncio.sleep(after)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            return list(caller.records)


@pytest.mark.parametrize(
    "kills", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_a_killed_server_loses_at_most_a_second(tmp_path: Path, kills: int) -> None:
    rng = random.Random(kills)
    for i in range(kills):
        folder = tmp_path / str(i)
        told = asyncio.run(killed_in_a_call(folder, rng.uniform(0.0, 2.0)))
        [session] = sessions(folder)
        assert not session.is_live()
        stored = [record for record in session.records() if record["type"] == "state"]
        shown = [record for record in told if record["type"] == "state"]
        assert stored[-1]["t"] >= shown[-1]["t"] - LOST_S
        indices = [record["index"] for record in stored if record["revision"] == 0]
        assert indices == sorted(indices)
        with Index(folder) as index:
            index.refresh()
            [found] = index.find()
        assert found.reason == "cut off"


def test_a_full_disk_is_told_and_the_call_goes_on(tmp_path: Path) -> None:
    """No file of the server may grow any more, then it may again."""

    async def run() -> list[dict[str, Any]]:
        with running("cheap", tmp_path) as process:
            begin = time.monotonic() + 0.2
            url = url_of(process)
            async with calling(url, Beeps(begin, 0.0), Flashes(begin), record=True) as caller:

                def told() -> list[tuple[bool, str | None]]:
                    found = [one for one in caller.records if one["type"] == "recording"]
                    return [(one["on"], one["reason"]) for one in found]

                def states() -> int:
                    return sum(one["type"] == "state" for one in caller.records)

                await until(lambda: told() == [(True, None)])
                await until(lambda: states() >= 6)
                free = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, free[1]))
                await until(lambda: told()[1:] == [(False, "disk_full")])
                before = states()
                await until(lambda: states() >= before + 4)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, free)
                await until(lambda: told()[2:] == [(True, None)])
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(process.wait)
                return caller.records

    told = asyncio.run(run())
    [session] = sessions(tmp_path)
    stored = list(session.records())
    lost = sum(record["records"] for record in stored if record["type"] == "lost")
    kept = [record for record in stored if record["type"] == "state"]
    shown = [record for record in told if record["type"] == "state"]
    assert lost > 0
    assert kept[-1] == shown[-1] and stored[-1]["type"] == "end"
    assert len({record["index"] for record in shown} - {record["index"] for record in kept}) <= lost


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where such a one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("needs to be allowed to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_real_disk_that_is_full_costs_the_record_and_nothing_else(small_disk: Path) -> None:
    """Media fill it; then there is room again."""
    days = {"estimates": 1, "media": 1}

    async def run() -> list[dict[str, Any]]:
        record = {"folder": str(small_disk), "days": days}
        with running("cheap", small_disk, record=record) as process:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            url = url_of(process)
            async with calling(url, *tracks, record=True, media=True) as caller:

                def told() -> list[tuple[bool, str | None]]:
                    found = [one for one in caller.records if one["type"] == "recording"]
                    return [(one["on"], one["reason"]) for one in found]

                def states() -> int:
                    return sum(one["type"] == "state" for one in caller.records)

                await until(lambda: told() == [(True, None)], 20.0)
                await until(lambda: states() >= 4, 20.0)
                ballast = small_disk / "ballast"
                _fill(ballast)
                await until(lambda: told()[1:] == [(False, "disk_full")], 20.0)
                before = states()
                await until(lambda: states() >= before + 4, 20.0)
                ballast.unlink()
                await until(lambda: told()[2:] == [(True, None)], 20.0)
                await asyncio.sleep(1.0)
                assert len(told()) == 3
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
                return list(caller.records)

    told = asyncio.run(run())
    [session] = sessions(small_disk)
    stored = list(session.records())
    assert any(record["type"] == "lost" for record in stored)
    assert stored[-1]["type"] == told[-1]["type"] == "end"
    newest = [record["t"] for record in told if record["type"] == "state"][-1]
    for times in seen_and_heard(session.media).values():
        assert times[-1] > newest - 1.0 and (np.diff(times) > 0).all()


def _fill(path: Path) -> None:
    """With all there is room for."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            while True:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break
