"""Records as a pandas data frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.columns import Columns, gather, read
from stream.errors import StreamError
from stream.tables import MAKERS

if TYPE_CHECKING:
    import pandas as pd

DTYPES = {"float": "float64", "int": "int64", "bool": "bool", "text": "object"}


def frame(
    records: Columns | Iterable[Mapping[str, Any]] | str | os.PathLike[str],
    table: str = "states",
) -> pd.DataFrame:
    """One table of records: what ``stream.analyze`` yields, a JSONL file of them, or columns.

    `table` is one of those of docs/exports.md: states, smoothed, events, turning_points, segments,
    words, gaps, faces. Raises ``RecordsError``, and ``StreamError`` for an unknown table or without
    pandas (``pip install -e '.[export]'``).
    """
    if table not in MAKERS:
        raise StreamError(f"there is no table {table!r}", hint=f"one of {', '.join(MAKERS)}")
    try:
        import pandas as pd
    except ImportError:
        raise StreamError(
            "a data frame needs pandas, which is not installed",
            hint="pip install -e '.[export]'",
        ) from None
    if isinstance(records, str | os.PathLike):
        records = read(Path(records))
    columns = records if isinstance(records, Columns) else gather(records)
    return pd.DataFrame(
        {
            column.name: pd.Series(column.values, dtype=DTYPES[column.kind])
            for column in MAKERS[table](columns).columns
        }
    )
