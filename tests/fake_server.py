"""A server that serves the real page and sends whatever records a test wants to see in it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription

import stream
from stream.card import card_page, limits, read_card
from stream.engines import SHIPPED_CHECKPOINT

T = TypeVar("T")
WEB = Path(stream.__file__).parent / "web"
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
CONFIG: dict[str, Any] = {
    "schema": 1,
    "labels": LABELS,
    "purpose": "self_view",
    "consent_version": "2",
    "ice_servers": [],
    "video": {"width": 640, "height": 360, "frame_rate": 30},
    "tab": {"width": 1280, "frame_rate": 15},
    "analysis_fps": 10,
    "window_s": 3.0,
    "hop_s": 0.25,
    "modalities": ["face", "voice", "words"],
    "record": None,
    "group": None,
    "smoothing": {"default": "hmm", "choices": ["hmm", "ema", "raw"]},
    "max_sensitivity": 2.0,
}
HELLO = {
    "type": "hello",
    "schema": 1,
    "session": "s1",
    "person": "p1",
    "labels": LABELS,
    "purpose": "self_view",
    "consent": {"version": "2", "face": True, "voice": True, "words": True},
    "notice": "",
    "window_s": 3.0,
    "hop_s": 0.25,
}
HEADERS = {"Content-Security-Policy": "default-src 'self'"}


def state(index: int, reason: str | None = None, **statuses: str) -> dict[str, Any]:
    """A state record; labels that are not named are inactive."""
    probability = {"active": 0.82, "unsure": 0.55, "inactive": 0.08}
    labels = {}
    for name in LABELS:
        status = statuses.get(name, "inactive")
        p = probability[status]
        interval = [round(p - 0.07, 2), round(p + 0.09, 2)]
        labels[name] = {"probability": p, "variance": 0.4, "interval": interval, "status": status}
    return {
        "type": "state",
        "t": 3.0 + index * 0.25,
        "person": "p1",
        "index": index,
        "revision": 0,
        "complete": True,
        "labels": labels,
        "reason": reason,
        "reasons": [reason] if reason else [],
        "variance_trusted": True,
        "lag_s": 0.2,
    }


def event(kind: str, label: str, onset: float, t: float, **more: Any) -> dict[str, Any]:
    return {
        "type": "event",
        "kind": kind,
        "t": t,
        "person": "p1",
        "label": label,
        "onset": onset,
        "peak": {"t": (onset + t) / 2, "probability": 0.91},
        "withdrawn": False,
        "smoothed": False,
        "lag_s": 0.2,
        **more,
    }


def transcript(t0: float, text: str) -> dict[str, Any]:
    words = [
        {"t0": t0 + 0.2 * i, "t1": t0 + 0.2 * (i + 1), "text": word, "probability": 0.9}
        for i, word in enumerate(text.split())
    ]
    return {
        "type": "transcript",
        "person": "p1",
        "t0": t0,
        "t1": t0 + 0.2 * len(words),
        "text": text,
        "language": "en",
        "words": words,
        "lag_s": 0.8,
    }


class FakeServer:
    """Runs in a thread of its own; its media are negotiated for real, but not sent."""

    def __init__(self) -> None:
        self.config = dict(CONFIG)
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.channels = True
        """False: the data channel is closed at once, so that the page needs its WebSocket."""
        self.offers: list[dict[str, Any]] = []
        self.presented: list[str | None] = []
        """What came as Authorization with requests for settings and with offers."""
        self.resumed: list[str | None] = []
        """What came as Authorization with offers that take the session up again."""
        self.resume_refusal: int | None = None
        self.deleted: list[str] = []
        self.withdrawn: list[str] = []
        self.without: list[str] = []
        """Modalities that were withdrawn alone."""
        self.settings: list[dict[str, Any]] = []
        """Changes that the page asked for."""
        self.sockets: list[web.WebSocketResponse] = []
        self.url = ""
        self._peers: list[RTCPeerConnection] = []
        self._channels: list[Any] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake server")
        self._runner: web.AppRunner | None = None

    def start(self) -> None:
        self._thread.start()
        self._do(self._start())

    def close(self) -> None:
        self.stop_serving()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, *records: dict[str, Any]) -> None:
        """Send records to every open session."""
        self._do(self._send(records))

    def stop_serving(self) -> None:
        """Vanish, as a server that was killed."""
        self._do(self._stop())

    def cut(self) -> None:
        """Nothing gets through any more over any media connection, and nobody is told."""
        self._do(self._cut())

    @property
    def connected(self) -> bool:
        return bool(self.sockets) or any(c.readyState == "open" for c in self._channels)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/obs", self._obs)
        app.router.add_get("/room", self._room)
        app.router.add_get("/card", self._card)
        app.router.add_get("/static/{name:.+}", self._static)
        app.router.add_get("/api/config", self._config)
        app.router.add_post("/api/offer", self._offer)
        app.router.add_post("/api/sessions/{id}/offer", self._resume)
        app.router.add_delete("/api/sessions/{id}", self._delete)
        app.router.add_patch("/api/sessions/{id}/settings", self._settings)
        app.router.add_post("/api/sessions/{id}/withdraw", self._withdraw)
        app.router.add_get("/api/sessions/{id}/events", self._events)
        app.router.add_get("/api/rooms/{room}/group", self._group)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        for peer in self._peers:
            await peer.close()
        self._peers.clear()
        for socket in self.sockets:
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _cut(self) -> None:
        for peer in self._peers:
            for transceiver in peer.getTransceivers():
                for protocol in transceiver.receiver.transport.transport._connection._protocols:
                    protocol.transport.abort()
        self._channels.clear()

    async def _send(self, records: tuple[dict[str, Any], ...]) -> None:
        for record in records:
            text = json.dumps(record)
            for channel in self._channels:
                if channel.readyState == "open":
                    channel.send(text)
            for socket in self.sockets:
                await socket.send_str(text)

    async def _page(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers=HEADERS)

    async def _obs(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "obs.html", headers=HEADERS)

    async def _room(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "room.html", headers=HEADERS)

    async def _card(self, request: web.Request) -> web.Response:
        card = read_card(SHIPPED_CHECKPOINT)
        card = limits(card) if request.query.get("part") == "limits" else card
        return web.Response(text=card_page(card), content_type="text/html", headers=HEADERS)

    async def _static(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / request.match_info["name"], headers=HEADERS)

    async def _config(self, request: web.Request) -> web.Response:
        self.presented.append(request.headers.get("Authorization"))
        return web.json_response(self.config)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _offer(self, request: web.Request) -> web.Response:
        self.presented.append(request.headers.get("Authorization"))
        offer = await request.json()
        self.offers.append(offer)
        if self.refusal is not None:
            status, body = self.refusal
            return web.json_response(body, status=status)
        answer = await self._answer(offer)
        started = {
            "session": "s1",
            "key": "k1",
            "person": "p1",
            "events": "/api/sessions/s1/events",
        }
        return web.json_response({**answer, **started})

    async def _resume(self, request: web.Request) -> web.Response:
        assert request.match_info["id"] == "s1"
        self.resumed.append(request.headers.get("Authorization"))
        if self.resume_refusal is not None:
            return web.json_response({"error": "no"}, status=self.resume_refusal)
        return web.json_response(await self._answer(await request.json()))

    async def _answer(self, offer: dict[str, Any]) -> dict[str, str]:
        peer = RTCPeerConnection()
        self._peers.append(peer)

        @peer.on("datachannel")
        def _channel(channel: Any) -> None:
            if self.channels:
                self._channels.append(channel)
            else:
                channel.close()

        await peer.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
        for transceiver in peer.getTransceivers():
            transceiver.direction = "inactive"
        await peer.setLocalDescription(await peer.createAnswer())
        local = peer.localDescription
        return {"sdp": local.sdp, "type": local.type}

    async def _delete(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer k1"
        self.deleted.append(request.match_info["id"])
        return web.Response(status=204)

    async def _settings(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer k1"
        self.settings.append(await request.json())
        return web.json_response(self.settings[-1])

    async def _withdraw(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer k1"
        body = await request.read()
        if body:
            self.without += json.loads(body)["of"]
            agreed = self.offers[-1]["consent"] | dict.fromkeys(self.without, False)
            return web.json_response({"session": "s1", "consent": agreed})
        self.withdrawn.append(request.match_info["id"])
        erased = [{"artefact": "estimates", "bytes": 900, "lines": 7, "sha256": "0" * 64}]
        audit = {"n": 3, "hash": "abcdef012345" + "0" * 52}
        return web.json_response({"session": "s1", "at": "", "erased": erased, "audit": audit})

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        return await self._records(request, "k1")

    async def _group(self, request: web.Request) -> web.WebSocketResponse:
        assert request.match_info["room"] == "r 1"
        return await self._records(request, "t1")

    async def _records(self, request: web.Request, key: str) -> web.WebSocketResponse:
        assert request.headers["Sec-WebSocket-Protocol"] == f"lddu.records, {key}"
        socket = web.WebSocketResponse(protocols=("lddu.records",))
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        self.sockets.remove(socket)
        return socket


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    server = FakeServer()
    server.start()
    try:
        yield server
    finally:
        server.close()
