"""MMSA's feature files, for example ``aligned_50.pkl`` and ``unaligned_50.pkl``.

split -> ``id`` "<video>$_$<clip>", ``text`` (N, L, D), ``audio``, ``vision``, and, where they are
there, ``text_bert`` (N, 3, L: token, mask, segment), ``audio_lengths``, ``vision_lengths``. The
files hold sentiment but no emotions: these are joined from a table by the name of the clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.conversion import Conversion, Part, Sequences, counts, split_name
from lddu_model.data.fingerprints import MOSEI, identify
from lddu_model.data.mosei import EMOTIONS, LabelTable, joined, read_label_table
from lddu_model.data.pickles.tree import read_tree
from lddu_model.data.sequences import as_text, padded_spec, unpadded
from lddu_model.errors import DataError
from lddu_model.spec import Bool, Float32

FIELDS: Mapping[str, str] = {"words": "text", "voice": "audio", "face": "vision"}
"""Our modalities -> names in the file."""
LAYOUT = "MMSA's layout is split -> id, text, audio, vision; see lddu_model/data/mmsa.py"
Arrays = Mapping[str, NDArray[np.generic]]


def read_mmsa(
    path: Path, table: Path | None = None, *, part: bool = False, scratch: Path | None = None
) -> Conversion:
    """A conversion of an MMSA file, without labels if there is no `table`.

    `part`: the file is not a whole release, its counts are reported instead of checked.
    """
    splits = read_splits(path, scratch)
    labels = None if table is None else read_label_table(table)
    spec, aligned = padded_spec("mmsa", FIELDS, splits)
    parts = {
        split: _part(path, split, fields, labels, aligned=aligned)
        for split, fields in splits.items()
    }
    report: dict[str, Any] = {"source": path.name, "layout": "MMSA", "aligned": aligned}
    if labels is not None and not part:
        report["fingerprint"] = identify(MOSEI, counts(parts), str(path))
    return Conversion(spec, EMOTIONS, parts, report)


def read_splits(path: Path, scratch: Path | None = None) -> dict[str, dict[str, Any]]:
    """Split -> field -> values, checked for the fields and shapes that are needed."""
    tree = read_tree(path, scratch=scratch)
    if not isinstance(tree, dict) or not tree:
        raise DataError(f"{path} holds no splits", LAYOUT)
    splits = {split_name(str(name), str(path)): fields for name, fields in tree.items()}
    for split, fields in splits.items():
        where = f"{path}, {split}"
        needed = ("id", *FIELDS.values())
        missing = [x for x in needed if not isinstance(fields, dict) or x not in fields]
        if missing:
            raise DataError(f"{where} has no {', '.join(missing)}", LAYOUT)
        for name in FIELDS.values():
            shape = np.shape(fields[name])
            if len(shape) != 3 or shape[0] != len(fields["id"]):
                raise DataError(f"{where}: {name} {shape} for {len(fields['id'])} samples", LAYOUT)
    return splits


def clip_of(name: object, where: str) -> tuple[str, str]:
    """Video and clip of "<video>$_$<clip>"."""
    video, separator, clip = as_text(name).rpartition("$_$")
    if not separator:
        raise DataError(f"{where}: the name {as_text(name)!r} is not <video>$_$<clip>", LAYOUT)
    return video, clip


def emotions_of(
    path: Path, split: str, names: Sequence[tuple[str, str]], table: LabelTable
) -> Float32:
    """(N, 6) labels of the clips (video, clip) of one split."""
    found = [table.named(video, clip) for video, clip in names]
    return joined(found, ["$_$".join(name) for name in names], split, path, table)


def _part(
    path: Path, split: str, fields: Mapping[str, Any], table: LabelTable | None, *, aligned: bool
) -> Part:
    names = [clip_of(name, f"{path}, {split}") for name in fields["id"]]
    arrays: Arrays = {name: fields[field] for name, field in FIELDS.items()}
    lengths = {
        name: np.asarray(fields[f"{field}_lengths"])
        for name, field in FIELDS.items()
        if f"{field}_lengths" in fields
    }
    tokens = _tokens(fields, arrays["words"])

    def sequences(i: int) -> Sequences:
        return unpadded(
            {name: x[i] for name, x in arrays.items()},
            {name: int(x[i]) for name, x in lengths.items()},
            {} if tokens is None else {"words": tokens[i]},
            aligned=aligned,
        )

    labels = None if table is None else emotions_of(path, split, names, table)
    ids = [f"{video}_{clip}" for video, clip in names]
    return Part(ids, [video for video, _ in names], labels, sequences)


def _tokens(fields: Mapping[str, Any], words: NDArray[np.generic]) -> Bool | None:
    """(N, L) which rows of the text are tokens, where the file says it."""
    bert = fields.get("text_bert")
    if not isinstance(bert, np.ndarray) or bert.shape != (words.shape[0], 3, words.shape[1]):
        return None
    found: Bool = np.asarray(bert[:, 1] > 0)
    return found
