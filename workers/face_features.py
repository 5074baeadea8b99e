"""What a face is described by: names of the features and the arithmetic behind them (numpy only).

Axes. The pose comes from mediapipe's facial transformation matrix, which places a model head in
front of a camera: x to the right of the picture, y up, z towards the viewer; the head's own z axis
leaves the face through the nose. The angles are those of the matrix itself. They still depend a
little on where the face is: one picture of a face, moved from edge to edge, changes its yaw or
pitch by about 0.24 rad (angles against the line of sight instead would change by 0.65).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.messages import FaceQuality, Float32

BLENDSHAPES: tuple[str, ...] = (
    "_neutral",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""mediapipe's 52 blendshapes in its order, each in [0, 1]; left and right are the person's."""

POSE: tuple[str, ...] = ("yaw", "pitch", "roll")
"""Radians. Yaw > 0: nose towards the right of the picture. Pitch > 0: nose up. Roll > 0: head
turned counter-clockwise in the picture."""

QUALITY: tuple[str, ...] = ("width", "brightness", "sharpness")
"""In [0, 1]: ``FaceQuality.width``, ``.brightness`` and ``log10(1 + .sharpness) / 4`` (cut at 1).
Width stands for distance as well."""

MEASURED: tuple[str, ...] = BLENDSHAPES + POSE + QUALITY
"""What one picture tells: names of ``FoundFace.features``, in order."""

RELATIVE: tuple[str, ...] = tuple(f"{name} from neutral" for name in BLENDSHAPES)
"""Blendshapes less the resting face of this person, as far as it is known (``workers.neutral``)."""

FEATURE_NAMES: tuple[str, ...] = (*MEASURED, *RELATIVE, "neutral known", "speaking")
"""Names of ``Face.features``, in order. ``neutral known``: 0 (what is taken off is what faces
usually look like) towards 1. ``speaking``: 1 while the person speaks, 0 while not, ``UNHEARD``
where the sound is not known: a face alone does not tell, so it is filled in when a window has
both (``workers.infer.to_sample``)."""

SPEAKING = FEATURE_NAMES.index("speaking")
UNHEARD = 0.5

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face in one picture, not yet followed through time."""

    landmarks: Float32
    """(478, 3) as in ``messages.Face``."""
    features: Float32
    """(len(MEASURED),)."""
    quality: FaceQuality


def describe(
    image: NDArray[np.uint8],
    landmarks: Float32,
    blendshapes: Float32,
    matrix: NDArray[np.floating],
) -> FoundFace:
    """Put together what is known of one face.

    `image` (H, W, 3) RGB, `landmarks` (478, 3), `blendshapes` (52,), `matrix` (4, 4).
    """
    quality = measure_quality(image, landmarks)
    sharpness = min(1.0, float(np.log10(1.0 + quality.sharpness)) / 4.0)
    rest = (*pose_of(matrix), min(1.0, quality.width), quality.brightness, sharpness)
    features = np.concatenate([blendshapes, np.asarray(rest)]).astype(np.float32)
    return FoundFace(landmarks, features, quality)


def complete(measured: Float32, neutral: Float32, known: float) -> Float32:
    """(len(FEATURE_NAMES),) of (len(MEASURED),) and the resting face (len(BLENDSHAPES),)."""
    relative = measured[: len(BLENDSHAPES)] - neutral
    return np.concatenate([measured, relative, (known, UNHEARD)]).astype(np.float32)


def pose_of(matrix: NDArray[np.floating]) -> tuple[float, float, float]:
    """Yaw, pitch and roll (radians, see ``POSE``) from a (4, 4) facial transformation matrix."""
    rotation = np.asarray(matrix, dtype=np.float64)[:3, :3]
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1.0, 1.0))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return float(yaw), float(pitch), float(roll)


def measure_quality(image: NDArray[np.uint8], landmarks: Float32) -> FaceQuality:
    """Quality of the face whose `landmarks` (478, 3) lie in `image` (H, W, 3)."""
    height, width = image.shape[:2]
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    x0, y0 = np.clip(np.floor(low * (width, height)), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(high * (width, height)), (x0 + 1, y0 + 1), (width, height)).astype(int)
    luma = image[y0:y1, x0:x1].astype(np.float32) @ _LUMA
    return FaceQuality(
        width=float(high[0] - low[0]),
        brightness=float(luma.mean()) / 255.0,
        sharpness=_laplacian_variance(luma),
    )


def _laplacian_variance(luma: Float32) -> float:
    """Variance of the 4-neighbour Laplacian of (h, w); 0 where there is no inner pixel."""
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(laplacian.var())
