"""Bootstrap over what belongs together: how sure a score is, and whether two models differ.

A ``Scorer`` gives one score for any weights (N,) of the samples, so that a resample is a count per
sample and nothing is copied. Groups (series, speakers, videos) are drawn whole; without groups,
samples are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lddu_model.errors import DataError
from lddu_model.metrics import Array, Bool, Float
from lddu_model.predictions import Predictions

Scorer = Callable[[Float], float]
LEVELS = (0.90, 0.95)


class Difference(NamedTuple):
    """Of two models on the same samples."""

    difference: float
    """First minus second, on all samples."""
    low: float
    high: float
    """Interval at the level that was asked for."""
    above_zero: float
    """Share of the resamples in which the first is better."""


def draw(groups: Sequence[str], resamples: int, seed: int) -> Float:
    """(resamples, N) counts; row sums vary with the sizes of the groups that were drawn."""
    rng = np.random.default_rng(seed)
    names = [name or f"\0{i}" for i, name in enumerate(groups)]
    _, member = np.unique(names, return_inverse=True)
    count = int(member.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return np.asarray(drawn[:, member], dtype=float)


def resampled(scorers: Sequence[Scorer], weights: Float) -> Float:
    """(resamples,) mean over `scorers`, one per seed, of their score under each row of weights."""
    return np.array([np.mean([score(row) for score in scorers]) for row in weights])


def intervals(values: Float) -> dict[str, list[float]]:
    """Percentile intervals by level, of finite values; empty without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    return {
        f"{level:.0%}": [float(x) for x in np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])]
        for level in LEVELS
    }


def same_samples(mine: Sequence[Predictions], other: Sequence[Predictions]) -> None:
    """Every one is on the same samples with the same truth, or a ``DataError``."""
    first = mine[0]
    for each in (*mine, *other):
        if each.ids != first.ids or each.labels != first.labels:
            raise DataError("predictions that are compared are not of the same samples and labels")
        if not np.array_equal(each.truth, first.truth):
            raise DataError("predictions that are compared do not have the same truth")


def paired_bootstrap(
    mine: Mapping[str, Sequence[Scorer]],
    other: Mapping[str, Sequence[Scorer]],
    groups: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.90,
) -> dict[str, Difference]:
    """By name of the score, for those that both have; scorers are one per seed."""
    weights = draw(groups, resamples, seed)
    everyone = np.ones((1, len(groups)))
    found = {}
    for name in mine:
        if name not in other:
            continue
        whole = resampled(mine[name], everyone) - resampled(other[name], everyone)
        gaps = resampled(mine[name], weights) - resampled(other[name], weights)
        gaps = gaps[np.isfinite(gaps)]
        low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
        found[name] = Difference(float(whole[0]), float(low), float(high), float((gaps > 0).mean()))
    return found


def weighted_map(truth: Array, score: Array) -> Scorer:
    """Mean average precision over labels that occur, see ``metrics.average_precision``."""
    sorted_labels = [_ranked(truth[:, c] > 0.5, score[:, c]) for c in range(truth.shape[1])]

    def of(weight: Float) -> float:
        found = []
        for order, there, last in sorted_labels:
            w = weight[order]
            claimed, hits = np.cumsum(w)[last], np.cumsum(w * there)[last]
            if hits[-1] <= 0:
                continue
            share = hits / np.maximum(claimed, 1e-12)
            found.append(float((share * np.diff(hits, prepend=0.0)).sum() / hits[-1]))
        return float(np.mean(found)) if found else float("nan")

    return of


def _ranked(there: Bool, score: Array) -> tuple[np.ndarray, Bool, Bool]:
    """Order by falling score, hits in that order, and where a run of equal scores ends."""
    order = np.argsort(-np.asarray(score, dtype=float), kind="stable")
    ranked = np.asarray(score, dtype=float)[order]
    return order, there[order], np.append(np.diff(ranked) != 0, True)


def weighted_f1(truth: Array, predicted: Bool, *, macro: bool) -> Scorer:
    """F1 over all labels together, or the mean over the labels that occur."""
    there = truth > 0.5
    columns = np.concatenate([there & predicted, there, predicted], axis=1).astype(float)
    C = truth.shape[1]

    def of(weight: Float) -> float:
        sums = weight @ columns
        hits, positives, claimed = sums[:C], sums[C : 2 * C], sums[2 * C :]
        if not macro:
            hits, positives, claimed = hits.sum(), positives.sum(), claimed.sum()
            return float(2 * hits / max(positives + claimed, 1e-12))
        each = 2 * hits / np.maximum(positives + claimed, 1e-12)
        return float(each[positives > 0].mean()) if (positives > 0).any() else float("nan")

    return of


def weighted_mean(values: Float) -> Scorer:
    """Of a score that each sample has (N,)."""
    return lambda weight: float(weight @ values / weight.sum())


def weighted_auroc(target: Bool, score: Array) -> Scorer:
    """Over all (N, C) decisions together; ties count half."""
    N, C = target.shape
    flat = np.asarray(score, dtype=float).ravel()
    order = np.argsort(flat, kind="stable")
    sample, positive = order // C, target.ravel()[order]
    _, tie = np.unique(flat[order], return_inverse=True)

    def of(weight: Float) -> float:
        w = weight[sample]
        up = np.bincount(tie, weights=w * positive)
        down = np.bincount(tie, weights=w * ~positive)
        if up.sum() <= 0 or down.sum() <= 0:
            return float("nan")
        below = np.cumsum(down) - down / 2
        return float((up * below).sum() / (up.sum() * down.sum()))

    assert len(flat) == N * C
    return of
