"""The connection of a call: made anew by its page when it was lost, within a time limit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from stream.feed import Feed
from stream.limits import OfferError
from stream.receivers import RATES, Kind, Sink
from stream.webrtc import LOST, EventsChannel, Peer

CONNECT_S = 15.0
"""A caller that did not connect by then is gone."""

KINDS = frozenset(RATES)

REPLACED = "replaced"
"""Why a peer is over in whose place another came."""

NEVER = "never connected"


class Line:
    """Holds the peer of a call, and takes another in its place.

    `new_peer` makes one that receives some of `kinds` and gives its media to a sink. `within` are
    the seconds in which a lost connection may be made anew; 0: not at all.
    """

    def __init__(
        self,
        feed: Feed,
        kinds: frozenset[Kind],
        new_peer: Callable[[Sink, frozenset[Kind]], Peer],
        within: float,
    ) -> None:
        self._feed = feed
        self._kinds = kinds
        self._new_peer = new_peer
        self._within = within
        inlet = feed.inlet()
        self.peer = new_peer(inlet, kinds)
        feed.use(inlet)
        self._opened: Callable[[EventsChannel], None] = EventsChannel.close
        self._deadline: float | None = None
        """When a call whose connection is lost is over."""
        self._again = asyncio.Event()
        self._one_by_one = asyncio.Lock()
        self._over = False
        self._past: dict[str, Counter[str]] = {}

    def on_events(self, opened: Callable[[EventsChannel], None]) -> None:
        """Call `opened` with the data channel for records, of every peer."""
        self._opened = opened
        self.peer.on_events(opened)

    async def answer(self, offer: str) -> str:
        """The SDP answer to the first offer. Raises ``OfferError``."""
        answer = await self.peer.answer(offer)
        self._feed.end(KINDS - self.peer.taken)
        self._kinds = self.peer.taken
        return answer

    async def resume(self, offer: str) -> str:
        """The SDP answer to an offer that takes the call up again. Raises ``OfferError``.

        The peer of before is let go, whatever its state; where the offer is not usable it stays.
        """
        async with self._one_by_one:
            inlet = self._feed.inlet()
            peer = self._new_peer(inlet, self._kinds)
            try:
                answer = await peer.answer(offer)
                if self._over:
                    raise OfferError("the call is over", hint="begin a new one")
            except BaseException:
                await peer.close()
                raise
            old, self.peer = self.peer, peer
            self._deadline = self._deadline or time.monotonic() + self._within
            peer.on_events(self._opened)
            self._feed.use(inlet)
            self._again.set()
            await old.close(REPLACED)
            self._add_past(old)
            self._past.setdefault("transport", Counter())["resumed"] += 1
            return answer

    async def wait_over(self, hung_up: asyncio.Future[str]) -> str:
        """Why the call is over: it was hung up, its sender left, or did not come back in time."""
        while True:
            peer = self.peer
            how = await _over(peer, hung_up)
            if hung_up.done():
                return hung_up.result()
            if peer is not self.peer:
                continue
            if how != LOST and not (how == NEVER and self._deadline is not None):
                return how
            if peer.connected.done():
                self._deadline = None
            if not await self._comes_back(peer, hung_up):
                return hung_up.result() if hung_up.done() else LOST

    def refuse(self, kinds: frozenset[Kind]) -> None:
        """Of `kinds` nothing is received any more, over this connection or another."""
        self._kinds -= kinds
        self.peer.refuse(kinds)
        self._feed.end(sorted(kinds))

    def finish(self) -> None:
        """No more media; the connection, and with it the channel, stays, and none replaces it."""
        self._over = True
        self.peer.finish()
        self._feed.end(sorted(KINDS))

    async def close(self) -> None:
        """End the connection; none takes its place any more."""
        self._over = True
        await self.peer.close()

    def received(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of all that was received, by ``audio``, ``video``, ``clock``, ``transport``."""
        total = {name: Counter(counts) for name, counts in self._past.items()}
        for name, counts in _counts(self.peer).items():
            total.setdefault(name, Counter()).update(counts)
        return total

    async def _comes_back(self, peer: Peer, hung_up: asyncio.Future[str]) -> bool:
        self._again.clear()
        now = time.monotonic()
        self._deadline = self._deadline or now + self._within
        again: asyncio.Future[Any] = asyncio.ensure_future(self._again.wait())
        try:
            waiting: list[asyncio.Future[Any]] = [again, hung_up]
            await asyncio.wait(
                waiting,
                timeout=max(0.0, self._deadline - now),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            again.cancel()
        return peer is not self.peer and not hung_up.done()

    def _add_past(self, peer: Peer) -> None:
        for name, counts in _counts(peer).items():
            self._past.setdefault(name, Counter()).update(counts)


def _counts(peer: Peer) -> dict[str, Counter[str]]:
    tracks = {str(kind): counts for kind, counts in peer.counts.items()}
    return {"clock": peer.clock.counts, "transport": peer.faults, **tracks}


async def _over(peer: Peer, hung_up: asyncio.Future[str]) -> str:
    """How a connection ended, or never came to be; anything, where the call was hung up."""
    first = asyncio.FIRST_COMPLETED
    ends: list[asyncio.Future[Any]] = [hung_up, peer.ended]
    done, _ = await asyncio.wait([*ends, peer.connected], timeout=CONNECT_S, return_when=first)
    if not done:
        return NEVER
    await asyncio.wait(ends, return_when=first)
    return peer.ended.result() if peer.ended.done() else ""
