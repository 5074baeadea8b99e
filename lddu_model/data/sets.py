"""Feature sets of a training run: read, checked against each other, split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lddu_model.config import DataConfig
from lddu_model.data.shards import ShardSet, read_shards
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, Sample, differences


@dataclass(frozen=True, slots=True)
class DataSet:
    """One feature set, split; every sample has labels in the order of the run."""

    name: str
    weight: float
    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]
    record: dict[str, Any]
    """For the checkpoint: where it came from, fingerprint, counts."""


def load_sets(
    configs: Sequence[DataConfig], labels: Sequence[str]
) -> tuple[FeatureSpec, list[DataSet]]:
    """Read all sets. They must have one feature spec, and know every label of the run."""
    loaded: list[DataSet] = []
    first: ShardSet | None = None
    for config in configs:
        found = read_shards(config.path)
        first = first or found
        _same_spec(first, found)
        loaded.append(_split(config, found, labels, first))
    assert first is not None
    if not any(each.train and each.weight for each in loaded):
        raise DataError("no data set has training samples and a weight above 0")
    return first.spec, loaded


def labelled(found: ShardSet, labels: Sequence[str]) -> list[Sample]:
    """The samples of `found` that have labels, as (C,) in the order of `labels`."""
    missing = [label for label in labels if label not in found.labels]
    if missing:
        raise DataError(
            f"{found.path} knows labels {list(found.labels)}, not {missing}",
            "leave these out of `labels`, or prepare the set with them",
        )
    order = [found.labels.index(label) for label in labels]
    return [replace(x, labels=x.labels[order]) for x in found if x.labels is not None]


def _same_spec(first: ShardSet, other: ShardSet) -> None:
    lines = differences(first.spec, other.spec)
    if lines:
        raise DataError(
            f"{first.path} and {other.path} have different features: {'; '.join(lines)}",
            "prepare both with the same version and settings",
        )


def _split(config: DataConfig, found: ShardSet, labels: Sequence[str], first: ShardSet) -> DataSet:
    samples = labelled(found, labels)
    groups = {sample.group for sample in samples}
    unknown = sorted({*config.validation_groups, *config.test_groups} - groups)
    if unknown:
        raise DataError(f"{config.path} has no groups {unknown}, it has {sorted(groups)[:20]}")
    parts: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for sample in samples:
        parts[_side(config, sample)].append(sample)
    fingerprints = {"fingerprint": found.fingerprint}
    if config.test is not None:
        other = read_shards(config.test)
        _same_spec(first, other)
        parts["test"] += labelled(other, labels)
        fingerprints["test_fingerprint"] = other.fingerprint
    counts = {side: len(part) for side, part in parts.items()}
    positives = {
        label: int(sum(x.labels[c] for x in parts["train"] if x.labels is not None))
        for c, label in enumerate(labels)
    }
    record = {
        "name": config.name,
        **fingerprints,
        "samples": counts,
        "unlabelled": len(found) - len(samples),
        "train_positives": positives,
        "validation_groups": list(config.validation_groups),
        "test_groups": list(config.test_groups),
    }
    return DataSet(config.name, config.weight, **parts, record=record)


def _side(config: DataConfig, sample: Sample) -> str:
    if sample.group in config.test_groups:
        return "test"
    if sample.group in config.validation_groups:
        return "validation"
    key = sample.group if config.by == "group" else sample.id
    return "validation" if fraction_of(key) < config.validation else "train"


def fraction_of(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def statistics(samples: Sequence[Sample], name: str, dim: int) -> tuple[Float32, Float32]:
    """Mean and standard deviation (D,) of one modality over all valid rows.

    Features that hardly vary keep a tenth of the modality's typical deviation, so that they are not
    blown up; without any row, 0 and 1.
    """
    count, total, squares = 0, np.zeros(dim), np.zeros(dim)
    for sample in samples:
        if name not in sample.features:
            continue
        features, mask = sample.features[name], sample.mask.get(name)
        rows = (features if mask is None else features[mask]).astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        count += len(rows)
        total += rows.sum(axis=0)
        squares += np.square(rows).sum(axis=0)
    if not count:
        return np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    floor = 0.1 * np.sqrt(variance.mean()) + 1e-6
    deviation = np.maximum(np.sqrt(variance), floor)
    return mean.astype(np.float32), deviation.astype(np.float32)


def stacked_labels(samples: Sequence[Sample]) -> Float32:
    """(N, C)."""
    return np.stack([x.labels for x in samples if x.labels is not None]).astype(np.float32)
