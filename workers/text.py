"""Words to vectors that know what was said before."""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workers.errors import WorkerError
from workers.messages import Float32, Message, TextFrames, TranscriptSegment, Word, freeze

TEXT_DIM = 384

MAX_TOKENS = 256
"""Word pieces that are encoded at once: what the model was trained for, with [CLS] and [SEP]."""

LANGUAGES = frozenset({"en"})
"""Languages that all-MiniLM-L6-v2 knows."""

CONTEXT_WORDS = 16
CONTEXT_S = 6.0
"""Words that ended longer ago are no context."""

Text = tuple[Sequence[str], Sequence[str]]
"""Words, and the words before them."""


class TextError(WorkerError):
    """The text encoder cannot be loaded or used."""


class TextModelError(TextError, OSError):
    """The model folder cannot be used."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Word pieces of one input, and to which word (row of the result) each belongs."""

    ids: list[int]
    rows: list[int | None]
    """None: no word of the result (context, [CLS], [SEP], unknown)."""


def silent_onnxruntime() -> Any:
    """The library, which must not tell its maker about this machine.

    It writes a device id and events into the user's cache folder and sends them, unless it finds
    this variable when it is imported; its function ``disable_telemetry_events`` comes too late.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # only where it is used: the stage below runs beside it

    return onnxruntime


class TextEncoder:
    """all-MiniLM-L6-v2 (int8, ONNX), token by token. One instance serves all sessions.

    The vector of a word is the mean of the last hidden states of its word pieces. Pieces that the
    vocabulary does not have are left out; a word of nothing else gets the zero vector.
    """

    def __init__(self, model_dir: Path, *, threads: int = 1) -> None:
        """Load model.onnx and tokenizer.json. Raises ``TextModelError``."""
        from tokenizers import Tokenizer

        onnxruntime = silent_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(model_dir / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        except Exception as error:  # both libraries raise bare or own exceptions of many kinds
            raise TextModelError(
                f"text: {model_dir} cannot be loaded: {error}",
                hint="run: python -m stream.models fetch minilm",
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._unknown = self._token("[UNK]")
        self._first, self._last = self._token("[CLS]"), self._token("[SEP]")
        self._lock = threading.Lock()

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        """Vectors (len(words), ``TEXT_DIM``) of `words`, which follow the words of `context`."""
        return self.encode_many([(words, context)])[0]

    def encode_many(self, texts: Sequence[Text], batch: int = 32) -> list[Float32]:
        """The same for many texts, faster; results do not depend on what else is in the batch."""
        vectors = [np.zeros((len(words), TEXT_DIM), np.float32) for words, _ in texts]
        jobs = [
            (which, pieces)
            for which, (words, context) in enumerate(texts)
            for pieces in self._pieces(words, context)
        ]
        jobs.sort(key=lambda job: len(job[1].ids))
        counter = count()
        for _, group in groupby(jobs, key=lambda _: next(counter) // batch):
            some = list(group)
            states = self._run([pieces.ids for _, pieces in some])
            for (which, pieces), state in zip(some, states, strict=True):
                _average(state, pieces.rows, vectors[which])
        return vectors

    def _token(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise TextModelError(
                f"text: the tokenizer has no {name}", hint="run: python -m stream.models verify"
            )
        return int(token)

    def _pieces(self, words: Sequence[str], context: Sequence[str]) -> Iterator[_Pieces]:
        """One input, or several where the words do not fit into one."""
        before = self._split(context)
        room = MAX_TOKENS - 2
        ids: list[int] = []
        rows: list[int | None] = []
        for row, word in enumerate(self._split(words)):
            if len(ids) + len(word) > room and ids:
                yield self._input(ids, rows, before)
                before, ids, rows = [ids], [], []
            ids += word[:room]
            rows += [row] * len(word[:room])
        if any(row is not None for row in rows):
            yield self._input(ids, rows, before)

    def _input(self, ids: list[int], rows: list[int | None], before: list[list[int]]) -> _Pieces:
        """Put the last of what was said before in front, as much as fits."""
        room = MAX_TOKENS - 2 - len(ids)
        left = [piece for word in before for piece in word]
        left = left[max(0, len(left) - room) :]
        known = [row if i != self._unknown else None for i, row in zip(ids, rows, strict=True)]
        none: list[int | None] = [None] * (1 + len(left))
        return _Pieces([self._first, *left, *ids, self._last], [*none, *known, None])

    def _split(self, words: Sequence[str]) -> list[list[int]]:
        """Word pieces of each word."""
        return [e.ids for e in self._tokenizer.encode_batch(list(words), add_special_tokens=False)]

    def _run(self, inputs: Sequence[list[int]]) -> Float32:
        """Last hidden states (B, T, D), padded at the end."""
        longest = max(map(len, inputs))
        ids = np.zeros((len(inputs), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, pieces in enumerate(inputs):
            ids[row, : len(pieces)] = pieces
            mask[row, : len(pieces)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        with self._lock:
            return np.asarray(self._session.run(None, feed)[0], np.float32)


class EncodesText(Protocol):
    """What ``TextEncoder`` does."""

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32: ...


class TextStage:
    """``TranscriptSegment`` -> ``TextFrames`` of the person who spoke.

    Up to `context_words` words that the person said before, and that ended within `context_s`
    seconds, are the left context. Words of languages that the encoder does not know get zero
    vectors. Segments without words give nothing. All else is passed on in order.
    """

    name = "text"

    def __init__(
        self,
        person: str,
        encoder: EncodesText,
        *,
        context_words: int = CONTEXT_WORDS,
        context_s: float = CONTEXT_S,
    ) -> None:
        self.person = person
        self._encoder = encoder
        self._context_s = context_s
        self._before: defaultdict[str, deque[Word]] = defaultdict(
            lambda: deque(maxlen=context_words)
        )

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        if not isinstance(item, TranscriptSegment):
            return [item]
        if not item.words:
            return []
        t0 = freeze(np.array([word.t0 for word in item.words], np.float64))
        t1 = freeze(np.array([word.t1 for word in item.words], np.float64))
        return [TextFrames(item.person, t0, t1, freeze(self._vectors(item)))]

    def flush(self) -> Sequence[Message]:
        """Nothing is held back."""
        return []

    def _vectors(self, item: TranscriptSegment) -> Float32:
        if item.language not in LANGUAGES:
            self._before[item.person].clear()
            return np.zeros((len(item.words), TEXT_DIM), np.float32)
        oldest = item.words[0].t0 - self._context_s
        before = self._before[item.person]
        context = [word.text for word in before if word.t1 >= oldest]
        before.extend(item.words)
        return self._encoder.encode([word.text for word in item.words], context)


def _average(states: Float32, rows: Sequence[int | None], out: Float32) -> None:
    """Write the mean of the states (T, D) of each row of `out` (n, D)."""
    of_row: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        if row is not None:
            of_row.setdefault(row, []).append(position)
    for row, positions in of_row.items():
        out[row] = states[positions].mean(axis=0)
