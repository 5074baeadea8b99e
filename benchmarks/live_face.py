"""What the face says while people speak, with and without what compensates for speech.

Without means: the same windows and checkpoint, but the resting face that is taken off is that of
faces in general, and nobody tells whether the person speaks. The resting face alone is between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lddu_model import Sample
from lddu_model.api import Model
from lddu_model.data.facs_motion import MovingFace, Person, episode
from lddu_model.evaluation import predict_all
from workers.face_features import MEASURED, SPEAKING, UNHEARD, complete
from workers.messages import Float32
from workers.neutral import USUAL, NeutralFace

Bools = NDArray[np.bool_]

WATCHED = ("happy", "surprise")
RATE, SECONDS, WIDTH, HOP = 10, 60, 30, 5
"""Steps per second, of a stream, of a window and between windows (here every half second)."""
SMOOTHING_S = 0.6
NEAR_S = 3.0
"""An onset that is found at most so long after the true one counts."""


def uncompensated(sample: Sample) -> Sample:
    """`sample` without resting face and speech of its person."""
    face = sample.features["face"]
    plain = np.stack([complete(row[: len(MEASURED)], USUAL, 0.0) for row in face])
    assert plain.shape == face.shape and (plain[:, SPEAKING] == UNHEARD).all()
    return replace(sample, features={**sample.features, "face": plain})


def unheard(sample: Sample) -> Sample:
    """`sample` where nobody tells whether its person speaks."""
    face = sample.features["face"].copy()
    face[:, SPEAKING] = UNHEARD
    return replace(sample, features={**sample.features, "face": face})


def _same(sample: Sample) -> Sample:
    return sample


WAYS = {"with": _same, "only resting face": unheard, "without": uncompensated}


def only_face(sample: Sample) -> Sample:
    return replace(
        sample, features={"face": sample.features["face"]}, mask={"face": sample.mask["face"]}
    )


def active(model: Model, samples: Sequence[Sample]) -> dict[str, Bools]:
    """Windows in which each watched label is above its threshold."""
    probability = predict_all(model, samples).probability
    return {
        label: probability[:, model.labels.index(label)]
        >= model.thresholds[model.labels.index(label)]
        for label in WATCHED
    }


def false_while_speaking(model: Model, windows: Sequence[Sample]) -> dict[str, Any]:
    """Share of windows in which happy or surprise is said of people who only speak."""
    told = {}
    for name, change in WAYS.items():
        said = active(model, [change(each) for each in windows])
        told[name] = {
            "any": _share(said["happy"] | said["surprise"]),
            **{label: _share(found) for label, found in said.items()},
        }
    return told


def talkers(model: Model, count: int, seed: int = 77) -> dict[str, Any]:
    """Generated people who talk for a minute and are happy or surprised now and then.

    Of both ways: F1 of the onsets of the smoothed logit, and the share of windows of mere talk in
    which happy or surprise is said.
    """
    rng = np.random.default_rng(seed)
    streams = [_stream(rng) for _ in range(count)]
    told = {}
    for name, change in WAYS.items():
        counts = np.zeros(5, np.int64)
        for windows, truth in streams:
            counts += _counts(model, [change(each) for each in windows], truth)
        hits, found, true, wrong, calm = counts.tolist()
        told[name] = {
            "onset F1": round(2 * hits / max(found + true, 1), 3),
            "onsets": true,
            "false while talking": round(wrong / max(calm, 1), 3),
        }
    return told


def _counts(model: Model, windows: Sequence[Sample], truth: dict[str, Bools]) -> NDArray[np.int64]:
    """Onsets that were matched, found and true; windows of mere talk, wrong ones first."""
    logit = predict_all(model, windows).logit
    any_said = np.zeros(len(windows), np.bool_)
    hits = found = true = 0
    for label, there in truth.items():
        c = model.labels.index(label)
        odds = np.log(model.thresholds[c] / (1 - model.thresholds[c]))
        said = _smoothed(logit[:, c]) >= odds
        any_said |= said
        real, seen = onsets(there), onsets(said)
        hits, found, true = hits + matched(real, seen), found + len(seen), true + len(real)
    plain = ~_soon_after(truth)
    return np.array([hits, found, true, (any_said & plain).sum(), plain.sum()])


def _stream(rng: np.random.Generator) -> tuple[list[Sample], dict[str, Bools]]:
    """Windows of one person, and per label whether it was shown at their ends."""
    steps = SECONDS * RATE
    face = MovingFace(steps, float(RATE), Person.draw(rng), rng)
    shown = {label: np.zeros(steps, np.bool_) for label in WATCHED}
    start = int(rng.integers(40, 120))
    while start < steps - 80:
        length = int(rng.integers(40, 80))
        label = WATCHED[int(rng.integers(len(WATCHED)))]
        course = episode(steps, start, length)
        face.show(label, rng.uniform(0.5, 1.0), course, rng)
        shown[label] |= course > 0.5
        start += length + int(rng.integers(60, 140))
    face.blink(rng)
    speech = face.talk(rng)
    measured = face.features(MEASURED, rng)
    features = _followed(measured, speech)
    ends = range(WIDTH, steps + 1, HOP)
    windows = [Sample({"face": features[e - WIDTH : e]}, {}) for e in ends]
    return windows, {label: np.array([x[e - 1] for e in ends]) for label, x in shown.items()}


def _followed(measured: Float32, speech: NDArray[np.float64]) -> Float32:
    neutral, rows = NeutralFace(), []
    for i, row in enumerate(measured):
        rows.append(complete(row, *neutral.shapes()))
        neutral.see(i / RATE, row)
    features = np.stack(rows)
    features[:, SPEAKING] = speech
    return features


def _smoothed(logit: Float32) -> Float32:
    keep = np.exp(-HOP / RATE / SMOOTHING_S)
    out = logit.copy()
    for i in range(1, len(out)):
        out[i] = keep * out[i - 1] + (1 - keep) * logit[i]
    return out


def onsets(there: Bools) -> NDArray[np.int64]:
    """Where runs of True begin."""
    return np.flatnonzero(there & ~np.concatenate([[False], there[:-1]]))


def matched(real: NDArray[np.int64], seen: NDArray[np.int64]) -> int:
    """True onsets that one of `seen` follows in time, each used once."""
    left = list(seen)
    hits = 0
    for onset in real:
        near = [each for each in left if -1 <= each - onset <= NEAR_S * RATE / HOP]
        if near:
            left.remove(near[0])
            hits += 1
    return hits


def _soon_after(truth: dict[str, Bools]) -> Bools:
    """Windows that still reach back into a display."""
    shown = truth["happy"] | truth["surprise"]
    late = shown.copy()
    for k in range(1, WIDTH // HOP + 1):
        late[k:] |= shown[:-k]
    return late


def _share(found: Bools) -> float:
    return round(float(found.mean()), 3)
