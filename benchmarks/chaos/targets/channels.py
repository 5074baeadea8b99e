"""Messages of data channels, also those that open and close channels (RFC 8831, 8832).

An input: stream, kind of payload, payload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.chaos.targets import Feed
from stream.webrtc import EventsChannel, Peer
from tests.test_offer_fuzz import OFFER
from tests.webrtc_peers import Recorder

KINDS = (50, 51, 53, 56, 57, 0)
OPEN = b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00events"
SEEDS = [b"\x01\x00" + OPEN, b"\x01\x00\x02", b"\x01\x01hello", b"\x01\x02\x00\x01", b"\x03\x03\0"]


@contextmanager
def opened() -> Iterator[Feed]:
    loop = asyncio.new_event_loop()
    state: dict[str, Any] = {"n": 0}

    async def renew() -> None:
        if "peer" in state:
            await state["peer"].close()
        peer = Peer("p1", frozenset({"audio"}), Recorder(), fps=10, max_width=64)
        events: list[EventsChannel] = []
        peer.on_events(events.append)
        await peer.answer(OFFER)
        state.update(peer=peer, sctp=peer._connection.sctp, events=events)

    async def take(data: bytes) -> None:
        await state["sctp"]._receive(data[0] % 16, KINDS[data[1] % len(KINDS)], data[2:])
        for channel in state["events"][:1]:
            await asyncio.wait_for(channel.send("{}"), 1)
        await asyncio.sleep(0)

    def feed(data: bytes) -> None:
        if state["n"] % 50 == 0 or state["peer"].ended.done():
            loop.run_until_complete(renew())
        state["n"] += 1
        if len(data) > 2:
            loop.run_until_complete(guarded(take, data))

    try:
        yield feed
    finally:
        loop.run_until_complete(state["peer"].close() if "peer" in state else asyncio.sleep(0))
        loop.close()


async def guarded(take: Any, data: bytes) -> None:
    """As behind ``stream.aiortc_inside.guard``: what aiortc cannot take is counted there.

    Only errors of ours are errors here.
    """
    try:
        await take(data)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, AssertionError) as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None and "/stream/" in trace.tb_frame.f_code.co_filename:
            raise
