"""One call: a WebRTC peer, the session behind it, its record and those who read it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stream.access import Grant
from stream.errors import StreamError
from stream.metrics import Tally
from stream.recorder import CAPACITY, Recorder
from stream.records import Record, to_json
from stream.session import Session
from stream.webrtc import EventsChannel, Peer

log = logging.getLogger(__name__)

CONNECT_S = 15.0
"""A caller that did not connect by then is gone."""

DRAIN_S = 5.0
"""What is still in the graph when a call ends may take this long."""

SEND_S = 2.0
"""And this long its last records may be on their way."""

RECORD_S = 2.0
"""And this long the end of its record."""

MAX_READERS = 16
"""Of one call's records, besides its own page."""


class BusyError(StreamError):
    """The server has as many calls, or a call as many readers, as it may have."""


async def send_all(records: AsyncIterable[Record], send: Callable[[str], Awaitable[bool]]) -> None:
    """Give every record to `send` until it returns False or there are no more."""
    async for record in records:
        if not await send(to_json(record)):
            return


class Call:
    """One running call."""

    def __init__(
        self,
        session: Session,
        peer: Peer,
        grant: Grant,
        address: str = "",
        recorder: Recorder | None = None,
    ) -> None:
        self.id = session.id
        self.person = session.person
        self.session = session
        self.peer = peer
        self.grant = grant
        self.address = address
        """Of the sender, as limits count it."""
        self.key = secrets.token_urlsafe(24)
        """Whoever has it may read and end the call."""
        self.readers = 0
        self._recorder = recorder
        self.finished = asyncio.Event()
        """Set when nothing of the call is left, but its record where one is kept."""
        self._graph: asyncio.Task[None] | None = None
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._channels: set[asyncio.Task[None]] = set()
        peer.on_events(self._channel_opened)

    def hang_up(self, reason: str) -> None:
        """End the call; ``run`` returns soon."""
        if not self._over.done():
            self._over.set_result(reason)

    def withdraw(self) -> None:
        """End the call at once: nothing more is told than its end."""
        self.peer.finish()
        self.session.abandon("withdrawn")
        if self._graph is not None:
            self._graph.cancel()
        self.hang_up("withdrawn")

    def tally(self) -> Tally:
        graph, peer = self.session.graph, self.peer
        return Tally(
            {name: box.account for name, box in graph.boxes.items()},
            graph.accounts(),
            {
                "clock": peer.clock.counts,
                "transport": peer.faults,
                **{str(kind): n for kind, n in peer.counts.items()},
            },
        )

    async def run(self, observe: Callable[[Record], None]) -> str:
        """Serve the call until it is over; how it ended."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                graph = self._tasks.create_task(self.session.run(), name=f"session {self.id}")
                self._graph = graph
                self._tasks.create_task(self._observe(observe), name=f"observe {self.id}")
                recording = self._tasks.create_task(self._record(), name=f"record {self.id}")
                reason = await self._wait_over()
                self.peer.finish()
                self.session.close(reason)
                await asyncio.wait([graph], timeout=DRAIN_S)
                graph.cancel()  # nothing, if it is done
                if self._channels:  # the last records are on their way
                    await asyncio.wait(self._channels, timeout=SEND_S)
                await asyncio.wait([recording], timeout=RECORD_S)
                recording.cancel()
                await self.peer.close()
        finally:
            await self.peer.close()
        return reason

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncIterator[Record]]:
        """All records from now on. Raises ``BusyError``."""
        if self.readers >= MAX_READERS:
            raise BusyError(
                f"this call has {MAX_READERS} readers already", hint="close one of them"
            )
        self.readers += 1
        subscription = self.session.subscribe()
        try:
            yield aiter(subscription)
        finally:
            self.readers -= 1
            self.session.unsubscribe(subscription)
            subscription.abandon()

    async def send_all(self, send: Callable[[str], Awaitable[bool]]) -> None:
        """Give every record to `send` until it returns False or the call is over."""
        async with self.read() as records:
            await send_all(records, send)

    async def _wait_over(self) -> str:
        """Why the call is over. A graph that fails ends the task group around this."""
        ends = [self._over, self.peer.ended]
        first = asyncio.FIRST_COMPLETED
        connecting: list[asyncio.Future[Any]] = [*ends, self.peer.connected]
        done, _ = await asyncio.wait(connecting, timeout=CONNECT_S, return_when=first)
        if not done:
            return "never connected"
        await asyncio.wait(ends, return_when=first)
        return next(end.result() for end in ends if end.done())

    def _channel_opened(self, channel: EventsChannel) -> None:
        if self._tasks is None or self._over.done():
            channel.close()
            return
        task = self._tasks.create_task(self.send_all(channel.send), name=f"channel {self.id}")
        self._channels.add(task)
        task.add_done_callback(self._channels.discard)

    async def _record(self) -> None:
        """Record the session, where that is configured and agreed to; never ends the call."""
        if self._recorder is None:
            return
        waiting = self.session.subscribe(CAPACITY)
        tell = self.session.recording
        try:
            await self._recorder.record(self.id, self.grant.subject, self.key, waiting, tell)
        except Exception as error:  # the boundary between call and record
            log.error("call of %s is not recorded: %s", self.person, type(error).__name__)
            log.debug("call of %s is not recorded", self.person, exc_info=error)
            tell("failed")
        finally:
            self.session.unsubscribe(waiting)

    async def _observe(self, observe: Callable[[Record], None]) -> None:
        async for record in self.session.subscribe():
            observe(record)
