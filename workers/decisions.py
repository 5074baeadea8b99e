"""From a filtered logit to present or not: hysteresis, dwell, and the events they make.

A label becomes present when its logit rises `hysteresis` above its threshold, absent when it falls
as far below, and keeps what it became for at least `dwell` seconds. It never comes where its
estimate is not sure. Shapes: C labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    onset: float
    """Seconds: when it came; of an onset `t`."""


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
    onset: Float64
    """(C,) when what is present came."""
    events: tuple[Event, ...] = ()
    """What was decided at `t`."""


def decide(
    config: DecisionConfig,
    past: Decided | None,
    t: float,
    logit: Float64,
    sure: NDArray[np.bool_] | None = None,
) -> Decided:
    """The decision at `t`, given that before; pure, so that a revision can be decided again.

    `sure` (C,): labels whose estimate is good enough to become present by it; None: all.
    """
    able = np.ones(len(logit), np.bool_) if sure is None else sure
    if past is None:
        present = able & (logit >= config.threshold)
        since = np.full(len(logit), -np.inf)
        new = Decided(t, present, since, logit.astype(np.float64), *np.full((2, len(logit)), t))
        return replace(new, events=_events(new, present))
    free = t - past.since >= config.dwell
    rises = free & able & ~past.present & (logit >= config.threshold + config.hysteresis)
    falls = free & past.present & (logit < config.threshold - config.hysteresis)
    present = (past.present | rises) & ~falls
    changed = rises | falls
    higher = rises | (past.present & (logit > past.peak))
    new = Decided(
        t,
        present,
        since=np.where(changed, t, past.since),
        peak=np.where(higher, logit, past.peak),
        peak_t=np.where(higher, t, past.peak_t),
        onset=np.where(rises, t, past.onset),
    )
    return replace(new, events=_events(new, changed))


def _events(now: Decided, changed: NDArray[np.bool_]) -> tuple[Event, ...]:
    return tuple(
        Event(
            "onset" if now.present[c] else "offset",
            int(c),
            now.t,
            float(now.peak[c]),
            float(now.peak_t[c]),
            float(now.onset[c]),
        )
        for c in np.flatnonzero(changed)
    )
