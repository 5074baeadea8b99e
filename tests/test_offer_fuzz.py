"""Whatever is sent as an offer: an error that says so, never another one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.limits import OfferError
from stream.webrtc import Peer, offered
from tests.webrtc_peers import Beeps, Flashes, Recorder, new_sender, offer_of

pytestmark = pytest.mark.live


def real_offer() -> str:
    async def run() -> str:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic(), 0.0))
        sender.addTrack(Flashes(time.monotonic()))
        sender.createDataChannel("events")
        offer = await offer_of(sender)
        await sender.close()
        return offer

    return asyncio.run(run())


OFFER = real_offer()
LINES = OFFER.split("\r\n")
WORDS = sorted({word for line in LINES for word in line.replace("=", " ").split()})

pieces = st.one_of(
    st.text(max_size=12),
    st.sampled_from(WORDS),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["\r\n", "\n", "\0", "m=", "a=", "a=rtpmap:", "a=fmtp:", "m=video 9 x 96\r\n"]),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The real offer with some places changed, lines lost, doubled and swapped."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["cut", "double", "swap", "put", "word"])):
            case "cut" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "put":
                place = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:place] + draw(pieces) + lines[at][place:]
            case _:
                words = lines[at].split(" ")
                words[draw(st.integers(0, len(words) - 1))] = draw(pieces)
                lines[at] = " ".join(words)
    return "\r\n".join(lines)


@settings(max_examples=500, deadline=None)
@given(mutated())
def test_a_changed_offer_is_read_or_refused(offer: str) -> None:
    with contextlib.suppress(OfferError):
        assert offered(offer) <= {"audio", "video"}


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(offer: str) -> None:
    with contextlib.suppress(OfferError):
        offered(offer)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def answer(offer: str) -> None:
    peer = Peer("p1", frozenset({"audio", "video"}), Recorder(), fps=10.0, max_width=640)
    try:
        await peer.answer(offer)
        await asyncio.sleep(0)
    finally:
        await peer.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_changed_offer_is_answered_or_refused(offer: str) -> None:
    async def run() -> None:
        before = open_files()
        with contextlib.suppress(OfferError):
            await asyncio.wait_for(answer(offer), 5.0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # aiortc still connects
            task.cancel()
            await asyncio.wait([task])
        await asyncio.sleep(0)
        assert open_files() <= before, "a socket was left open"

    asyncio.run(run())


def test_the_real_offer_is_answered() -> None:
    assert offered(OFFER) == {"audio", "video"}
    for wrong in ("m=video", "a=mid:1"):  # a bundle names what is not there
        with pytest.raises(OfferError, match="BUNDLE"):
            offered(OFFER.replace(wrong, "x=x"))
