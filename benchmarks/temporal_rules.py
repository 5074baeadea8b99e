"""The filters that ``benchmarks.temporal`` chooses from, and how it chooses.

Shapes: T windows, S streams, G settings of the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from benchmarks.temporal_scores import (
    IN_LOGITS,
    IN_ODDS,
    Decision,
    Score,
    counted,
    decided,
    saturating,
)
from benchmarks.temporal_streams import OFF_S, ON_S, RATE, WINDOW, Said
from workers.baselines import Ema, OneEuro, Raw
from workers.filters import Estimate, Filter, Filtered, Float64, Kalman
from workers.markov import TwoState
from workers.trust import TrustConfig, TrustTest, Typical

BASELINES = ("raw", "EMA", "One-Euro", "Kalman, constant", "HMM, constant")
OWN = ("Kalman", "HMM")


class Scale(NamedTuple):
    """What the tuning streams say of the logits."""

    off: float
    """Mean logit where the label is not there."""
    on: float
    noise: float
    """Mean squared distance to these."""

    @property
    def middle(self) -> float:
        return (self.on + self.off) / 2


def scale_of(said: Said) -> Scale:
    off, on = (float(said.logit[said.truth == value].mean()) for value in (False, True))
    error = np.square(said.logit - np.where(said.truth, on, off))
    return Scale(off, on, float(error.mean()))


def rules(scale: Scale, window: float = WINDOW) -> dict[str, list[Filter]]:
    """Every family's parameters to choose from."""
    share = ON_S / (ON_S + OFF_S)
    level = (scale.on - scale.off) / 2
    base = np.array([share * scale.on + (1 - share) * scale.off])
    spread = share * (1 - share) * 4 * level**2
    kalman = [
        Kalman(tau, spread, base, shared, window)
        for tau, shared in product((4.0, 8.0, 16.0), (0.0, 0.5, 0.9))
    ]
    middle = np.array([scale.middle])
    hmm = [
        TwoState(OFF_S, ON_S, level, extra * scale.noise, temper, middle, None, shared, window)
        for temper, extra, shared in product(
            (0.35, 0.5, 0.75, 1.0, 1.3), (0.0, 0.3, 0.6), (0.0, 0.6, 0.8)
        )
    ]
    return {
        "raw": [Raw()],
        "EMA": [Ema(tau) for tau in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)],
        "One-Euro": [
            OneEuro(cutoff, beta) for cutoff, beta in product((0.1, 0.2, 0.4), (0.0, 0.05, 0.2))
        ],
        "Kalman, constant": [
            replace(each, constant=weight * scale.noise)
            for each in kalman
            for weight in (0.5, 2.0, 8.0)
        ],
        "HMM, constant": [
            replace(each, constant=scale.noise) for each in hmm if not each.level_variance
        ],
        "Kalman": list(kalman),
        "HMM": list(hmm),
    }


class Setting(NamedTuple):
    """A filter and a way to decide."""

    rule: Filter
    decision: Decision


class Tried(NamedTuple):
    """A family on the tuning streams."""

    settings: list[Setting]
    scores: Float64
    """(n, 3) as in ``Score``."""

    def best(self, latency: float = np.inf) -> tuple[Setting, Score] | None:
        """The largest F1 within a mean latency."""
        fit = np.flatnonzero(self.scores[:, 2] <= latency)
        if not len(fit):
            return None
        k = int(fit[self.scores[fit, 0].argmax()])
        return self.settings[k], Score(*self.scores[k].tolist())

    def matched(self, reference: Score) -> Setting | None:
        """The fewest switches among what is no worse in F1 and latency."""
        good = (self.scores[:, 0] >= reference.f1) & (self.scores[:, 2] <= reference.latency)
        fit = np.flatnonzero(good)
        return self.settings[int(fit[self.scores[fit, 1].argmin()])] if len(fit) else None


def estimates(said: Said) -> list[Estimate]:
    """All streams side by side, as if each were a label."""
    return [
        Estimate(k / RATE, x, v)
        for k, (x, v) in enumerate(zip(said.logit, said.variance, strict=True))
    ]


def filtered(rule: Filter, items: Sequence[Estimate]) -> list[Filtered]:
    """After each window."""
    states: list[Filtered] = []
    for item in items:
        states.append(rule.step(states[-1] if states else None, item))
    return states


def causal(rule: Filter, items: Sequence[Estimate]) -> Float64:
    """(T, S) filtered logits."""
    return np.stack([each.mean for each in filtered(rule, items)])


def tried(family: Sequence[Filter], said: Said, middle: float) -> Tried:
    items, first = estimates(said), family[0]
    ways = saturating(float(first.level)) if isinstance(first, TwoState) else IN_LOGITS
    counts = [counted(decided(causal(rule, items), middle, ways), said.truth) for rule in family]
    settings = [Setting(rule, way) for rule in family for way in ways]
    return Tried(settings, np.concatenate([each.scores() for each in counts]))


def tried_odds(odds: Float64, said: Said) -> Tried:
    """Log odds of the label, decided upon in every way."""
    counts = counted(decided(odds, 0.0, IN_ODDS), said.truth)
    return Tried([Setting(Raw(), way) for way in IN_ODDS], counts.scores())


def measured(setting: Setting, said: Said, middle: float) -> Score:
    mean = causal(setting.rule, estimates(said))
    return scored(mean, setting.decision, said, middle)


def scored(mean: Float64, decision: Decision, said: Said, middle: float) -> Score:
    counts = counted(decided(mean, middle, (decision,)), said.truth)
    return Score(*counts.scores()[0].tolist())


def watched(said: Said, window: float = WINDOW) -> tuple[Said, float]:
    """Where the trust test does not hold, the typical variance so far in place of the model's, as
    in ``workers.smooth``; and where it does, as a share of all windows.
    """
    variance = said.variance.copy()
    held = np.ones(variance.shape, dtype=bool)
    for s in range(variance.shape[1]):
        test, typical = TrustTest(TrustConfig(window=window)), Typical()
        for k, (x, v) in enumerate(zip(said.logit[:, s], said.variance[:, s], strict=True)):
            own = np.array([v])
            typical.add(own)
            held[k, s] = test.push(Estimate(k / RATE, np.array([x]), own)).trusted
            if not held[k, s]:
                variance[k, s] = typical.value(own)[0]
    return said._replace(variance=variance), float(held.mean())


def shuffled(said: Said, seed: int = 0) -> Said:
    """The variances of each stream in another order."""
    order = np.random.default_rng(seed).permuted(np.arange(len(said.variance)))
    return said._replace(variance=said.variance[order])
