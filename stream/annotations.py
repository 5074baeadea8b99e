"""Labels by people who watched a recording: CSV and ELAN, as stretches of persons.

CSV (or TSV) has a header with ``start``, ``end`` (seconds), ``label`` and, where there are several
people, ``person``. In ELAN a tier belongs to its participant (without one, to whom its name begins
with); its annotations are labels, or everything in it is the label that its name ends with (``p1
happy``). Tiers of speech and the like are left out, and so are those that lddu-live wrote.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from stream.columns import Columns
from stream.datasets import ALIASES
from stream.errors import StreamError
from stream.exports.elan import ANNOTATOR

NONE = ""
"""Says that somebody looked and saw none of the labels."""

LARGEST = 64 * 2**20
"""Bytes of a file of annotations, at most."""


class AnnotationError(StreamError, ValueError):
    """A file of labels that cannot be used; names where."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Somebody looked like `label` in [t0, t1); ``NONE``: like none of the labels."""

    person: str
    label: str
    t0: float
    t1: float


def read_annotations(
    path: Path, columns: Columns, names: Mapping[str, str] | None = None
) -> list[Annotation]:
    """The labels in `path`, in order of time; `names` are further names of labels -> ours.

    Raises ``AnnotationError``.
    """
    known = {**ALIASES, **{label: label for label in columns.labels}, **(names or {})}
    try:
        if path.stat().st_size > LARGEST:
            raise AnnotationError(f"{path} is too large for annotations", hint="check the path")
        read = _elan if path.suffix.lower() == ".eaf" else _table
        found = list(read(path, columns, known))
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="give a CSV with start, end, person and label, or an ELAN .eaf",
        ) from None
    if not found:
        raise AnnotationError(
            f"{path} holds no label of {', '.join(columns.labels)}",
            hint="name other labels with --label THEIRS=OURS; tiers that an export wrote do not "
            "count: copy one to correct it",
        )
    return sorted(found, key=lambda each: (each.t0, each.person, each.label))


def _table(path: Path, columns: Columns, known: Mapping[str, str]) -> Iterator[Annotation]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        missing = {"start", "end", "label"} - set(reader.fieldnames or ())
        if missing:
            raise AnnotationError(
                f"{path} has no column {', '.join(sorted(missing))}",
                hint="its first line must be start,end,person,label",
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            label = _label(row["label"] or "", known, where)
            yield _annotation(
                row.get("person") or "", label, row["start"], row["end"], columns, where
            )


def _elan(path: Path, columns: Columns, known: Mapping[str, str]) -> Iterator[Annotation]:
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # ELAN writes none
            raise AnnotationError(f"{path} declares entities", hint="save it again in ELAN")
        root = ET.fromstring(data)  # noqa: S314  # without entities there is nothing to expand
    except ET.ParseError as error:
        raise AnnotationError(f"{path} is not XML: {error}", hint="save it again in ELAN") from None
    slots = {
        slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iterfind(".//TIME_SLOT")
    }
    for tier in root.iterfind("TIER"):
        if tier.get("ANNOTATOR") == ANNOTATOR:
            continue
        name = tier.get("TIER_ID") or ""
        first, _, last = name.rpartition(" ")
        named = known.get(last.strip().lower())
        person = tier.get("PARTICIPANT") or (first if named is not None else name)
        found = [
            (each.findtext("ANNOTATION_VALUE") or "", *_when(each, slots))
            for each in tier.iterfind(".//ALIGNABLE_ANNOTATION")
        ]
        if named is None and not any(_is_label(text, known) for text, *_ in found):
            continue  # speech, comments
        for text, start, end in found:
            where = f"{path}, tier {name!r}"
            label = named if named is not None else _label(text, known, where)
            yield _annotation(person, label, start, end, columns, where)


def _when(each: ET.Element, slots: Mapping[str | None, str | None]) -> tuple[str, str]:
    times = (slots.get(each.get(f"TIME_SLOT_REF{k}")) for k in (1, 2))
    start, end = (f"{int(t) / 1000:.3f}" if t and t.isdecimal() else "nothing" for t in times)
    return start, end


def _is_label(text: str, known: Mapping[str, str]) -> bool:
    return bool(text.strip()) and text.strip().lower() in known


def _label(text: str, known: Mapping[str, str], where: str) -> str:
    name = text.strip().lower()
    if name and name not in known:
        raise AnnotationError(
            f"{where}: label {text!r} is not known",
            hint="say with --label THEIRS=OURS which one it is (--label THEIRS= for none)",
        )
    return known[name] if name else NONE


def _annotation(
    person: str, label: str, start: str | None, end: str | None, columns: Columns, where: str
) -> Annotation:
    try:
        t0, t1 = float(start or "nothing"), float(end or "nothing")
    except ValueError:
        t0 = t1 = math.nan
    if not 0 <= t0 < t1 < math.inf:
        raise AnnotationError(
            f"{where}: {start} to {end} is no stretch of time",
            hint="give seconds, start before end",
        )
    people: Sequence[str] = columns.tracked
    if not person and len(people) == 1:
        person = people[0]
    if person not in people:
        raise AnnotationError(
            f"{where}: there is no person {person!r} in the records",
            hint=f"people are {', '.join(people) or 'nobody'}",
        )
    return Annotation(person, label, t0, t1)
