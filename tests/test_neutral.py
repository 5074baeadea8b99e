"""The resting face that is learnt while a face is watched."""

from __future__ import annotations

import numpy as np
import pytest

from lddu_model.data.facs_motion import MovingFace, Person, episode
from workers.face_features import (
    BLENDSHAPES,
    FEATURE_NAMES,
    MEASURED,
    SPEAKING,
    UNHEARD,
    complete,
)
from workers.messages import Float32
from workers.neutral import KEPT, USUAL, NeutralFace, NeutralFaces, trusted

SMILE = BLENDSHAPES.index("mouthSmileLeft")
BROW = BLENDSHAPES.index("browDownLeft")


def picture(brow: float = 0.5, smile: float = 0.0, **more: float) -> Float32:
    """(len(MEASURED),) of a person whose brows hang low, seen well."""
    features = np.zeros(len(MEASURED), np.float32)
    features[BROW], features[SMILE] = brow, smile
    seen = {"width": 0.3, "brightness": 0.5, "sharpness": 0.5, **more}
    for name, value in seen.items():
        features[MEASURED.index(name)] = value
    return features


def watch(faces: NeutralFaces, t0: float, t1: float, track: int, **look: float) -> Float32:
    """Ten pictures a second; what is known of the resting face at the end, (52,)."""
    said = USUAL
    for k in range(round((t1 - t0) * 10)):
        said, _ = faces.follow(t0 + k / 10, {track: picture(**look)})[track]
    return said


def test_first_picture_is_compared_with_faces_in_general() -> None:
    said = NeutralFaces().follow(0.0, {0: picture()})
    np.testing.assert_array_equal(said[0][0], USUAL)
    assert said[0][1] == 0.0


def test_converges_within_twenty_seconds_on_people_that_speak_and_move() -> None:
    """Error of the resting shapes against the truth, over 60 made-up people."""
    rng = np.random.default_rng(8)
    before, after = [], []
    for _ in range(60):
        person = Person.draw(rng)
        truth = np.array([person.rest.get(name, np.nan) for name in BLENDSHAPES])
        face = MovingFace(200, 10.0, person, rng)
        face.show("happy", 0.9, episode(200, int(rng.integers(150)), 40), rng)
        face.blink(rng)
        face.talk(rng)
        neutral = NeutralFace()
        for k, measured in enumerate(face.features(MEASURED, rng)):
            neutral.see(k / 10, measured)
        before.append(np.nanmean(np.abs(USUAL - truth)))
        after.append(np.nanmean(np.abs(neutral.shapes()[0] - truth)))
    assert np.mean(after) < 0.4 * np.mean(before)


def test_a_smile_of_some_seconds_is_not_taken_for_rest() -> None:
    faces = NeutralFaces()
    watch(faces, 0.0, 20.0, 0)
    said = watch(faces, 20.0, 30.0, 0, smile=0.8)
    assert said[SMILE] < 0.05


def test_survives_leaving_and_coming_back_and_a_lost_picture() -> None:
    faces = NeutralFaces()
    known = watch(faces, 0.0, 20.0, 0)
    assert known[BROW] == pytest.approx(0.5, abs=0.1)
    again, much = faces.follow(60.0, {7: picture()})[7]  # another track, the same person
    assert again[BROW] == pytest.approx(0.5, abs=0.1)
    assert much > 0.8
    faces.follow(60.1, {})
    assert faces.follow(60.5, {7: picture()})[7][1] >= much


def test_somebody_else_takes_over_within_twenty_seconds() -> None:
    faces = NeutralFaces()
    watch(faces, 0.0, 60.0, 0, brow=0.6)
    said = watch(faces, 70.0, 90.0, 1, brow=0.1)
    assert said[BROW] == pytest.approx(0.1, abs=0.05)


def test_two_people_in_the_picture_keep_their_own() -> None:
    faces = NeutralFaces()
    for k in range(200):
        said = faces.follow(k / 10, {0: picture(0.6), 1: picture(0.1)})
    faces.follow(20.0, {})  # both lost for one picture
    said = faces.follow(20.1, {0: picture(0.6), 1: picture(0.1)})
    assert said[0][0][BROW] > 0.5
    assert said[1][0][BROW] < 0.2
    assert faces.follow(20.2, {0: picture(), 2: picture()})[2][1] == 0.0, "who is this?"


@pytest.mark.parametrize(
    "seen", [{"width": 0.03}, {"brightness": 0.01}, {"sharpness": 0.05}, {"yaw": 0.9}]
)
def test_pictures_that_cannot_be_trusted_teach_nothing(seen: dict[str, float]) -> None:
    assert trusted(picture()) and not trusted(picture(**seen))
    faces = NeutralFaces()
    watch(faces, 0.0, 5.0, 0, **seen)
    assert faces.follow(6.0, {0: picture()})[0][1] == 0.0


def test_memory_is_bounded() -> None:
    faces = NeutralFaces()
    for k in range(40):
        watch(faces, 100.0 * k, 100.0 * k + 1, k)
        faces.follow(100.0 * k + 2, {k: picture(), 1000 + k: picture()})
    assert len(faces._faces) <= 6
    one = NeutralFace()
    for k in range(KEPT * 3):
        one.see(k / 2, picture())
    assert len(one._seen) == KEPT


def test_features_are_named_in_order() -> None:
    features = complete(picture(smile=0.7), USUAL, 0.25)
    at = {name: features[i] for i, name in enumerate(FEATURE_NAMES)}
    assert len(features) == len(FEATURE_NAMES) == 112
    assert at["mouthSmileLeft from neutral"] == pytest.approx(0.7 - USUAL[SMILE])
    assert (at["neutral known"], features[SPEAKING]) == (0.25, UNHEARD)
