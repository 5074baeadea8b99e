"""The HTTP application: page, signalling, records, health and metrics."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from stream.call import BusyError, Call
from stream.calls import Calls
from stream.config import CONSENT_VERSION, Consent, Section, ServeConfig
from stream.errors import ConsentError, StreamError
from stream.metrics import Metrics
from stream.records import SCHEMA
from stream.webrtc import OfferError
from stream.whip import TokenError, Whip, events_path

log = logging.getLogger(__name__)

WEB = Path(__file__).parent / "web"
MAX_BODY = 64 * 1024
"""Bytes of a request; an offer of a browser has 5-10 KB."""

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Cache-Control": "no-cache",
}
STATUS: tuple[tuple[type[StreamError], int], ...] = (
    (TokenError, 401),
    (ConsentError, 403),
    (OfferError, 400),
    (BusyError, 503),
)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OfferRequest(Section):
    """The body of ``POST /api/offer``."""

    sdp: str
    type: Literal["offer"]
    purpose: str
    consent: Consent


def build(
    config: ServeConfig, calls: Calls, metrics: Metrics, labels: tuple[str, ...], *, loopback: bool
) -> web.Application:
    """The application; `loopback`: it listens on loopback only."""
    server = Server(config, calls, metrics, labels)
    whip = Whip(config, calls)
    server.check_token = whip.check_token
    guards = [_answer_in_json, _only_own_page(loopback=loopback)]
    app = web.Application(middlewares=guards, client_max_size=MAX_BODY)
    app.on_response_prepare.append(_add_headers)
    whip.add_routes(app)
    app.router.add_get("/", server.page)
    app.router.add_static("/static", WEB)
    app.router.add_get("/api/config", server.config)
    app.router.add_post("/api/offer", server.offer)
    app.router.add_delete("/api/sessions/{id}", server.hang_up)
    app.router.add_get("/api/sessions/{id}/events", server.events)
    app.router.add_get("/healthz", server.health)
    app.router.add_get("/metrics", server.metrics)
    return app


class Server:
    """Handlers of requests."""

    def __init__(
        self, config: ServeConfig, calls: Calls, metrics: Metrics, labels: tuple[str, ...]
    ) -> None:
        self._config = config
        self._calls = calls
        self._metrics = metrics
        self._labels = labels
        self._started = time.monotonic()
        self.check_token: Callable[[web.Request], object] = lambda _: None

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html")

    async def config(self, _: web.Request) -> web.Response:
        config = self._config
        words = ["words"] if config.analysis.words else []
        return web.json_response(
            {
                "schema": SCHEMA,
                "labels": self._labels,
                "purpose": config.purpose,
                "consent_version": CONSENT_VERSION,
                "record": None if config.record is None else config.record.days.model_dump(),
                "ice_servers": [{"urls": url} for url in config.ice_servers],
                "video": {"width": 640, "height": 360, "frame_rate": 30},
                "analysis_fps": config.analysis.frames_per_second,
                "window_s": config.window.width,
                "hop_s": config.window.hop,
                "modalities": ["face", "voice", *words],
            }
        )

    async def offer(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(
                text=f"an offer is application/json, not {request.content_type}"
            )
        try:
            asked = OfferRequest.model_validate_json(await request.read())
        except ValidationError as error:
            raise OfferError(
                f"the request is not an offer: {_explain(error)}",
                hint='send {"sdp", "type": "offer", "purpose", "consent": {"version", ...}}',
            ) from None
        call, answer = await self._calls.start(asked.sdp, asked.purpose, asked.consent)
        return web.json_response(
            {
                "sdp": answer,
                "type": "answer",
                "session": call.id,
                "person": call.person,
                "events": events_path(call.id),
            }
        )

    async def hang_up(self, request: web.Request) -> web.Response:
        self._call(request).hang_up("left")
        return web.Response(status=204)

    async def events(self, request: web.Request) -> web.WebSocketResponse:
        call = self._call(request)
        socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=1024)
        if not socket.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(text="records come over a WebSocket")  # 426
        await socket.prepare(request)
        reading = asyncio.ensure_future(_read_until_closed(socket))
        sending = asyncio.ensure_future(call.send_all(_sender(socket)))
        try:
            await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
            busy = sending.exception() if sending.done() else None
            code = WSCloseCode.TRY_AGAIN_LATER if isinstance(busy, BusyError) else WSCloseCode.OK
            await socket.close(code=code)
        finally:
            for task in (reading, sending):
                task.cancel()
            await asyncio.gather(reading, sending, return_exceptions=True)
        return socket

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "status": "ok",
                "calls": len(self._calls),
                "uptime_s": round(time.monotonic() - self._started, 1),
                "version": metadata.version("lddu-live"),
            }
        )

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    def _call(self, request: web.Request) -> Call:
        call = self._calls.get(request.match_info["id"])
        if call is None:
            raise web.HTTPNotFound(text="there is no such call; it may be over")
        if call.token:
            self.check_token(request)
        return call


def _sender(socket: web.WebSocketResponse) -> Callable[[str], Awaitable[bool]]:
    async def send(text: str) -> bool:
        if socket.closed:
            return False
        try:
            await socket.send_str(text)
        except ConnectionError:
            return False
        return True

    return send


async def _read_until_closed(socket: web.WebSocketResponse) -> None:
    """Nothing is expected; reading answers pings and sees the close."""
    async for _ in socket:
        pass


def _only_own_page(*, loopback: bool) -> Middleware:
    """From a browser only the server's own page may use it; pages of other sites may not."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.host
        if loopback and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            # a foreign name that was made to point here
            raise web.HTTPForbidden(text=f"this server is not {host}")
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        if foreign and not request.path.startswith("/whip"):
            raise web.HTTPForbidden(text=f"pages of {origin} may not use this server")
        return await handler(request)

    return check


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as ``{"error", "hint"}``."""
    try:
        return await handler(request)
    except StreamError as error:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        headers = {}
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="whip"'
        if status == 503:
            headers["Retry-After"] = "10"
        return _problem(status, error.message, error.hint, headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        text = error.text or error.reason
        kept = {key: error.headers[key] for key in ("Allow",) if key in error.headers}
        return _problem(error.status, text, HINTS.get(error.status, ""), kept)
    except Exception as error:  # the boundary of a request
        log.error("%s %s failed: %s", request.method, request.path, type(error).__name__)
        log.debug("request failed", exc_info=error)
        return _problem(500, "the server failed", "look at its messages, then try again", {})


HINTS = {
    404: "the address is wrong, or what it named is over",
    405: "see the header Allow",
    413: f"a request may have {MAX_BODY // 1024} KB",
    415: "see docs/serving.md",
}


def _problem(status: int, error: str, hint: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": error, "hint": hint}, status=status, headers=headers)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)


def _explain(error: ValidationError) -> str:
    items: list[Any] = error.errors(include_input=False, include_url=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in items
    )
