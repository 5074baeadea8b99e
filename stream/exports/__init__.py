"""Records in the formats of other programmes: ``EXPORTS`` and ``export``. See docs/exports.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from stream.columns import Columns, RecordsError


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported, and where to."""

    columns: Columns
    stem: Path
    """Path of the results without suffix."""
    recording: Path | None = None


Export = Callable[[Source], list[Path]]

EXPORTS: Mapping[str, str] = {
    "csv": "stream.exports.delimited",
    "parquet": "stream.exports.parquet",
    "vtt": "stream.exports.captions",
    "srt": "stream.exports.captions",
    "eaf": "stream.exports.elan",
}
"""Format -> module with ``write_<format>(source)``, loaded when it is asked for."""


def export(source: Source, formats: Sequence[str]) -> list[Path]:
    """Write all `formats`; returns what was written. Raises ``RecordsError`` and ``OSError``."""
    written: list[Path] = []
    for name in formats:
        try:
            module = import_module(EXPORTS[name])
        except ImportError as error:
            raise RecordsError(
                f"export to {name} needs {error.name}, which is not installed",
                hint="pip install -e '.[export]'",
            ) from None
        write: Export = getattr(module, f"write_{name}")
        written += write(source)
    return written


def path_of(source: Source, end: str) -> Path:
    """``<stem>.<end>``."""
    return source.stem.with_name(f"{source.stem.name}.{end}")
