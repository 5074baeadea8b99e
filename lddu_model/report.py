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
from lddu_model.curves import plot_curves
from lddu_model.data.sets import DataSet
from lddu_model.errors import CheckpointError
from lddu_model.files import write_text


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


METRICS = "metrics.json"


def write_report(
    folder: Path, model: Model, history: Sequence[dict[str, Any]], *, complete: bool
) -> None:
    """Write `metrics.json`, `curves.png` and `best/README.md` under `folder`.

    `complete`: whether training came to its end.
    """
    best = model.record["metrics"]
    metrics = {"complete": complete, "best": best, "history": list(history)}
    plot_curves(folder / "curves.png", history)
    write_card(folder / "best")
    write_text(folder / METRICS, json.dumps(metrics, indent=1) + "\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """The `metrics.json` of a run; empty where there is none."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "remove it") from error
    return plain
