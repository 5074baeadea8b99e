"""Picture and sound of a call, kept as they came, of those who agreed to exactly that."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.buffers import Encoded
from stream.clock import Line, Stamp
from stream.keep import LIMIT, MediaQueue, MediaWriter
from stream.matroska import Block, Picture, Sound, clusters, header
from stream.receivers import RATES, Kind
from stream.record_files import SessionFolder, sessions, sweep
from stream.record_log import LogReader
from tests import recordings
from tests.serving import calling, serving
from tests.test_decoders import SPEECH
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


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_media_is_kept_as_it_was_received(tmp_path: Path, codec: str) -> None:
    async def run() -> str:
        async with serving(record={"folder": str(tmp_path), "days": DAYS}) as url:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True, media=True, codec=codec) as caller:
                await until(lambda: sum(r["type"] == "state" for r in caller.records) >= 8, 30.0)
                return caller.session

    folder = SessionFolder(tmp_path, asyncio.run(run()))
    assert set(folder.files()) == {"estimates", "media"} and not folder.is_live()
    assert oct(folder.media.stat().st_mode)[-3:] == "600"
    times = seen_and_heard(folder.media)
    with av.open(str(folder.media)) as file:
        assert file.streams.video[0].codec_context.name == codec[6:].lower()
    newest = [record["t"] for record in folder.records() if record["type"] == "state"][-1]
    for kind, rate in (("audio", 50), ("video", 20)):
        found = times[kind]
        assert abs(found[-1] - newest) < 1.5
        steps = np.diff(found)
        assert (steps > 0).all() and (steps > 0.5 / rate).mean() > 0.9
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
    put = queue.inlet()
    for i, (kind, codec, frame) in enumerate(encoded):
        put(kind, codec, frame)
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


def test_sound_is_written_in_time_while_no_pictures_come(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]]
) -> None:
    """And pictures when they come again."""
    some = [each for each in encoded if each[0] == "audio" or not 1.0 < each[2].stamp.t < 5.0]
    writer = written(tmp_path, [each for each in some if each[2].stamp.t < 4.0])
    writer.write()
    shutil.copy(tmp_path / "media.mkv", tmp_path / "now.mkv")  # what a killed server leaves
    assert seen_and_heard(tmp_path / "now.mkv")["audio"][-1] > 2.5
    put = writer._queue.inlet()
    for each in some:
        if each[2].stamp.t >= 4.0:
            put(*each)
            writer.write()
    writer.close()
    times = seen_and_heard(tmp_path / "media.mkv")
    assert times["audio"][-1] > 5.9 and times["video"][-1] > 5.9
    assert sum(t >= 5.0 for t in times["video"]) == sum(
        kind == "video" and frame.stamp.t >= 5.0 for kind, _, frame in some
    )


def test_a_disk_that_refuses_loses_what_came_then_and_no_more(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = len(encoded) // 3
    writer = written(tmp_path, encoded[:third])
    writer.write()
    put = writer._queue.inlet()
    monkeypatch.setattr(os, "write", _full)
    refused = 0
    for each in encoded[third : 2 * third]:
        put(*each)
        try:
            writer.write()
        except OSError:
            refused += 1
    assert refused >= sum(kind == "audio" for kind, _, _ in encoded[third : 2 * third])
    monkeypatch.undo()
    for each in encoded[2 * third :]:
        put(*each)
        writer.write()
    writer.close()
    assert writer.lost
    with LogReader(tmp_path / "media.log") as log:
        tracks = [line["track"] for _, line in log if line["type"] == "line"]
    assert tracks.count("audio") > 1  # told again, since it may not have been
    times = seen_and_heard(tmp_path / "media.mkv")["audio"]
    assert times[-1] > 5.5 and times[0] < 0.1


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


@given(st.lists(st.integers(1, LIMIT // 3), max_size=30))
def test_what_waits_is_bounded(sizes: list[int]) -> None:
    queue = MediaQueue(frozenset({"audio"}))
    put = queue.inlet()
    stamp = Stamp(0, Line(48_000, 0.0, False, 0))
    for size in sizes:
        put("audio", "opus", Encoded(bytes(size), stamp, None))
    put("video", "vp8", Encoded(b"face", stamp, None))  # not agreed to
    queue.paused = lambda: True
    put("audio", "opus", Encoded(b"private", stamp, None))
    taken, dropped = queue.take()
    assert len(taken) + dropped == len(sizes)
    assert [len(frame.data) for frame in taken] == sizes[dropped:]
    assert sum(len(frame.data) for frame in taken) <= LIMIT
    assert queue.take() == ([], 0)


@given(
    st.lists(
        st.tuples(st.just(1), st.integers(0, 70_000), st.binary(min_size=1, max_size=300))
        | st.tuples(st.just(2), st.integers(0, 70_000), st.sampled_from(SPEECH)),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_written_comes_back(frames: list[tuple[int, int, bytes]]) -> None:
    times = np.cumsum([step for _, step, _ in frames])
    blocks = [
        Block(track, int(at), True, data)
        for (track, _, data), at in zip(frames, times, strict=True)
    ]
    tracks: list[Sound | Picture] = [Picture("vp8", 160, 90), Sound(2, 48_000)]
    data = io.BytesIO(header(tracks) + clusters(blocks))
    with av.open(data, "r") as file:
        assert [stream.codec_context.name for stream in file.streams] == ["vp8", "opus"]
        size = file.streams.video[0].codec_context
        assert (size.width, size.height) == (160, 90)
        found = [packet for packet in file.demux() if packet.size]
        again = [(packet.stream.index + 1, packet.pts, bytes(packet)) for packet in found]
    assert again == [(block.track, block.at, block.data) for block in blocks]


KEY, OTHER = b"\0" * 10, b"\1" * 10
"""As VP8 begins a key frame, and another."""


def pictures(*data: bytes) -> list[Encoded]:
    line = Line(90_000, 0.0, False, 0)
    return [Encoded(each, Stamp(3000 * n, line), None) for n, each in enumerate(data)]


def test_pictures_that_rest_on_one_that_is_missing_are_left_out() -> None:
    queue = MediaQueue(frozenset({"video"}))
    put = queue.inlet()
    first, second, third, fourth, fifth, sixth = pictures(KEY, OTHER, OTHER, OTHER, KEY, OTHER)
    assert not put("video", "vp8", first)
    queue.paused = lambda: True
    assert not put("video", "vp8", second)  # nothing is asked of a sender who wants a pause
    queue.paused = lambda: False
    assert put("video", "vp8", third) and put("video", "vp8", fourth)  # a key frame is needed
    assert not put("video", "vp8", fifth) and not put("video", "vp8", sixth)
    taken, _ = queue.take()
    assert [frame.stamp for frame in taken] == [first.stamp, fifth.stamp, sixth.stamp]
    for each in pictures(OTHER, KEY, OTHER):
        put("video", "vp8", each)
    queue.lost(taken)  # the disk refused them
    assert [frame.data for frame in queue.take()[0]] == [KEY, OTHER]
    big = bytes(LIMIT // 2)
    for each in pictures(OTHER + big, OTHER, KEY + big, OTHER):
        wanted = put("video", "vp8", each)
    assert not wanted
    assert [frame.data for frame in queue.take()[0]] == [KEY + big, OTHER]


def test_of_two_connections_only_the_later_is_kept() -> None:
    queue = MediaQueue(frozenset({"video"}))
    first, second = queue.inlet(), queue.inlet()
    frames = pictures(KEY, OTHER, KEY, OTHER)
    first("video", "vp8", frames[0])
    second("video", "vp8", frames[2])
    first("video", "vp8", frames[1])  # what its decoder still had
    second("video", "vp8", frames[3])
    kept = [frame.stamp for frame in queue.take()[0]]
    assert kept == [frames[0].stamp, frames[2].stamp, frames[3].stamp]


def moved(
    encoded: list[tuple[Kind, str, Encoded]], *, ahead: float, until: float, provisional: bool
) -> list[tuple[Kind, str, Encoded]]:
    """What lies before `until` was placed `ahead` of where it belongs."""
    found = []
    for kind, codec, frame in encoded:
        early = frame.stamp.t < until
        line = Line(RATES[kind], ahead if early else 0.0, provisional and early, int(not early))
        found.append((kind, codec, frame._replace(stamp=frame.stamp._replace(line=line))))
    return found


def test_what_came_late_at_the_beginning_is_placed_by_what_is_known_later(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]]
) -> None:
    """It all came at once, when the connection stood."""
    waited = []
    for kind, codec, frame in encoded:
        late = max(0.0, 0.3 - frame.stamp.t)
        line = Line(RATES[kind], late, late > 0, 0)
        waited.append((kind, codec, frame._replace(stamp=frame.stamp._replace(line=line))))
    (tmp_path / "late").mkdir()
    (tmp_path / "straight").mkdir()
    written(tmp_path / "late", waited).close()
    written(tmp_path / "straight", encoded).close()
    found = seen_and_heard(tmp_path / "late" / "media.mkv")
    assert found == seen_and_heard(tmp_path / "straight" / "media.mkv")


def test_sound_that_comes_again_is_left_out_and_pictures_are_not(
    tmp_path: Path, encoded: list[tuple[Kind, str, Encoded]]
) -> None:
    """A report moved both tracks back by 0.2 s."""
    writer = written(tmp_path, moved(encoded, ahead=0.2, until=3.0, provisional=False))
    writer.close()
    times = seen_and_heard(tmp_path / "media.mkv")
    sent = [kind for kind, _, _ in encoded]
    assert len(times["audio"]) == sent.count("audio") - 10
    assert len(times["video"]) == sent.count("video")
    assert (np.diff(times["audio"])[1:] > 0.015).all() and (np.diff(times["video"]) > 0).all()
    assert times["audio"][-1] == pytest.approx(encoded[-1][2].stamp.t, abs=0.1)


PARAMETERS = b"\0\0\0\1\x67\x42\x00\x1f\xff\0\0\0\1\x68\xce\x06"


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\0\0\0\1\x67",
        b"\0\0\0\1\x65\xff\xff",
        PARAMETERS,
        b"\0\0\0\1\x67\x42\0\0\0\1\x68\0\0\0\1\x65",
        PARAMETERS + b"\0\0\1\x65\xff",
    ],
)
def test_pictures_that_cannot_be_read_harm_no_record(tmp_path: Path, first: bytes) -> None:
    queue = MediaQueue(frozenset({"video"}))
    writer = MediaWriter(tmp_path / "media.log", tmp_path / "media.mkv", {"type": "log"}, queue)
    put = queue.inlet()
    for each in pictures(first, *[b"\0\0\0\1\x41" + bytes(n) for n in range(400)]):
        wanted = put("video", "h264", each)
        writer.write()
    writer.close()
    assert not wanted  # a sender is not asked for ever
    whole = first.startswith(PARAMETERS) and len(first) > len(PARAMETERS)
    assert (tmp_path / "media.mkv").exists() == whole
