"""What training samples are made of: splits, mixtures, changes, generated faces."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lddu_model import Sample
from lddu_model.config import AugmentConfig, DataConfig, MixConfig
from lddu_model.data.augment import Augmenter
from lddu_model.data.facs import FaceGenerator, GeneratedFace
from lddu_model.data.facs_motion import all_names
from lddu_model.data.facs_tables import ACTION_UNITS, PROTOTYPES
from lddu_model.data.mix import Draws, Mixer
from lddu_model.data.sets import DataSet, load_sets, statistics
from lddu_model.errors import DataError
from lddu_model.spec import Float32
from tests.lddu_toys import LABELS, SPEC, toy_samples, write_set
from workers.face import MEASURED

SIX = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def test_groups_go_where_they_are_named_and_never_to_two_sides(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "a", toy_samples(200, ("face",)))
    config = DataConfig(
        name="a",
        path=folder,
        validation=0.5,
        by="group",
        validation_groups=("g1",),
        test_groups=("g2",),
    )
    _, (found,) = load_sets([config], LABELS)
    sides = [
        {sample.group for sample in part} for part in (found.train, found.validation, found.test)
    ]
    assert "g1" in sides[1]
    assert sides[2] == {"g2"}
    assert not (sides[0] & sides[1] | sides[1] & sides[2] | sides[0] & sides[2])


def test_samples_stay_on_their_side_when_others_come(tmp_path: Path) -> None:
    few = write_set(tmp_path / "few", toy_samples(80, ("face",)))
    more = write_set(tmp_path / "more", toy_samples(160, ("face",)))
    held = []
    for folder in (few, more):
        _, (found,) = load_sets([DataConfig(name="a", path=folder, validation=0.2)], LABELS)
        held.append({sample.id for sample in found.validation})
    assert 5 < len(held[0]) < 30
    assert held[0] <= held[1]


def test_sets_with_different_features_are_refused(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a", toy_samples(5))
    other = write_set(tmp_path / "b", toy_samples(5))
    index = other / "index.json"
    index.write_text(index.read_text().replace('"toy"', '"toy-2"'))
    configs = [DataConfig(name=path.name, path=path) for path in (first, other)]
    with pytest.raises(DataError, match="different features: name: 'toy' against 'toy-2'"):
        load_sets(configs, LABELS)


def test_statistics_see_valid_rows_only() -> None:
    x = np.array([[1, 0, 5], [3, 0, 5], [1e9, 1e9, 1e9]], dtype=np.float32)
    sample = Sample({"face": x}, {"face": np.array([True, True, False])})
    mean, deviation = statistics([sample], "face", 3)
    np.testing.assert_allclose(mean, [2, 0, 5])
    assert deviation[0] == pytest.approx(1.0)
    assert 0 < deviation[1] < 0.1


def labelled(name: str, vector: list[float], id: str) -> Sample:  # noqa: A002
    x = np.full((2, SPEC[name].dim), 1.0, dtype=np.float32)
    return Sample({name: x}, {}, np.array(vector, dtype=np.float32), id)


def test_partners_have_the_same_labels_or_none() -> None:
    happy, sad, none = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]
    pool = []
    for k, vector in enumerate((happy, sad, none)):
        for name in ("voice", "face"):
            sample = labelled(name, vector, f"{name}-{k}")
            sample.features[name][:] = k
            pool.append(sample)
    base = labelled("words", happy, "base")
    mixer = Mixer(pool, SPEC, MixConfig(rate=1.0, neutral=0.5))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        mixed = mixer.mix(base, rng)
        assert set(mixed.features) == {"words", "voice", "face"}
        np.testing.assert_array_equal(mixed.labels, base.labels)
        seen.add((float(mixed.features["voice"][0, 0]), float(mixed.features["face"][0, 0])))
    assert seen == {(0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (2.0, 2.0)}
    assert set(base.features) == {"words"}
    assert Mixer(pool, SPEC, MixConfig(rate=0.0)).mix(base, rng) is base


def test_contradictions_have_the_labels_of_one_side_by_chance() -> None:
    happy, sad, both = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]
    pool = [
        labelled("face", vector, f"face-{k}")
        for k, vector in enumerate((happy, sad, both, [0.0, 0.0, 0.0]))
    ]
    for k, sample in enumerate(pool):
        sample.features["face"][:] = k
    mixer = Mixer(pool, SPEC, MixConfig(rate=1.0, conflict=1.0))
    rng = np.random.default_rng(0)
    mixed = [mixer.mix(labelled("words", happy, "base"), rng) for _ in range(200)]
    assert {float(each.features["face"][0, 0]) for each in mixed} == {1.0}, "only sad contradicts"
    said = [each.labels.tolist() for each in mixed if each.labels is not None]
    assert 60 < said.count(happy) < 140
    assert said.count(happy) + said.count(sad) == 200
    plain = mixer.mix(labelled("words", [0.0, 0.0, 0.0], "plain"), rng)
    assert plain.labels is not None and not plain.labels.any()


def test_without_fitting_partner_the_modality_stays_missing() -> None:
    pool = [labelled("face", [0.0, 1.0, 0.0], "sad face")]
    base = labelled("words", [1.0, 0.0, 0.0], "base")
    mixed = Mixer(pool, SPEC, MixConfig(rate=1.0)).mix(base, np.random.default_rng(0))
    assert set(mixed.features) == {"words"}


def test_draws_follow_weights_and_use_every_sample_in_turn() -> None:
    a, b = (toy_samples(10, prefix=name) for name in "ab")
    sets = [DataSet(n, w, s, [], [], {}) for n, w, s in (("a", 3.0, a), ("b", 1.0, b))]
    draws = Draws(sets, np.random.default_rng(0))
    drawn = [draws.draw().id for _ in range(800)]
    share = sum(each.startswith("a") for each in drawn) / len(drawn)
    assert 0.7 < share < 0.8
    of_b = [each for each in drawn if each.startswith("b")]
    assert len(set(of_b[:10])) == 10


def augmenter(**settings: object) -> Augmenter:
    config = AugmentConfig.model_validate({"crop": 0.0, "drop_steps": 0.0, **settings})
    return Augmenter(SPEC, config, {m.name: np.ones(m.dim, np.float32) for m in SPEC.modalities})


def test_one_modality_always_stays() -> None:
    rng = np.random.default_rng(0)
    dropping = augmenter(drop={"words": 1.0, "voice": 1.0, "face": 0.9})
    sizes = {len(dropping.apply(sample, rng).features) for sample in toy_samples(50)}
    assert sizes == {1}


def test_crops_keep_order_and_land_anywhere_in_the_window() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(8, dtype=np.float32)[:, None] + np.zeros((8, SPEC["face"].dim), np.float32)
    starts, lengths = set(), set()
    for _ in range(300):
        cut = augmenter(crop=1.0).apply(Sample({"face": x}, {}), rng)
        mask, rows = cut.mask["face"], cut.features["face"][:, 0]
        assert len(rows) <= SPEC["face"].steps
        inside = rows[mask]
        np.testing.assert_array_equal(np.diff(inside), 1.0)
        starts.add(int(np.flatnonzero(mask)[0]))
        lengths.add(len(inside))
    assert lengths == set(range(1, 9))
    assert len(starts) == 8


def test_augmentation_leaves_the_original_alone_and_something_valid() -> None:
    rng = np.random.default_rng(0)
    samples = toy_samples(40)
    before = [{name: x.copy() for name, x in sample.features.items()} for sample in samples]
    harsh = augmenter(crop=1.0, drop_steps=0.99, noise={"face": 1.0}, shift={"words": 1.0})
    for sample, copy in zip(samples, before, strict=True):
        changed = harsh.apply(sample, rng)
        assert all(mask.any() for mask in changed.mask.values())
        for name, x in copy.items():
            np.testing.assert_array_equal(sample.features[name], x)


def test_noise_differs_from_step_to_step_and_shift_does_not() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((6, SPEC["face"].dim), dtype=np.float32)
    noisy = augmenter(noise={"face": 1.0}).apply(Sample({"face": x}, {}), rng)
    shifted = augmenter(shift={"face": 1.0}).apply(Sample({"face": x}, {}), rng)

    def rows(sample: Sample) -> Float32:
        return sample.features["face"][sample.mask["face"]]

    assert rows(noisy).std(axis=0).min() > 0
    assert np.abs(rows(shifted)).min() > 0
    assert rows(shifted).std(axis=0).max() < 1e-6
    other = augmenter(noise={"voice": 1.0}, shift={"words": 1.0}).apply(
        Sample({"face": x}, {}), rng
    )
    assert not other.features["face"].any()


def faces(count: int, seed: int = 0) -> list[GeneratedFace]:
    return list(FaceGenerator(MEASURED, SIX).samples(count, seed))


def test_generated_faces_are_plausible_and_repeatable() -> None:
    made = faces(300)
    assert [len(made), made[0].features.shape] == [300, (30, len(MEASURED))]
    shapes = np.concatenate([sample.features[:, :52] for sample in made])
    assert shapes.min() >= 0
    assert shapes.max() <= 1
    assert not shapes[:, MEASURED.index("_neutral")].any()
    assert all(sample.mask.any() for sample in made)
    labels = np.stack([sample.labels for sample in made])
    assert 0.25 < (labels.sum(axis=1) == 0).mean() < 0.55
    assert 0 < (labels.sum(axis=1) == 2).mean() < 0.2
    for a, b in zip(made[:9], faces(9), strict=True):
        np.testing.assert_array_equal(a.features, b.features)
    assert len({sample.person for sample in made}) == 38


def test_generated_emotions_move_what_they_should() -> None:
    made = faces(1500)
    at = {name: i for i, name in enumerate(MEASURED)}

    def mean(label: str | None, name: str) -> float:
        vector = [float(label == each) for each in SIX]
        chosen = [s for s in made if s.labels.tolist() == vector]
        return float(np.mean([s.features[10:25, at[name]].mean() for s in chosen]))

    for label, name in (
        ("happy", "mouthSmileLeft"),
        ("sad", "mouthFrownRight"),
        ("anger", "browDownLeft"),
        ("surprise", "jawOpen"),
        ("disgust", "mouthUpperUpLeft"),
        ("fear", "mouthStretchLeft"),
    ):
        values = {other: mean(other, name) for other in (*SIX, None)}
        assert max(values, key=values.__getitem__) == label, values
        assert values[label] > 2 * values[None]


def test_pictures_come_late_in_some_sequences() -> None:
    """As from a slow camera: the same picture for several steps."""
    made = faces(300)
    held = np.array([(np.diff(x.features, axis=0) == 0).all(axis=1).mean() for x in made])
    assert 0.1 < (held > 0.1).mean() < 0.4
    assert (held == 0).mean() > 0.5 and held[held < 1].max() < 0.95


def test_generator_names_what_it_lacks() -> None:
    with pytest.raises(DataError, match=r"no facial prototype of \['boredom'\]"):
        FaceGenerator(MEASURED, ("happy", "boredom"))
    with pytest.raises(DataError, match=r"lack \['jawOpen'\]"):
        FaceGenerator(tuple(n for n in MEASURED if n != "jawOpen"), SIX)


def test_tables_fit_together() -> None:
    units = {unit for prototype in PROTOTYPES.values() for unit, _ in prototype}
    assert units == set(ACTION_UNITS)
    assert all_names() <= set(MEASURED)


def test_what_was_seen_before_is_the_same_person_mostly_at_rest() -> None:
    made = [face for face in faces(800, seed=3) if not face.labels.any() and len(face.before) > 80]
    errors = {"same": [], "other": []}  # type: dict[str, list[float]]
    for a, b in pairwise(made):
        rest = np.median(a.features[:, :52], axis=0)
        for name, before in (("same", a.before), ("other", b.before)):
            if name == "same" or a.person != b.person:
                errors[name].append(float(np.abs(np.median(before[:, :52], axis=0) - rest).mean()))
    assert 2 * np.mean(errors["same"]) < np.mean(errors["other"])
    assert {len(face.before) for face in faces(200)} >= {0}


def test_speech_is_heard_with_mistakes_or_not_known() -> None:
    made = faces(400, seed=4)
    known = [face.speech for face in made if face.speech is not None]
    assert 0.65 < len(known) / len(made) < 0.85
    assert 0.3 < np.mean([speech.mean() for speech in known]) < 0.6
