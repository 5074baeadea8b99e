"""WHIP (RFC 9725): publish from OBS, FFmpeg and the like with one HTTP request and a token.

Nobody can be asked for consent here: who configures the token states what the people in the
published media agreed to.
"""

from __future__ import annotations

from aiohttp import web

from stream.access import Grant, same
from stream.calls import Calls
from stream.config import ServeConfig, WhipConfig
from stream.sockets import keys
from stream.tickets import AccessError

SDP = "application/sdp"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Location, Link, ETag",
}
"""Any page may publish that has the token; no cookie is involved."""


def events_path(name: str) -> str:
    """Where the records of a call are."""
    return f"/api/sessions/{name}/events"


class Whip:
    """Routes under ``/whip``, and the list of what is published."""

    def __init__(self, config: ServeConfig, calls: Calls) -> None:
        self._purpose = config.purpose
        self._config = config.whip
        self._calls = calls

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/whip", self._publish)
        app.router.add_options("/whip", self._options)
        app.router.add_delete("/whip/{id}", self._stop)
        app.router.add_options("/whip/{id}", self._options)
        app.router.add_patch("/whip/{id}", self._patch)
        app.router.add_get("/api/sessions", self._list)

    def check_token(self, request: web.Request) -> WhipConfig:
        """Raise ``AccessError`` unless `request` presents the token."""
        if self._config is None:
            raise AccessError(
                "this server takes no published media",
                hint="set [whip] token and consent in its configuration",
            )
        if not any(same(key, self._config.token) for key in keys(request)):
            raise AccessError(
                "the bearer token is missing or wrong",
                hint="send the header Authorization: Bearer with the token of the configuration",
            )
        return self._config

    async def _publish(self, request: web.Request) -> web.Response:
        config = self.check_token(request)
        if request.content_type != SDP:
            raise web.HTTPUnsupportedMediaType(
                text=f"an offer is {SDP}, not {request.content_type}"
            )
        offer = (await request.read()).decode("utf-8", errors="replace")
        grant = Grant(room="whip", published=True)
        call, answer = await self._calls.start(
            offer, self._purpose, config.consent, grant, request.remote or ""
        )
        headers = {
            "Location": f"/whip/{call.id}",
            "Link": f'<{events_path(call.id)}>; rel="events"',
            "ETag": f'"{call.id}"',
            **CORS,
        }
        return web.Response(status=201, text=answer, content_type=SDP, headers=headers)

    async def _list(self, request: web.Request) -> web.Response:
        """Published calls: few publishers tell what name their call got."""
        self.check_token(request)
        calls = [call for call in self._calls.all() if call.grant.published]
        return web.json_response(
            {
                "sessions": [
                    {"session": call.id, "person": call.person, "events": events_path(call.id)}
                    for call in calls
                ]
            }
        )

    async def _stop(self, request: web.Request) -> web.Response:
        self.check_token(request)
        call = self._calls.get(request.match_info["id"])
        if call is None or not call.grant.published:
            raise web.HTTPNotFound(text="there is no such published call")
        call.hang_up("left")
        return web.Response(headers=CORS)

    async def _patch(self, request: web.Request) -> web.Response:
        """Trickle ICE and ICE restarts are optional; without both a server says 501."""
        self.check_token(request)
        raise web.HTTPNotImplemented(text="all candidates must be in the offer")

    async def _options(self, request: web.Request) -> web.Response:
        accept = {"Accept-Post": SDP} if request.path == "/whip" else {}
        return web.Response(status=204, headers={**CORS, **accept})
