"""The synthetic sets: MOSEI's labels, known noise, the same whatever else is generated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lddu_model.data.shards import read_shards
from lddu_model.data.synthesize import main, read_noise, read_synthetic, write_synthetic
from lddu_model.data.synthetic import NOISE, Made, SyntheticConfig, World
from lddu_model.errors import ConfigError, DataError
from tests.conftest import PROJECT

CONFIG = PROJECT / "configs" / "synthetic.toml"
TABLE = "data/mosei_labels/mosei_emotion_labels_mmsa_split.csv"


@pytest.fixture(scope="module")
def config() -> SyntheticConfig:
    return read_synthetic(CONFIG)


@pytest.fixture(scope="module")
def made(config: SyntheticConfig) -> list[Made]:
    world = World(config)
    return [world.sample("train", i) for i in range(3000)]


def test_labels_occur_together_as_in_mosei(
    config: SyntheticConfig, made: list[Made], shared: Path
) -> None:
    with (shared / TABLE).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    real = np.array([[float(row[label]) > 0 for label in config.labels] for row in rows])
    mine = np.stack([each.labels for each in made]) > 0.5
    np.testing.assert_allclose(mine.mean(axis=0), real.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(
        np.corrcoef(mine.T.astype(float)), np.corrcoef(real.T.astype(float)), atol=0.06
    )
    for count in range(4):
        share = (real.sum(axis=1) == count).mean()
        assert (mine.sum(axis=1) == count).mean() == pytest.approx(share, abs=0.03)


def test_noise_and_absence_are_as_configured(config: SyntheticConfig, made: list[Made]) -> None:
    missing = np.array([np.isnan(list(each.level.values())) for each in made])
    assert not missing.all(axis=1).any(), "one modality always stays"
    assert missing.mean() == pytest.approx(config.noise.missing, abs=0.02)
    kinds = {kind for each in made for kind in each.kind.values()}
    assert kinds == {"clean", "missing", *config.noise.kinds}
    levels = [x for each in made for x in each.level.values() if x > 0]
    low, high = config.noise.level
    assert low <= min(levels) and max(levels) <= high
    assert len(levels) / (3 * len(made)) == pytest.approx(
        config.noise.rate * (1 - config.noise.missing), abs=0.03
    )
    for each in made[:200]:
        for name, x in each.features.items():
            assert x.shape[1] == config.modalities[name].dim
            assert len(x) <= config.modalities[name].steps
            assert np.isfinite(x).all()


def test_unseen_kinds_are_in_every_sample_of_their_split_and_nowhere_else(
    config: SyntheticConfig,
) -> None:
    world = World(config)
    for i in range(100):
        kinds = set(world.sample("test-unseen", i).kind.values()) - {"clean", "missing"}
        assert kinds and kinds <= set(config.noise.unseen)


def test_a_sample_does_not_depend_on_the_others(config: SyntheticConfig) -> None:
    world = World(config)
    for _ in range(3):
        world.sample("train", 5)
    one, other = world.sample("train", 17), World(config).sample("train", 17)
    assert one.kind == other.kind
    for name, x in one.features.items():
        np.testing.assert_array_equal(x, other.features[name])
    assert not np.array_equal(world.sample("test", 17).labels, one.labels) or (
        world.sample("test", 17).id != one.id
    )


@pytest.mark.parametrize("kind", NOISE)
def test_each_kind_of_noise_grows_with_its_level(config: SyntheticConfig, kind: str) -> None:
    world = World(config)
    grown = []
    for i in range(20):
        clean = world.paired(i)[0]
        changes = []
        for level in (0.5, 1.5, 3.0):
            rng = np.random.default_rng(i)
            worse = world.degrade(clean, "voice", kind, level, rng)
            changes.append(np.abs(worse.features["voice"] - clean.features["voice"]).mean())
            np.testing.assert_array_equal(worse.features["face"], clean.features["face"])
        grown.append(changes)
    low, middle, high = np.mean(grown, axis=0)
    assert 0 < low < middle < high


def test_sets_are_written_with_what_is_known(tmp_path: Path) -> None:
    words = [str(CONFIG), "--out", str(tmp_path)]
    for split, count in (("train", 30), ("validation", 5), ("test", 5), ("test-unseen", 5)):
        words += ["--set", f"samples.{split}={count}"]
    assert main([*words, "--set", "samples.test-paired=2"]) == 0
    found, noise = read_shards(tmp_path / "train"), read_noise(tmp_path / "train")
    assert tuple(sample.id for sample in found) == noise.ids
    assert noise.modalities == found.spec.names
    for sample, level in zip(found, noise.level, strict=True):
        absent = {name for name, x in zip(noise.modalities, level, strict=True) if np.isnan(x)}
        assert set(sample.features) == set(found.spec.names) - absent
    paired = read_noise(tmp_path / "test-paired")
    assert len(paired.ids) == 2 * (1 + 3 * (1 + 7 * 4))
    assert "test-paired-000001/voice/gaussian/2.0" in paired.ids
    told = json.loads((tmp_path / "generation.json").read_text())
    config = SyntheticConfig.model_validate(told["configuration"])
    write_synthetic(config, tmp_path / "again")
    assert read_shards(tmp_path / "again" / "test").fingerprint == (
        read_shards(tmp_path / "test").fingerprint
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("noise.kinds=['hum']", "hum"),
        ("noise.unseen=['gaussian']", "overlap"),
        ("base_rate=[0.5]", "do not fit 6 labels"),
        ("colour=1", "colour"),
        ("samples.tset=3", "tset"),
    ],
)
def test_wrong_settings_are_named(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_synthetic(CONFIG, [change])


def test_other_sets_have_no_known_noise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"noise\.npz"):
        read_noise(tmp_path)
