"""Emotion labels of CMU-MOSEI clips, joined by identifier, never by order.

The table is a CSV with the columns ``video_id``, ``start``, ``end`` (seconds), the six emotions
(averaged annotation from 0 to 3; present where > 0) and, where they are known, ``clip_id`` (the
number in MMSA's names) and ``split`` or ``sdk_split``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lddu_model.data.conversion import split_name
from lddu_model.errors import DataError
from lddu_model.spec import Float32

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
TOLERANCE_S = 0.02
"""Between times that mean the same."""
LAYOUT = "the table needs the columns video_id, start, end and the six emotions"


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of the table."""

    video: str
    clip: str
    """Empty where the table has no clip numbers."""
    start: float
    end: float
    split: str
    """Empty where the table has no splits."""
    intensity: tuple[float, ...]
    """In the order of `EMOTIONS`."""

    @property
    def present(self) -> Float32:
        """(6,) of 0 and 1."""
        return (np.array(self.intensity) > 0).astype(np.float32)


class LabelTable:
    """Clips by name and by time."""

    def __init__(self, path: Path, clips: Iterable[Clip]) -> None:
        self.path = path
        self.clips = list(clips)
        self._named = {(each.video, each.clip): each for each in self.clips if each.clip}
        self._videos: dict[str, list[Clip]] = {}
        for each in self.clips:
            self._videos.setdefault(each.video, []).append(each)

    def named(self, video: str, clip: str) -> Clip | None:
        return self._named.get((video, clip))

    def at(self, video: str, start: float, end: float) -> Clip | None:
        """The clip with these times."""
        for each in self._videos.get(video, ()):
            if abs(each.start - start) < TOLERANCE_S and abs(each.end - end) < TOLERANCE_S:
                return each
        return None

    def split_of(self, video: str) -> str:
        """The split that all clips of a video are in; empty if unknown."""
        splits = {each.split for each in self._videos.get(video, ())}
        return splits.pop() if len(splits) == 1 else ""


def read_label_table(path: Path) -> LabelTable:
    """Read the CSV; every fault is a ``DataError`` with file and line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            missing = [x for x in ("video_id", "start", "end", *EMOTIONS) if x not in columns]
            if missing:
                raise DataError(f"{path} has no column {', '.join(missing)}", LAYOUT)
            return LabelTable(
                path, [_clip(row, f"{path}, line {reader.line_num}") for row in reader]
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", LAYOUT) from error


def _clip(row: dict[str, str | None], where: str) -> Clip:
    try:
        numbers = [float(row[name] or "") for name in ("start", "end", *EMOTIONS)]
    except ValueError as error:
        raise DataError(f"{where}: {error}", LAYOUT) from error
    clip = (row.get("clip_id") or "").strip().removesuffix(".0")
    split = row.get("split") or row.get("sdk_split") or ""
    if split:
        split = split_name(split, where)
    start, end, *intensity = numbers
    return Clip(row["video_id"] or "", clip, start, end, split, tuple(intensity))


def joined(
    found: Sequence[Clip | None], names: Sequence[str], split: str, source: Path, table: LabelTable
) -> Float32:
    """(N, 6) labels; a sample without a row, or of another split, is a ``DataError``."""
    lost = [name for name, clip in zip(names, found, strict=True) if clip is None]
    if lost:
        raise DataError(
            f"{source}, {split}: {len(lost)} of {len(names)} samples have no row in {table.path}, "
            f"for example {', '.join(lost[:3])}",
            "take the label table of the same data set",
        )
    clips = [clip for clip in found if clip is not None]
    moved = [
        name for name, clip in zip(names, clips, strict=True) if clip.split and clip.split != split
    ]
    if moved:
        raise DataError(
            f"{source}: {len(moved)} samples of {split} are in another split of {table.path}, "
            f"for example {', '.join(moved[:3])}",
            "both must have the same split",
        )
    return np.stack([clip.present for clip in clips]) if clips else np.zeros((0, 6), np.float32)
