"""What is written beside the records of a recording that was analysed to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stream import columns, findings, runs
from stream.columns import Columns
from stream.exports import Source, export
from stream.report.build import material_of, write_report
from stream.runs import Plan, RunRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording, its complete records, and what it gave."""

    recording: Path
    records: Path
    figures: Mapping[str, Any]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Called with each finished recording."""

    plan: Plan
    report: bool = True
    embed: bool = False
    plots: bool = False
    """Also PNG and SVG of each person."""
    formats: tuple[str, ...] = ()
    """Of ``stream.exports.EXPORTS``."""
    contents: dict[Path, str] = field(default_factory=dict)
    """SHA-256 of recordings where they are known already."""

    @property
    def wanted(self) -> set[str]:
        """Names of what is written beside the records."""
        report = {"report, embedded" if self.embed else "report"} if self.report else set()
        return report | ({"plots"} if self.plots else set()) | set(self.formats)

    def __call__(self, done: Finished) -> None:
        """Write what is wanted, and last what was done. Raises ``OSError``."""
        read = columns.read(done.records)
        run = RunRecord(
            recording=str(done.recording.resolve()),
            content=self.contents.get(done.recording) or runs.sha256(done.recording),
            key=self.plan.key,
            settings=self.plan.settings,
            model=self.plan.model,
            paced=self.plan.paced,
            figures={**done.figures, **seen(read)},
            warnings=done.warnings,
            records_bytes=done.records.stat().st_size,
            outputs=[],
            versions=runs.versions(),
        )
        self._write(read, run, done.recording, done.records)

    def add(self, recording: Path, records: Path, run: RunRecord) -> None:
        """Write what is wanted and not there yet, from records that are. Raises ``OSError``."""
        if self.wanted - set(run.outputs):
            self._write(columns.read(records), run, recording, records)

    def _write(self, read: Columns, run: RunRecord, recording: Path, records: Path) -> None:
        beside, stem = runs.beside(records), records.with_name(records.name[: -len(".jsonl")])
        if self.report:
            material = material_of(read, run, recording=recording, embed=self.embed)
            write_report(material, records.with_suffix(".html"))
        if self.plots:
            from stream.report.plots import plot_people  # matplotlib takes a second to load

            plot_people(read, stem)
        export(Source(read, stem, recording), self.formats)
        replace(run, outputs=sorted({*run.outputs, *self.wanted})).write(beside)


def seen(read: Columns) -> dict[str, Any]:
    """Figures about the people of one recording; shares are of the states of all of them."""
    spoken = findings.speech(read)
    tracks = [read.best(person) for person in read.tracked]
    status = np.concatenate([track.status for track in tracks]) if tracks else None
    shares = {} if status is None else (status == columns.ACTIVE).mean(axis=0).tolist()
    unsure = 0.0 if status is None else float((status >= columns.UNSURE).mean())
    return {
        "people": len(read.people),
        "speech_s": round(sum(findings.seconds(spans) for spans in spoken.values()), 2),
        "overlap_s": round(findings.seconds(findings.overlap(read, spoken)), 2),
        "turning_points": len(findings.turning_points(read)),
        "unsure": round(unsure, 4),
        "active": {name: round(share, 4) for name, share in zip(read.labels, shares, strict=False)},
    }
