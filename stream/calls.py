"""The calls of a server: who may begin one, and that one never ends another."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any, Literal

from stream.access import ANYBODY, Grant
from stream.audit import AuditBroken, AuditError, AuditLog, now_iso
from stream.call import BusyError, Call
from stream.call_settings import CallSettings
from stream.config import CONSENT_VERSION, Consent, ServeConfig
from stream.engines import Engines
from stream.errors import ConsentError
from stream.feed import Feed
from stream.graph import Flow
from stream.graph_settings import expected_modalities
from stream.group import Groups
from stream.keep import MediaQueue
from stream.limits import network
from stream.line import Line
from stream.metrics import Metrics
from stream.overload import Overload
from stream.purpose import objection
from stream.receivers import Kind, Sink
from stream.record_types import Record
from stream.recorder import Recorder
from stream.room import Rooms
from stream.session import Session
from stream.turn import ice_servers
from stream.webrtc import Peer, offered
from workers.messages import Modality

log = logging.getLogger(__name__)

Shared = Literal["camera", "tab"]
"""What a browser sends: its own camera, or a shared tab, window or screen with many people."""


def check_source(source: Shared, config: ServeConfig) -> None:
    """Raise ``ConsentError`` where only a self view is allowed and others would be looked at."""
    text_only = config.text_only
    why = objection(config.purpose, config.purpose_reference, text_only=text_only, private=False)
    if source == "tab" and why is not None:
        raise ConsentError(
            f"a shared tab shows other people: {why}",
            hint="use your own camera, or serve text_only",
        )


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


class Calls:
    """All calls of a server; use as an asynchronous context manager."""

    def __init__(
        self,
        config: ServeConfig,
        engines: Engines,
        metrics: Metrics,
        recorder: Recorder | None = None,
        audit: AuditLog | None = None,
        groups: Groups | None = None,
        overload: Overload | None = None,
    ) -> None:
        self._config = config
        self._engines = engines
        self._metrics = metrics
        self._recorder = recorder
        self._audit = audit
        self._groups = groups
        self._overload = overload
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._people = 0
        self._closing = False
        self.rooms = Rooms() if config.room_view == "everybody" else None
        """What everybody in a room sees; None: everybody sees only their own."""
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
        if self.rooms is not None:
            self.rooms.close()
        if self._groups is not None:
            self._groups.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def closing(self) -> bool:
        """Whether no call may begin any more."""
        return self._closing

    def get(self, name: str) -> Call | None:
        return self._calls.get(name)

    def all(self) -> list[Call]:
        """Running calls, oldest first."""
        return list(self._calls.values())

    async def start(
        self,
        offer: str,
        purpose: str,
        consent: Consent,
        grant: Grant = ANYBODY,
        address: str = "",
        settings: CallSettings | None = None,
        source: Shared = "camera",
    ) -> tuple[Call, str]:
        """Answer an offer and serve the call; the call and the SDP answer.

        Raises ``ConsentError``, ``OfferError``, ``SettingsError`` and ``BusyError``.
        """
        consent = self._config.within(consent)
        check_consent(purpose, consent, self._config)
        check_source(source, self._config)
        kinds = offered(offer)
        self._check_room(grant.room, network(address))
        load = None if self._overload is None else self._overload.admit(self.all())
        call = self._new_call(kinds, consent, grant, network(address), source)
        self._calls[call.id] = call
        try:
            if settings is not None:
                call.session.set(settings)
            if self._audit is not None:  # before anything is received
                given = consent.model_dump()
                await self._audit.note("consent", call.id, consent=given, purpose=purpose)
            answer = await call.line.answer(offer)
        except BaseException:
            del self._calls[call.id]
            await call.line.close()
            raise
        if self._overload is not None and load is not None:
            self._overload.began(call, load)
        counted = self._groups if consent.group and not call.session.many else None
        task = asyncio.create_task(self._serve(call, counted), name=f"call {call.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return call, answer

    async def resume(self, call: Call, offer: str) -> str:
        """Take up a call again whose connection was lost; the SDP answer.

        Raises ``OfferError`` and ``BusyError``.
        """
        if self._closing:
            raise BusyError("this server is stopping", hint="try again when it is back")
        return await call.line.resume(offer)

    async def withdraw(self, call: Call) -> dict[str, Any]:
        """End a call at once and erase all that is left of it; the receipt.

        Raises ``RecordError``, ``AuditError``.
        """
        call.withdraw()
        await call.finished.wait()
        return await self._erase(call.id)

    async def withdraw_some(self, call: Call, modalities: frozenset[Modality]) -> dict[str, Any]:
        """Go on with less, or end the call where nothing is left; the receipt.

        Raises ``AuditError``; then too nothing of `modalities` is analysed any more.
        """
        left = call.withdraw_some(modalities)
        if not left.any:
            return await self.withdraw(call)
        names = sorted(modalities)
        receipt: dict[str, Any] = {"session": call.id, "at": now_iso(), "withdrawn": names}
        if self._audit is not None:
            entry = await self._audit.note("withdrawn", call.id, modalities=names)
            receipt["audit"] = {"n": entry.number, "hash": entry.hash}
        return {**receipt, "consent": left.model_dump()}

    async def erase(self, session: str, key: str) -> dict[str, Any] | None:
        """Erase what is kept of a call that is over; the receipt, None: nothing is.

        Raises ``AccessError`` for a wrong key, ``RecordError`` and ``AuditError``.
        """
        if self._recorder is None or not await self._recorder.holds(session, key):
            return None
        return await self._erase(session)

    async def _erase(self, session: str) -> dict[str, Any]:
        erased = [] if self._recorder is None else await self._recorder.erase(session)
        parts = [asdict(part) for part in erased]
        receipt: dict[str, Any] = {"session": session, "at": now_iso(), "erased": parts}
        if self._audit is not None:
            entry = await self._audit.note("erased", session, by="person", erased=parts)
            receipt["audit"] = {"n": entry.number, "hash": entry.hash}
        return receipt

    def _check_room(self, room: str, address: str) -> None:
        """Raise ``BusyError`` when the server, the room or the address has all its calls."""
        limits = self._config.limits
        if self._closing:
            raise BusyError("this server is stopping", hint="try again when it is back")
        calls = self._calls.values()
        for what, n, most, key in (
            ("this server", len(calls), self._config.max_sessions, "max_sessions"),
            (
                "this room",
                sum(call.grant.room == room for call in calls),
                limits.calls_per_room,
                "limits.calls_per_room",
            ),
            (
                "your address",
                sum(call.address == address for call in calls),
                limits.calls_per_address,
                "limits.calls_per_address",
            ),
        ):
            if n >= most:
                raise BusyError(
                    f"{what} has as many calls as it may have ({most})",
                    hint=f"try again later, or raise {key}",
                )

    def _new_call(
        self,
        kinds: frozenset[Kind],
        consent: Consent,
        grant: Grant,
        address: str,
        source: Shared,
    ) -> Call:
        config = self._config
        many = source == "tab"
        if grant.published and config.whip is not None:
            many = config.whip.people == "many"
        expected = expected_modalities(consent, audio="audio" in kinds, video="video" in kinds)
        agreed = expected_modalities(consent, audio=True, video=True)
        needed: set[Kind] = {"video" if name == "face" else "audio" for name in agreed}
        self._people += 1
        person = f"p{self._people}"
        start = time.monotonic()
        feed = Feed(person)

        recorder = self._recorder if consent.record else None
        media = None
        if recorder is not None and consent.media and recorder.config.days.media > 0:
            media = MediaQueue(frozenset(needed & kinds))

        def new_peer(sink: Sink, kinds: frozenset[Kind]) -> Peer:
            return Peer(
                person,
                kinds,
                sink,
                fps=config.analysis.frames_per_second,
                max_width=config.many.max_width if many else config.analysis.max_width,
                ice_servers=ice_servers(config),
                start=start,
                keep=media.inlet() if media is not None else None,
            )

        within = 0.0 if grant.published else config.reconnect_within
        line = Line(feed, frozenset(needed), new_peer, within)
        session = Session(
            secrets.token_hex(16),  # command lines take no id that may begin with a hyphen
            person,
            config,
            consent,
            expected,
            self._engines,
            self._engines.threads,
            Flow.LIVE,
            lambda: time.monotonic() - start,
            source="whip" if grant.published else source,
            many=many,
            raw=recorder is not None,
        )
        feed.session = session
        if media is not None:
            media.paused = lambda: session.paused
        return Call(session, line, grant, address, recorder, media, shown=consent.room)

    async def _serve(self, call: Call, groups: Groups | None) -> None:
        how = "failed"
        try:
            with self._observer(call, groups) as observe:
                how = await call.run(observe)
        except Exception as error:  # one call never ends another
            log.error("call %s failed: %s", call.person, _kinds(error))
            log.debug("call %s failed", call.person, exc_info=error)
        finally:
            self._metrics.ended(call.tally(), how)
            if self._overload is not None:
                self._overload.ended(call)
            del self._calls[call.id]
            call.finished.set()
            await self._note_end(call, how)
            log.info("call of %s ended: %s", call.person, how)

    @contextmanager
    def _observer(self, call: Call, groups: Groups | None) -> Iterator[Callable[[Record], None]]:
        """What sees all records of a call: metrics and, where agreed to, the room."""
        grant = call.grant
        seen = [self._metrics.observe]
        with ExitStack() as stack:
            if groups is not None:
                identity = grant.subject or (grant.ticket.id if grant.ticket else call.id)
                member = stack.enter_context(
                    groups.counted(grant.room, identity, call.session.tell)
                )
                seen.append(member.see)
            if self.rooms is not None and call.shown:
                seen.append(stack.enter_context(self.rooms.shown(grant.room)).see)

            def observe(record: Record) -> None:
                for see in seen:
                    see(record)

            yield observe

    async def _note_end(self, call: Call, how: str) -> None:
        if self._audit is None:
            return
        try:
            await self._audit.note("ended", call.id, how=how)
        except (AuditError, AuditBroken) as error:
            log.error("the end of a call is not in the audit log: %s", type(error).__name__)


def _kinds(error: BaseException) -> str:
    """Names of errors inside groups; their texts may hold what people said."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(part) for part in error.exceptions)
    return type(error).__name__
