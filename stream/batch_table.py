"""What a run over many recordings gave: a table to look at, a table to compute with, a line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream.batch import Row
from stream.record_types import SCHEMA
from stream.report.words import percent

FIGURES = (
    *("media_s", "wall_s", "real_time_factor", "windows", "words", "events", "people"),
    *("speech_s", "overlap_s", "turning_points", "unsure"),
)


def write_table(rows: Sequence[Row], path: Path) -> Path:
    """CSV with a row per recording; empty where nothing is known. Raises ``OSError``."""
    labels = list(dict.fromkeys(name for row in rows for name in row.figures.get("active", {})))
    reasons = sorted({name for row in rows for name in row.figures.get("abstained", {})})
    head = ["recording", "status", "records", "sha256", *FIGURES]
    head += [f"active_{name}" for name in labels] + [f"reason_{name}" for name in reasons]
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*head, "error"])
        for row in rows:
            known = row.figures
            line: list[Any] = [row.recording, row.status, row.result, row.content]
            line += [known.get(name, "") for name in FIGURES]
            line += [known.get("active", {}).get(name, "") for name in labels]
            line += [known.get("abstained", {}).get(name, 0 if known else "") for name in reasons]
            writer.writerow([*line, row.error])
    return partial.replace(path)


def text_table(rows: Sequence[Row]) -> str:
    """For a terminal."""
    head = ("recording", "status", "media", "speed", "people", "speech", "events", "not sure")
    lines = [head, *(_line(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _line(row: Row) -> tuple[str, ...]:
    known = row.figures
    if not known:
        return (str(row.recording), row.status, *[""] * 6)
    return (
        str(row.recording),
        row.status,
        f"{known['media_s']:.1f} s",
        f"{known['real_time_factor']:.1f}x",
        str(known.get("people", "")),
        f"{known.get('speech_s', 0.0):.1f} s",
        str(known["events"]),
        percent(known.get("unsure", 0.0)),
    )


def summary(rows: Sequence[Row], wall_s: float, table: Path) -> dict[str, Any]:
    """For the last line of the command."""
    done = [row.figures for row in rows if row.status == "done"]
    media_s = sum(each["media_s"] for each in done)
    counts = Counter(row.status for row in rows)
    return {
        "files": len(rows),
        **{name: counts[name] for name in ("done", "skipped", "same", "failed")},
        "media_s": round(media_s, 3),
        "wall_s": round(wall_s, 3),
        "real_time_factor": round(media_s / wall_s, 2) if wall_s else 0.0,
        "schema": SCHEMA,
        "table": str(table),
        "errors": [
            {"file": str(row.recording), "error": row.error, "hint": row.hint}
            for row in rows
            if row.status == "failed"
        ],
    }
