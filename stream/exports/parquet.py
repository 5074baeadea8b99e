"""Parquet: one typed file per table, nulls where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from stream.exports import Source, path_of
from stream.tables import Column, tables

TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "text": pa.string()}


def write_parquet(source: Source) -> list[Path]:
    """``<stem>.<table>.parquet`` for each table; the session stands in the file's metadata."""
    about = {"session": str(source.columns.hello["session"]), "schema": "lddu-live records 1"}
    written = []
    for table in tables(source.columns):
        made = pa.table(
            {column.name: _array(column) for column in table.columns}
        ).replace_schema_metadata(about)
        path = path_of(source, f"{table.name}.parquet")
        parquet.write_table(made, path)
        written.append(path)
    return written


def _array(column: Column) -> pa.Array:
    return pa.array(column.values, type=TYPES[column.kind], from_pandas=True)
