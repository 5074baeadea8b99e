"""Benchmarks of damage and conflict: damage grows with its level, conflicts are the gate's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import damaged_pictures as damage
from benchmarks.conflict import compose, gate_conflict, measure, parts_of
from benchmarks.corruption import judge
from benchmarks.sweeps import WORSE, Sweep, generated
from lddu_model import Prediction, Sample
from lddu_model.api import create
from lddu_model.data.facs import FaceGenerator
from lddu_model.data.facs_motion import QUALITY, seen_in
from stream.config import PrepareConfig
from stream.spec import LABELS, live_spec
from workers.face_features import MEASURED
from workers.gate import Gate, GateConfig
from workers.messages import EmotionEstimate, Evidence

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        (damage.noisy, damage.NOISES),
        (damage.blurred, damage.BLURS),
        (damage.darkened, damage.LIGHTS),
        (damage.shrunk, damage.SIZES),
    ],
)
def test_pictures_get_worse_level_by_level(change: object, levels: tuple[float, ...]) -> None:
    assert len(levels) >= 7 and callable(change)
    distance = []
    for level in levels:
        made = change(level)(PICTURE, np.random.default_rng(1))
        assert made.shape == PICTURE.shape and made.dtype == np.uint8
        distance.append(float(np.abs(made.astype(float) - PICTURE).mean()))
    assert distance[0] > 0
    if change is not damage.shrunk:  # noise against grey does not grow with its area
        assert distance == sorted(distance)


@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(WORSE)))
@settings(max_examples=20, deadline=None)
def test_worse_pictures_bring_larger_errors_and_nothing_else(seed: int, name: str) -> None:
    (face,) = FaceGenerator(MEASURED, LABELS).samples(1, seed)
    errors = []
    for level in (WORSE[name][0], WORSE[name][-1]):
        seen = seen_in(face.features, MEASURED, {name: level}, np.random.default_rng(seed))
        assert (seen[:, MEASURED.index(name)] == np.float32(level)).all()
        others = [i for i, each in enumerate(MEASURED) if each in QUALITY and each != name]
        np.testing.assert_array_equal(seen[:, others], face.features[:, others])
        assert seen[:, :52].min() >= 0 and seen[:, :52].max() <= 1
        errors.append(float(np.abs(seen[:, :52] - face.features[:, :52]).mean()))
    assert 0 < errors[0] < errors[1]


def test_sweeps_keep_clips_and_labels_from_level_to_level() -> None:
    sweep = next(generated(count=6))
    assert [len(samples) for samples in sweep.samples] == [6] * (1 + len(sweep.levels))
    for samples in sweep.samples:
        assert [x.id for x in samples] == [x.id for x in sweep.samples[0]]
        for sample, clean in zip(samples, sweep.samples[0], strict=True):
            assert sample.labels is not None and clean.labels is not None
            np.testing.assert_array_equal(sample.labels, clean.labels)
    assert sweep.labelled.all()


def test_nothing_is_sure_of_clips_of_which_nothing_is_left() -> None:
    spec = live_spec(PrepareConfig())
    model = create("default", spec, LABELS)
    (clean, *_) = next(generated(count=8)).samples
    gone = tuple(replace(x, features={}, mask={}) for x in clean)
    told = judge(model, Sweep("face", "x", (1.0,), (clean, gone)), np.random.default_rng(0))
    assert told["coverage"][1] == 0 and told["risk"][1] == 0
    assert len(told["variance"]) == 2 and told["clips"] == told["labelled"] == 8


def _part(name: str, dim: int, label: int | None, i: int) -> Sample:
    labels = np.zeros(len(LABELS), np.float32)
    if label is not None:
        labels[label] = 1
    x = np.random.default_rng(i).normal(size=(4, dim)).astype(np.float32)
    return Sample({name: x}, {name: np.ones(4, np.bool_)}, labels, f"{name}-{i}")


def test_pairs_differ_in_one_modality_that_shows_something_else() -> None:
    spec = live_spec(PrepareConfig())
    parts = parts_of(
        {
            each.name: [_part(each.name, each.dim, i % 4 if i % 5 else None, i) for i in range(40)]
            for each in spec.modalities
        }
    )
    assert all(set(by_label) == set(LABELS[:4]) for by_label in parts.values())
    pairs = compose(parts, 30, np.random.default_rng(0))
    assert [pair.replaced for pair in pairs[:3]] == ["words", "voice", "face"]
    for pair in pairs:
        changed = [
            name
            for name in spec.names
            if not np.array_equal(pair.matched.features[name], pair.conflict.features[name])
        ]
        assert changed == [pair.replaced]
    told = measure(create("default", spec, LABELS), pairs)
    assert told["pairs"] == 30 and 0 <= told["mean variance"]["AUROC"][0] <= 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_conflict_is_what_the_gate_calls_one(seed: int) -> None:
    """The score is above the configured number of deviations exactly where the gate says so."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, (1, 3, 6)).astype(np.float32)
    variance = rng.uniform(0.1, 4, (1, 3, 6)).astype(np.float32)
    absent = rng.permutation(3) < rng.integers(3)
    logit[:, absent], variance[:, absent] = np.nan, np.inf
    none = np.zeros((1, 6), np.float32)
    said = Prediction(none, none, none, logit, variance, none, none[:, :3])
    thresholds = rng.uniform(0.2, 0.6, 6)
    (score,) = gate_conflict(said, thresholds.tolist())
    config = GateConfig()
    gate = Gate(config, frozenset(), np.log(thresholds) - np.log1p(-thresholds))
    evidence = Evidence(speech=1.0, face=1.0, words=5, faces=1, provisional=False)
    estimate = EmotionEstimate(
        person="p1",
        index=0,
        revision=0,
        t0=0.0,
        t1=3.0,
        labels=LABELS,
        logit=none[0],
        variance=none[0],
        probability=none[0],
        modality_variance=variance[0],
        evidence=evidence,
        complete=True,
        modality_logit=logit[0],
    )
    if abs(score - config.conflict) > 1e-4:
        seen = "modality_conflict" in gate.view(estimate).reasons
        assert seen == (score > config.conflict)
