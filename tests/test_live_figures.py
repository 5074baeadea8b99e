"""The arithmetic of the live benchmark, on figures made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.live_figures import (
    caption_lags,
    caption_recall,
    estimate_latencies,
    estimates_per_second,
    landmark_latencies,
    percentile,
    revision_lags,
    spread,
)

HEARD = ("today,", "After", "two", "eggs")


def painted(at: float, latency: float | None, **fields: Any) -> dict[str, Any]:
    return {"painted": at, "received": at, "latency": latency, **fields}


def state(index: int, at: float, *, revision: int = 0, complete: bool = False) -> dict[str, Any]:
    t = 3 + 0.25 * index
    fields = {"index": index, "revision": revision, "t": t, "complete": complete, "reason": None}
    return painted(at, at - 1000 - t, **fields)


def stats(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    clock = {"unix_at_zero": 1000.0}
    return {"clock": clock, "faces": [], "states": [], "transcripts": [], **lists}


def test_percentiles_are_in_milliseconds() -> None:
    assert percentile([0.1, 0.2, 0.3], 50) == 200.0
    assert percentile([], 50) is None
    assert spread([0.1]) == {"n": 1, "p50_ms": 100.0, "p95_ms": 100.0, "max_ms": 100.0}


def test_landmarks_before_the_call_has_settled_do_not_count() -> None:
    faces = [
        painted(1000.0, None, faces=1),
        painted(1001.0, 0.9, faces=1),
        painted(1005.9, 0.8, faces=1),
        painted(1006.1, 0.1, faces=1),
        painted(1006.2, 0.2, faces=0),
    ]
    assert landmark_latencies(stats(faces=faces)) == [0.1]


def test_estimates_count_where_face_and_voice_were_complete() -> None:
    states = [
        state(0, 1003.2),
        state(30, 1010.8),
        state(31, 1011.1),
        state(30, 1012.0, revision=1, complete=True),
    ]
    states[-1]["latency"] = None
    assert estimate_latencies(stats(states=states)) == [pytest.approx(0.3)]
    every = estimate_latencies(stats(states=states), complete_only=False)
    assert every == [pytest.approx(0.3), pytest.approx(0.35)]


def test_revision_lag_runs_from_the_end_of_the_word() -> None:
    words = [{"t0": 4.0, "t1": 4.5, "text": "one"}, {"t0": 5.0, "t1": 5.5, "text": "two"}]
    words.append({"t0": 8.0, "t1": 8.5, "text": "late"})
    transcripts = [painted(1006.0, 0.4, words=words)]
    states = [
        state(8, 1005.0, revision=1),  # before the transcript: cannot have heard it
        state(9, 1006.5, revision=1),  # [2.25, 5.25): the first word only
        state(12, 1007.0, revision=1),  # [3, 6)
    ]
    lags, missing = revision_lags(stats(states=states, transcripts=transcripts), 3.0)
    assert lags == [pytest.approx(2.0), pytest.approx(1.5)]
    assert missing == 0
    lags, missing = revision_lags(
        stats(states=[*states, state(40, 1014.0, revision=1)], transcripts=transcripts), 3.0
    )
    assert (len(lags), missing) == (2, 1)


def test_caption_lag_skips_segments_without_words() -> None:
    segments = [painted(1.0, 0.4, words=[{}]), painted(1.0, 9.0, words=[])]
    assert caption_lags(stats(transcripts=segments)) == [0.4]


def test_rate_is_that_of_first_states() -> None:
    states = [state(i, 1003 + 0.25 * i) for i in range(9)]
    states += [state(i, 1006.0, revision=1) for i in range(9)]
    assert estimates_per_second(stats(states=states[:9])) == pytest.approx(4.0)
    assert estimates_per_second(stats(states=states)) == pytest.approx(4.0)
    assert estimates_per_second(stats()) == 0.0


def test_recall_counts_words_in_order_whatever_their_spelling() -> None:
    heard = [painted(1.0, 0.4, words=[{"text": text} for text in HEARD])]
    assert caption_recall("Today, after two years.", stats(transcripts=heard)) == 0.75
    assert caption_recall("Today, after two years.", stats(transcripts=heard * 2), rounds=2) == 0.75
    assert caption_recall("Today, after two years.", stats()) == 0.0
