"""What waits for one reader of a session's records."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from stream.record_types import Record

FACE_AGE_S = 1.0
"""Outlines that waited for longer are not told any more."""

CAPACITY = 256
"""Records that wait for one subscriber; beyond, face outlines go first, then the oldest."""


class Subscription:
    """A bounded queue of records for one reader; a slow reader loses face outlines first."""

    def __init__(
        self, *, lossless: bool = False, capacity: int = CAPACITY, raw: bool = False
    ) -> None:
        self.raw = raw
        """It also wants estimates as the filter takes them."""
        self.dropped = 0
        self._lossless = lossless
        self._capacity = capacity
        self._records: deque[tuple[float, Record]] = deque()
        """With the time of the event loop when it came."""
        self._closed = False
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    def put(self, record: Record) -> None:
        """Append; when full and not lossless, drop the oldest face outline, else the oldest."""
        if self._closed:
            return
        if not self._lossless and len(self._records) >= self._capacity:
            self._drop()
        self._records.append((_now(), record))
        self._changed.set()

    def close(self, last: Record) -> None:
        self.put(last)
        self._closed = True

    @property
    def closed(self) -> bool:
        """True when nothing will be added any more."""
        return self._closed

    def take(self) -> list[Record]:
        """All records that wait, at once."""
        taken = [record for _, record in self._records]
        self._records.clear()
        self._taken.set()
        return taken

    async def room(self) -> None:
        """Wait until the reader has caught up to the capacity."""
        while len(self._records) >= self._capacity and not self._closed:
            self._taken.clear()
            await self._taken.wait()

    def abandon(self) -> None:
        """The reader is gone: never make anyone wait for it."""
        self._closed = True
        self._records.clear()
        self._taken.set()
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Record]:
        while True:
            while not self._records:
                if self._closed:
                    return
                self._changed.clear()
                await self._changed.wait()
            since, record = self._records.popleft()
            self._taken.set()
            late = record["type"] == "face" and _now() - since > FACE_AGE_S
            if late and not self._lossless:
                self.dropped += 1
                continue
            yield record

    def _drop(self) -> None:
        self.dropped += 1
        for i, (_, record) in enumerate(self._records):
            if record["type"] == "face":
                del self._records[i]
                return
        self._records.popleft()


def _now() -> float:
    return asyncio.get_running_loop().time()
