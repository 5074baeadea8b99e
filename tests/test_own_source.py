"""A source of one's own, as docs/sources.md describes it: sound and pictures over a socket."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.config import Consent, ServeConfig
from stream.receivers import Kind, Sink
from stream.record_types import Origin, Record
from stream.sources import run_source
from tests import synthetic
from tests.serving import cheap_engines
from workers.messages import AudioChunk, Progress, VideoFrame

pytestmark = pytest.mark.live

HEAD = struct.Struct("<cdII")
"""Kind, time of capture, rows (of pictures), bytes."""


class BotSocket:
    """PCM and raw pictures that a meeting bot sends over TCP."""

    origin: Origin = "tab"
    kinds: frozenset[Kind] = frozenset({"audio", "video"})
    many = True

    def __init__(self, port: int) -> None:
        self._port = port

    async def feed(self, sink: Sink, person: str, now: Callable[[], float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        first: float | None = None
        try:
            while head := await reader.read(HEAD.size):
                head += await reader.readexactly(HEAD.size - len(head))
                kind, captured, rows, size = HEAD.unpack(head)
                data = await reader.readexactly(size)
                first = captured - now() if first is None else first
                t = captured - first
                if kind == b"a":
                    samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
                    sink.push(AudioChunk(person, t, samples))
                else:
                    image = np.frombuffer(data, np.uint8).reshape(rows, -1, 3)
                    sink.push(VideoFrame(person, t, image))
                    sink.push(Progress(person, "video", t))
        finally:
            writer.close()


async def bot(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends five seconds in real time, on a clock that began long ago, and breaks off there."""
    began = asyncio.get_running_loop().time()
    for item in synthetic.source(5.0):
        await asyncio.sleep(synthetic.end_of(item) - asyncio.get_running_loop().time() + began)
        if isinstance(item, AudioChunk):
            data, kind, t, rows = (item.samples * 32767).astype("<i2").tobytes(), b"a", item.t0, 0
        else:
            image = np.kron(item.image, np.ones((16, 16, 1), np.uint8))
            data, kind, t, rows = image.tobytes(), b"v", item.t, len(image)
        writer.write(HEAD.pack(kind, 1000.0 + t, rows, len(data)) + data)
        await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []

        async def write(record: Record) -> None:
            told.append(dict(record))

        engines = cheap_engines()
        try:
            async with await asyncio.start_server(bot, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                consent = Consent(face=True, voice=True)
                source = BotSocket(port)
                await run_source(source, "m", "p1", ServeConfig(), consent, engines, write)
        finally:
            engines.close()
        return told

    return asyncio.run(run())


def test_it_gives_records_like_every_source(records: list[dict[str, Any]]) -> None:
    assert (records[0]["type"], records[0]["source"], records[0]["many"]) == ("hello", "tab", True)
    assert records[-1] == {"type": "end", "reason": "finished"}
    assert {each["person"] for each in records if each["type"] == "state"} == {"p1.1"}
    times = [each["t"] for each in records if each["type"] == "state"]
    assert len(times) >= 4 and times[0] >= 3.0 and times[-1] - times[0] <= 2.25
    assert all(each["lag_s"] < 5.0 for each in records if each["type"] == "state")


def test_what_was_not_agreed_to_is_not_looked_at(records: list[dict[str, Any]]) -> None:
    assert not [each for each in records if each["type"] == "transcript"]
    states = [each for each in records if each["type"] == "state"]
    assert all("no_consent" in each["reasons"] for each in states)
