"""Feature sets of a training run: read, checked against each other, split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model.config import DataConfig
from lddu_model.data.conversion import REPORT
from lddu_model.data.shards import ShardSet, read_shards
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, Sample, differences

SIDES = ("train", "validation", "test")
ORIGIN = {
    "source": "source",
    "protocol": "protocol",
    "context": "context",
    "fingerprint": "counts found",
}
"""What is told of a conversion: key of its report -> name. Its fingerprint says which known counts
the data have; that of a feature set is a digest."""


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
    usual: bool = True
    """See ``DataConfig``."""


def load_sets(
    configs: Sequence[DataConfig], labels: Sequence[str], modalities: Sequence[str] = ()
) -> tuple[FeatureSpec, list[DataSet]]:
    """Read all sets. They must have one feature spec, and know every label of the run.

    `modalities`: leave the others out, of the spec too.
    """
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
    if not modalities:
        return first.spec, loaded
    spec = replace(first.spec, modalities=tuple(first.spec[name] for name in modalities))
    return spec, [only(each, modalities) for each in loaded]


def only(data: DataSet, modalities: Sequence[str]) -> DataSet:
    """`data` without other modalities; samples that lose everything stay, with nothing."""
    return replace(
        data,
        train=[_keep(x, modalities) for x in data.train],
        validation=[_keep(x, modalities) for x in data.validation],
        test=[_keep(x, modalities) for x in data.test],
        record={**data.record, "modalities": list(modalities)},
    )


def _keep(sample: Sample, modalities: Sequence[str]) -> Sample:
    features = {name: x for name, x in sample.features.items() if name in modalities}
    mask = {name: x for name, x in sample.mask.items() if name in modalities}
    return replace(sample, features=features, mask=mask)


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
    parts: dict[str, list[Sample]] = {side: [] for side in SIDES}
    for sample in samples:
        parts[_side(config, sample)].append(sample)
    fingerprints = {"fingerprint": found.fingerprint}
    for side, path in (("validation", config.validation), ("test", config.test)):
        if isinstance(path, Path):
            other = read_shards(path)
            _same_spec(first, other)
            parts[side] += labelled(other, labels)
            fingerprints[f"{side}_fingerprint"] = other.fingerprint
    _apart(config, parts)
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
        **origin(config.path),
    }
    return DataSet(config.name, config.weight, **parts, record=record, usual=config.usual)


def origin(path: Path) -> dict[str, Any]:
    """What the converter wrote about the set: protocol, context, which known counts were found."""
    report = path.parent / REPORT
    if not report.is_file():
        return {}
    try:
        plain = json.loads(report.read_text(encoding="utf-8"))
        told = {name: plain[key] for key, name in ORIGIN.items() if key in plain}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{report} cannot be read: {error}", "convert the set again") from error
    return {"conversion": told} if told else {}


def _apart(config: DataConfig, parts: dict[str, list[Sample]]) -> None:
    """No sample may be on two sides."""
    sides = {side: {sample.id for sample in part} for side, part in parts.items()}
    for one, other in combinations(SIDES, 2):
        shared = sorted(sides[one] & sides[other])
        if shared:
            raise DataError(
                f"data set {config.name!r}: {len(shared)} samples are both in {one} and {other}, "
                f"for example {shared[0]!r}",
                "give sets that have no sample in common",
            )


def _side(config: DataConfig, sample: Sample) -> str:
    if sample.group in config.test_groups:
        return "test"
    if sample.group in config.validation_groups:
        return "validation"
    key = sample.group if config.by == "group" else sample.id
    share = config.validation if isinstance(config.validation, float) else 0.0
    return "validation" if fraction_of(key) < share else "train"


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
