"""Vectors of texts: from any function, kept in a file so that each text is encoded once.

An encoder takes a list of texts and gives for each a vector (D,) or one per word (L, D).
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lddu_model.errors import DataError
from lddu_model.files import replacing
from lddu_model.spec import Float32

Encoder = Callable[[Sequence[str]], Sequence[NDArray[np.generic]]]
BATCH = 256


def load_encoder(name: str) -> Encoder:
    """``glove:FILE.npz`` (see ``glove``) or ``package.module:function``."""
    module, _, function = name.partition(":")
    if module == "glove" and function:
        return glove(Path(function))
    try:
        found = getattr(importlib.import_module(module), function or "encode")
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"the text encoder {name!r} cannot be loaded: {error}",
            "give glove:FILE.npz or package.module:function",
        ) from error
    assert callable(found)
    encoder: Encoder = found
    return encoder


def glove(path: Path) -> Encoder:
    """Word vectors from an npz file with `words` (V,) and `vectors` (V, D); unknown words are left
    out, and a text without a known word has no rows.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            vectors = np.asarray(file["vectors"], dtype=np.float32)
            rows = {str(word).lower(): i for i, word in enumerate(file["words"])}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} holds no word vectors: {error}", "it needs words and vectors"
        ) from error

    def encode(texts: Sequence[str]) -> list[Float32]:
        found = []
        for text in texts:
            words = re.findall(r"\w+(?:'\w+)?", text.lower())
            found.append(vectors[[rows[word] for word in words if word in rows]])
        return found

    return encode


def vectors_of(
    texts: Sequence[str],
    encoder: Encoder,
    name: str,
    cache: Path | None = None,
    *,
    progress: bool = False,
) -> list[Float32]:
    """For each text (L, D), where a single vector is one row.

    `cache`: an npz file of what the encoder `name` gave before, to which new texts are added.
    """
    known = {} if cache is None else _read(cache, name)
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    order = list(missing)
    for begin in tqdm(range(0, len(order), BATCH), "texts", disable=not progress, leave=False):
        batch = order[begin : begin + BATCH]
        encoded = encoder([missing[key] for key in batch])
        known |= {
            key: np.atleast_2d(np.asarray(x, dtype=np.float32))
            for key, x in zip(batch, encoded, strict=True)
        }
    dims = {x.shape[1] for x in known.values()}
    if len(dims) > 1:
        raise DataError(f"the text encoder {name!r} gives vectors of {sorted(dims)} features")
    if cache is not None and order:
        _write(cache, name, known)
    return [known[key] for key in keys]


def _read(path: Path, name: str) -> dict[str, Float32]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            encoder = str(file["encoder"])
            keys, lengths, rows = file["keys"], file["lengths"], file["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} holds no cached vectors: {error}", "remove it") from error
    if encoder != name:
        raise DataError(f"{path} is of the encoder {encoder!r}, not {name!r}", "name another file")
    parts = np.split(rows, np.cumsum(lengths)[:-1])
    return {str(key): part for key, part in zip(keys, parts, strict=True)}


def _write(path: Path, name: str, known: dict[str, Float32]) -> None:
    rows = list(known.values())
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            encoder=np.array(name),
            keys=np.array(list(known)),
            lengths=np.array([len(x) for x in rows]),
            rows=np.concatenate(rows),
        )
