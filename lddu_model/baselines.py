"""Baselines on pooled vectors, in the same harness: logistic regression and a small MLP.

    python -m lddu_model.baselines CONFIG --kind logistic|mlp [--pool last] [--out DIR]
                                   [--seeds 1 2 3] [--resume] [--set ...]

CONFIG is that of a training run: the same data, labels and splits. Whatever is chosen (strength of
the regularisation, epoch) has the best mAP on validation data. It leaves predictions and reports
where ``lddu_model.train`` does. Neither states a variance; their uncertainty is their entropy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from lddu_model.batch import rows
from lddu_model.config import TrainConfig, read_config
from lddu_model.data.sets import DataSet, load_sets, stacked_labels
from lddu_model.errors import DataError, run_command
from lddu_model.files import write_text
from lddu_model.metrics import mean_average_precision
from lddu_model.predictions import TEST, VALIDATION, Predictions
from lddu_model.report import METRICS, git_commit, read_metrics
from lddu_model.run_report import report_on
from lddu_model.spec import FeatureSpec, Float32, ModalitySpec, Sample

Kind = Literal["logistic", "mlp"]
Pool = Literal["last", "mean", "last+before", "last+mean"]
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse regularisation (C) that logistic regression chooses from."""
DECAYS = (0.1, 1.0, 10.0)
"""L2 penalty that the MLP chooses from."""
HIDDEN = 256
EPOCHS = 30

Float = NDArray[np.float64]
Predict = Callable[[Float32], Float]
"""Vectors (N, D) -> probabilities (N, C)."""


class Fitted(NamedTuple):
    predict: Predict
    chosen: dict[str, Any]
    """What validation chose."""
    score: float
    """mAP on validation data."""


def pooled(samples: Sequence[Sample], spec: FeatureSpec, how: Pool) -> Float32:
    """(N, D): for each modality its last step, its mean, or two of these side by side.

    A modality that is missing gives NaN: the scaler ignores it, and it counts as average.
    """
    return np.concatenate(
        [
            np.stack([_vector(each, modality, place) for each in samples])
            for modality in spec.modalities
            for place in how.split("+")
        ],
        axis=1,
    )


def _vector(sample: Sample, modality: ModalitySpec, place: str) -> Float32:
    found = rows(sample, modality)
    valid = np.zeros((0, modality.dim), np.float32) if found is None else found[0][found[1]]
    at = {"mean": slice(None), "before": slice(-2, -1), "last": slice(-1, None)}[place]
    if not len(valid[at]):
        return np.full(modality.dim, np.nan, dtype=np.float32)
    return np.asarray(valid[at].mean(axis=0))


class Vectors:
    """Standardised by training data; NaN becomes 0, the mean."""

    def __init__(self, train: Float32) -> None:
        empty = np.isnan(train).all(axis=0)
        self._scaler = StandardScaler().fit(np.where(empty, 0.0, train))

    def __call__(self, x: Float32) -> Float32:
        return np.asarray(np.nan_to_num(self._scaler.transform(x)), dtype=np.float32)


def fit_logistic(x: Float32, y: Float32, held: Float32, truth: Float32, _seed: int) -> Fitted:
    """One regression per label, one strength for all of them."""
    best: Fitted | None = None
    for strength in tqdm(STRENGTHS, "strength", leave=False, disable=not sys.stderr.isatty()):
        models = [_one_label(x, y[:, c], strength) for c in range(y.shape[1])]

        def predict(z: Float32, models: Sequence[Predict] = models) -> Float:
            return np.stack([model(z) for model in models], axis=1)

        score = mean_average_precision(truth, predict(held))
        if best is None or score > best.score:
            best = Fitted(predict, {"C": strength}, score)
    assert best is not None
    return best


def _one_label(x: Float32, y: Float32, strength: float) -> Predict:
    if len(np.unique(y)) < 2:  # nothing to tell apart: the base rate
        return lambda z: np.full(len(z), float(y[0]))
    model = LogisticRegression(C=strength, max_iter=500).fit(x, y)
    return lambda z: np.asarray(model.predict_proba(z)[:, 1])


def fit_mlp(x: Float32, y: Float32, held: Float32, truth: Float32, seed: int) -> Fitted:
    """One hidden layer, Adam; penalty and epoch are chosen."""
    best: Fitted | None = None
    for decay in DECAYS:
        model = MLPClassifier((HIDDEN,), alpha=decay, batch_size=128, random_state=seed)
        label_names = np.arange(y.shape[1])
        for epoch in tqdm(range(EPOCHS), "epoch", leave=False, disable=not sys.stderr.isatty()):
            model.partial_fit(x, y.astype(int), classes=label_names)
            score = mean_average_precision(truth, model.predict_proba(held))
            if best is None or score > best.score:
                weights = [w.copy() for w in model.coefs_], [b.copy() for b in model.intercepts_]
                best = Fitted(_perceptron(*weights), {"alpha": decay, "epoch": epoch + 1}, score)
    assert best is not None
    return best


def _perceptron(weights: Sequence[Float], biases: Sequence[Float]) -> Predict:
    """What scikit-learn's classifier computes, with the weights of one moment of its training."""

    def predict(x: Float32) -> Float:
        hidden = np.maximum(x @ weights[0] + biases[0], 0.0)
        logit = hidden @ weights[1] + biases[1]
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -50, 50))))

    return predict


FIT: Mapping[Kind, Callable[[Float32, Float32, Float32, Float32, int], Fitted]] = {
    "logistic": fit_logistic,
    "mlp": fit_mlp,
}


def run_baseline(config: TrainConfig, kind: Kind, pool: Pool, *, resume: bool = False) -> None:
    """Fit on the only data set of `config`, for each seed; write predictions and reports.

    Logistic regression depends on no seed: it is fitted once and counts for all of them.
    """
    runs = [config.one(seed) for seed in config.seeds] or [config]
    open_runs = [run for run in runs if not (resume and read_metrics(run.out).get("complete"))]
    if kind == "logistic":
        _run(open_runs, kind, pool)
    else:
        for run in open_runs:
            _run([run], kind, pool)
    report_on(config.out, [run.out for run in runs])


def _run(runs: Sequence[TrainConfig], kind: Kind, pool: Pool) -> None:
    """Fit once; write the same for all `runs`, which differ in their seeds."""
    if not runs:
        return
    config = runs[0]
    spec, sets = load_sets(config.data, config.labels, config.modalities)
    if len(sets) != 1 or not sets[0].validation or not sets[0].test:
        raise DataError("a baseline needs one data set with validation and test samples")
    data = sets[0]
    train = pooled(data.train, spec, pool)
    scaled = Vectors(train)
    held = scaled(pooled(data.validation, spec, pool))
    found = FIT[kind](
        scaled(train),
        stacked_labels(data.train),
        held,
        stacked_labels(data.validation),
        config.seed,
    )
    parts = (
        (VALIDATION, data.validation, held),
        (TEST, data.test, scaled(pooled(data.test, spec, pool))),
    )
    said = [(name, _predictions(config, each, found.predict(x))) for name, each, x in parts]
    for run in runs:
        for name, predictions in said:
            predictions.save(run.out / "evaluation" / data.name / name)
        record = _record(run, data, kind, pool, found)
        write_text(run.out / METRICS, json.dumps(record, indent=1) + "\n")


def _predictions(config: TrainConfig, samples: Sequence[Sample], probability: Float) -> Predictions:
    return Predictions(
        labels=config.labels,
        ids=tuple(each.id for each in samples),
        groups=tuple(each.group for each in samples),
        truth=stacked_labels(samples),
        probability=probability.astype(np.float32),
        variance=None,
    )


def _record(
    config: TrainConfig, data: DataSet, kind: Kind, pool: Pool, found: Fitted
) -> dict[str, Any]:
    return {
        "complete": True,
        "record": {
            "config": {"variant": kind, "pool": pool, "seed": config.seed, **found.chosen},
            "data": [data.record],
            "git_commit": git_commit(),
        },
        "validation_map": round(found.score, 4),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="TOML file of a training run")
    parser.add_argument("--kind", choices=FIT, required=True)
    parser.add_argument("--pool", choices=("last", "mean", "last+before", "last+mean"))
    parser.add_argument("--out", type=Path, help="folder of the run (default: `out` of the file)")
    parser.add_argument("--seeds", type=int, nargs="+", help="one run each")
    parser.add_argument("--resume", action="store_true", help="keep runs that are finished")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments)
    config = read_config(chosen.config, chosen.set)
    changes: dict[str, Any] = {} if chosen.out is None else {"out": chosen.out}
    if chosen.seeds is not None:
        changes["seeds"] = tuple(chosen.seeds)
    config = config.model_copy(update=changes)
    run_baseline(config, chosen.kind, chosen.pool or "mean", resume=chosen.resume)
    print(f"reports are in {config.out / 'evaluation'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
