"""What strangers send is never a failure of the server, and never in its log."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from stream.server_log import handler
from tests.serving import serving

pytestmark = pytest.mark.live

SECRET = "a-ticket-that-nobody-may-see"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the log of a server says."""
    found = io.StringIO()
    writing = handler(found)
    logging.getLogger().addHandler(writing)
    yield found
    logging.getLogger().removeHandler(writing)


async def answers(*requests: bytes) -> list[int]:
    """Status of the answer to each, on a connection of its own; HOST stands for the server's."""
    statuses = []
    async with serving() as url:
        address = urlsplit(url)
        for request in requests:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request.replace(b"HOST", address.netloc.encode()))
            status = await asyncio.wait_for(reader.readline(), 10.0)
            statuses.append(int(status.split()[1]))
            writer.close()
    return statuses


def test_a_host_or_origin_that_is_none_is_refused(log: io.StringIO) -> None:
    requests = [
        b"GET /healthz HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1]:80\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nOrigin: http://[\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\n\r\n",
    ]
    assert asyncio.run(answers(*requests)) == [403, 403, 403, 200]
    assert log.getvalue() == ""


def test_a_body_that_cannot_be_unpacked_is_refused(log: io.StringIO) -> None:
    begin = b"POST /api/offer HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
    request = begin + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz"
    assert asyncio.run(answers(request)) == [400]
    assert log.getvalue() == ""


@pytest.mark.parametrize("end", [b"\x01", b"a" * 9000, b"\r\nContent-Length: -5"])
def test_a_malformed_request_is_not_in_the_log(log: io.StringIO, end: bytes) -> None:
    begin = b"GET /api/config HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer "
    assert asyncio.run(answers(begin + SECRET.encode() + end + b"\r\n\r\n")) == [400]
    assert log.getvalue() == ""


def test_a_client_that_leaves_in_the_middle_is_not_in_the_log(log: io.StringIO) -> None:
    async def leave() -> None:
        async with serving() as url:
            address = urlsplit(url)
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            head = f"POST /api/sessions/x/withdraw HTTP/1.1\r\nHost: {address.netloc}\r\n"
            writer.write(f"{head}Content-Length: 50\r\n\r\n{{".encode())
            await asyncio.sleep(0.3)
            writer.transport.abort()
            await asyncio.sleep(0.3)

    asyncio.run(leave())
    assert log.getvalue() == ""


def test_an_error_is_in_the_log_without_its_text(log: io.StringIO) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Unhandled exception")
    told = log.getvalue()
    assert told.startswith("ERROR aiohttp.server: Unhandled exception\n")
    assert "test_server_log.py" in told and told.endswith("\nValueError\n")
    assert f'"{SECRET}"' not in told and f": {SECRET}" not in told
