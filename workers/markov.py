"""A hidden Markov model of a label: there or not, and estimates are what that gives plus noise.

An estimate is ``base +- level`` plus noise whose variance is the model's. Windows overlap, so their
noise goes on from one to the next: it is autoregressive, with a scale that follows the variance,
and what counts of an estimate is what the one before did not already say (Markov-switching
autoregression; Hamilton 1989). An estimate that only repeats a doubtful one is no news then, and
one that jumps away from it is.

With r for the share of the noise that goes on, in units of the noise before, an estimate y (minus
base) is normal around ``m + r (y' - m')`` with variance ``(1 - r^2) noise``, m and m' = +- level
now and before. Everything is in log odds. Forward-backward: Rabiner 1989.
Shapes: C labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from workers.filters import SMALLEST, Estimate, Filtered, Float64

LIMIT = 30.0
"""Of log odds."""

Weights = tuple[Float64 | float, Float64 | float, Float64 | float, Float64 | float]
"""Log weights of staying there, coming, staying away and going, each (C,) or one for all."""


class _Last(NamedTuple):
    """The last window that held something, as the memory of a state."""

    odds: Float64
    """(C,) of a label being there, given it and all before."""
    logit: Float64
    """Minus the base."""
    noise: Float64
    t: Float64


@dataclass(frozen=True, slots=True)
class TwoState:
    """See the module's docstring; the mean is the expected level, around `base`."""

    on: float = 24.0
    """Mean seconds until a label comes."""
    off: float = 8.0
    """Mean seconds that it stays."""
    level: float | Float64 = 2.0
    """(C,) or one for all."""
    level_variance: float = 1.0
    """Of estimates around the levels, beside their own."""
    temper: float = 0.5
    """Weight of all evidence."""
    base: Float64 = field(default_factory=lambda: np.zeros(1))
    constant: float | None = None
    """Variance of all estimates, instead of what the model says."""
    shared: float = 0.0
    """Correlation of the noise of windows that overlap all but completely."""
    window: float = 2.0
    """Length of a window in seconds: estimates so far apart share nothing."""

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        last = _Last(*past.memory) if past else self._start(new)
        return self._said(new.t, *self._forward(last, new))

    def both_ways(self, new: Sequence[Estimate]) -> list[Filtered]:
        """Forward-backward; exact but for windows that held nothing, where noise is not carried."""
        states: list[tuple[Float64, _Last]] = []
        for each in new:
            states.append(self._forward(states[-1][1] if states else self._start(each), each))
        found: list[Filtered] = []
        later, ahead = np.zeros_like(new[-1].logit), None
        for each, (odds, last) in zip(reversed(new), reversed(states), strict=True):
            told = later
            if ahead is not None:
                here = last if each.seen else last._replace(t=np.asarray(each.t))
                stays, comes, away, goes = self._weights(here, ahead, alone=not each.seen)
                told = np.logaddexp(stays + later, goes) - np.logaddexp(comes + later, away)
            found.append(self._said(each.t, odds + told, last))
            if each.seen:
                later, ahead = told, each
        return found[::-1]

    def _start(self, new: Estimate) -> _Last:
        """Before anything was seen: the share of the time that a label is there."""
        none = np.zeros_like(new.logit)
        return _Last(none + math.log(self.off / self.on), none, none + 1.0, np.asarray(-np.inf))

    def _forward(self, last: _Last, new: Estimate) -> tuple[Float64, _Last]:
        """Log odds at `new`, and what to go on from."""
        stays, comes, away, goes = self._weights(last, new)
        odds = np.logaddexp(stays + last.odds, comes) - np.logaddexp(away, goes + last.odds)
        if not new.seen:
            return odds, last
        odds = np.minimum(np.maximum(odds, -LIMIT), LIMIT)
        return odds, _Last(odds, new.logit - self.base, self._noise(new), np.asarray(new.t))

    def _weights(self, last: _Last, new: Estimate, *, alone: bool = False) -> Weights:
        """Of the ways from the state at `last` to that at `new`, given both estimates; `alone`:
        given the new one only.
        """
        dt, rate = new.t - float(last.t), 1 / self.on + 1 / self.off
        moved = 1 - math.exp(-rate * dt)
        come, go = moved / self.on / rate, moved / self.off / rate
        stays, comes = math.log1p(-go), math.log(come)
        away, goes = math.log1p(-come), math.log(go)
        if not new.seen:
            return stays, comes, away, goes
        noise = self._noise(new)
        kept = 0.0 if alone else self.shared * max(0.0, 1.0 - dt / self.window)
        ratio = kept * np.sqrt(noise / last.noise)
        news = new.logit - self.base - ratio * last.logit
        weight = self.temper / (2 * (1 - kept * kept) * noise)
        same, other = self.level * (1 - ratio), self.level * (1 + ratio)
        stay, move = 2 * weight * same * news, 2 * weight * other * news
        still, jump = weight * same * same, weight * other * other
        return stays + stay - still, comes + move - jump, away - stay - still, goes - move - jump

    def _noise(self, new: Estimate) -> Float64:
        own = new.variance if self.constant is None else np.full_like(new.logit, self.constant)
        return np.maximum(own + self.level_variance, SMALLEST)

    def _said(self, t: float, odds: Float64, last: _Last) -> Filtered:
        """The posterior as a logit of the scale of the estimates."""
        half = np.tanh(odds / 2)  # 2 p - 1
        variance = np.square(self.level) * (1 - half * half) + SMALLEST
        return Filtered(t, self.base + self.level * half, variance, last)
