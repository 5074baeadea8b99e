"""Windows: what is in them, when they come, and that arrival order and timing do not matter."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.align import AlignConfig, AlignStage
from workers.messages import (
    END,
    AcousticFrames,
    AlignedWindow,
    Face,
    FaceFrame,
    FaceQuality,
    Gap,
    Message,
    Modality,
    Progress,
    TextFrames,
)
from workers.windows import WindowPlan

PLAN = WindowPlan.sliding(1.0, 0.25)
ALL: frozenset[Modality] = frozenset({"words", "voice", "face"})


def stage(max_wait: float | None = None, expected: frozenset[Modality] = ALL) -> AlignStage:
    config = AlignConfig(
        {"words": 2, "voice": 3, "face": 4}, expected, face_rate=10, max_words=3, max_wait=max_wait
    )
    return AlignStage("p1", PLAN, config)


def face(t: float, track: int = 0, width: float = 0.3, value: float | None = None) -> Face:
    landmarks = np.zeros((478, 3), np.float32)
    features = np.full(4, t if value is None else value, np.float32)
    return Face(track, landmarks, features, FaceQuality(width, 0.5, 100.0))


def voice_stream(seconds: float) -> list[Message]:
    items: list[Message] = []
    for window in islice(PLAN, 1000):
        if window.t1 > seconds:
            break
        features = np.full((10, 3), window.t0, np.float32)
        items.append(AcousticFrames("p1", window.t0, window.t1, features, np.ones(10, np.bool_)))
        items.append(Progress("p1", "voice", window.t1))
    return items


def face_stream(seconds: float) -> list[Message]:
    items: list[Message] = []
    for i in range(round(seconds * 10) + 1):
        items += [FaceFrame("p1", i / 10, (face(i / 10),)), Progress("p1", "face", i / 10)]
    return items


def word(t0: float, t1: float, value: float = 1.0) -> TextFrames:
    return TextFrames("p1", np.asarray([t0]), np.asarray([t1]), np.full((1, 2), value, np.float32))


def words_stream(seconds: float) -> list[Message]:
    items: list[Message] = []
    for i in range(int(seconds)):
        items += [word(i + 0.1, i + 0.3), word(i + 0.5, i + 0.7), Progress("p1", "words", i + 1.0)]
    return items


def windows_of(items: list[Message], into: AlignStage) -> list[AlignedWindow]:
    out = [made for item in items for made in into.push(item)] + list(into.flush())
    return [window for window in out if isinstance(window, AlignedWindow)]


def same(a: AlignedWindow, b: AlignedWindow) -> bool:
    return (a.index, a.t0, a.t1, a.evidence) == (b.index, b.t0, b.t1, b.evidence) and all(
        np.array_equal(a.features[name], b.features[name])
        and np.array_equal(a.mask[name], b.mask[name])
        for name in ("words", "voice", "face")
    )


def interleave(streams: list[list[Message]], order: list[int]) -> list[Message]:
    positions = [0, 0, 0]
    items: list[Message] = []
    for which in [*order, *([0, 1, 2] * 200)]:
        if positions[which] < len(streams[which]):
            items.append(streams[which][positions[which]])
            positions[which] += 1
    return items


def test_a_window_holds_what_lies_in_it() -> None:
    windows = windows_of(voice_stream(3) + face_stream(3) + words_stream(3), stage())
    assert [window.index for window in windows] == list(range(9))
    second = windows[2]  # 0.5 .. 1.5
    assert second.complete and second.revision == 0
    assert np.array_equal(second.features["voice"], np.full((10, 3), 0.5, np.float32))
    assert second.mask["face"].all() and second.features["face"].shape == (10, 4)
    assert second.features["face"][0, 0] == pytest.approx(0.5)
    assert second.evidence.words == 2  # 0.5-0.7 and 1.1-1.3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=150))
def test_arrival_order_between_sources_does_not_matter(order: list[int]) -> None:
    streams = [voice_stream(4), face_stream(4), words_stream(4)]
    expected = windows_of(interleave(streams, []), stage())
    found = windows_of(interleave(streams, order), stage())
    assert len(found) == len(expected) == 13
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert all(window.complete and window.revision == 0 for window in found)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=150))
def test_live_windows_equal_the_recorded_ones_wherever_they_are_complete(order: list[int]) -> None:
    streams = [voice_stream(4), face_stream(4), words_stream(4)]
    expected = {window.index: window for window in windows_of(interleave(streams, []), stage())}
    live = windows_of(interleave(streams, order), stage(max_wait=0.4))
    complete = [window for window in live if window.complete]
    assert all(same(window, expected[window.index]) for window in complete)
    assert {window.index for window in live} == set(expected)
    for window in live:
        assert window.revision in (0, 1)


def test_late_words_bring_one_revision() -> None:
    live = stage(max_wait=0.4)
    early = windows_of_push(voice_stream(1.0) + face_stream(1.0), live)
    assert [(window.index, window.revision, window.complete) for window in early] == [(0, 0, False)]
    revised = windows_of_push([word(0.2, 0.6), Progress("p1", "words", 1.2)], live)
    assert [(window.index, window.revision, window.complete) for window in revised] == [
        (0, 1, True)
    ]
    assert revised[0].evidence.words == 1 and early[0].evidence.words == 0


def windows_of_push(items: list[Message], into: AlignStage) -> list[AlignedWindow]:
    out = [made for item in items for made in into.push(item)]
    return [window for window in out if isinstance(window, AlignedWindow)]


def test_a_window_does_not_wait_for_ever_and_says_that_it_is_incomplete() -> None:
    live = stage(max_wait=0.4)
    assert windows_of_push(voice_stream(1.25), live) == []
    windows = windows_of_push([Progress("p1", "words", 1.5), Progress("p1", "voice", 1.5)], live)
    assert [window.index for window in windows] == [0]
    assert not windows[0].complete and windows[0].evidence.face == 0
    late = windows_of_push([FaceFrame("p1", 0.1, (face(0.1),))], live)
    assert late == [] and live.late == {"face": 1}


def test_gaps_make_windows_incomplete_and_are_told_once() -> None:
    gap = Gap("p1", "audio", 1.1, 1.2, "queue_full")
    into = stage()
    told = [*into.push(gap), *into.push(gap)]
    assert told == [gap]
    windows = windows_of(voice_stream(3) + face_stream(3) + words_stream(3), into)
    hit = {window.index for window in windows if not window.complete}
    assert hit == {1, 2, 3, 4}
    assert windows[1].evidence.gaps == ("audio",) and windows[0].evidence.gaps == ()


def test_absent_modalities_are_not_waited_for() -> None:
    windows = windows_of(face_stream(2), stage(expected=frozenset({"face"})))
    assert len(windows) == 5 and all(window.complete for window in windows)
    assert windows[0].features["voice"].shape == (0, 3)


def test_the_larger_face_is_the_person() -> None:
    items: list[Message] = []
    for i in range(11):
        faces = (face(0, 0, 0.3, 1.0), face(0, 1, 0.2, 2.0))
        items.append(FaceFrame("p1", i / 10, faces if i % 2 else faces[::-1]))
        items.append(Progress("p1", "face", i / 10))
    windows = windows_of(items, stage(expected=frozenset({"face"})))
    assert np.all(windows[0].features["face"] == 1.0)
    assert windows[0].evidence.faces == 2


def test_steps_without_a_near_frame_are_masked() -> None:
    items: list[Message] = [FaceFrame("p1", 0.52, (face(0.52),)), Progress("p1", "face", 1.0)]
    window = windows_of(items, stage(expected=frozenset({"face"})))[0]
    assert list(np.flatnonzero(window.mask["face"])) == [4, 5]


def test_only_the_last_words_are_kept_and_unknown_words_are_masked() -> None:
    items = [word(i / 10, i / 10 + 0.05, float(i)) for i in range(5)]
    items[4] = word(0.4, 0.45, 0.0)
    window = windows_of(
        [*items, Progress("p1", "words", 1.0), Progress("p1", "words", END)],
        stage(expected=frozenset({"words"})),
    )[0]
    assert window.features["words"][:, 0].tolist() == [2.0, 3.0, 0.0]
    assert window.mask["words"].tolist() == [True, True, False]
