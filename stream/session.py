"""One participant: the graph with its inputs, and the records that come out of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from lddu_model import FeatureSpec
from stream import records
from stream.config import Consent, StreamConfig
from stream.engines import Engines
from stream.graph import Flow, Graph, GraphConfig, Runs, build
from stream.overlay import outlines
from stream.records import Record
from stream.spec import MAX_WORDS, RATE
from stream.subscription import CAPACITY, Subscription
from workers.align import AlignConfig
from workers.mailbox import Closed
from workers.messages import (
    MODALITIES,
    AudioChunk,
    EmotionState,
    FaceFrame,
    Gap,
    Message,
    Modality,
    Progress,
    TranscriptSegment,
    VideoFrame,
)
from workers.smooth import SmoothConfig, warming_up
from workers.vad import VadConfig
from workers.windows import WindowPlan

log = logging.getLogger(__name__)


def graph_config(
    config: StreamConfig,
    engines: Engines,
    expected: frozenset[Modality],
    flow: Flow,
    plan: WindowPlan | None = None,
) -> GraphConfig:
    """The graph's part of a configuration; `plan` defaults to sliding windows."""
    align = align_config(engines.model.spec, expected)
    if flow is Flow.LIVE:
        align = replace(align, max_wait=config.window.max_wait)
    return GraphConfig(
        plan=plan or WindowPlan.sliding(config.window.width, config.window.hop),
        expected=expected,
        vad=vad_config(config),
        align=align,
        smooth=SmoothConfig(
            thresholds=engines.model.thresholds,
            expected=expected,
            tau=config.gate.smoothing,
            max_sd=config.gate.max_sd,
            min_margin=config.gate.min_margin,
            min_face=config.gate.min_face,
            min_speech=config.gate.min_speech,
        ),
        flow=flow,
    )


def vad_config(config: StreamConfig) -> VadConfig:
    return VadConfig(max_s=config.analysis.max_segment)


def align_config(spec: FeatureSpec, expected: frozenset[Modality]) -> AlignConfig:
    """For recordings: every window waits for all sources."""
    return AlignConfig(
        dims={name: spec[name].dim for name in MODALITIES},
        expected=expected,
        face_rate=RATE,
        max_words=MAX_WORDS,
    )


def expected_modalities(
    consent: Consent, *, audio: bool, video: bool, words: bool = True
) -> frozenset[Modality]:
    """What the sources can give and the person agreed to."""
    found: set[Modality] = set()
    if video and consent.face:
        found.add("face")
    if audio and consent.voice:
        found.add("voice")
    if audio and consent.words and words:
        found.add("words")
    return frozenset(found)


class Session:
    """Feeds the graph of one person and turns its output into records.

    `now` gives the current stream time, from which the lag of a record is measured; recordings
    that are not paced have none.
    """

    def __init__(
        self,
        session: str,
        person: str,
        config: StreamConfig,
        consent: Consent,
        expected: frozenset[Modality],
        engines: Engines,
        runs: Runs,
        flow: Flow,
        now: Callable[[], float] | None = None,
        *,
        faces: bool = True,
        plan: WindowPlan | None = None,
    ) -> None:
        self.id = session
        self.person = person
        self.graph: Graph = build(
            person, graph_config(config, engines, expected, flow, plan), engines, runs
        )
        self._hello = records.hello(
            session,
            person,
            engines.model.labels,
            config.purpose,
            consent,
            config.window.width,
            config.window.hop,
        )
        self._now = now
        self._faces = faces
        self._lossless = flow is Flow.LOSSLESS
        self._subscribers: list[Subscription] = []
        self._clock: records.ClockRecord | None = None
        self._recording: records.RecordingRecord | None = None
        self._ended: records.EndRecord | None = None
        self._reason = "finished"

    async def run(self) -> None:
        """Process until the input is closed and everything is through; then tell subscribers."""
        reason: str | None = "failed"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.graph.run(), name=f"graph {self.id}")
                tasks.create_task(self._publish_all(), name=f"publish {self.id}")
            reason = None
        finally:
            self._ended = records.end(reason or self._reason)
            for subscriber in self._subscribers:
                subscriber.close(self._ended)

    def push(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item of a live source; never waits."""
        self.graph.put_nowait(item)

    async def put(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item of a recording, waiting for room."""
        await self.graph.put(item)

    def close(self, reason: str = "finished") -> None:
        """No more input; `reason` is what subscribers are told at the end."""
        self._reason = reason
        self.graph.close()

    def clock(self, unix_at_zero: float | None) -> None:
        """Tell subscribers where stream time 0 lies on the sender's wall clock."""
        self._clock = records.clock(self.person, unix_at_zero)
        self._broadcast(self._clock)

    def recording(self, reason: str | None) -> None:
        """Tell subscribers that the session is recorded, or for what `reason` it is not."""
        self._recording = records.recording(self.person, reason)
        self._broadcast(self._recording)

    def subscribe(self, capacity: int = CAPACITY) -> Subscription:
        """Everything from now on, after a hello."""
        subscriber = Subscription(lossless=self._lossless, capacity=capacity)
        told = (self._hello, self._clock, self._recording)
        first: list[Record] = [record for record in told if record is not None]
        first.append(records.state(warming_up(self.person), 0.0))
        for record in first:
            subscriber.put(record)
        if self._ended is not None:
            subscriber.close(self._ended)
        else:
            self._subscribers.append(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscription) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    async def _publish_all(self) -> None:
        while True:
            try:
                message = await self.graph.output.get()
            except Closed:
                return
            record = self._record(message)
            if record is None:
                continue
            self._broadcast(record)
            if self._lossless:
                for subscriber in list(self._subscribers):
                    await subscriber.room()

    def _broadcast(self, record: Record) -> None:
        for subscriber in self._subscribers:
            subscriber.put(record)

    def _record(self, message: Message) -> Record | None:
        match message:
            case EmotionState():
                return records.state(message, self._lag(message.t))
            case TranscriptSegment():
                return records.transcript(message, self._lag(message.t1)) if message.words else None
            case FaceFrame():
                if not self._faces:
                    return None
                lines = [outlines(face) for face in message.faces]
                return records.face(message, lines, self._lag(message.t))
            case Gap():
                return records.gap(message)
            case _:
                raise TypeError(f"no record is made of {type(message).__name__}")

    def _lag(self, t: float) -> float:
        return 0.0 if self._now is None else self._now() - t
