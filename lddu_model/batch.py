"""Ragged samples to padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lddu_model.errors import SpecError
from lddu_model.spec import Bool, FeatureSpec, Float32, ModalitySpec, Sample


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples; lists are in the order of the spec's modalities."""

    features: list[Tensor]
    """(B, L_m, D_m) per modality, zero where the mask is False."""
    mask: list[Tensor]
    """(B, L_m) per modality."""

    def to(self, device: torch.device) -> Batch:
        return Batch(
            [x.to(device, non_blocking=True) for x in self.features],
            [x.to(device, non_blocking=True) for x in self.mask],
        )

    def __len__(self) -> int:
        return len(self.features[0])


def rows(sample: Sample, modality: ModalitySpec) -> tuple[Float32, Bool] | None:
    """Features (L, D) and mask (L,) of one modality, None where nothing of it is valid.

    Rows with a value that is not finite count as missing; the caller's arrays are not changed.
    """
    features = sample.features.get(modality.name)
    if features is None:
        return None
    if features.ndim != 2 or features.shape[1] != modality.dim:
        raise SpecError(
            f"sample {sample.id!r}: {modality.name} has shape {features.shape}, "
            f"the model expects (steps, {modality.dim})",
            f"compute the features with {modality.extractor}",
        )
    mask = sample.mask.get(modality.name)
    if mask is None:
        mask = np.ones(len(features), dtype=bool)
    if mask.shape != (len(features),):
        raise SpecError(
            f"sample {sample.id!r}: the mask of {modality.name} has shape {mask.shape}, "
            f"its features have {len(features)} steps"
        )
    mask = np.asarray(mask, dtype=bool) & np.isfinite(features).all(axis=1)
    if not mask.any():
        return None
    length = int(np.flatnonzero(mask)[-1]) + 1
    return features[:length], mask[:length]


def collate(samples: Sequence[Sample], spec: FeatureSpec) -> Batch:
    """Pad `samples` to a batch. Modalities that the spec does not know are an error."""
    for sample in samples:
        unknown = sorted(set(sample.features) - set(spec.names))
        if unknown:
            raise SpecError(
                f"sample {sample.id!r} has modalities {unknown}, "
                f"spec {spec.name!r} knows {list(spec.names)}"
            )
    padded = [pad([rows(sample, m) for sample in samples], m.dim) for m in spec.modalities]
    return Batch([features for features, _ in padded], [mask for _, mask in padded])


def pad(parts: Sequence[tuple[Float32, Bool] | None], dim: int) -> tuple[Tensor, Tensor]:
    """Features (B, L, D) and mask (B, L) from what ``rows`` gives; L is the longest."""
    steps = max((len(part[1]) for part in parts if part is not None), default=1)
    features = np.zeros((len(parts), steps, dim), dtype=np.float32)
    mask = np.zeros((len(parts), steps), dtype=bool)
    for b, part in enumerate(parts):
        if part is not None:
            length = len(part[1])
            mask[b, :length] = part[1]
            features[b, :length][part[1]] = part[0][part[1]]
    return torch.from_numpy(features), torch.from_numpy(mask)
