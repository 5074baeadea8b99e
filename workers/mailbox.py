"""Bounded queues between stages, with an exact account of what went through them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from workers.messages import Gap, Message, Progress, lost, merge_gaps, size

Item = TypeVar("Item", bound=Message)


FRESH = 0.25
"""Of the age at which items are too old: what is left when some were is younger than this."""


class Policy(Enum):
    """What a full mailbox does with one more item."""

    BLOCK = "block"
    """The producer waits."""
    DROP_OLDEST = "drop_oldest"
    """The oldest item makes room; its loss is counted and, as a ``Gap``, told to the reader."""


class Closed(Exception):
    """The mailbox is closed and empty."""


@dataclass(slots=True)
class Account:
    """``put == taken + sum(dropped.values()) + inside``, at every moment."""

    put: int = 0
    taken: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    inside: int = 0
    peak: int = 0
    """Largest `inside` so far."""

    @property
    def lost(self) -> int:
        """Items dropped, without progress that newer progress made needless."""
        return self.dropped.total() - self.dropped["superseded"]


class Mailbox(Generic[Item]):
    """First in, first out, at most `capacity` items, within one event loop.

    Dropped items leave gap markers, which the reader gets in their place and before what follows.
    Markers of one kind are merged, need no room and are not part of the account. A ``Progress``
    that directly follows an older one of the same source replaces it (counted as ``superseded``),
    so that progress does not crowd out data. What waited for longer than `max_age` seconds is
    dropped when its turn comes (``too_old``), where the policy allows it.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        policy: Policy,
        *,
        producers: int = 1,
        max_age: float = math.inf,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"mailbox {name}: capacity must be at least 1, got {capacity}")
        if producers < 1:
            raise ValueError(f"mailbox {name}: producers must be at least 1, got {producers}")
        self.name = name
        self.capacity = capacity
        self.policy = policy
        self.account = Account()
        self.because = "queue_full"
        """Why items make room, as their gaps say."""
        self._producers = producers
        self._max_age = max_age if policy is Policy.DROP_OLDEST else math.inf
        self._items: deque[Item] = deque()
        self._since: deque[float] = deque()
        """When each item was put, by the clock of the event loop."""
        self._gaps: list[Gap] = []
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    @property
    def closed(self) -> bool:
        """True when every producer has closed."""
        return self._producers == 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def held(self) -> int:
        """Bytes of the arrays that wait here."""
        return sum(map(size, self._items))

    @property
    def age(self) -> float:
        """Seconds for which the oldest item has been waiting."""
        return _now() - self._since[0] if self._since else 0.0

    async def put(self, item: Item) -> None:
        """Put `item`, waiting for room where the policy says so."""
        while self.policy is Policy.BLOCK and len(self._items) >= self.capacity and not self.closed:
            self._writable.clear()
            await self._writable.wait()
        self._append(item)

    def put_nowait(self, item: Item) -> None:
        """Put `item` at once; only for mailboxes that drop."""
        if self.policy is Policy.BLOCK:
            raise ValueError(f"mailbox {self.name} blocks: await put() instead")
        self._append(item)

    async def get(self) -> Item | Gap:
        """The next item or gap marker. Raises ``Closed`` at the end."""
        self._expire()
        while not self._gaps and not self._items:
            if self.closed:
                raise Closed(self.name)
            self._readable.clear()
            await self._readable.wait()
        return self.get_nowait()

    def get_nowait(self) -> Item | Gap:
        """The next item or gap marker of a mailbox that is not empty."""
        if self._gaps:
            return self._gaps.pop(0)
        item = self._items.popleft()
        self._since.popleft()
        self.account.taken += 1
        self._moved()
        return item

    def close(self) -> None:
        """One producer is done; the mailbox closes when the last one is."""
        self._producers = max(0, self._producers - 1)
        if self.closed:
            self._readable.set()
            self._writable.set()

    def discard(self) -> None:
        """Close for good and drop what is inside (counted as ``discarded``)."""
        self._producers = 0
        while self._items:
            self._drop("discarded")
        self._gaps.clear()
        self._readable.set()
        self._writable.set()

    def _append(self, item: Item) -> None:
        self.account.put += 1
        if self.closed:
            self.account.dropped["closed"] += 1
            return
        if self._items and _supersedes(item, self._items[-1]):
            self._items.pop()
            self._since.pop()
            self.account.dropped["superseded"] += 1
        while len(self._items) >= self.capacity:
            self._drop(self.because)
        self._items.append(item)
        self._since.append(_now())
        self._moved()
        self._readable.set()

    def _expire(self) -> None:
        """Drop what is too old, and with it what is nearly so: a reader that only just keeps up
        would be late for ever. Progress stays, for it speaks of what is newer.
        """
        if self.age <= self._max_age:
            return
        reason = "too_old" if self.because == "queue_full" else self.because
        while self.age > FRESH * self._max_age and not isinstance(self._items[0], Progress | Gap):
            self._drop(reason)

    def _drop(self, reason: str) -> None:
        self._since.popleft()
        gap = lost(self._items.popleft(), reason)
        self.account.dropped[reason] += 1
        self._moved()
        if gap is None:
            return
        for i, pending in enumerate(self._gaps):
            merged = merge_gaps(pending, gap)
            if merged is not None:
                self._gaps[i] = merged
                return
        self._gaps.append(gap)

    def _moved(self) -> None:
        self.account.inside = len(self._items)
        self.account.peak = max(self.account.peak, self.account.inside)
        if len(self._items) < self.capacity:
            self._writable.set()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _supersedes(new: Message, old: Message) -> bool:
    return (
        isinstance(new, Progress)
        and isinstance(old, Progress)
        and (new.person, new.source) == (old.person, old.source)
    )
