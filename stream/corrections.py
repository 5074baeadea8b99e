"""Labels of people -> training data: ``python -m stream.corrections RECORDS --annotations FILE``.

Where the labels differ from what the states said, the recording goes through ``stream.prepare``
again, with the settings of its analysis, and becomes a set of shards for ``lddu_model.train``
(``--out DIR``). ``--all`` takes everything that is labelled. The table that is made on the way
stays beside the set and can be edited.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stream import runs
from stream.agreement import Extent
from stream.annotations import Annotation, read_annotations
from stream.columns import ACTIVE, UNSURE, Columns, read
from stream.config import PrepareConfig
from stream.errors import StreamError, run_command
from stream.labels_option import add_label_options, names_of
from stream.prepare import prepare
from stream.runs import RunRecord
from workers.errors import WorkerError

SHORTEST_S = 0.5
"""Shorter stretches are left out: they hold too little to learn from."""

SHARED = ("purpose", "purpose_reference", "text_only", "model", "device", "window", "analysis")
"""Settings that preparation takes over from the analysis."""

Stretch = tuple[float, float, tuple[str, ...]]
"""Start and end in seconds, and the labels that people saw."""


def stretches(
    columns: Columns, labels: Sequence[Annotation], extent: Extent, *, everything: bool
) -> list[Stretch]:
    """Stretches of one person with one set of labels; without `everything`, where states differ."""
    person = columns.tracked[0]
    edges = {0.0, columns.duration} if extent == "all" else set()
    edges |= {min(t, columns.duration) for each in labels for t in (each.t0, each.t1)}
    times = sorted(edges)
    found: list[Stretch] = []
    for t0, t1 in pairwise(times):
        held = [each for each in labels if each.t0 <= t0 and each.t1 >= t1]
        if t1 - t0 < SHORTEST_S or (extent == "labelled" and not held):
            continue
        seen = tuple(sorted({each.label for each in held if each.label}))
        if everything or _differs(columns, person, (t0, t1), set(seen)):
            found.append((t0, t1, seen))
    return found


def _differs(columns: Columns, person: str, span: tuple[float, float], seen: set[str]) -> bool:
    """Whether any window with its middle in `span` was decided otherwise, or not at all."""
    track = columns.best(person)
    middle = track.t - columns.hello["window_s"] / 2
    status = track.status[(middle >= span[0]) & (middle < span[1])]
    truth = np.asarray([name in seen for name in columns.labels])
    return bool(((status >= UNSURE) | ((status == ACTIVE) != truth)).any())


def export_corrections(
    run: RunRecord, recording: Path, found: Sequence[Stretch], out: Path
) -> dict[str, Any]:
    """Write table and shards; returns what was made. Raises ``StreamError`` and ``OSError``."""
    table = out.with_name(f"{out.name}.csv")
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "labels", "t0", "t1", "group", "id"])
        for t0, t1, seen in found:
            name = f"{recording.name}@{t0:g}"
            times = [f"{t0:.3f}", f"{t1:.3f}"]
            writer.writerow([recording.name, "|".join(seen), *times, recording.name, name])
    agreed = {key: run.settings["consent"][key] for key in ("version", "face", "voice", "words")}
    config = PrepareConfig.model_validate(
        {
            **{name: run.settings[name] for name in SHARED if name in run.settings},
            "consent": agreed,
            "sets": [
                {
                    "name": out.name,
                    "kind": "table",
                    "path": str(table.resolve()),
                    "media": str(recording.resolve().parent),
                    "mode": "windows",
                    "use": [name for name in ("words", "voice", "face") if agreed[name]],
                }
            ],
        }
    )
    (result,) = prepare(config, out.parent)
    if result.errors:
        raise StreamError(result.errors[0]["error"], hint="check the recording and the table")
    return {"table": str(table), "stretches": len(found), **result.summary()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stream.corrections", description="Labels of people -> training data."
    )
    parser.add_argument("records", type=Path, metavar="RECORDS", help="JSONL of stream.replay")
    add_label_options(parser, required=True)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the set")
    parser.add_argument("--video", type=Path, help="the recording, where it lies elsewhere by now")
    parser.add_argument("--all", action="store_true", help="also where the states were right")
    options = parser.parse_args(arguments)
    columns, run = read(options.records), runs.load(runs.beside(options.records))
    if run is None:
        raise StreamError(
            f"of {options.records} there is no file about its run, so no settings to prepare with",
            hint="analyse the recording with python -m stream.replay",
        )
    if len(columns.tracked) != 1:
        raise StreamError(
            f"{options.records} speaks of {len(columns.tracked)} people; features of training are"
            " those of one person",
            hint="cut the recording so that one person is in it",
        )
    labels = read_annotations(options.annotations, columns, names_of(options.label))
    found = stretches(columns, labels, options.looked_at, everything=options.all)
    if not found:
        print(json.dumps({"stretches": 0, "samples": 0}))
        return 0
    recording = options.video or Path(run.recording)
    try:
        print(json.dumps(export_corrections(run, recording, found, options.out)))
    except OSError as error:
        if isinstance(error, StreamError | WorkerError):
            raise
        raise StreamError(
            f"the set cannot be written to {options.out}: {error.strerror or error}",
            hint="make room, or name another folder with --out",
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
