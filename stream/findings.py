"""What columns of records say in short: episodes, turning points, speech, overlap, quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.columns import ACTIVE, UNSURE, Columns, Floats, Track, priority

Span = tuple[float, float]
"""Start and end in seconds."""

PAUSE_S = 0.5
"""Words of one speaker that are closer than this are one stretch of speech."""

TURN_S = 10.0
"""A turning point compares so many seconds before and after it."""

TURN_CHANGE, TURN_NOISE = 0.2, 1.0
"""What a turning point has at least: change of a mean probability, also over its own doubt."""

STATES_PER_TURN = 8
"""On each side of a turning point, at least."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A label was present in [t0, t1]."""

    person: str
    label: str
    t0: float
    t1: float | None
    """None: still present at the end."""
    peak_t: float
    peak: float


@dataclass(frozen=True, slots=True)
class TurningPoint:
    """What a person looks like changed around `t`."""

    person: str
    t: float
    label: str
    """The one that changed most, measured in its own doubt."""
    before: float
    """Mean probability in the ``TURN_S`` seconds before."""
    after: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How much of one person's states can be used."""

    states: int
    complete: float
    """Share of states of windows in which nothing was missing."""
    trusted: float
    """Share of states in which the model's variance was trusted."""
    unsure: dict[str, float]
    """Per label, share of states that say "not sure"."""
    silent: float
    """Share of states in which no label is active or inactive."""
    reasons: dict[str, float]
    """Share of states with each reason, the most important first."""


def episodes(columns: Columns) -> list[Episode]:
    """From the events that belong to ``Columns.best``, in order of their start."""
    found: list[Episode] = []
    open_: dict[tuple[str, str], dict[str, Any]] = {}
    for event in columns.events:
        if event["smoothed"] is not columns.is_smoothed:
            continue
        key = event["person"], event["label"]
        if event["kind"] == "onset":
            open_[key] = event
        else:
            open_.pop(key, None)
            found.append(_episode(event, event["onset"], event["t"]))
    found += [_episode(event, event["t"], None) for event in open_.values()]
    return sorted(found, key=lambda each: (each.t0, each.person, each.label))


def _episode(event: Mapping[str, Any], t0: float, t1: float | None) -> Episode:
    peak = event["peak"]
    return Episode(event["person"], event["label"], t0, t1, peak["t"], peak["probability"])


def turning_points(columns: Columns) -> list[TurningPoint]:
    """In order of time; at most one per person within ``TURN_S`` seconds."""
    found = []
    for person in columns.tracked:
        found += _turns(person, columns.best(person), columns.labels)
    return sorted(found, key=lambda each: (each.t, each.person))


def _turns(person: str, track: Track, labels: Sequence[str]) -> list[TurningPoint]:
    known = np.isfinite(track.probability)
    p = _running(track.probability, known)
    doubt = _running(((track.high - track.low) / 2) ** 2, known)
    count = np.concatenate([np.zeros((1, known.shape[1])), np.cumsum(known, axis=0)])
    here = np.arange(len(track))
    start = np.searchsorted(track.t, track.t - TURN_S, side="left")
    end = np.searchsorted(track.t, track.t + TURN_S, side="left")
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = count[here] - count[start], count[end] - count[here]
        before = (p[here] - p[start]) / left
        after = (p[end] - p[here]) / right
        noise = np.sqrt((doubt[here] - doubt[start]) / left + (doubt[end] - doubt[here]) / right)
        score = np.abs(after - before) / np.maximum(noise, 1e-6)
    few = (left < STATES_PER_TURN) | (right < STATES_PER_TURN)
    score[few | ~(np.abs(after - before) >= TURN_CHANGE) | ~(score >= TURN_NOISE)] = 0.0
    best = score.max(axis=1, initial=0.0)
    turns: list[TurningPoint] = []
    for i in np.argsort(-best, kind="stable"):
        if best[i] == 0.0:
            break
        if all(abs(track.t[i] - each.t) >= TURN_S for each in turns):
            c = int(score[i].argmax())
            turn = float(before[i, c]), float(after[i, c])
            turns.append(TurningPoint(person, float(track.t[i]), labels[c], *turn))
    return turns


def _running(values: Floats, known: Any) -> Floats:
    """(n + 1, C) sums of what comes before each row."""
    total = np.cumsum(np.where(known, values, 0.0), axis=0)
    return np.concatenate([np.zeros((1, values.shape[1])), total])


def speech(columns: Columns) -> dict[str | None, list[Span]]:
    """When each speaker was heard, by transcribed words; None: nobody knows who."""
    words: dict[str | None, list[Span]] = {}
    for segment in columns.transcripts:
        spans = [(word["t0"], word["t1"]) for word in segment["words"]]
        words.setdefault(segment["person"], []).extend(spans or [(segment["t0"], segment["t1"])])
    return {speaker: union(spans, PAUSE_S) for speaker, spans in words.items()}


def overlap(columns: Columns, spoken: Mapping[str | None, Sequence[Span]]) -> list[Span]:
    """When several people spoke: by whom words were attributed to, or as the records say."""
    edges = sorted(
        (t, change)
        for spans in spoken.values()
        for span in spans
        for t, change in zip(span, (1, -1), strict=True)
    )
    found: list[Span] = []
    speakers, since = 0, 0.0
    for t, change in edges:
        if speakers >= 2:
            found.append((since, t))
        speakers, since = speakers + change, t
    stated = [(each["t0"], each["t1"]) for each in columns.transcripts if each.get("overlap")]
    return union([*found, *stated])


def union(spans: Sequence[Span], pause: float = 0.0) -> list[Span]:
    """`spans` in order, those that touch or are closer than `pause` as one."""
    joined: list[Span] = []
    for t0, t1 in sorted(spans):
        if joined and t0 <= joined[-1][1] + pause:
            joined[-1] = joined[-1][0], max(joined[-1][1], t1)
        else:
            joined.append((t0, t1))
    return joined


def seconds(spans: Sequence[Span]) -> float:
    return float(sum(t1 - t0 for t0, t1 in spans))


def quality(columns: Columns, person: str) -> Quality:
    track = columns.best(person)
    unsure = track.status >= UNSURE
    shares = {
        name: float(np.mean(track.reasons >> np.uint64(k) & np.uint64(1)))
        for k, name in enumerate(columns.reasons)
    }
    return Quality(
        states=len(track),
        complete=_mean(columns.states[person].complete),
        trusted=_mean(track.trusted),
        unsure={name: _mean(unsure[:, c]) for c, name in enumerate(columns.labels)},
        silent=_mean(unsure.all(axis=1)),
        reasons={name: shares[name] for name in sorted(shares, key=priority) if shares[name] > 0},
    )


def active_share(track: Track) -> Floats:
    """(C,) share of the states in which each label is active."""
    return np.asarray((track.status == ACTIVE).mean(axis=0) if len(track) else 0.0)


def lost(columns: Columns) -> dict[tuple[str, str], tuple[int, float]]:
    """(source, reason) -> number of gaps and their seconds together."""
    count: Counter[tuple[str, str]] = Counter()
    spans: dict[tuple[str, str], list[Span]] = {}
    for gap in columns.gaps:
        key = gap["source"], gap["reason"]
        count[key] += 1
        spans.setdefault(key, []).append((gap["t0"], gap["t1"]))
    return {key: (n, seconds(union(spans[key]))) for key, n in sorted(count.items())}


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else 0.0
