"""The graph of a participant: the only place that names stages, edges, capacities and policies.

::

    AudioChunk -> vad -+-> voice ------------------+
                       +-> transcribe -> text -----+-> align -> infer -> smooth -> EmotionState
    VideoFrame -> face ----------------------------+
                  (events, transcripts and faces are also outputs)

Where a participant shares a picture with many people (``GraphConfig.many``), ``face`` follows all
of them, and ``attribute`` divides what is seen and heard; behind it every person has windows,
estimates and states of their own::

    voice, transcribe, face, vad -> attribute -+-> text -+-> align -> infer -> smooth
                                               +---------+

Live, replay, preparation and tests use this graph; they differ in sources, sinks, pacing and in
whether full mailboxes make producers wait (``Flow.LOSSLESS``) or lose the oldest item
(``Flow.LIVE``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from workers.align import AlignConfig, AlignStage
from workers.attribute import AttributeStage
from workers.each import AlignEach, SmoothEach
from workers.face import FaceStage
from workers.infer import InferenceEngine, InferWorker
from workers.mailbox import Mailbox, Policy
from workers.messages import (
    AcousticFrames,
    AlignedWindow,
    AudioChunk,
    EmotionEstimate,
    FaceFrame,
    Gap,
    Message,
    Modality,
    Presence,
    Progress,
    SpeechSegment,
    TextFrames,
    TranscriptSegment,
    VideoFrame,
    VoicedAudio,
)
from workers.people import PeopleStage, WatchesPeople
from workers.smooth import SmoothConfig, SmoothStage
from workers.states import EmotionEvent, EmotionState
from workers.text import EncodesText, TextStage
from workers.transcribe import Hears, TranscribeStage
from workers.vad import VadConfig, VadStage
from workers.voice import Encodes, VoiceStage
from workers.windows import WindowPlan
from workers.worker import Run, Stage, StageAccount, Worker, inline


class Flow(Enum):
    """What happens when a stage cannot keep up."""

    LIVE = "live"
    LOSSLESS = "lossless"


@dataclass(frozen=True, slots=True)
class Box:
    """Capacity of a mailbox in items, and its policy in live flow."""

    capacity: int
    live: Policy
    max_age: float = math.inf
    """Seconds in live flow after which an item is not worth its work any more."""


# Where data enters a slow stage it may be lost in live flow; behind that, producers wait: their own
# mailbox in front is where the loss is then counted. Audio comes in pieces of about 20 ms.
BOXES: Mapping[str, Box] = {
    "vad": Box(500, Policy.DROP_OLDEST, 5.0),
    "face": Box(5, Policy.DROP_OLDEST, 1.0),
    "voice": Box(500, Policy.DROP_OLDEST, 3.0),
    "transcribe": Box(8, Policy.DROP_OLDEST, 8.0),
    "text": Box(16, Policy.BLOCK),
    "attribute": Box(64, Policy.BLOCK),
    "align": Box(64, Policy.BLOCK),
    "infer": Box(16, Policy.DROP_OLDEST, 2.0),
    "smooth": Box(16, Policy.BLOCK),
    "output": Box(256, Policy.DROP_OLDEST, 5.0),
}


class Extractors(Protocol):
    """What the feature stages compute with; ``stream.engines.Engines`` has all of it."""

    @property
    def transcriber(self) -> Hears: ...
    @property
    def voice(self) -> Encodes: ...
    @property
    def text(self) -> EncodesText: ...
    @property
    def face(self) -> WatchesPeople: ...


class Engines(Extractors, Protocol):
    """Extractors and the model."""

    @property
    def inference(self) -> InferenceEngine: ...


class Runs(Protocol):
    """Where stages run."""

    def for_stage(self, name: str) -> Run: ...


class InlineRuns:
    """Everything on the event loop: deterministic, for tests in virtual time."""

    def for_stage(self, name: str) -> Run:  # noqa: ARG002  # the same for all
        return inline


@dataclass(frozen=True, slots=True)
class Many:
    """How a picture with many people is looked at."""

    at_once: int = 8
    """Faces per picture."""


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """What the graph of a participant is built from."""

    plan: WindowPlan
    expected: frozenset[Modality]
    """Modalities that the sources can give and the person agreed to."""
    vad: VadConfig
    align: AlignConfig
    smooth: SmoothConfig
    flow: Flow
    many: Many | None = None
    """None: the participant is the one person in the picture."""


@dataclass(slots=True)
class Graph:
    """Mailboxes and workers of one participant; run with ``run``."""

    boxes: dict[str, Mailbox[Message]]
    workers: dict[str, Worker | InferWorker]
    align: AlignStage | AlignEach
    smooth: SmoothStage | SmoothEach
    _audio: list[Mailbox[Message]] = field(default_factory=list)
    _video: list[Mailbox[Message]] = field(default_factory=list)

    @property
    def output(self) -> Mailbox[Message]:
        """EmotionState, EmotionEvent, TranscriptSegment, FaceFrame, Presence and Gap."""
        return self.boxes["output"]

    async def put(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item, waiting for room in lossless flow."""
        for box in self._inputs(item):
            await box.put(item)

    def put_nowait(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item of a live source; never waits."""
        for box in self._inputs(item):
            box.put_nowait(item)

    def close(self) -> None:
        """No more input: the graph drains and `run` returns."""
        for box in (*self._audio, *self._video):
            box.close()

    async def run(self) -> None:
        """Run all stages until the input is closed and everything is through."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, worker in self.workers.items():
                    tasks.create_task(worker.main(), name=f"stage {name}")
        finally:
            for name, box in self.boxes.items():
                if name != "output":
                    box.discard()

    def stale(self, person: str, t: float) -> EmotionState | None:
        """What is left to say of `person` at `t`, when no window has come for a while."""
        if isinstance(self.smooth, SmoothEach):
            return self.smooth.stale(person, t)
        return self.smooth.stale(t)

    def accounts(self) -> dict[str, StageAccount]:
        return {name: worker.account for name, worker in self.workers.items()}

    def _inputs(self, item: AudioChunk | VideoFrame | Progress | Gap) -> list[Mailbox[Message]]:
        match item:
            case AudioChunk():
                return self._audio
            case VideoFrame():
                return self._video
            case Progress() | Gap():
                if item.source == "audio":
                    return self._audio
                if item.source == "video":
                    return self._video
        raise ValueError(f"a graph cannot be fed with {item.source} from outside")


def build(person: str, config: GraphConfig, engines: Engines, runs: Runs) -> Graph:
    """Wire the graph of `person`; must be called on the event loop that will run it."""
    stages = feature_stages(person, config.plan, config.vad, config.align, engines, config.many)
    align = stages["align"]
    assert isinstance(align, AlignStage | AlignEach)
    smooth = (
        SmoothEach(lambda name: SmoothStage(name, config.smooth))
        if config.many
        else SmoothStage(person, config.smooth)
    )
    stages["smooth"] = smooth

    edges = MANY_EDGES if config.many else EDGES
    present = {*stages, "infer", "output"}
    targets = {
        name: [box for box in edges[name] if box in present] for name in present - {"output"}
    }
    boxes = _mailboxes(targets, config.flow)
    workers: dict[str, Worker | InferWorker] = {
        name: Worker(
            stage,
            boxes[name],
            _router(name, {target: boxes[target] for target in targets[name]}),
            [boxes[target] for target in targets[name]],
            runs.for_stage(name),
        )
        for name, stage in stages.items()
    }
    workers["infer"] = InferWorker(engines.inference, boxes["infer"], boxes["smooth"])
    return Graph(
        boxes,
        workers,
        align,
        smooth,
        [boxes["vad"]] if "vad" in boxes else [],
        [boxes["face"]] if "face" in boxes else [],
    )


def feature_stages(
    person: str,
    plan: WindowPlan,
    vad: VadConfig,
    align: AlignConfig,
    extractors: Extractors,
    many: Many | None = None,
) -> dict[str, Stage]:
    """The stages from sound and picture to windows of `plan`, by name.

    Of what is not expected (``align.expected``) there are no stages, and its extractors are not
    touched.
    """
    expected = align.expected
    stages: dict[str, Stage] = {}
    if expected & {"voice", "words"}:
        stages["vad"] = VadStage(person, vad)
    if "voice" in expected:
        stages["voice"] = VoiceStage(person, plan, extractors.voice)
    if "words" in expected:
        stages["transcribe"] = TranscribeStage(person, extractors.transcriber)
        stages["text"] = TextStage(person, extractors.text)
    if many is not None:
        return {**stages, **_stages_of_many(person, plan, align, extractors, many)}
    if "face" in expected:
        stages["face"] = FaceStage(person, extractors.face)
    return {**stages, "align": AlignStage(person, plan, align)}


def _stages_of_many(
    person: str, plan: WindowPlan, align: AlignConfig, extractors: Extractors, many: Many
) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    faces = "face" in align.expected
    if faces:
        stages["face"] = PeopleStage(person, extractors.face, many.at_once)
    sound = bool(align.expected & {"voice", "words"})
    stages["attribute"] = AttributeStage(
        person, align.max_wait, faces=faces, sound=sound, voice="voice" in align.expected
    )
    stages["align"] = AlignEach(lambda name, t: AlignStage(name, plan.after(t), align))
    return stages


EDGES: Mapping[str, Sequence[str]] = {
    "vad": ("voice", "transcribe"),
    "voice": ("align",),
    "transcribe": ("text", "output"),
    "text": ("align",),
    "face": ("align", "output"),
    "align": ("infer", "output"),
    "infer": ("smooth",),
    "smooth": ("output",),
}

MANY_EDGES: Mapping[str, Sequence[str]] = {
    **EDGES,
    "vad": ("voice", "transcribe", "attribute"),
    "voice": ("attribute",),
    "transcribe": ("attribute",),
    "face": ("attribute", "output"),
    "attribute": ("text", "align", "output"),
}
"""Of a picture with many people."""


def _mailboxes(targets: Mapping[str, Sequence[str]], flow: Flow) -> dict[str, Mailbox[Message]]:
    producers = [target for into in targets.values() for target in into]
    boxes = {}
    for name in {*targets, "output"}:
        box = BOXES[name]
        policy = box.live if flow is Flow.LIVE else Policy.BLOCK
        count = max(1, producers.count(name))  # inputs of the graph have the source as producer
        boxes[name] = Mailbox[Message](
            name, box.capacity, policy, producers=count, max_age=box.max_age
        )
    return boxes


def _router(
    producer: str, boxes: Mapping[str, Mailbox[Message]]
) -> Callable[[Message], Iterable[Mailbox[Message]]]:
    def route(item: Message) -> Iterable[Mailbox[Message]]:
        return [box for name, box in boxes.items() if takes(producer, name, item)]

    return route


def takes(producer: str, box: str, item: Message) -> bool:
    """Which messages the edge from `producer` into `box` carries."""
    match item:
        case Gap():  # told outside once: by align, where all paths meet, or by smooth
            return box != "infer" and (box != "output" or producer in ("align", "smooth"))
        case Progress():
            return _passes(producer, box, item)
        case TranscriptSegment() if box == "text":
            return item.known
        case FaceFrame() | Presence() if producer == "attribute":  # outside they came from face
            return box == "align"
        case _:
            return isinstance(item, CARRIES.get(box, ()))


def _passes(producer: str, box: str, item: Progress) -> bool:
    if box in ("voice", "transcribe", "text"):
        return item.source == ("voice" if box == "voice" else "words")
    if producer == "vad":  # it reaches the others by way of what it makes
        return False
    if producer == "attribute" and item.source == "words":
        return False
    return box in ("attribute", "align")


CARRIES: Mapping[str, tuple[type, ...]] = {
    "voice": (VoicedAudio,),
    "transcribe": (SpeechSegment,),
    "text": (TranscriptSegment,),
    "attribute": (VoicedAudio, AcousticFrames, TranscriptSegment, FaceFrame, Presence),
    "align": (AcousticFrames, TextFrames, FaceFrame, Presence),
    "infer": (AlignedWindow,),
    "smooth": (EmotionEstimate,),
    "output": (EmotionEstimate, EmotionState, EmotionEvent, TranscriptSegment, FaceFrame, Presence),
}
