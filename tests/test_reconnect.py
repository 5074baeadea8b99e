"""A call whose connection is lost goes on when its page comes back; one gap, nothing twice."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aioice.ice
import numpy as np
import pytest
from aiortc import RTCPeerConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import replay
from stream.feed import CUT, Feed
from stream.record_files import SessionFolder
from stream.record_log import LogReader
from tests.serving import Caller, calling, serving, until_no_call
from tests.test_keep import seen_and_heard
from tests.test_session_replay import cheaply
from tests.webrtc_peers import Beeps, Flashes, accept, new_sender, offer_of, until
from workers.messages import END, AudioChunk, Control, Gap, Progress, VideoFrame

pytestmark = pytest.mark.live


class Kept:
    """Keeps what a session is fed with."""

    def __init__(self) -> None:
        self.items: list[AudioChunk | VideoFrame | Control] = []
        self.clocks: list[float | None] = []

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        self.items.append(item)

    def clock(self, unix_at_zero: float | None) -> None:
        self.clocks.append(unix_at_zero)


def chunk(t: float) -> AudioChunk:
    return AudioChunk("p1", t, np.zeros(320, np.float32))


def picture(t: float) -> VideoFrame:
    return VideoFrame("p1", t, np.zeros((2, 2, 3), np.uint8))


def test_each_source_has_one_gap_and_nothing_comes_twice() -> None:
    feed, kept = Feed("p1"), Kept()
    feed.session = kept
    first, second = feed.inlet(), feed.inlet()
    feed.use(first)
    second.push(chunk(0.5))  # not in use yet
    first.push(chunk(1.0))
    first.push(picture(1.01))
    first.push(Progress("p1", "audio", END))
    feed.use(second)
    first.push(chunk(1.02))  # comes too late
    first.clock(5.0)
    second.clock(6.0)
    second.push(chunk(1.01))  # heard already
    second.push(Progress("p1", "video", 2.9))
    second.push(chunk(3.0))
    second.push(picture(3.1))
    second.push(chunk(3.02))
    assert kept.clocks == [None, 6.0]
    assert [item for item in kept.items if isinstance(item, Control)] == [
        Gap("p1", "audio", 1.02, 3.0, CUT),
        Gap("p1", "video", 1.01, 3.1, CUT),
    ]
    assert [item.t0 for item in kept.items if isinstance(item, AudioChunk)] == [1.0, 3.0, 3.02]
    assert [item.t for item in kept.items if isinstance(item, VideoFrame)] == [1.01, 3.1]


def test_a_source_ends_once_and_nothing_of_it_comes_after() -> None:
    feed, kept = Feed("p1"), Kept()
    feed.session = kept
    inlet = feed.inlet()
    feed.use(inlet)
    feed.end(["video"])
    inlet.push(picture(1.0))
    inlet.push(chunk(1.0))
    feed.end(["audio", "video"])
    inlet.push(chunk(2.0))
    ends = [item.source for item in kept.items if isinstance(item, Progress)]
    assert ends == ["video", "audio"]
    assert len(kept.items) == 3


moves = st.lists(st.one_of(st.just("again"), st.floats(-1.0, 1.0)), max_size=40)


@settings(deadline=None)
@given(moves)
def test_sound_never_goes_back_over_a_cut(moves: list[Any]) -> None:
    feed, kept = Feed("p1"), Kept()
    feed.session = kept
    inlet, t, cuts = feed.inlet(), 100.0, 0
    feed.use(inlet)
    for move in moves:
        if move == "again":
            inlet, cuts = feed.inlet(), cuts + 1
            feed.use(inlet)
            t -= 0.5  # the clock of the new connection is not known exactly
        else:
            t += abs(move)
            inlet.push(chunk(t))
            t += 0.02
    reached = 0.0
    for item in kept.items:
        if isinstance(item, Gap):
            assert item.t0 == reached
            reached = item.t1
        elif isinstance(item, AudioChunk):
            assert item.t0 >= reached - 1e-9
            reached = item.t1
    assert sum(isinstance(item, Gap) for item in kept.items) <= cuts


@pytest.fixture
def quick_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.3)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)


def cut(sender: RTCPeerConnection) -> None:
    """Nothing gets through any more, in either direction, and nobody is told."""
    for protocol in sender.getSenders()[0].transport.transport._connection._protocols:
        protocol.transport.abort()


async def resume(caller: Caller, key: str | None = None, offer: str | None = None) -> Any:
    """Connect again; the new sender, or what the server said instead."""
    sender = new_sender()
    now = time.monotonic() + 0.2
    sender.addTrack(Beeps(now, 0.0))
    sender.addTrack(Flashes(now))
    channel = sender.createDataChannel("events")
    channel.on("message", lambda text: caller.records.append(json.loads(text)))
    body = {"sdp": offer or await offer_of(sender), "type": "offer"}
    headers = {"Authorization": f"Bearer {key or caller.key}"}
    path = f"/api/sessions/{caller.session}/offer"
    async with caller.http.post(path, json=body, headers=headers) as response:
        told = await response.json()
        if response.status != 200:
            await sender.close()
            return response.status, told["error"]
    await accept(sender, told["sdp"])
    await until(lambda: sender.connectionState == "connected")
    return sender


def states(caller: Caller) -> list[dict[str, Any]]:
    return [r for r in caller.records if r["type"] == "state" and r["index"] >= 0]


def cuts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in records if r["type"] == "gap" and r["reason"] == CUT]


def tracks() -> tuple[Beeps, Flashes]:
    now = time.monotonic() + 0.3
    return Beeps(now, 0.0), Flashes(now)


@pytest.mark.usefixtures("quick_loss")
def test_a_call_goes_on_after_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record and its media too."""
    folder = tmp_path / "records"
    record = {"folder": str(folder), "days": {"estimates": 1, "media": 1}}

    async def run() -> Caller:
        async with (
            serving(record=record) as url,
            calling(url, *tracks(), record=True, media=True) as caller,
        ):
            await until(lambda: len(states(caller)) > 4, 20)
            cut(caller.sender)
            await asyncio.sleep(2.5)  # the server has noticed
            again = await resume(caller)
            await until(lambda: len(cuts(caller.records)) == 2)
            whole = max(gap["t1"] for gap in cuts(caller.records)) + 1.5
            await until(lambda: states(caller)[-1]["t"] > whole, 20)
            async with caller.http.get("/metrics") as response:
                assert 'what="resumed"} 1.0' in await response.text()
            path = f"/api/sessions/{caller.session}"
            async with caller.http.delete(path, headers=caller.bearer) as response:
                assert response.status == 204
            await until(lambda: "end" in caller.kinds())
            await again.close()
            return caller

    caller = asyncio.run(run())
    (path,) = folder.rglob("estimates.log")
    with LogReader(path) as reader:
        kept = [line for _, line in reader]
    gaps = cuts(kept)
    assert sorted(gap["source"] for gap in gaps) == ["audio", "video"]
    assert all(1.0 < gap["t1"] - gap["t0"] < 10.0 for gap in gaps)
    shown = Counter((r["index"], r["revision"]) for r in kept if r["type"] == "state")
    fresh = {key: n for key, n in shown.items() if key[0] >= 0 and n > 1}
    told = [r for r in kept if r["type"] == "state"]
    stale = {(r["index"], r["revision"]) for r in told if "stale" in r["reasons"]}
    assert set(fresh) <= stale  # nothing comes twice, but that nothing comes
    assert sum(r["t"] > max(gap["t1"] for gap in gaps) for r in told) > 4
    assert kept[-1]["type"] == "end" and kept[-1]["reason"] == "left"
    assert {r["person"] for r in kept if r.get("person")} == {caller.person}
    holes = {gap["source"]: (gap["t0"], gap["t1"]) for gap in gaps}
    media_over_a_cut(SessionFolder(folder, caller.session), holes)
    cheaply(monkeypatch)
    replay.main(["--session", str(path.parent)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["from"] == "media" and sum(result["alone"]) < result["windows"] / 2


def media_over_a_cut(session: SessionFolder, holes: dict[str, tuple[float, float]]) -> None:
    """One file for both connections, with one hole that is where the gap is."""
    for source, times in seen_and_heard(session.media).items():
        t0, t1 = holes[source]
        assert not [t for t in times if t0 + 0.1 < t < t1 - 0.1]
        assert sum(t <= t0 + 0.1 for t in times) > 50 and sum(t >= t1 - 0.1 for t in times) > 20
        assert np.sum(np.diff(times) > 0.5) == 1 and (np.diff(times) > 0).all()
    with LogReader(session.file("media")) as log:
        lines = [line for _, line in log]
    assert {line["track"] for line in lines if line["t"] > holes["audio"][1] - 0.1} == set(holes)


@pytest.mark.usefixtures("quick_loss")
def test_a_call_is_over_when_nobody_comes_back() -> None:
    async def run() -> tuple[float, Any]:
        async with (
            serving(reconnect_within=1.0) as url,
            calling(url, *tracks()) as caller,
        ):
            events = f"/api/sessions/{caller.session}/events"
            async with caller.http.ws_connect(events, headers=caller.bearer) as socket:
                await until(lambda: "state" in caller.kinds())
                cut(caller.sender)
                begin = time.monotonic()
                last: dict[str, Any] = {}
                async for message in socket:
                    last = json.loads(message.data)
                took = time.monotonic() - begin
            assert last["type"] == "end" and last["reason"] == "connection lost"
            return took, await resume(caller)

    took, late = asyncio.run(run())
    assert took >= 1.0
    assert late[0] == 404


@pytest.mark.usefixtures("quick_loss")
@pytest.mark.parametrize("how", ["end", "withdraw"])
def test_a_call_that_waits_can_be_ended_and_withdrawn(how: str) -> None:
    async def run() -> float:
        async with serving() as url, calling(url, *tracks()) as caller:
            await until(lambda: "state" in caller.kinds())
            cut(caller.sender)
            await asyncio.sleep(2.0)
            begin = time.monotonic()
            path = f"/api/sessions/{caller.session}"
            if how == "end":
                async with caller.http.delete(path, headers=caller.bearer) as response:
                    assert response.status == 204
            else:
                async with caller.http.post(f"{path}/withdraw", headers=caller.bearer) as response:
                    assert response.status == 200
            await until_no_call(caller.http)
            return time.monotonic() - begin

    assert asyncio.run(run()) < 3.0


@pytest.mark.long
def test_another_connection_that_never_stands_ends_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        async with serving() as url, calling(url, *tracks()) as caller:
            await until(lambda: len(states(caller)) > 2, 20)
            monkeypatch.setattr("stream.line.CONNECT_S", 0.3)
            absent = new_sender()
            absent.addTrack(tracks()[0])
            body = {"sdp": await offer_of(absent), "type": "offer"}
            path = f"/api/sessions/{caller.session}/offer"
            async with caller.http.post(path, json=body, headers=caller.bearer) as response:
                assert response.status == 200  # and nothing more comes of it
            await asyncio.sleep(1.0)
            monkeypatch.undo()
            again = await resume(caller)
            index = states(caller)[-1]["index"]
            await until(lambda: states(caller)[-1]["index"] > index + 4)
            names = [thread.name for thread in threading.enumerate()]
            assert (names.count("audio-decoder"), names.count("video-decoder")) == (1, 1)
            await absent.close()
            await again.close()
            await until_no_call(caller.http)

    asyncio.run(run())


def test_who_may_take_up_a_call_and_with_what() -> None:
    """Also before the server has noticed; what is refused changes nothing."""

    async def run() -> None:
        async with serving() as url, calling(url, *tracks()) as caller:
            await until(lambda: len(states(caller)) > 2, 20)
            status, error = await resume(caller, key="wrong" * 8)
            assert status == 401 and "key" in error
            status, error = await resume(caller, offer="nonsense")
            assert status == 400 and "agreed to" in error
            seen = len(states(caller))
            await until(lambda: len(states(caller)) > seen + 2)
            again = await resume(caller)
            index = states(caller)[-1]["index"]
            await until(lambda: states(caller)[-1]["index"] > index + 4)
            await until(lambda: caller.sender.connectionState == "closed")  # it was let go
            await again.close()  # says goodbye: the call is over
            await until_no_call(caller.http)

    asyncio.run(run())
