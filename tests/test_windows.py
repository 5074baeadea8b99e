from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.windows import Window, WindowPlan, pool, step_of, steps_in


def test_sliding_windows() -> None:
    windows = list(islice(WindowPlan.sliding(3.0, 0.25), 3))
    assert windows == [Window(0, 0.0, 3.0), Window(1, 0.25, 3.25), Window(2, 0.5, 3.5)]


@pytest.mark.parametrize("intervals", [[(0.0, 0.0)], [(-1.0, 1.0)], [(1.0, 2.0), (0.0, 3.0)]])
def test_bad_intervals_are_named(intervals: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="interval"):
        WindowPlan.fixed(intervals)


@pytest.mark.parametrize(("width", "hop"), [(0.0, 0.25), (1.0, 2.0), (3.0, float("nan"))])
def test_bad_plans_are_refused(width: float, hop: float) -> None:
    with pytest.raises(ValueError, match="hop"):
        WindowPlan.sliding(width, hop)


@given(st.integers(1, 200), st.integers(1, 60))
def test_pool_keeps_the_mean_and_constants(n: int, steps: int) -> None:
    frames = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    pooled = pool(frames, steps)
    assert pooled.shape == (steps, 3)
    np.testing.assert_allclose(pooled.mean(axis=0), frames.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(pool(np.ones((n, 3), np.float32), steps), 1.0, atol=1e-5)


def test_pool_splits_frames_across_steps() -> None:
    frames = np.asarray([[0.0], [3.0], [6.0]], np.float32)
    np.testing.assert_allclose(pool(frames, 2), [[1.0], [5.0]], atol=1e-6)


def test_steps() -> None:
    window = Window(3, 0.75, 3.75)
    assert steps_in(window, 10.0) == 30
    assert [step_of(window, 30, t) for t in (0.75, 0.8, 0.85, 3.7499, 3.75, 0.7)] == [
        0,
        0,
        1,
        29,
        30,
        -1,
    ]
