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


def predict_all(model: Model, samples: Sequence[Sample]) -> Prediction:
    """``model.predict`` in batches of similar lengths (padding costs time, not accuracy)."""
    size = [sum(len(x) for x in sample.features.values()) for sample in samples]
    order = np.argsort(size, kind="stable")
    parts = [
        model.predict([samples[i] for i in order[start : start + PREDICT_BATCH]])
        for start in range(0, len(order), PREDICT_BATCH)
    ]
    back = np.argsort(order, kind="stable")
    return _joined(parts, back)


def _joined(parts: Sequence[Prediction], order: Any = slice(None)) -> Prediction:
    """Several as one, its rows in `order`."""
    names = [each.name for each in fields(Prediction)]
    return Prediction(*(np.concatenate([getattr(x, n) for x in parts])[order] for n in names))


def score(
    model: Model, samples: Sequence[Sample], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """All metrics of ``metrics.summary`` at `thresholds` (default: the model's own)."""
    prediction = predict_all(model, samples)
    chosen = model.thresholds if thresholds is None else thresholds
    return metrics.summary(
        stacked_labels(samples), prediction.probability, prediction.variance, chosen, model.labels
    )


def choose(model: Model, views: Views) -> None:
    """Set calibration and thresholds of `model` from validation views, each with equal weight."""
    model.calibration = Calibration.identity(len(model.labels), len(model.spec.modalities))
    predictions = {name: predict_all(model, samples) for name, samples in views.items()}
    truth = np.concatenate([stacked_labels(samples) for samples in views.values()])
    weight = np.concatenate(
        [np.full(len(samples), 1.0 / len(samples)) for samples in views.values()]
    ).astype(np.float32)
    model.calibration = fit_calibration(_joined(list(predictions.values())), truth, weight)
    probability = np.concatenate(
        [predict_all(model, samples).probability for samples in views.values()]
    )
    model.thresholds = best_thresholds(probability, truth, weight)


def own_thresholds(model: Model, samples: Sequence[Sample]) -> tuple[float, ...]:
    """The best thresholds for one set, from its validation part."""
    probability: Float32 = predict_all(model, samples).probability
    return best_thresholds(probability, stacked_labels(samples))
