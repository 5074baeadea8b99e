"""What a model said of labelled samples: what scores, baselines and comparisons are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from lddu_model.errors import DataError
from lddu_model.files import replacing
from lddu_model.spec import Float32

TEST = "test.predictions.safetensors"
VALIDATION = "validation.predictions.safetensors"
"""Names of the files beside a report."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """N samples, C labels, M modalities."""

    labels: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    """What belongs together (series, session, speaker, video); "" = each on its own."""
    truth: Float32
    """(N, C) of 0 and 1."""
    probability: Float32
    """(N, C)"""
    variance: Float32 | None
    """(N, C); None: the model states none."""
    modality_variance: Float32 | None = None
    """(N, M, C), infinite where a modality is absent."""
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size = (len(self.ids), len(self.labels))
        shapes = {"truth": self.truth.shape, "probability": self.probability.shape}
        if self.variance is not None:
            shapes["variance"] = self.variance.shape
        wrong = {name: shape for name, shape in shapes.items() if shape != size}
        if self.modality_variance is not None:
            expected = (size[0], len(self.modalities), size[1])
            if self.modality_variance.shape != expected:
                wrong["modality_variance"] = self.modality_variance.shape
        if wrong or len(self.groups) != size[0]:
            raise DataError(
                f"predictions of {size[0]} samples and {size[1]} labels have {wrong} "
                f"and {len(self.groups)} groups"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Write one safetensors file; names are JSON in its header."""
        tensors: dict[str, NDArray[Any]] = {"truth": self.truth, "probability": self.probability}
        if self.variance is not None:
            tensors["variance"] = self.variance
        if self.modality_variance is not None:
            tensors["modality_variance"] = self.modality_variance
        names = {
            "labels": self.labels,
            "ids": self.ids,
            "groups": self.groups,
            "modalities": self.modalities,
        }
        plain = {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in tensors.items()}
        with replacing(path) as temporary:
            temporary.write_bytes(serialise(plain, {"predictions": json.dumps(names)}))

    @staticmethod
    def load(path: Path) -> Predictions:
        """The inverse of ``save``; every fault is a ``DataError`` that names the file."""
        try:
            with safe_open(path, framework="numpy") as file:
                names = json.loads((file.metadata() or {})["predictions"])
                held = file.keys()
                tensors = {name: file.get_tensor(name) for name in held}
            return Predictions(
                labels=tuple(names["labels"]),
                ids=tuple(names["ids"]),
                groups=tuple(names["groups"]),
                truth=tensors["truth"],
                probability=tensors["probability"],
                variance=tensors.get("variance"),
                modality_variance=tensors.get("modality_variance"),
                modalities=tuple(names["modalities"]),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(
                f"{path} holds no predictions: {error}", "score the model again"
            ) from error
