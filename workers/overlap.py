"""Several people who speak at once, heard in one mixed track.

A logistic regression on the voice features of a step (``workers.voice``), trained on mixtures of
two voices by ``python -m benchmarks.overlap``, which says how good it is.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cache
from pathlib import Path

import numpy as np

from workers.messages import AcousticFrames, Float32

WEIGHTS = Path(__file__).with_suffix(".npz")

AROUND_S = 0.15
"""What is said of a moment is the mean over so long before and after it."""
KEPT_S = 40.0


@cache
def shipped() -> tuple[Float32, float]:
    """Weights (D,) and bias: above 0 several people speak."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return np.asarray(stored["weights"], np.float32), float(stored["bias"])


class OverlapDetector:
    """Feed windows in order; asks back whether several spoke at a time."""

    def __init__(self, weights: Float32 | None = None, bias: float = 0.0) -> None:
        """Without `weights` (D,): the shipped ones."""
        self._weights, self._bias = (weights, bias) if weights is not None else shipped()
        self._steps: deque[tuple[float, float, float]] = deque()
        """Begin, end, and the evidence for several voices, of each step with speech."""
        self._until = 0.0

    def add(self, window: AcousticFrames) -> None:
        """Take the steps of `window` that no window before it had."""
        if window.features.shape[1:] != self._weights.shape:
            return  # features of another encoder, which nothing was learnt about
        width = (window.t1 - window.t0) / max(1, len(window.mask))
        said = window.features @ self._weights + self._bias
        for i in np.flatnonzero(window.mask):
            begin = window.t0 + i * width
            if begin >= self._until - 1e-6:
                self._steps.append((begin, begin + width, float(said[i])))
        self._until = max(self._until, window.t1)
        while self._steps and self._steps[0][1] < self._until - KEPT_S:
            self._steps.popleft()

    def at(self, t: float, until: float = math.inf) -> bool:
        """Whether several speak at `t`, by what is known up to `until`."""
        late: list[float] = []
        for begin, end, said in reversed(self._steps):
            middle = (begin + end) / 2
            if middle < t - AROUND_S:
                break
            if middle <= t + AROUND_S and end <= until + 1e-6:
                late.append(said)
        return sum(late) > 0
