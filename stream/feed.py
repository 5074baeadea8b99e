"""What one session is fed from: one connection after the other, as one stream of media.

Where a connection was lost and another took its place, each source has one gap, from the last that
was heard or seen to the first of the new one. Nothing before the gap's end comes twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from stream.receivers import Kind, Sink
from workers.messages import END, AudioChunk, Control, Gap, Progress, VideoFrame

CUT = "connection_lost"
"""Reason of such a gap."""

Item = AudioChunk | VideoFrame | Control


class Fed(Protocol):
    """What of a ``Session`` is fed."""

    def push(self, item: Item) -> None: ...

    def clock(self, unix_at_zero: float | None) -> None: ...


class Feed:
    """Feeds `session` (set before the first connection is used) from inlets, one at a time."""

    session: Fed

    def __init__(self, person: str) -> None:
        self._person = person
        self._current: Sink | None = None
        self._reached: dict[str, float] = {}
        """Source -> end of the newest that came of it."""
        self._cut: set[str] = set()
        """Sources of which nothing came yet over the current connection."""
        self._ended: set[str] = set()

    def inlet(self) -> Sink:
        """For a new connection; mute until it is used."""
        return _Inlet(self)

    def use(self, inlet: Sink) -> None:
        """Media comes from `inlet` from now on, and from no other."""
        again = self._current is not None
        self._current = inlet
        if again:
            self._cut = set(self._reached)
            self.session.clock(None)

    def end(self, kinds: Iterable[Kind]) -> None:
        """Nothing of `kinds` will come any more, over whatever connection; told once."""
        for kind in kinds:
            if kind not in self._ended:
                self._ended.add(kind)
                self.session.push(Progress(self._person, kind, END))

    def take(self, inlet: Sink, item: Item) -> None:
        """One item of a connection. Its end is not the end of a source: see ``end``."""
        over = isinstance(item, Progress) and item.t == END
        source = _source(item)
        if inlet is not self._current or over or source in self._ended:
            return
        t0, t1 = _span(item)
        if source in self._cut:
            if isinstance(item, Control) or t0 < self._reached[source]:
                return
            self._cut.remove(source)
            self.session.push(Gap(self._person, source, self._reached[source], t0, CUT))
        self._reached[source] = max(t1, self._reached.get(source, 0.0))
        self.session.push(item)

    def take_clock(self, inlet: Sink, unix_at_zero: float | None) -> None:
        """What a connection knows of the sender's clock."""
        if inlet is self._current:
            self.session.clock(unix_at_zero)


class _Inlet:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def push(self, item: Item) -> None:
        self._feed.take(self, item)

    def clock(self, unix_at_zero: float | None) -> None:
        self._feed.take_clock(self, unix_at_zero)


def _source(item: Item) -> Kind:
    if isinstance(item, AudioChunk):
        return "audio"
    if isinstance(item, VideoFrame):
        return "video"
    return "audio" if item.source == "audio" else "video"


def _span(item: Item) -> tuple[float, float]:
    if isinstance(item, AudioChunk):
        return item.t0, item.t1
    if isinstance(item, Gap):
        return item.t0, item.t0  # what is lost was not reached
    return item.t, item.t
