"""What is shown: variance decides how much an estimate counts and when nothing is said."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.baselines import Ema, OneEuro, Raw
from workers.filters import Filter, Kalman
from workers.markov import TwoState
from workers.messages import EmotionEstimate, Evidence, Message, Modality
from workers.smooth import SmoothConfig, SmoothStage
from workers.states import EmotionEvent, EmotionState

FULL = Evidence(speech=0.8, face=1.0, words=3, faces=1, provisional=False)
ALL: frozenset[Modality] = frozenset({"words", "voice", "face"})


def config(
    rule: Filter | None = None, expected: frozenset[Modality] = ALL, **changes: Any
) -> SmoothConfig:
    """Without smoothing, hysteresis and dwell, unless changed."""
    plain: dict[str, Any] = {"hysteresis": 0.0, "dwell": 0.0}
    return SmoothConfig((0.5, 0.5), expected, rule or Raw(), **plain | changes)


CONFIG = config()


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
    made, *events = stage.push(item)
    assert isinstance(made, EmotionState)
    assert all(isinstance(event, EmotionEvent) for event in events)
    return made


def events(messages: Iterable[Message]) -> list[tuple[str, str, float, bool]]:
    """Kind, label, time and whether it was withdrawn, of the events among `messages`."""
    found = [each for each in messages if isinstance(each, EmotionEvent)]
    return [(each.kind, each.label, each.t, each.withdrawn) for each in found]


def test_a_clear_estimate_is_shown_with_its_interval() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 1.516, 0.4))
    happy = shown.labels["happy"]
    assert shown.reason is None and shown.t == 3.0
    assert happy.status == "active" and shown.labels["sad"].status == "inactive"
    assert happy.variance == pytest.approx(0.4)
    assert list(happy.interval) == pytest.approx([0.7075, 0.896], abs=2e-3)
    assert happy.interval[0] < happy.probability < happy.interval[1]


@pytest.mark.parametrize("rule", [Kalman(shared=0.0), TwoState()])
def test_an_uncertain_estimate_hardly_moves_a_certain_one(rule: Filter) -> None:
    def after(variance: float) -> float:
        stage = SmoothStage("p1", config(rule))
        for index in range(8):
            state(stage, estimate(index, 2.0))
        return state(stage, estimate(8, -4.0, variance)).labels["happy"].probability

    certain, uncertain = after(0.1), after(50.0)
    assert uncertain > 0.75 > certain


def test_without_smoothing_every_estimate_stands_alone() -> None:
    stage = SmoothStage("p1", CONFIG)
    state(stage, estimate(0, 2.0))
    assert state(stage, estimate(1, -2.0)).labels["sad"].status == "active"


def test_variance_makes_labels_unsure() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 2.0, 25.0))
    assert shown.labels["happy"].status == "unsure" and shown.reasons == ("variance_high",)


def test_close_to_the_threshold_is_unsure() -> None:
    shown = state(SmoothStage("p1", CONFIG), estimate(0, 0.05, 0.4))
    assert {label.status for label in shown.labels.values()} == {"unsure"}


def test_a_label_that_was_unsure_has_to_become_clearer() -> None:
    stage = SmoothStage("p1", CONFIG)
    statuses = [
        state(stage, estimate(k, x, 1.0)).labels["happy"].status
        for k, x in enumerate((0.6, 0.8, 1.1, 0.8, 0.6))
    ]
    assert statuses == ["unsure", "unsure", "active", "active", "unsure"]


def test_hysteresis_and_dwell_hold_what_is_shown() -> None:
    stage = SmoothStage("p1", config(hysteresis=1.0, dwell=1.0))
    logits = (-3.0, 3.0, -3.0, -3.0, -3.0, -3.0, 0.9, 0.9)
    shown = [
        state(stage, estimate(k, x, 0.01)).labels["happy"].status for k, x in enumerate(logits)
    ]
    assert shown == ["inactive", "active", "active", "active", "active", *["inactive"] * 3]


def test_events_tell_onset_peak_and_offset() -> None:
    stage = SmoothStage("p1", CONFIG)
    out: list[Message] = []
    for k, x in enumerate((-2.0, 1.0, 3.0, 2.0, -2.0)):
        out += stage.push(estimate(k, x))
    assert sorted(events(out), key=lambda event: (event[2], event[1])) == [
        ("onset", "sad", 3.0, False),
        ("onset", "happy", 3.25, False),
        ("offset", "sad", 3.25, False),
        ("offset", "happy", 4.0, False),
        ("onset", "sad", 4.0, False),
    ]
    made = [each for each in out if isinstance(each, EmotionEvent)]
    gone = next(each for each in made if (each.kind, each.label) == ("offset", "happy"))
    assert (gone.onset, gone.peak_t) == (3.25, 3.5)
    assert gone.peak == pytest.approx(1 / (1 + np.exp(-3)))


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
    stage = SmoothStage("p1", config(expected=frozenset({"words", "voice"})))
    shown = state(stage, estimate(0, 3.0, 0.2, Evidence(0, 0, 0, 0, False)))
    assert shown.reason == "no_speech"


def test_a_blind_window_is_no_observation() -> None:
    """The estimate of nothing is the prior: the filter forgets, but does not believe it."""
    nothing = Evidence(0.0, 0.0, 0, 0, False)
    stage = SmoothStage("p1", config(Kalman(tau=8.0)))
    for index in range(20):
        state(stage, estimate(index, 3.0))
    blind = [state(stage, estimate(20 + k, -9.0, 0.2, nothing)) for k in range(200)]
    means = [each.labels["happy"].probability for each in blind]
    assert means[0] > 0.8 and means[-1] == pytest.approx(0.5, abs=0.01)
    assert all(a >= b for a, b in pairwise(means))
    assert {each.labels["happy"].status for each in blind} == {"unsure"}


RULES = [Raw(), Ema(), OneEuro(), Kalman(shared=0.5), TwoState(), TwoState(shared=0.8)]


@pytest.mark.parametrize("rule", RULES)
@given(
    st.lists(st.floats(-4, 4), min_size=2, max_size=40),
    st.lists(st.tuples(st.integers(0, 39), st.floats(-4, 4), st.integers(0, 5)), max_size=12),
)
@settings(max_examples=25, deadline=None)
def test_revisions_equal_having_known_from_the_start(
    rule: Filter, first: list[float], revisions: list[tuple[int, float, int]]
) -> None:
    """States of what follows, and the events that are left, wherever revisions come in between."""
    setting = config(rule, hysteresis=0.2, dwell=0.5)
    revised, known = SmoothStage("p1", setting), SmoothStage("p1", setting)
    final = dict(enumerate(first))
    due: dict[int, list[tuple[int, float]]] = {}
    for index, logit, delay in revisions:
        if index < len(first):
            due.setdefault(min(len(first) - 1, index + delay), []).append((index, logit))
    told: list[Message] = []
    for index, logit in enumerate(first):
        told += revised.push(estimate(index, logit))
        for old, changed in due.get(index, ()):
            told += revised.push(estimate(old, changed, revision=1))
            final[old] = changed
    expected = [message for index in final for message in known.push(estimate(index, final[index]))]
    told += revised.flush()
    assert standing(told) == standing(expected)
    ahead = estimate(len(first), 1.0)
    assert state(revised, ahead) == state(known, ahead)


def standing(messages: Iterable[Message]) -> set[tuple[str, str, float]]:
    """Events that were not withdrawn; each is told once before it is withdrawn or told again."""
    left: set[tuple[str, str, float]] = set()
    for kind, label, t, withdrawn in events(messages):
        assert ((kind, label, t) in left) is withdrawn
        (left.remove if withdrawn else left.add)((kind, label, t))
    return left


def test_a_revision_after_the_history_was_cut_goes_on_from_what_was_before() -> None:
    revised, known = (SmoothStage("p1", config(Kalman())) for _ in range(2))
    for index in range(100):
        state(revised, estimate(index, 1.0))
        state(known, estimate(index, -3.0 if index == 45 else 1.0))
    assert state(revised, estimate(45, -3.0, revision=1)).revision == 1
    assert state(revised, estimate(100, 1.0)) == state(known, estimate(100, 1.0))


def test_revisions_that_come_too_late_are_counted_and_dropped() -> None:
    stage = SmoothStage("p1", CONFIG)
    for index in range(100):
        state(stage, estimate(index, 1.0))
    out: list[Message] = list(stage.push(estimate(1, -1.0, revision=1)))
    assert out == [] and stage.expired == 1


def noisy(count: int, rng: np.random.Generator, *, informative: bool) -> list[tuple[float, float]]:
    """Logits around a level that changes seldom, with noise of very different variance."""
    variance = np.exp(rng.normal(0, 1.2, count))
    variance = np.repeat(variance[::12], 12)[:count]  # windows share their noise
    level = np.where((np.arange(count) // 48) % 2, 1.5, -1.5)
    logit = level + rng.normal(size=count) * np.sqrt(variance)
    said = variance if informative else rng.permutation(variance)
    return list(zip(logit.tolist(), said.tolist(), strict=True))


@pytest.mark.parametrize("informative", [True, False])
def test_a_variance_that_predicts_nothing_is_replaced_by_a_constant(informative: bool) -> None:
    stage = SmoothStage("p1", config(Kalman(shared=0.0)))
    said = noisy(1600, np.random.default_rng(3), informative=informative)
    states = [state(stage, estimate(k, *each)) for k, each in enumerate(said)]
    assert states[0].variance_trusted
    assert states[-1].variance_trusted is informative
    if informative:
        return
    last = [each.labels["happy"].variance for each in states[-40:]]
    assert np.ptp(last) < 0.02  # weighed all the same
    constant = SmoothStage("p1", config(Kalman(shared=0.0), constant=True))
    plain = [state(constant, estimate(k, *each)) for k, each in enumerate(said)]
    assert plain[-1].labels == states[-1].labels


def test_stale_states_fade_and_change_nothing() -> None:
    stage = SmoothStage("p1", config(Kalman(tau=4.0)))
    assert stage.stale(1.0) is None
    for index in range(12):
        last = state(stage, estimate(index, 3.0))
    faded = [stage.stale(last.t + s) for s in (1.0, 4.0, 60.0)]
    happy = [each.labels["happy"] for each in faded if each is not None]
    assert len(happy) == 3 and {label.status for label in happy} == {"unsure"}
    assert last.labels["happy"].probability > happy[0].probability > happy[1].probability
    assert happy[2].variance == pytest.approx(4.0, abs=1e-3)
    assert faded[0] is not None and faded[0].reasons == ("stale",)
    assert (faded[0].index, faded[0].t) == (last.index, last.t + 1.0)
    other = SmoothStage("p1", config(Kalman(tau=4.0)))
    for index in range(12):
        state(other, estimate(index, 3.0))
    for each in (stage, other):
        state(each, estimate(5, 2.0, revision=1))
    assert stage.stale(20.0) is not None, "also where late words have to be worked in first"
    assert state(stage, estimate(12, 0.0)) == state(other, estimate(12, 0.0))


def test_the_whole_recording_is_smoothed_both_ways_at_its_end() -> None:
    stage = SmoothStage("p1", config(Kalman(shared=0.0), both_ways=True))
    rng = np.random.default_rng(1)
    truth = np.where((np.arange(400) // 40) % 2, 2.0, -2.0)
    noisy = truth + rng.normal(0, 2.5, 400)
    told = [state(stage, estimate(k, float(noisy[k]), 6.25)) for k in range(400)]
    out = stage.flush()
    states = [each for each in out if isinstance(each, EmotionState)]
    assert [each.index for each in states] == list(range(400))
    assert all(each.smoothed for each in states)
    causal, both = (
        np.log(interval / (1 - interval)).mean(axis=1)
        for interval in (np.array([s.labels["happy"].interval for s in x]) for x in (told, states))
    )
    assert np.square(both - truth).mean() < 0.7 * np.square(causal - truth).mean()
    assert {each.smoothed for each in out if isinstance(each, EmotionEvent)} == {True}


def test_filters_that_cannot_look_back_smooth_nothing_at_the_end() -> None:
    stage = SmoothStage("p1", config(Ema(), both_ways=True))
    stage.push(estimate(0, 1.0))
    assert not stage.flush()
