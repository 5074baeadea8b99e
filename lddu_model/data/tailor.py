"""Files ``train_valid_test.pt`` as TAILOR, CARAT and LDDU read them.

split -> ``src-text`` (N, L, D), ``src-audio``, ``src-visual``, ``tgt``: for each sample the list
[2, e, ..., 3], where e - 4 is the number of an emotion and 2 and 3 are the ends. A list may have
any length from 2 to 8: one with four emotions has six entries and must not be read as six labels.

The files name no clips, so samples are named by split and row, and nothing is known of the videos
that they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model.data.conversion import Conversion, Part, Sequences, counts, split_name
from lddu_model.data.fingerprints import MOSEI, identify
from lddu_model.data.mosei import EMOTIONS
from lddu_model.data.pickles.tree import read_tree
from lddu_model.data.sequences import padded_spec, unpadded
from lddu_model.errors import DataError
from lddu_model.spec import Float32

FIELDS: Mapping[str, str] = {"words": "src-text", "voice": "src-audio", "face": "src-visual"}
BEGIN, END, FIRST = 2, 3, 4
"""Marks of a list, and the code of the first emotion."""
LAYOUT = (
    "the layout is split -> src-text, src-audio, src-visual, tgt; see lddu_model/data/tailor.py"
)


def read_tailor(path: Path, *, part: bool = False, scratch: Path | None = None) -> Conversion:
    """A conversion of such a file, with its own labels."""
    tree = read_tree(path, scratch=scratch)
    splits = {
        split_name(str(name), str(path)): fields
        for name, fields in (tree.items() if isinstance(tree, dict) else ())
        if isinstance(fields, dict) and "tgt" in fields
    }  # beside them lie the settings and the vocabulary
    if not splits:
        raise DataError(f"{path} holds no split with tgt", LAYOUT)
    for split, fields in splits.items():
        missing = [field for field in FIELDS.values() if field not in fields]
        if missing:
            raise DataError(f"{path}, {split} has no {', '.join(missing)}", LAYOUT)
    spec, aligned = padded_spec("tailor", FIELDS, splits)
    parts = {
        split: _part(f"{path}, {split}", split, fields, aligned=aligned)
        for split, fields in splits.items()
    }
    notes = ["the file names no clips: which samples share a video is not known"]
    report: dict[str, Any] = {"source": path.name, "layout": "TAILOR", "notes": notes}
    if not part:
        report["fingerprint"] = identify(MOSEI, counts(parts), str(path))
    return Conversion(spec, EMOTIONS, parts, report)


def emotions(codes: Sequence[int], where: str) -> Float32:
    """(6,) labels of one list [2, e, ..., 3]."""
    inner = list(codes)[1:-1]
    wanted = range(FIRST, FIRST + len(EMOTIONS))
    ends = len(codes) >= 2 and codes[0] == BEGIN and codes[-1] == END
    if not ends or len(set(inner)) != len(inner) or not all(code in wanted for code in inner):
        raise DataError(
            f"{where}: tgt {list(codes)} is not [2, e, ..., 3] with e from 4 to 9", LAYOUT
        )
    labels = np.zeros(len(EMOTIONS), dtype=np.float32)
    labels[[code - FIRST for code in inner]] = 1.0
    return labels


def _part(where: str, split: str, fields: Mapping[str, Any], *, aligned: bool) -> Part:
    rows = [np.asarray(row).tolist() for row in fields["tgt"]]
    for field in FIELDS.values():
        if len(fields[field]) != len(rows):
            raise DataError(f"{where}: {len(fields[field])} of {field} for {len(rows)} tgt", LAYOUT)
    labels = [emotions(row, f"{where}, row {i}") for i, row in enumerate(rows)]

    def sequences(i: int) -> Sequences:
        return unpadded({name: fields[x][i] for name, x in FIELDS.items()}, aligned=aligned)

    ids = [f"{split}-{i}" for i in range(len(rows))]
    stacked = np.stack(labels) if labels else np.zeros((0, len(EMOTIONS)), np.float32)
    return Part(ids, ids, stacked, sequences)
