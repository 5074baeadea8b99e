"""What is shown: variance decides how much an estimate counts and when nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from workers.messages import EmotionEstimate, EmotionState, Evidence, Message
from workers.smooth import SmoothConfig, SmoothStage

FULL = Evidence(speech=0.8, face=1.0, words=3, faces=1, provisional=False)
CONFIG = SmoothConfig(thresholds=(0.5, 0.5), expected=frozenset({"words", "voice", "face"}))


def estimate(
    index: int,
    logit: float,
    variance: float = 0.2,
    evidence: Evidence = FULL,
    revision: int = 0,
) -> EmotionEstimate:
    logits = np.asarray([logit, -logit], np.float32)
    return EmotionEstimate(
        "p1",
        index,
        revision,
        index * 0.25,
        index * 0.25 + 3,
        ("happy", "sad"),
        logits,
        np.full(2, variance, np.float32),
        np.asarray(1 / (1 + np.exp(-logits)), np.float32),
        np.full((3, 2), variance, np.float32),
        evidence,
        True,
    )


def state(stage: SmoothStage, item: EmotionEstimate) -> EmotionState:
    (made,) = stage.push(item)
    assert isinstance(made, EmotionState)
    return made


def test_a_clear_estimate_is_shown_with_its_interval() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 1.516, 0.4))
    happy = shown.labels["happy"]
    assert shown.reason is None and shown.t == 3.0
    assert happy.status == "active" and shown.labels["sad"].status == "inactive"
    assert happy.variance == pytest.approx(0.4)
    assert list(happy.interval) == pytest.approx([0.7075, 0.896], abs=2e-3)
    assert happy.interval[0] < happy.probability < happy.interval[1]


def test_an_uncertain_estimate_hardly_moves_a_certain_one() -> None:
    def after(variance: float) -> float:
        stage = SmoothStage("p1", CONFIG)
        for index in range(8):
            state(stage, estimate(index, 2.0))
        return state(stage, estimate(8, -2.0, variance)).labels["happy"].probability

    certain, uncertain = after(0.2), after(20.0)
    assert uncertain > 0.8 > certain


def test_without_smoothing_every_estimate_stands_alone() -> None:
    config = SmoothConfig((0.5, 0.5), CONFIG.expected, tau=0)
    stage = SmoothStage("p1", config)
    state(stage, estimate(0, 2.0))
    assert state(stage, estimate(1, -2.0)).labels["sad"].status == "active"


def test_variance_makes_labels_unsure() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 4.0, 25.0))
    assert shown.labels["happy"].status == "unsure" and shown.reason == "variance_high"


def test_close_to_the_threshold_is_unsure() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 0.05, 0.4))
    assert {label.status for label in shown.labels.values()} == {"unsure"}


@pytest.mark.parametrize(
    ("evidence", "reason", "blind"),
    [
        (Evidence(0.8, 0.0, 3, 0, False), "no_face", False),
        (Evidence(0.0, 1.0, 0, 1, False), "no_speech", False),
        (Evidence(0.0, 0.0, 0, 0, False), "no_face", True),
        (Evidence(0.8, 0.0, 0, 0, False), "no_face", True),
        (Evidence(0.0, 1.0, 2, 1, False), None, False),
    ],
)
def test_missing_evidence_is_named(evidence: Evidence, reason: str | None, blind: bool) -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 3.0, 0.2, evidence))
    assert shown.reason == reason
    assert (shown.labels["happy"].status == "unsure") is blind


def test_without_a_camera_blindness_means_no_speech() -> None:
    config = SmoothConfig((0.5, 0.5), frozenset({"words", "voice"}))
    shown = state(SmoothStage("p1", config), estimate(0, 3.0, 0.2, Evidence(0, 0, 0, 0, False)))
    assert shown.reason == "no_speech"


def test_a_revision_equals_having_known_it_from_the_start() -> None:
    revised, known = SmoothStage("p1", CONFIG), SmoothStage("p1", CONFIG)
    for index in range(6):
        state(revised, estimate(index, 1.0))
        state(known, estimate(index, -3.0 if index == 2 else 1.0))
    again = state(revised, estimate(2, -3.0, revision=1))
    assert again.revision == 1 and again.index == 2
    assert state(revised, estimate(6, 1.0)).labels == state(known, estimate(6, 1.0)).labels


def test_revisions_that_come_too_late_are_counted_and_dropped() -> None:
    stage = SmoothStage("p1", CONFIG)
    for index in range(100):
        state(stage, estimate(index, 1.0))
    out: list[Message] = list(stage.push(estimate(1, -1.0, revision=1)))
    assert out == [] and stage.expired == 1
