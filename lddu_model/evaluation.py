"""Scoring a model on samples, and choosing calibration and thresholds on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from lddu_model import metrics
from lddu_model.api import Calibration, Model
from lddu_model.calibration import best_thresholds, fit_calibration
from lddu_model.data.sets import stacked_labels
from lddu_model.spec import Float32, Prediction, Sample

Views = Mapping[str, Sequence[Sample]]
"""Named sets of labelled samples that are scored one by one."""

PREDICT_BATCH = 256


class Outputs:
    """What the network gives for some samples, to be described under several calibrations."""

    def __init__(self, model: Model, samples: Sequence[Sample]) -> None:
        """In batches of similar lengths: padding costs time, not accuracy."""
        size = [sum(len(x) for x in sample.features.values()) for sample in samples]
        order = np.argsort(size, kind="stable")
        self._parts = [
            model.outputs([samples[i] for i in order[start : start + PREDICT_BATCH]])
            for start in range(0, len(order), PREDICT_BATCH)
        ]
        self._back = np.argsort(order, kind="stable")

    def described(self, model: Model) -> Prediction:
        """In the order of the samples."""
        return _joined([model.describe(part) for part in self._parts], self._back)


def predict_all(model: Model, samples: Sequence[Sample]) -> Prediction:
    """``model.predict`` of any number of samples."""
    return Outputs(model, samples).described(model) if samples else model.predict(samples)


def _joined(parts: Sequence[Prediction], order: Any = slice(None)) -> Prediction:
    """Several as one, its rows in `order`."""
    names = [each.name for each in fields(Prediction)]
    return Prediction(*(np.concatenate([getattr(x, n) for x in parts])[order] for n in names))


def score(
    model: Model,
    samples: Sequence[Sample],
    thresholds: Sequence[float] | None = None,
    said: Prediction | None = None,
) -> dict[str, Any]:
    """All metrics of ``metrics.summary`` at `thresholds` (default: the model's own).

    `said`: what the model says of `samples`, where that is known.
    """
    prediction = predict_all(model, samples) if said is None else said
    chosen = model.thresholds if thresholds is None else thresholds
    return metrics.summary(
        stacked_labels(samples), prediction.probability, prediction.variance, chosen, model.labels
    )


def choose(model: Model, views: Views) -> dict[str, Prediction]:
    """Set calibration and thresholds of `model` from validation views, each with equal weight.

    Returns what the model then says of each.
    """
    model.calibration = Calibration.identity(len(model.labels), len(model.spec.modalities))
    outputs = {name: Outputs(model, samples) for name, samples in views.items()}
    truth = np.concatenate([stacked_labels(samples) for samples in views.values()])
    weight = np.concatenate(
        [np.full(len(samples), 1.0 / len(samples)) for samples in views.values()]
    ).astype(np.float32)
    plain = _joined([each.described(model) for each in outputs.values()])
    model.calibration = fit_calibration(plain, truth, weight)
    said = {name: each.described(model) for name, each in outputs.items()}
    probability = np.concatenate([each.probability for each in said.values()])
    model.thresholds = best_thresholds(probability, truth, weight)
    return said


def own_thresholds(model: Model, samples: Sequence[Sample]) -> tuple[float, ...]:
    """The best thresholds for one set, from its validation part."""
    probability: Float32 = predict_all(model, samples).probability
    return best_thresholds(probability, stacked_labels(samples))
