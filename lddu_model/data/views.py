"""What a run is judged by while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lddu_model.config import TrainConfig
from lddu_model.data.augment import Augmenter
from lddu_model.data.mix import Mixer
from lddu_model.data.sets import DataSet
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Sample

MIXED = "mixed"
MIXED_VIEW = 2000
"""Samples of the mixed view at most."""


def validation_views(
    sets: Sequence[DataSet], spec: FeatureSpec, config: TrainConfig
) -> dict[str, list[Sample]]:
    """The validation part of each set, and mixtures of them with modalities dropped; fixed."""
    views = {each.name: each.validation for each in sets if each.validation}
    if not views:
        raise DataError(
            "no data set has validation samples", "set `validation` or `validation_groups`"
        )
    if config.mix.rate > 0 and len(spec.modalities) > 1:
        views[MIXED] = _mixed(list(views.values()), spec, config)
    return views


def _mixed(
    parts: Sequence[Sequence[Sample]], spec: FeatureSpec, config: TrainConfig
) -> list[Sample]:
    everything = [sample for samples in parts for sample in samples]
    rng = np.random.default_rng(config.seed)
    mixer = Mixer(everything, spec, config.mix.model_copy(update={"rate": 1.0}))
    drop_only = config.augment.model_copy(
        update={"crop": 0.0, "drop_steps": 0.0, "noise": {}, "shift": {}}
    )
    augmenter = Augmenter(spec, drop_only, {})
    drawn = [parts[i % len(parts)] for i in range(min(MIXED_VIEW, len(everything)))]
    mixed = [mixer.mix(part[int(rng.integers(len(part)))], rng) for part in drawn]
    return [augmenter.apply(sample, rng) for sample in mixed]
