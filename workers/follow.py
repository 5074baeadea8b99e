"""Who is who in a picture with many people: ids that outlive crossing, leaving and coming back.

A face is followed by where it was and by what it looks like for the moment
(``workers.appearance``); where both are at hand, place leads. An id belongs to one session, and
nobody is recognised: two people who look alike and change places unseen change their ids.

All lengths are pixels, all times seconds of stream time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.appearance import unlike
from workers.face_features import FoundFace
from workers.messages import Float32
from workers.neutral import NeutralFace
from workers.places import Place

MOST_PEOPLE = 8
"""In the picture at once."""
REMEMBERED = 24
"""People of one session, those who left included."""

REACH, SPEED = 0.75, 1.5
"""How far a face may be from where it was: widths of it, and more per second."""
GROWTH = 1.8
"""By which factor its size may change meanwhile."""
DIFFERENT = 0.36
"""More unlike than this, a face at the right place is somebody else."""
ALIKE = 0.22
"""Less unlike than this, a face elsewhere is the person who is missing: see ``unlike``."""
CLEARLY = 0.06
"""By so much more than any other person who is missing."""
SIGHTS = 3
"""Somebody new gets an id when seen so often: what looks like a face once may be none. Twice as
often while somebody is missing, who may be half hidden still."""
FORGOTTEN_S = 1.0
"""Somebody without an id who is not seen for so long is dropped."""
LEFT_S = 2.0
"""Who is not seen for so long has left the picture."""
ALONE = 1.2
"""Widths to the next face from which on nobody hides part of somebody."""
ADAPT = 0.1
"""Share of the newest look in what somebody is known to look like."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One face that was found in a picture."""

    place: Place
    look: Float32
    """As of ``workers.appearance``."""
    face: FoundFace


@dataclass(slots=True)
class Someone:
    """One person, or who may become one."""

    track: int
    place: Place
    look: Float32
    born: float
    seen: float
    """When last seen."""
    asked: float
    """When last looked for."""
    sights: int = 1
    missed: int = 0
    """Times in a row that the face was looked for and not found."""
    number: int | None = None
    """Of the person; None: not decided."""
    present: bool = False
    velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels per second."""
    resting: NeutralFace = field(default_factory=NeutralFace)
    last: FoundFace | None = None

    def at(self, t: float) -> Place:
        """Where the face is expected at `t`."""
        ahead = min(t - self.seen, 0.5)
        dx, dy = self.velocity[0] * ahead, self.velocity[1] * ahead
        place = self.place
        return Place(place.x0 + dx, place.y0 + dy, place.x1 + dx, place.y1 + dy)

    def meets(self, sight: Sight, t: float, *, clear: bool) -> None:
        """Take what was found; `clear`: nobody else is near, so the look is this person's."""
        gone = t - self.seen
        if 0 < gone < 1:
            old, new = self.place.middle, sight.place.middle
            speed = [(b - a) / gone for a, b in zip(old, new, strict=True)]
            x, y = ((v + s) / 2 for v, s in zip(self.velocity, speed, strict=True))
            self.velocity = x, y
        else:
            self.velocity = 0.0, 0.0
        if clear:
            self.look = self.look + ADAPT * (sight.look - self.look)
        self.place, self.seen, self.asked = sight.place, t, t
        self.sights += 1
        self.missed = 0


class Follower:
    """Everybody in one picture; feed it what was looked for and found, in order of time."""

    def __init__(self) -> None:
        self.people: list[Someone] = []
        """Those with a number, by number."""
        self.candidates: list[Someone] = []
        self._tracks = 0

    def due(self, most: int) -> list[Someone]:
        """Whose faces to look for next: up to `most`, those first that waited longest."""
        there = [each for each in self._all() if each.missed < SIGHTS]
        return sorted(there, key=lambda each: (each.asked, each.track))[:most]

    def unclaimed(self, t: float, places: Sequence[Place]) -> list[Place]:
        """Of `places`, those at which nobody is expected."""
        expected = [each.at(t) for each in self._all() if each.missed < SIGHTS]
        return [place for place in places if all(place.apart(each) > 0.5 for each in expected)]

    @property
    def missing(self) -> bool:
        """Whether somebody present was not found when last looked for."""
        return any(each.present and each.missed for each in self.people)

    def settle(self, t: float, asked: Sequence[Someone], sights: Sequence[Sight]) -> None:
        """Say who each of `sights` is; `asked` are those who were looked for."""
        open_sights = list(range(len(sights)))
        met: set[int] = set()
        for _, i, someone in sorted(
            self._pairs(t, asked, sights), key=lambda each: (each[0], each[1], each[2].track)
        ):
            if i in open_sights and id(someone) not in met:
                open_sights.remove(i)
                met.add(id(someone))
                self._meet(t, someone, sights[i])
        for someone in asked:
            if id(someone) not in met:
                someone.asked = t
                someone.missed += 1
        for i in open_sights:
            self._begin(t, sights[i])
        self._decide(t)

    def leaves(self, t: float) -> Iterator[Someone]:
        """Those who have left the picture by `t`, once."""
        for each in self.people:
            if each.present and t - each.seen > LEFT_S:
                each.present = False
                yield each

    def _all(self) -> list[Someone]:
        return [*(each for each in self.people if each.present), *self.candidates]

    def _pairs(
        self, t: float, asked: Sequence[Someone], sights: Sequence[Sight]
    ) -> Iterator[tuple[float, int, Someone]]:
        """Sights and who they may be, with a cost: people who are near, people who are missing, and
        then those without an id.
        """
        names = {id(each) for each in asked}
        for i, sight in enumerate(sights):
            for each in self._all():
                cost = _near(each, sight, t)
                if cost is not None and (id(each) in names or each.missed):
                    yield cost + 20.0 * (each.number is None), i, each
            absent = [each for each in self.people if not each.present or each.missed]
            looks = sorted((unlike(sight.look, each.look), each.track) for each in absent)
            clear = len(looks) == 1 or (len(looks) > 1 and looks[1][0] - looks[0][0] > CLEARLY)
            if looks and looks[0][0] < ALIKE and clear:
                best = next(each for each in absent if each.track == looks[0][1])
                yield 10.0 + looks[0][0], i, best

    def _meet(self, t: float, someone: Someone, sight: Sight) -> None:
        others = (each.at(t) for each in self._all() if each is not someone)
        clear = all(sight.place.apart(other) > ALONE for other in others)
        someone.meets(sight, t, clear=clear)
        someone.last = sight.face
        if someone.number is not None:
            someone.present = True

    def _begin(self, t: float, sight: Sight) -> None:
        if len(self.candidates) < MOST_PEOPLE:
            new = Someone(self._tracks, sight.place, sight.look, t, t, t, last=sight.face)
            self.candidates.append(new)
            self._tracks += 1

    def _decide(self, t: float) -> None:
        """Candidates who were seen often enough become people; those not seen are dropped."""
        for each in list(self.candidates):
            if t - each.seen > FORGOTTEN_S:
                self.candidates.remove(each)
            elif each.sights >= SIGHTS * (1 + self.missing) and self._room():
                self.candidates.remove(each)
                each.number = len(self.people) + 1
                each.present = True
                self.people.append(each)

    def _room(self) -> bool:
        there = sum(each.present for each in self.people)
        return there < MOST_PEOPLE and len(self.people) < REMEMBERED


def _near(someone: Someone, sight: Sight, t: float) -> float | None:
    """Cost of `sight` being `someone` by place; None: it cannot be."""
    expected = someone.at(t)
    small, large = sorted((expected.size, sight.place.size))
    gone = t - someone.seen
    apart = expected.apart(sight.place)
    if apart > REACH + SPEED * gone or large > small * GROWTH:
        return None
    different = unlike(someone.look, sight.look)
    return apart + different / DIFFERENT if different < DIFFERENT else None


def bounds(face: FoundFace, left: float, top: float, side: tuple[int, int]) -> Place:
    """The box of a face found in a crop of `side` (width, height) pixels at `left`, `top`."""
    points = face.landmarks[:, :2] * np.asarray(side, np.float32)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Place(left + x0, top + y0, left + x1, top + y1)
