"""Folders of labelled recordings as a table for ``stream.prepare`` (kind ``table``).

The table is a CSV with path (relative to the table), labels separated by ``|``, t0 and t1 (seconds;
empty for a whole file), group, split and id, and sometimes more columns. Labels have the names of
CMU-MOSEI's emotions; no label means that none is present.

raw-mosei  ``Raw/Videos/Segmented/Combined/<video>_<clip>.mp4`` (or ``Full/Combined/<video>.mp4``)
           and ``Raw/Transcript/Segmented/Combined/<video>.txt`` with the lines
           ``<video>___<clip>___<start>___<end>___<text>``
raw-mmsa   ``Raw/<video>/<clip>.mp4`` and ``label.csv`` with video_id, clip_id and mode
emodb      sound files of the Berlin database, whose names say speaker and emotion
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from lddu_model.data.conversion import split_name
from lddu_model.data.mosei import EMOTIONS, Clip, read_label_table
from lddu_model.errors import DataError
from lddu_model.files import write_text

COLUMNS = ("path", "labels", "t0", "t1", "group", "split", "id")
TABLE = "recordings.csv"
LAYOUT = "see lddu_model/data/recordings.py for the layout"
EMODB_LETTERS: Mapping[str, str] = {
    "W": "anger",
    "L": "",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "",
}
"""Anger, boredom, disgust, fear, happiness, sadness, neutral."""
EMODB_NAME = re.compile(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]?\.(?:wav|flac)")


@dataclass(frozen=True, slots=True)
class Recording:
    """One row of the table."""

    path: Path
    labels: Sequence[str]
    id: str
    group: str
    split: str = ""
    t0: float | None = None
    t1: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)
    """More columns; the same for all rows of a table."""


@dataclass(frozen=True, slots=True)
class Recordings:
    rows: Sequence[Recording]
    notes: Sequence[str] = ()


def write_recordings(found: Recordings, out: Path) -> Path:
    """Write the table into the folder `out`; returns its path."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(found.rows[0].extra if found.rows else ())])
    for row in found.rows:
        path = os.path.relpath(row.path, out)
        times = ["" if t is None else f"{t:g}" for t in (row.t0, row.t1)]
        extra = [f"{value:.4g}" for value in row.extra.values()]
        labels = "|".join(row.labels)
        writer.writerow([path, labels, *times, row.group, row.split, row.id, *extra])
    write_text(out / TABLE, text.getvalue())
    return out / TABLE


def read_raw_mosei(folder: Path, table: Path) -> Recordings:
    """Clips of a folder of CMU-MOSEI's raw videos, with labels from `table`."""
    raw = folder / "Raw" if (folder / "Raw").is_dir() else folder
    labels = read_label_table(table)
    rows, without_media, without_labels = [], 0, 0
    for video, clip, start, end in _transcribed(raw / "Transcript" / "Segmented" / "Combined"):
        found = labels.named(video, clip) or labels.at(video, start, end)
        segment = raw / "Videos" / "Segmented" / "Combined" / f"{video}_{clip}.mp4"
        whole = raw / "Videos" / "Full" / "Combined" / f"{video}.mp4"
        if found is None:
            without_labels += 1
        elif segment.exists():
            rows.append(_row(segment, found, video, clip))
        elif whole.exists():
            rows.append(_row(whole, found, video, clip, (start, end)))
        else:
            without_media += 1
    notes = _notes(without_labels, without_media)
    if not rows:
        raise DataError(f"{folder} has no clip with labels; {'; '.join(notes)}", LAYOUT)
    return Recordings(rows, notes)


def read_raw_mmsa(folder: Path, table: Path) -> Recordings:
    """Clips of a folder of MMSA's raw videos, with emotions from `table`."""
    labels = read_label_table(table)
    rows, without_media, without_labels = [], 0, 0
    for where, row in rows_of(folder / "label.csv", ("video_id", "clip_id", "mode")):
        video, clip = row["video_id"], row["clip_id"]
        found = labels.named(video, str(int(clip)) if clip.isdecimal() else clip)
        path = folder / "Raw" / video / f"{clip}.mp4"
        split = split_name(row["mode"], where)
        if found is not None and found.split not in ("", split):
            raise DataError(f"{where}: {video}, {clip} is in {split} here, in {found.split} there")
        if found is None:
            without_labels += 1
        elif not path.exists():
            without_media += 1
        else:
            rows.append(_row(path, found, video, clip))
    notes = _notes(without_labels, without_media)
    if not rows:
        raise DataError(f"{folder} has no clip with labels; {'; '.join(notes)}", LAYOUT)
    return Recordings(rows, notes)


def read_emodb(folder: Path) -> Recordings:
    """The sound files of a folder, and of the folders in it."""
    rows = []
    for path in sorted(folder.rglob("*")):
        if match := EMODB_NAME.fullmatch(path.name):
            label = EMODB_LETTERS[match[2]]
            rows.append(Recording(path, [label] if label else [], path.stem, match[1]))
    if not rows:
        raise DataError(f"no file of {folder} is named like 03a01Fa.wav", "name EmoDB's folder")
    return Recordings(rows)


def _row(
    path: Path, found: Clip, video: str, clip: str, times: tuple[float, float] | None = None
) -> Recording:
    present = [name for name, x in zip(EMOTIONS, found.intensity, strict=True) if x > 0]
    t0, t1 = times or (None, None)
    return Recording(path, present, f"{video}_{clip}", video, found.split, t0, t1)


def _notes(without_labels: int, without_media: int) -> list[str]:
    counted = {"labels in the table": without_labels, "a recording": without_media}
    return [f"{n} clips without {what} were left out" for what, n in counted.items() if n]


def _transcribed(folder: Path) -> Iterator[tuple[str, str, float, float]]:
    """Video, clip, start and end of every line of every transcript."""
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise DataError(f"there are no transcripts in {folder}", LAYOUT)
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            # Names of videos may hold the separator, so the name of the file tells where it ends.
            fields = line.removeprefix(path.stem).split("___", 4)
            try:
                yield path.stem, fields[1], float(fields[2]), float(fields[3])
            except (IndexError, ValueError) as error:
                raise DataError(
                    f"{path}, line {number} is not <video>___<clip>___<start>___<end>___<text>",
                    LAYOUT,
                ) from error


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(Where, row) of a table with a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} has no column {', '.join(missing)}", LAYOUT)
            for row in reader:
                yield (
                    f"{path}, line {reader.line_num}",
                    {key: value or "" for key, value in row.items() if key is not None},
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", LAYOUT) from error
