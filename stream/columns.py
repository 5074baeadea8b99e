"""The records of one recording as columns: what reports, tables, exports and comparisons read.

``read`` takes a JSONL file, ``gather`` any records (docs/records.md). States of one person are
arrays over time; of a window that was revised the last state counts, and events that were taken
back are left out.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.earlier import as_now
from stream.errors import StreamError
from stream.record_types import SCHEMA
from workers.states import REASONS

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

INACTIVE, ACTIVE, UNSURE, UNKNOWN = range(4)
"""Codes of a label's status; ``UNKNOWN``: the state says nothing about it (warming up)."""

STATUSES = ("inactive", "active", "unsure", "unknown")
STATUS_CODES = {name: code for code, name in enumerate(STATUSES)}

MAX_REASONS = 63
"""Reasons are bits of a 64-bit integer."""


class RecordsError(StreamError, ValueError):
    """Records that cannot be read; names the file and the line."""


@dataclass(frozen=True, slots=True)
class Track:
    """The states of one person in order of time: n states, C labels."""

    t: Floats
    """(n,) seconds: ends of windows."""
    index: NDArray[np.int64]
    """(n,) number of the window; -1 before the first."""
    revision: NDArray[np.int64]
    probability: Floats
    """(n, C); NaN where the state says nothing about the label."""
    variance: Floats
    """(n, C) of the logit."""
    low: Floats
    """(n, C) lower end of the interval, a probability."""
    high: Floats
    status: Bytes
    """(n, C) codes of ``STATUSES``."""
    reasons: NDArray[np.uint64]
    """(n,) bit k: reason k of ``Columns.reasons``."""
    complete: NDArray[np.bool_]
    trusted: NDArray[np.bool_]
    """(n,) whether the model's variance was trusted."""
    lag: Floats
    """(n,) seconds."""

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """Where the face of one person is: m pictures."""

    t: Floats
    box: Floats
    """(m, 4) x0, y0, x1, y1 over picture width and height."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Everything that a recording's records say."""

    hello: dict[str, Any]
    labels: tuple[str, ...]
    reasons: tuple[str, ...]
    """Names of the reasons that occur in ``Track.reasons``, by bit."""
    people: tuple[str, ...]
    """In order of appearance; nobody for what nobody is known to have said."""
    states: dict[str, Track]
    """By person, as a viewer of a call would have seen them."""
    smoothed: dict[str, Track]
    """By person, by the whole recording; empty where that was not asked for."""
    faces: dict[str, FaceTrack]
    events: list[dict[str, Any]]
    """Event records that hold, in order of ``t``."""
    transcripts: list[dict[str, Any]]
    """Transcript records in order of ``t0``; ``person`` may be None."""
    gaps: list[dict[str, Any]]
    presence: list[dict[str, Any]]
    """Person records."""
    end: str | None
    """Reason of the end; None: the records break off."""

    def best(self, person: str) -> Track:
        """The smoothed states of `person` where there are any, else the others."""
        found = self.smoothed.get(person)
        return self.states[person] if found is None else found

    @property
    def tracked(self) -> tuple[str, ...]:
        """The people of whom there are states."""
        return tuple(person for person in self.people if person in self.states)

    @property
    def is_smoothed(self) -> bool:
        return bool(self.smoothed)

    @property
    def duration(self) -> float:
        """Seconds up to the last thing that is told."""
        ends = [float(track.t[-1]) for track in self.states.values() if len(track)]
        ends += [float(track.t[-1]) for track in self.faces.values() if len(track.t)]
        ends += [each["t1"] for each in (*self.transcripts, *self.gaps)]
        return max(ends, default=0.0)

    def names(self, bits: int) -> tuple[str, ...]:
        """The reasons in a value of ``Track.reasons``, the most important first."""
        found = [name for k, name in enumerate(self.reasons) if int(bits) >> k & 1]
        return tuple(sorted(found, key=priority))


def priority(reason: str) -> int:
    """Order of reasons; those that are not known here come last."""
    return REASONS.index(reason) if reason in REASONS else len(REASONS)


@dataclass(slots=True)
class _Growing:
    """A track that is being read."""

    t: array[float] = field(default_factory=lambda: array("d"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    """index, revision, reasons, complete, trusted of each state."""
    lag: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    """probability, variance, low, high per label."""
    status: array[int] = field(default_factory=lambda: array("B"))

    def finish(self, labels: int) -> Track:
        t = np.frombuffer(self.t, np.float64) if self.t else np.zeros(0)
        numbers = np.asarray(self.numbers, np.int64).reshape(len(t), 5)
        values = np.asarray(self.values, np.float64).reshape(len(t), labels, 4)
        status = np.asarray(self.status, np.uint8).reshape(len(t), labels)
        # Of states of one moment the last that came counts: a later revision.
        order = np.argsort(t, kind="stable")
        last = np.append(np.diff(t[order]) > 0, True)[: len(t)]
        keep = order[last]
        return Track(
            t=t[keep],
            index=numbers[keep, 0],
            revision=numbers[keep, 1],
            probability=values[keep, :, 0],
            variance=values[keep, :, 1],
            low=values[keep, :, 2],
            high=values[keep, :, 3],
            status=status[keep],
            reasons=numbers[keep, 2].astype(np.uint64),
            complete=numbers[keep, 3].astype(bool),
            trusted=numbers[keep, 4].astype(bool),
            lag=np.asarray(self.lag, np.float64)[keep],
        )


@dataclass(slots=True)
class _Gathering:
    hello: dict[str, Any]
    labels: tuple[str, ...]
    reasons: dict[str, int] = field(default_factory=dict)
    people: dict[str, None] = field(default_factory=dict)
    states: dict[str, _Growing] = field(default_factory=dict)
    smoothed: dict[str, _Growing] = field(default_factory=dict)
    faces: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)
    events: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    transcripts: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    presence: list[dict[str, Any]] = field(default_factory=list)
    end: str | None = None

    def take(self, record: Mapping[str, Any]) -> None:
        match record["type"]:
            case "state":
                self._state(record, self.states)
            case "smoothed":
                self._state(record, self.smoothed)
            case "event":
                self._event(dict(record))
            case "transcript":
                if record["person"] is not None:
                    self.people.setdefault(record["person"])
                self.transcripts.append(dict(record))
            case "face":
                self._faces(record)
            case "gap":
                self.gaps.append(dict(record))
            case "person":
                self.people.setdefault(record["person"])
                self.presence.append(dict(record))
            case "end":
                self.end = record["reason"]

    def _state(self, record: Mapping[str, Any], into: dict[str, _Growing]) -> None:
        if record["index"] < 0 and not record["labels"]:
            return  # it says only that nothing has come yet
        self.people.setdefault(record["person"])
        track = into.setdefault(record["person"], _Growing())
        track.t.append(record["t"])
        bits = 0
        for reason in record["reasons"]:
            bits |= 1 << min(self.reasons.setdefault(reason, len(self.reasons)), MAX_REASONS - 1)
        complete, trusted = record["complete"], record["variance_trusted"]
        track.numbers.extend((record["index"], record["revision"], bits, complete, trusted))
        track.lag.append(record["lag_s"])
        said = record["labels"]
        for name in self.labels:
            label = said.get(name)
            if label is None:
                track.values.extend((np.nan,) * 4)
                track.status.append(UNKNOWN)
                continue
            track.values.extend((label["probability"], label["variance"], *label["interval"]))
            track.status.append(STATUS_CODES[label["status"]])

    def _event(self, record: dict[str, Any]) -> None:
        key = tuple(record[name] for name in ("person", "smoothed", "kind", "label", "t"))
        if record["withdrawn"]:
            self.events.pop(key, None)
        else:
            self.events[key] = record

    def _faces(self, record: Mapping[str, Any]) -> None:
        many = bool(self.hello.get("many"))
        for place, face in enumerate(record["faces"]):
            person = face.get("person") or (record["person"] if not many and place == 0 else None)
            if person is None:
                continue  # nobody knows yet whose it is
            t, boxes = self.faces.setdefault(person, (array("d"), array("d")))
            t.append(record["t"])
            boxes.extend(face["box"])

    def finish(self) -> Columns:
        count = len(self.labels)
        return Columns(
            hello=self.hello,
            labels=self.labels,
            reasons=tuple(self.reasons)[:MAX_REASONS],
            people=tuple(self.people),
            states={name: track.finish(count) for name, track in self.states.items()},
            smoothed={name: track.finish(count) for name, track in self.smoothed.items()},
            faces={
                name: FaceTrack(np.asarray(t), np.asarray(boxes).reshape(-1, 4))
                for name, (t, boxes) in self.faces.items()
            },
            events=sorted(self.events.values(), key=lambda event: event["t"]),
            transcripts=sorted(self.transcripts, key=lambda segment: segment["t0"]),
            gaps=sorted(self.gaps, key=lambda gap: gap["t0"]),
            presence=self.presence,
            end=self.end,
        )


def gather(records: Iterable[Mapping[str, Any]], where: str = "records") -> Columns:
    """Columns of `records`, the first of which is the hello. Raises ``RecordsError``."""
    gathering: _Gathering | None = None
    for number, record in enumerate(records, start=1):
        try:
            if gathering is not None:
                gathering.take(record)
            else:
                gathering = _begin(record, where)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, RecordsError):
                raise
            raise RecordsError(
                f"{where}, record {number}: not a record of this schema ({error!r})",
                hint="see docs/records.md; make it anew with python -m stream.replay",
            ) from None
    if gathering is None:
        raise RecordsError(f"{where}: empty", hint="make it anew with python -m stream.replay")
    return gathering.finish()


def _begin(record: Mapping[str, Any], where: str) -> _Gathering:
    if record.get("type") != "hello":
        raise RecordsError(
            f"{where}, record 1: records begin with a hello",
            hint="give a file that python -m stream.replay or stream.sessions export wrote",
        )
    if record["schema"] > SCHEMA:
        raise RecordsError(
            f"{where}: records of schema {record['schema']}, newer than {SCHEMA}, known here",
            hint="install a newer version of lddu-live",
        )
    return _Gathering(dict(record), tuple(record["labels"]))


def read(path: Path) -> Columns:
    """Columns of a JSONL file. Raises ``RecordsError`` that names the line."""
    return gather(lines(path), str(path))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file. Raises ``RecordsError``."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise RecordsError(
                        f"{path}, line {number}: not JSON ({error})",
                        hint="a run that was stopped leaves such a line; make the file anew",
                    ) from None
                if not isinstance(record, dict) or "type" not in record:
                    raise RecordsError(
                        f"{path}, line {number}: not a record (an object with a type)",
                        hint="see docs/records.md",
                    )
                yield as_now(record)
    except (OSError, UnicodeDecodeError) as error:
        raise RecordsError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="name a JSONL file that python -m stream.replay wrote",
        ) from None
