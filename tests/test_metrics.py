from __future__ import annotations

import asyncio
import time
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from stream import records
from stream.metrics import Metrics, Tally
from workers.mailbox import Account
from workers.messages import TranscriptSegment, Word
from workers.worker import StageAccount


def tally(n: int) -> Tally:
    box = Account(put=10 * n, taken=7 * n, dropped=Counter(queue_full=2 * n), inside=n, peak=3)
    stage = StageAccount(7 * n, 6 * n, Counter(ValueError=n), 0.5 * n)
    return Tally({"vad": box}, {"vad": stage}, {"audio": Counter(frames=5 * n)})


class Values:
    """Values by name and labels, as Prometheus reads them."""

    def __init__(self, metrics: Metrics) -> None:
        families = text_string_to_metric_families(metrics.render().decode())
        self._samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        (sample,) = (s for s in self._samples if (s.name, s.labels) == (name, labels))
        return float(sample.value)


def test_running_and_ended_calls_are_summed() -> None:
    metrics = Metrics()
    metrics.ended(tally(1), "left")
    metrics.ended(tally(2), "failed")
    metrics.watch(lambda: [tally(3), tally(4)])
    for _ in range(2):  # reading changes nothing
        found = Values(metrics)
        assert found("lddu_calls") == 2
        assert found("lddu_calls_ended_total", how="failed") == 1
        assert found("lddu_mailbox_put_total", mailbox="vad") == 100
        assert found("lddu_mailbox_taken_total", mailbox="vad") == 70
        assert found("lddu_mailbox_dropped_total", mailbox="vad", reason="queue_full") == 20
        assert found("lddu_mailbox_inside", mailbox="vad") == 10
        assert found("lddu_mailbox_peak", mailbox="vad") == 3
        assert found("lddu_stage_taken_total", stage="vad") == 70
        assert found("lddu_stage_processed_total", stage="vad") == 60
        assert found("lddu_stage_failed_total", stage="vad", kind="ValueError") == 10
        assert found("lddu_stage_seconds_total", stage="vad") == 5.0
        assert found("lddu_received_total", track="audio", what="frames") == 50


def test_lag_of_records_is_counted_by_type() -> None:
    metrics = Metrics()
    segment = TranscriptSegment("p1", 0, 0.0, 1.0, (Word(0.0, 0.5, "secret", 0.9),), "en")
    metrics.observe(records.transcript(segment, 0.9))
    metrics.observe(records.end("left"))
    found = Values(metrics)
    assert found("lddu_record_lag_seconds_bucket", type="transcript", le="0.75") == 0
    assert found("lddu_record_lag_seconds_bucket", type="transcript", le="1.0") == 1
    assert found("lddu_record_lag_seconds_count", type="transcript") == 1
    assert b"secret" not in metrics.render()


def test_stall_of_the_event_loop_is_seen() -> None:
    async def run() -> Metrics:
        metrics = Metrics()
        watch = asyncio.create_task(metrics.watch_loop())
        await asyncio.sleep(0.12)
        time.sleep(0.4)  # noqa: ASYNC251  this is the stall
        await asyncio.sleep(0.12)
        watch.cancel()
        await asyncio.wait([watch])
        return metrics

    metrics = asyncio.run(run())
    assert 0.3 <= metrics.stall_max_s <= 2.0
    found = Values(metrics)
    count = found("lddu_event_loop_stall_seconds_count")
    assert count >= 2
    assert found("lddu_event_loop_stall_seconds_bucket", le="0.25") < count
