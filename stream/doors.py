"""Connections to the HTTP server: how many there may be, and how long one may take to say anything.

aiohttp waits for the first request of a connection for ever, and takes as many as there are
descriptors: whoever opens many and sends their headers slowly keeps everybody else out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from socket import socket

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from stream.limits import network

HEADERS_S = 10.0
"""By then the first request of a connection must have all its headers, TLS included."""

KEEP_ALIVE_S = 30.0
"""And so long after an answer the next one."""

MAX_CONNECTIONS = 1024

BACKLOG = 128


class Doors:
    """Lets connections in to the handlers that `new_handler` makes.

    ``counts`` has what was refused: ``too_many``, ``too_many_of_address``, ``too_slow``.
    """

    def __init__(
        self, per_address: int, *, most: int = MAX_CONNECTIONS, headers_s: float = HEADERS_S
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._per_address = per_address
        self._most = most
        self._headers_s = headers_s
        self._inside: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._by_address: Counter[str] = Counter()

    async def open(
        self,
        new_handler: Callable[[], asyncio.Protocol],
        listening: socket,
        context: ssl.SSLContext | None,
    ) -> asyncio.Server:
        """Accept connections on `listening` from now on."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: _Door(self, new_handler()),
            sock=listening,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=None if context is None else self._headers_s,
        )

    def middleware(self) -> Middleware:
        """Notices that a request has come in."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            timer = self._inside.get(request.transport) if request.transport else None
            if timer is not None:
                timer.cancel()
            return await handler(request)

        return note

    def enter(self, transport: asyncio.Transport) -> str | None:
        """Count a connection; its address as limits count it. None: it may not come in."""
        name = transport.get_extra_info("peername")
        address = network(str(name[0])) if name else ""
        why = None
        if len(self._inside) >= self._most:
            why = "too_many"
        elif self._by_address[address] >= self._per_address:
            why = "too_many_of_address"
        if why is not None:
            self.counts[why] += 1
            return None
        loop = asyncio.get_running_loop()
        self._by_address[address] += 1
        self._inside[transport] = loop.call_later(self._headers_s, self._too_slow, transport)
        return address

    def leave(self, transport: asyncio.Transport, address: str) -> None:
        """A connection that came in is over."""
        self._inside.pop(transport).cancel()
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def __len__(self) -> int:
        return len(self._inside)

    def _too_slow(self, transport: asyncio.Transport) -> None:
        self.counts["too_slow"] += 1
        transport.abort()


class _Door(asyncio.Protocol):
    """One connection, in front of its handler; mute when it may not come in."""

    def __init__(self, doors: Doors, handler: asyncio.Protocol) -> None:
        self._doors = doors
        self._handler = handler
        self._address: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = self._doors.enter(transport)
        if self._address is None:
            transport.abort()
        else:
            self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None and self._transport is not None:
            self._doors.leave(self._transport, self._address)
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._address is not None:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._address is not None else None

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
