"""One call: its connection, the session behind it, its record and those who read it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from stream.access import Grant
from stream.config import Consent
from stream.errors import StreamError
from stream.keep import MediaQueue
from stream.line import Line
from stream.metrics import Tally
from stream.receivers import Kind
from stream.record_types import Record
from stream.recorder import CAPACITY, Recorder
from stream.records import to_json
from stream.session import Session
from stream.webrtc import EventsChannel
from workers.messages import Modality

log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""What is still in the graph when a call ends may take this long."""

SEND_S = 2.0
"""And this long its last records may be on their way."""

RECORD_S = 2.0
"""And this long the end of its record."""

MAX_READERS = 16
"""Of one call's records; its own page, over the data channel, is one of them."""


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
        line: Line,
        grant: Grant,
        address: str = "",
        recorder: Recorder | None = None,
        media: MediaQueue | None = None,
        *,
        shown: bool = False,
    ) -> None:
        self.id = session.id
        self.person = session.person
        self.session = session
        self.line = line
        self.grant = grant
        self.shown = shown
        """The person agreed to be seen by the others in the room."""
        self.address = address
        """Of the sender, as limits count it."""
        self.key = secrets.token_urlsafe(24)
        """Whoever has it may read and end the call."""
        self.readers = 0
        self._recorder = recorder
        self._media = media
        self.finished = asyncio.Event()
        """Set when nothing of the call is left, but its record where one is kept."""
        self._graph: asyncio.Task[None] | None = None
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._channels: set[asyncio.Task[None]] = set()
        line.on_events(self._channel_opened)

    def hang_up(self, reason: str) -> None:
        """End the call; ``run`` returns soon."""
        if not self._over.done():
            self._over.set_result(reason)

    def withdraw(self) -> None:
        """End the call at once: nothing more is told than its end."""
        self.line.finish()
        self.session.abandon("withdrawn")
        if self._graph is not None:
            self._graph.cancel()
        self.hang_up("withdrawn")

    def withdraw_some(self, modalities: frozenset[Modality]) -> Consent:
        """Go on without `modalities`; what is left agreed."""
        left = self.session.withdraw(modalities)
        sound: set[Kind] = set() if left.voice or left.words else {"audio"}
        picture: set[Kind] = set() if left.face else {"video"}
        self.line.refuse(frozenset(sound | picture))
        if self._media is not None:  # sound is kept only for as long as all of it is agreed to
            less: set[Kind] = {"audio"} if modalities & {"voice", "words"} else set()
            self._media.stop(less | picture)
        return left

    def tally(self) -> Tally:
        graph = self.session.graph
        return Tally(
            {name: box.account for name, box in graph.boxes.items()},
            graph.accounts(),
            dict(self.line.received()),
        )

    async def run(self, observe: Callable[[Record], None]) -> str:
        """Serve the call until it is over; how it ended."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                graph = self._tasks.create_task(self.session.run(), name=f"session {self.id}")
                self._graph = graph
                self._tasks.create_task(self._observe(observe), name=f"observe {self.id}")
                recording = self._tasks.create_task(self._record(), name=f"record {self.id}")
                reason = await self.line.wait_over(self._over)
                self.line.finish()
                self.session.close(reason)
                await asyncio.wait([graph], timeout=DRAIN_S)
                graph.cancel()  # nothing, if it is done
                if self._channels:  # the last records are on their way
                    await asyncio.wait(self._channels, timeout=SEND_S)
                await asyncio.wait([recording], timeout=RECORD_S)
                recording.cancel()
                await self.line.close()
        finally:
            await self.line.close()
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
        waiting = self.session.subscribe(CAPACITY, raw=True)
        tell = self.session.recording
        try:
            subject, media = self.grant.subject, self._media
            await self._recorder.record(self.id, subject, self.key, waiting, tell, media)
        except Exception as error:  # the boundary between call and record
            log.error("call of %s is not recorded: %s", self.person, type(error).__name__)
            log.debug("call of %s is not recorded", self.person, exc_info=error)
            tell("failed")
        finally:
            self.session.unsubscribe(waiting)

    async def _observe(self, observe: Callable[[Record], None]) -> None:
        async for record in self.session.subscribe():
            observe(record)
