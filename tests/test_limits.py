"""Every limit from both sides."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, WSCloseCode, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from stream import guards
from stream.call import MAX_READERS
from stream.guards import MAX_BODY
from stream.limits import (
    MAX_ADDRESSES,
    MAX_CANDIDATES,
    MAX_MEDIA,
    MAX_SDP,
    OfferError,
    Rate,
    TooLargeError,
    check_offer,
    network,
)
from stream.line import CONNECT_S
from stream.webrtc import MAX_CHANNELS
from tests.serving import calling, offer_body, serving, until_no_call
from tests.webrtc_peers import Beeps, new_sender, until

pytestmark = pytest.mark.live

MEDIA = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
CANDIDATE = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"


def test_an_offer_may_be_so_large() -> None:
    check_offer("x" * MAX_SDP)
    check_offer(MEDIA * MAX_MEDIA + CANDIDATE * MAX_CANDIDATES)
    with pytest.raises(TooLargeError, match="65537 bytes"):
        check_offer("x" * (MAX_SDP + 1))
    with pytest.raises(TooLargeError):
        check_offer("\u00fc" * (MAX_SDP // 2 + 1))
    with pytest.raises(OfferError, match="9 media sections, allowed are 8"):
        check_offer(MEDIA * (MAX_MEDIA + 1))
    with pytest.raises(OfferError, match="65 candidates, allowed are 64"):
        check_offer(CANDIDATE * (MAX_CANDIDATES + 1))


def test_a_server_refuses_offers_that_are_too_large() -> None:
    async def run() -> list[int]:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic(), 0.0))
        body = await offer_body(sender)
        offers = [
            body["sdp"] + "a=x:" + "y" * (MAX_SDP - len(body["sdp"]) - 6) + "\r\n",
            body["sdp"] + "a=x:" + "y" * MAX_SDP,
            body["sdp"] + MEDIA * MAX_MEDIA,
            body["sdp"] + CANDIDATE * (MAX_CANDIDATES + 1),
            "x" * 200_000,
        ]
        statuses = []
        async with serving() as url, ClientSession(url) as http:
            for sdp in offers:
                async with http.post("/api/offer", json={**body, "sdp": sdp}) as response:
                    statuses.append(response.status)
            await asyncio.sleep(0.3)  # aioice cannot be closed in its first moment
        await sender.close()
        return statuses

    assert asyncio.run(run()) == [200, 413, 400, 400, 413]


@given(
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60), st.floats(0.1, 10.0), st.integers(1, 9)
)
def test_no_more_is_allowed_than_burst_and_rate(
    pauses: list[float], per_second: float, burst: int
) -> None:
    clock = [0.0]
    rate = Rate(per_second, burst, lambda: clock[0])
    allowed: list[float] = []
    for pause in pauses:
        clock[0] += pause
        wait = rate.wait_s("192.0.2.1")
        if not wait:
            allowed.append(clock[0])
        else:  # and that is when it is allowed again
            assert rate.wait_s("192.0.2.1") > 0
            clock[0] += wait + 1e-6
            assert rate.wait_s("192.0.2.1") == 0.0
            allowed.append(clock[0])
    for i, begin in enumerate(allowed):
        for j in range(i, len(allowed)):
            assert j - i + 1 <= burst + (allowed[j] - begin) * per_second + 1e-3


def test_addresses_have_rates_of_their_own_and_few_are_remembered() -> None:
    rate = Rate(1.0, 1, lambda: 0.0)
    assert rate.wait_s("192.0.2.1") == 0.0
    assert rate.wait_s("192.0.2.2") == 0.0
    assert rate.wait_s("192.0.2.1") > 0.0
    for i in range(MAX_ADDRESSES):
        rate.wait_s(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
    assert len(rate._left) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_host_is_one_address(address: str, name: str) -> None:
    assert network(address) == name


def test_too_many_requests_are_told_to_wait() -> None:
    limits = {"offers_per_minute": 2, "requests_per_second": 5}

    async def run() -> None:
        async with serving(limits=limits) as url, ClientSession(url) as http:
            statuses = []
            for _ in range(3):
                async with http.post("/api/offer", json={}) as response:
                    statuses.append(response.status)
                    wait = response.headers.get("Retry-After")
            assert statuses == [400, 400, 429]
            assert wait is not None and 1 <= int(wait) <= 30
            many = [http.get("/healthz") for _ in range(20)]
            found = [response.status for response in await asyncio.gather(*many)]
            assert {200, 429} == set(found)
            await asyncio.sleep(1.0)
            async with http.get("/healthz") as response:
                assert response.status == 200

    asyncio.run(run())


def test_offers_of_others_keep_nobody_from_withdrawing() -> None:
    """Who shares an address shares its offers, but not this."""

    async def run() -> None:
        async with (
            serving(limits={"offers_per_minute": 2}) as url,
            calling(url, Beeps(time.monotonic(), 0.0)) as caller,
        ):
            for _ in range(3):
                async with caller.http.post("/api/offer", json={}) as response:
                    pass
            assert response.status == 429
            path = f"/api/sessions/{caller.session}/withdraw"
            async with caller.http.post(path, headers=caller.bearer) as response:
                assert response.status == 200

    asyncio.run(run())


@pytest.mark.parametrize("limit", ["calls_per_address", "calls_per_room"])
def test_a_room_and_an_address_have_so_many_calls(limit: str) -> None:
    async def run() -> None:
        def beeps() -> Beeps:
            return Beeps(time.monotonic(), 0.0)

        async with serving(limits={limit: 2}) as url, ClientSession(url) as http:
            async with calling(url, beeps()), calling(url, beeps()):
                with pytest.raises(AssertionError, match=f"raise limits.{limit}"):
                    async with calling(url, beeps()):
                        pass
            await until_no_call(http)
            async with calling(url, beeps()) as call:
                assert call.session

    asyncio.run(run())


@pytest.mark.parametrize(("channels", "ends"), [(MAX_CHANNELS, False), (MAX_CHANNELS + 1, True)])
def test_so_many_data_channels_may_be_opened(channels: int, ends: bool) -> None:
    async def run() -> set[str]:
        async with serving() as url, calling(url, Beeps(time.monotonic(), 0.0)) as call:
            await until(lambda: "state" in call.kinds())
            for i in range(channels - 1):  # "events" is open
                call.sender.createDataChannel(f"more-{i}")
            await asyncio.sleep(1.0)
            async with call.http.get("/healthz") as response:
                assert (await response.json())["calls"] == (0 if ends else 1)
            return call.kinds()

    assert ("end" in asyncio.run(run())) == ends


def test_a_call_has_so_many_readers() -> None:
    async def run() -> list[WSMsgType]:
        async with serving() as url, calling(url, Beeps(time.monotonic(), 0.0)) as call:
            await until(lambda: bool(call.records))  # its own channel reads
            path = f"/api/sessions/{call.session}/events"
            sockets = [
                await call.http.ws_connect(path, headers=call.bearer) for _ in range(MAX_READERS)
            ]
            first = [await socket.receive(10.0) for socket in sockets]
            assert first[-1].data == WSCloseCode.TRY_AGAIN_LATER
            for socket in sockets:
                await socket.close()
            return [message.type for message in first]

    allowed = [WSMsgType.TEXT] * (MAX_READERS - 1)
    assert asyncio.run(run()) == [*allowed, WSMsgType.CLOSE]


@pytest.mark.parametrize("said", ["", "x", "x" * 2000])
def test_a_reader_says_nothing_and_does_not_end_the_call(said: str) -> None:
    async def run() -> set[int | None]:
        async with serving() as url, calling(url, Beeps(time.monotonic(), 0.0)) as call:
            path = f"/api/sessions/{call.session}/events"
            async with call.http.ws_connect(path, headers=call.bearer) as socket:
                assert (await socket.receive(10.0)).type is WSMsgType.TEXT
                await socket.send_str(said)
                async for _ in socket:
                    pass
            async with call.http.get("/healthz") as response:
                assert (await response.json())["calls"] == 1
            return {socket.close_code}

    assert asyncio.run(run()) <= {WSCloseCode.POLICY_VIOLATION, WSCloseCode.MESSAGE_TOO_BIG}


def test_a_request_has_so_many_bytes() -> None:
    async def run() -> list[int]:
        statuses = []
        async with serving() as url, ClientSession(url) as http:
            for size in (MAX_BODY, MAX_BODY + 1):
                headers = {"Content-Type": "application/json"}
                async with http.post("/api/offer", data=b" " * size, headers=headers) as response:
                    statuses.append(response.status)
        return statuses

    assert asyncio.run(run()) == [400, 413]


@pytest.mark.parametrize(("within", "status"), [(0.5, 408), (guards.REQUEST_S, 400)])
def test_a_request_comes_in_by_its_time(
    monkeypatch: pytest.MonkeyPatch, within: float, status: int
) -> None:
    monkeypatch.setattr(guards, "REQUEST_S", within)

    async def run() -> int:
        async with serving() as url:
            address = urlsplit(url)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            head = f"POST /api/offer HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 2\r\n"
            writer.write(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
            await asyncio.sleep(1.5)
            writer.write(b"}")
            told = await asyncio.wait_for(reader.readline(), 10.0)
            writer.close()
            return int(told.split()[1])

    assert asyncio.run(run()) == status


def test_who_does_not_connect_is_given_up_after_15_s() -> None:
    assert CONNECT_S == 15.0


def headers_of(path: str, **settings: Any) -> dict[str, str]:
    async def run() -> dict[str, str]:
        async with (
            serving(**settings) as url,
            ClientSession(url) as http,
            http.get(path) as response,
        ):
            return dict(response.headers)

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/config", "/nowhere"])
def test_headers_that_browsers_obey(path: str) -> None:
    headers = headers_of(path)
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Strict-Transport-Security" not in headers
