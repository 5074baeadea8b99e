"""Analyse recordings: ``python -m stream.replay FILE... --out DIR``.

Writes one JSONL file of records per recording (docs/records.md) and ends with one line of JSON on
standard output that sums up. Exit code 0: all went well; 1: at least one recording could not be
read to its end; 2: nothing could be started. An existing result is replaced when its new one is
complete; an incomplete one keeps the suffix ``.partial``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from tqdm import tqdm

from stream import config as configuration
from stream import records
from stream.analysis import Outcome, analyze_recording, open_recording
from stream.config import ReplayConfig
from stream.engines import Engines
from stream.errors import ConfigError, MediaError, StreamError, run_command
from stream.records import Record
from stream.smoothing import BASELINES
from workers.errors import WorkerError


@dataclass(slots=True)
class Tally:
    """Counts over all recordings of a run."""

    seconds: float = 0.0
    windows: int = 0
    newest: int = -1
    """Index of the newest window of the recording at hand."""
    states: int = 0
    events: int = 0
    words: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    results: list[str] = field(default_factory=list)
    errors: list[dict[str, str | None]] = field(default_factory=list)

    def record(self, record: Record) -> None:
        if record["type"] == "hello":
            self.newest = -1
        elif record["type"] == "state" and record["index"] >= 0:
            self.states += 1
            self.windows += record["index"] > self.newest
            self.newest = max(self.newest, record["index"])
            self.reasons.update(record["reasons"])
        elif record["type"] == "event" and not record["smoothed"]:
            self.events += -1 if record["withdrawn"] else 1
        elif record["type"] == "transcript":
            self.words += len(record["words"])

    def summary(self, files: int, wall_s: float, load_s: float) -> dict[str, Any]:
        return {
            "files": files,
            "media_s": round(self.seconds, 3),
            "wall_s": round(wall_s, 3),
            "load_s": round(load_s, 3),
            "real_time_factor": round(self.seconds / wall_s, 2) if wall_s else 0.0,
            "windows": self.windows,
            "words": self.words,
            "events": self.events,
            "abstained": {
                reason: round(count / self.states, 4)
                for reason, count in sorted(self.reasons.items())
            },
            "failed": {name: count for name, count in self.failed.items() if count},
            "dropped": {name: count for name, count in self.dropped.items() if count},
            "results": self.results,
            "errors": self.errors,
        }


class Sink:
    """Records as lines of a file that gets its name when it is complete."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._tally = tally
        self._file: TextIO = self.partial.open("w", encoding="utf-8")

    async def write(self, record: Record) -> None:
        self._tally.record(record)
        self._file.write(records.to_json(record) + "\n")

    def close(self, *, complete: bool) -> Path:
        """Returns the path under which the records are."""
        self._file.close()
        return self.partial.replace(self.path) if complete else self.partial


class Replay:
    """Analyses recordings one after the other with one set of engines.

    `load` gives the engines; it is called when the first recording could be opened.
    """

    def __init__(
        self, config: ReplayConfig, load: Callable[[ReplayConfig], Engines], *, paced: bool = False
    ) -> None:
        self.config = config
        self.paced = paced
        self.tally = Tally()
        self.load_s = 0.0
        self.wall_s = 0.0
        self._load = load
        self._engines: Engines | None = None

    async def run(self, targets: Sequence[tuple[Path, Path]]) -> None:
        """Analyse each (recording, result); one that fails does not stop the others."""
        for path, result in targets:
            try:
                await self._one(path, result)
            except MediaError as error:  # nothing of it could be read
                self._failed(path, error, None)

    async def _one(self, path: Path, result: Path) -> None:
        with open_recording(path, self.config) as media:
            engines = self._loaded()
            sink = Sink(result, self.tally)
            start = perf_counter()
            outcome: Outcome | None = None
            try:
                with _bar(path.name, media.duration) as bar:
                    outcome = await analyze_recording(
                        media,
                        self.config,
                        engines,
                        sink.write,
                        paced=self.paced,
                        watch=lambda t: _show(bar, t),
                    )
            finally:
                complete = outcome is not None and outcome.error is None
                written = sink.close(complete=complete)
                self.wall_s += perf_counter() - start
        self._account(path, outcome, written)

    def _loaded(self) -> Engines:
        if self._engines is None:
            start = perf_counter()
            self._engines = self._load(self.config)
            self.load_s = perf_counter() - start
        return self._engines

    def _account(self, path: Path, outcome: Outcome, written: Path) -> None:
        self.tally.seconds += outcome.seconds
        self.tally.failed += outcome.failed
        self.tally.dropped += outcome.dropped
        for warning in outcome.warnings:
            print(f"warning: {path}: {warning}", file=sys.stderr)
        for stage, count in outcome.failed.items():
            if count:
                print(f"warning: {path}: {stage} failed on {count} items", file=sys.stderr)
        if outcome.error is None:
            self.tally.results.append(str(written))
        else:
            self._failed(path, outcome.error, written)

    def _failed(self, path: Path, error: MediaError, partial: Path | None) -> None:
        print(f"error: {error.message}", file=sys.stderr)
        print(f"next: {error.hint}", file=sys.stderr)
        if partial is not None:
            print(f"what could be analysed is in {partial}", file=sys.stderr)
        self.tally.errors.append(
            {
                "file": str(path),
                "error": error.message,
                "hint": error.hint,
                "partial": None if partial is None else str(partial),
            }
        )


def targets(paths: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """(recording, result) for each of `paths`: ``<stem>.jsonl``, made unique where stems clash."""
    stems = Counter(path.stem for path in paths)
    taken: set[str] = set()
    result = []
    for path in paths:
        base = path.stem if stems[path.stem] == 1 else path.name
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        result.append((path, folder / f"{name}.jsonl"))
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stream.replay", description="Analyse recordings; one JSONL file each."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of results")
    parser.add_argument("--config", type=Path, metavar="TOML", help="e.g. configs/replay.toml")
    parser.add_argument(
        "--baseline", choices=BASELINES, help="a filter without the model's variance, to compare"
    )
    parser.add_argument("--paced", action="store_true", help="in real time, as a call would be")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set window.hop=0.5"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    overrides = configuration.use_baseline(
        configuration.parse_overrides(options.set), options.baseline
    )
    config = configuration.load(ReplayConfig, options.config, overrides)
    folder = options.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {folder} cannot be a folder of results: {error.strerror}",
            hint="name a folder that you may write to",
        ) from None
    with ExitStack() as opened:

        def load(config: ReplayConfig) -> Engines:
            engines = Engines.load(config)
            opened.callback(engines.close)
            return engines

        replay = Replay(config, load, paced=options.paced)
        try:
            asyncio.run(replay.run(targets(options.files, folder)))
        except OSError as error:
            if isinstance(error, StreamError | WorkerError):
                raise
            raise StreamError(
                f"results cannot be written to {folder}: {error.strerror}",
                hint="make room, or name another folder with --out",
            ) from error
    print(json.dumps(replay.tally.summary(len(options.files), replay.wall_s, replay.load_s)))
    return 1 if replay.tally.errors else 0


def _bar(name: str, duration: float | None) -> tqdm[Any]:
    """Over media time, on standard error, and only where that is a terminal."""
    known = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s, {remaining} left"
    unknown = "{desc} {n:.1f} s, {elapsed}"
    return tqdm(total=duration, desc=name, disable=None, bar_format=known if duration else unknown)


def _show(bar: tqdm[Any], t: float) -> None:
    bar.update(max(0.0, t - bar.n))


if __name__ == "__main__":
    sys.exit(run_command(main))
