"""Records over a WebSocket: one JSON text each, and nothing the other way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import WSCloseCode, web

from stream.access import bearer
from stream.call import BusyError

RECORDS_PROTOCOL = "lddu.records"
"""WebSocket subprotocol; a key or ticket may be offered beside it."""

Send = Callable[[str], Awaitable[bool]]
"""Sends one text; False: the reader is gone."""


def keys(request: web.Request) -> list[str]:
    """What the client offers as key, ticket or token.

    A browser cannot send ``Authorization`` with a WebSocket, but it can name subprotocols.
    """
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return [bearer(request.headers.get("Authorization")), *(name.strip() for name in offered)]


async def send_records(
    request: web.Request, send_all: Callable[[Send], Awaitable[None]]
) -> web.WebSocketResponse:
    """Run `send_all` until it is through or the reader has left."""
    socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=1024, protocols=(RECORDS_PROTOCOL,))
    if not socket.can_prepare(request).ok:
        raise web.HTTPUpgradeRequired(text="records come over a WebSocket")  # 426
    await socket.prepare(request)
    reading = asyncio.ensure_future(_read_until_closed(socket))
    sending = asyncio.ensure_future(send_all(_sender(socket)))
    try:
        await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
        await socket.close(code=_close_code(reading, sending))
    finally:
        for task in (reading, sending):
            task.cancel()
        await asyncio.gather(reading, sending, return_exceptions=True)
    return socket


def _close_code(reading: asyncio.Future[bool], sending: asyncio.Future[None]) -> WSCloseCode:
    """Why the server closes the socket."""
    if reading.done() and not reading.cancelled() and reading.result():
        return WSCloseCode.POLICY_VIOLATION
    if sending.done() and isinstance(sending.exception(), BusyError):
        return WSCloseCode.TRY_AGAIN_LATER
    return WSCloseCode.OK


def _sender(socket: web.WebSocketResponse) -> Send:
    async def send(text: str) -> bool:
        if socket.closed:
            return False
        try:
            await socket.send_str(text)
        except ConnectionError:
            return False
        return True

    return send


async def _read_until_closed(socket: web.WebSocketResponse) -> bool:
    """Reading answers pings and sees the close. True: something came, though nothing may."""
    async for _ in socket:
        return True
    return False
