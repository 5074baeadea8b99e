"""From a filtered logit to present or not: hysteresis, dwell, and the events they make.

A label becomes present when its logit rises `hysteresis` above its threshold, absent when it falls
as far below, and keeps what it became for at least `dwell` seconds. Shapes: C labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.filters import Float64

EventKind = Literal["onset", "offset"]


@dataclass(frozen=True, slots=True)
class Event:
    """A label came or went."""

    kind: EventKind
    label: int
    """Its index."""
    t: float
    """Seconds: when it was decided."""
    peak: float
    """Largest logit while it was present; of an onset the logit so far."""
    peak_t: float


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """See the module's docstring."""

    threshold: Float64
    """(C,) logits"""
    hysteresis: float = 0.3
    dwell: float = 1.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What holds from `t` on."""

    t: float
    present: NDArray[np.bool_]
    """(C,)"""
    since: Float64
    """(C,) when it became so; -inf: from the beginning."""
    peak: Float64
    peak_t: Float64
    events: tuple[Event, ...] = ()
    """What was decided at `t`."""


def decide(config: DecisionConfig, past: Decided | None, t: float, logit: Float64) -> Decided:
    """The decision at `t`, given that before; pure, so that a revision can be decided again."""
    if past is None:
        present = logit >= config.threshold
        since = np.full(len(logit), -np.inf)
        peak, peak_t = logit.astype(np.float64), np.full(len(logit), t)
        return Decided(t, present, since, peak, peak_t, _events(t, present, present, peak, peak_t))
    free = t - past.since >= config.dwell
    rises = free & ~past.present & (logit >= config.threshold + config.hysteresis)
    falls = free & past.present & (logit < config.threshold - config.hysteresis)
    present = (past.present | rises) & ~falls
    changed = rises | falls
    higher = rises | (past.present & (logit > past.peak))
    peak, peak_t = np.where(higher, logit, past.peak), np.where(higher, t, past.peak_t)
    since = np.where(changed, t, past.since)
    return Decided(t, present, since, peak, peak_t, _events(t, changed, present, peak, peak_t))


def _events(
    t: float,
    changed: NDArray[np.bool_],
    present: NDArray[np.bool_],
    peak: Float64,
    peak_t: Float64,
) -> tuple[Event, ...]:
    return tuple(
        Event("onset" if present[c] else "offset", int(c), t, float(peak[c]), float(peak_t[c]))
        for c in np.flatnonzero(changed)
    )
