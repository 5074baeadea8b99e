"""Does the variance know what the noise is?

    python -m lddu_model.data.synthesize configs/synthetic.toml --out sets/synthetic
    python -m lddu_model.sweep configs/sweep-synthetic.toml
    python -m benchmarks.synthetic sets/synthetic runs/sweep-synthetic/default

For each seed of a run: AUROC for wrong decisions of variance, entropy and both; how many samples
with a kind of noise that training never saw lie above the 90 % quantile of the test set (10 % by
chance), by the mean variance, entropy and combination over the labels; and how often variance rises
when one modality of a clean sample is degraded or taken away. The last line is JSON, which also
goes to benchmarks/results/synthetic.json.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model import compare, load
from lddu_model.data.shards import read_shards
from lddu_model.data.synthesize import read_noise
from lddu_model.errors import DataError
from lddu_model.evaluate import Choice, choose, predictions_of, scorers, uncertainties
from lddu_model.predictions import Predictions
from lddu_model.report import git_commit
from lddu_model.uncertainty import noise_correlation, spearman

RESULTS = Path(__file__).resolve().parent / "results" / "synthetic.json"
QUANTILE = 0.9


def flagged(test: Predictions, unseen: Predictions, choice: Choice) -> dict[str, float]:
    """Share of `unseen` above the quantile of `test`, by each uncertainty's mean over labels."""
    here, there = uncertainties(test, choice), uncertainties(unseen, choice)
    return {
        name: float((there[name].mean(1) > np.quantile(here[name].mean(1), QUANTILE)).mean())
        for name in here
    }


def by_kind(
    test: Predictions, unseen: Predictions, choice: Choice, kinds: np.ndarray
) -> dict[str, float]:
    """`flagged` by variance, for the samples with each kind."""
    limit = np.quantile(uncertainties(test, choice)["variance"].mean(1), QUANTILE)
    above = uncertainties(unseen, choice)["variance"].mean(1) > limit
    return {
        str(kind): float(above[(kinds == kind).any(axis=1)].mean())
        for kind in np.unique(kinds)
        if kind not in ("clean", "missing")
    }


def paired(said: Predictions) -> dict[str, Any]:
    """Mean variance, and share of samples in which it is above the clean one, by kind and level."""
    assert said.variance is not None
    mean = said.variance.mean(axis=1)
    clean = {
        name.split("/")[0]: value
        for name, value in zip(said.ids, mean, strict=True)
        if name.endswith("/clean")
    }
    values: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for name, value in zip(said.ids, mean, strict=True):
        if name.endswith("/clean"):
            continue
        base, _, kind, level = name.split("/")
        values[kind].setdefault(level, []).append((float(value), float(clean[base])))
    found: dict[str, Any] = {}
    for kind, levels in values.items():
        rows = {
            level: {
                "variance": float(np.mean([worse for worse, _ in pairs])),
                "rises": float(np.mean([worse > base for worse, base in pairs])),
            }
            for level, pairs in levels.items()
        }
        found[kind] = rows
        if len(levels) > 1:
            steps = sorted(rows, key=float)
            found[kind]["monotonic"] = spearman(
                np.arange(float(len(steps))), np.array([rows[x]["variance"] for x in steps])
            )
    found["clean"] = float(np.mean(list(clean.values())))
    return found


def measure(sets: Path, run: Path) -> dict[str, Any]:
    model = load(run / "best")
    said = {
        name: predictions_of(model, list(read_shards(sets / name)))
        for name in ("validation", "test", "test-unseen", "test-paired")
    }
    test, noise = said["test"], read_noise(sets / "test")
    if noise.ids != test.ids:
        raise DataError(f"{sets / 'test'}: its noise is not that of its samples")
    choice = choose(said["validation"], len(test.labels))
    found = {name: score(np.ones(len(test))) for name, score in scorers(test, choice).items()}
    assert test.modality_variance is not None
    return {
        "scores": found,
        "flagged_unseen": flagged(test, said["test-unseen"], choice),
        "flagged_by_kind": by_kind(
            test, said["test-unseen"], choice, read_noise(sets / "test-unseen").kind
        ),
        "spearman_noise": dict(
            zip(
                test.modalities, noise_correlation(test.modality_variance, noise.level), strict=True
            )
        ),
        "paired": paired(said["test-paired"]),
        "both_minus_entropy": _gain(test, choice),
    }


def _gain(test: Predictions, choice: Choice) -> dict[str, float]:
    """Paired bootstrap by speaker of AUROC(both) - AUROC(entropy)."""
    each = scorers(test, choice)
    found = compare.paired_bootstrap(
        {"gain": [each["AUROC(both, wrong)"]]},
        {"gain": [each["AUROC(entropy, wrong)"]]},
        test.groups,
        resamples=500,
    )["gain"]
    return found._asdict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("run", type=Path, help="folder with seed-1, seed-2 ...")
    chosen = parser.parse_args()
    runs = sorted(path for path in chosen.run.glob("seed-*") if (path / "best").is_dir())
    rows = {path.name: measure(chosen.sets, path) for path in runs}
    for name, row in rows.items():
        print(f"{name}: {json.dumps(row, indent=1)}")
    line = json.dumps({"benchmark": "synthetic", "commit": git_commit(), "runs": rows})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
