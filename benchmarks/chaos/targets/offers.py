"""SDP offers: an answer, or an ``OfferError`` that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.chaos.targets import Feed, helps
from stream.limits import OfferError
from stream.webrtc import Peer, offered
from tests.test_offer_fuzz import OFFER
from tests.webrtc_peers import Recorder

SEEDS = [OFFER.encode(), b"v=0\r\nm=audio 9 x 111\r\na=mid:0\r\n"]

ANSWERED = 50
"""One of so many inputs that look like an offer is also answered, which takes much longer."""


@contextmanager
def opened() -> Iterator[Feed]:
    loop = asyncio.new_event_loop()
    number = 0

    def feed(data: bytes) -> None:
        nonlocal number
        text = data.decode("utf-8", errors="replace")
        try:
            kinds = offered(text)
        except OfferError as error:
            helps(error)
            return
        number += 1
        if kinds and number % ANSWERED == 0:
            loop.run_until_complete(answer(text))

    try:
        yield feed
    finally:
        loop.close()


async def answer(text: str) -> None:
    peer = Peer("p1", frozenset({"audio", "video"}), Recorder(), fps=10, max_width=64)
    try:
        await peer.answer(text)
    except OfferError as error:
        helps(error)
    finally:
        await peer.close()
