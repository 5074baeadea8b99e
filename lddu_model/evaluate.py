"""Score a model on test data, with everything that is chosen chosen on validation data.

    python -m lddu_model.evaluate CHECKPOINT... --set FOLDER [--validation FOLDER] [--out DIR]
    python -m lddu_model.evaluate RUN/evaluation/NAME... [--against OTHER...] [--out DIR]

Several checkpoints, or folders with predictions, are seeds of one model. ``--against`` adds the
paired bootstrap. DIR gets evaluation.md, evaluation.json and evaluation.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lddu_model import compare, metrics, uncertainty
from lddu_model.api import Model
from lddu_model.calibration import best_single_threshold, best_thresholds
from lddu_model.checkpoint import load
from lddu_model.compare import Scorer
from lddu_model.data.sets import labelled, origin, stacked_labels
from lddu_model.data.shards import read_shards
from lddu_model.errors import ConfigError, DataError, run_command
from lddu_model.evaluation import predict_all
from lddu_model.evaluation_report import write_evaluation
from lddu_model.metrics import Bool, Float, plain
from lddu_model.predictions import TEST, VALIDATION, Predictions
from lddu_model.spec import Sample

RULES = {
    "one threshold": "one number for all labels, largest micro-F1 on validation data",
    "per label": "one number for each label, its largest F1 on validation data",
}
FIXED = "0.5: there are no validation data to choose on"
COVERAGE = 0.8


class Choice(NamedTuple):
    """What validation data chose."""

    thresholds: Mapping[str, tuple[float, ...]]
    """By rule, (C,)."""
    combination: uncertainty.Combination | None
    base_rate: Float


def predictions_of(model: Model, samples: Sequence[Sample]) -> Predictions:
    """What `model` says of labelled samples."""
    said = predict_all(model, samples)
    states = model.net.states_variance
    return Predictions(
        labels=model.labels,
        ids=tuple(each.id for each in samples),
        groups=tuple(each.group for each in samples),
        truth=stacked_labels(samples),
        probability=said.probability,
        variance=said.variance if states else None,
        modality_variance=said.modality_variance if states else None,
        modalities=model.spec.names if states else (),
    )


def choose(validation: Predictions | None, labels: int) -> Choice:
    """Thresholds, base rates and how variance and entropy combine."""
    if validation is None:
        half = (0.5,) * labels
        return Choice(dict.fromkeys(RULES, half), None, np.full(labels, 0.5))
    p, y = validation.probability, validation.truth
    thresholds = {
        "one threshold": (best_single_threshold(p, y),) * labels,
        "per label": best_thresholds(p, y),
    }
    combination = None
    if validation.variance is not None:
        wrong = wrong_at(validation, thresholds["per label"])
        combination = uncertainty.combine(validation.variance, p, wrong)
    return Choice(thresholds, combination, y.mean(axis=0))


def wrong_at(said: Predictions, thresholds: Sequence[float]) -> Bool:
    """(N, C) decisions at `thresholds` that are not the truth."""
    return np.asarray((said.probability >= np.asarray(thresholds)) != (said.truth > 0.5))


def uncertainties(said: Predictions, choice: Choice) -> dict[str, Float]:
    """(N, C) by name: what each says about how likely a decision is wrong."""
    found = {"entropy": metrics.entropy(said.probability)}
    if said.variance is not None:
        found = {"variance": said.variance.astype(float), **found}
        if choice.combination is not None:
            found["both"] = choice.combination(said.variance, said.probability)
    return found


def scorers(test: Predictions, choice: Choice) -> dict[str, Scorer]:
    """The headline scores, as functions of sample weights."""
    found = {"mAP": compare.weighted_map(test.truth, test.probability)}
    for rule, thresholds in choice.thresholds.items():
        predicted = test.probability >= np.asarray(thresholds)
        found[f"micro-F1, {rule}"] = compare.weighted_f1(test.truth, predicted, macro=False)
        found[f"macro-F1, {rule}"] = compare.weighted_f1(test.truth, predicted, macro=True)
        found[f"Jaccard (empty 0), {rule}"] = compare.weighted_mean(
            metrics.jaccard_each(test.truth, predicted, both_empty=0.0)
        )
    wrong = wrong_at(test, choice.thresholds["per label"])
    for name, score in uncertainties(test, choice).items():
        found[f"AUROC({name}, wrong)"] = compare.weighted_auroc(wrong, score)
    return found


def evaluate(
    test: Predictions, validation: Predictions | None, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """All scores as plain JSON types; `resamples` 0 leaves the intervals out."""
    choice = choose(validation, len(test.labels))
    weights = compare.draw(test.groups, resamples, seed) if resamples else None
    headline = {}
    for name, score in scorers(test, choice).items():
        entry: dict[str, Any] = {"value": plain(score(np.ones(len(test))))}
        if weights is not None:
            found = compare.intervals(compare.resampled([score], weights))
            entry["intervals"] = {level: [plain(x) for x in pair] for level, pair in found.items()}
        headline[name] = entry
    return {
        "samples": len(test),
        "groups": len({name for name in test.groups if name}),
        "rules": RULES if validation is not None else dict.fromkeys(RULES, FIXED),
        "headline": headline,
        "decisions": {
            rule: _decisions(test, thresholds) for rule, thresholds in choice.thresholds.items()
        },
        "labels": _per_label(test, choice),
        "uncertainty": _uncertainty(test, choice),
        "curves": _curves(test, choice),
    }


def _decisions(test: Predictions, thresholds: Sequence[float]) -> dict[str, Any]:
    predicted = test.probability >= np.asarray(thresholds)
    precision, recall, f1 = metrics.micro(test.truth, predicted)
    occurring = test.truth.sum(axis=0) > 0
    each = {
        name: {"precision": plain(p), "recall": plain(r), "f1": plain(f)}
        for name, p, r, f in zip(
            test.labels,
            metrics.precision(test.truth, predicted),
            metrics.recall(test.truth, predicted),
            metrics.f1(test.truth, predicted),
            strict=True,
        )
    }
    return {
        "thresholds": dict(zip(test.labels, thresholds, strict=True)),
        "micro_precision": plain(precision),
        "micro_recall": plain(recall),
        "micro_f1": plain(f1),
        "macro_f1": plain(metrics.f1(test.truth, predicted)[occurring].mean()),
        "jaccard_empty_0": plain(metrics.jaccard(test.truth, predicted, both_empty=0.0)),
        "jaccard_empty_1": plain(metrics.jaccard(test.truth, predicted, both_empty=1.0)),
        "hamming_loss": plain(metrics.hamming(test.truth, predicted)),
        "exact_match": plain(metrics.exact_match(test.truth, predicted)),
        "labels": each,
    }


def _per_label(test: Predictions, choice: Choice) -> dict[str, Any]:
    y, p = test.truth, test.probability
    wrong = wrong_at(test, choice.thresholds["per label"])
    doubts = uncertainties(test, choice)
    brier = uncertainty.brier(y, p)
    skill = uncertainty.brier_skill(y, p, choice.base_rate)
    return {
        name: {
            "positives": int(y[:, c].sum()),
            "average_precision": plain(metrics.average_precision(y[:, c], p[:, c])),
            "ece": plain(uncertainty.calibration_error(y[:, c], p[:, c])),
            "brier": plain(brier[c]),
            "brier_skill": plain(skill[c]),
            "auroc_wrong": {
                kind: plain(metrics.auroc(wrong[:, c], each[:, c])) for kind, each in doubts.items()
            },
        }
        for c, name in enumerate(test.labels)
    }


def _uncertainty(test: Predictions, choice: Choice) -> dict[str, Any]:
    wrong = wrong_at(test, choice.thresholds["per label"]).ravel()
    error = np.square(test.truth - test.probability).ravel()
    return {
        "share_wrong": plain(wrong.mean()),
        **{
            name: {
                "auroc_wrong": plain(metrics.auroc(wrong, each)),
                "aurc": plain(uncertainty.aurc(wrong, each.ravel())),
                "augrc": plain(uncertainty.augrc(wrong, each.ravel())),
                "risk_at_80": plain(uncertainty.risk_at(wrong, each.ravel(), COVERAGE)),
                "spearman_squared_error": plain(uncertainty.spearman(each, error)),
            }
            for name, each in uncertainties(test, choice).items()
        },
    }


def _curves(test: Predictions, choice: Choice, points: int = 100) -> dict[str, Any]:
    """What the picture is drawn from."""
    wrong = wrong_at(test, choice.thresholds["per label"]).ravel()
    risk = {}
    for name, each in uncertainties(test, choice).items():
        coverage, accepted = uncertainty.risk_coverage(wrong, each.ravel())
        at = np.unique(np.linspace(0, len(coverage) - 1, points).astype(int))
        values = accepted[at] / (coverage[at] * len(coverage))
        risk[name] = [[plain(x) for x in coverage[at]], [plain(x) for x in values]]
    reliability = {}
    for c, label in enumerate(test.labels):
        said, there, _ = uncertainty.calibration_bins(test.truth[:, c], test.probability[:, c])
        reliability[label] = [[plain(x) for x in said], [plain(x) for x in there]]
    return {"risk_coverage": risk, "reliability": reliability}


def evaluate_seeds(
    tests: Sequence[Predictions],
    validations: Sequence[Predictions] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Each run by itself, and mean and standard deviation (n - 1) of the headline over them."""
    compare.same_samples(tests, ())
    held: Sequence[Predictions | None] = validations or [None] * len(tests)
    runs = [
        evaluate(test, validation, resamples=resamples, seed=seed)
        for test, validation in zip(tests, held, strict=True)
    ]
    over = {}
    for name in runs[0]["headline"]:
        values = [run["headline"][name]["value"] for run in runs]
        known = [value for value in values if value is not None]
        over[name] = {
            "mean": plain(np.mean(known)) if known else None,
            "sd": plain(np.std(known, ddof=1)) if len(known) > 1 else None,
            "values": values,
        }
    return {"over_runs": over, "runs_scored": runs}


def compare_seeds(
    mine: tuple[Sequence[Predictions], Sequence[Predictions] | None],
    other: tuple[Sequence[Predictions], Sequence[Predictions] | None],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, compare.Difference]:
    """Paired bootstrap by group of two models, each given as test and validation predictions."""
    compare.same_samples(mine[0], other[0])
    return compare.paired_bootstrap(
        _seed_scorers(*mine), _seed_scorers(*other), mine[0][0].groups,
        resamples=resamples, seed=seed,
    )  # fmt: skip


def _seed_scorers(
    tests: Sequence[Predictions], validations: Sequence[Predictions] | None
) -> dict[str, list[Scorer]]:
    held: Sequence[Predictions | None] = validations or [None] * len(tests)
    each = [
        scorers(test, choose(validation, len(test.labels)))
        for test, validation in zip(tests, held, strict=True)
    ]
    return {name: [one[name] for one in each] for name in each[0]}


def _gather(
    paths: Sequence[Path], test: Path | None, validation: Path | None, device: str
) -> tuple[list[Predictions], list[Predictions] | None]:
    """Predictions from folders that hold them, or made now by checkpoints."""
    if all((path / TEST).is_file() for path in paths):
        tests = [Predictions.load(path / TEST) for path in paths]
        held = [path / VALIDATION for path in paths]
        known = all(path.is_file() for path in held)
        return tests, [Predictions.load(path) for path in held] if known else None
    if test is None:
        raise ConfigError(
            "--set is missing: which feature set shall the checkpoints be scored on?",
            f"give --set FOLDER, or folders that hold {TEST}",
        )
    models = [load(path, device=device) for path in paths]
    return (
        [_predict(model, test) for model in models],
        None if validation is None else [_predict(model, validation) for model in models],
    )


def _predict(model: Model, folder: Path) -> Predictions:
    found = read_shards(folder)
    if found.spec.digest != model.spec.digest:
        raise DataError(
            f"{folder} has features {found.spec.name!r}, the checkpoint expects "
            f"{model.spec.name!r}",
            "prepare the set with the settings that the checkpoint was trained with",
        )
    return predictions_of(model, labelled(found, model.labels))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m lddu_model.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("model", nargs="+", type=Path, help="checkpoints or folders of predictions")
    made.add_argument("--set", type=Path, help="feature set to score on")
    made.add_argument("--validation", type=Path, help="feature set to choose on")
    made.add_argument("--against", nargs="+", type=Path, default=[], help="the same of another")
    made.add_argument("--out", type=Path, default=Path("evaluation"))
    made.add_argument("--resamples", type=int, default=1000)
    made.add_argument("--device", default="auto")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    o = parser().parse_args(arguments)
    mine = _gather(o.model, o.set, o.validation, o.device)
    about: dict[str, Any] = {"models": ", ".join(path.name for path in o.model)}
    if o.set is not None:
        about |= {"data": o.set.name, "fingerprint": read_shards(o.set).fingerprint}
        about |= origin(o.set).get("conversion", {})
    report = {"about": about, **evaluate_seeds(*mine, resamples=o.resamples)}
    if o.against:
        other = _gather(o.against, o.set, o.validation, o.device)
        found = compare_seeds(mine, other, resamples=o.resamples)
        report["against"] = {
            "models": [path.name for path in o.against],
            "differences": {name: [plain(x) for x in each] for name, each in found.items()},
        }
    path = write_evaluation(o.out, report)
    for name, entry in report["over_runs"].items():
        deviation = "" if entry["sd"] is None else f" (sd {entry['sd']:.4f})"
        print(f"{name}: {entry['mean']}{deviation}")
    print(f"report: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
