"""Train a model.

    python -m lddu_model.train CONFIG [--out DIR] [--seeds 1 2 3] [--resume] [--set key=value ...]
    torchrun --nproc-per-node N -m lddu_model.train CONFIG ...

Everything that is chosen (epoch, calibration, thresholds) is chosen on validation data; test data
are scored once, at the end. A run leaves in DIR

    best/          the best checkpoint so far at any moment, with its model card
    curves.png     loss terms and validation scores; also as TensorBoard events in tensorboard/
    metrics.json   the scores of every epoch
    evaluation/    per data set: predictions on validation and test data, and the report on them
    state/         while it is unfinished: what --resume goes on from, after every epoch

Several seeds have such a folder each, DIR/seed-1 and so on, and DIR/evaluation has mean and
deviation over them. Ctrl-C ends training, scores the best so far and keeps the state.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lddu_model.api import Model, pick_device
from lddu_model.checkpoint import save
from lddu_model.config import TrainConfig, read_config
from lddu_model.data.sets import DataSet
from lddu_model.errors import ConfigError, run_command
from lddu_model.evaluate import predictions_of
from lddu_model.evaluation import own_thresholds, score
from lddu_model.predictions import TEST, VALIDATION
from lddu_model.ranks import Ranks, joined
from lddu_model.report import read_metrics, write_report
from lddu_model.run_report import report_on
from lddu_model.trainer import Trainer

INTERRUPTED = 130


def finish(trainer: Trainer, *, complete: bool) -> None:
    """Score the best checkpoint on test data and write the reports."""
    model = trainer.best_model()
    model.record["metrics"]["test"] = test_scores(model, trainer.sets)
    for data in trainer.sets:
        if data.test:
            folder = trainer.config.out / "evaluation" / data.name
            predictions_of(model, data.test).save(folder / TEST)
            if data.validation:
                predictions_of(model, data.validation).save(folder / VALIDATION)
    save(trainer.folder, model)
    write_report(trainer.config.out, model, trainer.history, complete=complete)
    if complete:
        trainer.drop_state()


def test_scores(model: Model, sets: Sequence[DataSet]) -> dict[str, Any]:
    """Of the sets that have test data, with thresholds of the checkpoint and with their own."""
    scores: dict[str, Any] = {}
    for data in (each for each in sets if each.test):
        scores[data.name] = {"thresholds of the checkpoint": score(model, data.test)}
        if data.validation:
            found = score(model, data.test, own_thresholds(model, data.validation))
            scores[data.name]["thresholds of its own validation part"] = found
    return scores


def train_one(config: TrainConfig, ranks: Ranks, *, resume: bool) -> int:
    """One run from start to end; returns the exit status (130 after Ctrl-C)."""
    if resume and read_metrics(config.out).get("complete"):
        if ranks.first:
            print(f"{config.out} is finished already")
        return 0
    trainer = Trainer(config, ranks)
    if resume and trainer.resume() and ranks.first:
        print(f"going on after epoch {len(trainer.history)}")
    status = 0
    try:
        trainer.run()
    except KeyboardInterrupt:
        status = INTERRUPTED
        if trainer.best is None:
            print("interrupted before the first epoch ended: nothing to keep", file=sys.stderr)
            return status
        print(
            f"interrupted: the best epoch so far is {trainer.best['epoch']}; "
            "the same command with --resume goes on",
            file=sys.stderr,
        )
    if ranks.first:
        assert trainer.best is not None
        finish(trainer, complete=status == 0)
        print(
            f"best epoch {trainer.best['epoch']} of {len(trainer.history)}, "
            f"kept in {trainer.folder}"
        )
    return status


def train(config: TrainConfig, *, resume: bool = False) -> int:
    """All runs of a configuration; returns the exit status (130 after Ctrl-C)."""
    device = pick_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    runs = [config.one(seed) for seed in config.seeds] or [config]
    with joined(device.type) as ranks:
        for run in runs:
            status = train_one(run, ranks, resume=resume)
            if status:
                return status
        if ranks.first:
            report_on(config.out, [run.out for run in runs])
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="TOML file, see configs/train-live.toml")
    parser.add_argument("--out", type=Path, help="folder of the run (default: `out` of the file)")
    parser.add_argument("--seeds", type=int, nargs="+", help="one run each")
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. optim.epochs=3"
    )
    chosen = parser.parse_args(arguments)
    config = read_config(chosen.config, chosen.set)
    changes: dict[str, Any] = {} if chosen.out is None else {"out": chosen.out}
    if chosen.seeds is not None:
        if len(set(chosen.seeds)) != len(chosen.seeds):
            raise ConfigError(f"--seeds must differ, got {chosen.seeds}")
        changes["seeds"] = tuple(chosen.seeds)
    return train(config.model_copy(update=changes), resume=chosen.resume)


if __name__ == "__main__":
    sys.exit(run_command(main))
