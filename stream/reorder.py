"""Bring RTP packets into order and into whole frames, without waiting longer than needed.

Times of frames come from their timestamps, so nothing needs to be played out evenly: a packet that
is in order is passed on at once, and a lost one is waited for only as long as it may still come.
Pure: arrival times are passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

MAX_LEAP = 3000
"""A sequence number this far from the expected one starts a new stream."""

Item = TypeVar("Item")


class Ordered(NamedTuple, Generic[Item]):
    item: Item
    lost: int
    """Packets missing right before this one."""


class Reorder(Generic[Item]):
    """Sequence-number order for one stream of packets.

    A missing packet is given up when `packets` later ones are waiting, or when the oldest of them
    has waited for `seconds`.
    """

    def __init__(self, packets: int, seconds: float, counts: Counter[str]) -> None:
        self._packets = packets
        self._seconds = seconds
        self._counts = counts
        self._next: int | None = None
        self._waiting: dict[int, tuple[Item, float]] = {}
        """By sequence number; all come after the missing one."""

    def add(self, sequence: int, item: Item, arrival: float) -> list[Ordered[Item]]:
        """Take a packet; return all that are now in order."""
        if self._next is None:
            self._next = sequence
        ahead = _signed16(sequence - self._next)
        if abs(ahead) > MAX_LEAP:
            flushed = self._flush()
            self._next = (sequence + 1) & 0xFFFF
            return [*flushed, Ordered(item, 1)]
        if ahead < 0 or sequence in self._waiting:
            self._counts["packets_late"] += 1
            return []
        self._waiting[sequence] = (item, arrival)
        ready = self._ready()
        while self._waiting and self._overdue(arrival):
            ready += self._skip()
        return ready

    def _ready(self, lost: int = 0) -> list[Ordered[Item]]:
        assert self._next is not None
        result: list[Ordered[Item]] = []
        while self._next in self._waiting:
            item, _ = self._waiting.pop(self._next)
            result.append(Ordered(item, lost))
            lost = 0
            self._next = (self._next + 1) & 0xFFFF
        return result

    def _overdue(self, arrival: float) -> bool:
        oldest = min(since for _, since in self._waiting.values())
        return len(self._waiting) >= self._packets or arrival - oldest >= self._seconds

    def _skip(self) -> list[Ordered[Item]]:
        assert self._next is not None
        start = self._next
        lost = min(_signed16(sequence - start) for sequence in self._waiting)
        self._counts["packets_lost"] += lost
        self._next = (start + lost) & 0xFFFF
        return self._ready(lost)

    def _flush(self) -> list[Ordered[Item]]:
        result: list[Ordered[Item]] = []
        while self._waiting:
            result += self._skip()
        return result


class Packet(Protocol):
    """What is needed of an RTP packet."""

    payload: bytes
    marker: int


Whole = TypeVar("Whole", bound=Packet)


class Picture(NamedTuple, Generic[Whole]):
    packets: list[Whole]
    after_loss: bool
    """True for the first picture after some that were lost."""


class FrameAssembler(Generic[Whole]):
    """Groups ordered packets of one video stream into whole pictures.

    After a loss everything is dropped until a packet that starts a key frame (`starts_key`), since
    pictures between refer to what was lost; meanwhile ``wants_key_frame`` is True.
    """

    def __init__(self, starts_key: Callable[[Whole], bool], counts: Counter[str]) -> None:
        self._starts_key = starts_key
        self._counts = counts
        self._packets: list[Whole] = []
        self._after_loss = False
        self.wants_key_frame = True

    def need_key_frame(self) -> None:
        """Drop what follows until a key frame, e.g. because the decoder has lost track."""
        self._packets.clear()
        self._after_loss = True
        self.wants_key_frame = True

    def add(self, ordered: Ordered[Whole]) -> Picture[Whole] | None:
        """Take a packet; return the picture that it completes."""
        packet, lost = ordered
        if lost:
            self.need_key_frame()
        if not packet.payload:  # padding, sent to probe the network
            return None
        if self.wants_key_frame:
            if not self._starts_key(packet):
                self._counts["pictures_dropped"] += bool(packet.marker)
                return None
            self.wants_key_frame = False
        self._packets.append(packet)
        if not packet.marker:
            return None
        picture = Picture(self._packets, self._after_loss)
        self._packets, self._after_loss = [], False
        return picture


def _signed16(value: int) -> int:
    return ((value + 0x8000) & 0xFFFF) - 0x8000
