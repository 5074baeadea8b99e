"""What is chosen on validation data after training: the scales of what is said, and thresholds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lddu_model.api import Calibration, combination, widening
from lddu_model.network import moderated
from lddu_model.spec import Float32, Prediction

MIN_SCALE, MAX_SCALE = 0.1, 10.0
POWERS = np.linspace(0.25, 1.5, 26)
"""Of stated variances, to choose from."""
OWN = 30.0
"""How hard it is for a combination to depart from all. Two speakers alone would have a logit
times 4.3; this is most likely for one when fitted to the other (of 1, 10, 30, ... 1000)."""
FEWEST = 10
SMALLEST = 1e-4


def fit_calibration(said: Prediction, truth: Float32, weight: Float32) -> Calibration:
    """From what a model without calibration says of N samples; `truth` (N, C), `weight` (N,).

    What novelty adds to a variance is no part of what is fitted.
    """
    present = np.isfinite(said.modality_variance).any(axis=2)
    there = combination(torch.from_numpy(present)).numpy()
    rows = 2 ** present.shape[1]
    scale, shift = fit_probability(said.logit, said.spread, there, rows, truth, weight)
    calibrated = said.logit * scale[there] + shift[there]
    alone, together = (x.numpy() for x in widening(torch.from_numpy(said.novelty)))
    fused = fit_variance(calibrated, said.variance / together[:, None], truth, weight)
    each = [
        fit_variance(
            said.modality_logit[:, m] * scale[2**m] + shift[2**m],
            said.modality_variance[:, m] / alone[:, m, None],
            truth,
            weight,
        )
        for m in range(present.shape[1])
    ]
    factors, powers = zip(fused, *each, strict=True)
    return Calibration(
        tuple(_rounded(row) for row in scale),
        tuple(_rounded(row) for row in shift),
        _rounded(factors),
        _rounded(powers),
    )


def _rounded(x: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in x)


def fit_probability(
    logit: Float32,
    spread: Float32,
    there: NDArray[np.int64],
    rows: int,
    truth: Float32,
    weight: Float32,
) -> tuple[Float32, Float32]:
    """Scale and shift (rows, C) that give the most likely labels.

    `logit`, `spread` and `truth` (N, C), `weight` (N,), `there` (N,) the ``combination`` of the
    modalities of each, below `rows`. One scale and shift per label for all, and by how much each
    combination departs from it; weak pulls towards the identity and towards no departure keep
    labels with few positives and rare combinations sane. Where nothing is there, the prior speaks
    as it is.
    """
    x, v, y = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (logit, spread, truth))
    w = torch.from_numpy(np.asarray(weight / weight.mean(), dtype=np.float64))[:, None]
    which, labels = torch.from_numpy(there), x.shape[1]
    shared = torch.zeros((2, 1, labels), dtype=torch.float64, requires_grad=True)
    own = torch.zeros((2, rows, labels), dtype=torch.float64, requires_grad=True)
    strength = torch.tensor([1.0, 0.1], dtype=torch.float64)[:, None, None]
    solver = torch.optim.LBFGS(
        [shared, own], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def bounded() -> tuple[torch.Tensor, torch.Tensor]:
        log_scale, shift = shared + own
        return log_scale.exp().clamp(MIN_SCALE, MAX_SCALE), shift

    def cost() -> torch.Tensor:
        solver.zero_grad()
        scale, shift = bounded()
        scale, shift = scale[which], shift[which]
        p = moderated(x * scale + shift, v * scale.square())
        value = functional.binary_cross_entropy_with_logits(p, y, reduction="none")
        departure = OWN * own.square().sum(dim=1, keepdim=True)
        pull = (strength * (0.1 * shared.square() + departure)).sum()
        loss = (value * w).sum() + pull
        loss.backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        return loss

    solver.step(cost)  # type: ignore[no-untyped-call]  # torch is partly typed
    with torch.no_grad():
        scale, shift = bounded()
        scale[0], shift[0] = 1.0, 0.0
    return scale.float().numpy(), shift.float().numpy()


def fit_variance(
    logit: Float32, variance: Float32, truth: Float32, weight: Float32
) -> tuple[float, float]:
    """Factor and power that make ``factor * variance ** power`` the logit's mean squared error.

    Its error is how far it falls short of where it usually is with the label, or without it.

    The most likely ones for Gaussian errors, of which only one half is seen: a logit that is
    clearer than usual is no error. One pair for all labels and no power below
    ``POWERS``, so that the order of variances, which errors taught, stays as it is. All (N, C) but
    `weight` (N,); what is not finite (a modality that is absent) is left out, and (1, 1) is the
    answer where too little is left.
    """
    columns = [_distances(*each, weight) for each in zip(logit.T, variance.T, truth.T, strict=True)]
    error, log_v, w = np.concatenate(columns, axis=1)
    if not len(error):
        return 1.0, 1.0
    best = (np.inf, 1.0, 1.0)
    for power in POWERS:
        factor = float(np.average(error * np.exp(-power * log_v), weights=w)) + SMALLEST
        surprise = np.log(factor) + power * np.average(log_v, weights=w)
        best = min(best, (float(surprise), factor, float(power)))
    return best[1:]


def _distances(x: Float32, v: Float32, truth: Float32, weight: Float32) -> NDArray[np.float64]:
    """Of one label: squared error, log variance and weight (3, n); n = 0 of one too rare."""
    there = np.isfinite(x) & np.isfinite(v)
    x, y = x[there].astype(float), truth[there] > 0.5
    if min(y.sum(), (~y).sum()) < FEWEST:
        return np.zeros((3, 0))
    w = weight[there].astype(float)
    centre = [np.average(x[y == value], weights=w[y == value]) for value in (False, True)]
    short = np.where(y, centre[1] - x, x - centre[0])
    error = 2.0 * np.square(np.maximum(short, 0.0))
    return np.stack([error, np.log(v[there].astype(float)), w])


def best_thresholds(
    probability: Float32, truth: Float32, weight: Float32 | None = None
) -> tuple[float, ...]:
    """Per label the threshold with the largest F1; 0.5 for a label without positives.

    `probability`, `truth` (N, C), `weight` (N,). It lies halfway between two neighbouring scores.
    """
    w = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=float)
    return tuple(
        _best_threshold(probability[:, c], truth[:, c] > 0.5, w) for c in range(truth.shape[1])
    )


def best_single_threshold(probability: Float32, truth: Float32) -> float:
    """The one threshold for all labels with the largest micro-F1; `probability`, `truth` (N, C)."""
    flat = truth.ravel() > 0.5
    return _best_threshold(probability.ravel(), flat, np.ones(len(flat)))


def _best_threshold(score: Float32, truth: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    if not truth.any():
        return 0.5
    order = np.argsort(-score, kind="stable")
    ranked = score[order].astype(float)
    hits = np.cumsum(truth[order] * weight[order])
    claimed = np.cumsum(weight[order])
    f1 = 2 * hits / (claimed + (truth * weight).sum())
    f1[:-1][np.diff(ranked) == 0] = -1.0  # no threshold lies between equal scores
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return round(float(ranked[best] + below) / 2, 6)
