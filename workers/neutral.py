"""What a person's face looks like at rest, learnt while it is watched (numpy only).

Resting faces differ more between people than weak expressions do within one, so blendshapes are
also given less those of the resting face. That is the median of the last minute, shape by shape,
over pictures that can be trusted: expressions and blinks are over after seconds, and most of the
time most shapes are at rest. Until enough was seen, it is mixed with what faces usually look like.
Nothing here tells who somebody is; a face that comes back is taken for the one that left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np

from workers.face_features import BLENDSHAPES, MEASURED
from workers.messages import Float32

SPACING_S = 0.25
"""Pictures that are nearer in time than this to the last one kept are not kept."""
KEPT = 240
"""Pictures: at least a minute."""
REFRESH = 4
"""New pictures after which the median is taken anew."""
DOUBT = 12
"""What faces usually look like counts as much as so many pictures (3 s)."""

AFTER_RETURN = 60
"""Pictures that still count when a face has come back."""
MOST = 4
"""Faces out of the picture that are remembered."""

SMALLEST_WIDTH = 0.07
DARKEST = 0.04
LEAST_SHARP = 0.12
LARGEST_TURN = 0.6
"""Radians of yaw or pitch: blendshapes of faces seen from the side are not those of the front."""

_SLACK = 1e-3

_USUAL: Mapping[str, float] = {
    "browDown": 0.08,
    "browInnerUp": 0.13,
    "browOuterUp": 0.22,
    "eyeBlink": 0.16,
    "eyeLookDown": 0.29,
    "eyeLookIn": 0.08,
    "eyeLookOut": 0.08,
    "eyeLookUp": 0.07,
    "eyeSquint": 0.31,
    "eyeWide": 0.02,
    "jawOpen": 0.04,
    "mouthDimple": 0.03,
    "mouthFrown": 0.04,
    "mouthLowerDown": 0.07,
    "mouthPress": 0.12,
    "mouthPucker": 0.06,
    "mouthRollLower": 0.04,
    "mouthRollUpper": 0.04,
    "mouthShrugLower": 0.04,
    "mouthShrugUpper": 0.02,
    "mouthSmile": 0.07,
    "mouthStretch": 0.03,
    "mouthUpperUp": 0.04,
}

USUAL: Float32 = np.array(
    [_USUAL.get(name.removesuffix("Left").removesuffix("Right"), 0.0) for name in BLENDSHAPES],
    np.float32,
)
"""(len(BLENDSHAPES),) of a face at rest that was never seen before: means over people."""

_WHERE = {name: MEASURED.index(name) for name in MEASURED[len(BLENDSHAPES) :]}


class NeutralFace:
    """The resting face of one person."""

    def __init__(self) -> None:
        self._seen: deque[Float32] = deque(maxlen=KEPT)
        self._last = -math.inf
        self._median = USUAL
        self._new = 0

    def see(self, t: float, measured: Float32) -> None:
        """Take one picture at time `t` (seconds, rising): (len(MEASURED),)."""
        if t - self._last >= SPACING_S - _SLACK and trusted(measured):
            self._last = t
            self._seen.append(measured[: len(BLENDSHAPES)])
            self._new += 1

    def doubt(self) -> None:
        """Somebody else may be there: the older part is forgotten."""
        while len(self._seen) > AFTER_RETURN:
            self._seen.popleft()

    def shapes(self) -> tuple[Float32, float]:
        """(len(BLENDSHAPES),), and how much of it is this person's own: 0 to nearly 1."""
        if self._new >= min(REFRESH, len(self._seen)) > 0:
            self._median = np.median(np.stack(self._seen), axis=0).astype(np.float32)
            self._new = 0
        known = len(self._seen) / (len(self._seen) + DOUBT)
        return np.asarray(known * self._median + (1 - known) * USUAL, np.float32), known


class NeutralFaces:
    """Resting faces of everybody in the picture, by track.

    A new track takes over the resting face of a track that is gone when it is alone in the picture:
    who leaves and comes back is mostly the same person.
    """

    def __init__(self) -> None:
        self._faces: dict[int, NeutralFace] = {}
        """Those seen last come last."""

    def follow(self, t: float, measured: Mapping[int, Float32]) -> dict[int, tuple[Float32, float]]:
        """Tracks seen at `t` -> what ``NeutralFace.shapes`` says of each.

        A picture counts for what is said of those after it, not for itself.
        """
        said = {}
        for track, features in measured.items():
            face = self._faces.pop(track, None) or self._returned(len(measured))
            said[track] = face.shapes()
            face.see(t, features)
            self._faces[track] = face
        for track in list(self._faces)[: -(MOST + len(measured))]:
            del self._faces[track]
        return said

    def _returned(self, count: int) -> NeutralFace:
        if count > 1 or not self._faces:
            return NeutralFace()
        _, face = self._faces.popitem()
        face.doubt()
        return face


def trusted(measured: Float32) -> bool:
    """Whether the shapes of a picture (len(MEASURED),) can be believed."""
    turned = max(abs(measured[_WHERE["yaw"]]), abs(measured[_WHERE["pitch"]]))
    return bool(
        measured[_WHERE["width"]] >= SMALLEST_WIDTH
        and measured[_WHERE["brightness"]] >= DARKEST
        and measured[_WHERE["sharpness"]] >= LEAST_SHARP
        and turned <= LARGEST_TURN
    )
