"""A room in which everybody sees everybody's estimates, of people who agreed to that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from stream.call import MAX_READERS, BusyError
from stream.record_types import HelloRecord, PersonRecord, Record
from stream.subscription import Subscription

KINDS = ("hello", "state", "event", "transcript", "face", "person", "group", "gap", "end")
"""Types of records that a room is told; the others concern the person alone."""


class Shown:
    """One call whose person agreed to be seen by the room."""

    def __init__(self, readers: list[Subscription]) -> None:
        self._readers = readers
        self.hello: HelloRecord | None = None
        self.there: dict[str, PersonRecord] = {}
        """People in its picture, where it has many."""

    def see(self, record: Record) -> None:
        """Tell the room a record of the call."""
        if record["type"] == "hello":
            self.hello = record
        elif record["type"] == "person":
            self.there[record["person"]] = record
        if record["type"] in KINDS:
            for reader in self._readers:
                reader.put(record)


@contextmanager
def reading(readers: list[Subscription], first: Iterable[Record]) -> Iterator[Subscription]:
    """One more of a room's `readers`, who gets `first` at once. Raises ``BusyError``."""
    if len(readers) >= MAX_READERS:
        raise BusyError(f"this room has {MAX_READERS} readers already", hint="close one of them")
    subscription = Subscription()
    for record in first:
        subscription.put(record)
    readers.append(subscription)
    try:
        yield subscription
    finally:
        subscription.abandon()
        readers.remove(subscription)


class Rooms:
    """The records of all rooms. A reader gets the ``hello`` of a call before all else of it."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._calls: defaultdict[str, list[Shown]] = defaultdict(list)

    @contextmanager
    def shown(self, room: str) -> Iterator[Shown]:
        """Show a call to its room for as long as this lasts."""
        call = Shown(self._readers[room])
        self._calls[room].append(call)
        try:
            yield call
        finally:
            self._calls[room].remove(call)
            self._forget(room)

    @contextmanager
    def read(self, room: str) -> Iterator[Subscription]:
        """Records of everybody in `room` from now on. Raises ``BusyError``."""
        told = [
            record
            for call in self._calls[room]
            for record in (call.hello, *call.there.values())
            if record is not None
        ]
        try:
            with reading(self._readers[room], told) as subscription:
                yield subscription
        finally:
            self._forget(room)

    def close(self) -> None:
        """The server stops: readers are told nothing more."""
        for readers in self._readers.values():
            for reader in readers:
                reader.abandon()

    def _forget(self, room: str) -> None:
        if not self._readers[room] and not self._calls[room]:
            del self._readers[room], self._calls[room]
