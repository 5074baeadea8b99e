"""Samples of several modalities, put together from sets that have one modality each.

No set at hand has face, voice and words of one person at one time with labels. So a sample gets
partners that bring the modalities it lacks. A partner either has exactly the same labels, or none:
people mostly show a feeling in some channels while the others stay plain, and annotators who see
everything then mark the feeling. It teaches the model that a plain channel is weak evidence against
what another one shows.

A share of the samples contradicts itself: one partner shows other labels. Which of the two
annotators would mark is unknown, so chance decides it anew each time the sample is drawn: the best
that can be said of it is that it is not known, which is what the model shall learn to say.

What this cannot teach is how the channels of one person really go together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from operator import and_

import numpy as np

from lddu_model.config import MixConfig
from lddu_model.data.sets import DataSet
from lddu_model.spec import FeatureSpec, Sample


class Mixer:
    """Finds partners among `samples`."""

    def __init__(self, samples: Sequence[Sample], spec: FeatureSpec, config: MixConfig) -> None:
        self._config = config
        self._names = spec.names
        self._pool: dict[tuple[str, bytes], list[Sample]] = defaultdict(list)
        for sample in samples:
            for name in spec.names:
                if name in sample.features:
                    self._pool[name, _key(sample)].append(sample)

    def mix(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """`sample` with partners for what it lacks (as far as there are any), or as it is."""
        if rng.random() >= self._config.rate:
            return sample
        missing = [name for name in self._names if name not in sample.features]
        partners = {name: self._partner(name, sample, rng) for name in missing}
        labels = sample.labels
        if rng.random() < self._config.conflict:
            for name in rng.permutation(missing):
                other = self._opponent(name, sample, rng)
                if other is not None:
                    partners[name] = other
                    labels = labels if rng.random() < 0.5 else other.labels
                    break
        features, mask = dict(sample.features), dict(sample.mask)
        for name, partner in partners.items():
            if partner is not None:
                features[name] = partner.features[name]
                if name in partner.mask:
                    mask[name] = partner.mask[name]
        return replace(sample, features=features, mask=mask, labels=labels)

    def _partner(self, name: str, sample: Sample, rng: np.random.Generator) -> Sample | None:
        same, none = _key(sample), bytes(len(_key(sample)))
        first = none if rng.random() < self._config.neutral else same
        for key in (first, none):
            found = self._pool.get((name, key))
            if found:
                return found[int(rng.integers(len(found)))]
        return None

    def _opponent(self, name: str, sample: Sample, rng: np.random.Generator) -> Sample | None:
        """One that shows something, as `sample` does, but nothing that `sample` shows."""
        mine = _key(sample)
        if not any(mine):
            return None
        others = [
            key
            for pooled, key in self._pool
            if pooled == name and any(key) and not any(map(and_, key, mine))
        ]
        if not others:
            return None
        found = self._pool[name, others[int(rng.integers(len(others)))]]
        return found[int(rng.integers(len(found)))]


class Draws:
    """An endless stream of training samples: sets by weight, each set in shuffled rounds."""

    def __init__(self, sets: Sequence[DataSet], rng: np.random.Generator) -> None:
        self._sets = [each for each in sets if each.train and each.weight > 0]
        weights = np.array([each.weight for each in self._sets])
        self._share = weights / weights.sum()
        self._rng = rng
        self._orders: list[list[int]] = [[] for _ in self._sets]

    def draw(self) -> Sample:
        which = int(self._rng.choice(len(self._sets), p=self._share))
        samples, order = self._sets[which].train, self._orders[which]
        if not order:
            order.extend(self._rng.permutation(len(samples)).tolist())
        return samples[order.pop()]

    @property
    def state(self) -> list[list[int]]:
        """What is left of each round; without the generator, which is not its own."""
        return [list(order) for order in self._orders]

    @state.setter
    def state(self, orders: Sequence[Sequence[int]]) -> None:
        self._orders = [list(order) for order in orders]


def _key(sample: Sample) -> bytes:
    assert sample.labels is not None
    return np.asarray(sample.labels > 0.5).tobytes()
