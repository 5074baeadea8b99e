from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import av
import numpy as np
import pytest

from stream.clock import Line, Stamp
from stream.convert import AudioConverter, VideoConverter, stretch
from workers.messages import SAMPLE_RATE, AudioChunk, Gap, Progress, VideoFrame

LINE = Line(48_000, 0.0, provisional=False, epoch=0)


def frame(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> av.AudioFrame:
    result = av.AudioFrame.from_ndarray(np.repeat(samples, 2)[None, :], "s16", "stereo")
    result.sample_rate = 48_000
    return result


def silent() -> av.AudioFrame:
    return frame(np.zeros(960, np.int16))


def converter() -> AudioConverter:
    return AudioConverter("p1", 48_000, Counter())


def chunks(messages: Sequence[object]) -> list[AudioChunk]:
    return [message for message in messages if isinstance(message, AudioChunk)]


def test_sound_keeps_its_time_to_the_sample() -> None:
    wave = np.zeros(960 * 10, np.int16)
    wave[3 * 1000] = 20_000
    audio = converter()
    messages: list[object] = []
    for n in range(10):
        part = frame(wave[n * 960 : (n + 1) * 960])
        messages += audio.push(part, Stamp(480_000 + n * 960, LINE), None)
    messages += audio.flush()
    found = chunks(messages)
    assert found[0].t0 == 10.0
    for before, after in itertools.pairwise(found):
        assert after.t0 == pytest.approx(before.t1, abs=1e-9)
    samples = np.concatenate([chunk.samples for chunk in found])
    assert len(samples) == 3200
    assert int(samples.argmax()) == 1000
    assert not found[0].samples.flags.writeable


def test_lost_sound_leaves_a_gap_of_its_length() -> None:
    audio = converter()
    messages: list[object] = []
    for n in (10, 11, 14, 15):
        messages += audio.push(silent(), Stamp(n * 960, LINE), "network" if n == 14 else None)
    messages += audio.flush()
    gaps = [message for message in messages if isinstance(message, Gap)]
    assert gaps == [Gap("p1", "audio", 0.24, 0.28, "network")]
    found = chunks(messages)
    assert sum(len(chunk.samples) for chunk in found) == 4 * 320
    after = found[[chunk.t0 for chunk in found].index(0.28)]
    assert after.t1 > 0.28


def test_pause_of_the_sender_is_silence_not_loss() -> None:
    audio = converter()
    messages: list[object] = []
    for n in (10, 30):
        messages += audio.push(silent(), Stamp(n * 960, LINE), None)
    messages += audio.flush()
    found = chunks(messages)
    assert len(found) == len(messages)
    assert sum(len(chunk.samples) for chunk in found) == 21 * 320
    for before, after in itertools.pairwise(found):
        assert after.t0 == pytest.approx(before.t1, abs=1e-9)


def test_repeated_sound_is_dropped() -> None:
    audio = converter()
    audio.push(silent(), Stamp(9600, LINE), None)
    assert audio.push(silent(), Stamp(9600, LINE), None) == []


def test_moved_clock_starts_a_run_where_it_belongs() -> None:
    audio = converter()
    audio.push(silent(), Stamp(48_000, LINE), None)
    moved = Line(48_000, 0.5, provisional=False, epoch=1)
    messages = audio.push(silent(), Stamp(48_960, moved), None)
    assert [chunk.t0 for chunk in chunks(messages)] == [pytest.approx(1.0 + 304 / 16_000), 1.52]


def test_small_correction_is_spread() -> None:
    audio = converter()
    corrected = Line(48_000, 0.005, provisional=False, epoch=0)
    messages: list[object] = []
    for n in range(200):
        line = LINE if n < 50 else corrected
        messages += audio.push(silent(), Stamp(48_000 + n * 960, line), None)
    found = chunks(messages)
    for before, after in itertools.pairwise(found):
        assert after.t0 == pytest.approx(before.t1, abs=1e-9)
    assert found[-1].t1 == pytest.approx(1.0 + 200 * 0.02 + 0.005 - 0.001, abs=0.0006)


def test_sound_before_the_session_is_dropped() -> None:
    early = Line(48_000, -1.0, provisional=True, epoch=0)
    assert converter().push(silent(), Stamp(960, early), None) == []


@pytest.mark.parametrize("length", [319, 320, 321])
def test_stretch_keeps_the_wave(length: int) -> None:
    wave = np.sin(np.arange(320) * 2 * np.pi * 500 / SAMPLE_RATE).astype(np.float32)
    stretched = stretch(wave, length)
    assert len(stretched) == length
    assert stretched[0] == wave[0]
    assert stretched[-1] == pytest.approx(float(wave[-1]), abs=1e-6)
    assert float(np.abs(np.diff(stretched)).max()) < 0.21


def picture(width: int, height: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((height, width, 3), 99, np.uint8), format="rgb24")


def test_pictures_are_chosen_before_they_are_converted() -> None:
    video = VideoConverter("p1", 10.0, 640, Counter())
    line = Line(90_000, 0.0, provisional=True, epoch=0)
    messages: list[object] = []
    for n in range(30):
        messages += video.push(picture(1280, 720), Stamp(90_000 + n * 3000, line))
    frames = [message for message in messages if isinstance(message, VideoFrame)]
    assert [round(item.t, 3) for item in frames] == [round(1 + k / 10, 3) for k in range(10)]
    assert frames[0].image.shape == (360, 640, 3)
    assert abs(int(frames[0].image.mean()) - 99) <= 2
    assert frames[0].provisional
    progress = [message.t for message in messages if isinstance(message, Progress)]
    assert len(progress) == 20
    assert progress == sorted(progress)


def test_small_pictures_keep_their_size_and_time_never_goes_back() -> None:
    video = VideoConverter("p1", 10.0, 640, Counter())
    line = Line(90_000, 0.0, provisional=False, epoch=0)
    first = video.push(picture(176, 144), Stamp(90_000, line))[0]
    assert isinstance(first, VideoFrame)
    assert first.image.shape == (144, 176, 3)
    assert video.push(picture(176, 144), Stamp(89_000, line)) == []
