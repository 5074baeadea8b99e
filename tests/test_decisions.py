"""When a label counts as present."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.decisions import Decided, DecisionConfig, Event, decide


def follow(config: DecisionConfig, logits: list[float], hop: float = 0.25) -> list[Decided]:
    found: list[Decided] = []
    for k, logit in enumerate(logits):
        past = found[-1] if found else None
        found.append(decide(config, past, hop * k, np.array([logit])))
    return found


def test_onset_peak_and_offset() -> None:
    config = DecisionConfig(np.zeros(1), hysteresis=0.5, dwell=0.5)
    found = follow(config, [-1, 0.4, 0.6, 2.0, 1.0, -0.4, -0.6])
    assert [bool(each.present[0]) for each in found] == [
        False,
        False,
        True,
        True,
        True,
        True,
        False,
    ]
    assert [each.events for each in found if each.events] == [
        (Event("onset", 0, 0.5, 0.6, 0.5, 0.5),),
        (Event("offset", 0, 1.5, 2.0, 0.75, 0.5),),
    ]


def test_nothing_comes_by_an_estimate_that_is_not_sure() -> None:
    config = DecisionConfig(np.zeros(1), hysteresis=0.0, dwell=0.0)
    unsure, sure = np.array([False]), np.array([True])
    past = decide(config, None, 0.0, np.array([3.0]), unsure)
    assert not past.present[0] and not past.events
    past = decide(config, past, 0.25, np.array([3.0]), unsure)
    assert not past.present[0]
    past = decide(config, past, 0.5, np.array([3.0]), sure)
    assert past.present[0] and past.onset[0] == 0.5
    assert decide(config, past, 0.75, np.array([3.0]), unsure).present[0]
    assert not decide(config, past, 0.75, np.array([-3.0]), unsure).present[0]


def test_what_is_there_at_first_has_an_onset() -> None:
    (first,) = follow(DecisionConfig(np.zeros(1)), [0.1])
    assert first.present[0]
    assert [event.kind for event in first.events] == ["onset"]


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=60),
    st.floats(0, 2),
    st.floats(0, 3),
)
def test_no_state_is_shorter_than_the_dwell(
    logits: list[float], hysteresis: float, dwell: float
) -> None:
    found = follow(DecisionConfig(np.zeros(1), hysteresis, dwell), logits)
    changes = [
        each.t for past, each in itertools.pairwise(found)
        if past.present[0] != each.present[0]
    ]  # fmt: skip
    assert all(b - a >= dwell for a, b in itertools.pairwise(changes))
    assert len(changes) == sum(len(each.events) for each in found[1:])


def test_without_hysteresis_and_dwell_it_is_the_threshold() -> None:
    logits = list(np.random.default_rng(0).normal(size=100))
    found = follow(DecisionConfig(np.zeros(1), 0.0, 0.0), logits)
    assert [bool(each.present[0]) for each in found] == [logit >= 0 for logit in logits]
