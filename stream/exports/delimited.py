"""CSV: one file per table, a header, dots in numbers, empty where nothing is known (UTF-8)."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from stream.exports import Source, path_of
from stream.tables import tables


def write_csv(source: Source) -> list[Path]:
    """``<stem>.<table>.csv`` for each table."""
    written = []
    for table in tables(source.columns):
        path = path_of(source, f"{table.name}.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([column.name for column in table.columns])
            writer.writerows([_cell(value) for value in row] for row in table.rows())
        written.append(path)
    return written


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value
