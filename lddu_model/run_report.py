"""Reports over the runs of one configuration, from the predictions that each left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lddu_model.checkpoint import JSON_NAME
from lddu_model.evaluate import evaluate_seeds
from lddu_model.evaluation_report import write_evaluation
from lddu_model.predictions import TEST, VALIDATION, Predictions
from lddu_model.report import read_metrics


def report_on(out: Path, runs: Sequence[Path]) -> None:
    """Write `out`/evaluation/NAME for each data set that `runs`, which differ in seed, scored."""
    for name in evaluated(runs[0]):
        tests, validations = load_predictions(runs, name)
        report = evaluate_seeds(tests, validations)
        about = {
            "data": name,
            "folders": ", ".join(run.name for run in runs),
            **_about(runs[0], name),
        }
        write_evaluation(out / "evaluation" / name, {"about": about, **report})


def evaluated(run: Path) -> list[str]:
    """Names of the data sets that a run has predictions on."""
    return sorted(path.parent.name for path in run.glob(f"evaluation/*/{TEST}"))


def load_predictions(
    runs: Sequence[Path], name: str
) -> tuple[list[Predictions], list[Predictions] | None]:
    """On test and, where every run has them, on validation data."""
    folders = [run / "evaluation" / name for run in runs]
    tests = [Predictions.load(folder / TEST) for folder in folders]
    if not all((folder / VALIDATION).is_file() for folder in folders):
        return tests, None
    return tests, [Predictions.load(folder / VALIDATION) for folder in folders]


def _about(run: Path, name: str) -> dict[str, Any]:
    """What the report says of a run: which model, data and code."""
    checkpoint = run / "best" / JSON_NAME
    if checkpoint.is_file():
        record = json.loads(checkpoint.read_text(encoding="utf-8"))["record"]
    else:
        record = read_metrics(run)["record"]
    data = next(each for each in record["data"] if each["name"] == name)
    return {
        "variant": record["config"]["variant"],
        "fingerprint": data.get("test_fingerprint", data["fingerprint"]),
        **data.get("conversion", {}),
        "git_commit": record["git_commit"],
    }
