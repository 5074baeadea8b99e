"""How well emotions are heard in voices of people who were not trained on.

Each speaker of EmoDB in turn is left out. The voice branch with the hyper-parameters of the shipped
checkpoint is trained on the others (clean clips and their damaged copies, a fixed number of
epochs) and compared with logistic regression on mean and deviation of the same features, whose
strength of regularisation is chosen inside the training speakers. Boredom is left out. One choice
per clip among five emotions and none: the largest logit, none where no logit exceeds 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lddu_model import Sample
from lddu_model.config import TrainConfig
from lddu_model.data.sets import stacked_labels
from lddu_model.data.shards import read_shards
from lddu_model.evaluation import predict_all
from lddu_model.trainer import Trainer

Ints = NDArray[np.int64]

EPOCHS, DRAWS = 6, 2400
STRENGTHS = (0.001, 0.01, 0.1)
DRAWN = 2000
"""Bootstrap samples of clips."""
BORED = "L"
"""Sixth letter of a clip's name."""


def leave_one_speaker_out(config: TrainConfig, scratch: Path) -> dict[str, Any]:
    """UAR of both with 95 % intervals, and of their difference."""
    sets = {each.name: each for each in config.data}
    clean = [x for x in read_shards(sets["emodb"].path) if x.id[5] != BORED]
    truth = _classes(clean)
    speakers = np.array([sample.group for sample in clean])
    ours, theirs = np.zeros_like(truth), np.zeros_like(truth)
    for speaker in np.unique(speakers):
        out = speakers == speaker
        test = [sample for sample, chosen in zip(clean, out, strict=True) if chosen]
        logit = predict_all(_trained(config, str(speaker), scratch), test).logit
        ours[out] = np.where(logit.max(axis=1) > 0, logit.argmax(axis=1), -1)
        theirs[out] = _regression(clean, truth, speakers, out)
    return {"clips": len(clean), "speakers": len(np.unique(speakers))} | _compared(
        truth, ours, theirs
    )


def _trained(config: TrainConfig, speaker: str, scratch: Path) -> Any:
    data = [
        each.model_copy(
            update={
                "weight": weight,
                "validation": 0.1 if weight == 1.0 else 0.0,
                "validation_groups": (),
                "test_groups": (speaker,),
                "test": None,
            }
        )
        for each in config.data
        if (weight := {"emodb": 1.0, "emodb-noisy": 0.5}.get(each.name))
    ]
    changes = {
        "out": scratch / speaker,
        "modalities": ("voice",),
        "data": tuple(data),
        "optim": config.optim.model_copy(
            update={"epochs": EPOCHS, "samples_per_epoch": DRAWS, "batch": 64}
        ),
        "mix": config.mix.model_copy(update={"rate": 0.0}),
        "augment": config.augment.model_copy(update={"drop": {}}),
        "model": _only_voice(config.model),
    }
    trainer = Trainer(config.model_copy(update=changes))
    for each in trainer.sets:
        each.train[:] = [sample for sample in each.train if sample.id[5] != BORED]
    for epoch in range(EPOCHS):
        trainer._epoch(epoch)
    return trainer.model


def _only_voice(model: dict[str, Any]) -> dict[str, Any]:
    floor = {k: v for k, v in model.get("variance_floor", {}).items() if k == "voice"}
    return {**model, "variance_floor": floor}


def _classes(samples: Sequence[Sample]) -> Ints:
    """(n,) number of the label, -1 for none."""
    labels = stacked_labels(samples)
    return np.where(labels.any(axis=1), labels.argmax(axis=1), -1)


def _regression(clean: Sequence[Sample], truth: Ints, speakers: Any, out: Any) -> Ints:
    """Classes of the clips that are left out."""
    pooled = np.stack([_pooled(sample) for sample in clean])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced")
    )
    search = GridSearchCV(
        model,
        {"logisticregression__C": list(STRENGTHS)},
        scoring=_recall_of,
        cv=GroupKFold(len(np.unique(speakers)) - 1),
    )
    search.fit(pooled[~out], truth[~out], groups=speakers[~out])
    return np.asarray(search.predict(pooled[out]))


def _recall_of(model: Any, x: Any, truth: Ints) -> float:
    return _uar(truth, np.asarray(model.predict(x)))


def _pooled(sample: Sample) -> NDArray[np.float64]:
    x = sample.features["voice"][sample.mask["voice"]].astype(float)
    return np.concatenate([x.mean(axis=0), x.std(axis=0)])


def _compared(truth: Ints, ours: Ints, theirs: Ints) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(truth), size=len(truth)) for _ in range(DRAWN)]
    both = np.array([[_uar(truth[i], said[i]) for said in (ours, theirs)] for i in drawn])
    return {
        "voice branch": _interval(_uar(truth, ours), both[:, 0]),
        "logistic regression": _interval(_uar(truth, theirs), both[:, 1]),
        "difference": _interval(_uar(truth, ours) - _uar(truth, theirs), both[:, 0] - both[:, 1]),
        "recall": {
            str(each): [
                round(float((said[truth == each] == each).mean()), 3) for said in (ours, theirs)
            ]
            for each in np.unique(truth)
        },
    }


def _uar(truth: Ints, said: Ints) -> float:
    return float(np.mean([(said[truth == each] == each).mean() for each in np.unique(truth)]))


def _share(found: NDArray[np.bool_]) -> float:
    return round(float(found.mean()), 3)


def _interval(value: float, drawn: NDArray[np.float64]) -> list[float]:
    """Value, low, high."""
    return [round(float(x), 3) for x in (value, *np.percentile(drawn, [2.5, 97.5]))]
