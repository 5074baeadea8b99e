"""Bring RTP packets into order and into whole frames, without waiting longer than needed.

Times of frames come from their timestamps, so nothing needs to be played out evenly: a packet that
is in order is passed on at once, and a lost one is waited for only as long as it may still come.
Pure: arrival times are passed in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

MAX_LEAP = 3000
"""A sequence number this far from the expected one starts a new stream."""

REMEMBERED = 256
"""Packets that were given up, and whose late arrival would still be noticed."""

MEMORY_S = 5.0
"""For how long a late packet makes the next ones be waited for longer."""

MARGIN = 1.25
"""Missing packets are waited for so much longer than the latest one of late took."""

Item = TypeVar("Item")


class Patience:
    """How long a missing packet is waited for: as late as packets came lately, within bounds.

    With the same value for `least` and `most` (seconds) it never changes.
    """

    def __init__(self, least: float, most: float) -> None:
        self.seconds = least
        self._least = least
        self._most = most
        self._late: deque[tuple[float, float]] = deque()
        """(when, how late), each later and less late than the one before."""

    def came_late(self, by: float, now: float) -> None:
        """A packet came `by` seconds after one that was sent after it."""
        if by > self._most:  # no patience that is allowed would have helped
            return
        while self._late and self._late[-1][1] <= by:
            self._late.pop()
        self._late.append((now, by))
        self.forget(now)

    def forget(self, now: float) -> None:
        """Time passes: what is long ago counts no more."""
        while self._late and now - self._late[0][0] > MEMORY_S:
            self._late.popleft()
        worst = self._late[0][1] if self._late else 0.0
        self.seconds = min(self._most, max(self._least, MARGIN * worst))


class Ordered(NamedTuple, Generic[Item]):
    item: Item
    lost: int
    """Packets missing right before this one."""


class Reorder(Generic[Item]):
    """Sequence-number order for one stream of packets.

    A missing packet is given up when `packets` later ones are waiting, or when the oldest of them
    has waited for as long as `patience` has.
    """

    def __init__(self, packets: int, patience: Patience, counts: Counter[str]) -> None:
        self._packets = packets
        self._patience = patience
        self._counts = counts
        self._next: int | None = None
        self._waiting: dict[int, tuple[Item, float]] = {}
        """By sequence number, oldest first; all come after the missing one."""
        self._given_up: OrderedDict[int, float] = OrderedDict()
        """Sequence number -> since when it was known to be missing."""

    def add(self, sequence: int, item: Item, arrival: float) -> list[Ordered[Item]]:
        """Take a packet; return all that are now in order."""
        if self._next is None:
            self._next = sequence
        ahead = _signed16(sequence - self._next)
        if abs(ahead) > MAX_LEAP:
            flushed = self._flush()
            self._given_up.clear()
            self._next = (sequence + 1) & 0xFFFF
            return [*flushed, Ordered(item, 1)]
        if ahead < 0 or sequence in self._waiting:
            self._too_late(sequence, arrival)
            return []
        self._note_lateness(sequence, arrival)
        self._waiting[sequence] = (item, arrival)
        return [*self._ready(), *self.give_up(arrival)]

    @property
    def deadline(self) -> float | None:
        """When the missing packet will be given up; None: none is missing."""
        if not self._waiting:
            return None
        return next(iter(self._waiting.values()))[1] + self._patience.seconds

    def give_up(self, now: float) -> list[Ordered[Item]]:
        """What need not wait any more, as missing packets are given up."""
        self._patience.forget(now)
        ready: list[Ordered[Item]] = []
        while self._waiting and self._overdue(now):
            ready += self._skip()
        return ready

    def _too_late(self, sequence: int, arrival: float) -> None:
        since = self._given_up.pop(sequence, None)
        self._counts["packets_repeated" if since is None else "packets_late"] += 1
        if since is not None:
            self._patience.came_late(arrival - since, arrival)

    def _note_lateness(self, sequence: int, arrival: float) -> None:
        for other, (_, since) in self._waiting.items():
            if _signed16(other - sequence) > 0:
                self._counts["packets_reordered"] += 1
                self._patience.came_late(arrival - since, arrival)
                return

    def _ready(self, lost: int = 0) -> list[Ordered[Item]]:
        assert self._next is not None
        result: list[Ordered[Item]] = []
        while self._next in self._waiting:
            item, _ = self._waiting.pop(self._next)
            result.append(Ordered(item, lost))
            lost = 0
            self._next = (self._next + 1) & 0xFFFF
        return result

    def _overdue(self, now: float) -> bool:
        deadline = self.deadline
        return len(self._waiting) >= self._packets or (deadline is not None and now >= deadline)

    def _skip(self) -> list[Ordered[Item]]:
        assert self._next is not None
        start = self._next
        since = next(iter(self._waiting.values()))[1]
        lost = min(_signed16(sequence - start) for sequence in self._waiting)
        self._counts["packets_lost"] += lost
        for n in range(max(0, lost - REMEMBERED), lost):
            self._given_up[(start + n) & 0xFFFF] = since
        while len(self._given_up) > REMEMBERED:
            self._given_up.popitem(last=False)
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
