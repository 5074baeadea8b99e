"""A promise on what is missed: conformal risk control of the false negative rate.

Angelopoulos et al., arXiv 2208.02814. Windows of one session are alike, so the sessions, not the
windows, are what may be exchanged: each counts as one loss, and the promise is about the mean loss
of a new session like them. Of other people, microphones or cameras nothing is promised.
Shapes: N samples, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lddu_model.errors import DataError
from lddu_model.metrics import Array, Bool, Float


def miss_rate(truth: Array, shown: Bool) -> Float:
    """(N,) share of the labels that are there but not among what is shown; 0 where none is."""
    there = np.asarray(truth, dtype=float) > 0.5
    return np.asarray((there & ~shown).sum(axis=1) / np.maximum(1, there.sum(axis=1)))


def session_means(values: Float, sessions: Sequence[str]) -> Float:
    """(N,) -> mean of each session, in the order of their names."""
    _, member = np.unique(np.asarray(sessions), return_inverse=True)
    return np.asarray(np.bincount(member, weights=values) / np.bincount(member))


def control(
    probability: Array, truth: Array, sessions: Sequence[str], alpha: float, steps: int = 400
) -> float:
    """The largest threshold with which a new session is expected to miss at most `alpha`.

    `probability` and `truth` (N, C) of sessions that neither training nor calibration used. A
    label is shown where its probability reaches the threshold. 0 (everything is shown) where the
    sessions are too few to promise that: fewer than ``1 / alpha - 1``.
    """
    if not 0 < alpha < 1:
        raise DataError(f"alpha must be between 0 and 1, got {alpha}")
    p = np.asarray(probability, dtype=float)
    candidates = np.unique(np.quantile(p, np.linspace(0, 1, steps)))[::-1]
    for threshold in candidates:
        losses = session_means(miss_rate(truth, p >= threshold), sessions)
        if (losses.sum() + 1.0) / (len(losses) + 1) <= alpha:
            return float(threshold)
    return 0.0
