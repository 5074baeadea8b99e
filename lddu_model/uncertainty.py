"""Scores of probabilities and of uncertainties. Arrays are (N, C) or flat (N,) where said.

An uncertainty is good when decisions that it calls certain are right. Each is shown beside
predictive entropy, which every probability gives for free, and beside the combination of both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lddu_model.metrics import Array, Bool, Float, entropy

BINS = 15
SMALLEST = 1e-12


def calibration_bins(
    truth: Array, probability: Array, bins: int = BINS
) -> tuple[Float, Float, Float]:
    """Of one label (N,): mean probability, share of positives and weight of each bin.

    Bins have equal mass: the sorted samples in `bins` parts whose sizes differ by at most one.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    said = np.array([np.asarray(probability)[part].mean() for part in parts])
    there = np.array([np.asarray(truth)[part].mean() for part in parts])
    return said, there, np.array([len(part) for part in parts]) / len(order)


def calibration_error(truth: Array, probability: Array, bins: int = BINS) -> float:
    """ECE of one label (N,): mean gap between probability and share, over bins of equal mass."""
    said, there, weight = calibration_bins(truth, probability, bins)
    return float((np.abs(said - there) * weight).sum())


def brier(truth: Array, probability: Array) -> Float:
    """(C,) mean squared error of the probability (Brier 1950)."""
    error = np.asarray(probability, dtype=float) - np.asarray(truth, dtype=float)
    return np.asarray(np.square(error).mean(axis=0))


def brier_skill(truth: Array, probability: Array, base_rate: Float) -> Float:
    """(C,) 1 - Brier / Brier of always saying `base_rate` (C,); NaN where that one is 0."""
    reference = brier(truth, np.broadcast_to(base_rate, truth.shape))
    own = brier(truth, probability)
    return np.asarray(np.where(reference > 0, 1 - own / np.maximum(reference, SMALLEST), np.nan))


def risk_coverage(wrong: Bool, uncertainty: Array) -> tuple[Float, Float]:
    """Coverage k / N and number of errors accepted among the k most certain, k = 1..N; flat.

    Equal uncertainties share their errors evenly, so that their order does not matter.
    """
    score = np.asarray(uncertainty, dtype=float)
    order = np.argsort(score, kind="stable")
    _, tie, sizes = np.unique(score[order], return_inverse=True, return_counts=True)
    share = np.bincount(tie, weights=wrong[order]) / sizes
    accepted = np.cumsum(share[tie])
    return np.arange(1, len(score) + 1) / len(score), accepted


def aurc(wrong: Bool, uncertainty: Array) -> float:
    """Mean over coverages of the share of errors among what is accepted (Geifman et al. 2019)."""
    coverage, accepted = risk_coverage(wrong, uncertainty)
    return float((accepted / (coverage * len(coverage))).mean())


def augrc(wrong: Bool, uncertainty: Array) -> float:
    """Mean over coverages of accepted errors per decision (Traub et al., arXiv 2407.01032)."""
    _, accepted = risk_coverage(wrong, uncertainty)
    return float((accepted / len(accepted)).mean())


def risk_at(wrong: Bool, uncertainty: Array, coverage: float) -> float:
    """Share of errors among the most certain `coverage` of all decisions."""
    shares, accepted = risk_coverage(wrong, uncertainty)
    k = min(len(shares), max(1, round(coverage * len(shares))))
    return float(accepted[k - 1] / k)


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of flat arrays over the pairs that are finite; NaN where one is constant."""
    a, b = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    there = np.isfinite(a) & np.isfinite(b)
    if there.sum() < 2:
        return float("nan")
    x, y = rankdata(a[there]), rankdata(b[there])
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def noise_correlation(modality_variance: Array, level: Array) -> list[float]:
    """Spearman of each modality's variance (N, M, C), mean over labels, with its noise (N, M)."""
    mean = np.asarray(modality_variance, dtype=float).mean(axis=2)
    known = np.asarray(level, dtype=float)
    return [spearman(mean[:, m], known[:, m]) for m in range(mean.shape[1])]


Combination = Callable[[Array, Array], Float]
"""Variance and probability (N, C) -> chance (N, C) that the decision is wrong."""


def combine(variance: Array, probability: Array, wrong: Bool) -> Combination | None:
    """Logistic regression on log variance and entropy, from validation data.

    None where validation data have no wrong decision, or no right one.
    """
    if wrong.all() or not wrong.any():
        return None
    inputs = _columns(variance, probability)
    scaler = StandardScaler().fit(inputs)
    model = LogisticRegression().fit(scaler.transform(inputs), wrong.ravel())

    def chance(v: Array, p: Array) -> Float:
        found: NDArray[np.float64] = model.predict_proba(scaler.transform(_columns(v, p)))[:, 1]
        return found.reshape(p.shape)

    return chance


def _columns(variance: Array, probability: Array) -> Float:
    log_variance = np.log(np.maximum(np.asarray(variance, dtype=float), SMALLEST))
    return np.stack([log_variance.ravel(), entropy(probability).ravel()], axis=1)
