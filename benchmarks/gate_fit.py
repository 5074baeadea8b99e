"""Where the gate's limits come from: ``python -m benchmarks.gate_fit [--data DIR] [--work DIR]``.

Both are chosen on data that the shipped checkpoint's weights were not trained on, and scored on
others:

- ``conflict``: windows of a face and a text (``live_sessions``) that show the same labels, or
  labels of which none is the same. For a window the score is the largest half length, in standard
  deviations, at which the two intervals of some label still do not meet; the limits are where the
  fewest are mistaken when one of ``CONFLICTS`` (the first is that of training) is the share of
  windows that contradict themselves.
- ``min_margin``: windows of the sessions of ``live_sessions`` as they are (no filter), and streams
  of real voices with bursts of noise (``temporal_clips``) through the default filter; the limit
  leaves ``COVERAGE`` of the decisions. The streams are those of the two speakers that were not
  trained on: chosen on one, scored on the other, both ways round.

The last line is JSON, which also goes to benchmarks/results/gate-fit.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live_sessions import live_parts, sessions, shown
from benchmarks.temporal_clips import SPEAKERS, arguments, streams_of
from benchmarks.temporal_rules import estimates, filtered
from benchmarks.temporal_streams import Said
from lddu_model import Sample, load, metrics, use_threads
from lddu_model.api import Model
from lddu_model.data.sets import stacked_labels
from lddu_model.evaluation import predict_all
from lddu_model.report import git_commit
from stream.config import ReplayConfig
from stream.engines import SHIPPED_CHECKPOINT
from stream.smoothing import GateConfig, SmoothingConfig, filter_of, prior_of
from workers.filters import Float64
from workers.messages import Bool

RESULTS = Path(__file__).resolve().parent / "results" / "gate-fit.json"
COVERAGE = 0.8
CONFLICTS = (0.15, 0.3, 0.5)
PAIRS = 1500
"""Windows of each kind at most."""


def pairs(
    words: Sequence[Sample], faces: Sequence[Sample], rng: np.random.Generator
) -> tuple[list[Sample], Bool]:
    """Faces with texts, and which contradict each other; both show something."""
    texts = [each for each in words if any(shown(each))]
    seen = [each for each in faces if any(shown(each))]
    found, contrary = [], []
    for wanted in (False, True):
        for _ in range(PAIRS):
            face = seen[int(rng.integers(len(seen)))]
            fits = [
                text
                for text in (texts[int(k)] for k in rng.integers(len(texts), size=60))
                if (_apart(text, face) if wanted else shown(text) == shown(face))
            ]
            if fits:
                features = {**face.features, **fits[0].features}
                found.append(replace(face, features=features, mask={**face.mask, **fits[0].mask}))
                contrary.append(wanted)
    return found, np.array(contrary)


def _apart(one: Sample, other: Sample) -> bool:
    return not any(a and b for a, b in zip(shown(one), shown(other), strict=True))


def half_lengths(model: Model, windows: Sequence[Sample]) -> Float64:
    """(N,) up to which half length, in standard deviations, the gate sees a conflict."""
    said = predict_all(model, windows)
    p = np.asarray(model.thresholds)
    away = said.modality_logit - (np.log(p) - np.log1p(-p))
    z = np.where(np.isfinite(away), away, 0.0) / np.sqrt(said.modality_variance)
    there = np.minimum(z.max(axis=1), -z.min(axis=1))
    return np.asarray(there.max(axis=1), np.float64)


Parts = list[tuple[list[Sample], list[Sample]]]
"""As of ``live_parts``."""


def fit_conflict(model: Model, parts: Parts, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    scored = []
    for words, faces in parts:
        windows, contrary = pairs(words, faces, rng)
        scored.append((half_lengths(model, windows), contrary))
    (score, contrary), (other, truth) = scored
    limits = np.unique(np.round(np.clip(score, 0.0, None), 2))
    found = np.array([(score[contrary] > x).mean() for x in limits])
    false = np.array([(score[~contrary] > x).mean() for x in limits])
    told: dict[str, Any] = {
        "windows": [len(score), len(other)], "auroc": float(metrics.auroc(truth, other)),
    }  # fmt: skip
    chosen = {
        f"{share} contradict": float(limits[int(np.argmin((1 - share) * false - share * found))])
        for share in CONFLICTS
    }
    for name, at in {**chosen, "configured": GateConfig().conflict}.items():
        told[name] = {
            "limit": at,
            "found": float((other[truth] > at).mean()),
            "false": float((other[~truth] > at).mean()),
        }
    return told


def margins(model: Model, parts: list[Said], kept: list[int]) -> tuple[Float64, Bool]:
    """Distances to the threshold in standard deviations after the default filter, and whether the
    decision there is wrong; of all windows and labels, flat.
    """
    window = ReplayConfig().window.width
    rule = filter_of(SmoothingConfig(), window, model.thresholds, prior_of(model))
    p = np.asarray(model.thresholds)
    middle = np.log(p) - np.log1p(-p)
    found, wrong = [], []
    for said in parts:
        states = filtered(rule, estimates(said))
        mean, variance = (np.stack(x) for x in zip(*((s.mean, s.variance) for s in states)))  # noqa: B905  # pairs
        found.append((np.abs(mean - middle) / np.sqrt(variance))[:, kept].ravel())
        wrong.append(((mean >= middle) != said.truth)[:, kept].ravel())
    return np.concatenate(found), np.concatenate(wrong)


def of_windows(model: Model, windows: Sequence[Sample]) -> tuple[Float64, Bool]:
    """As ``margins``, of single windows."""
    said = predict_all(model, windows)
    p = np.asarray(model.thresholds)
    away = said.logit - (np.log(p) - np.log1p(-p))
    wrong = (away >= 0) != (stacked_labels(windows) > 0.5)
    return (np.abs(away) / np.sqrt(said.variance)).ravel().astype(float), wrong.ravel()


def fit_margin(chosen_on: tuple[Float64, Bool], scored_on: tuple[Float64, Bool]) -> dict[str, Any]:
    limit = float(np.quantile(chosen_on[0], 1 - COVERAGE))
    margin, wrong = scored_on
    row: dict[str, Any] = {"decisions": len(wrong), "risk": float(wrong.mean())}
    for name, at in (("chosen", limit), ("configured", GateConfig().min_margin)):
        sure = margin >= at
        row[name] = {
            "limit": at, "coverage": float(sure.mean()), "risk": float(wrong[sure].mean()),
        }  # fmt: skip
    return row


def main() -> None:
    chosen = arguments("Fit the limits of the gate on validation data.")
    use_threads(1)
    model = load(SHIPPED_CHECKPOINT)
    streams = streams_of(model, chosen.data / "media/emodb", chosen)
    parts = live_parts(model)
    rng = np.random.default_rng(0)
    validation, test = (of_windows(model, sessions(*part, rng)) for part in parts)
    heard = {speaker: margins(model, *each) for speaker, each in streams.items()}
    found = {
        "benchmark": "gate_fit", "commit": git_commit(), "cores": os.cpu_count(),
        "conflict": fit_conflict(model, parts),
        "min_margin": {
            "single windows": fit_margin(validation, test),
            **{
                f"voices, chosen on {one}, scored on {other}": fit_margin(heard[one], heard[other])
                for one, other in permutations(SPEAKERS)
            },
        },
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    line = json.dumps(found)
    RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
