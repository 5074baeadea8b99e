"""What is chosen on validation data after training: scale and shift per label, and thresholds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lddu_model.api import Calibration
from lddu_model.network import moderated
from lddu_model.spec import Float32

MIN_SCALE, MAX_SCALE = 0.1, 10.0


def fit_calibration(
    logit: Float32, spread: Float32, truth: Float32, weight: Float32
) -> Calibration:
    """Scale and shift per label that give the most likely labels.

    All (N, C) but `weight` (N,). The shift undoes what class weights did to the base rate. A weak
    pull towards the identity keeps labels with few positives sane.
    """
    x, v, y = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (logit, spread, truth))
    w = torch.from_numpy(np.asarray(weight / weight.mean(), dtype=np.float64))[:, None]
    log_scale = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [log_scale, shift], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )

    def cost() -> torch.Tensor:
        solver.zero_grad()
        scale = log_scale.exp()
        p = moderated(x * scale + shift, v * scale.square())
        value = functional.binary_cross_entropy_with_logits(p, y, reduction="none")
        loss = (value * w).sum() + log_scale.square().sum() + 0.1 * shift.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        return loss

    solver.step(cost)  # type: ignore[no-untyped-call]  # torch is partly typed
    scale = log_scale.detach().exp().clamp(MIN_SCALE, MAX_SCALE)
    return Calibration(
        tuple(round(value, 6) for value in scale.tolist()),
        tuple(round(value, 6) for value in shift.detach().tolist()),
    )


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
