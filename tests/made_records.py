"""Records as an analysis gives them, for as many people and seconds as a test wants."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream.columns import STATUSES
from stream.spec import LABELS

HOP, WINDOW = 0.25, 3.0
WORDS = ("well", "I", "think", "that", "we", "could", "do", "it", "like", "this", "and", "see")


def made_records(
    seconds: float = 60.0,
    people: Sequence[str] = ("p1",),
    *,
    seed: int = 1,
    smoothed: bool = True,
    many: bool | None = None,
) -> Iterator[dict[str, Any]]:
    """A whole recording: estimates that wander, speech in turns, faces, a gap."""
    rng = np.random.default_rng(seed)
    yield {
        "type": "hello",
        "schema": 1,
        "session": "made.webm",
        "person": people[0],
        "labels": list(LABELS),
        "purpose": "research",
        "consent": {"version": "2", "face": True, "voice": True, "words": True, "record": False},
        "notice": "Emotion estimates are running.",
        "window_s": WINDOW,
        "hop_s": HOP,
        "source": "file",
        "many": len(people) > 1 if many is None else many,
        "modalities": ["words", "voice", "face"],
    }
    yield _state(people[0], 0.0, -1, np.zeros(0), np.zeros(0), np.zeros(0), ["warming_up"])
    count = max(0, int((seconds - WINDOW) / HOP) + 1)
    for k, person in enumerate(people):
        logit = np.cumsum(rng.normal(0, 0.25, (count, len(LABELS))), axis=0) - 2
        logit = np.clip(logit, -5, 3)
        doubt = np.exp(rng.normal(-0.5, 0.3, logit.shape))
        unsure = np.abs(logit) < 0.75 * np.sqrt(doubt)
        status = np.where(unsure, 2, logit > 0)
        for kind in ("state", "smoothed") if smoothed else ("state",):
            for i in range(count):
                t = WINDOW + HOP * i
                why = ["no_face", "variance_high"] if 20 <= t % 60 < 24 else []
                why = why or (["variance_high"] if unsure[i].any() else [])
                yield {**_state(person, t, i, logit[i], doubt[i], status[i], why), "type": kind}
            yield from _events(person, status == 1, logit, smoothed=kind == "smoothed")
        for i in range(int(seconds * 2)):
            x = (k + 0.3 + 0.1 * np.sin(i / 20)) / len(people)
            yield _face(people, person, i / 2, x)
    yield from _speech(seconds, people, rng)
    gap = {"type": "gap", "person": people[0], "source": "video", "t0": 1.0, "t1": 1.5}
    yield {**gap, "reason": "missing"}
    yield {"type": "end", "reason": "finished"}


def _state(
    person: str, t: float, index: int, logit: Any, doubt: Any, status: Any, reasons: list[str]
) -> dict[str, Any]:
    def p(x: float) -> float:
        return round(float(1 / (1 + np.exp(-x))), 4)

    labels = {
        name: {
            "probability": p(mean),
            "variance": round(float(variance), 4),
            "interval": [p(mean - variance**0.5), p(mean + variance**0.5)],
            "status": STATUSES[code],
        }
        for name, mean, variance, code in zip(LABELS, logit, doubt, status, strict=False)
    }
    return {
        "type": "state",
        "t": t,
        "person": person,
        "index": index,
        "revision": 0,
        "complete": index >= 0,
        "labels": labels,
        "reason": reasons[0] if reasons else None,
        "reasons": reasons,
        "variance_trusted": True,
        "lag_s": 0.0,
    }


def _events(person: str, active: Any, logit: Any, *, smoothed: bool) -> Iterator[dict[str, Any]]:
    for c, label in enumerate(LABELS):
        edges = np.diff(np.concatenate([[False], active[:, c]]).astype(int))
        since = 0
        for i in np.flatnonzero(edges):
            t = WINDOW + HOP * float(i)
            since = int(i) if edges[i] > 0 else since
            peak = since + int(np.argmax(logit[since : i + 1, c]))
            yield {
                "type": "event",
                "kind": "onset" if edges[i] > 0 else "offset",
                "t": t,
                "person": person,
                "label": label,
                "onset": WINDOW + HOP * since,
                "peak": {
                    "t": WINDOW + HOP * peak,
                    "probability": round(float(1 / (1 + np.exp(-logit[peak, c]))), 4),
                },
                "withdrawn": False,
                "smoothed": smoothed,
                "lag_s": 0.0,
            }


def _face(people: Sequence[str], person: str, t: float, x: float) -> dict[str, Any]:
    box = [round(x, 4), 0.3, round(x + 0.4 / len(people), 4), 0.7]
    face = {"track": people.index(person), "person": person, "box": box, "outlines": []}
    return {"type": "face", "t": t, "person": people[0], "faces": [face], "lag_s": 0.0}


def _speech(
    seconds: float, people: Sequence[str], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    t, k = 1.0, 0
    while t + 2.4 < seconds:
        speaker = None if k % 7 == 6 else people[(k // 3) % len(people)]
        said = [WORDS[int(i)] for i in rng.integers(0, len(WORDS), 6)]
        words = [
            {"t0": round(t + 0.35 * i, 3), "t1": round(t + 0.35 * i + 0.3, 3), "text": word}
            for i, word in enumerate(said)
        ]
        yield {
            "type": "transcript",
            "person": speaker,
            "t0": round(t, 3),
            "t1": round(t + 2.3, 3),
            "text": " ".join(said),
            "language": "en",
            "words": [{**word, "probability": 0.9} for word in words],
            "overlap": k % 11 == 10,
            "lag_s": 0.0,
        }
        t, k = t + (2.4 if k % 5 else 5.0), k + 1


def write(path: Path, records: Iterator[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    return path
