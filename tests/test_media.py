from __future__ import annotations

import itertools
import math
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import boxes, ebml, riff
from stream.decimate import Decimator
from stream.decode import Decoder
from stream.errors import MediaError
from stream.matroska import UNKNOWN, Sound, header
from stream.media import Media, MediaItem, Request, open_media
from tests import recordings
from workers.messages import END, SAMPLE_RATE, AudioChunk, Gap, Progress, VideoFrame


def read(path: Path, **options: Any) -> tuple[Media, list[MediaItem]]:
    with open_media(path, **{"fps": 10.0, **options}) as media:
        return media, list(media)


def sound(items: list[MediaItem]) -> list[AudioChunk]:
    return [item for item in items if isinstance(item, AudioChunk)]


def pictures(items: list[MediaItem]) -> list[VideoFrame]:
    return [item for item in items if isinstance(item, VideoFrame)]


def assert_sound(chunks: list[AudioChunk], seconds: float, at: float = 0.0) -> None:
    """Without holes, from `at` on, `seconds` long, the tone where it belongs."""
    assert chunks[0].t0 == pytest.approx(at, abs=0.002)
    for before, after in itertools.pairwise(chunks):
        assert after.t0 == pytest.approx(before.t1, abs=1e-6)
    assert chunks[-1].t1 == pytest.approx(at + seconds, abs=0.06)
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert samples.dtype == np.float32 and np.abs(samples).max() == pytest.approx(0.5, abs=0.05)
    onset = np.flatnonzero(np.abs(samples) > 0.2)[0] / SAMPLE_RATE
    assert onset == pytest.approx(recordings.TONE_AT, abs=0.008)


def assert_pictures(frames: list[VideoFrame], times: list[float]) -> None:
    """At `times`, and each shows its own time."""
    assert [frame.t for frame in frames] == pytest.approx(times, abs=0.0011)
    for frame in frames:
        grey = float(np.median(frame.image[-8:]))
        assert grey == pytest.approx(recordings.grey_of(frame.t), abs=4)


BOTH = [
    ("a.mp4", "aac", "libx264", 48_000),
    ("a.mov", "aac", "libx264", 44_100),
    ("a.mkv", "aac", "libx264", 44_100),  # times in whole milliseconds, frames of 23.22 ms
    ("a.webm", "libopus", "libvpx", 48_000),
]


@pytest.mark.parametrize(("name", "audio", "video", "rate"), BOTH)
def test_sound_and_picture(tmp_path: Path, name: str, audio: str, video: str, rate: int) -> None:
    path = recordings.write(tmp_path / name, audio=audio, video=video, rate=rate)
    media, items = read(path)
    assert (media.has_audio, media.has_video, media.name) == (True, True, name)
    assert media.duration == pytest.approx(2.0, abs=0.1)
    assert media.position == pytest.approx(2.0, abs=0.1)
    assert_sound(sound(items), 2.0)
    kept = Decimator(10.0)
    assert_pictures(pictures(items), [i / 25 for i in range(50) if kept.keep(i / 25)])
    skipped = [i for i in items if isinstance(i, Progress) and i.t != END]
    assert len(skipped) == 30 and {item.source for item in skipped} == {"video"}
    assert not media.warnings


@pytest.mark.parametrize(
    ("name", "audio", "rate"),
    [
        ("a.wav", "pcm_s16le", 16_000),
        ("a.flac", "flac", 22_050),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.m4a", "aac", 8_000),
    ],
)
def test_sound_only(tmp_path: Path, name: str, audio: str, rate: int) -> None:
    media, items = read(recordings.write(tmp_path / name, audio=audio, rate=rate))
    assert (media.has_audio, media.has_video) == (True, False)
    assert_sound(sound(items), 2.0)
    assert items[0] == Progress("p1", "video", END), "nobody has to wait for pictures"
    assert items[-1] == Progress("p1", "audio", END)


@pytest.mark.parametrize(
    ("name", "audio", "layout"),
    [("a.wav", "pcm_s16le", "stereo"), ("a.m4a", "aac", "stereo"), ("a.flac", "flac", "5.1")],
)
def test_channels_are_mixed_without_change_of_level(
    tmp_path: Path, name: str, audio: str, layout: str
) -> None:
    path = recordings.write(tmp_path / name, audio=audio, layout=layout, seconds=1.0)
    samples = np.concatenate([chunk.samples for chunk in sound(read(path)[1])])
    if layout == "5.1":  # FFmpeg's own mix of centre and surround, clipped to what is possible
        assert 0.5 < np.abs(samples).max() <= 1.0
    else:
        assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


def test_pictures_only(tmp_path: Path) -> None:
    media, items = read(recordings.write(tmp_path / "a.mkv", video="libx264"))
    assert (media.has_audio, media.has_video) == (False, True)
    assert len(pictures(items)) == 20
    assert items[0] == Progress("p1", "audio", END)
    assert items[-1] == Progress("p1", "video", END)


def test_variable_frame_rate_keeps_the_times_of_the_file(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.05, 0.31, 0.33, 0.39, 0.45, 1.2, 1.25, 1.9]
    path = recordings.write(tmp_path / "a.mp4", video="libx264", times=times)
    _, items = read(path)
    assert_pictures(pictures(items), [0.0, 0.31, 0.45, 1.2, 1.9])


def test_items_come_in_the_order_of_time(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264")
    ends = [
        item.t1 if isinstance(item, AudioChunk) else item.t
        for item in read(path)[1]
        if not isinstance(item, Gap) and not (isinstance(item, Progress) and item.t == END)
    ]
    assert ends == sorted(ends)


@pytest.mark.parametrize(("rotation", "row", "column"), [(90, 1, 0), (-90, 0, 1), (180, 1, 1)])
def test_pictures_are_upright(tmp_path: Path, rotation: int, row: int, column: int) -> None:
    path = recordings.write(
        tmp_path / "a.mp4", video="libx264", seconds=0.2, size=(96, 64), rotation=rotation
    )
    image = pictures(read(path)[1])[0].image
    assert image.shape == ((64, 96, 3) if rotation == 180 else (96, 64, 3))
    height, width = image.shape[0] // 2, image.shape[1] // 2
    quarters = image.reshape(2, height, 2, width, 3).mean(axis=(1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == (row, column)


def test_pictures_are_at_most_so_wide(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", video="libx264", seconds=0.2, size=(320, 180))
    assert pictures(read(path, max_width=160)[1])[0].image.shape == (90, 160, 3)
    assert pictures(read(path)[1])[0].image.shape == (180, 320, 3)


def test_stream_time_starts_with_the_earliest_stream(tmp_path: Path) -> None:
    times = [5.0 + i / 25 for i in range(50)]
    path = recordings.write(
        tmp_path / "a.mkv", audio="aac", video="libx264", audio_at=5.7, times=times, fps=25
    )
    _, items = read(path)
    assert pictures(items)[0].t == 0.0
    assert_sound(sound(items), 2.0, at=0.7)
    only_sound = read(path, video=False)[1]
    assert sound(only_sound)[0].t0 == sound(items)[0].t0, "the same clock when pictures are unread"


def test_a_hole_in_the_sound_stays_a_hole(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mkv", audio="pcm_s16le", rate=16_000, hole=(0.8, 1.2))
    chunks = sound(read(path)[1])
    holes = [
        (before.t1, after.t0)
        for before, after in itertools.pairwise(chunks)
        if after.t0 - before.t1 > 1e-6
    ]
    assert holes == [pytest.approx((0.8, 1.2), abs=0.001)]
    assert sum(len(chunk.samples) for chunk in chunks) == 1.6 * SAMPLE_RATE


def test_the_child_gives_exactly_what_decoding_here_gives(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264", seconds=1.0)
    here = list(Decoder(Request(str(path), "p1", 10.0, 640, audio=True, video=True)))
    there = read(path)[1]
    assert len(here) == len(there)
    for ours, theirs in zip(here, there, strict=True):
        match ours, theirs:
            case AudioChunk(), AudioChunk():
                assert ours.t0 == theirs.t0
                np.testing.assert_array_equal(ours.samples, theirs.samples)
                assert not theirs.samples.flags.writeable
            case VideoFrame(), VideoFrame():
                assert ours.t == theirs.t
                np.testing.assert_array_equal(ours.image, theirs.image)
                assert not theirs.image.flags.writeable
            case _:
                assert ours == theirs


def test_a_crash_of_the_decoder_is_an_error_after_what_was_decoded(tmp_path: Path) -> None:
    path = recordings.write(
        tmp_path / "a.mp4", audio="aac", video="libx264", seconds=2.0, size=(640, 360)
    )
    with open_media(path, fps=25.0) as media:
        items = iter(media)
        got = []
        while media.position < 0.5:
            got.append(next(items))
        os.kill(media.pid, signal.SIGSEGV)
        with pytest.raises(MediaError, match=r"crashed on .*a\.mp4 at about \d\.\d s \(SIGSEGV\)"):
            got.extend(items)
    assert 0.5 <= media.position < 2.0, "a wait of the child for us bounds what is decoded ahead"
    assert len(pictures(got)) >= 10


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.8])
def test_a_file_that_was_cut_off_gives_what_is_there_and_an_error(
    tmp_path: Path, share: float
) -> None:
    whole = recordings.write(
        tmp_path / "whole.mp4",
        audio="aac",
        video="libx264",
        seconds=12.0,
        options={"movflags": "faststart"},
    )
    path = tmp_path / "cut.mp4"
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 15 // 100 + int(len(data) * 0.85 * share)])
    items: list[MediaItem] = []
    with (
        pytest.raises(MediaError, match=r"could be read only to about .* 12\.0 s") as caught,
        open_media(path, fps=10.0) as media,
    ):
        items.extend(media)
    assert "cut off" in caught.value.hint
    assert len(items) > 5
    assert media.position == pytest.approx(12 * share, abs=3.0)


@pytest.mark.parametrize("name", ["a.wav", "a.w64", "wide.wav"])
def test_sound_that_was_cut_off_by_a_millisecond_is_told(tmp_path: Path, name: str) -> None:
    options = {"rf64": "always"} if name == "wide.wav" else None
    path = recordings.write(tmp_path / name, audio="pcm_s16le", rate=16_000, options=options)
    data = path.read_bytes()
    read(path)
    for missing in (1, 63_998):
        path.write_bytes(data[:-missing])
        there = 64_000 - missing
        why = rf"could be read only to .*promises 64000 bytes of sound, {there} are there"
        with pytest.raises(MediaError, match=why) as caught:
            read(path)
        assert "cut off" in caught.value.hint


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_sound_of_unknown_length_is_whole(tmp_path: Path, size: int) -> None:
    """As it comes out of a pipe."""
    path = recordings.write(tmp_path / "a.wav", audio="pcm_s16le", rate=16_000)
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + size.to_bytes(4, "little") + data[at + 4 :])
    assert riff.sound(path) is None
    assert sound(read(path)[1])[-1].t1 == pytest.approx(2.0)


@given(st.binary(max_size=200), st.sampled_from([b"RIFF\0\0\0\0WAVE", b"RF64\0\0\0\0WAVE", b""]))
def test_any_header_can_be_looked_at(data: bytes, head: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(head + data)
        file.flush()
        found = riff.sound(file.name)
    assert found is None or 0 <= found.there <= min(found.promised, len(data))


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_film_that_was_cut_off_by_some_bytes_is_told(
    tmp_path: Path, options: dict[str, str]
) -> None:
    """Also where one track of the index is whole, and the other would be left out in silence."""
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264", options=options)
    data = path.read_bytes()
    assert boxes.lacking(path) is None
    read(path)
    last = "mdat" if options else "moov"
    for missing in (1, 20, 900):
        path.write_bytes(data[:-missing])
        assert boxes.lacking(path) == (last, missing)
        with pytest.raises(MediaError, match=rf"{missing} bytes are missing .* {last}|not a rec"):
            read(path)


@given(st.binary(max_size=100), st.sampled_from([b"\0\0\0\x10ftypisom\0\0\0\0", b""]))
def test_any_boxes_can_be_looked_at(data: bytes, head: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(head + data)
        file.flush()
        found = boxes.lacking(file.name)
    assert found is None or found[1] > 0


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "live.webm"])
def test_matroska_that_was_cut_off_by_some_bytes_is_told(tmp_path: Path, name: str) -> None:
    """Where it is written to be seen while it grows, all but cuts between two clusters."""
    options = {"live": "1"} if name == "live.webm" else {}
    path = recordings.write(
        tmp_path / name, audio="libopus", video="libvpx", seconds=3.0, options=options
    )
    data = path.read_bytes()
    assert ebml.lacking(path) is None
    read(path)
    for missing in (1, 20, 900):
        path.write_bytes(data[:-missing])
        assert ebml.lacking(path) == missing
        with pytest.raises(MediaError, match=f"at least {missing} bytes are missing"):
            read(path)


def test_media_that_were_kept_may_end_with_their_server(tmp_path: Path) -> None:
    path = recordings.write(
        tmp_path / "a.mkv", audio="libopus", video="libvpx", seconds=3.0, options={"live": "1"}
    )
    path.write_bytes(path.read_bytes()[:-20])
    with open_media(path, fps=10.0, as_stored=True) as media:
        assert sound(list(media))[-1].t1 > 1.0


def test_what_a_browser_records_is_whole_between_two_blocks(tmp_path: Path) -> None:
    """Neither the segment nor its clusters say how long they are."""
    begin = header([Sound(1, 48_000)]) + b"\x1f\x43\xb6\x75" + UNKNOWN + b"\xe7\x81\0"
    block = b"\xa3\x87\x81\0\0\x80abc"
    path = tmp_path / "a.webm"
    for count, cut in ((0, 0), (1, 0), (2, 0), (2, 1), (2, 3), (2, 7)):
        data = begin + count * block
        path.write_bytes(data[: len(data) - cut])
        assert ebml.lacking(path) == (cut or None)
    path.write_bytes(begin + block + b"\xa3")
    assert ebml.lacking(path) == 1  # so much at least
    path.write_bytes(begin + block + b"garbage" + block[:-1])
    assert ebml.lacking(path) is None  # damaged rather than cut off


@given(st.binary(max_size=100), st.sampled_from([header([]), header([])[:-20], b""]))
def test_any_elements_can_be_looked_at(data: bytes, head: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(head + data)
        file.flush()
        found = ebml.lacking(file.name)
    assert found is None or found > 0


def test_no_cut_through_the_index_is_a_crash_here(tmp_path: Path) -> None:
    whole = recordings.write(tmp_path / "whole.mp4", audio="aac", video="libx264", seconds=1.0)
    data = whole.read_bytes()
    index = data.index(b"moov")
    path = tmp_path / "cut.mp4"
    cuts = np.linspace(8, (index + len(data)) // 2, 8).astype(int).tolist()
    errors = []
    for end in (*cuts, index + 20, index + 200):
        path.write_bytes(data[:end])
        try:
            read(path)  # the index of one stream may be whole
        except MediaError as error:
            errors.append(error)
    assert len(errors) >= 8
    assert all(str(path) in str(error) and error.hint for error in errors)


def test_damage_inside_is_skipped_and_marked(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mkv", audio="flac", seconds=2.0)
    data = bytearray(path.read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    media, items = read(path)
    assert media.warnings == ["1 damaged packets were skipped"]
    (gap,) = (item for item in items if isinstance(item, Gap))
    assert (gap.source, gap.reason) == ("audio", "decode_error")
    assert 0.5 < gap.t0 < gap.t1 < 1.9
    before = [chunk for chunk in sound(items) if chunk.t0 < gap.t0]
    after = [chunk for chunk in sound(items) if chunk.t0 >= gap.t0]
    assert before[-1].t1 == pytest.approx(gap.t0, abs=0.001)
    assert after[0].t0 == pytest.approx(gap.t1, abs=0.001)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    names = ("empty.wav", "text.mkv", "noise.mp4", "list.mp4", "picture.mov")
    files = {name: folder / name for name in names}
    files["empty.wav"].touch()
    files["text.mkv"].write_text("this is no recording\n" * 100)
    files["noise.mp4"].write_bytes(np.random.default_rng(1).bytes(5000))
    good = recordings.write(folder / "good.wav", audio="pcm_s16le", seconds=0.2)
    # A script that names another file: FFmpeg would read that, whatever this one is called.
    files["list.mp4"].write_text(f"ffconcat version 1.0\nfile {good.name}\n")
    with av.open(str(files["picture.mov"]), "w", format="image2") as container:
        picture = container.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 16, 16, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*picture.encode(frame), *picture.encode(None)])
    os.mkfifo(folder / "pipe.wav")
    return {
        "missing": (folder / "missing.mp4", "does not exist"),
        "folder": (folder, "is a folder"),
        "empty": (files["empty.wav"], "is empty"),
        "text": (files["text.mkv"], "is not a recording"),
        "noise": (files["noise.mp4"], "is not a recording"),
        "script": (files["list.mp4"], "is not a recording"),
        "picture": (files["picture.mov"], "is not a recording"),
        "pipe": (folder / "pipe.wav", "is not a regular file"),
    }


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "noise", "script", "picture", "pipe"]
)
def test_bad_files(tmp_path: Path, kind: str) -> None:
    path, problem = bad_files(tmp_path)[kind]
    with pytest.raises(MediaError, match=problem) as caught:
        open_media(path, fps=10.0)
    assert str(path) in str(caught.value) and caught.value.hint


def test_a_file_without_what_may_be_analysed(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.wav", audio="pcm_s16le", seconds=0.2)
    with pytest.raises(MediaError, match="has only sound, which is not to be analysed"):
        open_media(path, fps=10.0, audio=False)


def test_a_file_with_neither_sound_nor_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    box = (8).to_bytes(4, "big")
    path.write_bytes((16).to_bytes(4, "big") + b"ftypqt  \0\0\0\0" + box + b"moov" + box + b"mdat")
    with pytest.raises(MediaError, match=r"neither sound nor picture|not a recording"):
        open_media(path, fps=10.0)


def test_closing_early_ends_the_child(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", video="libx264", size=(640, 360))
    with open_media(path, fps=25.0) as media:
        items = iter(media)
        next(items)
        pid = media.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert list(items) == []


def test_the_child_waits_for_a_slow_reader(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", video="libx264", seconds=3.0, size=(640, 360))
    with open_media(path, fps=25.0) as media:
        child = psutil.Process(media.pid)
        time.sleep(0.5)
        before = sum(child.cpu_times()[:2])
        time.sleep(0.5)
        assert sum(child.cpu_times()[:2]) - before < 0.03
        assert child.memory_info().rss < 250 * 2**20
        assert len(pictures(list(media))) == 75


def test_real_clips(shared: Path) -> None:
    media, items = read(shared / "media/silent/pyfeat_face_noface.mov")  # its sound starts late
    assert sound(items)[0].t0 == pytest.approx(2.43, abs=0.001)
    assert pictures(items)[0].t == 0.0 and math.isclose(media.position, 6.396, abs_tol=0.01)
    _, items = read(shared / "media/talking/videoretalking_face_1.mp4")  # variable frame rate
    assert sound(items)[0].t0 == 0.0
    assert pictures(items)[0].t == pytest.approx(0.033, abs=0.001)
    assert len(pictures(items)) == 61
