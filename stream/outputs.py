"""What is written beside the records of a recording that was analysed to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream import columns, runs
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

    def __call__(self, done: Finished) -> None:
        """Write what is wanted, and last what was done. Raises ``OSError``."""
        content = self.contents.get(done.recording) or runs.sha256(done.recording)
        run = RunRecord(
            recording=str(done.recording.resolve()),
            content=content,
            key=self.plan.key,
            settings=self.plan.settings,
            model=self.plan.model,
            paced=self.plan.paced,
            figures=dict(done.figures),
            warnings=done.warnings,
            versions=runs.versions(),
        )
        beside = runs.beside(done.records)
        beside.unlink(missing_ok=True)  # nothing is done until all of it is
        read = columns.read(done.records)
        if self.report:
            material = material_of(read, run, recording=done.recording, embed=self.embed)
            write_report(material, done.records.with_suffix(".html"))
        if self.plots:
            from stream.report.plots import plot_people  # matplotlib takes a second to load

            plot_people(read, done.records.with_suffix(""))
        if self.formats:
            stem = done.records.with_suffix("")
            export(Source(read, stem, done.recording), self.formats)
        run.write(beside)
