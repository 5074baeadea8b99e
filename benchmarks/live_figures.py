"""Figures of a live call from what its page recorded: see stream/web/stats.js."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import jiwer
import numpy as np

SETTLE_S = 5.0
"""Left out after the first latency that could be measured: the sender's bandwidth still grows."""

Stats = dict[str, Any]


def percentile(values: Sequence[float], q: float) -> float | None:
    """The q-th percentile in milliseconds of values in seconds."""
    return round(float(np.percentile(values, q)) * 1000, 1) if values else None


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Percentiles in milliseconds of latencies in seconds, and how many there were."""
    return {
        "n": len(values),
        "p50_ms": percentile(values, 50),
        "p95_ms": percentile(values, 95),
        "max_ms": percentile(values, 100),
    }


def settled(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that were painted with a known latency, after the first seconds."""
    known = [entry for entry in entries if entry["latency"] is not None]
    if not known:
        return []
    start = known[0]["painted"] + SETTLE_S
    return [entry for entry in known if entry["painted"] >= start]


def landmark_latencies(stats: Stats) -> list[float]:
    """Capture of a picture until its outline was painted, where there was a face."""
    return [face["latency"] for face in settled(stats["faces"]) if face["faces"]]


def estimate_latencies(stats: Stats, *, complete_only: bool = True) -> list[float]:
    """End of a window until its first state was painted; normally where face and voice were whole.

    Words come later by design; the revision that they cause says whether the rest was in time.
    """
    complete = {state["index"] for state in stats["states"] if state["complete"]}
    first = [state for state in settled(stats["states"]) if state["revision"] == 0]
    return [s["latency"] for s in first if not complete_only or s["index"] in complete]


def revision_lags(stats: Stats, window_s: float) -> tuple[list[float], int]:
    """End of each word until a state that had heard it arrived; and words without such a state.

    That state is the first revision, after the transcript, of a window that holds the word's end.
    """
    clock = stats["clock"]
    if clock is None or clock["unix_at_zero"] is None:
        return [], 0
    revised = [state for state in stats["states"] if state["revision"] > 0]
    last = max((state["t"] for state in revised), default=0.0)
    lags, missing = [], 0
    for segment in stats["transcripts"]:
        for word in segment["words"]:
            came = [
                state["received"]
                for state in revised
                if state["t"] - window_s <= word["t1"] <= state["t"]
                and state["received"] >= segment["received"]
            ]
            if came:
                lags.append(min(came) - (clock["unix_at_zero"] + word["t1"]))
            elif word["t1"] <= last:
                missing += 1
    return lags, missing


def caption_lags(stats: Stats) -> list[float]:
    """End of a segment of speech until its caption was painted."""
    known = [segment for segment in stats["transcripts"] if segment["words"]]
    return [segment["latency"] for segment in known if segment["latency"] is not None]


def estimates_per_second(stats: Stats) -> float:
    """First states per second, between the first and the last."""
    times = [
        state["received"]
        for state in stats["states"]
        if state["revision"] == 0 and state["reason"] != "warming_up"
    ]
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def plain(text: str) -> str:
    """Words in lower case without punctuation."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def caption_recall(reference: str, stats: Stats, rounds: int = 1) -> float:
    """Share of the words of `reference`, said `rounds` times, that the captions hold in order."""
    heard = plain(" ".join(word["text"] for s in stats["transcripts"] for word in s["words"]))
    expected = " ".join([plain(reference)] * rounds)
    if not heard:
        return 0.0
    alignment = jiwer.process_words(expected, heard)
    return alignment.hits / len(expected.split())
