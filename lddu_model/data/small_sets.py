"""Small sets for tests that take a minute: MOSI vectors per utterance, and emotions of music.

``mosi-csv``: a folder with ``{text,audio,video}_{train,test}0.csv``, one utterance per line, its
last number the label (1 = positive), and, for the names, ``transcripts.csv`` and
``{train,test}_index.csv``. ``emotions-arff``: ``emotions-{train,test}.arff`` with 64 features of
timbre, 8 of rhythm and 6 labels.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lddu_model.data.conversion import Conversion, Part, Sequences
from lddu_model.data.sequences import cleaned
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, ModalitySpec

MOSI_FILES = {"words": "text", "voice": "audio", "face": "video"}
RHYTHM = 8
"""Features of rhythm, which are the last ones before the labels."""


def read_mosi_csv(folder: Path) -> Conversion:
    """One label, ``positive``; every sequence has one step."""
    names = [row[0] for row in _rows(folder / "transcripts.csv")]
    parts, dims = {}, {}
    for split in ("train", "test"):
        tables = {
            name: _numbers(folder / f"{kind}_{split}0.csv") for name, kind in MOSI_FILES.items()
        }
        labels = [table[:, -1] for table in tables.values()]
        if any(len(x) != len(labels[0]) or (x != labels[0]).any() for x in labels):
            raise DataError(
                f"{folder}: the {split} files have different labels", "take one release"
            )
        ids = [names[int(row[0])] for row in _rows(folder / f"{split}_index.csv")]
        features = {name: table[:, :-1] for name, table in tables.items()}
        dims = {name: x.shape[1] for name, x in features.items()}
        groups = [name.rpartition("_")[0] for name in ids]
        parts[split] = _part(ids, groups, labels[0][:, None], features)
    modalities = tuple(
        ModalitySpec(name, dim, 1, None, f"MOSI {MOSI_FILES[name]} per utterance")
        for name, dim in dims.items()
    )
    return Conversion(FeatureSpec("mosi-csv", modalities), ("positive",), parts, _report(folder))


def read_emotions_arff(folder: Path) -> Conversion:
    """Two modalities, ``timbre`` and ``rhythm``, of one step each."""
    parts: dict[str, Part] = {}
    labels: tuple[str, ...] = ()
    dims: dict[str, int] = {}
    for split in ("train", "test"):
        names, count, table = _arff(folder / f"emotions-{split}.arff")
        labels, features = tuple(names[-count:]), table[:, :-count]
        modalities = {"timbre": features[:, :-RHYTHM], "rhythm": features[:, -RHYTHM:]}
        dims = {name: x.shape[1] for name, x in modalities.items()}
        ids = [f"{split}-{i}" for i in range(len(table))]
        parts[split] = _part(ids, ids, table[:, -count:], modalities)
    spec = FeatureSpec(
        "emotions-arff",
        tuple(ModalitySpec(name, dim, 1, None, name) for name, dim in dims.items()),
    )
    return Conversion(spec, labels, parts, _report(folder))


def _report(folder: Path) -> dict[str, object]:
    return {"source": folder.name, "notes": ["no official validation split"]}


def _part(ids: list[str], groups: list[str], labels: Float32, features: dict[str, Float32]) -> Part:
    if any(len(x) != len(ids) for x in features.values()):
        raise DataError(f"{len(ids)} names for {[len(x) for x in features.values()]} rows")

    def sequences(i: int) -> Sequences:
        rows = {name: x[i : i + 1] for name, x in features.items()}
        return rows, {name: np.ones(1, dtype=bool) for name in rows}

    return Part(ids, groups, labels, sequences)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "name the folder of the files"
        ) from error


def _numbers(path: Path) -> Float32:
    try:
        return cleaned(np.array(_rows(path), dtype=np.float64))
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers: {error}") from error


def _arff(path: Path) -> tuple[list[str], int, Float32]:
    """Names of all columns, how many of the last are labels (of 0 and 1), and the numbers."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "name the folder of the files"
        ) from error
    lines = [line for line in lines if line and not line.startswith("%")]
    declared = [line.split(None, 2) for line in lines if line.lower().startswith("@attribute")]
    count = sum(kind.replace(" ", "") == "{0,1}" for _, _, kind in declared)
    rows = [line.split(",") for line in lines if not line.startswith("@")]
    try:
        table = cleaned(np.array(rows, dtype=np.float64))
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers: {error}") from error
    if not count or table.shape[1] != len(declared):
        raise DataError(f"{path} declares {len(declared)} columns, {count} of them labels")
    return [name.strip("'\"") for _, name, _ in declared], count, table
