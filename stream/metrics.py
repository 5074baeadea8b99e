"""What the server measures of itself, for Prometheus: counts and seconds, nothing about people."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.record_types import Record
from workers.mailbox import Account
from workers.worker import StageAccount

log = logging.getLogger(__name__)

LAGS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
STALLS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5)
LAG_PERIOD_S = 0.05
"""How often the event loop's punctuality is measured."""
RECENT_S = 5.0
ALARM_S = 1.0
"""A longer stall is logged."""


@dataclass(slots=True)
class Tally:
    """Accounts of one call, or sums over calls: by mailbox, by stage, by track."""

    boxes: dict[str, Account] = field(default_factory=dict)
    stages: dict[str, StageAccount] = field(default_factory=dict)
    received: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Counts of what was received, by ``audio``, ``video`` and ``clock``."""

    def add(self, other: Tally) -> None:
        """Sum `other` into this."""
        for name, box in other.boxes.items():
            mine = self.boxes.setdefault(name, Account())
            mine.put += box.put
            mine.taken += box.taken
            mine.dropped.update(box.dropped)
            mine.inside += box.inside
            mine.peak = max(mine.peak, box.peak)
        for name, stage in other.stages.items():
            sums = self.stages.setdefault(name, StageAccount())
            sums.taken += stage.taken
            sums.processed += stage.processed
            sums.failed.update(stage.failed)
            sums.seconds += stage.seconds
        for track, counts in other.received.items():
            self.received[track] = Counter(self.received.get(track, {})) + Counter(counts)


class Metrics:
    """All metrics of one server. Counts of calls that ended are kept, so that none goes back."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.outcomes: Counter[str] = Counter()
        """Calls by how they ended."""
        self.stalls: deque[float] = deque(maxlen=round(RECENT_S / LAG_PERIOD_S))
        """Those of the last seconds."""
        self.refused: Counter[str] = Counter()
        """Calls that could not begin, by what there was too much of."""
        self.loads: Callable[[], Counter[str]] = Counter
        """Running calls by how much of them is analysed."""
        self.stall_max_s = 0.0
        """Longest stall of the event loop so far."""
        self.recording: Mapping[str, int] = {}
        """What became of recorded sessions, where they are recorded."""
        self.connections: Mapping[str, int] = {}
        """HTTP connections that were refused, by reason."""
        self.restarts: Callable[[], Mapping[str, int]] = dict
        """How often each worker process was started again."""
        self._ended = Tally()
        self._live: Callable[[], Iterable[Tally]] = lambda: ()
        self._lag = Histogram(
            "lddu_record_lag_seconds",
            "Time from what a record speaks of to the record, by type",
            ["type"],
            buckets=LAGS,
            registry=self.registry,
        )
        self._stalls = Histogram(
            "lddu_event_loop_stall_seconds",
            f"How much later than asked the event loop woke, every {LAG_PERIOD_S} s",
            buckets=STALLS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_Calls(self))

    def watch(self, live: Callable[[], Iterable[Tally]]) -> None:
        """Take the accounts of running calls from `live`, each time metrics are read."""
        self._live = live

    def ended(self, tally: Tally, outcome: str) -> None:
        """A call is over: keep its sums."""
        self.outcomes[outcome] += 1
        self._ended.add(tally)

    def observe(self, record: Record) -> None:
        """Note the lag of a record that was sent."""
        if record["type"] in ("state", "transcript", "face"):
            self._lag.labels(record["type"]).observe(max(0.0, record["lag_s"]))

    def total(self) -> tuple[Tally, int]:
        """Sums over all calls so far, and the number of running ones."""
        total = Tally()
        total.add(self._ended)
        n = 0
        for tally in self._live():
            total.add(tally)
            n += 1
        return total, n

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    async def watch_loop(self) -> None:
        """Measure the punctuality of the event loop until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_PERIOD_S)
            stall = max(0.0, time.monotonic() - before - LAG_PERIOD_S)
            self._stalls.observe(stall)
            self.stalls.append(stall)
            if stall > ALARM_S:
                log.warning("the event loop stood still for %.1f s", stall)
            self.stall_max_s = max(self.stall_max_s, stall)


class _Calls(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the calls."""
        return []

    def collect(self) -> Iterator[Metric]:
        total, running = self._metrics.total()
        yield GaugeMetricFamily("lddu_calls", "Running calls", value=running)
        yield GaugeMetricFamily("lddu_tasks", "Tasks of the event loop", value=_tasks())
        yield GaugeMetricFamily(
            "lddu_event_loop_stall_max_seconds",
            "Longest stall of the event loop since the start",
            value=self._metrics.stall_max_s,
        )
        ended = CounterMetricFamily("lddu_calls_ended", "Calls by how they ended", labels=["how"])
        for how, n in self._metrics.outcomes.items():
            ended.add_metric([how], n)
        yield ended
        recording = CounterMetricFamily(
            "lddu_recording", "Sessions begun, records lost, files swept", labels=["what"]
        )
        for what, n in self._metrics.recording.items():
            recording.add_metric([what], n)
        yield recording
        connections = CounterMetricFamily(
            "lddu_connections_refused", "HTTP connections refused or given up", labels=["why"]
        )
        for why, n in self._metrics.connections.items():
            connections.add_metric([why], n)
        yield connections
        refused = CounterMetricFamily(
            "lddu_calls_refused",
            "Calls refused for load, by what there was too much of",
            labels=["why"],
        )
        for why, n in self._metrics.refused.items():
            refused.add_metric([why], n)
        yield refused
        loads = GaugeMetricFamily(
            "lddu_calls_load", "Running calls by how much of them is analysed", labels=["load"]
        )
        for load, n in self._metrics.loads().items():
            loads.add_metric([load], n)
        yield loads
        restarts = CounterMetricFamily(
            "lddu_worker_restarts", "Worker processes started again", labels=["worker"]
        )
        for worker, n in self._metrics.restarts().items():
            restarts.add_metric([worker], n)
        yield restarts
        yield from _boxes(total.boxes)
        yield from _stages(total.stages)
        received = CounterMetricFamily(
            "lddu_received", "What happened to received media", labels=["track", "what"]
        )
        for track, counts in total.received.items():
            for what, n in counts.items():
                received.add_metric([track, what], n)
        yield received


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # read from outside the event loop
        return 0


def _boxes(boxes: Mapping[str, Account]) -> Iterator[Metric]:
    put = CounterMetricFamily("lddu_mailbox_put", "Items put", labels=["mailbox"])
    taken = CounterMetricFamily("lddu_mailbox_taken", "Items taken", labels=["mailbox"])
    dropped = CounterMetricFamily(
        "lddu_mailbox_dropped", "Items lost, by reason", labels=["mailbox", "reason"]
    )
    inside = GaugeMetricFamily("lddu_mailbox_inside", "Items waiting now", labels=["mailbox"])
    peak = GaugeMetricFamily("lddu_mailbox_peak", "Most items that waited", labels=["mailbox"])
    for name, account in sorted(boxes.items()):
        put.add_metric([name], account.put)
        taken.add_metric([name], account.taken)
        inside.add_metric([name], account.inside)
        peak.add_metric([name], account.peak)
        for reason, n in account.dropped.items():
            dropped.add_metric([name, reason], n)
    yield from (put, taken, dropped, inside, peak)


def _stages(stages: Mapping[str, StageAccount]) -> Iterator[Metric]:
    taken = CounterMetricFamily("lddu_stage_taken", "Items taken", labels=["stage"])
    processed = CounterMetricFamily("lddu_stage_processed", "Items processed", labels=["stage"])
    failed = CounterMetricFamily(
        "lddu_stage_failed", "Items that failed, by kind of error", labels=["stage", "kind"]
    )
    seconds = CounterMetricFamily("lddu_stage_seconds", "Time inside stages", labels=["stage"])
    for name, account in sorted(stages.items()):
        taken.add_metric([name], account.taken)
        processed.add_metric([name], account.processed)
        seconds.add_metric([name], account.seconds)
        for kind, n in account.failed.items():
            failed.add_metric([name, kind], n)
    yield from (taken, processed, failed, seconds)
