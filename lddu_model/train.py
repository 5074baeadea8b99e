"""Train a model.

    python -m lddu_model.train CONFIG [--out DIR] [--set key=value ...]

Everything that is chosen (epoch, calibration, thresholds) is chosen on validation data; test data
are scored once, at the end. `DIR/best` holds the best checkpoint so far at any moment; `DIR` gets
`metrics.json`, `curves.png` and the model card. Ctrl-C ends training and keeps the best so far.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lddu_model import losses as loss_terms
from lddu_model.api import Model, create, forward, pick_device
from lddu_model.batch import collate
from lddu_model.checkpoint import load, save
from lddu_model.config import OptimConfig, TrainConfig, read_config
from lddu_model.data.augment import Augmenter
from lddu_model.data.mix import Draws, Mixer
from lddu_model.data.sets import DataSet, load_sets, stacked_labels, statistics
from lddu_model.errors import DataError, ModelError, run_command
from lddu_model.evaluation import choose, own_thresholds, score
from lddu_model.report import provenance, write_report
from lddu_model.spec import FeatureSpec, Float32, Sample

MIXED_VIEW = 2000
"""Samples of the mixed validation view at most."""
Row = dict[str, Any]


class Trainer:
    """One training run; `history` has one row per finished epoch."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.spec, self.sets = load_sets(config.data, config.labels)
        training = [sample for each in self.sets for sample in each.train]
        self.model = create(config.variant, self.spec, config.labels, config.model)
        deviation = prepare_inputs(self.model, self.spec, training)
        self.model.to(config.device)
        self.draws = Draws(self.sets, self.rng)
        self.mixer = Mixer(training, self.spec, config.mix)
        self.augmenter = Augmenter(self.spec, config.augment, deviation)
        self.views = validation_views(self.sets, self.spec, config)
        self.weight = loss_terms.class_weights(
            torch.from_numpy(stacked_labels(training)), config.loss
        ).to(self.model.device)
        self.steps = math.ceil(
            (config.optim.samples_per_epoch or len(training)) / config.optim.batch
        )
        self.optimiser = make_optimiser(self.model.net, config.optim)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, warm_cosine(config.optim, self.steps * config.optim.epochs)
        )
        self.history: list[Row] = []
        self.best: Row | None = None

    @property
    def folder(self) -> Path:
        """Of the best checkpoint."""
        return self.config.out / "best"

    def run(self) -> None:
        """Train until the last epoch, or until `patience` epochs brought nothing."""
        for epoch in range(1, self.config.optim.epochs + 1):
            row: Row = {"epoch": epoch, **self._epoch(epoch)}
            choose(self.model, self.views)
            row["validation"] = {
                name: score(self.model, samples) for name, samples in self.views.items()
            }
            row["score"] = float(np.mean([each["map"] for each in row["validation"].values()]))
            self.history.append(row)
            tqdm.write(f"epoch {epoch}: loss {row['total']:.4f}, validation mAP {row['score']:.4f}")
            if self.best is None or row["score"] > self.best["score"]:
                self.best = row
                self._keep(row)
            elif epoch - self.best["epoch"] >= self.config.optim.patience:
                break

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.model.net.train()
        sums: dict[str, float] = {}
        bar = tqdm(
            range(self.steps),
            desc=f"epoch {epoch}/{self.config.optim.epochs}",
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        for _ in bar:
            terms = self._step([self._draw() for _ in range(self.config.optim.batch)])
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / self.steps
            bar.set_postfix(loss=f"{terms['total']:.3f}")
        self.model.net.eval()
        return sums

    def _draw(self) -> Sample:
        return self.augmenter.apply(self.mixer.mix(self.draws.draw(), self.rng), self.rng)

    def _step(self, samples: Sequence[Sample]) -> dict[str, float]:
        device = self.model.device
        batch = collate(samples, self.spec).to(device)
        target = torch.from_numpy(stacked_labels(samples)).to(device)
        half = self.config.precision == "bfloat16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            out = forward(self.model, batch)
        terms = loss_terms.losses(out, target, self.weight, self.config.loss)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        norm = nn.utils.clip_grad_norm_(self.model.net.parameters(), self.config.optim.clip)
        if not torch.isfinite(norm):
            raise ModelError(
                f"training diverged in step {self.schedule.last_epoch}: the gradient is not finite",
                "lower optim.learning_rate, or use precision float32",
            )
        self.optimiser.step()
        self.schedule.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _keep(self, row: Row) -> None:
        self.model.record = provenance(self.config, self.sets, row)
        save(self.folder, self.model)

    def finish(self) -> Path:
        """Score the best checkpoint on test data and write the reports; returns its folder."""
        model = load(self.folder, self.spec, self.config.device)
        model.record["metrics"]["test"] = {
            each.name: self._test_scores(model, each) for each in self.sets if each.test
        }
        save(self.folder, model)
        write_report(self.config.out, model, self.history)
        return self.folder

    def _test_scores(self, model: Model, data: DataSet) -> dict[str, Any]:
        scores = {"thresholds of the checkpoint": score(model, data.test)}
        if data.validation:
            own = own_thresholds(model, data.validation)
            scores["thresholds of its own validation part"] = score(model, data.test, own)
        return scores


def prepare_inputs(
    model: Model, spec: FeatureSpec, training: Sequence[Sample]
) -> dict[str, Float32]:
    """Set normalisation and base rate; returns the standard deviation (D,) per modality."""
    deviation: dict[str, Float32] = {}
    for m, modality in enumerate(spec.modalities):
        mean, deviation[modality.name] = statistics(training, modality.name, modality.dim)
        model.net.set_normalisation(
            m, torch.from_numpy(mean), torch.from_numpy(deviation[modality.name])
        )
    model.net.set_base_rate(torch.from_numpy(stacked_labels(training)).mean(dim=0))
    return deviation


def validation_views(
    sets: Sequence[DataSet], spec: FeatureSpec, config: TrainConfig
) -> dict[str, list[Sample]]:
    """The validation part of each set, and mixtures of them with modalities dropped; fixed."""
    views = {each.name: each.validation for each in sets if each.validation}
    if not views:
        raise DataError(
            "no data set has validation samples", "set `validation` or `validation_groups`"
        )
    everything = [sample for samples in views.values() for sample in samples]
    if config.mix.rate > 0 and len(spec.modalities) > 1:
        rng = np.random.default_rng(config.seed)
        mixer = Mixer(everything, spec, config.mix.model_copy(update={"rate": 1.0}))
        drop_only = config.augment.model_copy(
            update={"crop": 0.0, "drop_steps": 0.0, "noise": {}, "shift": {}}
        )
        augmenter = Augmenter(spec, drop_only, {})
        parts = list(views.values())
        drawn = [parts[i % len(parts)] for i in range(min(MIXED_VIEW, len(everything)))]
        mixed = [mixer.mix(part[int(rng.integers(len(part)))], rng) for part in drawn]
        views["mixed"] = [augmenter.apply(sample, rng) for sample in mixed]
    return views


def make_optimiser(net: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW without decay of biases, norms and single vectors."""
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def warm_cosine(config: OptimConfig, total: int) -> Callable[[int], float]:
    """Factor of the learning rate by step: a linear rise, then half a cosine down to 0."""
    rise = max(1, round(config.warmup * total))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

    return factor


def train(config: TrainConfig) -> int:
    """One run from start to end; returns the exit status (130 after Ctrl-C)."""
    pick_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    trainer = Trainer(config)
    status = 0
    try:
        trainer.run()
    except KeyboardInterrupt:
        status = 130
        if trainer.best is None:
            print("interrupted before the first epoch ended: nothing to keep", file=sys.stderr)
            return status
        print(f"interrupted: the best epoch so far is {trainer.best['epoch']}", file=sys.stderr)
    folder = trainer.finish()
    assert trainer.best is not None
    print(f"best epoch {trainer.best['epoch']} of {len(trainer.history)}, kept in {folder}")
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.train", description="Train a model from feature sets."
    )
    parser.add_argument("config", type=Path, help="TOML file, see configs/train-live.toml")
    parser.add_argument("--out", type=Path, help="folder of the run (default: `out` of the file)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. optim.epochs=3"
    )
    chosen = parser.parse_args(arguments)
    config = read_config(chosen.config, chosen.set)
    if chosen.out is not None:
        config = config.model_copy(update={"out": chosen.out})
    return train(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
