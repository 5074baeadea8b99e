"""A server with cheap engines in the event loop of a target, and a call in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

from aiohttp import ClientSession

from benchmarks.chaos.targets import Feed
from tests.serving import Caller, calling, serving
from tests.webrtc_peers import Beeps

CHECKED = 500
"""After so many inputs the server is asked how it is."""

Take = Callable[[Caller, str, bytes], Awaitable[None]]


class Failures(logging.Handler):
    """What the server says failed: nothing that comes from outside may make it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@contextmanager
def fed(take: Take) -> Iterator[Feed]:
    """`take` gets a caller that is connected, the address and each input."""
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()
    failures = Failures()
    logging.getLogger("stream").addHandler(failures)
    limits = {"requests_per_second": 10**6, "offers_per_minute": 10**6}

    async def start() -> tuple[ClientSession, Caller, str]:
        url = await stack.enter_async_context(serving(limits=limits))
        caller = await stack.enter_async_context(calling(url, Beeps(loop.time(), 0.0)))
        return await stack.enter_async_context(ClientSession(url)), caller, url

    http, caller, url = loop.run_until_complete(start())
    number = 0

    async def check() -> None:
        async with http.get("/healthz") as response:
            assert (await response.json())["calls"] >= 1

    def feed(data: bytes) -> None:
        nonlocal number
        number += 1
        loop.run_until_complete(take(caller, url, data))
        if number % CHECKED == 0:
            loop.run_until_complete(check())
        assert not failures.told, failures.told

    try:
        yield feed
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
