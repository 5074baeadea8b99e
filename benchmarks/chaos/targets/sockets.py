"""What a reader of records sends over its WebSocket: it is closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from benchmarks.chaos.targets import Feed
from benchmarks.chaos.targets.served import fed
from tests.serving import Caller

MASK = b"\0\0\0\0"
SEEDS = [
    b"\x81\x82" + MASK + b"hi",
    b"\x88\x82" + MASK + b"\x03\xe8",
    b"\x89\x80" + MASK,
    b"\x82\xfe\x04\x00" + MASK + bytes(1024),
    b"\x01\x81" + MASK + b"a\x80\x81" + MASK + b"b",
    b"\xc1\x82" + MASK + b"hi",
    b"\x81\xff" + b"\x7f" * 8 + MASK,
]


def opened() -> AbstractContextManager[Feed]:
    return fed(take)


async def take(caller: Caller, url: str, data: bytes) -> None:
    host, port = urlsplit(url).hostname or "", urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    key = base64.b64encode(data[:16].ljust(16)).decode()
    head = (
        f"GET /api/sessions/{caller.session}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: lddu.records, {caller.key}\r\n\r\n"
    )
    try:
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 101 " in answer.split(b"\r\n")[0], answer
        writer.write(data)
        writer.write_eof()
        await asyncio.wait_for(reader.read(1 << 20), 5)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
