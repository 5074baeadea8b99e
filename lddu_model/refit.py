"""Fit what a checkpoint says, and what it calls usual, to the data of a training configuration.

    python -m lddu_model.refit CHECKPOINT CONFIG --out DIR [--keep-calibration] [--set K=V ...]

The weights stay as they are. Which inputs are usual is learnt from the training parts of the sets
as training shows them to the model; calibration and thresholds are fitted on their validation
parts, as at the end of every epoch, or kept. Test data are scored once, at the end. DIR gets a
whole checkpoint with its card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lddu_model.card import write_card
from lddu_model.checkpoint import load, save
from lddu_model.config import TrainConfig, read_config
from lddu_model.errors import ConfigError, run_command
from lddu_model.evaluation import choose, score
from lddu_model.report import git_commit
from lddu_model.train import test_scores
from lddu_model.trainer import Trainer, learn_usual, usual_of


def refit(checkpoint: Path, config: TrainConfig, out: Path, *, calibrate: bool = True) -> Path:
    """Write `checkpoint`, fitted to the data of `config`, into `out`; returns its model.json.

    `calibrate`: calibration and thresholds as well.

    Raises ``ConfigError`` where the labels differ, and what reading either raises.
    """
    trainer = Trainer(config)
    model = load(checkpoint, trainer.spec, config.device)
    if model.labels != config.labels:
        raise ConfigError(
            f"{checkpoint} knows the labels {list(model.labels)}, not {list(config.labels)}",
            "give a configuration with the labels of the checkpoint",
        )
    learn_usual(
        model, trainer.spec, usual_of(trainer.sets), trainer.augmenter, config.seed, again=True
    )
    if calibrate:
        choose(model, trainer.views)
    metrics = {
        "validation": {name: score(model, samples) for name, samples in trainer.views.items()},
        "test": test_scores(model, trainer.sets),
    }
    told = [
        {
            "name": each.name,
            "samples": len(each.validation),
            "fingerprint": each.record["fingerprint"],
        }
        for each in trainer.sets
        if each.validation
    ]
    fitted = {"sets": told, "git_commit": git_commit()}
    model.record = {**model.record, "metrics": metrics, "usual": fitted}
    if calibrate:
        model.record["calibrated"] = fitted
    path = save(out, model)
    write_card(out)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.refit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("config", type=Path, help="TOML file, see configs/train-live.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--keep-calibration", action="store_true", help="learn only what is usual")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments)
    config = read_config(chosen.config, chosen.set)
    refit(chosen.checkpoint, config, chosen.out, calibrate=not chosen.keep_calibration)
    print(f"checkpoint: {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
