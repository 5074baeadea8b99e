"""GoEmotions: comments with several emotions each, as text alone.

A folder with ``train.tsv``, ``dev.tsv`` and, where wanted, ``test.tsv`` (text, numbers of labels
separated by commas, id) and ``labels.txt``; or the same with the mapping to Ekman's emotions as
``ekman_train.tsv`` ... and ``ekman_labels.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lddu_model.data.conversion import Conversion, Part, Sequences, split_name
from lddu_model.data.text_vectors import Encoder, vectors_of
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, ModalitySpec

STEPS = 40
"""Vectors per comment that are kept."""
RENAMED = {"joy": "happy", "sadness": "sad"}
"""Their names -> the ones that other sets use."""
PLACEHOLDER = re.compile(r"\[[A-Z]+\]")
"""``[NAME]`` and the like stand for words that were removed."""
LAYOUT = "see lddu_model/data/goemotions.py for the layout"


def read_goemotions(
    folder: Path,
    encoder: Encoder,
    encoder_name: str,
    *,
    ekman: bool = True,
    cache: Path | None = None,
    progress: bool = False,
) -> Conversion:
    """A conversion with one modality, ``words``: the vectors that `encoder` gives for a text."""
    prefix = "ekman_" if ekman else ""
    names = _lines(folder / f"{prefix}labels.txt")
    labels = tuple(RENAMED.get(name, name) for name in names)
    parts, dims = {}, set()
    for split in ("train", "dev", "test"):
        path = folder / f"{prefix}{split}.tsv"
        if split == "test" and not path.exists():
            continue
        ids, texts, present = read_comments(path, len(labels))
        vectors = vectors_of(texts, encoder, encoder_name, cache, progress=progress)
        dims |= {x.shape[1] for x in vectors}
        parts[split_name(split, str(path))] = _part(ids, vectors, present)
    modality = ModalitySpec("words", dims.pop(), STEPS, None, encoder_name)
    spec = FeatureSpec("goemotions-ekman" if ekman else "goemotions", (modality,))
    return Conversion(spec, labels, parts, {"source": folder.name})


def read_comments(path: Path, count: int) -> tuple[list[str], list[str], Float32]:
    """Ids, texts and (N, count) labels of one file."""
    ids, texts, present = [], [], []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        codes = fields[1].split(",") if len(fields) == 3 else [""]
        if not all(code.isdecimal() and int(code) < count for code in codes):
            raise DataError(f"{path}, line {number} is not text, labels below {count}, id", LAYOUT)
        row = np.zeros(count, dtype=np.float32)
        row[[int(code) for code in codes]] = 1.0
        ids.append(fields[2])
        texts.append(" ".join(PLACEHOLDER.sub(" ", fields[0]).split()))
        present.append(row)
    return ids, texts, np.stack(present)


def _part(ids: Sequence[str], vectors: Sequence[Float32], labels: Float32) -> Part:
    def sequences(i: int) -> Sequences:
        x = vectors[i][:STEPS]
        return ({"words": x}, {"words": np.ones(len(x), dtype=bool)}) if len(x) else ({}, {})

    return Part(ids, ids, labels, sequences)


def _lines(path: Path) -> list[str]:
    try:
        # Only line feeds end a line: comments hold other characters that Python counts as ends.
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", LAYOUT) from error
