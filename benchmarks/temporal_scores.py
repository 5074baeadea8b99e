"""How good decisions over time are, for many settings at once.

Shapes: T windows, S streams, G settings of the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.temporal_streams import RATE, Bool
from workers.decisions import Decided, DecisionConfig, decide
from workers.filters import Float64

SHIFT = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
HYSTERESIS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.25)
DWELL = (0.0, 0.5, 1.0)


class Decision(NamedTuple):
    """One way to decide on a filtered logit."""

    shift: float
    """Of the threshold, from the middle between present and absent labels."""
    hysteresis: float
    dwell: float


ALL = tuple(Decision(*each) for each in product(SHIFT, HYSTERESIS, DWELL))


class Score(NamedTuple):
    f1: float
    switches: float
    """Per minute."""
    latency: float
    """Mean seconds from the onset of a label to its being present; all of its time if never."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What scores are made of, (G, S) or (S,)."""

    hits: NDArray[np.int64]
    shown: NDArray[np.int64]
    switches: NDArray[np.int64]
    late: NDArray[np.float64]
    """Seconds, summed over onsets."""
    there: NDArray[np.int64]
    """(S,)"""
    onsets: NDArray[np.int64]
    """(S,)"""
    steps: int

    def scores(self, streams: slice = slice(None)) -> Float64:
        """(G, 3) as in ``Score``, over some of the streams."""
        hits, shown, switches, late = (
            x[:, streams].sum(1) for x in (self.hits, self.shown, self.switches, self.late)
        )
        there, onsets = self.there[streams], self.onsets[streams].sum()
        minutes = self.steps * len(there) / RATE / 60
        f1 = 2 * hits / np.maximum(1, shown + there.sum())
        return np.stack([f1, switches / minutes, late / max(1, onsets)], axis=1)


def decided(mean: Float64, middle: float, ways: tuple[Decision, ...] = ALL) -> Bool:
    """(T, S) filtered logits -> (G, T, S) what is shown."""
    steps, streams = mean.shape
    shift, hysteresis, dwell = (np.repeat(x, streams) for x in zip(*ways, strict=True))
    config = DecisionConfig(middle + shift, hysteresis, dwell)
    found = np.empty((steps, len(ways), streams), dtype=bool)
    past: Decided | None = None
    for k, row in enumerate(mean):
        past = decide(config, past, k / RATE, np.tile(row, len(ways)))
        found[k] = past.present.reshape(len(ways), streams)
    return found.swapaxes(0, 1)


def counted(shown: Bool, truth: Bool) -> Counts:
    """(G, T, S) and (T, S)."""
    steps, streams = truth.shape
    edges = np.diff(np.pad(truth, ((1, 1), (0, 0))).astype(int), axis=0)
    stream, begin = np.nonzero(edges.T == 1)
    _, end = np.nonzero(edges.T == -1)
    ahead = np.empty(shown.shape, dtype=np.int32)
    at = np.full((len(shown), streams), steps, dtype=np.int32)
    for k in range(steps - 1, -1, -1):
        at = np.where(shown[:, k], k, at)
        ahead[:, k] = at
    late = np.minimum(ahead[:, begin, stream] - begin, end - begin) / RATE
    member = np.eye(streams)[stream]
    return Counts(
        hits=(shown & truth).sum(1),
        shown=shown.sum(1),
        switches=(shown[:, 1:] != shown[:, :-1]).sum(1),
        late=late @ member,
        there=truth.sum(0),
        onsets=member.sum(0).astype(int),
        steps=steps,
    )
