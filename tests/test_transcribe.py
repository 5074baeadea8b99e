"""Segments become words in stream time; after a cut they are heard together with what was said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest

from tests.sounds import chunks, load, silence
from workers.heard import Before, Heard
from workers.messages import (
    END,
    SAMPLE_RATE,
    Float32,
    Gap,
    Message,
    Progress,
    SpeechSegment,
    TranscriptSegment,
    Word,
)
from workers.transcribe import CONTEXT_S, MARGIN_S, TranscribeStage
from workers.vad import VadStage
from workers.whisper import Transcriber


@dataclass
class Listener:
    """Hears a word every 0.4 s and notes what it was given."""

    given: list[tuple[float, Before | None]] = field(default_factory=list)
    fails: bool = False

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        if self.fails:
            raise ValueError("cannot hear")
        self.given.append((len(samples) / SAMPLE_RATE, before))
        count = round(len(samples) / SAMPLE_RATE / 0.4)
        n = len(self.given)
        words = [Word(0.4 * k, 0.4 * k + 0.3, f"w{n}{k}", 0.9) for k in range(count)]
        return Heard(tuple(words), "en")


def segment(index: int, t0: float, seconds: float, *, closed: bool) -> SpeechSegment:
    rng = np.random.default_rng(index)
    samples = rng.normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    return SpeechSegment("p1", index, t0, samples, closed)


def one(out: list[Message] | object) -> TranscriptSegment:
    assert isinstance(out, list)
    (transcript,) = out
    assert isinstance(transcript, TranscriptSegment)
    return transcript


def test_times_are_stream_times() -> None:
    transcript = one(TranscribeStage("p1", Listener()).push(segment(3, 10.0, 1.0, closed=True)))
    assert (transcript.index, transcript.t0, transcript.t1) == (3, 10.0, 11.0)
    assert [(word.t0, word.t1) for word in transcript.words] == [(10.0, 10.3), (10.4, 10.7)]
    assert (transcript.language, transcript.text) == ("en", "w10 w11")


def test_a_segment_after_a_cut_is_heard_with_what_was_said_before() -> None:
    listener = Listener()
    stage = TranscribeStage("p1", listener)
    parts = [segment(0, 1.0, 2.4, closed=False), segment(1, 3.4, 1.6, closed=False)]
    parts += [segment(2, 5.0, 1.0, closed=True), segment(3, 6.0, 1.0, closed=True)]
    for part in parts:
        stage.push(part)
    (_, first), (_, second), (_, third), (_, last) = listener.given
    assert first is None
    assert last is None  # a pause ended what was said
    assert second is not None
    assert second.words == ("w11", "w12", "w13", "w14", "w15")
    start = round((0.4 - MARGIN_S) * SAMPLE_RATE)
    assert np.array_equal(second.samples, parts[0].samples[start:])
    assert third is not None
    assert third.words == ("w15", "w20", "w21", "w22", "w23")
    assert len(third.samples) <= (CONTEXT_S + MARGIN_S) * SAMPLE_RATE
    said = np.concatenate([parts[0].samples, parts[1].samples])
    assert np.array_equal(third.samples, said[-len(third.samples) :])


def test_context_ends_where_sound_is_missing() -> None:
    listener = Listener()
    stage = TranscribeStage("p1", listener)
    stage.push(segment(0, 1.0, 2.4, closed=False))
    stage.push(segment(1, 3.5, 1.0, closed=False))
    assert listener.given[1][1] is None


def test_context_does_not_survive_a_failure() -> None:
    listener = Listener()
    stage = TranscribeStage("p1", listener)
    stage.push(segment(0, 1.0, 2.4, closed=False))
    listener.fails = True
    with pytest.raises(ValueError, match="cannot hear"):
        stage.push(segment(1, 3.4, 1.0, closed=False))
    listener.fails = False
    stage.push(segment(2, 4.4, 1.0, closed=False))
    assert listener.given[1][1] is None


def test_what_is_kept_does_not_grow() -> None:
    listener = Listener()
    stage = TranscribeStage("p1", listener)
    for n in range(20):
        stage.push(segment(n, 2.0 * n, 2.0, closed=False))
    longest = max(len(before.samples) for _, before in listener.given if before)
    assert longest <= (CONTEXT_S + MARGIN_S) * SAMPLE_RATE + 1


def test_control_messages_are_passed_on() -> None:
    stage = TranscribeStage("p1", Listener())
    for item in (Progress("p1", "words", 2.0), Gap("p1", "audio", 1.0, 2.0, "x")):
        assert list(stage.push(item)) == [item]
    assert list(stage.push(Progress("p1", "words", END))) == [Progress("p1", "words", END)]
    assert list(stage.flush()) == []


@pytest.fixture(scope="module")
def transcriber(models: Callable[[str], Path]) -> Transcriber:
    return Transcriber(models("whisper-tiny.en"), device="cpu")


def words_of_call(samples: Float32, transcriber: Transcriber) -> list[Word]:
    vad, stage = VadStage("p1"), TranscribeStage("p1", transcriber)
    items: list[Message] = [*chunks(samples), Progress("p1", "audio", END)]
    made = [out for item in items for cut in vad.push(item) for out in stage.push(cut)]
    told = -1.0
    for item in made:
        if isinstance(item, Progress) and item.source == "words":
            told = item.t
        elif isinstance(item, TranscriptSegment):
            assert all(word.t1 > told for word in item.words), "a word came after its progress"
    return [word for item in made if isinstance(item, TranscriptSegment) for word in item.words]


def test_a_call_is_heard(shared: Path, transcriber: Transcriber) -> None:
    words = words_of_call(load(shared / "media/speech/jfk.flac"), transcriber)
    said = "and so my fellow americans ask not what your country can do for you "
    said += "ask what you can do for your country"
    heard = " ".join(word.text.strip(".,?!").lower() for word in words)
    assert jiwer.wer(said, heard) <= 0.1
    assert all(a.t0 <= b.t0 for a, b in pairwise(words))


def test_silence_is_no_call(transcriber: Transcriber) -> None:
    assert words_of_call(silence(2.0), transcriber) == []


def test_words_are_not_logged(
    shared: Path, transcriber: Transcriber, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        words = words_of_call(load(shared / "media/speech/jfk.flac", 3.0), transcriber)
    assert words
    assert "fellow" not in caplog.text
