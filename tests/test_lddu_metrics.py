"""Scores against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lddu_model import metrics
from lddu_model.api import NOVELTY_FACTOR, Calibration
from lddu_model.calibration import (
    best_thresholds,
    fit_calibration,
    fit_probability,
    fit_variance,
)
from lddu_model.spec import Prediction

# Label a: there in 2 of 4, predicted in 3, 1 of them right. Label b: there 3, predicted 1, right.
TRUTH = np.array([[1, 1], [1, 1], [0, 1], [0, 0]], dtype=float)
SAID = np.array([[1, 1], [0, 0], [1, 0], [1, 0]], dtype=float)


def test_precision_and_recall_are_not_swapped() -> None:
    np.testing.assert_allclose(metrics.precision(TRUTH, SAID), [1 / 3, 1.0])
    np.testing.assert_allclose(metrics.recall(TRUTH, SAID), [1 / 2, 1 / 3])
    np.testing.assert_allclose(metrics.f1(TRUTH, SAID), [2 / 5, 1 / 2])
    assert metrics.micro(TRUTH, SAID) == pytest.approx((2 / 4, 2 / 5, 4 / 9))
    labels = metrics.summary(TRUTH, SAID, np.ones_like(SAID), (0.5, 0.5), ("a", "b"))["labels"]
    assert (labels["a"]["precision"], labels["a"]["recall"]) == (0.3333, 0.5)


def test_nothing_predicted_or_nothing_there_is_zero() -> None:
    none = np.zeros((3, 1))
    assert metrics.precision(np.ones((3, 1)), none)[0] == 0
    assert metrics.recall(none, np.ones((3, 1)))[0] == 0
    assert metrics.f1(none, none)[0] == 0


def test_jaccard_under_both_conventions() -> None:
    # Per sample: {a,b}/{a,b} = 1, {}/{a,b} = 0, {a} against {b} = 0, {a} against {} = 0.
    assert metrics.jaccard(TRUTH, SAID, both_empty=0.0) == pytest.approx(1 / 4)
    empty = np.vstack([TRUTH, [[0, 0]]]), np.vstack([SAID, [[0, 0]]])
    assert metrics.jaccard(*empty, both_empty=0.0) == pytest.approx(1 / 5)
    assert metrics.jaccard(*empty, both_empty=1.0) == pytest.approx(2 / 5)


def test_average_precision() -> None:
    # Ranked: hit, miss, hit -> (1/1 + 2/3) / 2.
    truth, score = np.array([1, 0, 1, 0.0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert metrics.average_precision(truth, score) == pytest.approx((1 + 2 / 3) / 2)
    # All scores equal: the share of positives, whatever the order.
    assert metrics.average_precision(truth, np.ones(4)) == pytest.approx(0.5)
    assert np.isnan(metrics.average_precision(np.zeros(4), score))
    both = np.stack([truth, np.zeros(4)], axis=1), np.stack([score, score], axis=1)
    assert metrics.mean_average_precision(*both) == pytest.approx((1 + 2 / 3) / 2)


def test_auroc_counts_ties_half() -> None:
    # Pairs positive > negative: 0.9>0.5, 0.9>0.1, 0.5=0.5 (half), 0.5>0.1 -> 3.5 of 4.
    truth, score = np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.1])
    assert metrics.auroc(truth, score) == pytest.approx(3.5 / 4)
    assert metrics.auroc(truth, -score) == pytest.approx(0.5 / 4)
    assert np.isnan(metrics.auroc(np.ones(4), score))


def test_variance_is_scored_against_wrong_decisions() -> None:
    truth, probability = np.array([[1.0], [1.0], [0.0]]), np.array([[0.9], [0.2], [0.1]])
    unsure_where_wrong = np.array([[0.1], [5.0], [0.2]])
    said = metrics.summary(truth, probability, unsure_where_wrong, (0.5,), ("a",))
    assert said["auroc_variance_wrong"] == 1.0
    assert said["auroc_entropy_wrong"] == 1.0
    said = metrics.summary(truth, probability, -unsure_where_wrong, (0.5,), ("a",))
    assert said["auroc_variance_wrong"] == 0.0


def test_unweighted_recall_has_a_class_for_none() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    probability = np.array([[0.9, 0.1], [0.2, 0.6], [0.7, 0.8], [0.3, 0.4]])
    # first: 1 of 2; second: 1 of 1; none: 1 of 1.
    assert metrics.unweighted_recall(truth, probability, (0.5, 0.5)) == pytest.approx(2.5 / 3)
    # A threshold of 0.35 for the second makes the last one wrong.
    assert metrics.unweighted_recall(truth, probability, (0.5, 0.35)) == pytest.approx(1.5 / 3)


def test_thresholds_maximise_f1() -> None:
    probability = np.array([[0.9], [0.8], [0.4], [0.35], [0.1]], dtype=np.float32)
    truth = np.array([[1], [0], [1], [1], [0]], dtype=np.float32)
    (chosen,) = best_thresholds(probability, truth)
    assert 0.1 < chosen < 0.35
    weight = np.array([1, 100, 1, 1, 1], dtype=np.float32)  # now that miss costs too much
    (chosen,) = best_thresholds(probability, truth, weight)
    assert 0.8 < chosen < 0.9
    assert best_thresholds(probability, np.zeros_like(truth)) == (0.5,)


def test_calibration_finds_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(size=(6_000, 2)) * 2
    truth = (rng.random(right.shape) < 1 / (1 + np.exp(-right))).astype(np.float32)
    distorted = ((right + 1.0) * 3.0).astype(np.float32)
    even = np.ones(len(truth), dtype=np.float32)
    there = np.ones(len(truth), dtype=np.int64)
    scale, shift = fit_probability(distorted, np.zeros_like(distorted), there, 4, truth, even)
    np.testing.assert_allclose(scale[1], 1 / 3, rtol=0.15)
    np.testing.assert_allclose(shift[1], -1.0, rtol=0.15)
    # what was never seen is taken for much the same; where nothing is there, the prior speaks
    np.testing.assert_allclose(scale[2:], [scale[1]] * 2, rtol=0.2)
    np.testing.assert_array_equal([scale[0], shift[0]], [[1.0, 1.0], [0.0, 0.0]])
    ones, none = (1.0, 1.0), (0.0, 0.0)
    assert Calibration.identity(2, 1) == Calibration((ones, ones), (none, none), ones, ones)


def test_calibration_finds_what_a_combination_of_modalities_distorts() -> None:
    """Alone and together each is distorted in its own way, which no sum of both explains."""
    rng = np.random.default_rng(0)
    right = rng.normal(size=(12_000, 1)) * 2
    truth = (rng.random(right.shape) < 1 / (1 + np.exp(-right))).astype(np.float32)
    there = rng.integers(1, 4, len(truth))
    factor = np.array([[1.0], [0.5], [2.0], [1.0]])[there]
    added = np.array([[0.0], [0.8], [-1.5], [1.0]])[there]
    distorted = ((right - added) / factor).astype(np.float32)
    even = np.ones(len(truth), dtype=np.float32)
    scale, shift = fit_probability(distorted, np.zeros_like(distorted), there, 4, truth, even)
    np.testing.assert_allclose(distorted * scale[there] + shift[there], right, atol=0.4, rtol=0.1)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_calibrated_variance_is_the_mean_squared_distance(power: float) -> None:
    """Whatever scale it is stated in; an absent modality is left out."""
    rng = np.random.default_rng(1)
    truth = (rng.random((20_000, 2)) < 0.3).astype(np.float32)
    variance = np.exp(rng.normal(0, 1, truth.shape))
    logit = 4 * truth - 2 + np.sqrt(variance) * rng.normal(size=truth.shape)
    stated = np.exp(np.log(variance) / power + 2)
    logit[:50], stated[:50] = np.nan, np.inf
    even = np.ones(len(truth), np.float32)
    factor, found = fit_variance(logit.astype(np.float32), stated.astype(np.float32), truth, even)
    assert found == pytest.approx(power, abs=0.051)
    fitted = factor * stated[50:] ** found
    assert fitted.mean() == pytest.approx(np.square(logit - 4 * truth + 2)[50:].mean(), rel=0.1)


def test_what_novelty_adds_to_a_variance_is_not_fitted() -> None:
    """It comes on top of what is fitted, so validation data that are novel must not shrink it."""
    rng = np.random.default_rng(2)
    truth = (rng.random((2000, 2)) < 0.3).astype(np.float32)
    variance = np.exp(rng.normal(0, 1, truth.shape)).astype(np.float32)
    logit = (4 * truth - 2 + np.sqrt(variance) * rng.normal(size=truth.shape)).astype(np.float32)
    novelty = rng.random((2000, 1)).astype(np.float32)

    def fitted(novelty: NDArray[np.float32]) -> Calibration:
        stated = variance * (1 + NOVELTY_FACTOR * novelty)
        none = np.zeros_like(stated)
        p = (1 / (1 + np.exp(-logit))).astype(np.float32)
        said = Prediction(logit, p, stated, logit[:, None], stated[:, None], none, novelty)
        return fit_calibration(said, truth, np.ones(len(truth), np.float32))

    novel, usual = fitted(novelty), fitted(np.zeros_like(novelty))
    assert novel.variance_scale == pytest.approx(usual.variance_scale, rel=1e-4)
    assert novel.variance_power == usual.variance_power == pytest.approx((1.0, 1.0), abs=0.051)
