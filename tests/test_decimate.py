from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decimate import Decimator


@pytest.mark.parametrize(("source", "fps", "expected"), [(30, 10, 100), (25, 10, 100), (5, 10, 50)])
def test_keeps_one_picture_per_bucket(source: int, fps: float, expected: int) -> None:
    decimator = Decimator(fps)
    assert sum(decimator.keep(i / source) for i in range(10 * source)) == expected


@given(st.lists(st.floats(0, 100), max_size=200))
def test_kept_pictures_are_the_first_of_their_bucket(times: list[float]) -> None:
    decimator = Decimator(10.0)
    kept = [t for t in sorted(times) if decimator.keep(t)]
    buckets = [math.floor(t * 10.0 + 1e-6) for t in kept]
    assert buckets == sorted({math.floor(t * 10.0 + 1e-6) for t in times})


@pytest.mark.parametrize("fps", [0.0, -1.0, math.inf, math.nan])
def test_refuses_an_impossible_rate(fps: float) -> None:
    with pytest.raises(ValueError, match="frames per second"):
        Decimator(fps)
