"""Up to eight people in one picture: found, followed, and each looked at in a crop of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.appearance import appearance
from workers.face import DetectsFaces, LookingStage
from workers.face_features import MEASURED, FoundFace, complete
from workers.follow import MOST_PEOPLE, Follower, Sight, Someone, bounds
from workers.messages import (
    Face,
    FaceFrame,
    Float32,
    Message,
    Presence,
    VideoFrame,
    freeze,
)
from workers.places import Place, alone

SEARCH_S = 1.0
"""Seconds between searches of the whole picture."""
SEARCH_SOON_S = 0.3
"""The same while somebody is missing."""
CROP = 2.2
"""Side of a crop over the size of the face: the landmarker wants some surroundings."""
REFERENCE = 640
"""Width of the picture that face widths are told of: that of an own camera."""

_WIDTH = MEASURED.index("width")


class WatchesPeople(DetectsFaces, Protocol):
    """What ``FaceEngine`` does."""

    def search(self, image: NDArray[np.uint8]) -> tuple[Place, ...]: ...


class PeopleStage(LookingStage):
    """``Presence``, and ``FaceFrame`` with a person per face.

    Of each picture up to `at_once` faces are looked at, those first that waited longest; the others
    are those of before, marked as not fresh. People are named ``PERSON.1``, ``PERSON.2``, ... after
    the participant.
    """

    def __init__(self, person: str, engine: WatchesPeople, at_once: int = 8) -> None:
        if at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {at_once}")
        self.person = person
        self._engine = engine
        self._at_once = at_once
        self._follower = Follower()
        self._searched = -math.inf
        self._told: set[int] = set()
        """Numbers of those who were told to be present."""

    def _look(self, frame: VideoFrame) -> list[Message]:
        t, image = frame.t, frame.image
        new = self._search(t, image)
        asked = self._follower.due(self._at_once)
        sights = self._sights(image, [*(each.at(t) for each in asked), *new])
        self._follower.settle(t, asked, sights)
        return [*self._presence(t), self._frame(frame)]

    def _search(self, t: float, image: NDArray[np.uint8]) -> list[Place]:
        """Places of faces that nobody follows, when it is time to look for them."""
        pause = SEARCH_SOON_S if self._follower.missing else SEARCH_S
        if t - self._searched < pause - 1e-6:
            return []
        self._searched = t
        found = self._engine.search(image)
        return self._follower.unclaimed(t, found)[:MOST_PEOPLE]

    def _sights(self, image: NDArray[np.uint8], places: Sequence[Place]) -> list[Sight]:
        """What is found around each of `places`; a face that lies in two crops counts once."""
        found: dict[Place, FoundFace] = {}
        for place in places:
            seen = self._nearest(image, place)
            if seen is not None:
                found[seen[0]] = seen[1]
        return [Sight(place, appearance(image, place), found[place]) for place in alone([*found])]

    def _nearest(self, image: NDArray[np.uint8], place: Place) -> tuple[Place, FoundFace] | None:
        """The face at `place`, in terms of the whole picture."""
        height, width = image.shape[:2]
        half = CROP / 2 * place.size
        x, y = place.middle
        left, right = (round(min(max(edge, 0), width)) for edge in (x - half, x + half))
        top, bottom = (round(min(max(edge, 0), height)) for edge in (y - half, y + half))
        if min(right - left, bottom - top) < 16:
            return None
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        side = right - left, bottom - top
        faces = [(bounds(face, left, top, side), face) for face in self._engine.detect(crop)]
        faces = [each for each in faces if each[0].apart(place) < 1.0]
        if not faces:
            return None
        box, face = min(faces, key=lambda each: each[0].apart(place))
        scale, offset = np.array(side) / (width, height), np.array((left / width, top / height))
        return box, _placed(face, scale, offset, box.x1 - box.x0)

    def _presence(self, t: float) -> list[Message]:
        """Who came and who left with this picture."""
        out: list[Message] = []
        for each in self._follower.leaves(t):
            assert each.number is not None
            self._told.discard(each.number)
            out.append(Presence(self._name(each), t, False))
        for each in self._follower.people:
            if each.present and each.number is not None and each.number not in self._told:
                self._told.add(each.number)
                out.append(Presence(self._name(each), t, True))
        return out

    def _name(self, someone: Someone) -> str:
        return f"{self.person}.{someone.number}"

    def _frame(self, frame: VideoFrame) -> FaceFrame:
        """Everybody who is followed; those who were not found now are left out."""
        there = [each for each in self._follower.people if each.present]
        faces = [
            self._face(each, frame.t)
            for each in (*there, *self._follower.candidates)
            if not each.missed
        ]
        faces.sort(key=lambda face: -face.quality.width)
        return FaceFrame(frame.person, frame.t, tuple(faces), frame.provisional)

    def _face(self, someone: Someone, t: float) -> Face:
        found = someone.last
        assert found is not None
        fresh = someone.seen == t
        features = freeze(complete(found.features, *someone.resting.shapes()))
        if fresh:
            someone.resting.see(t, found.features)
        name = None if someone.number is None else self._name(someone)
        return Face(someone.track, found.landmarks, features, found.quality, name, fresh)


def _placed(
    face: FoundFace, scale: NDArray[np.float64], offset: NDArray[np.float64], width: float
) -> FoundFace:
    """A face of a crop as one of the whole picture; `width` is its own in pixels.

    Its features tell of the width that it would have in a picture of ``REFERENCE`` pixels.
    """
    landmarks: Float32 = face.landmarks.copy()
    landmarks[:, :2] = landmarks[:, :2] * scale + offset
    landmarks[:, 2] *= scale[0]
    features = face.features.copy()
    features[_WIDTH] = min(1.0, width / REFERENCE)
    quality = replace(face.quality, width=width / REFERENCE)
    return FoundFace(freeze(landmarks), freeze(features), quality)
