"""Conformal risk control keeps its promise, and says when it cannot promise."""

from __future__ import annotations

import numpy as np
import pytest

from lddu_model.conformal import control, miss_rate, session_means
from lddu_model.errors import DataError


def world(sessions: int, seed: int, windows: int = 12) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities that are right but for an offset that each session has."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 2, (sessions * windows, 4))
    offset = np.repeat(rng.normal(0, 1, sessions), windows)[:, None]
    truth = rng.random(logit.shape) < 1 / (1 + np.exp(-logit - offset))
    names = [f"s{i // windows}" for i in range(len(logit))]
    return 1 / (1 + np.exp(-logit)), truth.astype(np.float32), names


def test_misses_are_counted_per_window_and_session() -> None:
    truth = np.array([[1, 1], [0, 0], [1, 0]])
    shown = np.array([[True, False], [True, True], [False, False]])
    np.testing.assert_array_equal(miss_rate(truth, shown), [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(
        session_means(np.array([0.5, 0.0, 1.0]), ["b", "a", "b"]), [0.0, 0.75]
    )


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_new_sessions_miss_what_was_promised(alpha: float) -> None:
    missed, shown = [], []
    for seed in range(60):
        threshold = control(*world(60, seed), alpha)
        p, y, names = world(60, seed + 1000)
        missed.append(session_means(miss_rate(y, p >= threshold), names).mean())
        shown.append((p >= threshold).mean())
    error = np.std(missed, ddof=1) / np.sqrt(len(missed))
    assert np.mean(missed) <= alpha + 2 * error
    assert np.mean(missed) >= alpha - 0.04, "and not by showing everything"
    assert np.mean(shown) < 0.9


def test_few_sessions_promise_nothing() -> None:
    assert control(*world(8, 0), 0.1) == 0.0
    assert control(*world(10, 0), 0.1) >= 0.0
    with pytest.raises(DataError, match="alpha"):
        control(*world(8, 0), 1.0)
