"""Picture and sound of a call, kept as they came, of those who agreed to exactly that."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.buffers import Encoded
from stream.clock import Line, Stamp
from stream.keep import LIMIT, MediaQueue, MediaWriter
from stream.receivers import RATES, Kind
from stream.record_files import SessionFolder, sessions, sweep
from tests import recordings
from tests.serving import calling, serving
from tests.test_drain import running, url_of
from tests.webrtc_peers import Beeps, Flashes, until

pytestmark = pytest.mark.live

DAYS = {"estimates": 1, "media": 1}


def seen_and_heard(path: Path) -> dict[str, list[float]]:
    """Times of all pictures and pieces of sound that can be decoded."""
    with av.open(str(path)) as file:
        heard = [frame.time or 0.0 for frame in file.decode(audio=0)]
    with av.open(str(path)) as file:
        seen = [frame.time or 0.0 for frame in file.decode(video=0)]
    return {"audio": heard, "video": seen}


def test_media_is_kept_as_it_was_received(tmp_path: Path) -> None:
    async def run() -> str:
        async with serving(record={"folder": str(tmp_path), "days": DAYS}) as url:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True, media=True) as caller:
                await until(lambda: sum(r["type"] == "state" for r in caller.records) >= 8, 30.0)
                return caller.session

    folder = SessionFolder(tmp_path, asyncio.run(run()))
    assert set(folder.files()) == {"estimates", "media"} and not folder.is_live()
    assert oct(folder.media.stat().st_mode)[-3:] == "600"
    times = seen_and_heard(folder.media)
    newest = [record["t"] for record in folder.records() if record["type"] == "state"][-1]
    for kind, rate in (("audio", 50), ("video", 20)):
        found = times[kind]
        assert found == sorted(found) and abs(found[-1] - newest) < 1.5
        assert len(found) > 0.8 * rate * (found[-1] - found[0])
    header = folder.header("media")
    assert header["keep_until"] == header["started"] + 86_400
    log = (folder.path / "media.log").read_text().splitlines()
    assert {'"track":"audio"' in line for line in log[1:]} == {True, False}
    gone = folder.erase()
    assert [(each.artefact, each.bytes > 0) for each in gone] == [
        ("estimates", True),
        ("media", True),
        ("media", True),
    ]
    assert sessions(tmp_path) == []


@pytest.mark.parametrize(
    ("days", "consent"),
    [
        (DAYS, {"record": True}),
        (DAYS, {"media": True}),
        ({"estimates": 1}, {"record": True, "media": True}),
    ],
)
def test_no_media_without_both_consents_and_configuration(
    days: dict[str, int], consent: dict[str, Any], tmp_path: Path
) -> None:
    async def run() -> None:
        async with serving(record={"folder": str(tmp_path), "days": days}) as url:
            begin = time.monotonic() + 0.2
            async with calling(url, Beeps(begin, 0.0), Flashes(begin), **consent) as caller:
                await until(lambda: "face" in caller.kinds(), 20.0)
                await asyncio.sleep(1.0)

    asyncio.run(run())
    assert not list(tmp_path.rglob("media.*"))


def test_withdrawal_erases_media_with_a_receipt(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with serving(record={"folder": str(tmp_path), "days": DAYS}) as url:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True, media=True) as caller:
                await until(lambda: any(tmp_path.rglob("media.mkv")), 20.0)
                await asyncio.sleep(1.0)
                path = f"/api/sessions/{caller.session}/withdraw"
                async with caller.http.post(path, headers=caller.bearer) as response:
                    receipt: dict[str, Any] = await response.json()
                    return receipt

    receipt = asyncio.run(run())
    erased = {each["artefact"]: each for each in receipt["erased"]}
    assert set(erased) == {"estimates", "media"} and len(erased["media"]["sha256"]) == 64
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("media")]


def test_a_killed_server_leaves_media_that_can_be_read(tmp_path: Path) -> None:
    async def run(process: Any) -> float:
        begin = time.monotonic() + 0.2
        tracks = Beeps(begin, 0.0), Flashes(begin)
        async with calling(url_of(process), *tracks, record=True, media=True) as caller:
            await until(lambda: sum(r["type"] == "face" for r in caller.records) >= 30, 30.0)
            t: float = [r["t"] for r in caller.records if r["type"] == "face"][-1]
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            return t

    with running("cheap", tmp_path, record={"folder": str(tmp_path), "days": DAYS}) as process:
        t = asyncio.run(run(process))
    [folder] = sessions(tmp_path)
    times = seen_and_heard(folder.media)
    assert min(times["audio"][-1], times["video"][-1]) > t - 1.5
    gone = sweep(tmp_path, time.time() + 2 * 86_400, {})
    assert {each.artefact for each in gone[folder.session]} == {"estimates", "media"}
    assert not folder.path.exists()


def frames(path: Path) -> Iterator[tuple[Kind, str, Encoded]]:
    """Opus and VP8 of a recording, as they would be received."""
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.dts is None or packet.time_base is None:
                continue
            kind: Kind = "audio" if packet.stream.type == "audio" else "video"
            ticks = round(float(packet.dts * packet.time_base) * RATES[kind])
            stamp = Stamp(ticks, Line(RATES[kind], 0.0, False, 0))
            yield kind, "opus" if kind == "audio" else "vp8", Encoded(bytes(packet), stamp, None)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Kind, str, Encoded]]:
    folder = tmp_path_factory.mktemp("keep")
    path = recordings.write(folder / "a.webm", audio="libopus", video="libvpx", seconds=6.0)
    return sorted(frames(path), key=lambda frame: frame[2].stamp.t)


def written(folder: Path, encoded: list[tuple[Kind, str, Encoded]], **sizes: int) -> MediaWriter:
    queue = MediaQueue(frozenset({"audio", "video"}))
    writer = MediaWriter(folder / "media.log", folder / "media.mkv", {"type": "log"}, queue)
    for i, (kind, codec, frame) in enumerate(encoded):
        queue.put(kind, codec, frame)
        if i % sizes.get("at_once", 10) == 0:
            writer.write()
    return writer


def test_cut_anywhere_what_is_whole_can_be_read(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]]
) -> None:
    written(tmp_path, encoded).close()
    data = (tmp_path / "media.mkv").read_bytes()
    whole = seen_and_heard(tmp_path / "media.mkv")
    sent = [kind for kind, _, _ in encoded]
    assert {kind: len(times) for kind, times in whole.items()} == {
        kind: sent.count(kind) for kind in ("audio", "video")
    }
    before = -1
    for part in range(2, 10):
        (tmp_path / "cut.mkv").write_bytes(data[: len(data) * part // 10])
        count = len(seen_and_heard(tmp_path / "cut.mkv")["video"])
        assert count >= before
        before = count
    assert before > 0.6 * len(whole["video"])


def test_a_disk_that_refuses_loses_what_came_then_and_no_more(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = len(encoded) // 3
    writer = written(tmp_path, encoded[:third])
    writer.write()
    queue = writer._queue
    monkeypatch.setattr(os, "write", _full)
    refused = 0
    for each in encoded[third : 2 * third]:
        queue.put(*each)
        try:
            writer.write()
        except OSError:
            refused += 1
    monkeypatch.undo()
    for each in encoded[2 * third :]:
        queue.put(*each)
        writer.write()
    writer.close()
    assert refused and writer.lost
    times = seen_and_heard(tmp_path / "media.mkv")["audio"]
    assert times[-1] > 5.5 and times[0] < 0.1


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


@given(st.lists(st.integers(1, LIMIT // 3), max_size=30))
def test_what_waits_is_bounded(sizes: list[int]) -> None:
    queue = MediaQueue(frozenset({"audio"}))
    stamp = Stamp(0, Line(48_000, 0.0, False, 0))
    for size in sizes:
        queue.put("audio", "opus", Encoded(bytes(size), stamp, None))
    queue.put("video", "vp8", Encoded(b"face", stamp, None))  # not agreed to
    queue.paused = lambda: True
    queue.put("audio", "opus", Encoded(b"private", stamp, None))
    taken, dropped = queue.take()
    assert len(taken) + dropped == len(sizes)
    assert [len(frame.data) for frame in taken] == sizes[dropped:]
    assert sum(len(frame.data) for frame in taken) <= LIMIT
    assert queue.take() == ([], 0)
