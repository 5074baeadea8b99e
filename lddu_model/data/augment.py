"""What training does to samples so that they resemble what a live call delivers.

Live windows lack modalities, begin and end in the middle of an utterance, and lose steps. A model
that has met this knows less when it sees less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lddu_model.config import AugmentConfig
from lddu_model.spec import Bool, FeatureSpec, Float32, ModalitySpec, Sample

SHORTEST = 0.1
"""A crop keeps at least this share of the steps."""


class Augmenter:
    """Applies an ``AugmentConfig``; `deviation` is the (D,) standard deviation per modality."""

    def __init__(
        self, spec: FeatureSpec, config: AugmentConfig, deviation: Mapping[str, Float32]
    ) -> None:
        self._spec = spec
        self._config = config
        self._deviation = deviation

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A changed copy; the arrays of `sample` are not touched."""
        kept = self._kept([name for name in self._spec.names if name in sample.features], rng)
        features: dict[str, Float32] = {}
        masks: dict[str, Bool] = {}
        for name in kept:
            x = sample.features[name]
            mask = sample.mask.get(name, np.ones(len(x), dtype=bool))
            x, mask = self._crop(x, mask, self._spec[name], rng)
            lost = rng.random(len(mask)) < rng.uniform(0.0, self._config.drop_steps)
            if (mask & ~lost).any():
                mask = mask & ~lost
            x = self._disturb(x, self._config.noise.get(name, 0.0), name, x.shape, rng)
            x = self._disturb(x, self._config.shift.get(name, 0.0), name, x.shape[1:], rng)
            features[name], masks[name] = x, mask
        return replace(sample, features=features, mask=masks)

    def _disturb(
        self, x: Float32, most: float, name: str, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Float32:
        """Add Gaussian noise of `shape`, of a strength drawn up to `most`."""
        if not most:
            return x
        level = np.float32(rng.uniform(0.0, most))
        return x + level * self._deviation[name] * rng.standard_normal(shape, dtype=np.float32)

    def _kept(self, names: list[str], rng: np.random.Generator) -> list[str]:
        """At least one modality stays."""
        if len(names) < 2:
            return names
        kept = [name for name in names if rng.random() >= self._config.drop.get(name, 0.0)]
        return kept or [names[int(rng.integers(len(names)))]]

    def _crop(
        self, x: Float32, mask: Bool, modality: ModalitySpec, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """A stretch of the steps. Sequences with a rate land somewhere in the window."""
        length = len(x)
        if rng.random() < self._config.crop:
            length = max(1, round(length * rng.uniform(SHORTEST, 1.0)))
        if modality.rate is not None:
            length = min(length, modality.steps)
        start = int(rng.integers(len(x) - length + 1))
        if not mask[start : start + length].any():
            start, length = 0, len(x)
        x, mask = x[start : start + length], mask[start : start + length]
        if modality.rate is None or length >= modality.steps:
            return x, mask
        before = int(rng.integers(modality.steps - length + 1))
        pad = np.zeros((before, x.shape[1]), dtype=np.float32)
        return np.concatenate([pad, x]), np.concatenate([np.zeros(before, dtype=bool), mask])
