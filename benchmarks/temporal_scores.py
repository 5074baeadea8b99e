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

SHIFT = (-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
HYSTERESIS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
DWELL = (0.0, 0.5, 1.0)


class Decision(NamedTuple):
    """One way to decide on a filtered logit; thresholds are distances from the middle between
    those of present and of absent labels.
    """

    rise: float
    """From which a label comes."""
    fall: float
    """Below which it goes."""
    dwell: float


IN_ODDS = tuple(Decision(x + y, x - y, z) for x, y, z in product(SHIFT, HYSTERESIS, DWELL))
"""Of log odds."""
IN_LOGITS = tuple(
    Decision(x / 2 + y / 2, x / 2 - y / 2, z) for x, y, z in product(SHIFT, HYSTERESIS, DWELL)
)
"""Of logits whose noise is that of one window: the same number, less far apart."""


def saturating(level: float) -> tuple[Decision, ...]:
    """``IN_ODDS`` for the mean of two levels at +- `level`."""
    return tuple(Decision(level * np.tanh(x / 2), level * np.tanh(y / 2), z) for x, y, z in IN_ODDS)


class Score(NamedTuple):
    f1: float
    switches: float
    """Per minute."""
    latency: float
    """Mean seconds from the onset of a label to its being present; all of its time if never."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What scores are made of, each (G,) over all streams, or one number."""

    hits: NDArray[np.int64]
    shown: NDArray[np.int64]
    switches: NDArray[np.int64]
    late: NDArray[np.float64]
    """Seconds, summed over onsets."""
    there: int
    onsets: int
    steps: int
    streams: int

    def scores(self) -> Float64:
        """(G, 3) as in ``Score``."""
        minutes = self.steps * self.streams / RATE / 60
        f1 = 2 * self.hits / np.maximum(1, self.shown + self.there)
        return np.stack([f1, self.switches / minutes, self.late / max(1, self.onsets)], axis=1)


def decided(mean: Float64, middle: float, ways: tuple[Decision, ...]) -> Bool:
    """(T, S) filtered logits -> (G, T, S) what is shown."""
    steps, streams = mean.shape
    rise, fall, dwell = (np.repeat(x, streams) for x in zip(*ways, strict=True))
    config = DecisionConfig(middle + (rise + fall) / 2, (rise - fall) / 2, dwell)
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
    return Counts(
        hits=(shown & truth).sum((1, 2)),
        shown=shown.sum((1, 2)),
        switches=(shown[:, 1:] != shown[:, :-1]).sum((1, 2)),
        late=late.sum(1),
        there=int(truth.sum()),
        onsets=len(begin),
        steps=steps,
        streams=streams,
    )
