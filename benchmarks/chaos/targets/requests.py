"""HTTP requests: answered with a status that is no 5xx (503 is one), errors as JSON with a hint.

An input: method, path, headers, line break, body; or, with a first byte of 255, what is sent as it
is.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from benchmarks.chaos.targets import Feed
from benchmarks.chaos.targets.served import fed
from tests.serving import AGREED, Caller
from tests.test_offer_fuzz import OFFER

METHODS = ("GET", "POST", "DELETE", "PATCH", "PUT", "OPTIONS", "HEAD")
OFFERED = {"sdp": OFFER, "type": "offer", "purpose": "self_view", "consent": AGREED}
JSON = b"Content-Type: application/json\n\n"
SEEDS = [
    b"\x01/api/offer\n" + JSON + json.dumps(OFFERED).encode()[:3000],
    b"\x00/api/config\n\n",
    b"\x00/\n\n",
    b"\x00/static/app.js\nRange: bytes=0-5\n\n",
    b"\x00/api/sessions/SESSION/events\nAuthorization: Bearer KEY\n\n",
    b"\x03/api/sessions/SESSION/settings\nAuthorization: Bearer KEY\n\n" + b'{"paused": true}',
    b"\x01/api/sessions/SESSION/offer\nAuthorization: Bearer KEY\n" + JSON + b'{"sdp": "v=0"}',
    b"\x02/api/sessions/x\nAuthorization: Bearer y\n\n",
    b"\x01/whip\nAuthorization: Bearer x\nContent-Type: application/sdp\n\nv=0",
    b"\x01/api/offer\n" + JSON + b"[" * 3000,
    b"\x03/api/sessions/SESSION/settings\nAuthorization: Bearer KEY\n\n" + b"[" * 3000,
    b"\x00/metrics\nAccept: */*\n\n",
    b"\x00/healthz\nOrigin: http://[\n\n",
    b"\x01/api/offer\nContent-Encoding: gzip\n" + JSON + b"zzzz",
    b"\xffGET /healthz HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n",
    b"\xffGET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"\xffPOST /api/offer HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
]


def opened() -> AbstractContextManager[Feed]:
    return fed(take)


async def take(caller: Caller, url: str, data: bytes) -> None:
    host, port = urlsplit(url).hostname or "", urlsplit(url).port
    raw = data[1:] if data[:1] == b"\xff" else request_of(data, caller, f"{host}:{port}")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(raw)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(200_000), 10)
    except ConnectionError:
        return
    finally:
        writer.close()
    judge(answer)


def request_of(data: bytes, caller: Caller, host: str) -> bytes:
    method = METHODS[data[0] % len(METHODS)] if data else "GET"
    head, _, body = data[1:].partition(b"\n\n")
    head = head.replace(b"SESSION", caller.session.encode()).replace(b"KEY", caller.key.encode())
    path, *headers = head.split(b"\n")
    if method == "DELETE" or b"withdraw" in path:  # the call is still needed
        path = path.replace(caller.session.encode(), b"x")
    lines = [method.encode() + b" " + path + b" HTTP/1.1", b"Host: " + host.encode(), *headers]
    lines += [b"Connection: close", b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


def judge(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1."):
        return
    status = int(answer.split(b" ", 2)[1])
    assert status < 500 or status in (501, 503), answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    if status >= 400 and b"application/json" in head.lower() and body:
        told = json.loads(body)
        assert set(told) == {"error", "hint"} and told["error"]
