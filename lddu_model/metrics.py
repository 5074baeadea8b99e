"""Scores of multi-label predictions. Arrays are (N, C); truth first, prediction second, always.

Precision = right among what was predicted; recall = found among what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating] | NDArray[np.bool_]
Bool = NDArray[np.bool_]
Float = NDArray[np.float64]


def _bool(x: Array) -> Bool:
    return np.asarray(x, dtype=bool)


def _ratio(part: Float, whole: Float) -> Float:
    """Part / whole, 0 where whole is 0."""
    return np.asarray(part / np.where(whole > 0, whole, 1.0) * (whole > 0), dtype=float)


def _counts(truth: Array, predicted: Array) -> tuple[Float, Float, Float]:
    """True positives, number predicted, number there: (C,) each."""
    there, claimed = _bool(truth), _bool(predicted)
    hits = (there & claimed).sum(axis=0).astype(float)
    return hits, claimed.sum(axis=0).astype(float), there.sum(axis=0).astype(float)


def precision(truth: Array, predicted: Array) -> Float:
    """(C,) share of the predicted that is right; 0 where nothing was predicted."""
    hits, claimed, _ = _counts(truth, predicted)
    return _ratio(hits, claimed)


def recall(truth: Array, predicted: Array) -> Float:
    """(C,) share of what is there that was predicted; 0 where nothing is there."""
    hits, _, there = _counts(truth, predicted)
    return _ratio(hits, there)


def f1(truth: Array, predicted: Array) -> Float:
    """(C,) harmonic mean of precision and recall."""
    hits, claimed, there = _counts(truth, predicted)
    return _ratio(2 * hits, claimed + there)


def micro(truth: Array, predicted: Array) -> tuple[float, float, float]:
    """Precision, recall and F1 over all labels together."""
    hits, claimed, there = (np.array([x.sum()]) for x in _counts(truth, predicted))
    return (
        float(_ratio(hits, claimed)[0]),
        float(_ratio(hits, there)[0]),
        float(_ratio(2 * hits, claimed + there)[0]),
    )


def jaccard(truth: Array, predicted: Array, *, both_empty: float) -> float:
    """Mean over samples of |both| / |either|; `both_empty` (0 or 1) where both sets are empty.

    "Accuracy" in the literature on this task is this mean with `both_empty` = 0.
    """
    return float(jaccard_each(truth, predicted, both_empty=both_empty).mean())


def jaccard_each(truth: Array, predicted: Array, *, both_empty: float) -> Float:
    """(N,) what ``jaccard`` is the mean of."""
    there, claimed = _bool(truth), _bool(predicted)
    either = (there | claimed).sum(axis=1).astype(float)
    both = (there & claimed).sum(axis=1).astype(float)
    return np.asarray(np.where(either > 0, _ratio(both, either), both_empty))


def hamming(truth: Array, predicted: Array) -> float:
    """Share of all single decisions that are wrong."""
    return float((_bool(truth) != _bool(predicted)).mean())


def exact_match(truth: Array, predicted: Array) -> float:
    """Share of samples whose labels are all right."""
    return float((_bool(truth) == _bool(predicted)).all(axis=1).mean())


def average_precision(truth: Array, score: Array) -> float:
    """Of one label (N,): mean of the precision at each hit, equal scores counted together.

    NaN where nothing is positive.
    """
    there = _bool(truth)
    if not there.any():
        return float("nan")
    order = np.argsort(-np.asarray(score, dtype=float), kind="stable")
    ranked, hits = np.asarray(score, dtype=float)[order], there[order]
    last = np.append(np.diff(ranked) != 0, True)
    found = np.cumsum(hits)[last]
    share = found / (np.flatnonzero(last) + 1)
    gained = np.diff(found, prepend=0)
    return float((share * gained).sum() / there.sum())


def mean_average_precision(truth: Array, score: Array) -> float:
    """Over the labels that occur; NaN where none does."""
    each = [average_precision(truth[:, c], score[:, c]) for c in range(truth.shape[1])]
    found = [value for value in each if not np.isnan(value)]
    return float(np.mean(found)) if found else float("nan")


def auroc(truth: Array, score: Array) -> float:
    """Chance that a positive scores above a negative (ties count half); NaN without both."""
    there, score = _bool(truth).ravel(), np.asarray(score, dtype=float).ravel()
    positives = int(there.sum())
    negatives = len(there) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    excess = ranks[there].sum() - positives * (positives + 1) / 2
    return float(excess / (positives * negatives))


def entropy(probability: Array) -> Float:
    """Of each binary decision, in nats; the baseline of every uncertainty."""
    p = np.clip(np.asarray(probability, dtype=float), 1e-7, 1 - 1e-7)
    return np.asarray(-(p * np.log(p) + (1 - p) * np.log(1 - p)))


def unweighted_recall(truth: Array, probability: Array, thresholds: Sequence[float]) -> float:
    """UAR of a single choice among the labels and "none", for samples with at most one label.

    Chosen is the label that exceeds its threshold most, "none" where no label reaches its own. The
    mean over the classes that occur of the share that was chosen right.
    """
    there = _bool(truth)
    excess = probability - np.asarray(thresholds)
    chosen = np.where(excess.max(axis=1) >= 0, excess.argmax(axis=1), -1)
    actual = np.where(there.any(axis=1), there.argmax(axis=1), -1)
    return float(np.mean([(chosen[actual == each] == each).mean() for each in np.unique(actual)]))


def summary(
    truth: Array,
    probability: Array,
    variance: Array,
    thresholds: Sequence[float],
    labels: Sequence[str],
) -> dict[str, Any]:
    """All of the above as plain JSON types, at the given thresholds per label."""
    predicted = probability >= np.asarray(thresholds)
    wrong = predicted != (truth > 0.5)
    total_precision, total_recall, total_f1 = micro(truth, predicted)
    per_label = {
        name: {
            "positives": int(truth[:, c].sum()),
            "precision": plain(precision(truth, predicted)[c]),
            "recall": plain(recall(truth, predicted)[c]),
            "f1": plain(f1(truth, predicted)[c]),
            "average_precision": plain(average_precision(truth[:, c], probability[:, c])),
        }
        for c, name in enumerate(labels)
    }
    occurring = truth.sum(axis=0) > 0
    return {
        "samples": len(truth),
        "macro_f1": plain(f1(truth, predicted)[occurring].mean()),
        "micro_f1": plain(total_f1),
        "micro_precision": plain(total_precision),
        "micro_recall": plain(total_recall),
        "map": plain(mean_average_precision(truth, probability)),
        "jaccard_empty_0": plain(jaccard(truth, predicted, both_empty=0.0)),
        "jaccard_empty_1": plain(jaccard(truth, predicted, both_empty=1.0)),
        "auroc_variance_wrong": plain(auroc(wrong, variance)),
        "auroc_entropy_wrong": plain(auroc(wrong, entropy(probability))),
        "uar": plain(unweighted_recall(truth, probability, thresholds))
        if (truth.sum(axis=1) <= 1).all()
        else None,
        "labels": per_label,
    }


def plain(value: float | np.floating) -> float | None:
    """Four digits; None instead of NaN, which JSON does not know."""
    return None if np.isnan(value) else round(float(value), 4)
