"""Words and voice features of short pieces of sound, with the real models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest

from tests.sounds import buzz, joined, load, noise, silence, tone
from workers.heard import Limits, Span, WhisperInputError, WhisperModelError, words_of
from workers.messages import SAMPLE_RATE, Float32
from workers.whisper import (
    LONGEST_S,
    Before,
    Device,
    Heard,
    Transcriber,
    VoiceEncoder,
    resolve_device,
)

Models = Callable[[str], Path]

JFK = (
    "and so my fellow americans ask not what your country can do for you "
    "ask what you can do for your country"
)


@pytest.fixture(scope="module")
def transcriber(models: Models) -> Transcriber:
    return Transcriber(models("whisper-tiny.en"), device="cpu")


@pytest.fixture(scope="module")
def voice(models: Models) -> VoiceEncoder:
    return VoiceEncoder(models("whisper-tiny.en"), device="cpu")


@pytest.fixture(scope="module")
def jfk(shared: Path) -> Float32:
    return load(shared / "media/speech/jfk.flac")


def text(heard: Heard) -> str:
    return " ".join(word.text for word in heard.words)


def plain(heard: Heard) -> list[str]:
    return text(heard).lower().replace(",", "").replace(".", "").split()


# Words


def test_a_speech_is_heard(transcriber: Transcriber, jfk: Float32) -> None:
    heard = transcriber.transcribe(jfk)
    assert heard.language == "en"
    assert " ".join(plain(heard)) == JFK


@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        (0.0, 2.3, "and so my fellow americans"),
        (5.2, 7.8, "what your country can do for you"),
        (8.0, 11.0, "ask what you can do for your country"),
    ],
)
def test_short_pieces_are_heard_once(
    transcriber: Transcriber, jfk: Float32, start: float, stop: float, words: str
) -> None:
    """Without padding behind it the decoder says such pieces again and again."""
    piece = jfk[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)]
    assert " ".join(plain(transcriber.transcribe(piece))) == words


def test_words_have_times_in_order_and_probabilities(
    transcriber: Transcriber, jfk: Float32
) -> None:
    words = transcriber.transcribe(jfk).words
    assert all(0 <= word.t0 < word.t1 <= 11.02 for word in words)
    assert all(a.t0 <= b.t0 for a, b in pairwise(words))
    assert all(0 < word.probability <= 1 for word in words)
    at = {word.text.strip(".,").lower(): word for word in words}
    assert at["americans"].t1 == pytest.approx(2.2, abs=0.3)
    assert at["fellow"].t0 == pytest.approx(1.4, abs=0.3)


def test_equal_sound_gives_equal_words(transcriber: Transcriber, jfk: Float32) -> None:
    piece = jfk[: 3 * SAMPLE_RATE]
    first = transcriber.transcribe(piece)
    transcriber.transcribe(jfk[5 * SAMPLE_RATE :])
    assert transcriber.transcribe(piece) == first


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.4])
def test_nothing_is_heard_where_nobody_speaks(transcriber: Transcriber, seconds: float) -> None:
    sounds = [silence(seconds), buzz(seconds)]
    sounds += [tone(seconds, hz) for hz in (90.0, 440.0, 1000.0)]
    sounds += [noise(seconds, level) for level in (0.0005, 0.02, 0.2)]
    assert [text(transcriber.transcribe(samples)) for samples in sounds] == [""] * len(sounds)


@pytest.mark.parametrize("tail", [0.5, 1.5, 4.0])
def test_nothing_is_added_after_the_last_word(
    transcriber: Transcriber, jfk: Float32, tail: float
) -> None:
    piece = joined([jfk[: round(2.3 * SAMPLE_RATE)], noise(tail, 0.0003)])
    assert plain(transcriber.transcribe(piece)) == ["and", "so", "my", "fellow", "americans"]


def test_a_cut_word_is_heard_with_what_came_before(transcriber: Transcriber, jfk: Float32) -> None:
    cut = round(1.6 * SAMPLE_RATE)  # inside "fellow"
    rest = jfk[cut : round(2.3 * SAMPLE_RATE)]
    before = Before(jfk[:cut], ("And", "so", "my"), "en")
    assert plain(transcriber.transcribe(rest, before)) == ["fellow", "americans"]
    assert plain(transcriber.transcribe(rest)) != ["fellow", "americans"]
    words = transcriber.transcribe(rest, before).words
    assert words[0].t0 == 0.0
    assert words[-1].t1 <= 0.72


def test_too_much_context_is_left_out(transcriber: Transcriber, jfk: Float32) -> None:
    piece = jfk[5 * SAMPLE_RATE : 8 * SAMPLE_RATE]
    before = Before(silence(27.0), ("hello",), "en")
    assert transcriber.transcribe(piece, before) == transcriber.transcribe(piece)


def test_the_shortest_and_the_longest(transcriber: Transcriber) -> None:
    assert transcriber.transcribe(np.zeros(0, np.float32)).words == ()
    assert transcriber.transcribe(noise(0.02, 0.1)).words == ()
    transcriber.transcribe(silence(LONGEST_S))
    with pytest.raises(WhisperInputError, match=r"28\.1 s"):
        transcriber.transcribe(silence(LONGEST_S + 0.1))


def test_other_languages(models: Models, shared: Path) -> None:
    chinese = load(shared / "media/speech/f5_basic_ref_zh.wav")
    english = load(shared / "media/speech/jfk.flac", 4.0)
    any_language = Transcriber(models("whisper-base"), device="cpu", language=None)
    heard = any_language.transcribe(chinese)
    assert heard.language == "zh"
    assert len(heard.words) >= 10
    assert all("\u4e00" <= word.text[0] <= "\u9fff" for word in heard.words)
    assert any_language.transcribe(english).language == "en"
    short = chinese[: round(2.4 * SAMPLE_RATE)]
    assert any_language.transcribe(short).language == "zh"
    following = Before(english[:16000], ("And",), "en")
    assert any_language.transcribe(short, following).language == "en"
    fixed = Transcriber(models("whisper-base"), device="cpu", language="zh")
    assert fixed.transcribe(chinese).language == "zh"


def test_a_model_of_one_language_says_so(models: Models) -> None:
    with pytest.raises(WhisperInputError, match="'zh'") as error:
        Transcriber(models("whisper-tiny.en"), device="cpu", language="zh")
    assert error.value.hint == "choose a multilingual model"


# What the attention gives, made into words


def entry(text: str, start: float, end: float, probability: float = 0.9, n: int = 1) -> Any:
    return {
        "word": text,
        "start": start,
        "end": end,
        "probability": probability,
        "tokens": [0] * n,
    }


def made(*entries: Any, skip: int = 0, span: Span | None = None, spaced: bool = True) -> list[str]:
    span = span or Span(0.0, 2.0)
    return [
        f"{word.text}@{word.t0:.2f}-{word.t1:.2f}"
        for word in words_of(entries, skip, span, spaced=spaced, limits=Limits())
    ]


def test_words_after_the_end_are_dropped() -> None:
    said = [entry(" so", 0.1, 0.4), entry(" it", 1.9, 2.3), entry(" Thank", 2.0, 2.2)]
    assert made(*said) == ["so@0.10-0.40", "it@1.90-2.00"]


def test_improbable_words_at_the_end_are_dropped() -> None:
    said = [
        entry(" so", 0.1, 0.4, 0.1),
        entry(" thank", 1.5, 1.9, 0.2),
        entry(" you.", 1.9, 2, 0.1),
    ]
    assert made(*said) == ["so@0.10-0.40", "thank@1.50-1.90"]


def test_what_is_said_again_at_the_end_is_dropped() -> None:
    said = [entry(" so", 0.1, 0.4), entry(" it", 0.4, 0.9)]
    again = [entry(" so", 1.98, 1.98), entry(" it", 1.98, 2.0), entry(" so", 1.98, 2.0)]
    assert made(*said, *again) == ["so@0.10-0.40", "it@0.40-0.90"]
    assert len(made(*said, *again[:2])) == 4
    assert len(made(*again, entry(" far", 2.1, 2.2), span=Span(0.0, 3.0))) == 4


def test_words_of_the_context_are_skipped() -> None:
    said = [entry(" And", 0.0, 0.5), entry(" fel", 0.5, 1.1, n=2), entry(" low", 0.9, 1.6)]
    assert made(*said, skip=2, span=Span(1.0, 2.0)) == ["low@0.00-0.60"]


def test_parts_of_a_written_word_are_one() -> None:
    assert made(entry(" part", 0, 0.3), entry("-time", 0.3, 0.6)) == ["part-time@0.00-0.60"]
    assert made(entry("你", 0, 0.3), entry("好", 0.3, 0.6), spaced=False) == [
        "你@0.00-0.30",
        "好@0.30-0.60",
    ]


def test_bare_punctuation_is_no_word() -> None:
    assert made(entry(" ...", 0, 0.3), entry(" so", 0.3, 0.6), entry(" -", 0.7, 0.8)) == [
        "so@0.30-0.60"
    ]


# Voice features


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.5, 3.0, 30.0])
def test_voice_states_come_at_50_per_second(voice: VoiceEncoder, seconds: float) -> None:
    states = voice.encode(buzz(seconds))
    assert states.shape == (round(seconds * 50), 384)
    assert states.dtype == np.float32
    assert np.isfinite(states).all()


def test_voice_states_depend_on_the_sound_alone(
    voice: VoiceEncoder, transcriber: Transcriber, models: Models
) -> None:
    samples = buzz(1.0)
    states = voice.encode(samples)
    transcriber.transcribe(buzz(2.0, seed=1))
    voice.encode(noise(3.0, 0.1))
    assert np.array_equal(voice.encode(samples), states)
    other = VoiceEncoder(models("whisper-tiny.en"), device="cpu", threads=2)
    assert np.allclose(other.encode(samples), states, atol=1e-4)
    assert not np.allclose(voice.encode(noise(1.0, 0.1)), states, atol=0.5)


def test_voice_states_are_those_of_the_padded_frame(voice: VoiceEncoder) -> None:
    samples = buzz(0.51)[: 8000 + 100]
    padded = np.pad(samples, (0, 220))
    assert np.array_equal(voice.encode(samples), voice.encode(padded))


@pytest.mark.parametrize("n", [0, 30 * SAMPLE_RATE + 1])
def test_voice_of_nothing_and_of_too_much_is_refused(voice: VoiceEncoder, n: int) -> None:
    with pytest.raises(WhisperInputError, match="voice"):
        voice.encode(np.zeros(n, np.float32))


# Models and devices


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(WhisperModelError, match="nowhere") as error:
        VoiceEncoder(tmp_path / "nowhere")
    assert "stream.models" in error.value.hint


def test_a_broken_model_is_named(models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(models("whisper-tiny.en"), folder)
    (folder / "model.bin").write_bytes(b"no weights")
    with pytest.raises(WhisperModelError, match="broken"):
        Transcriber(folder, device="cpu")


def test_devices() -> None:
    there = ctranslate2.get_cuda_device_count() > 0
    assert resolve_device("auto") == ("cuda" if there else "cpu")
    assert resolve_device("cpu") == "cpu"
    device: Device = "cuda"
    if there:
        assert resolve_device(device) == "cuda"
    else:
        with pytest.raises(WhisperModelError, match="cuda"):
            resolve_device(device)
