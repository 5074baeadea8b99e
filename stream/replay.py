"""Analyse recordings: ``python -m stream.replay FILE... --out DIR`` (or ``FOLDER... --jobs N``).

Writes per recording a JSONL file of records (docs/records.md), a report (docs/reports.md) and a
JSON file about the run, and ends with one line of JSON on standard output that sums up. Exit code
0: all went well; 1: at least one recording could not be read to its end; 2: nothing could be
started. An existing result is replaced when its new one is complete; an incomplete one keeps the
suffix ``.partial``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TextIO

from tqdm import tqdm

from stream import batch, batch_table, records
from stream import config as configuration
from stream.analysis import Outcome, analyze_recording, open_recording
from stream.compare import compare_results
from stream.config import ReplayConfig
from stream.engines import Engines
from stream.errors import ConfigError, MediaError, StreamError, run_command
from stream.exports import EXPORTS
from stream.outputs import Finished, Outputs
from stream.record_types import Record
from stream.report.words import percent
from stream.runs import Plan, beside
from stream.session_replay import replay_session
from stream.smoothing import BASELINES
from stream.tally import Tally
from workers.errors import WorkerError

Progress = Callable[[str, float | None], AbstractContextManager[Callable[[float], None]]]
"""Of a name and seconds (None: unknown): a context whose value hears of the media time reached."""


SEVERAL = 0.25
"""Share of states with several faces from which on it is said that ``--people`` is there."""


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
        if complete:
            beside(self.path).unlink(missing_ok=True)  # it spoke of what is replaced now
        return self.partial.replace(self.path) if complete else self.partial


class Replay:
    """Analyses recordings one after the other with one set of engines.

    `load` gives the engines; it is called when the first recording could be opened. `finish` hears
    of every recording that was read to its end, `progress` how far each is (default: a bar).
    """

    def __init__(
        self,
        config: ReplayConfig,
        load: Callable[[ReplayConfig], Engines],
        *,
        paced: bool = False,
        finish: Callable[[Finished], None] = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        self.paced = paced
        self._finish = finish
        self._progress = progress or _bar
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
            tally = Tally()
            sink = Sink(result, tally)
            start = perf_counter()
            outcome: Outcome | None = None
            try:
                with self._progress(path.name, media.duration) as watch:
                    outcome = await analyze_recording(
                        media,
                        self.config,
                        engines,
                        sink.write,
                        paced=self.paced,
                        watch=watch,
                    )
            finally:
                complete = outcome is not None and outcome.error is None
                written = sink.close(complete=complete)
                wall_s = perf_counter() - start
                self.wall_s += wall_s
                self.tally.add(tally)
        self._account(path, tally, outcome, written, wall_s)

    def _loaded(self) -> Engines:
        if self._engines is None:
            start = perf_counter()
            self._engines = self._load(self.config)
            self.load_s = perf_counter() - start
        return self._engines

    def _account(
        self, path: Path, tally: Tally, outcome: Outcome, written: Path, wall_s: float
    ) -> None:
        for counts in (tally, self.tally):
            counts.seconds += outcome.seconds
            counts.failed += outcome.failed
            counts.dropped += outcome.dropped
        warnings = [*outcome.warnings, *advice(tally, self.config)]
        for warning in warnings:
            print(f"warning: {path}: {warning}", file=sys.stderr)
        for stage, count in outcome.failed.items():
            if count:
                print(f"warning: {path}: {stage} failed on {count} items", file=sys.stderr)
        if outcome.error is None:
            self.tally.results.append(str(written))
            self._finish(Finished(path, written, tally.figures(wall_s), warnings))
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


def advice(tally: Tally, config: ReplayConfig) -> list[str]:
    """What may have been meant otherwise: one person is followed where there were several."""
    share = tally.reasons["several_faces"] / max(1, tally.states)
    if config.people == "many" or share < SEVERAL:
        return []
    what = (
        f"several faces in {percent(share)} of the states: one person is followed, and all speech"
    )
    return [f"{what} is taken for theirs; --people gives everybody estimates of their own"]


def targets(paths: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """(recording, result) for each of `paths`: ``<stem>.jsonl``, made unique where stems clash."""
    return [(row.recording, row.result) for row in batch.find(paths, folder)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stream.replay",
        description="Analyse recordings: records and a report of each.",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="recordings, or folders of them"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of results")
    parser.add_argument(
        *("-j", "--jobs"),
        type=int,
        metavar="N",
        help="so many at a time, in processes of their own; skips what is done already",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="two folders of results, or two JSONL files: where they differ, and why",
    )
    parser.add_argument(
        "--session",
        metavar="SESSION",
        help="a recorded session (its folder, or its name with --folder or --config of the server):"
        " analysed again from its media where kept, else from its estimates, and compared",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="folder of records")
    parser.add_argument(
        "--estimates", action="store_true", help="with --session: not from its media"
    )
    parser.add_argument("--config", type=Path, metavar="TOML", help="e.g. configs/replay.toml")
    parser.add_argument(
        "--baseline", choices=BASELINES, help="a filter without the model's variance, to compare"
    )
    parser.add_argument(
        "--people", action="store_true", help="several people in one picture: estimates for each"
    )
    parser.add_argument("--paced", action="store_true", help="in real time, as a call would be")
    parser.add_argument("--no-report", action="store_true", help="records only")
    parser.add_argument("--plots", action="store_true", help="also PNG and SVG for a paper")
    parser.add_argument(
        "--export",
        nargs="+",
        choices=EXPORTS,
        default=[],
        metavar="FORMAT",
        help=", ".join(EXPORTS),
    )
    parser.add_argument("--embed", action="store_true", help="put the recording into its report")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set window.hop=0.5"
    )
    options = parser.parse_args(arguments)
    if options.session is not None:
        return options
    if options.compare is None and (not options.files or options.out is None):
        parser.error("name recordings, and --out (or --compare A B)")
    if options.jobs is not None and options.jobs < 1:
        parser.error("--jobs: at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.compare is not None:
        return compare_results(*options.compare)
    if options.session is not None:
        return replay_session(
            options.session,
            options.folder,
            options.config,
            configuration.parse_overrides(options.set),
            options.out,
            from_media=not options.estimates,
        )
    overrides = configuration.use_baseline(
        configuration.parse_overrides(options.set), options.baseline
    )
    if options.people:
        overrides["people"] = "many"
    config = configuration.load(ReplayConfig, options.config, overrides)
    _make_folder(options.out)
    outputs = Outputs(
        Plan.of(config, paced=options.paced),
        report=not options.no_report,
        embed=options.embed,
        plots=options.plots,
        formats=tuple(options.export),
    )
    try:
        if options.jobs is not None or any(path.is_dir() for path in options.files):
            return _many(options, outputs)
        return _few(options, config, outputs)
    except OSError as error:
        if isinstance(error, StreamError | WorkerError):
            raise
        raise StreamError(
            f"results cannot be written to {options.out}: {error.strerror}",
            hint="make room, or name another folder with --out",
        ) from error


def _few(options: argparse.Namespace, config: ReplayConfig, outputs: Outputs) -> int:
    """One after the other, in this process."""
    with ExitStack() as opened:

        def load(config: ReplayConfig) -> Engines:
            engines = Engines.load(config)
            opened.callback(engines.close)
            return engines

        replay = Replay(config, load, paced=options.paced, finish=outputs)
        asyncio.run(replay.run(targets(options.files, options.out)))
    print(json.dumps(replay.tally.summary(len(options.files), replay.wall_s, replay.load_s)))
    return 1 if replay.tally.errors else 0


def _many(options: argparse.Namespace, outputs: Outputs) -> int:
    """In processes of their own; what is done is skipped."""
    start = perf_counter()
    rows = batch.run_batch(options.files, options.out, outputs, options.jobs or 1)
    table = batch_table.write_table(rows, options.out / "summary.csv")
    print(batch_table.text_table(rows))
    print(json.dumps(batch_table.summary(rows, perf_counter() - start, table)))
    return 1 if any(row.status == "failed" for row in rows) else 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {folder} cannot be a folder of results: {error.strerror}",
            hint="name a folder that you may write to",
        ) from None


@contextmanager
def _bar(name: str, duration: float | None) -> Iterator[Callable[[float], None]]:
    """Over media time, on standard error, and only where that is a terminal."""
    known = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s, {remaining} left"
    unknown = "{desc} {n:.1f} s, {elapsed}"
    shape = known if duration else unknown
    with tqdm(total=duration, desc=name, disable=None, bar_format=shape) as bar:

        def watch(t: float) -> None:
            bar.update(max(0.0, t - bar.n))

        yield watch


if __name__ == "__main__":
    sys.exit(run_command(main))
