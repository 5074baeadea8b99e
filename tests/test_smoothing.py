"""Filters as the configuration describes them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from stream.smoothing import FILTERS, LOWEST_LEVEL, SmoothingConfig, filter_of
from workers.filters import Estimate
from workers.markov import TwoState

THRESHOLDS = (0.3, 0.5)
PRIOR = np.array([-4.0, -0.2])


def test_the_scale_of_a_label_is_that_of_its_threshold_and_base_rate() -> None:
    config = SmoothingConfig.model_validate({"filter": "hmm", "hmm": {"shared": 0.8}})
    rule = filter_of(config, 3.0, THRESHOLDS, PRIOR)
    assert isinstance(rule, TwoState)
    assert (rule.shared, rule.window) == (0.8, 3.0)
    np.testing.assert_allclose(rule.base, [np.log(0.3 / 0.7), 0.0])
    np.testing.assert_allclose(rule.level, [4 + np.log(0.3 / 0.7), LOWEST_LEVEL])


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_follows_what_stays(name: str) -> None:
    rule = filter_of(SmoothingConfig.model_validate({"filter": name}), 3.0, THRESHOLDS, PRIOR)
    past = None
    for k in range(200):
        past = rule.step(past, Estimate(0.25 * k, np.array([3.0, -3.0]), np.full(2, 0.5)))
    assert past is not None
    assert past.mean[0] > np.log(0.3 / 0.7) and past.mean[1] < 0.0


def test_noise_cannot_be_shared_wholly() -> None:
    with pytest.raises(ValidationError, match="less than 1"):
        SmoothingConfig.model_validate({"hmm": {"shared": 1.0}})
