"""One training run: epochs, choice of the best on validation data, state to go on from."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lddu_model import losses as loss_terms
from lddu_model.api import Model, create
from lddu_model.batch import collate, pad, rows
from lddu_model.checkpoint import load, save
from lddu_model.config import TrainConfig
from lddu_model.curves import Curves
from lddu_model.data.augment import Augmenter
from lddu_model.data.mix import Draws, Mixer
from lddu_model.data.sets import DataSet, load_sets, stacked_labels, statistics
from lddu_model.data.views import validation_views
from lddu_model.errors import CheckpointError, ModelError
from lddu_model.evaluation import choose, score
from lddu_model.interrupt import Interrupt, deferred
from lddu_model.optim import Optimiser
from lddu_model.ranks import Ranks
from lddu_model.report import provenance
from lddu_model.resume import State, drop_state, load_state, save_state
from lddu_model.spec import FeatureSpec, Float32, Sample

USUAL_SAMPLES = 2000
"""From which a network learns what is usual."""
Row = dict[str, Any]


class Trainer:
    """One run; `history` has one row per finished epoch, `best` is the chosen one of them."""

    def __init__(self, config: TrainConfig, ranks: Ranks | None = None) -> None:
        self.config = config
        self.ranks = ranks or Ranks()
        torch.manual_seed(config.seed)
        alone = self.ranks.size == 1
        self.rng = np.random.default_rng(config.seed if alone else [config.seed, self.ranks.rank])
        self.spec, self.sets = load_sets(config.data, config.labels, config.modalities)
        training = [sample for each in self.sets for sample in each.train]
        self.model = create(config.variant, self.spec, config.labels, config.model)
        deviation = prepare_inputs(self.model, self.spec, training)
        self.augmenter = Augmenter(self.spec, config.augment, deviation)
        learn_usual(self.model, self.spec, usual_of(self.sets), self.augmenter, config.seed)
        self.model.to(config.device)
        self.draws = Draws(self.sets, self.rng)
        self.mixer = Mixer(training, self.spec, config.mix)
        self.views = validation_views(self.sets, self.spec, config)
        self.loss_config = config.loss_config
        self.weight = loss_terms.class_weights(
            torch.from_numpy(stacked_labels(training)), self.loss_config
        ).to(self.model.device)
        self.batch = self.ranks.share(config.optim.batch)
        drawn = config.optim.samples_per_epoch or len(training)
        self.steps = math.ceil(drawn / config.optim.batch)
        self.optimiser = Optimiser(self.model.net, config.optim, self.steps * config.optim.epochs)
        self.net: Callable[..., Any] = self.ranks.wrap(self.model.net)
        if config.compile:
            self.net = torch.compile(self.net)
        if not alone:
            torch.manual_seed(config.seed + 1_000_003 * self.ranks.rank)  # dropout of its own
        self.history: list[Row] = []
        self.best: Row | None = None
        self._interrupt = Interrupt()

    @property
    def folder(self) -> Path:
        """Of the best checkpoint."""
        return self.config.out / "best"

    @property
    def state_folder(self) -> Path:
        """Of what is needed to go on."""
        return self.config.out / "state" / f"rank-{self.ranks.rank}"

    def run(self) -> None:
        """Train until the last epoch, or until `patience` epochs brought nothing.

        After ``resume`` it goes on with the next epoch. Ctrl-C ends it between two steps.
        """
        with Curves(self.config.out, write=self.ranks.first) as curves, deferred() as interrupt:
            self._interrupt = interrupt
            for epoch in range(len(self.history) + 1, self.config.optim.epochs + 1):
                if self._exhausted():
                    break
                start = time.perf_counter()
                row: Row = {"epoch": epoch, **self._epoch(epoch)}
                row["seconds"] = round(time.perf_counter() - start, 3)
                with self.optimiser.averaged():
                    self._judge(row)
                    self.history.append(row)
                    if self.best is None or row["score"] > self.best["score"]:
                        self.best = row
                        self._keep(row)
                if self.ranks.first:
                    curves.add(row)
                self._save_state()

    def _exhausted(self) -> bool:
        if self.best is None:
            return False
        return len(self.history) - int(self.best["epoch"]) >= self.config.optim.patience

    def _judge(self, row: Row) -> None:
        """Add validation scores to `row`. With several processes all learn what the first finds."""
        if self.ranks.first:
            said = choose(self.model, self.views)
            row["validation"] = {
                name: score(self.model, samples, said=said[name])
                for name, samples in self.views.items()
            }
            row["score"] = float(np.mean([each["map"] for each in row["validation"].values()]))
            tqdm.write(
                f"epoch {row['epoch']}: loss {row['total']:.4f}, validation mAP {row['score']:.4f}"
            )
        row["score"] = self.ranks.agree(row.get("score", 0.0))

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.model.net.train()
        sums: dict[str, Tensor] = {}
        bar = tqdm(
            range(self.steps),
            desc=f"epoch {epoch}/{self.config.optim.epochs}",
            unit="step",
            leave=False,
            disable=not (sys.stderr.isatty() and self.ranks.first),
        )
        for _ in bar:
            self._interrupt.check()
            terms = self._step([self._draw() for _ in range(self.batch)])
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            if not bar.disable:
                bar.set_postfix(loss=f"{float(terms['total']):.3f}")
        self.model.net.eval()
        return {name: float(value) / self.steps for name, value in sums.items()}

    def _draw(self) -> Sample:
        return self.augmenter.apply(self.mixer.mix(self.draws.draw(), self.rng), self.rng)

    def _step(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        device = self.model.device
        batch = collate(samples, self.spec).to(device)
        target = torch.from_numpy(stacked_labels(samples)).to(device)
        half = self.config.precision == "bfloat16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            out = self.net(batch.features, batch.mask)
        terms = self.model.net.losses(out, target, self.weight, self.loss_config)
        self.model.net.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        if not torch.isfinite(self.optimiser.step()):
            raise ModelError(
                f"training diverged in step {self.optimiser.done}: the gradient is not finite",
                "lower optim.learning_rate, or use precision float32",
            )
        return {name: value.detach() for name, value in terms.items()}

    def _keep(self, row: Row) -> None:
        if self.ranks.first:
            self.model.record = provenance(self.config, self.sets, row)
            save(self.folder, self.model)

    def _save_state(self) -> None:
        tensors = {f"net.{name}": x for name, x in _whole_state(self.model).items()}
        tensors |= {f"adam.{name}": x for name, x in self.optimiser.state().items()}
        tensors["torch_rng"] = torch.get_rng_state()
        if self.model.device.type == "cuda":
            tensors["cuda_rng"] = torch.cuda.get_rng_state()
        plain = {
            "config": self._identity(),
            "done": self.optimiser.done,
            "rng": self.rng.bit_generator.state,
            "draws": self.draws.state,
            "history": self.history,
            "best": None if self.best is None else self.best["epoch"],
        }
        save_state(self.state_folder, State(tensors, plain))

    def resume(self) -> bool:
        """Go on from the last finished epoch of an earlier run; False where there is none.

        State of another configuration or of other data is a ``CheckpointError``.
        """
        state = load_state(self.state_folder)
        found = self.ranks.agree(float(state is not None))
        if state is None and not found:
            return False
        if state is None or state.plain["config"] != self._identity():
            raise CheckpointError(
                f"{self.state_folder} is the state of a run with another configuration, other "
                "data or another number of processes",
                "undo the change, choose another --out, or leave --resume away",
            )
        if self.ranks.agree(float(len(state.plain["history"]))) != len(state.plain["history"]):
            raise CheckpointError(
                f"{self.state_folder.parent} was left between two processes",
                "remove it and train anew",
            )
        self._restore(state)
        return True

    def _restore(self, state: State) -> None:
        whole, tensors = _whole_state(self.model), state.tensors
        for name, there in whole.items():
            with torch.no_grad():
                there.copy_(tensors[f"net.{name}"])
        moments = {k.removeprefix("adam."): x for k, x in tensors.items() if k.startswith("adam.")}
        self.optimiser.restore(moments, int(state.plain["done"]))
        torch.set_rng_state(tensors["torch_rng"])
        if "cuda_rng" in tensors and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda_rng"])
        self.rng.bit_generator.state = state.plain["rng"]
        self.draws.state = state.plain["draws"]
        self.history = list(state.plain["history"])
        best = state.plain["best"]
        self.best = None if best is None else self.history[int(best) - 1]

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        plain = self.config.model_dump(mode="json", exclude={"out", "threads"})
        fingerprints = [
            {k: v for k, v in each.record.items() if k.endswith("fingerprint")}
            for each in self.sets
        ]
        return {"settings": plain, "data": fingerprints, "processes": self.ranks.size}

    def best_model(self) -> Model:
        """The chosen checkpoint."""
        return load(self.folder, self.spec, self.config.device)

    def drop_state(self) -> None:
        """The run is finished: nothing is left to go on with."""
        if self.ranks.first:
            drop_state(self.state_folder.parent)


def _whole_state(model: Model) -> Mapping[str, Tensor]:
    """Parameters and all buffers, also those that a checkpoint leaves out."""
    return {**dict(model.net.named_parameters()), **dict(model.net.named_buffers())}


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


def usual_of(sets: Sequence[DataSet]) -> list[Sample]:
    """Training samples of the sets that show what is usual."""
    return [sample for each in sets if each.usual for sample in each.train]


def learn_usual(
    model: Model,
    spec: FeatureSpec,
    training: Sequence[Sample],
    augmenter: Augmenter | None = None,
    seed: int = 0,
    *,
    again: bool = False,
) -> None:
    """Tell the network which inputs are usual, after ``prepare_inputs``: what it is trained on.

    That is what `augmenter` makes of the samples: windows of a call begin and end in the middle of
    what is said and lose steps, and are usual all the same. `again`: of a trained network.
    """
    rng = np.random.default_rng(seed)
    for m, modality in enumerate(spec.modalities):
        there = [sample for sample in training if rows(sample, modality) is not None]
        chosen = there[:: max(1, math.ceil(len(there) / USUAL_SAMPLES))]
        if augmenter is not None:
            chosen = [augmenter.apply(sample, rng) for sample in chosen]
        found = [rows(sample, modality) for sample in chosen]
        usual = pad([each for each in found if each is not None], modality.dim)
        model.net.set_usual(m, *usual, again=again)
