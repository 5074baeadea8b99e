"""The streams of ``benchmarks.temporal``, and what a model says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
epochs = 10
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
    noise: Float64
    """(T,) by how much its standard deviation is larger."""


def directions() -> dict[str, Float64]:
    """(D,) along which the label moves the features of a modality."""
    rng = np.random.default_rng(77)
    found = {name: rng.normal(size=dim) for name, dim in DIMS.items()}
    return {name: each / np.linalg.norm(each) for name, each in found.items()}


def stream(minutes: float, factor: float, rng: np.random.Generator) -> Stream:
    steps = round(minutes * 60 * RATE)
    truth = _switching(steps, ON_S, OFF_S, rng)
    burst = _switching(steps, BURST_S, BURST_S * (1 - BURST_SHARE) / BURST_SHARE, rng)
    scale = np.where(burst, factor, 1.0)
    features = {}
    for name, direction in directions().items():
        noise = rng.normal(size=(steps, len(direction)))
        for t in range(1, steps):
            noise[t] = PERSISTENCE * noise[t - 1] + np.sqrt(1 - PERSISTENCE**2) * noise[t]
        noise *= scale[:, None]
        features[name] = (noise + SHIFT * truth[:, None] * direction).astype(np.float32)
    return Stream(features, truth, scale)


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
    for split, count in (("train", 160), ("validation", 24)):
        with ShardWriter(work / "sets" / split, SPEC, ["shown"]) as writer:
            for k in range(count):
                made = stream(4, LEVELS[k % 2], rng)
                for each in windows(made, range(RATE, len(made.truth), 5), f"{split}-{k}"):
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


def streams(count: int, minutes: float, factor: float, seed: int) -> list[Stream]:
    rng = np.random.default_rng([2, seed])
    return [stream(minutes, factor, rng) for _ in range(count)]


def kept(path: Path, model: Any, made: Sequence[Stream]) -> Said:
    """``said_of``, from `path` where it is already there."""
    if not path.is_file():
        np.savez(path, **said_of(model, made)._asdict())
    with np.load(path) as found:
        return Said(**{name: found[name] for name in Said._fields})


def said_of(model: Any, made: Sequence[Stream]) -> Said:
    found = [
        predict_all(model, windows(each, range(1, len(each.truth) + 1), "stream")) for each in made
    ]
    return Said(
        np.stack([each.logit[:, 0] for each in found], 1).astype(float),
        np.stack([each.variance[:, 0] for each in found], 1).astype(float),
        np.stack([each.truth for each in made], 1),
    )


def exact(made: Sequence[Stream]) -> Float64:
    """(T, S) log odds of the label by who knows this generator, its bursts and its noise: the best
    that any filter of these features can say.
    """
    seen = np.stack([
        np.mean([each.features[name] @ x for name, x in directions().items()], axis=0)
        for each in made
    ], axis=1)  # fmt: skip
    scale = np.stack([each.noise for each in made], 1)
    variance = (1 - PERSISTENCE**2) / len(DIMS)
    rate = 1 / ON_S + 1 / OFF_S
    moved = 1 - np.exp(-rate / RATE)
    come, go = moved / OFF_S / rate, moved / ON_S / rate
    moves = np.array([[1 - come, come], [go, 1 - go]])
    levels = np.array([0.0, SHIFT])
    error = (seen[:, None] - levels[:, None]) / scale[:, None]  # (T, 2, S)
    p = np.array([OFF_S, ON_S])[:, None] * np.exp(-(error[0] ** 2) * len(DIMS) / 2)
    odds = [np.log(p[1] / p[0])]
    for before, now in pairwise(error):
        news = now[None] - PERSISTENCE * before[:, None]  # (before, now, S)
        p = np.einsum("is,ij,ijs->js", p, moves, np.exp(-(news**2) / 2 / variance))
        p = p / p.sum(0) + 1e-12
        odds.append(np.log(p[1] / p[0]))
    return np.stack(odds)
