"""Parts of a text encoder: a tokenizer that knows of which words its pieces are, a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.errors import WorkerError
from workers.messages import Float32


class TextError(WorkerError):
    """The text encoder cannot be loaded or used."""


class TextModelError(TextError, OSError):
    """The model folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the words `first` to `last`; of several where they are written without spaces."""

    id: int
    first: int
    last: int
    known: bool
    """False: the vocabulary does not have it."""


class Network(Protocol):
    """Pieces and what they mean; not for several threads at once."""

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes."""
        ...

    @property
    def begin(self) -> tuple[int, ...]:
        """Tokens in front of every input."""
        ...

    @property
    def end(self) -> int:
        """The token after it."""
        ...

    @property
    def padding(self) -> int:
        """The token that is masked."""
        ...

    def pieces(self, words: Sequence[str]) -> list[Piece]:
        """Tokens of `words` in order."""
        ...

    def states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Float32:
        """Last hidden states (B, T, D) of tokens (B, T), where `mask` is 1."""
        ...
