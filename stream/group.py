"""The group view: what a room looks like, never what one of its people does.

k-anonymity with a coarse answer. Per interval and label it is told whether *few* (less than a
third), *some* or *most* (more than two thirds) of at least k people look like it. Even "few" and
"most" leave it open about each of them, which a share would not: 0 % and 100 % say it of everybody.
Counted are people who agreed to it, were there for the whole interval and gave an estimate for most
of it; somebody who joins several times is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from stream.record_types import SCHEMA, GroupHelloRecord, GroupRecord, Level, Record
from stream.room import reading
from stream.sections import GroupConfig
from stream.subscription import Subscription

FEW, MOST = 1 / 3, 2 / 3
ENOUGH = 0.5
"""Of its states in an interval, in how many a label must be sure to be counted."""


class Member:
    """One call of somebody who agreed to be counted."""

    def __init__(self, identity: str, tell: Callable[[Record], None]) -> None:
        self.identity = identity
        """Of the person: the same for all calls of one person."""
        self.tell = tell
        self.whole = False
        """Whether the call was there when the interval began."""
        self._states = 0
        self._sure: Counter[str] = Counter()
        self._active: Counter[str] = Counter()

    def see(self, record: Record) -> None:
        """Note a state of the call; all other records pass by."""
        if record["type"] != "state" or record["revision"] > 0:
            return
        self._states += 1
        for name, label in record["labels"].items():
            if label["status"] != "unsure":
                self._sure[name] += 1
                self._active[name] += label["status"] == "active"

    def answers(self, labels: Sequence[str]) -> dict[str, bool]:
        """For each label that was sure for long enough: whether it was active for most of that."""
        enough = [name for name in labels if self._sure[name] > ENOUGH * self._states]
        return {name: self._active[name] > self._sure[name] / 2 for name in enough}

    def begin(self) -> None:
        """A new interval begins."""
        self.whole = True
        self._states = 0
        self._sure.clear()
        self._active.clear()


def summary(
    members: Iterable[Member], labels: Sequence[str], least: int
) -> tuple[int, dict[str, Level | None]]:
    """How many people count, and the level per label; None where fewer than `least` are sure."""
    people: dict[str, dict[str, bool]] = {}
    for member in members:
        if member.whole:
            answers = member.answers(labels)
            if answers:
                people.setdefault(member.identity, answers)
    if len(people) < least:
        return len(people), {}
    return len(people), {
        name: _level([answers[name] for answers in people.values() if name in answers], least)
        for name in labels
    }


def _level(answers: Sequence[bool], least: int) -> Level | None:
    if len(answers) < least:
        return None
    share = sum(answers) / len(answers)
    return "few" if share < FEW else "most" if share > MOST else "some"


class Groups:
    """The group view of every room."""

    def __init__(self, config: GroupConfig, labels: Sequence[str]) -> None:
        self._config = config
        self._labels = labels
        self._members: dict[str, list[Member]] = defaultdict(list)
        self._readers: dict[str, list[Subscription]] = defaultdict(list)

    @contextmanager
    def counted(self, room: str, identity: str, tell: Callable[[Record], None]) -> Iterator[Member]:
        """Count somebody in `room` who agreed to it; `tell` gets what the room is told."""
        member = Member(identity, tell)
        self._members[room].append(member)
        try:
            yield member
        finally:
            self._members[room].remove(member)
            if not self._members[room]:
                del self._members[room]

    @contextmanager
    def read(self, room: str) -> Iterator[Subscription]:
        """The records of a room from now on. Raises ``BusyError``."""
        try:
            with reading(self._readers[room], [self._hello(room)]) as subscription:
                yield subscription
        finally:
            if not self._readers[room]:
                del self._readers[room]

    def close(self) -> None:
        """The server stops: readers are told nothing more."""
        for readers in self._readers.values():
            for reader in readers:
                reader.abandon()

    async def run(self) -> None:
        """Tell every room after every interval, until cancelled."""
        while True:
            await asyncio.sleep(self._config.every)
            self.turn(time.time())

    def turn(self, now: float) -> None:
        """An interval ends at `now` (Unix time) and the next begins."""
        for room in {*self._members, *self._readers}:
            members = self._members.get(room, [])
            record = self._record(members, now)
            for reader in self._readers.get(room, []):
                reader.put(record)
            for member in members:
                member.tell(record)
                member.begin()

    def _record(self, members: Sequence[Member], now: float) -> GroupRecord:
        people, levels = summary(members, self._labels, self._config.least)
        enough = people >= self._config.least
        return {
            "type": "group",
            "at": round(now, 1),
            "over_s": self._config.every,
            "people": people if enough else None,
            "labels": levels,
            "reason": None if enough else "too_few",
        }

    def _hello(self, room: str) -> GroupHelloRecord:
        return {
            "type": "group_hello",
            "schema": SCHEMA,
            "room": room,
            "labels": list(self._labels),
            "least": self._config.least,
            "over_s": self._config.every,
        }
