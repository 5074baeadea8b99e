"""WHIP: FFmpeg's muxer publishes to a real server; and every way to be refused."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.certificates import write_certificate
from tests.conftest import PROJECT
from tests.serving import serving, until_no_call
from tests.webrtc_peers import Beeps, accept, new_sender, offer_of, until

pytestmark = pytest.mark.live

TOKEN = "a-token-of-sixteen-or-more"
WHIP = {"token": TOKEN, "consent": {"face": True, "voice": True, "words": True}}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("identity"))


def test_ffmpeg_publishes(identity: tuple[Path, Path]) -> None:
    async def run() -> tuple[list[dict[str, Any]], str]:
        async with serving(whip=WHIP) as url, ClientSession(url) as http:
            command = [sys.executable, "-m", "tests.whip_publisher", f"{url}/whip", TOKEN]
            publisher = await asyncio.create_subprocess_exec(
                *command, *map(str, identity), "5.0", cwd=PROJECT
            )
            path = await published_call(http)
            with pytest.raises(WSServerHandshakeError) as without_token:
                await http.ws_connect(path)
            assert without_token.value.status == 401
            async with http.ws_connect(path, headers=BEARER) as socket:
                records = [json.loads(message.data) async for message in socket]
            assert await publisher.wait() == 0
            async with http.get("/metrics") as response:
                return records, await response.text()

    records, metrics = asyncio.run(run())
    assert records[0]["type"] == "hello"
    assert records[0]["consent"]["face"] is True
    assert records[-1]["type"] == "end"
    states = [record for record in records if record["type"] == "state" and record["labels"]]
    assert len(states) >= 8
    assert any(record["type"] == "face" for record in records)
    clocks = [record for record in records if record["type"] == "clock"]
    assert abs(clocks[-1]["unix_at_zero"] - (time.time() - 8)) < 8
    assert "decode_error" not in metrics


async def published_call(http: ClientSession) -> str:
    """Where the records of the only published call are."""
    for _ in range(200):
        async with http.get("/api/sessions", headers=BEARER) as response:
            for call in (await response.json())["sessions"]:
                return str(call["events"])
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was published")


async def refused(http: ClientSession, method: str, path: str, **request: Any) -> tuple[int, Any]:
    async with http.request(method, path, **request) as response:
        body = await response.json()
        assert set(body) == {"error", "hint"}
        return response.status, response.headers


def test_life_of_a_published_call() -> None:
    async def run() -> None:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic() + 0.2, 0.0))
        async with serving(whip=WHIP) as url, ClientSession(url) as http:
            offer = await offer_of(sender)
            async with http.post("/whip", data=offer, headers={**BEARER, **SDP}) as response:
                assert response.status == 201
                assert response.content_type == "application/sdp"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                where = response.headers["Location"]
                await accept(sender, await response.text())
            await until(lambda: sender.connectionState == "connected")
            assert (await refused(http, "DELETE", where))[0] == 401
            assert (await refused(http, "PATCH", where, headers=BEARER))[0] == 501
            for method in ("GET", "PUT", "POST"):
                assert (await refused(http, method, where, headers=BEARER))[0] == 405
            name = where.rsplit("/", 1)[1]
            assert (await refused(http, "DELETE", f"/api/sessions/{name}"))[0] == 401
            async with http.delete(where, headers=BEARER) as response:
                assert response.status == 200
            await until(lambda: sender.connectionState == "closed")
            await until_no_call(http)
            assert (await refused(http, "DELETE", where, headers=BEARER))[0] == 404
        await sender.close()

    asyncio.run(run())


def test_requests_that_are_refused() -> None:
    async def run() -> None:
        async with serving(whip=WHIP) as url, ClientSession(url) as http:
            for headers in (
                SDP,
                {**SDP, "Authorization": "Bearer wrong"},
                {**SDP, "Authorization": f"Basic {TOKEN}"},
                {**SDP, "Authorization": f"Bearer {TOKEN[:-1]}"},
                {**SDP, "Authorization": "Bearer \u00fc"},
            ):
                status, answer = await refused(http, "POST", "/whip", data="v=0", headers=headers)
                assert status == 401
                assert answer["WWW-Authenticate"].startswith("Bearer")
            good = {**BEARER, **SDP}
            assert (await refused(http, "GET", "/api/sessions"))[0] == 401
            assert (await refused(http, "POST", "/whip", data="v=0", headers=good))[0] == 400
            assert (await refused(http, "POST", "/whip", data="", headers=good))[0] == 400
            assert (await refused(http, "POST", "/whip", json={}, headers=BEARER))[0] == 415
            large = "v=0" + "x" * 70_000
            assert (await refused(http, "POST", "/whip", data=large, headers=good))[0] == 413
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                assert (await refused(http, method, "/whip", headers=good))[0] == 405
            async with http.options("/whip", headers={"Origin": "https://studio.example"}) as ask:
                assert ask.status == 204
                assert ask.headers["Accept-Post"] == "application/sdp"
                assert "POST" in ask.headers["Access-Control-Allow-Methods"]
                assert "Authorization" in ask.headers["Access-Control-Allow-Headers"]

    asyncio.run(run())


def test_server_without_a_token_takes_nothing() -> None:
    async def run() -> None:
        async with serving() as url, ClientSession(url) as http:
            status, _ = await refused(http, "POST", "/whip", data="v=0", headers={**BEARER, **SDP})
            assert status == 401

    asyncio.run(run())


def test_consent_of_the_configuration_holds() -> None:
    async def run() -> None:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic() + 0.2, 0.0))
        only_face = {"token": TOKEN, "consent": {"face": True}}
        async with serving(whip=only_face) as url, ClientSession(url) as http:
            data = await offer_of(sender)
            status, _ = await refused(http, "POST", "/whip", data=data, headers={**BEARER, **SDP})
            assert status == 400
        async with serving(whip={"token": TOKEN, "consent": {}}) as url, ClientSession(url) as http:
            status, _ = await refused(http, "POST", "/whip", data=data, headers={**BEARER, **SDP})
            assert status == 403
        await sender.close()

    asyncio.run(run())
