"""Several people who speak at once, in one mixed track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.overlap import telephone
from stream.config import ReplayConfig
from stream.extractors import LazyExtractors
from tests.test_people import messages
from workers.attribute import AttributeStage
from workers.gate import Gate, GateConfig
from workers.messages import (
    AcousticFrames,
    EmotionEstimate,
    Evidence,
    Float32,
    Message,
    Modality,
    TranscriptSegment,
)
from workers.overlap import OverlapDetector, shipped
from workers.voice import VOICE_DIM

WEIGHTS = np.array([1.0], np.float32)


def window(t0: float, said: list[float], speech: list[bool] | None = None) -> AcousticFrames:
    features = np.array(said, np.float32)[:, None]
    mask = np.ones(len(said), np.bool_) if speech is None else np.array(speech)
    return AcousticFrames("p1", t0, t0 + 0.1 * len(said), features, mask)


def test_the_shipped_weights_are_for_the_voice_features() -> None:
    weights, bias = shipped()
    assert weights.shape == (VOICE_DIM,)
    assert np.isfinite(weights).all() and np.isfinite(bias)


def test_it_is_said_of_the_steps_around_a_moment() -> None:
    detector = OverlapDetector(WEIGHTS)
    detector.add(window(0.0, [-1.0] * 10 + [1.0] * 10 + [-1.0] * 10))
    assert [detector.at(t) for t in (0.5, 1.5, 2.5, 9.0)] == [False, True, False, False]


def test_later_windows_change_nothing_that_was_said() -> None:
    first, second = OverlapDetector(WEIGHTS), OverlapDetector(WEIGHTS)
    for detector in (first, second):
        detector.add(window(0.0, [-0.5] * 29 + [0.3]))
    second.add(window(0.25, [5.0] * 30))
    times = np.arange(0, 3.0, 0.05)
    assert [first.at(t, 3.0) for t in times] == [second.at(t, 3.0) for t in times]


def test_silence_and_features_of_another_encoder_say_nothing() -> None:
    detector = OverlapDetector(WEIGHTS)
    detector.add(window(0.0, [9.0] * 30, [False] * 30))
    assert not detector.at(1.0)
    other = OverlapDetector(np.ones(3, np.float32))
    other.add(window(0.0, [9.0] * 30))
    assert not other.at(1.0)


@pytest.mark.parametrize("evidence", [-1.0, 1.0])
def test_speech_of_several_counts_for_nobody(
    evidence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: tuple[Float32, float] = (np.array([evidence], np.float32), 0.0)
    monkeypatch.setattr("workers.overlap.shipped", lambda: weights)
    stage, out = AttributeStage("p1"), list[Message]()
    for producer in messages():
        for item in producer:
            out += stage.push(item)
    out += stage.flush()
    said = [item for item in out if isinstance(item, TranscriptSegment)]
    assert {item.overlap for item in said} == {evidence > 0}
    assert any(item.known for item in said) == (evidence < 0)
    voices = [item for item in out if isinstance(item, AcousticFrames)]
    assert any(item.mask.any() for item in voices) == (evidence < 0)
    late = [item.overlap for item in voices if item.t1 > 4 and item.overlap is not None]
    assert any(each.any() for each in late) == (evidence > 0)


def test_overlap_of_a_real_telephone_call(shared: Path) -> None:
    encoder = LazyExtractors(ReplayConfig()).voice
    found = telephone(shared / "media/speech", encoder, OverlapDetector())
    assert found["recall"] >= 0.7
    assert found["false"] <= 0.25


@pytest.mark.parametrize(("share", "told"), [(0.4, False), (0.6, True)])
def test_it_is_told_as_a_reason(share: float, told: bool) -> None:
    evidence = Evidence(speech=0.0, face=1.0, words=0, faces=1, provisional=False, overlap=share)
    zero = np.zeros(2, np.float32)
    estimate = EmotionEstimate(
        "p1.1", 0, 0, 0.0, 3.0, ("happy", "sad"), zero, zero + 1, zero + 0.5,
        np.ones((3, 2), np.float32), evidence, True,
    )  # fmt: skip
    everything: frozenset[Modality] = frozenset({"face", "voice", "words"})
    gate = Gate(GateConfig(), everything, np.zeros(2))
    assert ("overlap" in gate.view(estimate).reasons) == told
    alone = Gate(GateConfig(), frozenset({"face"}), np.zeros(2))
    assert "overlap" not in alone.view(estimate).reasons
