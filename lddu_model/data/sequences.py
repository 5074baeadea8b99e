"""Padded arrays as sequences with real masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.conversion import Sequences
from lddu_model.errors import DataError
from lddu_model.spec import Bool, FeatureSpec, Float32, ModalitySpec


def padded_spec(
    layout: str, fields: Mapping[str, str], splits: Mapping[str, Mapping[str, Any]]
) -> tuple[FeatureSpec, bool]:
    """The spec of padded arrays (or a list with one array per sample), and whether all modalities
    have the same steps: then they are aligned.

    `fields`: our modalities -> names in `splits` (split -> field -> array).
    """
    modalities = []
    for name, source in fields.items():
        shapes = [np.shape(each) for fields in splits.values() for each in fields[source]]
        steps, dims = max(shape[0] for shape in shapes), {shape[1] for shape in shapes}
        if len(dims) != 1:
            raise DataError(f"{source} has {sorted(dims)} features per step, which should be one")
        extractor = f"{layout} {source}"
        modalities.append(ModalitySpec(name, dims.pop(), steps, None, extractor))
    aligned = len({modality.steps for modality in modalities}) == 1
    kind = "aligned" if aligned else "unaligned"
    return FeatureSpec(f"{layout}-{kind}", tuple(modalities)), aligned


def as_text(name: object) -> str:
    """Text that may be stored as bytes."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def cleaned(x: NDArray[np.generic]) -> Float32:
    """A float32 copy in which what is not finite is 0 (COVAREP writes -inf); `x` stays."""
    copy: Float32 = np.array(x, dtype=np.float32)
    copy[~np.isfinite(copy)] = 0.0
    return copy


def span(mask: Bool) -> slice:
    """From the first to the last valid row."""
    valid = np.flatnonzero(mask)
    return slice(int(valid[0]), int(valid[-1]) + 1) if len(valid) else slice(0, 0)


def unpadded(
    padded: Mapping[str, NDArray[np.generic]],
    lengths: Mapping[str, int] | None = None,
    allowed: Mapping[str, Bool] | None = None,
    *,
    aligned: bool,
) -> Sequences:
    """Sequences without their padding, at either end, and masks of the rows that say something.

    `padded`: (L, D) by modality. A row is valid if it is not all zero, lies before `lengths` and is
    not ruled out by `allowed` (L,). `aligned`: row i of all modalities is the same moment, so all
    are cut in the same way. A modality without a valid row is left out.
    """
    features: dict[str, Float32] = {}
    masks: dict[str, Bool] = {}
    for name, x in padded.items():
        features[name] = cleaned(x)
        masks[name] = np.asarray(features[name].any(axis=1))
        if lengths is not None and name in lengths:
            masks[name][lengths[name] :] = False
        if allowed is not None and name in allowed:
            masks[name] &= allowed[name]
        features[name][~masks[name]] = 0.0
    spans = {name: span(mask) for name, mask in masks.items()}
    if aligned:
        together = span(np.logical_or.reduce(list(masks.values())))
        spans = dict.fromkeys(spans, together)
    present = [name for name, mask in masks.items() if mask.any()]
    return (
        {name: features[name][spans[name]] for name in present},
        {name: masks[name][spans[name]] for name in present},
    )
