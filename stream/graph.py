"""The graph of one participant: the only place that names stages, edges, capacities and policies.

::

    AudioChunk -> vad -+-> voice ------------------+
                       +-> transcribe -> text -----+-> align -> infer -> smooth -> EmotionState
    VideoFrame -> face ----------------------------+
                  (events, transcripts and faces are also outputs)

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
from workers.face import DetectsFaces, FaceStage
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
    Progress,
    SpeechSegment,
    TextFrames,
    TranscriptSegment,
    VideoFrame,
    VoicedAudio,
)
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
    "voice": Box(500, Policy.DROP_OLDEST, 5.0),
    "transcribe": Box(8, Policy.DROP_OLDEST, 8.0),
    "text": Box(16, Policy.BLOCK),
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
    def face(self) -> DetectsFaces: ...


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
class GraphConfig:
    """What a graph of one person is built from."""

    plan: WindowPlan
    expected: frozenset[Modality]
    """Modalities that the sources can give and the person agreed to."""
    vad: VadConfig
    align: AlignConfig
    smooth: SmoothConfig
    flow: Flow


@dataclass(slots=True)
class Graph:
    """Mailboxes and workers of one person; run with ``run``."""

    boxes: dict[str, Mailbox[Message]]
    workers: dict[str, Worker | InferWorker]
    align: AlignStage
    smooth: SmoothStage
    _audio: list[Mailbox[Message]] = field(default_factory=list)
    _video: list[Mailbox[Message]] = field(default_factory=list)

    @property
    def smoothers(self) -> list[SmoothStage]:
        """Of everybody whom this graph follows."""
        return [self.smooth]

    @property
    def output(self) -> Mailbox[Message]:
        """EmotionState, EmotionEvent, TranscriptSegment, FaceFrame and Gap."""
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
    stages = feature_stages(person, config.plan, config.vad, config.align, engines)
    align = stages["align"]
    assert isinstance(align, AlignStage)
    smooth = SmoothStage(person, config.smooth)
    stages["smooth"] = smooth

    present = {*stages, "infer", "output"}
    targets = {
        name: [box for box in EDGES[name] if box in present] for name in present - {"output"}
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
    person: str, plan: WindowPlan, vad: VadConfig, align: AlignConfig, extractors: Extractors
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
    if "face" in expected:
        stages["face"] = FaceStage(person, extractors.face)
    return {**stages, "align": AlignStage(person, plan, align)}


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
            if box in ("voice", "transcribe"):
                return item.source == ("voice" if box == "voice" else "words")
            return box in ("text", "align")
        case _:
            return isinstance(item, CARRIES.get(box, ()))


CARRIES: Mapping[str, tuple[type, ...]] = {
    "voice": (VoicedAudio,),
    "transcribe": (SpeechSegment,),
    "text": (TranscriptSegment,),
    "align": (AcousticFrames, TextFrames, FaceFrame),
    "infer": (AlignedWindow,),
    "smooth": (EmotionEstimate,),
    "output": (EmotionState, EmotionEvent, TranscriptSegment, FaceFrame),
}
