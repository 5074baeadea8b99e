"""What a run leaves for people: where a checkpoint came from, metrics, curves, model card."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lddu_model.api import Model
from lddu_model.card import write_card
from lddu_model.config import TrainConfig
from lddu_model.data.sets import DataSet
from lddu_model.files import replacing, write_text


def provenance(config: TrainConfig, sets: Sequence[DataSet], row: dict[str, Any]) -> dict[str, Any]:
    """The `record` of a checkpoint as plain JSON types."""
    return {
        "name": config.name,
        "config": config.model_dump(mode="json", exclude={"out"}),
        "data": [each.record for each in sets],
        "epoch": row["epoch"],
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "metrics": {"selection": row["score"], "validation": row["validation"]},
    }


def git_commit() -> str | None:
    """Of the code that is running, marked when there are changes; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent

    def ask(*words: str) -> str | None:
        done = subprocess.run(
            [git, "-C", str(here), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if not commit:
        return None
    changes = ask("status", "--porcelain", "--untracked-files=no", "--", ".")
    return commit + ("+changes" if changes else "")


def write_report(folder: Path, model: Model, history: Sequence[dict[str, Any]]) -> None:
    """Write `metrics.json`, `curves.png` and `best/README.md` under `folder`."""
    metrics = {"best": model.record["metrics"], "history": list(history)}
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    plot_curves(folder / "curves.png", history)
    write_card(folder / "best")


def plot_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Loss terms and validation scores over epochs."""
    # Figure without pyplot: no global state, no display.
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for term in ("total", "fused", "auxiliary", "contrast", "ranking"):
        left.plot(epochs, [row[term] for row in history], label=term)
    left.set(title="training loss", xlabel="epoch", ylim=(0, None))
    for view in history[0]["validation"]:
        values = [row["validation"][view]["map"] for row in history]
        right.plot(epochs, values, label=f"{view}: mAP")
    unsure = [
        np.mean([each["auroc_variance_wrong"] or np.nan for each in row["validation"].values()])
        for row in history
    ]
    right.plot(epochs, unsure, "--", color="grey", label="AUROC(variance, wrong)")
    right.set(title="validation", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
