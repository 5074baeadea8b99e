"""The calls of a server: each a WebRTC peer, the session behind it and those who read it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stream.config import CONSENT_VERSION, Consent, ServeConfig
from stream.engines import Engines
from stream.errors import ConsentError, StreamError
from stream.graph import Flow
from stream.metrics import Metrics, Tally
from stream.receivers import Kind
from stream.records import Record, to_json
from stream.session import Session, expected_modalities
from stream.webrtc import EventsChannel, Peer, offered
from workers.messages import AudioChunk, Control, VideoFrame

log = logging.getLogger(__name__)

CONNECT_S = 30.0
"""A caller that did not connect by then is gone."""

DRAIN_S = 5.0
"""What is still in the graph when a call ends may take this long."""

SEND_S = 2.0
"""And this long its last records may be on their way."""

MAX_READERS = 16
"""Of one call's records, besides its own page."""


class BusyError(StreamError):
    """The server has as many calls, or a call as many readers, as it may have."""


def check_consent(purpose: str, consent: Consent, config: ServeConfig) -> None:
    """Raise ``ConsentError`` unless this is what the server does and a person agreed to it."""
    if purpose != config.purpose:
        raise ConsentError(
            f"this server's purpose is '{config.purpose}', consent was given for '{purpose}'",
            hint="reload the page, read what it says and agree again",
        )
    if consent.version != CONSENT_VERSION:
        raise ConsentError(
            f"consent is to version '{consent.version}' of the text, now it is '{CONSENT_VERSION}'",
            hint="reload the page, read what it says and agree again",
        )
    if not consent.any:
        raise ConsentError(
            "nothing was agreed to, so nothing may be analysed",
            hint="agree to the analysis of face, voice or words",
        )


class Call:
    """One running call."""

    def __init__(self, session: Session, peer: Peer, *, token: bool) -> None:
        self.id = session.id
        self.person = session.person
        self.session = session
        self.peer = peer
        self.token = token
        """True: readers must present the bearer token."""
        self.readers = 0
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._channels: set[asyncio.Task[None]] = set()
        peer.on_events(self._channel_opened)

    def hang_up(self, reason: str) -> None:
        """End the call; ``run`` returns soon."""
        if not self._over.done():
            self._over.set_result(reason)

    def tally(self) -> Tally:
        graph, peer = self.session.graph, self.peer
        return Tally(
            {name: box.account for name, box in graph.boxes.items()},
            graph.accounts(),
            {"clock": peer.clock.counts, **{str(kind): n for kind, n in peer.counts.items()}},
        )

    async def run(self, observe: Callable[[Record], None]) -> str:
        """Serve the call until it is over; how it ended."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                graph = self._tasks.create_task(self.session.run(), name=f"session {self.id}")
                self._tasks.create_task(self._observe(observe), name=f"observe {self.id}")
                reason = await self._wait_over()
                self.peer.finish()
                self.session.close(reason)
                await asyncio.wait([graph], timeout=DRAIN_S)
                graph.cancel()  # nothing, if it is done
                if self._channels:  # the last records are on their way
                    await asyncio.wait(self._channels, timeout=SEND_S)
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
            async for record in records:
                if not await send(to_json(record)):
                    return

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

    async def _observe(self, observe: Callable[[Record], None]) -> None:
        async for record in self.session.subscribe():
            observe(record)


class Calls:
    """All calls of a server; use as an asynchronous context manager."""

    def __init__(self, config: ServeConfig, engines: Engines, metrics: Metrics) -> None:
        self._config = config
        self._engines = engines
        self._metrics = metrics
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._people = 0
        self._closing = False
        metrics.watch(lambda: [call.tally() for call in self._calls.values()])

    def __len__(self) -> int:
        return len(self._calls)

    async def __aenter__(self) -> Calls:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and wait until they are over."""
        self._closing = True
        for call in self._calls.values():
            call.hang_up("server stopped")
        if self._tasks:
            await asyncio.wait(self._tasks)

    def get(self, name: str) -> Call | None:
        return self._calls.get(name)

    def all(self) -> list[Call]:
        """Running calls, oldest first."""
        return list(self._calls.values())

    async def start(
        self, offer: str, purpose: str, consent: Consent, *, token: bool = False
    ) -> tuple[Call, str]:
        """Answer an offer and serve the call; the call and the SDP answer.

        Raises ``ConsentError``, ``OfferError`` and ``BusyError``.
        """
        check_consent(purpose, consent, self._config)
        if self._closing or len(self._calls) >= self._config.max_sessions:
            raise BusyError(
                f"this server has as many calls as it may have ({self._config.max_sessions})",
                hint="try again later, or raise max_sessions",
            )
        call = self._new_call(offered(offer), consent, token=token)
        self._calls[call.id] = call
        try:
            answer = await call.peer.answer(offer)
        except BaseException:
            del self._calls[call.id]
            await call.peer.close()
            raise
        task = asyncio.create_task(self._serve(call), name=f"call {call.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return call, answer

    def _new_call(self, kinds: frozenset[Kind], consent: Consent, *, token: bool) -> Call:
        config = self._config
        words = config.analysis.words
        expected = expected_modalities(
            consent, audio="audio" in kinds, video="video" in kinds, words=words
        )
        agreed = expected_modalities(consent, audio=True, video=True, words=words)
        needed: set[Kind] = {"video" if name == "face" else "audio" for name in agreed}
        self._people += 1
        person = f"p{self._people}"
        sink = _LateSink()
        peer = Peer(
            person,
            frozenset(needed),
            sink,
            fps=config.analysis.frames_per_second,
            max_width=config.analysis.max_width,
            ice_servers=config.ice_servers,
        )
        session = Session(
            secrets.token_urlsafe(16),
            person,
            config,
            consent,
            expected,
            self._engines,
            self._engines.threads,
            Flow.LIVE,
            peer.now,
        )
        sink.session = session
        return Call(session, peer, token=token)

    async def _serve(self, call: Call) -> None:
        how = "failed"
        try:
            how = await call.run(self._metrics.observe)
        except Exception as error:  # one call never ends another
            log.error("call %s failed: %s", call.person, _kinds(error))
            log.debug("call %s failed", call.person, exc_info=error)
        finally:
            self._metrics.ended(call.tally(), how)
            del self._calls[call.id]
            log.info("call of %s ended: %s", call.person, how)


class _LateSink:
    """Stands between a peer and its session, which needs the peer's clock first."""

    session: Session

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        self.session.push(item)

    def clock(self, unix_at_zero: float | None) -> None:
        self.session.clock(unix_at_zero)


def _kinds(error: BaseException) -> str:
    """Names of errors inside groups; their texts may hold what people said."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(part) for part in error.exceptions)
    return type(error).__name__
