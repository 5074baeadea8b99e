"""What every loader gives: features that are computed when they are written, labels in advance.

A converted set is a folder with one feature set (see ``shards``) per split, usually ``train``,
``validation`` and ``test``, and ``conversion.json``: where it came from, how many samples and
positive labels each split has, and what was noticed on the way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lddu_model.data.shards import INDEX, Dtype, ShardWriter
from lddu_model.errors import DataError
from lddu_model.files import write_text
from lddu_model.spec import Bool, FeatureSpec, Float32, Sample

REPORT = "conversion.json"

SPLITS: Mapping[str, str] = {
    "train": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of splits in data sets -> ours."""

WHOLE = "all"
"""The only split of a set that has none."""

Sequences = tuple[dict[str, Float32], dict[str, Bool]]
"""Features (L, D) and masks (L,) by modality."""


@dataclass(frozen=True, slots=True)
class Part:
    """One split: `sequences` computes the features of sample i."""

    ids: Sequence[str]
    groups: Sequence[str]
    """What must not be torn apart, for example the video."""
    labels: Float32 | None
    """(N, C) of 0 and 1; None where they are not known."""
    sequences: Callable[[int], Sequences]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A data set that is ready to be written."""

    spec: FeatureSpec
    labels: tuple[str, ...]
    parts: Mapping[str, Part]
    """By name of the split."""
    report: dict[str, Any] = field(default_factory=dict)
    """What a reader of the set should know: protocol, counts that were checked, warnings."""


@dataclass(frozen=True, slots=True)
class Count:
    """What can be counted in one split."""

    samples: int
    positives: int | None
    """Present labels of all samples together; None without labels."""


def counts(parts: Mapping[str, Part]) -> dict[str, Count]:
    return {
        name: Count(len(part), None if part.labels is None else int(part.labels.sum()))
        for name, part in parts.items()
    }


def split_name(name: str, where: str) -> str:
    """Our name of a split; ``DataError`` for an unknown one."""
    if name.strip().lower() not in SPLITS:
        raise DataError(f"{where}: unknown split {name!r}", f"known are {', '.join(SPLITS)}")
    return SPLITS[name.strip().lower()]


def write_conversion(
    conversion: Conversion,
    out: Path,
    *,
    dtype: Dtype = "float32",
    samples_per_shard: int = 512,
    progress: bool = False,
) -> dict[str, Any]:
    """Write all splits and the report, which is returned. An earlier conversion is replaced."""
    limit = float(np.finfo(dtype).max)
    for name in {*SPLITS.values(), WHOLE} - set(conversion.parts):
        if (out / name / INDEX).is_file():
            shutil.rmtree(out / name)  # a split that the set does not have any more
    for name, part in conversion.parts.items():
        with ShardWriter(
            out / name,
            conversion.spec,
            conversion.labels,
            samples_per_shard=samples_per_shard,
            dtype=dtype,
        ) as writer:
            for i in tqdm(range(len(part)), desc=name, unit="sample", disable=not progress):
                sample = _sample(part, i)
                _check_range(sample, limit)
                writer.add(sample)
    report = {
        **conversion.report,
        "spec": conversion.spec.to_dict(),
        "labels": list(conversion.labels),
        "dtype": dtype,
        "splits": {
            name: _summary(part, conversion.labels) for name, part in conversion.parts.items()
        },
    }
    write_text(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def _sample(part: Part, i: int) -> Sample:
    features, mask = part.sequences(i)
    labels = None if part.labels is None else part.labels[i]
    return Sample(features, mask, labels, part.ids[i], part.groups[i])


def _check_range(sample: Sample, limit: float) -> None:
    for name, x in sample.features.items():
        if not np.isfinite(x).all() or (x.size and float(np.abs(x).max()) > limit):
            raise DataError(
                f"sample {sample.id!r}: {name} has values that are not finite, or too large for "
                "the type they are stored in",
                "store float32 instead of float16",
            )


def _summary(part: Part, labels: Sequence[str]) -> dict[str, Any]:
    summary: dict[str, Any] = {"samples": len(part), "groups": len(set(part.groups))}
    if part.labels is not None:
        present = part.labels.sum(axis=0).astype(int)
        summary["positives"] = int(present.sum())
        summary["per_label"] = dict(zip(labels, present.tolist(), strict=True))
    return summary


def describe(report: Mapping[str, Any], out: Path) -> str:
    """A few lines for a person."""
    lines = []
    for name, split in report["splits"].items():
        labels = f"{split['positives']} positive labels" if "positives" in split else "no labels"
        lines.append(f"{out / name}: {split['samples']} samples, {labels}")
    lines += [f"{key}: {report[key]}" for key in ("protocol", "fingerprint") if key in report]
    return "\n".join([*lines, *(f"note: {note}" for note in report.get("notes", ()))])
