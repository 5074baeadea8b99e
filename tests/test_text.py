"""Word vectors: of the words alone and what was said before, equal in batches and one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from workers.messages import END, Float32, Gap, Progress, TextFrames, TranscriptSegment, Word
from workers.pieces import TextModelError
from workers.text import TEXT_DIM, TextEncoder, TextStage

SAID = ["I", "am", "so", "happy", "about", "these", "results"]


@pytest.fixture(scope="module")
def encoder(models: Callable[[str], Path]) -> TextEncoder:
    return TextEncoder(models("minilm"))


def cosine(a: Float32, b: Float32) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_one_vector_per_word(encoder: TextEncoder) -> None:
    vectors = encoder.encode(SAID)
    assert vectors.shape == (7, TEXT_DIM)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert vectors.any(axis=1).all()
    assert encoder.encode([]).shape == (0, TEXT_DIM)


def test_meaning_is_near(encoder: TextEncoder) -> None:
    glad = encoder.encode(["I", "am", "really", "glad"])[-1]
    happy = encoder.encode(["I", "am", "really", "happy"])[-1]
    table = encoder.encode(["under", "the", "kitchen", "table"])[-1]
    assert cosine(glad, happy) > cosine(glad, table) + 0.2


def test_context_changes_words_but_not_their_number(encoder: TextEncoder) -> None:
    alone = encoder.encode(["bank"])
    river = encoder.encode(["bank"], ["we", "sat", "by", "the", "river"])
    money = encoder.encode(["bank"], ["I", "put", "the", "money", "into", "the"])
    assert alone.shape == river.shape == money.shape == (1, TEXT_DIM)
    assert cosine(river[0], money[0]) < 0.95
    tail = encoder.encode(["we", "sat", "by", "the", "river", "bank"])[-1:]
    assert np.array_equal(tail, river)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_a_batch_changes_nothing(encoder: TextEncoder, size: int) -> None:
    texts: list[tuple[Sequence[str], Sequence[str]]] = [
        (["no"], []),
        (SAID, []),
        (["this", "is", "completely", "unacceptable", "I", "am", "furious"], ["listen,"]),
        (["你好", "hello"], []),
        ([], ["nothing", "new"]),
        (SAID * 5, SAID),
    ]
    one_by_one = [encoder.encode(words, context) for words, context in texts]
    for alone, together in zip(one_by_one, encoder.encode_many(texts, batch=size), strict=True):
        assert np.array_equal(alone, together)


def test_unknown_words_are_zero_and_do_not_shift_others(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["hello", "你好", "😀", "", " ", "world"])
    assert vectors.any(axis=1).tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    "word", ["I'm", "don't,", "12.5%", "£3,000", "naïve", "Straße", "e\u0301", "co-op", "WORLD!"]
)
def test_all_kinds_of_words_have_vectors(encoder: TextEncoder, word: str) -> None:
    vectors = encoder.encode(["so", word, "then"])
    assert vectors.shape == (3, TEXT_DIM)
    assert vectors.any(axis=1).all()


def test_more_words_than_fit_at_once(encoder: TextEncoder) -> None:
    words = [f"extraordinary{n}" for n in range(300)]
    vectors = encoder.encode(words)
    assert vectors.any(axis=1).all()
    one_word = encoder.encode(["a" * 3000])
    assert np.isfinite(one_word).all()
    assert encoder.encode(["yes"], ["extraordinary"] * 1000).any()


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextModelError, match="nowhere") as error:
        TextEncoder(tmp_path / "nowhere")
    assert "stream.models" in error.value.hint


# The stage


@dataclass
class Notes:
    """Notes what it was asked to encode."""

    languages = frozenset({"en"})
    asked: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        self.asked.append((list(words), list(context)))
        return np.full((len(words), TEXT_DIM), 1 + len(context), np.float32)


def transcript(t0: float, text: str, language: str = "en") -> TranscriptSegment:
    words = [Word(t0 + k, t0 + k + 0.5, word, 0.9) for k, word in enumerate(text.split())]
    return TranscriptSegment("p1", 0, t0, t0 + len(words), tuple(words), language)


def test_frames_hold_times_and_vectors() -> None:
    (frames,) = TextStage("p1", Notes()).push(transcript(2.0, "well now"))
    assert isinstance(frames, TextFrames)
    assert frames.t0.tolist() == [2.0, 3.0]
    assert frames.t1.tolist() == [2.5, 3.5]
    assert frames.vectors.shape == (2, TEXT_DIM)
    assert not frames.vectors.flags.writeable


def test_recent_words_are_context() -> None:
    notes = Notes()
    stage = TextStage("p1", notes, context_words=3, context_s=4.0)
    stage.push(transcript(0.0, "one two"))
    stage.push(transcript(2.0, "three four"))
    stage.push(transcript(9.0, "five"))
    stage.push(transcript(30.0, "six"))
    assert [context for _, context in notes.asked] == [[], ["one", "two"], [], []]
    stage = TextStage("p1", notes, context_words=3, context_s=6.0)
    for t0, text in ((0.0, "a b"), (2.0, "c d"), (4.0, "e"), (7.2, "f")):
        stage.push(transcript(t0, text))
    assert notes.asked[-2:] == [(["e"], ["b", "c", "d"]), (["f"], ["c", "d", "e"])]


def test_words_of_an_unknown_language_are_zero_and_no_context() -> None:
    notes = Notes()
    stage = TextStage("p1", notes)
    stage.push(transcript(0.0, "hello"))
    (frames,) = stage.push(transcript(1.0, "你 好 世 界", "zh"))
    assert isinstance(frames, TextFrames)
    assert frames.vectors.shape == (4, TEXT_DIM)
    assert not frames.vectors.any()
    stage.push(transcript(5.0, "again"))
    assert notes.asked == [(["hello"], []), (["again"], [])]


def test_transcripts_without_words_give_nothing() -> None:
    assert list(TextStage("p1", Notes()).push(transcript(0.0, ""))) == []


def test_control_messages_are_passed_on() -> None:
    stage = TextStage("p1", Notes())
    for item in (
        Progress("p1", "words", 2.0),
        Progress("p1", "words", END),
        Gap("p1", "words", 1.0, 2.0, "failed"),
    ):
        assert list(stage.push(item)) == [item]
    assert list(stage.flush()) == []


def test_the_stage_gives_what_the_encoder_gives(encoder: TextEncoder) -> None:
    stage = TextStage("p1", encoder)
    stage.push(transcript(0.0, "we sat by the river"))
    (frames,) = stage.push(transcript(5.0, "bank"))
    assert isinstance(frames, TextFrames)
    assert np.array_equal(
        frames.vectors, encoder.encode(["bank"], ["we", "sat", "by", "the", "river"])
    )
