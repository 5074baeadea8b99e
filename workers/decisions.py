"""From a filtered logit to present or not: hysteresis, dwell, and the events they make.

A label becomes present when its logit rises `hysteresis` above its threshold, absent when it falls
as far below, and keeps what it became for at least `dwell` seconds. It never comes where its
estimate is not sure. Shapes: C labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """See the module's docstring; each (C,), or one for all labels."""

    threshold: Float64
    """Logits."""
    hysteresis: float | Float64 = 0.3
    dwell: float | Float64 = 1.0
    rise: Float64 = field(init=False)
    """(C,) logit from which a label comes"""
    fall: Float64 = field(init=False)
    """and below which it goes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rise", self.threshold + self.hysteresis)
        object.__setattr__(self, "fall", self.threshold - self.hysteresis)


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
    changed: NDArray[np.bool_] | None = None
    """(C,) what came or went at `t`; None: nothing."""

    @property
    def events(self) -> tuple[Event, ...]:
        """What was decided at `t`."""
        if self.changed is None:
            return ()
        return tuple(
            Event(
                "onset" if self.present[c] else "offset",
                int(c),
                self.t,
                float(self.peak[c]),
                float(self.peak_t[c]),
                float(self.onset[c]),
            )
            for c in np.flatnonzero(self.changed)
        )


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
    if past is None:
        present = logit >= config.threshold
        if sure is not None:
            present &= sure
        since = np.full(len(logit), -np.inf)
        times = np.full(len(logit), t)
        return Decided(t, present, since, logit.astype(np.float64), times, times, present)
    rises = logit >= config.rise
    if sure is not None:
        rises &= sure
    present = np.where(past.present, logit >= config.fall, rises)
    changed = (present != past.present) & (t - past.since >= config.dwell)
    higher = past.present & (logit > past.peak)
    if not changed.any():
        peak, peak_t = past.peak, past.peak_t
        if higher.any():
            peak, peak_t = np.where(higher, logit, peak), np.where(higher, t, peak_t)
        return Decided(t, past.present, past.since, peak, peak_t, past.onset)
    present = past.present ^ changed
    rises = present & changed
    higher = rises | (higher & present)
    return Decided(
        t,
        present,
        since=np.where(changed, t, past.since),
        peak=np.where(higher, logit, past.peak),
        peak_t=np.where(higher, t, past.peak_t),
        onset=np.where(rises, t, past.onset),
        changed=changed,
    )
