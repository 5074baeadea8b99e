"""A real server on a free port, with cheap engines, in the event loop of a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender

from lddu_model import FeatureSpec, ModalitySpec
from stream.config import ServeConfig
from stream.engines import Engines, Threads
from stream.serve import listen, page_url, serve
from tests import synthetic
from tests.webrtc_peers import accept, new_sender, offer_of, until
from workers.face import FEATURE_NAMES
from workers.filters import Float64
from workers.infer import InferenceEngine
from workers.remote import Remote

AGREED = {
    "version": "2",
    "face": True,
    "voice": True,
    "words": True,
    "record": False,
    "media": False,
    "group": False,
    "room": False,
}


class Model(synthetic.Model):
    thresholds = (0.5,) * 6
    spec = FeatureSpec(
        name="test",
        modalities=(
            ModalitySpec("words", 2, 20, None, "test", ""),
            ModalitySpec("voice", 1, 30, 10.0, "test", ""),
            ModalitySpec("face", len(FEATURE_NAMES), 30, 10.0, "test", ""),
        ),
        window_s=3.0,
    )


@dataclass
class CheapEngines(synthetic.Engines):
    model: Model = field(default_factory=Model)
    threads: Threads = field(default_factory=Threads)
    prior: Float64 = field(default_factory=lambda: np.zeros(6))
    workers: dict[str, Remote] = field(default_factory=dict)

    def close(self) -> None:
        self.threads.close()


def cheap_engines() -> Engines:
    threads = Threads()
    inference = InferenceEngine(Model(), threads.predict)
    return cast("Engines", CheapEngines(inference, threads=threads))


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[str]:
    """The address of a server with the default configuration and `changes`."""
    config = ServeConfig.model_validate({"port": 0, **changes})
    stop, ready = asyncio.Event(), asyncio.Event()
    engines = cheap_engines()
    with listen(config.host, config.port) as listening:
        server = asyncio.create_task(serve(config, engines, listening, stop, ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([server, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if not server.done():
                yield page_url(config, listening).rstrip("/")
        finally:
            stop.set()
            await server
            engines.close()


@dataclass
class Caller:
    """What a page does, without a browser."""

    http: ClientSession
    sender: RTCPeerConnection
    session: str = ""
    key: str = ""
    person: str = ""
    answer: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    """From the data channel."""

    @property
    def bearer(self) -> dict[str, str]:
        """Opens the session."""
        return {"Authorization": f"Bearer {self.key}"}

    def kinds(self) -> set[str]:
        return {record["type"] for record in self.records}


@asynccontextmanager
async def calling(
    url: str,
    *tracks: MediaStreamTrack,
    token: str = "",
    source: str = "camera",
    codec: str = "",
    **consent: Any,
) -> AsyncIterator[Caller]:
    """A call with `tracks`; `codec` (e.g. ``video/H264``) is the only one of pictures."""
    sender = new_sender()
    async with ClientSession(url) as http:
        caller = Caller(http, sender)
        for track in tracks:
            sender.addTrack(track)
        if codec:
            prefer(sender, codec)
        channel = sender.createDataChannel("events")
        channel.on("message", lambda text: caller.records.append(json.loads(text)))
        try:
            body = {**await offer_body(sender, **consent), "source": source}
            admitted = {"Authorization": f"Bearer {token}"} if token else {}
            async with http.post("/api/offer", json=body, headers=admitted) as response:
                reply = await response.json()
                assert response.status == 200, reply
            caller.session, caller.person = reply["session"], reply["person"]
            caller.key = reply["key"]
            caller.answer = reply["sdp"]
            await accept(sender, reply["sdp"])
            await until(lambda: sender.connectionState == "connected")
            yield caller
        finally:
            await sender.close()


def prefer(sender: RTCPeerConnection, codec: str) -> None:
    """Offer pictures in this codec alone."""
    for transceiver in sender.getTransceivers():
        able = RTCRtpSender.getCapabilities(transceiver.kind)
        if transceiver.kind == "video" and able is not None:
            transceiver.setCodecPreferences([one for one in able.codecs if one.mimeType == codec])


async def offer_body(sender: RTCPeerConnection, **consent: Any) -> dict[str, Any]:
    return {
        "sdp": await offer_of(sender),
        "type": "offer",
        "purpose": "self_view",
        "consent": {**AGREED, **consent},
    }


async def until_no_call(http: ClientSession) -> None:
    """Wait until the server has let go of all calls."""
    for _ in range(400):
        async with http.get("/healthz") as response:
            if (await response.json())["calls"] == 0:
                return
        await asyncio.sleep(0.02)
    raise AssertionError("a call is still there")
