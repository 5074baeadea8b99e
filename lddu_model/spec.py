"""What goes into a model and what comes out: the feature specification, samples, predictions.

Shapes: B samples, M modalities, C labels, L steps, D features per step. Only the standard library
and numpy are imported here, so that stages can speak of features without loading torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lddu_model.errors import SpecError

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


MOST_MODALITIES = 8
"""A model has numbers for each combination of them (``api.Calibration``)."""


@dataclass(frozen=True, slots=True)
class ModalitySpec:
    """One feature sequence."""

    name: str
    """For example ``face``, ``voice`` or ``words``."""
    dim: int
    """Features per step (D)."""
    steps: int
    """Steps of one window; for sequences without a rate the largest number of steps."""
    rate: float | None
    """Steps per second; None where a step is an event, for example a word."""
    extractor: str
    """What computes the features, with its version."""
    sha256: str = ""
    """Fingerprint of the extractor's weights; empty where it has none."""

    def __post_init__(self) -> None:
        if not self.name or self.dim < 1 or self.steps < 1:
            raise SpecError(
                f"modality {self.name!r}: needs a name, dim >= 1 and steps >= 1, "
                f"got dim {self.dim} and steps {self.steps}"
            )
        if self.rate is not None and not self.rate > 0:
            raise SpecError(f"modality {self.name!r}: rate must be positive, got {self.rate}")


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Exactly which features a model was made for. A model is used with its own spec or not at all.

    The order of `modalities` is the order of the second axis of ``Prediction.modality_variance``.
    """

    name: str
    modalities: tuple[ModalitySpec, ...]
    window_s: float | None = None
    """Seconds of a window; None for whole utterances."""
    hop_s: float | None = None
    """Seconds between the starts of two windows; None for whole utterances."""

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) != len(names):
            raise SpecError(
                f"spec {self.name!r}: needs modalities with different names, got {names}"
            )
        if len(names) > MOST_MODALITIES:
            raise SpecError(
                f"spec {self.name!r} has {len(names)} modalities, "
                f"at most {MOST_MODALITIES} are possible"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    def __getitem__(self, name: str) -> ModalitySpec:
        for modality in self.modalities:
            if modality.name == name:
                return modality
        raise SpecError(f"spec {self.name!r} has no modality {name!r}, it has {list(self.names)}")

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the spec: equal digests mean interchangeable features."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        plain = asdict(self)
        plain["modalities"] = list(plain["modalities"])
        return plain

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> FeatureSpec:
        """The inverse of ``to_dict``; a missing, unknown or mistyped key is a ``SpecError``."""
        try:
            fields = dict(plain)
            modalities = tuple(ModalitySpec(**each) for each in fields.pop("modalities"))
            return FeatureSpec(modalities=modalities, **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(
                f"not a feature spec: {error}", "write it with FeatureSpec.to_dict()"
            ) from error


def differences(mine: FeatureSpec, other: FeatureSpec) -> list[str]:
    """What differs between two specs, one readable line each; empty when they are equal."""
    lines = [
        f"{key}: {getattr(mine, key)!r} against {getattr(other, key)!r}"
        for key in ("name", "window_s", "hop_s", "names")
        if getattr(mine, key) != getattr(other, key)
    ]
    for name in mine.names:
        if name not in other.names:
            continue
        here, there = asdict(mine[name]), asdict(other[name])
        lines += [
            f"{name}.{key}: {here[key]!r} against {there[key]!r}"
            for key in here
            if here[key] != there[key]
        ]
    return lines


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The features of one window or utterance, with its labels when they are known."""

    features: Mapping[str, Float32]
    """(L, D) per modality; a missing modality may be left out. L varies from sample to sample."""
    mask: Mapping[str, Bool]
    """(L,) per modality, True where a row is valid; left out = every row is valid."""
    labels: Float32 | None = None
    """(C,) of 0 and 1."""
    id: str = ""
    group: str = ""
    """What must not be split between training and test, for example the speaker."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of B samples."""

    logit: Float32
    """(B, C) mean of the logit."""
    probability: Float32
    """(B, C) expectation of sigmoid(x), x ~ N(logit, spread)."""
    variance: Float32
    """(B, C) stated variance of the logit: orders estimates by how wrong they are likely to be."""
    modality_logit: Float32
    """(B, M, C) what each modality alone says; NaN where it is absent or not told apart."""
    modality_variance: Float32
    """(B, M, C) stated variance of that; infinite where it is absent."""
    spread: Float32
    """(B, C) variance of the logit by likelihood, which the probability takes account of."""
    novelty: Float32
    """(B, M) from 0 for a sequence as in training to 1 for one of another kind; 0 where absent."""

    def __len__(self) -> int:
        return len(self.logit)
