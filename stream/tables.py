"""Records as tables: what CSV, Parquet and data frames hold. docs/exports.md names every column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from stream import findings
from stream.columns import STATUSES, UNKNOWN, Columns, Track

Kind = Literal["float", "int", "bool", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `values` are of its kind; where there is none: NaN in numbers, None in texts."""

    name: str
    kind: Kind
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length."""

    name: str
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].values)

    def rows(self) -> Iterable[tuple[Any, ...]]:
        return zip(*(column.values for column in self.columns), strict=True)


def tables(columns: Columns) -> list[Table]:
    """All of ``MAKERS``."""
    return [make(columns) for make in MAKERS.values()]


def states(columns: Columns) -> Table:
    """What was shown: one row per state and person."""
    return _tracks("states", columns, columns.states)


def smoothed(columns: Columns) -> Table:
    """The same by the whole recording."""
    return _tracks("smoothed", columns, columns.smoothed)


def _tracks(name: str, columns: Columns, of: Mapping[str, Track]) -> Table:
    tracks = list(of.values())

    def joined(pick: Callable[[Track], Any], kind: type) -> list[Any]:
        return [value for track in tracks for value in np.asarray(pick(track), kind).tolist()]

    bits = joined(lambda track: track.reasons, np.uint64)
    why = {value: columns.names(value) for value in set(bits)}
    made = [
        Column("person", "text", [p for p, track in of.items() for _ in range(len(track))]),
        Column("t", "float", joined(lambda track: track.t, float)),
        Column("index", "int", joined(lambda track: track.index, int)),
        Column("revision", "int", joined(lambda track: track.revision, int)),
        Column("complete", "bool", joined(lambda track: track.complete, bool)),
        Column("variance_trusted", "bool", joined(lambda track: track.trusted, bool)),
        Column("lag_s", "float", joined(lambda track: track.lag, float)),
        Column("reason", "text", [why[value][0] if value else None for value in bits]),
        Column("reasons", "text", ["|".join(why[value]) for value in bits]),
    ]
    for c, label in enumerate(columns.labels):
        for part in PARTS:
            of_label = partial(_part, part, c)
            made.append(Column(f"{label}_{part}", "float", joined(of_label, float)))
        codes = joined(partial(_part, "status", c), int)
        said = [None if code == UNKNOWN else STATUSES[code] for code in codes]
        made.append(Column(f"{label}_status", "text", said))
    return Table(name, tuple(made))


def _part(name: str, c: int, track: Track) -> Any:
    """(n,) what `track` says of label `c`."""
    return getattr(track, name)[:, c]


PARTS = ("probability", "variance", "low", "high")
"""What a state says of each label, beside its status."""


def events(columns: Columns) -> Table:
    """Stretches in which a label was present."""
    found = findings.episodes(columns)
    kinds: dict[str, Kind] = dict.fromkeys(("t0", "t1", "peak_t", "peak"), "float")
    return _of("events", found, person="text", label="text", **kinds)


def turning_points(columns: Columns) -> Table:
    """Where what somebody looks like changed."""
    kinds: dict[str, Kind] = {"person": "text", "t": "float", "label": "text"}
    found = findings.turning_points(columns)
    return _of("turning_points", found, **kinds, before="float", after="float")


def segments(columns: Columns) -> Table:
    """Stretches of speech with their text."""
    kinds: dict[str, Kind] = {"person": "text", "t0": "float", "t1": "float", "text": "text"}
    rows = [{"overlap": False, **each} for each in columns.transcripts]
    return _of("segments", rows, **kinds, language="text", overlap="bool")


def words(columns: Columns) -> Table:
    """Every word that was heard."""
    rows = [
        {**word, "person": segment["person"], "segment": number}
        for number, segment in enumerate(columns.transcripts)
        for word in segment["words"]
    ]
    kinds: dict[str, Kind] = {"person": "text", "segment": "int", "t0": "float", "t1": "float"}
    return _of("words", rows, **kinds, text="text", probability="float")


def gaps(columns: Columns) -> Table:
    """What was lost."""
    kinds: dict[str, Kind] = {"person": "text", "source": "text", "t0": "float", "t1": "float"}
    return _of("gaps", columns.gaps, **kinds, reason="text")


def faces(columns: Columns) -> Table:
    """Where the face of each person was."""
    rows = [
        {"person": person, "t": t, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        for person, track in columns.faces.items()
        for t, (x0, y0, x1, y1) in zip(track.t.tolist(), track.box.tolist(), strict=True)
    ]
    kinds: dict[str, Kind] = dict.fromkeys(("t", "x0", "y0", "x1", "y1"), "float")
    return _of("faces", rows, person="text", **kinds)


MAKERS: Mapping[str, Callable[[Columns], Table]] = {
    make.__name__: make
    for make in (states, smoothed, events, turning_points, segments, words, gaps, faces)
}
"""Name of a table -> what makes it."""


def _of(name: str, rows: Sequence[Any], **kinds: Kind) -> Table:
    """A table of objects or mappings, by the names of their attributes or keys."""

    def value(row: Any, key: str, kind: Kind) -> Any:
        found = row.get(key) if isinstance(row, Mapping) else getattr(row, key)
        return float("nan") if found is None and kind == "float" else found

    return Table(
        name,
        tuple(
            Column(key, kind, [value(row, key, kind) for row in rows])
            for key, kind in kinds.items()
        ),
    )
