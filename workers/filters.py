"""Causal filters of the logits of one person's labels, and smoothers that look both ways.

Every filter is a pure step from one state to the next, so that a revised estimate is applied by
filtering again from its window on. Shapes: C labels, T windows.

Of `Kalman`, the logit is an Ornstein-Uhlenbeck process that returns to the base rate,
and an estimate is it plus noise whose variance is the model's. Windows overlap, so part of the
noise is shared with the window before: that part is a second, autoregressive state whose scale
follows the variance. With nothing coming in, the mean returns to the base and the variance grows to
that of the process: stale estimates fade by themselves.

Sources: Kalman 1960; Rauch, Tung, Striebel 1965. The hidden Markov model is in ``workers.markov``,
what both are compared with in ``workers.baselines``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a filter takes: one window's estimate."""

    t: float
    """Seconds."""
    logit: Float64
    """(C,)"""
    variance: Float64
    """(C,) of the logit."""
    seen: bool = True
    """False: the window held nothing to estimate from; only its time counts."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """The state of a filter after an estimate."""

    t: float
    mean: Float64
    """(C,) logit"""
    variance: Float64
    """(C,) of it"""
    memory: tuple[Float64, ...] = ()
    """What else the filter must know to go on."""


class Filter(Protocol):
    """One rule of smoothing over time."""

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        """The state after `new`; `past` is None at the first estimate."""


@runtime_checkable
class Smoother(Filter, Protocol):
    """A filter that can also look back."""

    def both_ways(self, new: Sequence[Estimate]) -> list[Filtered]:
        """The states of all windows, each given all estimates."""


@dataclass(frozen=True, slots=True)
class Kalman:
    """See the module's docstring."""

    tau: float = 8.0
    """Seconds in which the logit forgets where it was."""
    spread: float | Float64 = 4.0
    """Variance of the process, (C,) or one for all: of the logit where nothing is known."""
    base: Float64 = field(default_factory=lambda: np.zeros(1))
    """(C,) or (1,): logit that the process returns to."""
    shared: float = 0.8
    """Share of the noise's variance that overlapping windows have in common."""
    window: float = 2.0
    """Length of a window in seconds: estimates so far apart share nothing."""
    constant: float | None = None
    """Variance of all estimates, instead of what the model says."""

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        return _state(new.t, self._update(self._predict(past, new), new))

    def both_ways(self, new: Sequence[Estimate]) -> list[Filtered]:
        """Rauch-Tung-Striebel."""
        predicted, updated = [], []
        past: Filtered | None = None
        for each in new:
            predicted.append(self._predict(past, each))
            updated.append(self._update(predicted[-1], each))
            past = _state(each.t, updated[-1])
        smooth = updated[-1:]
        for k in range(len(new) - 2, -1, -1):
            move = self._move(new[k + 1].t - new[k].t, predicted[k + 1][5], updated[k][5])
            smooth.append(_look_back(updated[k], predicted[k + 1], smooth[-1], move))
        return [_state(each.t, x) for each, x in zip(new, reversed(smooth), strict=True)]

    def _noise(self, new: Estimate) -> Float64:
        if self.constant is None:
            return np.maximum(new.variance, SMALLEST)
        return np.full_like(new.logit, self.constant)

    def _move(self, dt: float, noise: Float64, before: Float64) -> tuple[float, Float64]:
        """What of the process, and of the shared noise, is left after `dt` seconds."""
        dt = max(0.0, dt)
        overlap = max(0.0, 1.0 - dt / self.window)
        return math.exp(-dt / self.tau), overlap * np.sqrt(noise / before)

    def _predict(self, past: Filtered | None, new: Estimate) -> tuple[Float64, ...]:
        """x, n, their variances and covariance, and the noise's scale before `new` is known.

        x is the logit's distance to the base, n the shared noise.
        """
        noise = self._noise(new) if new.seen or past is None else past.memory[5]
        zero = np.zeros_like(noise)
        if past is None:
            return zero, zero, zero + self.spread, self.shared * noise, zero, noise
        x, n, xx, nn, xn, before = past.memory
        a, g = self._move(new.t - past.t, noise, before)
        fresh = self.shared * noise - np.square(g) * self.shared * before
        return (
            a * x,
            g * n,
            a * a * xx + (1 - a * a) * self.spread,
            np.square(g) * nn + np.maximum(fresh, 0.0),
            a * g * xn,
            noise,
        )

    def _update(self, predicted: tuple[Float64, ...], new: Estimate) -> tuple[Float64, ...]:
        x, n, xx, nn, xn, noise = predicted
        if not new.seen:
            return (*predicted, np.broadcast_to(self.base, x.shape))
        alone = (1 - self.shared) * noise + SMALLEST
        total = xx + nn + 2 * xn + alone
        surprise = new.logit - self.base - x - n
        gain_x, gain_n = (xx + xn) / total, (nn + xn) / total
        return (
            x + gain_x * surprise,
            n + gain_n * surprise,
            xx - gain_x * (xx + xn),
            nn - gain_n * (nn + xn),
            xn - gain_x * (nn + xn),
            noise,
            np.broadcast_to(self.base, x.shape),
        )


def _state(t: float, updated: tuple[Float64, ...]) -> Filtered:
    return Filtered(t, updated[6] + updated[0], np.maximum(updated[2], SMALLEST), updated[:6])


def _look_back(
    here: tuple[Float64, ...],
    ahead: tuple[Float64, ...],
    smooth: tuple[Float64, ...],
    move: tuple[float, Float64],
) -> tuple[Float64, ...]:
    """One step of Rauch-Tung-Striebel: the state here, given the smoothed one that follows.

    Only the logit's mean and variance and what the next step back needs are right in the result.
    """
    own, expected, known = (_matrix(each) for each in (here, ahead, smooth))
    transition = np.zeros_like(own)
    transition[..., 0, 0], transition[..., 1, 1] = move
    gain = own @ transition @ np.linalg.inv(expected + SMALLEST * np.eye(2))
    change = np.stack([smooth[0] - ahead[0], smooth[1] - ahead[1]], axis=-1)
    moved = np.einsum("cij,cj->ci", gain, change)
    after = own + gain @ (known - expected) @ gain.swapaxes(-1, -2)
    return (
        here[0] + moved[:, 0],
        here[1] + moved[:, 1],
        after[:, 0, 0],
        after[:, 1, 1],
        after[:, 0, 1],
        here[5],
        here[6],
    )


def _matrix(state: tuple[Float64, ...]) -> Float64:
    """(C, 2, 2) covariance."""
    _, _, xx, nn, xn = state[:5]
    return np.stack([np.stack([xx, xn], -1), np.stack([xn, nn], -1)], -2)
