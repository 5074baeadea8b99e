"""What every request passes: rate, origin, errors as JSON, headers that browsers obey."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
from urllib.parse import SplitResult, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from stream.audit import AuditBroken, AuditError
from stream.call import BusyError
from stream.call_settings import SettingsError
from stream.card import CardError
from stream.errors import ConsentError, StreamError
from stream.limits import OfferError, Rate, TooLargeError
from stream.record_files import RecordError
from stream.tickets import AccessError

log = logging.getLogger(__name__)

MAX_BODY = 96 * 1024
"""Bytes of a request: an offer of the largest size, as JSON."""

REQUEST_S = 15.0
"""A request must have come in, and be answered, by then; only records take longer."""

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
HSTS = "max-age=31536000"

STATUS: tuple[tuple[type[StreamError], int], ...] = (
    (AccessError, 401),
    (ConsentError, 403),
    (TooLargeError, 413),
    (OfferError, 400),
    (SettingsError, 400),
    (RecordError, 404),
    (CardError, 404),
    (BusyError, 503),
    (AuditError, 503),
    (AuditBroken, 503),
)
HINTS = {
    403: "open the page at the address that the server printed",
    404: "the address is wrong, or what it named is over",
    405: "see the header Allow",
    408: f"a request must be complete within {REQUEST_S:.0f} s",
    413: f"a request may have {MAX_BODY // 1024} KB",
    415: "see docs/serving.md",
    426: "connect to it as a WebSocket",
    429: "wait as long as the header Retry-After says",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(text: str) -> str:
    """What a request names, for an answer: it may hold bytes that are no text."""
    return text[:200].encode("utf-8", "backslashreplace").decode()


def _parts(address: str) -> SplitResult:
    """Empty where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def only_own_page(*, loopback: bool) -> Middleware:
    """From a browser only the server's own page may use it; pages of other sites may not."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.host
        if loopback and not is_loopback(_parts(f"//{host}").hostname or ""):
            # a foreign name that was made to point here
            raise web.HTTPForbidden(text=f"this server is not {shown(host)}")
        origin = request.headers.get("Origin")
        foreign = origin is not None and _parts(origin).netloc != host
        if foreign and not request.path.startswith("/whip"):
            raise web.HTTPForbidden(text=f"pages of {shown(origin or '')} may not use this server")
        return await handler(request)

    return check


def limit_rate(requests: Rate, offers: Rate) -> Middleware:
    """Too many requests of one address are refused, offers sooner than others."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        address = request.remote or ""
        wait = requests.wait_s(address)
        offer = request.method == "POST" and not request.path.endswith("/withdraw")
        if not wait and offer:  # taking consent back waits for nobody's offers
            wait = offers.wait_s(address)
        if wait:
            raise web.HTTPTooManyRequests(
                text=f"too many requests from {address}",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        if request.method == "GET":
            return await handler(request)
        try:
            async with asyncio.timeout(REQUEST_S):
                return await handler(request)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the request took too long") from None

    return check


@web.middleware
async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as ``{"error", "hint"}``."""
    try:
        return await handler(request)
    except StreamError as error:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        headers = {}
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="lddu-live"'
        if status == 503:
            headers["Retry-After"] = "10"
        return problem(status, error.message, error.hint, headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        text = error.text or error.reason
        kept = {key: error.headers[key] for key in ("Allow", "Retry-After") if key in error.headers}
        return problem(error.status, text, HINTS.get(error.status, ""), kept)
    except web.RequestPayloadError:
        hint = "send it as it is, and as long as it says"
        return problem(400, "the body of the request cannot be read", hint, {})
    except Exception as error:  # the boundary of a request
        if isinstance(error, ConnectionError) and request.transport is None:
            return problem(400, "the client has left", "", {})  # to nobody
        log.error("%s %s failed: %s", request.method, request.path, type(error).__name__)
        log.debug("request failed", exc_info=error)
        return problem(500, "the server failed", "look at its messages, then try again", {})


def problem(status: int, error: str, hint: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": error, "hint": hint}, status=status, headers=headers)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
