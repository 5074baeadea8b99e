"""Curves of a training run: TensorBoard events as it goes, a picture at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lddu_model.files import replacing

NOT_LOSSES = ("epoch", "seconds", "score", "validation")
SHOWN = ("map", "macro_f1", "micro_f1", "auroc_variance_wrong")


class Curves:
    """Writes `out`/tensorboard: ``tensorboard --logdir OUT`` shows it. Without `write`, nothing."""

    def __init__(self, out: Path, *, write: bool = True) -> None:
        self._writer: Any = None
        if write:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(out / "tensorboard"))

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """One finished epoch."""
        if self._writer is None:
            return
        epoch = int(row["epoch"])
        for name in losses_of(row):
            self._writer.add_scalar(f"loss/{name}", row[name], epoch)
        for view, scores in row["validation"].items():
            for name in SHOWN:
                if scores.get(name) is not None:
                    self._writer.add_scalar(f"{view}/{name}", scores[name], epoch)
        self._writer.flush()


def losses_of(row: Mapping[str, Any]) -> list[str]:
    """Names of the loss terms in a row of the history."""
    return [name for name in row if name not in NOT_LOSSES]


def plot_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Loss terms and validation scores over epochs."""
    # Figure without pyplot: no global state, no display.
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for term in losses_of(history[0]):
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
