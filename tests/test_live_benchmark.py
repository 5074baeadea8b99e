"""What speech does to the face, and that the shipped checkpoint is not fooled by it."""

from __future__ import annotations

import numpy as np
import pytest

import lddu_model
from benchmarks.live_face import matched, onsets, talkers, uncompensated
from lddu_model.data.facs import FaceGenerator
from stream.config import ReplayConfig
from stream.engines import SHIPPED_CHECKPOINT
from stream.faces import face_sample
from stream.spec import LABELS, live_spec
from workers.face_features import BLENDSHAPES, FEATURE_NAMES, MEASURED, SPEAKING, UNHEARD
from workers.neutral import USUAL


def test_onsets_are_matched_once_and_in_time() -> None:
    real = onsets(np.array([0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], bool))
    assert real.tolist() == [2, 12]
    assert onsets(np.ones(3, bool)).tolist() == [0]
    for seen, hits in (([1, 12], 2), ([0], 0), ([8], 1), ([9], 0), ([2, 3], 1), ([], 0)):
        assert matched(real, np.array(seen, np.int64)) == hits


def test_without_compensation_only_what_the_picture_tells_is_left() -> None:
    (face,) = FaceGenerator(MEASURED, LABELS).samples(1, seed=4)
    plain = uncompensated(face_sample(face)).features["face"]
    np.testing.assert_array_equal(plain[:, : len(MEASURED)], face.features)
    start = FEATURE_NAMES.index(f"{BLENDSHAPES[0]} from neutral")
    relative = plain[:, start : start + len(BLENDSHAPES)]
    np.testing.assert_allclose(relative, face.features[:, : len(BLENDSHAPES)] - USUAL, atol=1e-6)
    assert (plain[:, SPEAKING] == UNHEARD).all()


def test_shipped_checkpoint_tells_speech_from_expression() -> None:
    """On generated people: half of the false alarms at most, and no onset is lost for it."""
    model = lddu_model.load(SHIPPED_CHECKPOINT, live_spec(ReplayConfig()))
    told = talkers(model, 8, seed=5)
    before, after = told["without"], told["with"]
    assert before["onsets"] > 10
    assert after["false while talking"] <= 0.5 * before["false while talking"]
    assert after["onset F1"] >= before["onset F1"] - 0.02
    assert after["onset F1"] == pytest.approx(1.0, abs=0.15)
