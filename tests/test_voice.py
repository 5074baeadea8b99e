"""Voice features of windows: of exactly their sound, whatever the cut, without holes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import buzz, chunks, joined, load, noise, silence
from workers.descriptors import describe
from workers.messages import (
    END,
    SAMPLE_RATE,
    AcousticFrames,
    AudioChunk,
    Float32,
    Gap,
    Message,
    Progress,
    VoicedAudio,
)
from workers.vad import VadStage
from workers.voice import STATE_DIM, VOICE_DIM, VoiceStage
from workers.whisper import VoiceEncoder
from workers.windows import WindowPlan, pool

TALK = joined([silence(0.5), buzz(1.5), silence(1.5), buzz(1.0, seed=1), silence(0.5)])
"""5 s."""


@dataclass
class Loudness:
    """An encoder of one value: enough to see which samples a feature comes from."""

    lengths: list[int] = field(default_factory=list)

    def encode(self, samples: Float32) -> Float32:
        self.lengths.append(len(samples))
        loud = np.abs(samples.reshape(-1, 320)).mean(axis=1, dtype=np.float64)
        return np.repeat(loud[:, None], STATE_DIM, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(models: Callable[[str], Path]) -> VoiceEncoder:
    return VoiceEncoder(models("whisper-tiny.en"), device="cpu")


def through(items: Sequence[Message], stage: VoiceStage, *, end: bool = True) -> list[Message]:
    vad = VadStage("p1")
    ends: list[Message] = [Progress("p1", "audio", END)] if end else []
    return [
        out
        for item in (*items, *ends)
        for made in vad.push(item)
        if isinstance(made, VoicedAudio | Gap)
        or (isinstance(made, Progress) and made.source == "voice")
        for out in stage.push(made)
    ]


def frames(out: Sequence[Message]) -> list[AcousticFrames]:
    return [item for item in out if isinstance(item, AcousticFrames)]


def test_features_are_the_encoded_window(encoder: VoiceEncoder) -> None:
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), encoder)
    made = frames(through(list(chunks(TALK)), stage))
    for window in made[:7]:
        samples = TALK[round(window.t0 * SAMPLE_RATE) : round(window.t1 * SAMPLE_RATE)]
        wanted = pool(np.concatenate([encoder.encode(samples), describe(samples)], axis=1), 10)
        assert window.features.shape == (10, VOICE_DIM)
        assert np.array_equal(window.features[window.mask], wanted[window.mask])
        assert np.all(window.features[~window.mask] == 0)
    assert made[0].mask.tolist() == [False] * 5 + [True] * 5
    assert made[1].mask.all()


def test_an_utterance_is_encoded_like_a_window(encoder: VoiceEncoder, shared: Path) -> None:
    """No skew between preparation and calls."""
    samples = load(shared / "media/speech/jfk.flac", 4.5)
    live = VoiceStage("p1", WindowPlan.sliding(3.0, 0.25), encoder)
    whole = VoiceStage("p1", WindowPlan.fixed([(1.25, 4.25)]), encoder)
    windows = frames(through(list(chunks(samples)), live))
    (utterance,) = frames(through([AudioChunk("p1", 0.0, samples)], whole))
    same = next(window for window in windows if window.t0 == 1.25)
    assert same.mask.sum() > 20
    assert np.array_equal(same.features, utterance.features)
    assert np.array_equal(same.mask, utterance.mask)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 20_000), max_size=50))
def test_any_cut_gives_the_same_windows(sizes: list[int]) -> None:
    plan = WindowPlan.sliding(1.0, 0.5)
    whole = frames(through([AudioChunk("p1", 0.0, TALK)], VoiceStage("p1", plan, Loudness())))
    cut = frames(through(list(chunks(TALK, sizes)), VoiceStage("p1", plan, Loudness())))
    assert len(whole) == len(cut) == 10
    for one, other in zip(whole, cut, strict=True):
        assert (one.t0, one.t1) == (other.t0, other.t1)
        assert np.array_equal(one.features, other.features)
        assert np.array_equal(one.mask, other.mask)


def test_progress_follows_each_window() -> None:
    out = through(
        list(chunks(TALK)), VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness()), end=False
    )
    assert [type(item) for item in out] == [AcousticFrames, Progress] * 9
    for made, told in zip(out[::2], out[1::2], strict=True):
        assert isinstance(made, AcousticFrames)
        assert told == Progress("p1", "voice", made.t1)


def test_a_window_comes_as_soon_as_its_sound_is_there() -> None:
    stage, vad = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness()), VadStage("p1")
    for chunk in chunks(TALK):
        for item in vad.push(chunk):
            if isinstance(item, VoicedAudio):
                for window in frames(stage.push(item)):
                    assert window.t1 == pytest.approx(chunk.t1, abs=1e-6)


def test_silence_is_not_encoded() -> None:
    encoder = Loudness()
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), encoder)
    made = frames(through(list(chunks(silence(3.0))), stage))
    assert encoder.lengths == []
    assert len(made) == 6
    for window in made:
        assert not window.mask.any()
        assert not window.features.any()
        assert window.features.shape == (10, VOICE_DIM)


def test_sound_that_starts_late_is_silence_before() -> None:
    items = list(chunks(buzz(2.0), t0=1.73))
    plan = WindowPlan.sliding(1.0, 0.5)
    made = frames(through(items, VoiceStage("p1", plan, Loudness())))
    assert [window.t0 for window in made][:3] == [0.0, 0.5, 1.0]
    assert not made[0].mask.any()
    assert not made[1].mask.any()
    assert made[2].mask.tolist() == [False] * 7 + [True] * 3


def test_a_hole_is_silence() -> None:
    sound = buzz(3.0)
    items: list[Message] = [AudioChunk("p1", 0.0, sound[:16000])]
    items += [AudioChunk("p1", 1.6, sound[16000:])]
    out = through(items, VoiceStage("p1", WindowPlan.sliding(1.0, 1.0), Loudness()))
    assert Gap("p1", "audio", 1.0, 1.6, "missing") in out
    assert not frames(out)[1].mask[3:6].any()
    assert frames(out)[1].mask[6:].all()


def test_a_skipped_hour_is_silence() -> None:
    items = [AudioChunk("p1", 0.0, buzz(1.0)), AudioChunk("p1", 61.5, buzz(2.0))]
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 1.0), Loudness())
    made = frames(through(items, stage))
    assert len(made) == 64
    assert not any(window.mask.any() for window in made[2:61])
    assert made[61].mask.tolist() == [False] * 5 + [True] * 5
    assert made[62].mask.all()


def test_the_end_brings_the_windows_that_have_some_sound() -> None:
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness())
    out = through(list(chunks(buzz(1.72))), stage)
    assert [window.t0 for window in frames(out)] == [0.0, 0.5, 1.0, 1.5]
    assert frames(out)[2].mask.tolist() == [True] * 7 + [False] * 3
    told = [item.t for item in out if isinstance(item, Progress)]
    assert told == [1.0, 1.5, END]
    assert list(stage.flush()) == []


def test_flush_without_an_end_gives_the_same_windows() -> None:
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness())
    through(list(chunks(buzz(1.76))), stage, end=False)
    assert [window.t0 for window in frames(stage.flush())] == [1.0, 1.5]
    assert list(stage.flush()) == []


def test_a_long_utterance_is_encoded_in_equal_parts() -> None:
    encoder = Loudness()
    stage = VoiceStage("p1", WindowPlan.fixed([(0.0, 61.0), (61.5, 63.0)]), encoder)
    sound = np.tile(buzz(1.0), 64) * np.repeat([1, 0.5, 1], [20, 41, 3]).repeat(SAMPLE_RATE)
    sound = sound.astype(np.float32)
    first, second = frames(through(list(chunks(sound, [4000])), stage))
    assert max(encoder.lengths) <= 30 * SAMPLE_RATE
    assert sum(encoder.lengths) == round(62.5 * SAMPLE_RATE)
    assert max(encoder.lengths[:3]) - min(encoder.lengths[:3]) <= 320
    assert first.features.shape == (610, VOICE_DIM)
    assert second.features.shape == (15, VOICE_DIM)
    loud = Loudness().encode(np.asarray(sound[: 61 * SAMPLE_RATE]))
    states = first.features[first.mask][:, :STATE_DIM]
    assert np.allclose(states, pool(loud, 610)[first.mask], atol=1e-6)


def test_memory_is_bounded() -> None:
    stage, vad = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness()), VadStage("p1")
    for chunk in chunks(noise(20.0, 0.01)):
        for item in vad.push(chunk):
            if isinstance(item, VoicedAudio):
                stage.push(item)
        assert sum(len(piece.samples) for piece in stage._sound) <= 1.1 * SAMPLE_RATE
    sparse = VoiceStage("p1", WindowPlan.fixed([(1.0, 2.0), (18.0, 19.0)]), Loudness())
    for chunk in chunks(noise(17.0, 0.01)):
        sparse.push(VoicedAudio("p1", chunk.t0, chunk.samples, np.zeros(1, np.bool_)))
    assert sum(len(piece.samples) for piece in sparse._sound) == 0


def test_provisional_sound_makes_provisional_windows() -> None:
    items = [AudioChunk("p1", 0.0, buzz(1.0), provisional=True), AudioChunk("p1", 1.0, buzz(2.0))]
    stage = VoiceStage("p1", WindowPlan.sliding(1.0, 0.5), Loudness())
    made = frames(through(items, stage))
    assert [window.provisional for window in made] == [True, True, False, False, False, False]


def test_other_messages_are_passed_on() -> None:
    stage = VoiceStage("p1", WindowPlan.sliding(), Loudness())
    gap = Gap("p1", "audio", 0.0, 1.0, "queue_full")
    assert list(stage.push(gap)) == [gap]
    assert list(stage.push(Progress("p1", "voice", END))) == [Progress("p1", "voice", END)]
