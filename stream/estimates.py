"""Estimates as the filter takes them, as records: a recorded session can be smoothed anew.

Numbers are those of the model to the last bit of their 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, TypedDict

import numpy as np

from workers.messages import EmotionEstimate, Evidence, Float32, Recent

Numbers = list[float | None]
"""Null is what is not finite: infinite where a variance, not a number where a logit."""


class EstimateRecord(TypedDict):
    type: Literal["estimate"]
    person: str
    index: int
    revision: int
    t0: float
    t1: float
    complete: bool
    logit: Numbers
    variance: Numbers
    probability: Numbers
    modality_logit: list[Numbers] | None
    modality_variance: list[Numbers]
    novelty: Numbers | None
    evidence: dict[str, Any]


def to_record(estimate: EmotionEstimate) -> EstimateRecord:
    """One estimate."""
    alone, novelty = estimate.modality_logit, estimate.novelty
    return {
        "type": "estimate",
        "person": estimate.person,
        "index": estimate.index,
        "revision": estimate.revision,
        "t0": estimate.t0,
        "t1": estimate.t1,
        "complete": estimate.complete,
        "logit": _numbers(estimate.logit),
        "variance": _numbers(estimate.variance),
        "probability": _numbers(estimate.probability),
        "modality_logit": None if alone is None else list(map(_numbers, alone)),
        "modality_variance": list(map(_numbers, estimate.modality_variance)),
        "novelty": None if novelty is None else _numbers(novelty),
        "evidence": asdict(estimate.evidence),
    }


def from_record(record: Mapping[str, Any], labels: tuple[str, ...]) -> EmotionEstimate:
    """The inverse. Raises KeyError, TypeError and ValueError for what is no such record."""
    alone, novelty = record["modality_logit"], record["novelty"]
    return EmotionEstimate(
        person=record["person"],
        index=record["index"],
        revision=record["revision"],
        t0=record["t0"],
        t1=record["t1"],
        labels=labels,
        logit=_array(record["logit"], np.nan),
        variance=_array(record["variance"], np.inf),
        probability=_array(record["probability"], np.nan),
        modality_variance=_array(record["modality_variance"], np.inf),
        evidence=_evidence(record["evidence"]),
        complete=record["complete"],
        modality_logit=None if alone is None else _array(alone, np.nan),
        novelty=None if novelty is None else _array(novelty, np.nan),
    )


def _numbers(values: Float32) -> Numbers:
    return [float(f"{x:.9g}") if np.isfinite(x) else None for x in values.tolist()]


def _array(values: list[Any], missing: float) -> Float32:
    array = np.array(values, dtype=np.float64)  # null becomes not a number
    return np.where(np.isnan(array), missing, array).astype(np.float32)


def _evidence(plain: Mapping[str, Any]) -> Evidence:
    fields = dict(plain)
    recent = fields.pop("recent")
    for name in ("gaps", "stale"):
        fields[name] = tuple(fields[name])
    return Evidence(**fields, recent=None if recent is None else Recent(**recent))
