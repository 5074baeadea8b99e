"""Whether a model's variance may weigh its estimates: it must predict their disagreement.

Two windows that share no input see the same person a little later. Where the variance is
informative, estimates with a larger one disagree more with those that follow, so the rank
correlation of both is positive. A variance that fails this (other data, another microphone, a
model trained without errors in mind) makes a filter worse than none at all; a constant takes its
place then. A variance that hardly varies cannot pass, and loses nothing by it.

The correlation is Spearman's within each label, mean over labels. Its standard error takes one
window length as one observation, for estimates that overlap say the same, and labels as one, for
their errors go together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from workers.filters import SMALLEST, Estimate, Float64


@dataclass(frozen=True, slots=True)
class TrustConfig:
    window: float = 2.0
    """Length of a window in seconds: estimates so far apart share no input."""
    memory: float = 300.0
    """Seconds that are looked back."""
    shortest: float = 30.0
    """Seconds before which nothing is decided."""
    sigmas: float = 1.5
    """Standard errors above 0 that the correlation must be: a variance that says nothing passes in
    one of 15 cases, and one that does (correlation .3, 1 s) fails in one of 14 after 2 minutes."""
    every: float = 5.0
    """Seconds between decisions."""
    most: int = 400
    """Pairs that are kept, evenly over the memory: neighbours say the same."""


@dataclass(frozen=True, slots=True)
class Verdict:
    trusted: bool
    """True until there is enough to decide by."""
    correlation: float | None
    """Of variance with later disagreement; None: not enough is known."""
    error: float | None
    """Its standard error."""


UNDECIDED = Verdict(True, None, None)


class TrustTest:
    """Of one person's estimates, in the order of time."""

    def __init__(self, config: TrustConfig | None = None) -> None:
        self._config = config or TrustConfig()
        self._waiting: deque[Estimate] = deque()
        self._pairs: deque[tuple[float, Float64, Float64]] = deque()
        self.verdict = UNDECIDED
        self._decided = self._next = -np.inf

    def push(self, new: Estimate) -> Verdict:
        """Take an estimate; what is held after it."""
        config = self._config
        if self._waiting and new.t - self._waiting[0].t >= config.window - 1e-6:
            past = self._waiting.popleft()
            moved = np.abs(new.logit - past.logit)
            self._pairs.append((past.t, np.log(past.variance + new.variance), moved))
            if self._pairs[0][0] < new.t - config.memory:
                self._pairs.popleft()
        if new.t >= self._next:
            self._waiting.append(new)
            self._next = new.t + config.memory / config.most - 1e-6
        if new.t - self._decided >= config.every:
            self.verdict, self._decided = self._judge(), new.t
        return self.verdict

    def _judge(self) -> Verdict:
        if not self._pairs:
            return UNDECIDED
        seconds = self._pairs[-1][0] - self._pairs[0][0]
        if seconds < self._config.shortest:
            return UNDECIDED
        _, variance, moved = zip(*self._pairs, strict=True)
        correlation = _rank_correlation(np.array(variance), np.array(moved))
        error = float((self._config.window / seconds) ** 0.5)
        return Verdict(correlation > self._config.sigmas * error, correlation, error)


class Typical:
    """The variance that takes the place of one that is not trusted: the geometric mean, per label,
    of what the model said of a person so far, the last ``LONGEST`` windows foremost.
    """

    LONGEST = 1200

    def __init__(self) -> None:
        self._count = 0
        self._log: Float64 | float = 0.0

    def add(self, variance: Float64) -> None:
        """(C,) of the newest estimate."""
        self._count = min(self._count + 1, self.LONGEST)
        log = np.log(np.maximum(variance, SMALLEST))
        self._log = self._log + (log - self._log) / self._count

    def value(self, otherwise: Float64) -> Float64:
        """(C,) variance; `otherwise` where nothing was added yet."""
        return np.asarray(np.exp(self._log)) if self._count else otherwise


def _rank_correlation(a: Float64, b: Float64) -> float:
    """(N, C) twice -> mean over labels of Spearman's; 0 of a label where one does not vary."""
    x, y = _centred_ranks(a), _centred_ranks(b)
    size = np.sqrt(np.square(x).sum(0) * np.square(y).sum(0))
    each = np.divide((x * y).sum(0), size, out=np.zeros(a.shape[1]), where=size > 0)
    return float(each.mean())


def _centred_ranks(values: Float64) -> Float64:
    """(N, C) -> the rank of each value within its column, minus the mean; ties share theirs."""
    ranks = np.empty_like(values)
    for label, column in enumerate(values.T):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks[:, label] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ranks -= ranks.mean(0)
    return ranks
