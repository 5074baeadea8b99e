"""Words to vectors that know what was said before."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from workers.e5 import E5
from workers.messages import Float32, Message, TextFrames, TranscriptSegment, Word, freeze
from workers.minilm import MiniLM
from workers.pieces import Network, Piece

TEXT_DIM = 384
"""Of either encoder."""

MAX_TOKENS = 256
"""Word pieces that are encoded at once: what the smaller model was trained for, all included."""

CONTEXT_WORDS = 16
CONTEXT_S = 6.0
"""Words that ended longer ago are no context."""

Text = tuple[Sequence[str], Sequence[str]]
"""Words, and the words before them."""


@dataclass(frozen=True, slots=True)
class _Input:
    """Tokens of one input, and to which words (rows of the result) each belongs."""

    ids: list[int]
    rows: list[range]
    """Empty: no word of the result (context, what stands around every input, unknown)."""


class TextEncoder:
    """Words to vectors, token by token. One instance serves all sessions.

    The vector of a word is the mean of the last hidden states of its pieces. Pieces that the
    vocabulary does not have are left out; a word of nothing else gets the zero vector.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Load the weights ``minilm`` (a folder) or ``e5-small`` (a file).

        Raises ``TextModelError`` or ``Q4Error``.
        """
        self._network: Network = E5(path, threads) if path.is_file() else MiniLM(path, threads)
        self._lock = threading.Lock()

    @property
    def languages(self) -> frozenset[str]:
        """Whose words it knows, as ISO 639-1 codes."""
        return self._network.languages

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        """Vectors (len(words), ``TEXT_DIM``) of `words`, which follow the words of `context`."""
        return self.encode_many([(words, context)])[0]

    def encode_many(self, texts: Sequence[Text], batch: int = 32) -> list[Float32]:
        """The same for many texts, faster; results do not depend on what else is in the batch."""
        vectors = [np.zeros((len(words), TEXT_DIM), np.float32) for words, _ in texts]
        jobs = [
            (which, each)
            for which, (words, context) in enumerate(texts)
            for each in self._inputs(words, context)
        ]
        jobs.sort(key=lambda job: len(job[1].ids))
        counter = count()
        for _, group in groupby(jobs, key=lambda _: next(counter) // batch):
            some = list(group)
            states = self._run([each.ids for _, each in some])
            for (which, each), state in zip(some, states, strict=True):
                _average(state, each.rows, vectors[which])
        return vectors

    @property
    def _room(self) -> int:
        """Tokens of an input that are its own."""
        return MAX_TOKENS - len(self._network.begin) - 1

    def _inputs(self, words: Sequence[str], context: Sequence[str]) -> Iterator[_Input]:
        """One input, or several where the words do not fit into one."""
        before = [piece.id for piece in self._network.pieces(context)]
        inside: list[Piece] = []
        for group in _groups(self._network.pieces(words)):
            if len(inside) + len(group) > self._room and inside:
                yield self._input(inside, before)
                before, inside = [piece.id for piece in inside], []
            inside += group[: self._room]
        if inside:
            yield self._input(inside, before)

    def _input(self, inside: Sequence[Piece], before: Sequence[int]) -> _Input:
        """Put the last of what was said before in front, as much as fits."""
        left = before[max(0, len(before) - (self._room - len(inside))) :]
        head = [*self._network.begin, *left]
        rows = [range(each.first, each.last + 1) if each.known else range(0) for each in inside]
        ids = [*head, *(piece.id for piece in inside), self._network.end]
        return _Input(ids, [*[range(0)] * len(head), *rows, range(0)])

    def _run(self, inputs: Sequence[list[int]]) -> Float32:
        """Last hidden states (B, T, D), padded at the end."""
        longest = max(map(len, inputs))
        ids = np.full((len(inputs), longest), self._network.padding, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        with self._lock:
            return self._network.states(ids, mask)


class EncodesText(Protocol):
    """What ``TextEncoder`` does."""

    @property
    def languages(self) -> frozenset[str]: ...
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
        if item.language not in self._encoder.languages:
            self._before[item.person].clear()
            return np.zeros((len(item.words), TEXT_DIM), np.float32)
        oldest = item.words[0].t0 - self._context_s
        before = self._before[item.person]
        context = [word.text for word in before if word.t1 >= oldest]
        before.extend(item.words)
        return self._encoder.encode([word.text for word in item.words], context)


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces of words that share none with other words."""
    group: list[Piece] = []
    for piece in pieces:
        if group and piece.first > group[-1].last:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _average(states: Float32, rows: Sequence[range], out: Float32) -> None:
    """Write the mean of the states (T, D) of each row of `out` (n, D)."""
    of_row: dict[int, list[int]] = {}
    for position, some in enumerate(rows):
        for row in some:
            of_row.setdefault(row, []).append(position)
    for row, positions in of_row.items():
        out[row] = states[positions].mean(axis=0)
