"""Labelled data of several kinds, as recordings and texts with labels.

========  ======================================================================================
table     CSV (or TSV) with the columns ``path`` and ``labels`` (separated by ``|``, may be empty)
          and, where wanted, ``t0`` and ``t1`` (seconds: a stretch of a longer recording),
          ``group``, ``split``, ``id``
emodb     a folder of the Berlin emotional speech database: speaker, text and emotion are in the
          name of the file
segments  a folder with ``segments.csv`` (``video_id``, ``start``, ``end``, ``split`` and a column
          per label, present where > 0) and recordings named after ``video_id``
plain     recordings (``files``) of a folder in which nobody shows any of our labels
text      a TSV without header: text, numbers of its labels separated by commas, id
========  ======================================================================================
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lddu_model.data.recordings import EMODB_LETTERS, EMODB_NAME
from stream.config import SetConfig
from stream.errors import ConfigError
from stream.spec import LABELS

ALIASES: Mapping[str, str] = {
    "joy": "happy",
    "happiness": "happy",
    "sadness": "sad",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
    "neutral": "",
    "none": "",
    "boredom": "",
    "calm": "",
}
"""Common names -> ours; "" means that none of our labels is present."""

MEDIA_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".mov", ".wav", ".flac", ".mp3"),
    *(".m4a", ".m4v", ".3gp", ".mka", ".ogg", ".opus", ".aac", ".avi", ".flv", ".mpg", ".mpeg"),
)
"""Of files that are taken for recordings where a folder is named; others are left alone."""

PLACEHOLDER = re.compile(r"\[[A-Z]+\]")
"""``[NAME]`` and the like stand for words that were removed; nobody says them."""

SAID = re.compile(r"\w")
"""What has neither letter nor digit is not said."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A labelled stretch of a recording."""

    id: str
    labels: frozenset[str]
    t0: float = 0.0
    t1: float | None = None
    """None: to the end of the recording."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is labelled in it, in order of time."""

    path: Path
    group: str
    """What must not be split between training and test: the speaker, where known."""
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    """A labelled text."""

    id: str
    words: tuple[str, ...]
    labels: frozenset[str]
    before: tuple[str, ...] = ()
    """Words that were said right before, and that the labels do not speak of."""


def read_clips(config: SetConfig, root: Path) -> list[Clip]:
    """The recordings of a set. Raises ``ConfigError`` that names file, line and remedy."""
    readers = {
        "table": _read_table,
        "emodb": _read_emodb,
        "segments": _read_segments,
        "plain": _read_plain,
    }
    clips = readers[config.kind](config, root)
    _check_ids([utterance.id for clip in clips for utterance in clip.utterances], config)
    return clips


def read_comments(config: SetConfig, root: Path) -> list[Comment]:
    """The texts of a set. Raises ``ConfigError`` that names file, line and remedy."""
    if config.labels is None:
        raise ConfigError(
            f"set {config.name}: a set of kind text needs the file of its label names",
            hint="set its key 'labels'",
        )
    path = root / config.path
    names = _text(root / config.labels, config).split()
    comments = []
    for number, line in enumerate(_text(path, config).splitlines(), start=1):
        where = f"{path}, line {number}"
        parts = line.split("\t")
        if len(parts) < 2:
            raise ConfigError(
                f"{where}: no tab between text and labels", hint="see stream/datasets.py"
            )
        words = tuple(filter(SAID.search, PLACEHOLDER.sub(" ", parts[0]).split()))
        found = [_name_of(index, names, where) for index in parts[1].split(",") if index]
        labels = _labels(found, config, where)
        comments.append(Comment(parts[2] if len(parts) > 2 else f"line-{number}", words, labels))
    _check_ids([comment.id for comment in comments], config)
    return comments


def _check_ids(ids: Sequence[str], config: SetConfig) -> None:
    if not ids:
        raise ConfigError(
            f"set {config.name}: {config.path} has no labelled data that is asked for",
            hint="check the file, and the key 'split' of the set",
        )
    repeated = [name for name, n in Counter(ids).items() if n > 1]
    if repeated:
        raise ConfigError(
            f"set {config.name}: {len(repeated)} ids in {config.path} are not unique,"
            f" e.g. {repeated[0]!r}",
            hint="give each stretch an id of its own in the column 'id'",
        )


def _name_of(index: str, names: Sequence[str], where: str) -> str:
    if not index.strip().isdecimal() or int(index) >= len(names):
        raise ConfigError(
            f"{where}: there is no label number {index!r} ({len(names)} names are known)",
            hint="correct the line, or the file of label names",
        )
    return names[int(index)]


def _read_table(config: SetConfig, root: Path) -> list[Clip]:
    table = root / config.path
    media = table.parent if config.media is None else root / config.media
    rows: dict[tuple[Path, str], list[Utterance]] = {}
    for where, row in _rows(table, config, ("path", "labels")):
        if config.split is not None and row.get("split") != config.split:
            continue
        path = media / row["path"]
        group = row.get("group") or row["path"]
        t0 = _seconds(row.get("t0"), where) or 0.0
        t1 = _seconds(row.get("t1"), where)
        name = row.get("id") or (row["path"] if t1 is None else f"{row['path']}@{t0:g}")
        labels = _labels(row["labels"].split("|"), config, where)
        rows.setdefault((path, group), []).append(Utterance(name, labels, t0, t1))
    return [_clip(path, group, found) for (path, group), found in rows.items()]


def _read_emodb(config: SetConfig, root: Path) -> list[Clip]:
    folder = root / config.path
    clips = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := EMODB_NAME.fullmatch(path.name):
            label = EMODB_LETTERS[match[2]]
            utterance = Utterance(path.stem, frozenset([label] if label else []))
            clips.append(Clip(path, match[1], (utterance,)))
    if not clips:
        raise ConfigError(
            f"set {config.name}: no file of {folder} is named like 03a01Fa.wav",
            hint="name the folder with the sound files of EmoDB",
        )
    return clips


def _read_plain(config: SetConfig, root: Path) -> list[Clip]:
    clips = []
    for name in config.files:
        path = root / config.path / name
        clips.append(Clip(path, path.stem, (Utterance(path.stem, frozenset()),)))
    return clips


def _read_segments(config: SetConfig, root: Path) -> list[Clip]:
    folder = root / config.path
    rows: dict[str, list[Utterance]] = {}
    columns = ("video_id", "start", "end", *LABELS)
    for where, row in _rows(folder / "segments.csv", config, columns):
        if config.split is not None and row.get("split") != config.split:
            continue
        t0, t1 = _seconds(row["start"], where), _seconds(row["end"], where)
        present = frozenset(name for name in LABELS if (_seconds(row[name], where) or 0.0) > 0)
        video = row["video_id"]
        rows.setdefault(video, []).append(Utterance(f"{video}@{t0:g}", present, t0 or 0.0, t1))
    return [_clip(_recording(folder, video), video, found) for video, found in rows.items()]


def _recording(folder: Path, stem: str) -> Path:
    found = (folder / f"{stem}{suffix}" for suffix in MEDIA_SUFFIXES)
    return next((path for path in found if path.exists()), folder / f"{stem}.mp4")


def _clip(path: Path, group: str, utterances: Sequence[Utterance]) -> Clip:
    return Clip(path, group, tuple(sorted(utterances, key=lambda each: (each.t0, each.t1 or 0.0))))


def _labels(names: Sequence[str], config: SetConfig, where: str) -> frozenset[str]:
    ours = set()
    for name in (name.strip().lower() for name in names):
        label = config.map.get(name, ALIASES.get(name, name))
        if label and label not in LABELS:
            raise ConfigError(
                f"{where}: label {name!r} is none of {', '.join(LABELS)}",
                hint=f'say in [sets.map] of set {config.name} which one it is, or "" for none',
            )
        ours.add(label)
    return frozenset(ours - {""})


def _rows(
    path: Path, config: SetConfig, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of a table with a header."""
    lines = _text(path, config).splitlines()
    reader = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(
            f"set {config.name}: {path} has no column {', '.join(missing)}",
            hint="the first line must name the columns; see stream/datasets.py",
        )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if any(row[name] is None for name in columns):
            raise ConfigError(f"{where} has too few columns", hint="correct the line")
        yield where, {key: value or "" for key, value in row.items() if key is not None}


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number", hint="correct the line") from None


def _text(path: Path, config: SetConfig) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"set {config.name}: {path} cannot be read: {reason}",
            hint="correct its path, or the key 'root' that it is relative to",
        ) from None
