"""The HTTP application: page, signalling, records, health and metrics."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from aiohttp import web
from pydantic import Field, ValidationError

from stream.access import Gate, bearer, same
from stream.call import Call, send_all
from stream.call_settings import MAX_SENSITIVITY, CallSettings, explain
from stream.calls import Calls, Shared
from stream.card import card_page, limits, read_card
from stream.config import CONSENT_VERSION, Consent, ServeConfig
from stream.doors import Doors
from stream.engines import checkpoint_of
from stream.group import Groups
from stream.guards import MAX_BODY, add_headers, answer_in_json, limit_rate, only_own_page
from stream.limits import OfferError, Rate
from stream.metrics import Metrics
from stream.notice import NOTICE_TITLE, notice, page
from stream.record_types import SCHEMA
from stream.sections import Section
from stream.smoothing import FILTERS
from stream.sockets import keys, send_records
from stream.tickets import AccessError
from stream.turn import ice_servers
from stream.whip import Whip, events_path
from workers.messages import Modality

TAB_RATE = 15
"""Pictures per second that are asked of a shared tab."""

WEB = Path(__file__).parent / "web"


class OfferRequest(Section):
    """The body of ``POST /api/offer``."""

    sdp: str
    type: Literal["offer"]
    purpose: str
    consent: Consent
    settings: CallSettings | None = None
    source: Shared = "camera"


class WithdrawRequest(Section):
    """The body of ``POST /api/sessions/ID/withdraw``, where not all consent is taken back."""

    of: Annotated[tuple[Modality, ...], Field(strict=False, min_length=1)]


class ResumeRequest(Section):
    """The body of ``POST /api/sessions/ID/offer``."""

    sdp: str
    type: Literal["offer"]


def build(
    config: ServeConfig,
    calls: Calls,
    metrics: Metrics,
    labels: tuple[str, ...],
    groups: Groups | None = None,
    doors: Doors | None = None,
    *,
    loopback: bool,
) -> web.Application:
    """The application; `loopback`: it listens on loopback only."""
    whip = Whip(config, calls)
    server = Server(config, calls, metrics, labels, whip, groups)
    limits = config.limits
    requests = Rate(limits.requests_per_second, 2 * limits.requests_per_second)
    offers = Rate(limits.offers_per_minute / 60, limits.offers_per_minute)
    passed = [answer_in_json, only_own_page(loopback=loopback), limit_rate(requests, offers)]
    if doors is not None:
        passed = [doors.middleware(), *passed]
    app = web.Application(middlewares=passed, client_max_size=MAX_BODY)
    app.on_response_prepare.append(add_headers)
    whip.add_routes(app)
    app.router.add_get("/", server.page)
    app.router.add_get("/notice", server.notice)
    app.router.add_get("/card", server.card)
    app.router.add_get("/obs", server.obs)
    app.router.add_get("/room", server.room_page)
    app.router.add_static("/static", WEB)
    app.router.add_get("/api/config", server.config)
    app.router.add_post("/api/offer", server.offer)
    app.router.add_post("/api/sessions/{id}/offer", server.resume)
    app.router.add_delete("/api/sessions/{id}", server.hang_up)
    app.router.add_patch("/api/sessions/{id}/settings", server.settings)
    app.router.add_post("/api/sessions/{id}/withdraw", server.withdraw)
    app.router.add_get("/api/sessions/{id}/events", server.events)
    app.router.add_get("/api/rooms/{room}/group", server.group)
    app.router.add_get("/api/rooms/{room}/events", server.room)
    app.router.add_get("/healthz", server.health)
    app.router.add_get("/metrics", server.metrics)
    return app


class Server:
    """Handlers of requests."""

    def __init__(
        self,
        config: ServeConfig,
        calls: Calls,
        metrics: Metrics,
        labels: tuple[str, ...],
        whip: Whip,
        groups: Groups | None,
    ) -> None:
        self._config = config
        self._calls = calls
        self._metrics = metrics
        self._labels = labels
        self._started = time.monotonic()
        self._whip = whip
        self._groups = groups
        self._gate = Gate(config.access)

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html")

    async def notice(self, _: web.Request) -> web.Response:
        text = page(NOTICE_TITLE, notice(self._config))
        return web.Response(text=text, content_type="text/html")

    async def card(self, request: web.Request) -> web.Response:
        """The model card; with ``?part=limits`` what limits the model."""
        card = read_card(checkpoint_of(self._config))
        if request.query.get("part") == "limits":
            card = limits(card)
        return web.Response(text=card_page(card), content_type="text/html")

    async def obs(self, _: web.Request) -> web.FileResponse:
        """The transparent page for browser sources of OBS."""
        return web.FileResponse(WEB / "obs.html")

    async def room_page(self, _: web.Request) -> web.FileResponse:
        """The group view of a room, for who is not in it."""
        return web.FileResponse(WEB / "room.html")

    async def config(self, request: web.Request) -> web.Response:
        self._gate.admit(request.headers.get("Authorization"))
        config = self._config
        return web.json_response(
            {
                "schema": SCHEMA,
                "labels": self._labels,
                "purpose": config.purpose,
                "consent_version": CONSENT_VERSION,
                "record": None if config.record is None else config.record.days.model_dump(),
                "group": None if config.group is None else config.group.model_dump(),
                "ice_servers": [
                    {key: value for key, value in asdict(server).items() if value is not None}
                    for server in ice_servers(config)
                ],
                "video": {"width": 640, "height": 360, "frame_rate": 30},
                "tab": {"width": config.many.max_width, "frame_rate": TAB_RATE},
                "room_view": config.room_view,
                "analysis_fps": config.analysis.frames_per_second,
                "window_s": config.window.width,
                "hop_s": config.window.hop,
                "modalities": config.modalities,
                "reconnect_within": config.reconnect_within,
                "smoothing": {"default": config.smoothing.filter, "choices": FILTERS},
                "max_sensitivity": MAX_SENSITIVITY,
            }
        )

    async def offer(self, request: web.Request) -> web.Response:
        grant = self._gate.admit(request.headers.get("Authorization"))
        hint = 'send {"sdp", "type": "offer", "purpose", "consent": {"version", ...}}'
        asked = await _read_offer(request, OfferRequest, hint)
        await self._gate.spend(grant)
        try:
            call, answer = await self._calls.start(
                asked.sdp,
                asked.purpose,
                asked.consent,
                grant,
                request.remote or "",
                asked.settings,
                asked.source,
            )
        except BaseException:
            await self._gate.give_back(grant)
            raise
        return web.json_response(
            {
                "sdp": answer,
                "type": "answer",
                "session": call.id,
                "key": call.key,
                "person": call.person,
                "events": events_path(call.id),
                "load": call.session.load,
            }
        )

    async def resume(self, request: web.Request) -> web.Response:
        """Take up a call again whose connection was lost."""
        call = self._call(request)
        asked = await _read_offer(request, ResumeRequest, 'send {"sdp", "type": "offer"}')
        answer = await self._calls.resume(call, asked.sdp)
        return web.json_response({"sdp": answer, "type": "answer"})

    async def hang_up(self, request: web.Request) -> web.Response:
        self._call(request).hang_up("left")
        return web.Response(status=204)

    async def settings(self, request: web.Request) -> web.Response:
        """Change what a running call has set for itself; all of its settings."""
        session = self._call(request).session
        session.set(session.settings.changed(await request.read()))
        return web.json_response(session.settings.model_dump())

    async def withdraw(self, request: web.Request) -> web.Response:
        """Consent is taken back: the call ends at once and leaves nothing but a receipt.

        With a body that names modalities, the call goes on without these.
        """
        body = await request.read()
        if body:
            try:
                less = WithdrawRequest.model_validate_json(body)
            except ValidationError as error:
                raise OfferError(
                    f"the request is not a withdrawal: {explain(error)}",
                    hint='send {"of": ["voice"]}, or nothing to take back all consent',
                ) from None
            call = self._call(request)
            return web.json_response(await self._calls.withdraw_some(call, frozenset(less.of)))
        name = request.match_info["id"]
        if self._calls.get(name) is None:
            key = bearer(request.headers.get("Authorization"))
            receipt = await self._calls.erase(name, key)
            if receipt is not None:
                return web.json_response(receipt)
        return web.json_response(await self._calls.withdraw(self._call(request)))

    async def events(self, request: web.Request) -> web.WebSocketResponse:
        call = self._call(request)
        return await send_records(request, call.send_all)

    async def group(self, request: web.Request) -> web.WebSocketResponse:
        """What a room looks like, for those who may be in it."""
        if self._groups is None:
            raise web.HTTPNotFound(text="this server has no group view")
        room = request.match_info["room"]
        self._gate.check_room(keys(request), room)
        with self._groups.read(room) as records:
            return await send_records(request, partial(send_all, records))

    async def room(self, request: web.Request) -> web.WebSocketResponse:
        """The records of everybody in a room who agreed to it, for those who may be in it."""
        rooms = self._calls.rooms
        if rooms is None:
            raise web.HTTPNotFound(text="on this server everybody sees only their own estimates")
        room = request.match_info["room"]
        self._gate.check_room(keys(request), room)
        with rooms.read(room) as records:
            return await send_records(request, partial(send_all, records))

    async def health(self, request: web.Request) -> web.Response:
        status, code = ("stopping", 503) if self._calls.closing else ("ok", 200)
        if not self._gate.is_operator(request.headers.get("Authorization")):
            return web.json_response({"status": status}, status=code)
        return web.json_response(
            {
                "status": status,
                "calls": len(self._calls),
                "uptime_s": round(time.monotonic() - self._started, 1),
                "version": metadata.version("lddu-live"),
            },
            status=code,
        )

    async def metrics(self, request: web.Request) -> web.Response:
        self._gate.check_metrics(request.headers.get("Authorization"))
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    def _call(self, request: web.Request) -> Call:
        call = self._calls.get(request.match_info["id"])
        if call is None:
            raise web.HTTPNotFound(text="there is no such call; it may be over")
        if any(same(key, call.key) for key in keys(request)):
            return call
        if not call.grant.published:
            raise AccessError(
                "the key of the session is missing or wrong",
                hint="send the header Authorization: Bearer with the key that answered the offer",
            )
        self._whip.check_token(request)
        return call


Asked = TypeVar("Asked", OfferRequest, ResumeRequest)


async def _read_offer(request: web.Request, kind: type[Asked], hint: str) -> Asked:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(
            text=f"an offer is application/json, not {request.content_type}"
        )
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as error:
        raise OfferError(f"the request is not an offer: {explain(error)}", hint=hint) from None
