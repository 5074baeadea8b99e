"""Which stretches of stream time become windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workers.messages import Float32


@dataclass(frozen=True, slots=True)
class Window:
    index: int
    t0: float
    t1: float


class WindowPlan:
    """Windows in order; both their starts and their ends never go backwards."""

    @staticmethod
    def sliding(width: float = 3.0, hop: float = 0.25) -> WindowPlan:
        """[k * hop, k * hop + width) for k = 0, 1, ...; for live calls and recordings."""
        if not (math.isfinite(width) and math.isfinite(hop) and 0 < hop <= width):
            raise ValueError(f"a window plan needs 0 < hop <= width, got {hop} and {width}")
        return WindowPlan(width, hop, None)

    @staticmethod
    def fixed(intervals: Sequence[tuple[float, float]]) -> WindowPlan:
        """Exactly the given (t0, t1), e.g. labelled utterances."""
        for t0, t1 in intervals:
            if not 0 <= t0 < t1:
                raise ValueError(f"interval {t0}..{t1} is empty or starts before 0")
        for (a0, a1), (b0, b1) in pairwise(intervals):
            if b0 < a0 or b1 < a1:
                raise ValueError(f"interval {b0}..{b1} comes after {a0}..{a1}: sort them by time")
        return WindowPlan(None, None, tuple(intervals))

    def __init__(
        self,
        width: float | None,
        hop: float | None,
        intervals: tuple[tuple[float, float], ...] | None,
        first: int = 0,
    ) -> None:
        self.width = width
        self.hop = hop
        self._intervals = intervals
        self._first = first

    def after(self, t: float) -> WindowPlan:
        """Without the sliding windows that begin before `t`; fixed ones are all kept."""
        if self._intervals is not None:
            return self
        assert self.hop is not None
        return WindowPlan(self.width, self.hop, None, math.ceil(t / self.hop - 1e-9))

    def __iter__(self) -> Iterator[Window]:
        if self._intervals is not None:
            for index, (t0, t1) in enumerate(self._intervals):
                yield Window(index, t0, t1)
            return
        assert self.width is not None and self.hop is not None
        index = self._first
        while True:
            t0 = index * self.hop
            yield Window(index, t0, t0 + self.width)
            index += 1


def steps_in(window: Window, rate: float) -> int:
    """Number of feature steps of an evenly sampled modality over `window`, at least 1."""
    return max(1, round((window.t1 - window.t0) * rate))


def step_of(window: Window, steps: int, t: float) -> int:
    """The step of `window` in which time `t` lies (may be outside 0..steps-1)."""
    return math.floor((t - window.t0) / (window.t1 - window.t0) * steps + 1e-9)


def pool(frames: Float32, steps: int) -> Float32:
    """Average (n, D) evenly spaced frames into (steps, D), splitting frames across steps."""
    n = len(frames)
    edges = np.linspace(0, n, steps + 1)
    total = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, axis=0, dtype=float)])
    whole = np.minimum(edges.astype(int), n - 1)
    at_edge = total[whole] + (edges - whole)[:, None] * frames[whole]
    return np.asarray(np.diff(at_edge, axis=0) / (n / steps), dtype=np.float32)
