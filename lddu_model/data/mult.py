"""MulT's feature files, for example ``mosei_senti_data.pkl`` and ``mosei_senti_data_noalign.pkl``.

split -> ``text`` (N, L, D), ``audio``, ``vision``, ``labels`` (sentiment) and ``id`` (N, 3): video,
start and end of the clip. They hold no emotions: these are joined by video and times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model.data.conversion import Conversion, Part, Sequences, counts
from lddu_model.data.fingerprints import MOSEI, identify
from lddu_model.data.mmsa import FIELDS, read_splits
from lddu_model.data.mosei import EMOTIONS, LabelTable, joined, read_label_table
from lddu_model.data.sequences import as_text, padded_spec, unpadded
from lddu_model.errors import DataError


def read_mult(
    path: Path, table: Path | None = None, *, part: bool = False, scratch: Path | None = None
) -> Conversion:
    """A conversion of a MulT file, without labels if there is no `table`."""
    splits = read_splits(path, scratch)
    labels = None if table is None else read_label_table(table)
    spec, aligned = padded_spec("mult", FIELDS, splits)
    parts = {
        split: _part(path, split, fields, labels, aligned=aligned)
        for split, fields in splits.items()
    }
    report: dict[str, Any] = {"source": path.name, "layout": "MulT", "aligned": aligned}
    if labels is not None and not part:
        report["fingerprint"] = identify(MOSEI, counts(parts), str(path))
    return Conversion(spec, EMOTIONS, parts, report)


def _part(
    path: Path, split: str, fields: Mapping[str, Any], table: LabelTable | None, *, aligned: bool
) -> Part:
    clips = [_times(row, f"{path}, {split}") for row in np.asarray(fields["id"]).tolist()]
    arrays = {name: fields[field] for name, field in FIELDS.items()}

    def sequences(i: int) -> Sequences:
        return unpadded({name: x[i] for name, x in arrays.items()}, aligned=aligned)

    ids = [f"{video}@{start:.3f}..{end:.3f}" for video, start, end in clips]
    labels = None
    if table is not None:
        labels = joined([table.at(*clip) for clip in clips], ids, split, path, table)
    return Part(ids, [video for video, *_ in clips], labels, sequences)


def _times(row: list[Any], where: str) -> tuple[str, float, float]:
    try:
        video, start, end = row
        return as_text(video), float(start), float(end)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: the id {row!r} is not video, start, end", "see lddu_model/data/mult.py"
        ) from error
