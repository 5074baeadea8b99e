"""The outline that the page draws."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from stream.overlay import LINES, outlines
from workers.face_process import child_environment
from workers.messages import Face, FaceQuality

PUBLISHED = """
import json
from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections as Mesh
names = ["FACE_OVAL", "RIGHT_EYE", "LEFT_EYE", "RIGHT_EYEBROW", "LEFT_EYEBROW", "LIPS"]
print(json.dumps([[[e.start, e.end] for e in getattr(Mesh, "FACE_LANDMARKS_" + n)] for n in names]))
"""


def face(landmarks: np.ndarray) -> Face:
    features = np.zeros(1, dtype=np.float32)
    return Face(1, landmarks.astype(np.float32), features, FaceQuality(0.3, 0.5, 100.0))


def test_lines_follow_the_published_mesh() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PUBLISHED],
        capture_output=True,
        check=True,
        text=True,
        env=child_environment(),
    )
    for line, edges in zip(LINES, json.loads(run.stdout), strict=True):
        published = {frozenset(edge) for edge in edges}
        drawn = {frozenset(edge) for edge in zip(line, (*line[1:], line[0]), strict=True)}
        # The mesh leaves brows open at both ends; lips hold an inner ring that is not drawn.
        ends = {frozenset(edge) for edge in ((46, 70), (55, 107), (276, 300), (285, 336))}
        assert drawn - ends <= published
        assert len(set(line)) == len(line)


def test_outline_takes_its_points_from_the_face() -> None:
    landmarks = np.random.default_rng(0).uniform(-0.1, 1.1, (478, 3))
    found = outlines(face(landmarks))
    assert [len(line) for line in found] == [len(line) for line in LINES]
    for line, points in zip(LINES, found, strict=True):
        np.testing.assert_allclose(points, landmarks[list(line), :2], atol=0.51e-4)


def test_outline_is_small() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 1, (478, 3))
    assert len(json.dumps(outlines(face(landmarks)), separators=(",", ":"))) < 2200
