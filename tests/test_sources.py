"""Where pictures and sound come from, and who of a room sees what is made of them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from stream.calls import check_source
from stream.config import ServeConfig
from stream.errors import ConsentError
from stream.room import Rooms
from stream.tickets import new_ticket, sign
from tests.serving import calling, serving
from tests.test_access import KEY, TOKEN, access, bearer
from tests.webrtc_peers import Beeps, Flashes, accept, new_sender, offer_of, until

pytestmark = pytest.mark.live


@pytest.mark.parametrize("source", ["camera", "tab"])
def test_a_shared_tab_has_people_and_a_camera_one(source: str) -> None:
    async def run() -> list[dict[str, Any]]:
        tracks = Flashes(time.monotonic()), Beeps(time.monotonic(), 0.0)
        async with serving() as url, calling(url, *tracks, source=source) as caller:
            await until(lambda: "state" in caller.kinds(), seconds=20)
            await until(lambda: any(each["index"] >= 0 for each in states(caller.records)))
            return caller.records

    records = asyncio.run(run())
    hello, many = records[0], source == "tab"
    assert (hello["source"], hello["many"], hello["person"]) == (source, many, "p1")
    people = [each["person"] for each in records if each["type"] == "person"]
    assert people == (["p1.1"] if many else [])
    assert {each["person"] for each in states(records)} == {"p1.1" if many else "p1"}


def states(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in records if each["type"] == "state"]


@pytest.mark.parametrize("purpose", ["workplace", "education"])
def test_where_only_a_self_view_is_allowed_nobody_else_is_looked_at(purpose: str) -> None:
    config = ServeConfig.model_validate({"purpose": purpose})
    check_source("camera", config)
    with pytest.raises(ConsentError, match="shows other people"):
        check_source("tab", config)
    with pytest.raises(ValueError, match=r"prohibited|text_only"):
        ServeConfig.model_validate({"purpose": purpose, "room_view": "everybody"})


def test_an_unknown_source_is_refused() -> None:
    async def run() -> int:
        async with serving() as url, ClientSession(url) as http:
            body = {"sdp": "v=0", "type": "offer", "purpose": "self_view", "consent": {}}
            async with http.post("/api/offer", json={**body, "source": "screen"}) as response:
                return response.status

    assert asyncio.run(run()) == 400


def test_a_room_sees_those_who_agreed_and_nobody_else(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        settings = {"access": access(tmp_path), "room_view": "everybody"}
        tickets = [sign(new_ticket(room), KEY) for room in ("one", "one", "one", "two")]
        told: list[dict[str, Any]] = []
        async with serving(**settings) as url, ClientSession(url) as http:
            for wrong in ("", tickets[3]):
                with pytest.raises(WSServerHandshakeError) as refused:
                    await http.ws_connect("/api/rooms/one/events", headers=bearer(wrong))
                assert refused.value.status == 401
            start = time.monotonic()
            async with (
                calling(url, Beeps(start, 0.0), token=tickets[0], room=True),
                http.ws_connect("/api/rooms/one/events", headers=bearer(tickets[1])) as socket,
                calling(url, Beeps(start, 0.0), token=tickets[1], room=True),
                calling(url, Beeps(start, 0.0), token=tickets[2]) as private,
                calling(url, Beeps(start, 0.0), token=tickets[3], room=True) as elsewhere,
            ):
                while len({each["person"] for each in states(told)}) < 2:
                    told.append(json.loads(await socket.receive_str(timeout=20)))
                await until(lambda: bool(private.records) and bool(elsewhere.records))
        return told

    told = asyncio.run(run())
    assert told[0]["type"] == "hello"
    assert {each.get("person") for each in told} == {"p1", "p2"}
    for person in ("p1", "p2"):
        first = next(each for each in told if each["person"] == person)
        assert first["type"] == "hello"
    assert "clock" not in {each["type"] for each in told}


def test_a_private_room_shows_nothing(tmp_path: Path) -> None:
    async def run() -> int:
        async with (
            serving(access=access(tmp_path)) as url,
            ClientSession(url) as http,
            http.get("/api/rooms/one/events", headers=bearer(TOKEN)) as response,
        ):
            return response.status

    assert asyncio.run(run()) == 404


def test_an_empty_room_is_forgotten() -> None:
    async def run() -> None:
        rooms = Rooms()
        with rooms.shown("one") as call, rooms.read("one") as reader:
            call.see({"type": "end", "reason": "left"})
            assert [record["type"] for record in reader.take()] == ["end"]
        assert not rooms._readers and not rooms._calls

    asyncio.run(run())


@pytest.mark.parametrize("people", ["one", "many"])
def test_published_media_may_show_many_people(people: str) -> None:
    token = "a-token-of-sixteen-or-more"
    whip = {"token": token, "consent": {"face": True}, "people": people}

    async def run() -> dict[str, Any]:
        sender = new_sender()
        sender.addTrack(Flashes(time.monotonic()))
        offer = await offer_of(sender)
        try:
            async with serving(whip=whip) as url, ClientSession(url, headers=bearer(token)) as http:
                sdp = {"Content-Type": "application/sdp"}
                async with http.post("/whip", data=offer, headers=sdp) as response:
                    assert response.status == 201
                    name = response.headers["Location"].rsplit("/", 1)[-1]
                    await accept(sender, await response.text())
                await until(lambda: sender.connectionState == "connected")
                async with http.ws_connect(f"/api/sessions/{name}/events") as socket:
                    told: dict[str, Any] = json.loads(await socket.receive_str(timeout=20))
                return told
        finally:
            await sender.close()

    hello = asyncio.run(run())
    assert (hello["source"], hello["many"]) == ("whip", people == "many")
