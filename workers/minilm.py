"""all-MiniLM-L6-v2 (int8, ONNX): English words, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.messages import Float32
from workers.onnx_session import session
from workers.pieces import Piece, TextModelError


class MiniLM:
    """Satisfies ``workers.pieces.Network``."""

    languages = frozenset({"en"})

    def __init__(self, model_dir: Path, threads: int) -> None:
        """Load model.onnx and tokenizer.json. Raises ``TextModelError``."""
        from tokenizers import Tokenizer

        try:
            self._session = session(str(model_dir / "model.onnx"), threads)
            self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        except Exception as error:  # both libraries raise bare or own exceptions of many kinds
            raise TextModelError(
                f"text: {model_dir} cannot be loaded: {error}",
                hint="run: python -m stream.models fetch minilm",
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._unknown = self._token("[UNK]")
        self.begin, self.end = (self._token("[CLS]"),), self._token("[SEP]")
        self.padding = 0

    def pieces(self, words: Sequence[str]) -> list[Piece]:
        """Each word is split alone."""
        found = self._tokenizer.encode_batch(list(words), add_special_tokens=False)
        return [
            Piece(i, row, row, known=i != self._unknown)
            for row, encoding in enumerate(found)
            for i in encoding.ids
        ]

    def states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Float32:
        """See ``Network``."""
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return np.asarray(self._session.run(None, feed)[0], np.float32)

    def _token(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise TextModelError(
                f"text: the tokenizer has no {name}", hint="run: python -m stream.models verify"
            )
        return int(token)
