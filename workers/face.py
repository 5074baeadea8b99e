"""Faces in pictures: landmarks, expression, pose and quality, followed from frame to frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.face_engine import (
    FaceClosed,
    FaceEngine,
    FaceError,
    FaceInputError,
    FaceModelError,
    FaceProcessDied,
    FaceTimeout,
)
from workers.face_features import (
    BLENDSHAPES,
    FEATURE_NAMES,
    MEASURED,
    POSE,
    QUALITY,
    FoundFace,
    complete,
)
from workers.messages import Face, FaceFrame, Gap, Message, Progress, VideoFrame, freeze
from workers.neutral import NeutralFaces

__all__ = [
    "BLENDSHAPES",
    "FEATURE_NAMES",
    "MEASURED",
    "POSE",
    "QUALITY",
    "FaceClosed",
    "FaceEngine",
    "FaceError",
    "FaceInputError",
    "FaceModelError",
    "FaceProcessDied",
    "FaceStage",
    "FaceTimeout",
    "FoundFace",
    "LookingStage",
    "Tracker",
]


class DetectsFaces(Protocol):
    """What ``FaceEngine`` does."""

    def detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]: ...


class LookingStage(ABC):
    """``VideoFrame`` -> what is seen in it, and ``Progress("face")``.

    Control messages of the video become those of the face; gaps pass unchanged. Errors of the
    engine are raised: the frame is then lost, the stage stays usable.
    """

    name = "face"

    def push(self, item: Message) -> Sequence[Message]:
        match item:
            case VideoFrame():
                return [*self._look(item), Progress(item.person, "face", item.t)]
            case Progress(source="video"):
                return [Progress(item.person, "face", item.t)]
            case Gap():
                return [item]
            case _:
                raise TypeError(f"stage face takes video, not {type(item).__name__}")

    def flush(self) -> Sequence[Message]:
        return []

    @abstractmethod
    def _look(self, frame: VideoFrame) -> Sequence[Message]: ...


class FaceStage(LookingStage):
    """``FaceFrame`` for one person."""

    def __init__(self, person: str, engine: DetectsFaces) -> None:
        self.person = person
        self._engine = engine
        self._tracker = Tracker()
        self._neutral = NeutralFaces()

    def _look(self, frame: VideoFrame) -> Sequence[Message]:
        found = self._engine.detect(frame.image)
        height, width = frame.image.shape[:2]
        tracks = self._tracker.follow(frame.t, found, height / width)
        neutral = self._neutral.follow(
            frame.t, {track: face.features for track, face in zip(tracks, found, strict=True)}
        )
        faces = tuple(
            Face(
                track,
                face.landmarks,
                freeze(complete(face.features, *neutral[track])),
                face.quality,
                frame.person if rank == 0 else None,
            )
            for rank, (track, face) in enumerate(zip(tracks, found, strict=True))
        )
        return [FaceFrame(frame.person, frame.t, faces, frame.provisional)]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where a face was last seen; lengths over the width of the picture."""

    t: float
    centre: NDArray[np.float64]
    width: float


class Tracker:
    """Gives each face the number of the nearest face of before; numbers are never used twice.

    Knows places and sizes only: who it is stays unknown, and two faces that cross may swap numbers.
    """

    MEMORY = 1.0
    """Seconds after which a face that is not seen is forgotten."""
    REACH = 0.75
    """How far a face may move from one sight to the next, in widths of the face."""
    GROWTH = 1.8
    """By which factor its width may change."""

    def __init__(self) -> None:
        self._next = 0
        self._seen: dict[int, _Seen] = {}

    def follow(self, t: float, faces: Sequence[FoundFace], aspect: float) -> list[int]:
        """Numbers for the `faces` seen at time `t`; `aspect` is height over width of the picture.

        Depends on the faces and times given so far, on nothing else.
        """
        self._seen = {k: seen for k, seen in self._seen.items() if t - seen.t <= self.MEMORY}
        now = [_place(t, face, aspect) for face in faces]
        pairs = sorted(
            (distance, track, i)
            for track, seen in self._seen.items()
            for i, place in enumerate(now)
            if (distance := self._distance(seen, place)) is not None
        )
        tracks: dict[int, int] = {}
        for _, track, i in pairs:
            if i not in tracks and track not in tracks.values():
                tracks[i] = track
        for i, place in enumerate(now):
            if i not in tracks:
                tracks[i] = self._next
                self._next += 1
            self._seen[tracks[i]] = place
        return [tracks[i] for i in range(len(now))]

    def _distance(self, a: _Seen, b: _Seen) -> float | None:
        """In widths of the larger face; None when `a` and `b` cannot be the same face."""
        small, large = sorted((a.width, b.width))
        distance = float(np.linalg.norm(a.centre - b.centre)) / large
        return distance if distance <= self.REACH and large <= small * self.GROWTH else None


def _place(t: float, face: FoundFace, aspect: float) -> _Seen:
    points = face.landmarks[:, :2].astype(np.float64) * (1.0, aspect)
    low, high = points.min(axis=0), points.max(axis=0)
    return _Seen(t, (low + high) / 2, float(high[0] - low[0]))
