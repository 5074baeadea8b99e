"""Nobody gets in without leave: tokens, tickets, keys of sessions, and no peer before them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from aiortc import RTCPeerConnection
from hypothesis import given
from hypothesis import strategies as st

from stream import tickets
from stream.config import ServeConfig
from stream.errors import run_command
from stream.tickets import MAX_LENGTH, AccessError, Ledger, Ticket, new_ticket, sign, verify
from stream.turn import ice_servers
from tests.serving import calling, offer_body, serving
from tests.webrtc_peers import Beeps, new_sender, until

pytestmark = pytest.mark.live

KEY = "k" * 32
FOREIGN = "f" * 32
TOKEN = "token-of-the-operator"
WHIP_TOKEN = "token-of-the-publisher"


def access(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"token": TOKEN, "key": KEY, "ledger": str(folder / "tickets.sqlite"), **changes}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every peer connection that the server makes."""
    made: list[object] = []

    def make(*arguments: Any) -> Any:
        made.append(arguments)
        return RTCPeerConnection(*arguments)

    monkeypatch.setattr("stream.webrtc.RTCPeerConnection", make)
    return made


GOOD = sign(Ticket("id", "room", "anna", 2e9, 1), KEY)


@given(st.integers(0, len(GOOD)), st.text(max_size=3), st.integers(0, 3))
def test_a_ticket_with_any_change_is_refused(at: int, put: str, cut: int) -> None:
    assert verify(GOOD, KEY, 0.0).person == "anna"
    changed = GOOD[:at] + put + GOOD[at + cut :]
    if changed != GOOD:
        with pytest.raises(AccessError):
            verify(changed, KEY, 0.0)


@given(st.text(max_size=2000))
def test_no_text_is_a_ticket_by_chance(text: str) -> None:
    with pytest.raises(AccessError):
        verify(text, KEY, 0.0)


def test_a_ticket_has_so_many_characters() -> None:
    texts = [sign(Ticket("id", "r" * n, None, 2e9, 1), KEY) for n in range(600, 900)]
    assert {len(text) > MAX_LENGTH for text in texts} == {False, True}
    for text in texts:
        if len(text) <= MAX_LENGTH:
            assert verify(text, KEY, 0.0).room.startswith("r")
        else:
            with pytest.raises(AccessError):
                verify(text, KEY, 0.0)


def test_a_ticket_ends_at_its_time_and_is_good_for_one_key() -> None:
    ticket = new_ticket("room", seconds=10.0)
    text = sign(ticket, KEY)
    assert verify(text, KEY, ticket.expires - 0.001) == ticket
    with pytest.raises(AccessError, match="expired"):
        verify(text, KEY, ticket.expires)
    with pytest.raises(AccessError, match="not one of this server"):
        verify(text, FOREIGN, ticket.expires - 1)


def test_uses_are_counted_by_all_threads_and_after_a_restart(tmp_path: Path) -> None:
    ticket = new_ticket("room", uses=3)

    def spend(_: int) -> bool:
        try:
            Ledger(tmp_path / "ledger").spend(ticket)
        except AccessError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(16))) == 3
    Ledger(tmp_path / "ledger").give_back(ticket)
    assert [spend(0), spend(0)] == [True, False]
    expired = replace(ticket, id="old", expires=time.time() - 1)
    Ledger(tmp_path / "ledger").spend(expired)  # forgotten with the next use: it is refused anyway
    assert spend(0) is False


def test_a_ledger_that_cannot_be_used_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_bytes(b"this is no database, whatever its name may say")
    with pytest.raises(AccessError, match="cannot be counted"):
        Ledger(tmp_path / "ledger").spend(new_ticket("room"))


def bad_credentials(spent: str, other: str) -> dict[str, dict[str, str]]:
    old = replace(new_ticket("room"), expires=time.time() - 1)
    return {
        "none": {},
        "wrong token": bearer("token-of-somebody"),
        "cut token": bearer(TOKEN[:-1]),
        "other scheme": {"Authorization": f"Basic {TOKEN}"},
        "expired": bearer(sign(old, KEY)),
        "foreign": bearer(sign(new_ticket("room"), FOREIGN)),
        "replayed": bearer(spent),
        "key of another session": bearer(other),
        "not ASCII": {"Authorization": "Bearer \u00fc\u00df"},
    }


def test_every_endpoint_refuses_who_has_no_leave(tmp_path: Path, peers: list[object]) -> None:
    consent = {"face": True, "voice": True, "words": True}
    settings: dict[str, Any] = {
        "access": access(tmp_path),
        "whip": {"token": WHIP_TOKEN, "consent": consent},
    }

    async def run() -> None:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic(), 0.0))
        spent = sign(new_ticket("room", "anna"), KEY)
        async with (
            serving(**settings) as url,
            ClientSession(url) as http,
            calling(url, Beeps(time.monotonic(), 0.0), token=spent) as one,
            calling(url, Beeps(time.monotonic(), 0.0), token=TOKEN) as other,
        ):
            made = len(peers)
            body = await offer_body(sender)
            sdp = {"Content-Type": "application/sdp"}
            own = f"/api/sessions/{one.session}"
            requests: list[tuple[str, str, dict[str, Any]]] = [
                ("POST", "/api/offer", {"json": body}),
                ("POST", "/whip", {"data": body["sdp"], "headers": sdp}),
                ("DELETE", "/whip/x", {}),
                ("PATCH", "/whip/x", {}),
                ("GET", "/api/sessions", {}),
                ("GET", f"{own}/events", {}),
                ("DELETE", own, {}),
                ("GET", "/metrics", {}),
            ]
            for name, headers in bad_credentials(spent, other.key).items():
                for method, path, request in requests:
                    sent = {**request, "headers": {**request.get("headers", {}), **headers}}
                    async with http.request(method, path, **sent) as response:
                        allowed = {401} if not path.endswith("/events") else {401, 426}
                        assert response.status in allowed, (name, method, path)
                        assert "error" in await response.json()
                if name != "replayed":  # it may look at the page's settings; it may not begin
                    async with http.get("/api/config", headers=headers) as response:
                        assert response.status == 401, name
                async with http.get("/healthz", headers=headers) as response:
                    assert await response.json() == {"status": "ok"}
                with pytest.raises(WSServerHandshakeError) as refused:
                    await http.ws_connect(f"{own}/events", headers=headers)
                assert refused.value.status == 401, name
            with pytest.raises(WSServerHandshakeError):
                await http.ws_connect(f"{own}/events", protocols=("lddu.records", other.key))
            assert len(peers) == made, "a peer connection was made"
            await until(lambda: "state" in one.kinds())  # the call itself goes on
        await sender.close()

    asyncio.run(run())


def test_what_each_leave_is_good_for(tmp_path: Path) -> None:
    async def run() -> None:
        text = sign(new_ticket("room", uses=2), KEY)
        async with serving(access=access(tmp_path)) as url, ClientSession(url) as http:
            for path in ("/metrics", "/api/config", "/healthz"):
                async with http.get(path, headers=bearer(TOKEN)) as response:
                    assert response.status == 200
            async with http.get("/metrics", headers=bearer(text)) as response:
                assert response.status == 401
            async with http.get("/api/config", headers=bearer(text)) as response:
                assert response.status == 200
            for _ in range(2):
                async with calling(url, Beeps(time.monotonic(), 0.0), token=text) as call:
                    path = f"/api/sessions/{call.session}/events"
                    async with http.ws_connect(path, protocols=("lddu.records", call.key)) as ws:
                        assert json.loads(await ws.receive_str())["type"] == "hello"
                    async with http.ws_connect(path, headers=bearer(call.key)) as ws:
                        await ws.send_str("nothing is expected")
                        async for message in ws:
                            assert message.type is WSMsgType.TEXT
                        assert ws.close_code == 1008
                    wrong = bearer(TOKEN)  # estimates are the person's, not the operator's
                    async with http.delete(path.removesuffix("/events"), headers=wrong) as response:
                        assert response.status == 401
            with pytest.raises(AssertionError, match="used already"):
                async with calling(url, Beeps(time.monotonic(), 0.0), token=text):
                    pass

    asyncio.run(run())


def test_a_ticket_is_not_used_by_a_call_that_could_not_begin(tmp_path: Path) -> None:
    async def run() -> None:
        text = sign(new_ticket("room"), KEY)
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic(), 0.0))
        body = await offer_body(sender)
        async with serving(access=access(tmp_path)) as url, ClientSession(url) as http:
            for wrong in ({"sdp": "v=0"}, {"purpose": "research"}, {"surprise": 1}):
                async with http.post(
                    "/api/offer", json={**body, **wrong}, headers=bearer(text)
                ) as response:
                    assert response.status in {400, 403}
            async with calling(url, Beeps(time.monotonic(), 0.0), token=text) as call:
                assert call.session
        await sender.close()

    asyncio.run(run())


def test_metrics_are_open_where_configured(tmp_path: Path) -> None:
    async def run() -> int:
        settings = access(tmp_path, open_metrics=True)
        async with (
            serving(access=settings) as url,
            ClientSession(url) as http,
            http.get("/metrics") as response,
        ):
            return response.status

    assert asyncio.run(run()) == 200


def test_credentials_of_turn_expire_and_come_after_the_ticket(tmp_path: Path) -> None:
    secret = "shared-with-coturn"
    turn = {"urls": ["turn:turn.example.org:3478"], "secret": secret, "seconds": 60}
    config = ServeConfig.model_validate({"ice_servers": ["stun:s.example"], "turn": turn})
    stun, server = ice_servers(config)
    assert (stun.urls, stun.username, stun.credential) == (("stun:s.example",), None, None)
    assert server.username is not None and server.credential is not None
    assert 58 < int(server.username.split(":")[0]) - time.time() <= 60
    digest = hmac.new(secret.encode(), server.username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(server.credential) == digest
    assert ice_servers(config)[1].username != server.username

    async def run() -> dict[str, Any]:
        settings = {"access": access(tmp_path), "turn": turn}
        async with serving(**settings) as url, ClientSession(url) as http:
            async with http.get("/api/config") as response:
                assert secret not in (text := await response.text())
                assert "credential" not in text
            async with http.get("/api/config", headers=bearer(TOKEN)) as response:
                given: dict[str, Any] = (await response.json())["ice_servers"][0]
                return given

    assert set(asyncio.run(run())) == {"urls", "username", "credential"}


def test_ticket_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str, code: int = 0) -> str:
        assert run_command(lambda: tickets.main(arguments)) == code
        streams = capsys.readouterr()
        return streams.out or streams.err

    file = tmp_path / "serve.toml"
    file.write_text(printed("key"))
    text = printed("issue", str(file), "--room", "r1", "--person", "anna", "--uses", "3").strip()
    key = file.read_text().split('"')[1]
    ticket = verify(text, key, time.time())
    assert (ticket.room, ticket.person, ticket.uses) == ("r1", "anna", 3)
    assert 590 < ticket.expires - time.time() <= 600
    assert "no name" in printed("issue", str(file), "--person", "a b", code=2)
    assert "at most a year" in printed("issue", str(file), "--minutes", "-1", code=2)
    file.write_text("")
    assert "no access.key" in printed("issue", str(file), code=2)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"key": KEY}, {"ledger": "x"}, {"token": "short"}, {"key": "short", "ledger": "x"}],
)
def test_access_that_guards_nothing_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="access"):
        ServeConfig.model_validate({"access": wrong})


def test_secrets_are_not_shown() -> None:
    settings = {"access": {"token": TOKEN, "key": KEY, "ledger": "x"}}
    config = ServeConfig.model_validate(settings)
    assert TOKEN not in repr(config) and KEY not in repr(config)
