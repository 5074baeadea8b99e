"""The streams of ``benchmarks.temporal``, and what a model says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lddu_model import FeatureSpec, ModalitySpec, Sample, load
from lddu_model.config import read_config
from lddu_model.data.shards import ShardWriter
from lddu_model.evaluation import predict_all
from lddu_model.train import train
from workers.filters import Float64

RATE, WINDOW = 4, 1.0
ON_S, OFF_S, BURST_S, BURST_SHARE = 8.0, 16.0, 3.0, 0.25
LEVELS = (2.2, 3.75)
PERSISTENCE = 0.5
SHIFT = 1.5
"""How far a label moves the features along its direction, in standard deviations of the noise."""
DIMS = {"voice": 16, "face": 12}
SPEC = FeatureSpec(
    "temporal", tuple(ModalitySpec(n, d, int(RATE * WINDOW), RATE, "none") for n, d in DIMS.items())
)
Bool = NDArray[np.bool_]

TRAINING = """
name = "temporal"
out = "{out}"
labels = ["shown"]
variant = "default"
seed = 1
device = "cpu"
threads = 1
[model]
width = 32
heads = 2
layers = 1
feed_forward = 64
latent = 16
[loss]
ranking = 1.0
[optim]
learning_rate = 2e-3
batch = 128
epochs = 6
[mix]
rate = 0.1
[augment]
crop = 0.0
[[data]]
name = "temporal"
path = "{sets}/train"
validation = "{sets}/validation"
"""


@dataclass(frozen=True, slots=True)
class Stream:
    """One person's features, and when the label is there."""

    features: dict[str, NDArray[np.float32]]
    """(T, D)"""
    truth: Bool
    """(T,) at every step."""


def stream(minutes: float, factor: float, rng: np.random.Generator) -> Stream:
    steps = round(minutes * 60 * RATE)
    truth = _switching(steps, ON_S, OFF_S, rng)
    burst = _switching(steps, BURST_S, BURST_S * (1 - BURST_SHARE) / BURST_SHARE, rng)
    directions = np.random.default_rng(77)
    features = {}
    for name, dim in DIMS.items():
        direction = directions.normal(size=dim)
        direction /= np.linalg.norm(direction)
        noise = rng.normal(size=(steps, dim))
        for t in range(1, steps):
            noise[t] = PERSISTENCE * noise[t - 1] + np.sqrt(1 - PERSISTENCE**2) * noise[t]
        noise *= np.where(burst, factor, 1.0)[:, None]
        features[name] = (noise + SHIFT * truth[:, None] * direction).astype(np.float32)
    return Stream(features, truth)


def _switching(steps: int, on: float, off: float, rng: np.random.Generator) -> Bool:
    """On and off for exponential times of those means in seconds."""
    found = np.zeros(steps, dtype=bool)
    t, there = 0.0, bool(rng.random() < on / (on + off))
    while t < steps:
        end = t + RATE * rng.exponential(on if there else off)
        found[round(t) : round(end)] = there
        t, there = end, not there
    return found


def windows(of: Stream, ends: Iterable[int], name: str) -> list[Sample]:
    size = int(RATE * WINDOW)
    return [
        Sample(
            {key: x[max(0, end - size) : end] for key, x in of.features.items()},
            {},
            np.array([of.truth[end - 1]], np.float32),
            id=f"{name}-{end}",
            group=name,
        )
        for end in ends
    ]


def trained(work: Path) -> Any:
    """A model of windows from streams that nothing else uses; half of them have each level."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 48), ("validation", 16)):
        with ShardWriter(work / "sets" / split, SPEC, ["shown"]) as writer:
            for k in range(count):
                made = stream(4, LEVELS[k % 2], rng)
                for each in windows(made, range(RATE, len(made.truth), 7), f"{split}-{k}"):
                    writer.add(each)
    config = work / "train.toml"
    text = TRAINING.format(out=work / "run", sets=work / "sets")
    config.write_text(text, encoding="utf-8")
    train(read_config(config))
    return load(work / "run" / "best")


class Said(NamedTuple):
    """What the model says of S streams at T steps."""

    logit: Float64
    """(T, S)"""
    variance: Float64
    truth: Bool


def said_of(model: Any, count: int, minutes: float, factor: float, seed: int) -> Said:
    rng = np.random.default_rng([2, seed])
    logits, variances, truths = [], [], []
    for k in range(count):
        made = stream(minutes, factor, rng)
        found = predict_all(model, windows(made, range(1, len(made.truth) + 1), f"s{k}"))
        logits.append(found.logit[:, 0])
        variances.append(found.variance[:, 0])
        truths.append(made.truth)
    return Said(
        np.stack(logits, 1).astype(float), np.stack(variances, 1).astype(float), np.stack(truths, 1)
    )
