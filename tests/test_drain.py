"""A server that is told to stop finishes what it has begun, but not for ever."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import ClientConnectorError, ClientSession

from stream import drain
from stream import serve as server
from stream.audit import verify
from stream.config import ServeConfig
from stream.engines import Engines
from stream.record_files import SessionFolder, sessions
from tests import synthetic
from tests.conftest import PROJECT
from tests.serving import calling, cheap_engines
from tests.webrtc_peers import Beeps, Flashes, until
from workers.messages import Float32
from workers.whisper import Before, Heard

pytestmark = pytest.mark.live


class Stuck(synthetic.Transcriber):
    """Native code that never comes back."""

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        print("stuck", flush=True)
        time.sleep(60.0)
        return super().transcribe(samples, before)


@contextmanager
def engines_of(kind: str) -> Iterator[Engines]:
    engines: Any = cheap_engines()
    if kind == "stuck":
        engines.transcriber = Stuck()
    try:
        yield engines
    finally:
        engines.close()


def main(kind: str, deadline: str, settings: str) -> None:
    """The server as it is run, with cheap engines."""
    logging.basicConfig(level=logging.ERROR)
    drain.DEADLINE_S = float(deadline)
    config = ServeConfig.model_validate({"port": 0, **json.loads(settings)})
    with_engines = patch.object(Engines, "load", lambda _: engines_of(kind))
    with with_engines, server.listen(config.host, config.port) as listening:
        asyncio.run(server._run(config, listening, open_page=False))


@contextmanager
def running(
    kind: str, folder: Path, deadline: float = 20.0, **settings: Any
) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own that records into `folder`."""
    settings = {"record": {"folder": str(folder)}, **settings}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.test_drain", kind, str(deadline), json.dumps(settings)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving "), line
    return line.split()[1].rstrip("/")


def wait(process: subprocess.Popen[str], seconds: float) -> tuple[int, float]:
    """Exit code, and after how many seconds."""
    begin = time.monotonic()
    return process.wait(seconds), time.monotonic() - begin


def test_the_first_signal_lets_calls_finish(tmp_path: Path) -> None:
    async def call(process: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], set[int], int]:
        url = url_of(process)
        begin = time.monotonic() + 0.2
        refused = set()
        async with (
            ClientSession(url) as http,
            calling(url, Beeps(begin, 0.0), Flashes(begin), record=True) as caller,
        ):
            await until(lambda: sum(r["type"] == "state" for r in caller.records) >= 6)
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                try:
                    async with http.post("/api/offer", json={}) as response:
                        refused.add(response.status)
                    async with http.get("/healthz") as response:
                        refused.add(response.status)
                except (ClientConnectorError, OSError):
                    pass
                await asyncio.sleep(0.05)
            return caller.records, refused, process.returncode

    with running("cheap", tmp_path) as process:
        told, refused, code = asyncio.run(call(process))
        assert process.stderr is not None
        assert (code, process.stderr.read()) == (0, "")
    assert 503 in refused
    assert told[-1] == {"type": "end", "reason": "server stopped"}
    [session] = sessions(tmp_path)
    stored = list(session.records())
    assert stored[-1] == told[-1]
    shown = [(one["index"], one["revision"]) for one in told if one["type"] == "state"]
    kept = [(one["index"], one["revision"]) for one in stored if one["type"] == "state"]
    assert kept[-len(shown) :] == shown
    assert not session.is_live()
    entries = (tmp_path / "audit.log").read_text().splitlines()
    assert json.loads(entries[-1])["event"] == "server_stopped"
    assert verify(tmp_path / "audit.log").number == len(entries)


def test_what_hangs_is_left_at_the_deadline(tmp_path: Path) -> None:
    with running("stuck", tmp_path, deadline=2.0) as process:
        code, took, folder = asyncio.run(signal_while_stuck(process, tmp_path))
        assert process.stderr is not None
        assert "not everything was over within 2 s" in process.stderr.read()
    assert code == 1 and 1.5 < took < 6.0
    assert len(list(folder.records())) > 3  # what was written is there


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running("stuck", tmp_path) as process:
        code, took, folder = asyncio.run(signal_while_stuck(process, tmp_path, again=True))
    assert code == -signal.SIGTERM and took < 3.0
    assert len(list(folder.records())) > 3


async def signal_while_stuck(
    process: subprocess.Popen[str], folder: Path, *, again: bool = False
) -> tuple[int, float, SessionFolder]:
    url = url_of(process)
    begin = time.monotonic() + 0.2
    async with calling(url, Beeps(begin, 0.0), Flashes(begin), record=True) as caller:
        await until(lambda: sum(r["type"] == "state" for r in caller.records) >= 6)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "stuck\n"
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        if again:
            await asyncio.sleep(0.5)
            process.send_signal(signal.SIGTERM)
        code, took = await asyncio.to_thread(wait, process, 15.0)
    return code, took, SessionFolder(folder, caller.session)


@pytest.mark.parametrize("number", drain.SIGNALS)
def test_handlers_are_as_they_were(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    async def run() -> None:
        stop = asyncio.Event()
        with drain.stop_on_signals(stop):
            signal.raise_signal(number)
            await stop.wait()
            assert signal.getsignal(number) is signal.SIG_DFL

    asyncio.run(run())
    assert signal.getsignal(number) is before


if __name__ == "__main__":
    main(*sys.argv[1:])
