"""Analyses recordings for ``stream.batch``: JSON lines in (standard input) and out.

First comes what ``Crew`` says of settings and outputs, then one recording per line. Answers:
``{"share"}`` while it works, then ``{"status", "figures", "error", "hint"}``; ``{"fatal", "hint"}``
where nothing can be analysed at all. It ends with its input, in the middle of a recording too: then
nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from lddu_model.errors import ModelError as LdduError
from stream import runs
from stream.config import ReplayConfig
from stream.engines import Engines
from stream.errors import ModelError, StreamError
from stream.outputs import Outputs
from stream.replay import Replay
from stream.runs import Plan
from workers.errors import WorkerError

EVERY_S = 0.5
"""Progress is told this often, at most."""


class Worker:
    """One set of engines for one recording after the other."""

    def __init__(self, hello: dict[str, Any], answers: TextIO) -> None:
        self._config = ReplayConfig.model_validate(hello["settings"])
        self._paced = hello["paced"]
        plan = Plan.of(self._config, paced=self._paced)
        wanted = {**hello["outputs"], "formats": tuple(hello["outputs"]["formats"])}
        self._outputs = Outputs(plan, **wanted)
        self._answers = answers
        self._engines: Engines | None = None

    async def one(self, job: dict[str, Any]) -> None:
        recording, result = Path(job["recording"]), Path(job["result"])
        replay = Replay(
            self._config,
            self._load,
            paced=self._paced,
            finish=replace(self._outputs, contents={recording: job["content"]}),
            progress=self._progress,
        )
        try:
            await replay.run([(recording, result)])
        except (ModelError, LdduError) as error:
            self._say({"fatal": error.message, "hint": error.hint})
            return
        except (StreamError, WorkerError) as error:
            self._failed(error.message, error.hint)
            return
        except OSError as error:
            reason = f"{recording}: its results cannot be written: {error.strerror or error}"
            self._failed(reason, "make room, or name another folder with --out")
            return
        for problem in replay.tally.errors:
            self._failed(str(problem["error"]), str(problem["hint"]))
            return
        run = runs.load(runs.beside(result))
        assert run is not None, "it was just written"
        self._say({"status": "done", "figures": run.figures, "error": "", "hint": ""})

    def close(self) -> None:
        if self._engines is not None:
            self._engines.close()

    def _load(self, config: ReplayConfig) -> Engines:
        if self._engines is None:
            self._engines = Engines.load(config)
        return self._engines

    def _failed(self, error: str, hint: str) -> None:
        self._say({"status": "failed", "figures": {}, "error": error, "hint": hint})

    @contextmanager
    def _progress(self, _: str, duration: float | None) -> Iterator[Callable[[float], None]]:
        told = 0.0

        def watch(t: float) -> None:
            nonlocal told
            if duration and time.monotonic() - told > EVERY_S:
                told = time.monotonic()
                self._say({"share": min(1.0, t / duration)})

        yield watch

    def _say(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), file=self._answers, flush=True)


async def work(answers: TextIO) -> None:
    """Until the input ends."""
    loop = asyncio.get_running_loop()
    jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    threading.Thread(target=_listen, args=(loop, jobs), daemon=True).start()
    worker = Worker(await jobs.get(), answers)
    while True:
        await worker.one(await jobs.get())


def _listen(loop: asyncio.AbstractEventLoop, jobs: asyncio.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(jobs.put_nowait, json.loads(line))
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this
    # Whatever a library prints must not stand between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        asyncio.run(work(answers))


if __name__ == "__main__":
    main()
