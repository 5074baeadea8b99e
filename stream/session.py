"""One participant: the graph with its inputs, and the records that come out of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from stream import estimates, records
from stream.call_settings import CallSettings
from stream.config import Consent, StreamConfig
from stream.degrade import REASON, Degrader, Load
from stream.engines import Engines
from stream.graph import Flow, Graph, Runs, build
from stream.graph_settings import graph_config
from stream.overlay import outlines
from stream.pause import Pause
from stream.record_types import (
    ClockRecord,
    EndRecord,
    LoadRecord,
    Origin,
    Record,
    RecordingRecord,
    SettingsRecord,
)
from stream.smoothing import filter_of
from stream.subscription import CAPACITY, Subscription
from workers.gate import in_order
from workers.mailbox import Closed
from workers.messages import (
    MODALITIES,
    AudioChunk,
    EmotionEstimate,
    FaceFrame,
    Gap,
    Message,
    Modality,
    Presence,
    Progress,
    TranscriptSegment,
    VideoFrame,
)
from workers.states import EmotionEvent, EmotionState, Reason, warming_up
from workers.windows import WindowPlan

log = logging.getLogger(__name__)


def with_reasons(state: EmotionState, more: set[Reason]) -> EmotionState:
    """`state` with `more` reasons."""
    return replace(state, reasons=in_order({*state.reasons, *more}))


class Session:
    """Feeds the graph of one participant and turns its output into records.

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
        both_ways: bool = False,
        source: Origin = "camera",
        many: bool = False,
        raw: bool = False,
    ) -> None:
        """`raw`: some subscribers want estimates as the filter takes them."""
        self.id = session
        self.person = person
        self.graph: Graph = build(
            person,
            graph_config(
                config, engines, expected, flow, plan, both_ways=both_ways, many=many, raw=raw
            ),
            engines,
            runs,
        )
        self._degrader = Degrader(self.graph)
        self._load: LoadRecord | None = None
        self._lacked_until = -1.0
        self._hello = records.hello(
            session,
            person,
            engines.model.labels,
            config.purpose,
            consent,
            config.window.width,
            config.window.hop,
            source,
            many=many,
            modalities=expected,
        )
        self.many = many
        """Several people may be in the picture."""
        self._consent, self._expected = consent, expected
        self._refused = any(not getattr(consent, name) for name in config.modalities)
        self._now = now
        self._faces = faces
        self._hop, self._stale_after = config.window.hop, config.gate.stale_after
        self._shown: dict[str, tuple[float, float]] = {}
        """Of everybody present: time of the newest state, and when it came (in stream time)."""
        self._there: dict[str, Presence] = {}
        """People in a picture with many, since when."""
        self._lossless = flow is Flow.LOSSLESS
        self._subscribers: list[Subscription] = []
        self._clock: ClockRecord | None = None
        self._recording: RecordingRecord | None = None
        self._settings = CallSettings()
        self._told_settings: SettingsRecord | None = None
        self._pause = Pause(person)
        self._config, self._model, self._prior = config, engines.model, engines.prior
        self._ended: EndRecord | None = None
        self._reason = "finished"
        self._abandoned = False

    async def run(self) -> None:
        """Process until the input is closed and everything is through; then tell subscribers."""
        reason: str | None = "failed"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.graph.run(), name=f"graph {self.id}")
                fading = tasks.create_task(self._fade(), name=f"fade {self.id}")
                publishing = tasks.create_task(self._publish_all(), name=f"publish {self.id}")
                publishing.add_done_callback(lambda _: fading.cancel())
            reason = None
        finally:
            self._ended = records.end(self._reason if self._abandoned else reason or self._reason)
            for subscriber in self._subscribers:
                if self._abandoned:
                    subscriber.take()
                subscriber.close(self._ended)

    def push(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item of a live source; never waits."""
        for each in self._pause.filter(item):
            self.graph.put_nowait(self._degrader.thin(each) or each)

    async def put(self, item: AudioChunk | VideoFrame | Progress | Gap) -> None:
        """Feed one item of a recording, waiting for room."""
        await self.graph.put(item)

    def close(self, reason: str = "finished") -> None:
        """No more input; `reason` is what subscribers are told at the end."""
        if not self._abandoned:
            self._reason = reason
        self.graph.close()

    def abandon(self, reason: str) -> None:
        """What was told is all: ``run``, which is then to be cancelled, tells only the end."""
        self._reason = reason
        self._abandoned = True

    def clock(self, unix_at_zero: float | None) -> None:
        """Tell subscribers where stream time 0 lies on the sender's wall clock."""
        self._clock = records.clock(self.person, unix_at_zero)
        self._broadcast(self._clock)

    @property
    def paused(self) -> bool:
        """Whether the person paused the analysis."""
        return self._pause.on

    @property
    def load(self) -> Load:
        """How much is analysed."""
        return self._degrader.load

    def use(self, load: Load) -> None:
        """Analyse so much from now on, and tell subscribers."""
        now = self._now() if self._now else 0.0
        if self._degrader.lacking:
            self._lacked_until = now
        self._degrader.use(load)
        self._load = records.load(self.person, now, load)
        self._broadcast(self._load)

    def withdraw(self, modalities: frozenset[Modality]) -> Consent:
        """Analyse nothing of `modalities` any more, and tell subscribers; what is left agreed."""
        self._consent = self._consent.model_copy(update=dict.fromkeys(modalities, False))
        self._expected -= modalities
        self._refused = True
        self._degrader.withdraw(modalities)
        self.graph.smooth.expect(self._expected)
        now = self._now() if self._now else 0.0
        self._hello["consent"] = self._consent.model_dump()
        self._hello["modalities"] = [name for name in MODALITIES if name in self._expected]
        self._broadcast(records.consent(self.person, now, self._consent))
        return self._consent

    @property
    def behind(self) -> float:
        """Seconds from the end of the newest window to its state, when that came."""
        return max((came - t for t, came in self._shown.values()), default=0.0)

    def recording(self, reason: str | None) -> None:
        """Tell subscribers that the session is recorded, or for what `reason` it is not."""
        self._recording = records.recording(self.person, reason)
        self._broadcast(self._recording)

    def tell(self, record: Record) -> None:
        """Tell subscribers something that does not come from the graph."""
        self._broadcast(record)

    def set(self, settings: CallSettings) -> None:
        """Smooth, decide and pause as `settings` say from now on, and tell subscribers.

        Raises ``SettingsError``; then nothing has changed.
        """
        shifts = settings.shifts(self._model.labels)
        smoothing = self._config.smoothing
        name = settings.smoothing or smoothing.filter
        before = self._settings
        if settings == before:
            return
        if (settings.smoothing, settings.sensitivity) != (before.smoothing, before.sensitivity):
            smoothing = smoothing.model_copy(update={"filter": name})
            width, thresholds = self._config.window.width, self._model.thresholds
            rule = filter_of(smoothing, width, thresholds, self._prior)
            self.graph.smooth.change(rule, shifts, constant=name == "kalman_constant")
        self._settings = settings
        self._pause.on = settings.paused
        self._told_settings = records.settings(
            self.person, name, settings.sensitivity, paused=settings.paused
        )
        self._broadcast(self._told_settings)

    @property
    def settings(self) -> CallSettings:
        return self._settings

    def subscribe(self, capacity: int = CAPACITY, *, raw: bool = False) -> Subscription:
        """Everything from now on, after a hello; `raw`: estimates too, where there are any."""
        subscriber = Subscription(lossless=self._lossless, capacity=capacity, raw=raw)
        told = (
            self._hello,
            self._clock,
            self._load,
            self._recording,
            self._told_settings,
        )
        first: list[Record] = [record for record in told if record is not None]
        first += [records.person(each) for each in self._there.values()]
        if not self.many:
            first.append(records.state(self._in_full(warming_up(self.person)), 0.0))
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

    async def _fade(self) -> None:
        """Say that the estimate is stale while no window comes; only where time passes."""
        while self._now is not None:
            await asyncio.sleep(self._hop)
            for person, (t, came) in list(self._shown.items()):
                gone = self._now() - came
                state = self.graph.stale(person, t + gone) if gone >= self._stale_after else None
                if state is not None:
                    self._broadcast(records.state(self._in_full(state), self._lag(state.t)))

    def _broadcast(self, record: Record) -> None:
        if self._abandoned:
            return
        for subscriber in self._subscribers:
            if subscriber.raw or record["type"] != "estimate":
                subscriber.put(record)

    def _record(self, message: Message) -> Record | None:
        match message:
            case EmotionState():
                self._show(message)
                shown = self._in_full(message)
                if self._pause.on:
                    shown = replace(shown, labels={}, reasons=("paused",), complete=False)
                return records.state(shown, self._lag(message.t))
            case EmotionEstimate():
                return estimates.to_record(message)
            case EmotionEvent():
                return records.event(message, self._lag(message.t))
            case TranscriptSegment() | FaceFrame():
                return self._seen_or_heard(message)
            case Presence():
                self._come_or_leave(message)
                return records.person(message)
            case Gap():
                return records.gap(message)
            case _:
                raise TypeError(f"no record is made of {type(message).__name__}")

    def _show(self, state: EmotionState) -> None:
        shown = self._shown.get(state.person)
        there = not self.many or state.person in self._there
        if self._now is not None and there and (shown is None or state.t > shown[0]):
            self._shown[state.person] = state.t, self._now()

    def _come_or_leave(self, presence: Presence) -> None:
        if presence.present:
            self._there[presence.person] = presence
        else:
            self._there.pop(presence.person, None)
            self._shown.pop(presence.person, None)

    def _seen_or_heard(self, message: TranscriptSegment | FaceFrame) -> Record | None:
        """None: nothing to tell, or not agreed to any more."""
        if isinstance(message, TranscriptSegment):
            if not message.words or not self._consent.words:
                return None
            return records.transcript(message, self._lag(message.t1))
        if not self._faces or not self._consent.face:
            return None
        lines = [outlines(face) for face in message.faces]
        return records.face(message, lines, self._lag(message.t))

    def _in_full(self, state: EmotionState) -> EmotionState:
        """Say where not everything was agreed to, or is analysed."""
        more: set[Reason] = {"no_consent"} if self._refused else set()
        if self._degrader.lacking or state.t <= self._lacked_until:
            more.add(REASON)
        return with_reasons(state, more)

    def _lag(self, t: float) -> float:
        return 0.0 if self._now is None else self._now() - t
