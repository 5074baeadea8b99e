"""How far the estimates agree with what people saw who watched the recording.

Each state of the recording is compared with the labels at the middle of its window, per person and
label. Only states that decide (active or inactive) can agree; the others lower coverage. Intervals
(95 %) come from a bootstrap over blocks of ``BLOCK_S`` seconds, because windows that follow each
other share most of their content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lddu_model.uncertainty import aurc, risk_coverage
from stream.annotations import Annotation
from stream.columns import ACTIVE, UNSURE, Columns, Floats

BLOCK_S = 10.0
RESAMPLES, SEED = 1000, 1
CURVE_RESAMPLES = 200
CURVE_POINTS = 60

Extent = Literal["all", "labelled"]
"""What was looked at: all of the recording, or only where something (also "none") is labelled."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sampled:
    """States beside labels: n states of all people, C labels."""

    truth: Bools
    """(n, C) what people saw."""
    decided: Bools
    """(n, C) the state says yes or no."""
    said: Bools
    """(n, C) it says yes."""
    doubt: Floats
    """(n, C) variance of the logit."""
    block: NDArray[np.int64]
    """(n,) which states are resampled together."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures per label and over all labels."""

    states: int
    blocks: int
    labels: dict[str, dict[str, Any]]
    """Per label (and ``all``): ``seen`` (share by people), ``coverage``, ``accuracy``, ``kappa``,
    ``f1`` with ``kappa_interval``, ``f1_interval``; None where undefined."""
    curve: list[tuple[float, float]]
    """(coverage, risk): of the most certain decisions, by their variance; coverage is of all."""
    aurc: float | None
    aurc_interval: tuple[float, float] | None


def sample(columns: Columns, labels: Sequence[Annotation], extent: Extent = "all") -> Sampled:
    """States of people who have labels, beside these."""
    half = columns.hello["window_s"] / 2
    parts: list[tuple[Any, ...]] = []
    first = 0
    for person in dict.fromkeys(each.person for each in labels):
        track = columns.best(person)
        middle = track.t - half
        truth = np.zeros((len(track), len(columns.labels)), bool)
        looked = np.full(len(track), extent == "all")
        for each in labels:
            if each.person == person:
                inside = (middle >= each.t0) & (middle < each.t1)
                looked |= inside
                if each.label in columns.labels:
                    truth[inside, columns.labels.index(each.label)] = True
        block = first + (track.t // BLOCK_S).astype(np.int64)
        first = int(block.max(initial=first)) + 1
        decided = track.status < UNSURE
        said = track.status == ACTIVE
        parts.append(tuple(x[looked] for x in (truth, decided, said, track.variance, block)))
    return Sampled(*(np.concatenate(columns_) for columns_ in zip(*parts, strict=True)))


def agree(columns: Columns, labels: Sequence[Annotation], extent: Extent = "all") -> Agreement:
    """Kappa, F1 and risk against coverage of the estimates in `columns`."""
    sampled = sample(columns, labels, extent)
    counts, blocks = _counts(sampled)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES) if blocks else None
    shown = {}
    every = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)
    for c, name in enumerate((*columns.labels, "all")):
        row = _figures(every[:, c].sum(axis=0))
        total = len(sampled.truth) * (len(columns.labels) if name == "all" else 1)
        chosen = slice(None) if name == "all" else c
        row["seen"] = _plain(sampled.truth[:, chosen].mean()) if total else None
        row["coverage"] = _plain(every[:, c].sum() / total) if total else None
        if drawn is not None:
            spread = _figures((drawn @ every[:, c].reshape(blocks, 4)).T)
            for key in ("kappa", "f1"):
                row[f"{key}_interval"] = _interval(spread[key])
            row = {k: _plain(v) if np.isscalar(v) else v for k, v in row.items()}
        shown[name] = row
    curve, area, interval = _curve(sampled, blocks, rng)
    return Agreement(len(sampled.truth), blocks, shown, curve, area, interval)


def _counts(sampled: Sampled) -> tuple[NDArray[np.int64], int]:
    """(blocks, C, 4) of yes-yes, yes-no, no-yes, no-no (people, estimate) of decided states."""
    names, block = np.unique(sampled.block, return_inverse=True)
    counts = np.zeros((len(names), sampled.truth.shape[1], 4), np.int64)
    truth, said = sampled.truth, sampled.said
    for k, cell in enumerate((truth & said, truth & ~said, ~truth & said, ~truth & ~said)):
        np.add.at(counts[:, :, k], block, (cell & sampled.decided).astype(np.int64))
    return counts, len(names)


def _figures(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Of (4,) or (4, resamples) counts; NaN where undefined."""
    both, missed, false, neither = (np.asarray(each, float) for each in counts)
    n = both + missed + false + neither
    with np.errstate(divide="ignore", invalid="ignore"):
        right = (both + neither) / n
        chance = ((both + missed) * (both + false) + (neither + missed) * (neither + false)) / n**2
        kappa = np.where(chance < 1, (right - chance) / (1 - chance), np.nan)
        f1 = np.where(both + missed > 0, 2 * both / (2 * both + missed + false), np.nan)
    if n.ndim == 0:
        return {"accuracy": float(right), "kappa": float(kappa), "f1": float(f1)}
    return {"accuracy": right, "kappa": kappa, "f1": f1}


def _curve(
    sampled: Sampled, blocks: int, rng: np.random.Generator
) -> tuple[list[tuple[float, float]], float | None, tuple[float, float] | None]:
    """Risk against coverage over all decisions of all labels, by the variance."""
    decided = sampled.decided
    wrong = (sampled.truth != sampled.said)[decided]
    doubt = sampled.doubt[decided]
    if not len(wrong):
        return [], None, None
    share = float(decided.mean())
    coverage, accepted = risk_coverage(wrong, doubt)
    risk = accepted / np.arange(1, len(accepted) + 1)
    picked = np.unique(np.linspace(0, len(risk) - 1, CURVE_POINTS).astype(int))
    points = [(round(share * float(coverage[i]), 4), round(float(risk[i]), 4)) for i in picked]
    of = np.broadcast_to(sampled.block[:, None], decided.shape)[decided]
    order = np.argsort(of, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(of[order])) + 1)
    areas = []
    for _ in range(CURVE_RESAMPLES if blocks > 1 else 0):
        chosen = np.concatenate([pieces[k] for k in rng.integers(0, len(pieces), len(pieces))])
        areas.append(aurc(wrong[chosen], doubt[chosen]))
    interval = _interval(np.asarray(areas)) if areas else None
    return points, _plain(aurc(wrong, doubt)), interval


def _interval(values: Floats) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    if len(known) < len(values) / 2 or not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _plain(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
