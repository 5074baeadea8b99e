"""Sound of any cut gives one grid, and speech becomes segments that no word waits for too long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import buzz, chunks, joined, load, noise, silence
from workers.messages import (
    END,
    SAMPLE_RATE,
    AudioChunk,
    Bool,
    Float32,
    Gap,
    Message,
    Progress,
    SpeechSegment,
    VoicedAudio,
)
from workers.timeline import FRAME, LONGEST_FILL, AudioTimeline, Hole, Run
from workers.vad import Segmenter, Stretch, VadConfig, VadStage

FRAME_S = 0.02
TALK = joined([silence(0.5), buzz(3.3), silence(0.9), buzz(0.6, seed=1), silence(0.7), buzz(0.3)])


def heard(items: Iterable[Message], config: VadConfig | None = None) -> list[Message]:
    """All that a stage makes of `items` and the end."""
    stage = VadStage("p1", config)
    out = [made for item in items for made in stage.push(item)]
    out += stage.push(Progress("p1", "audio", END))
    assert list(stage.flush()) == []
    return out


def sound(out: Iterable[Message]) -> tuple[float, Float32, Bool]:
    """Start, samples and speech of the grid; it must have no holes."""
    pieces = [item for item in out if isinstance(item, VoicedAudio)]
    for before, after in pairwise(pieces):
        assert before.t1 == pytest.approx(after.t0, abs=1e-9)
    samples = joined([piece.samples for piece in pieces])
    return pieces[0].t0, samples, np.concatenate([piece.speech for piece in pieces])


def segments(out: Iterable[Message]) -> list[SpeechSegment]:
    return [item for item in out if isinstance(item, SpeechSegment)]


def equal(a: SpeechSegment, b: SpeechSegment) -> bool:
    same = (a.index, a.t0, a.closed) == (b.index, b.t0, b.closed)
    return same and np.array_equal(a.samples, b.samples)


def gaps(out: Iterable[Message]) -> list[Gap]:
    return [item for item in out if isinstance(item, Gap)]


# The grid


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20_000), max_size=60), st.sampled_from([0.0, 0.37, 12.0001]))
def test_any_cut_gives_the_same_sound_and_segments(sizes: list[int], t0: float) -> None:
    whole = heard([AudioChunk("p1", t0, TALK)])
    cut = heard(chunks(TALK, sizes, t0))
    (start, samples, speech), other = sound(whole), sound(cut)
    assert start == other[0]
    assert np.array_equal(samples, other[1])
    assert np.array_equal(speech, other[2])
    assert len(segments(whole)) == len(segments(cut)) >= 3
    assert all(map(equal, segments(whole), segments(cut)))
    assert gaps(whole) == gaps(cut) == []


def test_any_cut_gives_the_same_segments_of_real_speech(shared: Path) -> None:
    samples = load(shared / "media/speech/jfk.flac")
    whole = heard([AudioChunk("p1", 0.0, samples)])
    rng = np.random.default_rng(0)
    for most in (50, 1000, 30_000):
        cut = heard(chunks(samples, rng.integers(1, most, 2000).tolist()))
        assert all(map(equal, segments(whole), segments(cut)))
        assert len(segments(whole)) == len(segments(cut)) == 5


def test_the_grid_starts_where_the_sound_does() -> None:
    t0, samples, _ = sound(heard([AudioChunk("p1", 1.73, noise(0.5, 0.1))]))
    assert t0 == pytest.approx(1.72)
    assert np.all(samples[:160] == 0)
    assert np.array_equal(samples[160 : 160 + 8000], noise(0.5, 0.1))


def test_sound_before_the_start_is_cut() -> None:
    t0, samples, _ = sound(heard([AudioChunk("p1", -0.1, noise(0.5, 0.1))]))
    assert t0 == 0.0
    assert np.array_equal(samples[:6400], noise(0.5, 0.1)[1600:])


def test_a_hole_is_silence_and_told_once() -> None:
    first, second = noise(0.5, 0.1), noise(0.5, 0.1, seed=1)
    out = heard([AudioChunk("p1", 0.0, first), AudioChunk("p1", 0.7, second)])
    _, samples, _ = sound(out)
    assert np.array_equal(samples[:8000], first)
    assert np.all(samples[8000:11200] == 0)
    assert np.array_equal(samples[11200:19200], second)
    assert gaps(out) == [Gap("p1", "audio", 0.5, 0.7, "missing")]
    assert out.index(gaps(out)[0]) < next(
        n for n, item in enumerate(out) if isinstance(item, VoicedAudio) and item.t1 > 0.5
    )


def test_a_short_hole_is_filled_without_a_word() -> None:
    out = heard([AudioChunk("p1", 0.0, noise(0.5, 0.1)), AudioChunk("p1", 0.52, noise(0.5, 0.1))])
    assert gaps(out) == []
    assert sound(out)[1].shape[0] == 16_320


def test_a_loss_that_was_told_is_not_told_again() -> None:
    told = Gap("p1", "audio", 0.5, 0.7, "queue_full")
    items: list[Message] = [AudioChunk("p1", 0.0, noise(0.5, 0.1)), told]
    items += [AudioChunk("p1", 0.7, noise(0.5, 0.1))]
    assert gaps(heard(items)) == [told]


def test_an_overlap_is_cut() -> None:
    first, second = noise(0.5, 0.1), noise(0.5, 0.1, seed=1)
    out = heard([AudioChunk("p1", 0.0, first), AudioChunk("p1", 0.3, second)])
    _, samples, _ = sound(out)
    assert np.array_equal(samples[:8000], first)
    assert np.array_equal(samples[8000:12800], second[3200:])
    covered = AudioChunk("p1", 0.1, noise(0.1, 0.1))
    _, same, _ = sound(heard([AudioChunk("p1", 0.0, first), covered]))
    assert np.array_equal(same, first)


def test_a_clock_that_drifts_puts_no_clicks_into_the_sound() -> None:
    samples = buzz(2.0)
    drifting = [replace(chunk, t0=chunk.t0 * (1 + 1e-3) + 1e-5) for chunk in chunks(samples, [320])]
    out = heard(drifting)
    _, kept, _ = sound(out)
    assert np.array_equal(kept[: len(samples)], samples)
    assert gaps(out) == []


def test_a_jump_of_an_hour_costs_nothing() -> None:
    out = heard([AudioChunk("p1", 0.0, buzz(1.0)), AudioChunk("p1", 3600.01, buzz(1.0))])
    pieces = [item for item in out if isinstance(item, VoicedAudio)]
    assert sum(len(piece.samples) for piece in pieces) <= 2 * SAMPLE_RATE + LONGEST_FILL + 2 * FRAME
    assert gaps(out) == [Gap("p1", "audio", 1.0, 3600.01, "missing")]
    assert [round(s.t0) for s in segments(out)] == [0, 3600]
    assert pieces[-1].t1 == pytest.approx(3601.02)


def test_progress_declares_what_is_missing() -> None:
    stage = VadStage("p1")
    stage.push(AudioChunk("p1", 0.0, buzz(1.0)))
    out = list(stage.push(Progress("p1", "audio", 2.0)))
    assert gaps(out) == [Gap("p1", "audio", 1.0, 2.0, "missing")]
    assert [s.closed for s in segments(out)] == [True]
    assert Progress("p1", "voice", 2.0) in out
    assert list(stage.push(Progress("p1", "audio", 2.0))) == []


def test_numbers_that_are_none_become_silence() -> None:
    bad = noise(0.5, 0.1)
    bad[100:200] = np.nan
    bad[300] = np.inf
    _, samples, _ = sound(heard([AudioChunk("p1", 0.0, bad)]))
    assert np.isfinite(samples).all()
    assert np.array_equal(samples[400:8000], bad[400:])


def test_provisional_frames_are_kept_apart() -> None:
    out = heard(
        [
            AudioChunk("p1", 0.0, noise(0.25, 0.1), provisional=True),
            AudioChunk("p1", 0.25, noise(0.25, 0.1)),
        ]
    )
    marked = [(round(i.t0, 3), round(i.t1, 3)) for i in _voiced(out) if i.provisional]
    assert marked == [(0.0, 0.24), (0.24, 0.26)]
    assert [round(i.t0, 3) for i in _voiced(out) if not i.provisional] == [0.26]


def _voiced(out: Sequence[Message]) -> list[VoicedAudio]:
    return [item for item in out if isinstance(item, VoicedAudio)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-0.1, 0.2), st.integers(0, 3000), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_the_timeline_gives_every_frame_once(steps: list[tuple[float, int, bool]]) -> None:
    timeline = AudioTimeline()
    t = 0.5
    parts: list[Run | Hole] = []
    for shift, n, provisional in steps:
        t += shift
        parts += timeline.add(t, np.ones(n, np.float32), provisional)
        t += n / SAMPLE_RATE
    parts += timeline.flush()
    runs = [part for part in parts if isinstance(part, Run)]
    for before, after in pairwise(runs):
        assert before.start + len(before.samples) == after.start
    for run in runs:
        assert run.start % FRAME == 0
        assert len(run.samples) % FRAME == 0
    if runs:
        assert timeline.end == runs[-1].start + len(runs[-1].samples)


# Control messages


def test_the_end_is_passed_on_after_everything() -> None:
    out = heard(chunks(TALK))
    assert out[-2:] == [Progress("p1", "voice", END), Progress("p1", "words", END)]
    assert segments(out)[-1].closed
    assert sum(isinstance(item, Progress) and item.t == END for item in out) == 2


def test_flush_gives_what_is_open() -> None:
    stage = VadStage("p1")
    for chunk in chunks(joined([silence(0.3), buzz(1.0)[:-100]])):
        assert segments(stage.push(chunk)) == []
    out = stage.flush()
    assert [s.closed for s in segments(out)] == [True]
    assert list(stage.flush()) == []


def test_nothing_comes_after_its_progress() -> None:
    told = {"voice": -math.inf, "words": -math.inf}
    for item in heard(chunks(TALK)):
        match item:
            case Progress(source=source, t=t):
                assert t >= told[source]
                told[source] = t
            case VoicedAudio():
                assert item.t0 >= told["voice"] - 1e-9
            case SpeechSegment():
                assert item.t0 >= told["words"] - 1e-9


def test_progress_of_words_follows_closely_in_silence() -> None:
    config = VadConfig()
    for item in heard(chunks(silence(2.0))):
        if isinstance(item, VoicedAudio):
            end = item.t1
        elif isinstance(item, Progress) and item.source == "words" and item.t != END and end > 0.5:
            assert 0 <= end - item.t <= config.padding_s + config.onset_s


def test_other_messages_are_passed_on() -> None:
    stage = VadStage("p1")
    for item in (Gap("p1", "video", 1.0, 2.0, "queue_full"), Gap("p1", "audio", 1.0, 2.0, "x")):
        assert list(stage.push(item)) == [item]


# Segments


def test_pauses_close_segments() -> None:
    found = segments(heard(chunks(TALK)))
    assert [s.closed for s in found] == [False, True, True, True]
    assert found[0].t0 == pytest.approx(0.3, abs=0.1)
    assert found[0].t1 == pytest.approx(found[1].t0)
    assert found[1].t1 == pytest.approx(3.8 + VadConfig().padding_s, abs=0.15)
    assert found[2].t0 == pytest.approx(4.7 - VadConfig().padding_s, abs=0.15)
    assert [s.index for s in found] == [0, 1, 2, 3]


def test_segments_are_the_sound_itself() -> None:
    out = heard(chunks(TALK))
    _, samples, _ = sound(out)
    for segment in segments(out):
        start = round(segment.t0 * SAMPLE_RATE)
        assert np.array_equal(segment.samples, samples[start : start + len(segment.samples)])


def test_a_long_segment_is_cut_where_it_is_quietest() -> None:
    loud, soft = buzz(2.0), 0.02 * buzz(0.06)
    found = segments(heard(chunks(joined([loud, soft, loud]))))
    assert not found[0].closed
    assert 2.0 <= found[0].t1 <= 2.06


def test_a_click_is_no_segment() -> None:
    frames = np.ones((200, FRAME), np.float32)
    for length, count in ((4, 0), (5, 1)):
        segmenter = Segmenter(VadConfig(min_speech_s=0.1))
        found = [segmenter.push(frame, 50 <= n < 50 + length) for n, frame in enumerate(frames)]
        assert sum(stretch is not None for stretch in found) == count


def test_silence_and_hiss_are_no_segments() -> None:
    assert segments(heard(chunks(silence(3.0)))) == []
    assert segments(heard(chunks(noise(3.0, 0.0005)))) == []


def test_how_long_words_wait(shared: Path) -> None:
    """In stream time: at most the longest segment, and captions at most the search for a cut."""
    config = VadConfig()
    for name in ("speech/jfk.flac", "talking/WDA_AlexandriaOcasioCortez_000.mp4"):
        stage = VadStage("p1", config)
        samples = load(shared / "media" / name)
        for chunk in chunks(samples):
            for segment in segments(stage.push(chunk)):
                assert chunk.t1 - segment.t0 <= config.max_s + config.pause_s + 1e-6
                wait = config.pause_s if segment.closed else config.search_s
                assert chunk.t1 - segment.t1 <= wait + FRAME_S


Flags = st.lists(
    st.tuples(st.booleans(), st.integers(1, 40)).map(lambda run: [run[0]] * run[1]), max_size=25
).map(lambda runs: [flag for run in runs for flag in run])

Configs = st.builds(
    VadConfig,
    onset_s=st.sampled_from([0.02, 0.06]),
    padding_s=st.sampled_from([0.0, 0.1, 0.2]),
    pause_s=st.sampled_from([0.2, 0.4]),
    max_s=st.sampled_from([1.5, 2.4]),
    search_s=st.sampled_from([0.3, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(Flags, Configs, st.integers(0, 2**32 - 1))
def test_segments_hold_all_speech_in_order(flags: list[bool], config: VadConfig, seed: int) -> None:
    rng = np.random.default_rng(seed)
    segmenter = Segmenter(config, 7)
    found: list[Stretch] = []
    for n, flag in enumerate(flags):
        open_since = segmenter.start
        frame = np.full(FRAME, n, np.float32) * np.float32(rng.random())
        frame[0] = n
        stretch = segmenter.push(frame, flag)
        if stretch:
            assert stretch.start >= open_since
            found.append(stretch)
    last = segmenter.flush()
    found += [last] if last else []
    end = 7
    covered = np.zeros(len(flags) + 7, np.bool_)
    for stretch in found:
        size = len(stretch.samples) // FRAME
        assert stretch.start >= end
        assert size * FRAME_S <= config.max_s + 1e-9
        numbers = stretch.samples.reshape(-1, FRAME)[:, 0].astype(int) + 7
        assert np.array_equal(numbers, np.arange(stretch.start, stretch.start + size))
        end = stretch.start + size
        covered[stretch.start : end] = True
    for start, stop in _runs(flags):
        if (stop - start) * FRAME_S >= config.min_speech_s + config.onset_s:
            missed = np.flatnonzero(~covered[7 + start : 7 + stop])
            # Only the bit that a cut leaves over may be too little to be a segment.
            assert len(missed) * FRAME_S < config.min_speech_s


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.array([False, *flags, False]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"aggressiveness": 4}, "aggressiveness"),
        ({"onset_s": 0.0}, "onset_s"),
        ({"padding_s": 0.5, "pause_s": 0.4}, "padding_s"),
        ({"max_s": 29.0}, "max_s"),
        ({"search_s": 2.4}, "search_s"),
        ({"max_s": 1.2, "search_s": 1.1}, "search_s"),
    ],
)
def test_limits_that_cannot_work_are_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(VadConfig(), **change)
