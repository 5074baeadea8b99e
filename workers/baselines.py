"""What the filters of ``workers.filters`` are compared with: the same step, no model of time.

Where a window held nothing to estimate from, each keeps what it said before. Source of One-Euro:
Casiez, Roussel, Vogel, CHI 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from workers.filters import SMALLEST, Estimate, Filtered, Float64


@dataclass(frozen=True, slots=True)
class Raw:
    """No smoothing."""

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        return _first(new) if past is None or new.seen else replace(past, t=new.t)


@dataclass(frozen=True, slots=True)
class Ema:
    """Exponential moving average; `tau` is its time constant in seconds."""

    tau: float = 1.0

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        if past is None:
            return _first(new)
        if not new.seen:
            return replace(past, t=new.t)
        keep = math.exp(-(new.t - past.t) / self.tau)
        mean = keep * past.mean + (1 - keep) * new.logit
        return Filtered(new.t, mean, keep * past.variance + (1 - keep) * new.variance)


@dataclass(frozen=True, slots=True)
class OneEuro:
    """A low-pass filter that follows faster what moves faster; frequencies in Hz."""

    min_cutoff: float = 0.2
    beta: float = 0.1
    derivative_cutoff: float = 1.0

    def step(self, past: Filtered | None, new: Estimate) -> Filtered:
        if past is None:
            return _first(new)
        if not new.seen:
            return replace(past, t=new.t)
        dt = max(new.t - past.t, SMALLEST)
        moved = _follow(past.memory[0], (new.logit - past.mean) / dt, self.derivative_cutoff, dt)
        cutoff = self.min_cutoff + self.beta * np.abs(moved)
        mean = _follow(past.mean, new.logit, cutoff, dt)
        variance = _follow(past.variance, new.variance, cutoff, dt)
        return Filtered(new.t, mean, variance, (moved,))


def _first(new: Estimate) -> Filtered:
    return Filtered(new.t, new.logit, new.variance, (np.zeros_like(new.logit),))


def _follow(past: Float64, new: Float64, cutoff: float | Float64, dt: float) -> Float64:
    share = 1.0 / (1.0 + 1.0 / (2.0 * math.pi * np.asarray(cutoff) * dt))
    return np.asarray(past + share * (new - past))
