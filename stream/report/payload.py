"""What the report draws, small enough to travel inside it.

Probabilities become bytes (steps of 1/255, less than a pixel), times 32-bit floats (below a
millisecond within four hours), boxes 16-bit fractions of the picture. All arrays lie behind each
other, gzipped, as base64; ``Payload.layout`` says where each is.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.columns import Columns, Floats, Track, priority
from stream.findings import Span
from stream.report import words

REASON_BITS = 32
"""Reasons of a state are told as bits of a 32-bit number, the most important lowest."""


@dataclass(slots=True)
class Payload:
    """Arrays of one report; ``add`` them, then ``text``."""

    layout: dict[str, list[Any]] = field(default_factory=dict)
    """Name -> [type, first byte, number of values]."""
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Append `values`: uint8, uint16, uint32 or float32."""
        data = np.ascontiguousarray(values).tobytes()
        self.layout[name] = [values.dtype.name, self._size, values.size]
        data += bytes(-len(data) % 4)  # the next one begins where four bytes begin
        self._parts.append(data)
        self._size += len(data)

    def text(self) -> str:
        return base64.b64encode(gzip.compress(b"".join(self._parts), 6, mtime=0)).decode()


def fill(payload: Payload, columns: Columns, spoken: dict[str | None, list[Span]]) -> list[Any]:
    """Add what is drawn of each person; returns what the page needs to know of each."""
    order = sorted(range(len(columns.reasons)), key=lambda k: priority(columns.reasons[k]))
    people = []
    for k, person in enumerate(columns.people):
        tracks = []
        for kind, of in (("smoothed", columns.smoothed), ("live", columns.states)):
            if (track := of.get(person)) is not None and len(track):
                _add_track(payload, f"{k}.{kind}", track, order)
                tracks.append(kind)
        if (faces := columns.faces.get(person)) is not None:
            payload.add(f"{k}.face.t", faces.t.astype(np.float32))
            boxes = np.clip(faces.box, 0.0, 1.0) * 65535
            payload.add(f"{k}.face.box", boxes.round().astype(np.uint16))
        spans = np.asarray(spoken.get(person, []), np.float32).reshape(-1)
        payload.add(f"{k}.speech", spans)
        people.append({"id": person, "tracks": tracks, "face": faces is not None})
    return people


def reasons(columns: Columns) -> list[list[str]]:
    """[name, short name, sentence] of each bit."""
    names = sorted(columns.reasons, key=priority)[:REASON_BITS]
    return [[name, *words.reason(name)] for name in names]


def _add_track(payload: Payload, name: str, track: Track, order: list[int]) -> None:
    payload.add(f"{name}.t", track.t.astype(np.float32))
    for part, values in (("p", track.probability), ("lo", track.low), ("hi", track.high)):
        payload.add(f"{name}.{part}", _bytes(values))
    payload.add(f"{name}.status", np.ascontiguousarray(track.status.T))
    bits = np.zeros(len(track), np.uint32)
    for place, k in enumerate(order[:REASON_BITS]):
        held = track.reasons >> np.uint64(k) & np.uint64(1)
        bits |= held.astype(np.uint32) << np.uint32(place)
    payload.add(f"{name}.reasons", bits)


def _bytes(values: Floats) -> NDArray[np.uint8]:
    """(C, n) bytes of (n, C) probabilities; what is not known is one half."""
    known = np.nan_to_num(values, nan=0.5)
    return np.ascontiguousarray((np.clip(known, 0.0, 1.0) * 255).round().astype(np.uint8).T)
