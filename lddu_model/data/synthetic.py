"""Synthetic sets shaped like CMU-MOSEI, with a known signal and known noise.

What real data cannot show can be measured here: whether a variance follows the noise that was put
in, whether a kind of noise that training never saw is noticed, whether less input means less
certainty. Labels come from a Gaussian copula with given base rates and latent correlations.

A modality's sequence is a speaker's style plus an AR(1) background plus, for each present label
that this modality happens to express, a burst in a direction of that label; then noise.

Every sample has a generator of its own, seeded by (seed, split, index): what a sample is does not
depend on how many others there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.stats import norm

from lddu_model.spec import FeatureSpec, Float32, ModalitySpec

Float = NDArray[np.float64]
CLEAN, MISSING = "clean", "missing"
SPLITS = ("train", "validation", "test", "test-unseen", "test-paired")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModalityConfig(_Strict):
    dim: int = Field(ge=2)
    steps: int = Field(ge=2)
    strength: float = Field(gt=0)
    """Of a burst, in standard deviations of the background."""


class NoiseConfig(_Strict):
    kinds: tuple[str, ...]
    """In training, validation and test data."""
    unseen: tuple[str, ...]
    """Only in test-unseen."""
    rate: float = Field(ge=0, le=1)
    """Share of modalities that have noise."""
    level: tuple[float, float]
    """Drawn evenly between these."""
    missing: float = Field(ge=0, lt=1)
    """Share of modalities that are absent; one always stays."""

    @model_validator(mode="after")
    def _known(self) -> NoiseConfig:
        unknown = sorted({*self.kinds, *self.unseen} - set(NOISE))
        if unknown or set(self.kinds) & set(self.unseen):
            raise ValueError(
                f"kinds {unknown} are unknown, or seen and unseen overlap; known: {sorted(NOISE)}"
            )
        return self


class SyntheticConfig(_Strict):
    """Everything that a set depends on."""

    seed: int = Field(ge=0)
    labels: tuple[str, ...]
    base_rate: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    """(C, C) of the latent Gaussians."""
    modalities: dict[str, ModalityConfig]
    samples: dict[str, int]
    """By split; of test-paired the number of clean samples."""
    expressed: float = Field(gt=0, le=1)
    """Chance that a modality shows a present label at all."""
    prototypes: int = Field(ge=1)
    """Directions per label and modality, one of which a burst has."""
    persistence: float = Field(ge=0, lt=1)
    """Of the AR(1) background."""
    style: float = Field(ge=0)
    """Standard deviation of a speaker's offset per feature."""
    speakers: int = Field(ge=1)
    """Per split."""
    shortest: float = Field(gt=0, le=1)
    """Lengths are drawn evenly between this share of the steps and all of them."""
    noise: NoiseConfig
    paired_levels: tuple[float, ...]

    @model_validator(mode="after")
    def _fit(self) -> SyntheticConfig:
        C = len(self.labels)
        if len(self.base_rate) != C or np.shape(self.correlation) != (C, C):
            raise ValueError(f"base_rate and correlation do not fit {C} labels")
        if np.linalg.eigvalsh(np.array(self.correlation)).min() <= 0:
            raise ValueError("correlation is not positive definite")
        unknown = sorted(set(self.samples) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown splits {unknown}; known are {SPLITS}")
        return self

    @property
    def spec(self) -> FeatureSpec:
        return FeatureSpec(
            "synthetic-mosei",
            tuple(
                ModalitySpec(name, each.dim, each.steps, None, "lddu_model.data.synthetic")
                for name, each in self.modalities.items()
            ),
        )


@dataclass(frozen=True, slots=True)
class Made:
    """One sample and what is known about it."""

    id: str
    speaker: str
    labels: Float32
    features: dict[str, Float32]
    level: dict[str, float]
    """Of the noise by modality; 0 where clean, NaN where missing."""
    kind: dict[str, str]


class World:
    """The directions of the labels, fixed by the seed."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self._threshold = norm.isf(np.array(config.base_rate))
        self._cholesky = np.linalg.cholesky(np.array(config.correlation))
        rng = np.random.default_rng([config.seed, len(SPLITS)])
        shape = (len(config.labels), config.prototypes)
        self._directions = {
            name: _unit(rng.normal(size=(*shape, each.dim)))
            for name, each in config.modalities.items()
        }

    def sample(self, split: str, index: int) -> Made:
        """The sample of that number, with its noise and what is missing."""
        rng = self._rng(split, index)
        clean = self._clean(split, index, rng)
        kinds = self.config.noise.unseen if split == "test-unseen" else self.config.noise.kinds
        made = clean
        noisy = [name for name in clean.features if rng.random() < self.config.noise.rate]
        if split == "test-unseen" and not noisy:
            noisy = [list(clean.features)[int(rng.integers(len(clean.features)))]]
        for name in noisy:
            kind = kinds[int(rng.integers(len(kinds)))]
            made = self.degrade(made, name, kind, float(rng.uniform(*self.config.noise.level)), rng)
        names = list(made.features)
        lost = [name for name in names if rng.random() < self.config.noise.missing]
        if split == "test-unseen":
            lost = [name for name in lost if name not in noisy]
        for name in lost[: len(names) - 1]:
            made = without(made, name)
        return made

    def paired(self, index: int) -> list[Made]:
        """A clean sample, and copies of it in which one modality is degraded or missing."""
        clean = self._clean("test-paired", index, self._rng("test-paired", index))
        made = [replace(clean, id=f"{clean.id}/{CLEAN}")]
        for m, name in enumerate(clean.features):
            made.append(replace(without(clean, name), id=f"{clean.id}/{name}/{MISSING}/0"))
            for k, kind in enumerate((*self.config.noise.kinds, *self.config.noise.unseen)):
                for level in self.config.paired_levels:
                    # The same draw at every level: only its strength differs.
                    rng = self._rng("test-paired", index, m, k)
                    worse = self.degrade(clean, name, kind, level, rng)
                    made.append(replace(worse, id=f"{clean.id}/{name}/{kind}/{level}"))
        return made

    def degrade(
        self, made: Made, name: str, kind: str, level: float, rng: np.random.Generator
    ) -> Made:
        """`made` with noise of one kind in one modality."""
        x = made.features[name].astype(float)
        x = NOISE[kind](x, level, rng, partial(self._stray, name, len(x)))
        return replace(
            made,
            features={**made.features, name: x.astype(np.float32)},
            level={**made.level, name: level},
            kind={**made.kind, name: kind},
        )

    def _rng(self, split: str, index: int, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, SPLITS.index(split), index, *more])

    def _clean(self, split: str, index: int, rng: np.random.Generator) -> Made:
        labels = self._cholesky @ rng.normal(size=len(self._threshold)) > self._threshold
        speaker = int(rng.integers(self.config.speakers))
        voice = np.random.default_rng([self.config.seed, SPLITS.index(split), speaker, 1, 1, 1])
        features = {
            name: self._sequence(name, labels, voice, rng) for name in self.config.modalities
        }
        return Made(
            f"{split}-{index:06d}",
            f"{split}-speaker-{speaker}",
            labels.astype(np.float32),
            features,
            dict.fromkeys(features, 0.0),
            dict.fromkeys(features, CLEAN),
        )

    def _sequence(
        self,
        name: str,
        labels: NDArray[np.bool_],
        voice: np.random.Generator,
        rng: np.random.Generator,
    ) -> Float32:
        shape = self.config.modalities[name]
        length = int(rng.integers(max(2, round(self.config.shortest * shape.steps)),
                                  shape.steps + 1))  # fmt: skip
        rho = self.config.persistence
        x = rng.normal(size=(length, shape.dim))
        for t in range(1, length):
            x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * x[t]
        x += self.config.style * voice.normal(size=shape.dim)
        for c in np.flatnonzero(labels):
            if rng.random() < self.config.expressed:
                x += self._burst(name, int(c), length, rng)
        return x.astype(np.float32)

    def _burst(self, name: str, label: int, length: int, rng: np.random.Generator) -> Float:
        """A bump in time along one of the label's directions, (length, D)."""
        which = int(rng.integers(self.config.prototypes))
        centre, width = rng.uniform(0, length), rng.uniform(0.1, 0.3) * length + 0.5
        envelope = np.exp(-0.5 * np.square((np.arange(length) - centre) / width))
        size = self.config.modalities[name].strength * rng.uniform(0.5, 1.5)
        return np.asarray(size * envelope[:, None] * self._directions[name][label, which])

    def _stray(self, name: str, length: int, rng: np.random.Generator) -> Float:
        return self._burst(name, int(rng.integers(len(self.config.labels))), length, rng)


Burst = Callable[[np.random.Generator], Float]
Noise = Callable[[Float, float, np.random.Generator, Burst], Float]


def _unit(x: Float) -> Float:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def without(made: Made, name: str) -> Made:
    """`made` without one modality."""
    return replace(
        made,
        features={other: x for other, x in made.features.items() if other != name},
        level={**made.level, name: float("nan")},
        kind={**made.kind, name: MISSING},
    )


def _gaussian(x: Float, level: float, rng: np.random.Generator, _burst: Burst) -> Float:
    return x + level * rng.normal(size=x.shape)


def _stale(x: Float, level: float, rng: np.random.Generator, _burst: Burst) -> Float:
    """A stretch of the steps repeats the one before it, as when a picture freezes."""
    length = max(1, round(len(x) * min(0.95, level / 3)))
    start = int(rng.random() * (len(x) - length + 1))
    x = x.copy()
    x[start : start + length] = x[max(0, start - 1)]
    return x


def _babble(x: Float, level: float, rng: np.random.Generator, burst: Burst) -> Float:
    """Somebody else's expression on top: bursts that belong to no label of this sample."""
    for _ in range(3):
        x = x + level / 2 * burst(rng)
    return x


def _clip(x: Float, level: float, _rng: np.random.Generator, _burst: Burst) -> Float:
    """Too much gain, then a ceiling."""
    return np.clip(x * (1 + level), -1.5, 1.5)


def _flip(x: Float, level: float, rng: np.random.Generator, _burst: Burst) -> Float:
    """Some features have the wrong sign."""
    chosen = rng.permutation(x.shape[1])[: round(x.shape[1] * min(0.9, level / 4))]
    x = x.copy()
    x[:, chosen] *= -1
    return x


def _permute(x: Float, level: float, rng: np.random.Generator, _burst: Burst) -> Float:
    """Some features are exchanged."""
    count = max(2, round(x.shape[1] * min(0.95, level / 3)))
    chosen = rng.permutation(x.shape[1])[:count]
    x = x.copy()
    x[:, chosen] = x[:, np.roll(chosen, 1)]
    return x


def _tone(x: Float, level: float, rng: np.random.Generator, _burst: Burst) -> Float:
    """A strong oscillation in a few features, as of a machine."""
    chosen = rng.permutation(x.shape[1])[: max(1, x.shape[1] // 8)]
    wave = np.sin(np.arange(len(x)) * rng.uniform(0.5, 2.5) + rng.uniform(0, 6))
    x = x.copy()
    x[:, chosen] += 3 * level * wave[:, None]
    return x


NOISE: Mapping[str, Noise] = {
    "gaussian": _gaussian,
    "stale": _stale,
    "babble": _babble,
    "clip": _clip,
    "flip": _flip,
    "permute": _permute,
    "tone": _tone,
}
