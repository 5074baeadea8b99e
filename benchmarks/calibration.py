r"""Are the probabilities right, and does what is called certain turn out right?

    python -m lddu_model.data.synthesize configs/synthetic.toml --out sets/calibration \
        --set samples.test=6000
    python -m benchmarks.calibration RUN/seed-1/best --validation FOLDER --test FOLDER [--name NAME]
    python -m benchmarks.calibration --live [CHECKPOINT]

Per label, on sessions (speakers; for the live spec see ``live_sessions``) that nothing was chosen
on: ECE (15 bins of equal mass) beside the 95 % quantile of the ECE of a model that is right with
the same probabilities, Brier skill against the base rate of the validation data, risk at 80 %
coverage beside the full risk, AURC and AUGRC of the stated variance, of entropy, of both together,
of the distance to the threshold in standard deviations, and of the chance that the decision is
wrong: p where a label is called absent, 1 - p where it is called present. (Thresholds that are best
in F1 lie below 1/2, so this is not entropy.) Then conformal risk control: 200 times the test
sessions are halved, the threshold is chosen on one half and the misses are counted on the other.
The last line is JSON, which also goes to benchmarks/results/calibration-NAME.json beside a picture.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.live_sessions import live_sessions
from lddu_model import load, uncertainty
from lddu_model.conformal import control, miss_rate, session_means
from lddu_model.data.shards import read_shards
from lddu_model.evaluate import Choice, choose, predictions_of, uncertainties, wrong_at
from lddu_model.metrics import Bool, Float
from lddu_model.predictions import Predictions
from lddu_model.report import git_commit
from stream.engines import SHIPPED_CHECKPOINT

RESULTS = Path(__file__).resolve().parent / "results"
SIMULATIONS, SPLITS = 500, 200
ALPHAS = (0.05, 0.1, 0.2)
COVERAGE = 0.8
FLOOR = 0.03


def perfect_ece(p: Float, rng: np.random.Generator) -> float:
    """95 % quantile of the ECE (N,) of labels that are drawn with these very probabilities."""
    drawn = rng.random((SIMULATIONS, len(p))) < p
    return float(np.quantile([uncertainty.calibration_error(row, p) for row in drawn], 0.95))


def signal_to_noise(said: Predictions, thresholds: Sequence[float]) -> Float:
    """(N, C) minus the distance of the logit to its threshold in standard deviations."""
    assert said.variance is not None
    p = np.clip(said.probability.astype(float), 1e-6, 1 - 1e-6)
    t = np.clip(np.asarray(thresholds), 1e-6, 1 - 1e-6)
    distance = np.abs(np.log(p / (1 - p)) - np.log(t / (1 - t)))
    return np.asarray(-distance / np.sqrt(said.variance))


def chance_wrong(said: Predictions, thresholds: Sequence[float]) -> Float:
    """(N, C) that the decision at the threshold is wrong, by the probability itself."""
    p = said.probability.astype(float)
    return np.where(p >= np.asarray(thresholds), 1 - p, p)


def of_label(
    c: int, test: Predictions, choice: Choice, doubts: dict[str, Float], wrong: Bool, rng: Any
) -> dict[str, Any]:
    y, p = test.truth[:, c], test.probability[:, c].astype(float)
    ece, perfect = uncertainty.calibration_error(y, p), perfect_ece(p, rng)
    skill = uncertainty.brier_skill(test.truth, test.probability, choice.base_rate)[c]
    return {
        "positives": int(y.sum()),
        "ece": ece,
        "ece_of_a_perfect_model_95": perfect,
        "ece_within": bool(ece <= max(FLOOR, perfect)),
        "brier_skill": float(skill),
        "risk": float(wrong[:, c].mean()),
        "risk_at_80": {
            name: uncertainty.risk_at(wrong[:, c], each[:, c], COVERAGE)
            for name, each in doubts.items()
        },
    }


def promised(test: Predictions, seed: int = 0) -> dict[str, Any]:
    """What conformal risk control keeps of its promise over halves of the sessions."""
    rng = np.random.default_rng(seed)
    sessions = np.asarray(test.groups)
    names = np.unique(sessions)
    p, y = test.probability.astype(float), test.truth
    found = {}
    for alpha in ALPHAS:
        missed, shown, each_threshold = [], [], []
        for _ in range(SPLITS):
            half = np.isin(sessions, rng.permutation(names)[: len(names) // 2])
            threshold = control(p[half], y[half], list(sessions[half]), alpha)
            there = p[~half] >= threshold
            missed.append(session_means(miss_rate(y[~half], there), list(sessions[~half])).mean())
            shown.append(there.mean())
            each_threshold.append(threshold)
        error = float(np.std(missed, ddof=1) / np.sqrt(SPLITS))
        found[str(alpha)] = {
            "missed": float(np.mean(missed)),
            "standard_error": error,
            "kept": bool(np.mean(missed) <= alpha + 2 * error),
            "labels_shown": float(np.mean(shown)),
            "threshold": float(np.mean(each_threshold)),
        }
    return found


def measure(test: Predictions, validation: Predictions) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    choice = choose(validation, len(test.labels))
    thresholds = choice.thresholds["per label"]
    wrong = wrong_at(test, thresholds)
    doubts = uncertainties(test, choice)
    doubts["chance of error"] = chance_wrong(test, thresholds)
    if test.variance is not None:
        doubts["signal to noise"] = signal_to_noise(test, thresholds)
    flat = wrong.ravel()
    return {
        "samples": len(test),
        "sessions": len(set(test.groups)),
        "labels": {
            name: of_label(c, test, choice, doubts, wrong, rng)
            for c, name in enumerate(test.labels)
        },
        "together": {
            "risk": float(flat.mean()),
            **{
                name: {
                    "aurc": uncertainty.aurc(flat, each.ravel()),
                    "augrc": uncertainty.augrc(flat, each.ravel()),
                    "risk_at_80": uncertainty.risk_at(flat, each.ravel(), COVERAGE),
                }
                for name, each in doubts.items()
            },
        },
        "conformal": promised(test),
    }


def plot(test: Predictions, path: Path) -> None:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for c, name in enumerate(test.labels):
        said, there, _ = uncertainty.calibration_bins(test.truth[:, c], test.probability[:, c])
        axis.plot(said, there, ".-", label=name)
    axis.set(xlabel="probability", ylabel="share of positives", title="15 bins of equal mass")
    axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED_CHECKPOINT)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--live", action="store_true", help="sessions of the live spec")
    parser.add_argument("--name", default="synthetic")
    chosen = parser.parse_args()
    model = load(chosen.model)
    if chosen.live:
        chosen.name = "live"
        parts = live_sessions(model)
    else:
        if chosen.validation is None or chosen.test is None:
            parser.error("give --validation and --test, or --live")
        parts = (list(read_shards(chosen.validation)), list(read_shards(chosen.test)))
    validation, test = (predictions_of(model, part) for part in parts)
    found = {
        "benchmark": "calibration", "model": chosen.model.name, "commit": git_commit(),
        "cores": os.cpu_count(),
        **measure(test, validation),
    }  # fmt: skip
    for name, row in found["labels"].items():
        print(f"{name}: {row}")
    print(json.dumps({key: found[key] for key in ("together", "conformal")}, indent=1))
    RESULTS.mkdir(exist_ok=True)
    plot(test, RESULTS / f"calibration-{chosen.name}.png")
    line = json.dumps(found)
    (RESULTS / f"calibration-{chosen.name}.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
