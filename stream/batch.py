"""Many recordings: what is to be done, by whom, and what came of it.

What is done already (the same content, the same settings and model) is skipped, wherever its
results lie below the folder. Each worker is a process of its own (``stream.batch_worker``); one
that dies takes down its recording, not the run.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stream import runs
from stream.datasets import MEDIA_SUFFIXES
from stream.errors import ConfigError, StreamError
from stream.outputs import Outputs
from stream.runs import RunRecord

STOP_S = 5.0
"""How long a worker may take to end when it is asked to."""

MAX_LINE = 1 << 20


@dataclass(slots=True)
class Row:
    """One recording and what became of it."""

    recording: Path
    result: Path
    """Its records."""
    status: str = "waiting"
    """done, skipped (it was done before), same (as another recording of this run) or failed."""
    content: str = ""
    size: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    hint: str = ""


def find(paths: Sequence[Path], out: Path) -> list[Row]:
    """A row per recording: files as they are named, of folders all below them (not in `out`)."""
    rows: list[Row] = []
    for path in paths:
        if path.is_dir():
            rows += _below(path, out)
        else:
            rows.append(Row(path, out / f"{path.stem}.jsonl"))
    _make_unique(rows)
    if not rows:
        raise ConfigError(
            f"no recording was found in {', '.join(map(str, paths))}",
            hint=f"names of recordings end in {', '.join(MEDIA_SUFFIXES)}",
        )
    return rows


def _below(folder: Path, out: Path) -> Iterator[Row]:
    ours = out.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in MEDIA_SUFFIXES or not path.is_file():
            continue
        if not path.resolve().is_relative_to(ours) or ours == folder.resolve():
            yield Row(path, (out / path.relative_to(folder)).with_suffix(".jsonl"))


def _make_unique(rows: Sequence[Row]) -> None:
    """Where results would have one name, the suffix of the recording, then a number, is added."""
    clashes = Counter(row.result for row in rows)
    taken: set[Path] = set()
    for row in rows:
        base = row.result.stem if clashes[row.result] == 1 else row.recording.name
        name, number = base, 2
        while row.result.with_name(f"{name}.jsonl") in taken:
            name, number = f"{base}-{number}", number + 1
        row.result = row.result.with_name(f"{name}.jsonl")
        taken.add(row.result)


def sort_out(rows: Sequence[Row], outputs: Outputs, out: Path) -> list[Row]:
    """Hash all; mark what is done, twice or unreadable; returns what is to be analysed."""
    done = finished(out, outputs.plan.key)
    first: dict[str, Row] = {}
    todo = []
    for row in tqdm(rows, desc="reading", unit="file", disable=None, leave=False):
        try:
            row.content, row.size = runs.sha256(row.recording), row.recording.stat().st_size
        except OSError as error:
            row.status, row.error = "failed", f"{row.recording} cannot be read: {error.strerror}"
            row.hint = "check the path and its permissions"
            continue
        if (found := done.get(row.content)) is not None:
            row.result, run = found
            row.status, row.figures = "skipped", run.figures
            outputs.add(row.recording, row.result, run)
        elif row.content in first:
            row.status, row.result = "same", first[row.content].result
        else:
            first[row.content] = row
            todo.append(row)
    return todo


def finished(out: Path, key: str) -> dict[str, tuple[Path, RunRecord]]:
    """Content -> records and run of everything below `out` that was done with `key`."""
    found = {}
    for path in sorted(out.rglob(f"*{runs.SUFFIX}")):
        run, records = runs.load(path), runs.records_of(path)
        if run is not None and run.key == key and run.holds(records):
            found[run.content] = records, run
    return found


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """One run at a time may write to `out`. Raises ``ConfigError``."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another run is writing to {out}", hint="wait for it, or choose another --out"
            ) from None
        yield


class Crew:
    """Worker processes that take recordings from one queue."""

    def __init__(self, outputs: Outputs, jobs: int) -> None:
        self._jobs = jobs
        self._hello = {
            "settings": outputs.plan.settings,
            "paced": outputs.plan.paced,
            "outputs": {
                name: getattr(outputs, name) for name in ("report", "embed", "plots", "formats")
            },
        }
        self._todo: asyncio.Queue[Row] = asyncio.Queue()
        self._bar: tqdm[Any] | None = None

    async def run(self, todo: Sequence[Row]) -> None:
        """Until every row has a status. Raises ``StreamError`` where no worker can start."""
        for row in todo:
            self._todo.put_nowait(row)
        total = sum(row.size for row in todo)
        shape = "{percentage:3.0f}% |{bar}| {postfix}{elapsed}, about {remaining} left"
        with tqdm(total=total, disable=None, bar_format=shape) as self._bar:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(self._jobs, len(todo))):
                        tasks.create_task(self._employ())
            except ExceptionGroup as group:
                raise group.exceptions[0] from None

    async def _employ(self) -> None:
        """Have a worker work, and another where it died, until nothing is left to do."""
        while not self._todo.empty():
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stream.batch_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": _import_path()},
                limit=MAX_LINE,
            )
            try:
                await self._tell(worker, self._hello)
                while not self._todo.empty() and worker.returncode is None:
                    await self._one(worker, self._todo.get_nowait())
            finally:
                await _dismiss(worker)

    async def _one(self, worker: asyncio.subprocess.Process, row: Row) -> None:
        before = 0.0
        await self._tell(
            worker,
            {"recording": str(row.recording), "result": str(row.result), "content": row.content},
        )
        assert worker.stdout is not None
        while line := await worker.stdout.readline():
            told = json.loads(line)
            if "fatal" in told:
                raise StreamError(told["fatal"], hint=told["hint"])
            if "share" in told:
                before = self._moved(row, before, told["share"])
                continue
            row.status, row.figures = told["status"], told["figures"]
            row.error, row.hint = told["error"], told["hint"]
            break
        else:
            code = await worker.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            row.status, row.error = "failed", f"{row.recording}: its analysis crashed ({how})"
            row.hint = "try it alone; if it crashes again, convert it to mp4 first"
            tqdm.write(f"error: {row.error}\nnext: {row.hint}", file=sys.stderr)
        self._moved(row, before, 1.0)

    def _moved(self, row: Row, before: float, share: float) -> float:
        assert self._bar is not None
        self._bar.set_postfix_str(f"{row.recording.name} ", refresh=False)
        self._bar.update((share - before) * row.size)
        return share

    async def _tell(self, worker: asyncio.subprocess.Process, what: dict[str, Any]) -> None:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(what).encode() + b"\n")
        with suppress(ConnectionError):  # it died: that is found out where it is listened to
            await worker.stdin.drain()


async def _dismiss(worker: asyncio.subprocess.Process) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
    try:
        await asyncio.wait_for(worker.wait(), STOP_S)
    except TimeoutError:
        worker.kill()
        await worker.wait()


def _import_path() -> str:
    """Where a worker finds this package, whatever the working directory."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def run_batch(paths: Sequence[Path], out: Path, outputs: Outputs, jobs: int) -> list[Row]:
    """Analyse what is not done yet of `paths`. Raises ``StreamError`` and ``OSError``."""
    with alone(out):
        rows = find(paths, out)
        todo = sort_out(rows, outputs, out)
        for row in todo:
            row.result.parent.mkdir(parents=True, exist_ok=True)
        if todo:
            asyncio.run(Crew(outputs, jobs).run(todo))
        _share_results(rows)
    return rows


def _share_results(rows: Sequence[Row]) -> None:
    """A recording that is the same as another has the same result, good or bad."""
    first = {row.content: row for row in rows if row.status not in ("same", "skipped")}
    for row in rows:
        if row.status == "same":
            other = first[row.content]
            row.figures = other.figures
            if other.status == "failed":
                row.status, row.error, row.hint = "failed", other.error, other.hint
