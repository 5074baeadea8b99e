"""Who is slow or opens many connections keeps nobody out."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from stream.doors import Doors
from stream.serve import listen
from tests.certificates import write_certificate
from tests.serving import serving
from tests.webrtc_peers import until

pytestmark = pytest.mark.live


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=await request.text() or "hello")


@asynccontextmanager
async def doors_open(
    doors: Doors, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    app = web.Application(middlewares=[doors.middleware()])
    app.router.add_route("*", "/", hello)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    with listen("127.0.0.1", 0) as listening:
        server = await doors.open(runner.server, listening, context)
        try:
            yield listening.getsockname()
        finally:
            server.close()
            await runner.cleanup()


async def closed_after(host: str, port: int, first: bytes, again: bytes) -> float:
    """Seconds until the server closes on somebody who sends `first`, then `again` over and over."""
    reader, writer = await asyncio.open_connection(host, port)
    begin = time.monotonic()
    ending = asyncio.create_task(reader.read())
    writer.write(first)
    while not ending.done() and time.monotonic() - begin < 5:
        writer.write(again)
        await asyncio.wait([ending], timeout=0.05)
    with suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(ending, 0.1)
    writer.close()
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("first", "again"), [(b"", b""), (b"GET / HTTP/1.1\r\n", b"X-More: 1\r\n"), (b"GET /", b"a")]
)
def test_headers_that_never_end_are_given_up(first: bytes, again: bytes) -> None:
    async def run() -> float:
        doors = Doors(8, headers_s=0.5)
        async with doors_open(doors) as (host, port):
            took = await closed_after(host, port, first, again)
            assert doors.counts == {"too_slow": 1}
            assert not len(doors)
        return took

    assert 0.4 < asyncio.run(run()) < 3.0


def test_a_handshake_that_never_ends_is_given_up(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def run() -> float:
        async with doors_open(Doors(8, headers_s=0.5), context) as (host, port):
            return await closed_after(host, port, b"\x16\x03\x01", b"")

    assert 0.4 < asyncio.run(run()) < 3.0


def test_a_request_that_came_in_may_take_its_time() -> None:
    async def run() -> None:
        doors = Doors(8, headers_s=0.3)
        async with doors_open(doors) as (host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
            await asyncio.sleep(0.8)
            writer.write(b"bc")
            assert b"abc" in await asyncio.wait_for(reader.read(300), 5)
            writer.close()
            await until(lambda: not len(doors))
            assert not doors.counts

    asyncio.run(run())


@pytest.mark.parametrize(
    ("doors", "why"),
    [(Doors(3), "too_many_of_address"), (Doors(9, most=3), "too_many")],
)
def test_so_many_connections_and_no_more(doors: Doors, why: str) -> None:
    async def run() -> None:
        async with doors_open(doors) as (host, port):
            held = [await asyncio.open_connection(host, port) for _ in range(3)]
            await until(lambda: len(doors) == 3)
            reader, writer = await asyncio.open_connection(host, port)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert doors.counts == {why: 1}
            held[0][1].close()
            await until(lambda: len(doors) == 2)
            async with ClientSession() as http, http.get(f"http://{host}:{port}/") as response:
                assert await response.text() == "hello"
            for _, each in held:
                each.close()

    asyncio.run(run())


def test_the_server_counts_what_it_refuses() -> None:
    async def run() -> str:
        async with serving(limits={"connections_per_address": 2}) as url:
            host, port = url.removeprefix("http://").split(":")
            held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            await asyncio.sleep(0.2)
            held[0][1].close()
            await asyncio.sleep(0.2)
            async with ClientSession(url) as http, http.get("/metrics") as response:
                text = await response.text()
            for _, writer in held:
                writer.close()
            return text

    assert 'lddu_connections_refused_total{why="too_many_of_address"} 1.0' in asyncio.run(run())
