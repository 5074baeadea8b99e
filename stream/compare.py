"""Two analyses side by side: where they differ, and what may be why.

``python -m stream.replay --compare A B`` takes two folders of results, or two JSONL files. It
prints a report and one line of JSON. Exit code 0: the same; 1: they differ; 2: nothing could be
compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from stream import columns, findings, runs
from stream.columns import STATUSES, Columns, Track
from stream.errors import ConfigError
from stream.findings import Span
from stream.report.sections import flat
from stream.report.words import clock

SHOWN = 5
"""Stretches that are told of each recording: the longest."""

ROUNDING = 1.5e-4
"""Records hold four digits."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch in which two analyses say something else of one label."""

    person: str
    label: str
    t0: float
    t1: float
    first: str
    """Its status in A at `t0`."""
    second: str
    why: tuple[str, ...]
    """What else differs there."""


@dataclass(slots=True)
class Pair:
    """One recording in both analyses."""

    name: str
    same: bool = True
    content: str = ""
    """Where the recordings themselves differ: how."""
    windows: int = 0
    """That both have."""
    alone: tuple[int, int] = (0, 0)
    """Windows that only A has, and only B."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Per label, share of common windows with the same status."""
    largest: float = 0.0
    """Largest difference of a probability."""
    largest_at: float | None = None
    """When that is, in seconds."""
    first: float | None = None
    """When anything of a state differs first, in seconds."""
    words: float = 1.0
    """Similarity of the words that were heard, 1: the same."""
    events: tuple[int, int] = (0, 0)
    """Events that only A has, and only B."""
    stretches: list[Difference] = field(default_factory=list)


def compare_results(a: Path, b: Path) -> int:
    """Print how `a` and `b` differ; returns the exit code. Raises ``StreamError``."""
    both, only = _matched(a, b)
    if not both:
        raise ConfigError(
            f"{a} and {b} have no recording in common", hint="give folders of results, or two files"
        )
    settings = _settings(both)
    pairs = []
    for name, (first, second) in both.items():
        pair = compare(name, columns.read(first), columns.read(second))
        pair.content = _content(first, second)
        pairs.append(pair)
        print("\n".join(told(pair)))
    for side, names in zip("AB", only, strict=True):
        for name in names:
            print(f"{name}: only in {side}")
    print("\n".join(f"setting {name}: {x!r} in A, {y!r} in B" for name, (x, y) in settings.items()))
    same = all(pair.same for pair in pairs) and not any(only)
    result = {"same": same, "settings": settings, "only_a": only[0], "only_b": only[1]}
    print(json.dumps({**result, "recordings": [asdict(pair) for pair in pairs]}))
    return 0 if same else 1


def _matched(a: Path, b: Path) -> tuple[dict[str, tuple[Path, Path]], tuple[list[str], list[str]]]:
    if a.is_file() and b.is_file():
        return {a.name.removesuffix(".jsonl"): (a, b)}, ([], [])
    found = []
    for folder in (a, b):
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} is no folder of results", hint="give two folders, or two JSONL files"
            )
        paths = sorted(folder.rglob("*.jsonl"))
        names = (str(path.relative_to(folder)).removesuffix(".jsonl") for path in paths)
        found.append(dict(zip(names, paths, strict=True)))
    first, second = found
    both = {name: (first[name], second[name]) for name in first if name in second}
    return both, ([n for n in first if n not in both], [n for n in second if n not in both])


def _settings(both: Mapping[str, tuple[Path, Path]]) -> dict[str, tuple[Any, Any]]:
    """What differs in settings, model and versions, by the files about the runs."""
    differing: dict[str, tuple[Any, Any]] = {}
    for paths in both.values():
        runs_ = [runs.load(runs.beside(path)) for path in paths]
        facts = [
            {}
            if run is None
            else {
                **dict(flat(run.settings)),
                **{f"model {key}": value for key, value in run.model.items()},
                **{f"version of {key}": value for key, value in run.versions.items()},
                "paced": run.paced,
            }
            for run in runs_
        ]
        if all(facts):
            for name in {**facts[0], **facts[1]}:
                x, y = facts[0].get(name), facts[1].get(name)
                if x != y:
                    differing[name] = x, y
    return differing


def _content(a: Path, b: Path) -> str:
    first, second = runs.load(runs.beside(a)), runs.load(runs.beside(b))
    if first is None or second is None:
        return "not known: a file about the run is missing"
    return "" if first.content == second.content else "these are two different recordings"


def compare(name: str, a: Columns, b: Columns) -> Pair:
    """How the records of one recording differ."""
    pair = Pair(name)
    kind = "smoothed" if a.smoothed and b.smoothed else "states"
    labels = [label for label in a.labels if label in b.labels]
    agreed: dict[str, list[float]] = {label: [] for label in labels}
    for person in dict.fromkeys((*a.tracked, *b.tracked)):
        first, second = getattr(a, kind).get(person), getattr(b, kind).get(person)
        if first is None or second is None:
            pair.alone = (
                pair.alone[0] + (0 if first is None else len(first)),
                pair.alone[1] + (0 if second is None else len(second)),
            )
            continue
        _compare_tracks(pair, person, labels, (a, first), (b, second), agreed)
    pair.agreement = {
        label: round(float(np.mean(shares)), 4) for label, shares in agreed.items() if shares
    }
    said = [[w["text"] for s in each.transcripts for w in s["words"]] for each in (a, b)]
    pair.words = round(SequenceMatcher(None, said[0], said[1], autojunk=False).ratio(), 4)
    events = [{(e.person, e.label, e.t0, e.t1) for e in findings.episodes(x)} for x in (a, b)]
    pair.events = len(events[0] - events[1]), len(events[1] - events[0])
    pair.stretches.sort(key=lambda each: each.t0 - each.t1)
    pair.same = (
        pair.first is None
        and not any(pair.alone)
        and not any(pair.events)
        and said[0] == said[1]
        and a.labels == b.labels
    )
    return pair


def _compare_tracks(
    pair: Pair,
    person: str,
    labels: Sequence[str],
    a: tuple[Columns, Track],
    b: tuple[Columns, Track],
    agreed: dict[str, list[float]],
) -> None:
    _, i, j = np.intersect1d(a[1].t, b[1].t, return_indices=True)
    pair.windows += len(i)
    pair.alone = pair.alone[0] + len(a[1]) - len(i), pair.alone[1] + len(b[1]) - len(j)
    if not len(i):
        return
    t = a[1].t[i]
    differs = np.asarray(
        [
            a[0].names(x) != b[0].names(y)
            for x, y in zip(a[1].reasons[i].tolist(), b[1].reasons[j].tolist(), strict=True)
        ]
    )
    for label in labels:
        c, d = a[0].labels.index(label), b[0].labels.index(label)
        change = np.abs(a[1].probability[i, c] - b[1].probability[j, d])
        change = np.nan_to_num(change, nan=0.0)
        other = a[1].status[i, c] != b[1].status[j, d]
        agreed[label].append(1.0 - float(other.mean()))
        differs |= other | (change > ROUNDING)
        if change.max() > max(pair.largest, ROUNDING):
            pair.largest = round(float(change.max()), 4)
            pair.largest_at = float(t[change.argmax()])
        for start, end in _stretches(other):
            codes = a[1].status[i[start], c], b[1].status[j[start], d]
            span = float(t[start]), float(t[end - 1]) + a[0].hello["hop_s"]
            why = tuple(_why(span, (a[0], a[1]), (b[0], b[1])))
            first, second = (STATUSES[code] for code in codes)
            pair.stretches.append(Difference(person, label, *span, first, second, why))
    if differs.any():
        began = float(t[differs.argmax()])
        pair.first = began if pair.first is None else min(pair.first, began)


def _stretches(held: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], held.astype(int), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _why(span: Span, a: tuple[Columns, Track], b: tuple[Columns, Track]) -> Iterator[str]:
    """What else differs in `span` and in the window before it."""
    reach = span[0] - a[0].hello["window_s"], span[1]
    reasons = [_reasons(each, span) for each in (a, b)]
    if reasons[0] != reasons[1]:
        shown = [", ".join(sorted(each)) or "none" for each in reasons]
        yield f"reasons: {shown[0]} in A, {shown[1]} in B"
    words = [_words(each[0], reach) for each in (a, b)]
    if words[0] != words[1]:
        yield f"words: “{' '.join(words[0])}” in A, “{' '.join(words[1])}” in B"
    gaps = [
        sum(gap["t0"] < reach[1] and gap["t1"] > reach[0] for gap in each[0].gaps)
        for each in (a, b)
    ]
    if gaps[0] != gaps[1]:
        yield f"gaps: {gaps[0]} in A, {gaps[1]} in B"
    trust = [bool(_within(each[1].trusted, each[1], span).all()) for each in (a, b)]
    if trust[0] != trust[1]:
        yield f"variance trusted in {'A' if trust[0] else 'B'} only"


def _within(values: np.ndarray, track: Track, span: Span) -> np.ndarray:
    chosen: np.ndarray = values[(track.t >= span[0]) & (track.t < span[1])]
    return chosen


def _reasons(of: tuple[Columns, Track], span: Span) -> set[str]:
    bits = set(_within(of[1].reasons, of[1], span).tolist())
    return {name for each in bits for name in of[0].names(each)}


def _words(of: Columns, span: Span) -> list[str]:
    said = (word for segment in of.transcripts for word in segment["words"])
    return [word["text"] for word in said if span[0] < word["t1"] <= span[1]]


def told(pair: Pair) -> Iterator[str]:
    """A report in lines."""
    if pair.content:
        yield f"{pair.name}: {pair.content}"
    if pair.same:
        yield f"{pair.name}: the same ({pair.windows} windows)"
        return
    agreement = ", ".join(f"{name} {100 * x:.1f} %" for name, x in pair.agreement.items())
    alike = f"the same status in {agreement} of {pair.windows} windows"
    yield f"{pair.name}: differs; {alike if pair.windows else 'no window in common'}"
    if pair.first is not None:
        yield f"  first at {clock(pair.first)} ({pair.first:.2f} s)"
    if pair.largest_at is not None:
        yield f"  probabilities by up to {pair.largest:.3f}, at {clock(pair.largest_at)}"
    if any(pair.alone):
        yield f"  windows of one alone: {pair.alone[0]} in A, {pair.alone[1]} in B"
    if any(pair.events):
        yield f"  events of one alone: {pair.events[0]} in A, {pair.events[1]} in B"
    if pair.words < 1.0:
        yield f"  words: {100 * pair.words:.1f} % alike"
    for each in pair.stretches[:SHOWN]:
        why = "; ".join(each.why) or "nothing but settings or model"
        yield (
            f"  {clock(each.t0)} to {clock(each.t1)} {each.person} {each.label}:"
            f" {each.first} in A, {each.second} in B ({why})"
        )
