"""The scores of the temporal benchmarks, by hand and against a filter that knows everything."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.temporal_rules import Setting, Tried, shuffled
from benchmarks.temporal_scores import Decision, Score, counted, decided, saturating
from benchmarks.temporal_streams import LEVELS, RATE, Said, exact, streams
from workers.baselines import Raw


def test_scores_by_hand() -> None:
    truth = np.zeros((20, 2), dtype=bool)
    truth[4:12, 0] = truth[10:14, 1] = True
    shown = np.zeros((1, 20, 2), dtype=bool)
    shown[0, 6:12, 0] = shown[0, 1:3, 0] = True  # two steps late, once for nothing
    score = Score(*counted(shown, truth).scores()[0].tolist())
    assert score.f1 == pytest.approx(2 * 6 / (8 + 12))
    assert score.switches == pytest.approx(4 / (2 * 20 / RATE / 60))
    assert score.latency == pytest.approx((2 + 4) / 2 / RATE)  # the other is never shown


def test_each_way_decides_by_itself() -> None:
    mean = np.array([[-1.0], [0.5], [1.5], [0.5], [-0.5], [-1.5]])
    ways = (Decision(0.0, 0.0, 0.0), Decision(1.0, -1.0, 0.0), Decision(0.0, 0.0, 0.75))
    found = decided(mean, 0.0, ways)[..., 0].astype(int).tolist()
    assert found == [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]]
    assert all(abs(way.rise) < 2 and way.fall <= way.rise for way in saturating(2.0))


def test_the_fewest_switches_among_what_is_no_worse() -> None:
    settings = [Setting(Raw(), Decision(float(k), 0.0, 0.0)) for k in range(4)]
    scores = np.array([[0.8, 9.0, 0.9], [0.8, 5.0, 0.8], [0.7, 1.0, 0.8], [0.9, 2.0, 1.1]])
    tried = Tried(settings, scores)
    assert tried.matched(Score(0.8, 9.0, 0.9)) == settings[1]
    assert tried.matched(Score(0.95, 9.0, 0.9)) is None
    assert tried.best(1.0) == (settings[0], Score(0.8, 9.0, 0.9))
    assert tried.best() == (settings[3], Score(0.9, 2.0, 1.1))


def test_who_knows_the_generator_is_calibrated() -> None:
    made = streams(12, 2.0, LEVELS[1], seed=99)
    odds, truth = exact(made), np.stack([each.truth for each in made], 1)
    p = 1 / (1 + np.exp(-odds))
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
        some = (p >= low) & (p < high)
        assert truth[some].mean() == pytest.approx(p[some].mean(), abs=0.08)


def test_shuffling_keeps_the_variances_of_a_stream() -> None:
    rng = np.random.default_rng(0)
    said = Said(rng.normal(size=(50, 2)), rng.random((50, 2)), np.zeros((50, 2), dtype=bool))
    lost = shuffled(said)
    assert (np.sort(lost.variance, axis=0) == np.sort(said.variance, axis=0)).all()
    assert (lost.variance != said.variance).any()
