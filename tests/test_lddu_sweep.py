"""Baselines, sweeps and every configuration that is shipped: loaded, and run on small sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lddu_model import Sample, baselines, sweep
from lddu_model.baselines import Vectors, fit_logistic, fit_mlp, pooled
from lddu_model.config import read_config
from lddu_model.data.sets import stacked_labels
from lddu_model.data.shards import ShardWriter
from lddu_model.errors import ConfigError, run_command
from lddu_model.metrics import auroc
from lddu_model.predictions import TEST, Predictions
from lddu_model.sweep import config_of, read_sweep, run_sweep
from lddu_model.train import train
from tests.conftest import PROJECT
from tests.lddu_toys import LABELS, SPEC, toy_samples, write_config, write_set

CONFIGS = sorted((PROJECT / "configs").glob("train-*.toml"))
SWEEPS = sorted((PROJECT / "configs").glob("sweep-*.toml"))


def split_sets(folder: Path, labels: tuple[str, ...] = LABELS) -> dict[str, Path]:
    """Train, validation and test; labels beyond the toys' own are copies of these."""
    found = {}
    for seed, (split, count) in enumerate((("train", 120), ("validation", 60), ("test", 60))):
        found[split] = folder / split
        with ShardWriter(found[split], SPEC, labels) as writer:
            for each in toy_samples(count, seed=seed, prefix=split):
                assert each.labels is not None
                mine = np.resize(each.labels, len(labels))
                writer.add(Sample(each.features, each.mask, mine, each.id, each.group))
    return found


def paths(sets: dict[str, Path], which: int = 0) -> list[str]:
    keys = {"train": "path", "validation": "validation", "test": "test"}
    return [f"data.{which}.{keys[split]}={path}" for split, path in sets.items()]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_training_configurations_run(path: Path, tmp_path: Path) -> None:
    config = read_config(path)
    changes = ["optim.epochs=1", "optim.samples_per_epoch=32", "optim.batch=16", "seeds=[1]"]
    changes += [f"out={tmp_path / 'run'}", "device=cpu", "threads=1"]
    for which, each in enumerate(config.data):
        sets = split_sets(tmp_path / each.name, config.labels)
        changes += paths(sets, which)
        changes += [f"data.{which}.validation_groups=[]", f"data.{which}.test_groups=[]"]
        # Samples of several sets may not share an id on two sides; these are sets of their own.
    assert train(read_config(path, changes)) == 0
    assert (tmp_path / "run" / "evaluation" / config.data[0].name / "evaluation.md").exists()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_are_consistent(path: Path) -> None:
    found = read_sweep(path)
    for run in found.run:
        config = config_of(found, run)
        assert config.seeds == found.seeds
        assert config.out.parent == found.out
    assert len(found.seeds) >= 3


def small_sweep(tmp_path: Path) -> Path:
    sets = split_sets(tmp_path / "sets")
    base = write_config(tmp_path / "toy.toml", {"toy": sets["train"]})
    base.write_text(base.read_text().replace('validation = 0.25\ntest_groups = ["g0"]\n', ""))
    path = tmp_path / "sweep.toml"
    text = f'''
config = "toy.toml"
out = "{tmp_path / "sweep"}"
seeds = [1, 2]
reference = "default"
resamples = 100
set = {json.dumps([*paths(sets), "optim.epochs=2"])}
[[run]]
name = "default"
[[run]]
name = "no ranking"
set = ["loss.ranking=0"]
[[run]]
name = "logistic"
baseline = "logistic"
'''
    path.write_text(text)
    return path


def test_sweep_compares_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_sweep(tmp_path)
    assert sweep.main([str(path), "--only", "default"]) == 0
    assert "Not finished: no ranking, logistic" in capsys.readouterr().out
    first = tmp_path / "sweep" / "default" / "seed-1" / "metrics.json"
    before = first.stat().st_mtime_ns
    assert sweep.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert first.stat().st_mtime_ns == before, "a finished run is kept"
    assert "| no ranking |" in said
    report = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    runs = report["data"]["toy"]
    assert set(runs) == {"default", "no ranking", "logistic"}
    assert len(runs["default"]["scores"]["mAP"]["values"]) == 2
    against = runs["logistic"]["reference_minus_this"]
    assert "AUROC(variance, wrong)" not in against, "it has none"
    mine, other = (runs[name]["scores"]["mAP"]["mean"] for name in ("default", "logistic"))
    assert against["mAP"]["difference"] == pytest.approx(mine - other, abs=2e-4)
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert run_sweep(read_sweep(path), report_only=True) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reference = "default"', 'reference = "x"', "none of the runs"),
        ("resamples = 100", "colour = 1", "colour"),
        ('name = "logistic"', 'name = "default"', "different names"),
        ("loss.ranking=0", "loss.rank=0", r"run 'no ranking': .*loss\.rank: unknown key"),
    ],
)
def test_wrong_sweeps_are_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    path = small_sweep(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        run_sweep(read_sweep(path))
    assert not (tmp_path / "sweep").exists()
    assert run_command(lambda: sweep.main([str(tmp_path / "no.toml")])) == 2
    assert "no.toml cannot be read" in capsys.readouterr().err


def test_pooling() -> None:
    x = np.array([[1, 2], [3, 4], [5, 9]], dtype=np.float32)
    spec = SPEC.from_dict(
        {"name": "p", "modalities": [
            {"name": "a", "dim": 2, "steps": 3, "rate": None, "extractor": "x"},
            {"name": "b", "dim": 1, "steps": 3, "rate": None, "extractor": "x"},
        ]}
    )  # fmt: skip
    sample = Sample({"a": x}, {"a": np.array([True, True, False])})
    nan = np.nan
    np.testing.assert_array_equal(pooled([sample], spec, "last"), [[3, 4, nan]])
    np.testing.assert_array_equal(pooled([sample], spec, "mean"), [[2, 3, nan]])
    np.testing.assert_array_equal(pooled([sample], spec, "last+before"), [[3, 4, 1, 2, nan, nan]])
    scaled = Vectors(np.array([[0, nan], [2, nan]], dtype=np.float32))
    np.testing.assert_array_equal(
        scaled(np.array([[1, 5], [3, nan]], np.float32)), [[0, 5], [2, 0]]
    )


def test_baselines_learn_and_the_constant_label_is_its_base_rate() -> None:
    parts = [toy_samples(200, seed=seed) for seed in (0, 1)]
    x = [pooled(samples, SPEC, "mean") for samples in parts]
    scale = Vectors(x[0])
    y = [stacked_labels(samples) for samples in parts]
    y[0][:, 2] = 0
    for fit in (fit_logistic, fit_mlp):
        found = fit(scale(x[0]), y[0], scale(x[1]), y[1], 1)
        said = found.predict(scale(x[1]))
        assert said.shape == (200, 3)
        assert auroc(y[1][:, 0], said[:, 0]) > 0.95
        assert said[:, 2].max() < 0.2
        assert found.chosen


def test_baseline_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = split_sets(tmp_path / "sets")
    config = write_config(tmp_path / "toy.toml", {"toy": sets["train"]})
    config.write_text(config.read_text().replace('validation = 0.25\ntest_groups = ["g0"]\n', ""))
    words = [str(config), *(w for change in paths(sets) for w in ("--set", change))]
    out = tmp_path / "b"
    assert baselines.main([*words, "--kind", "logistic", "--out", str(out)]) == 0
    assert "reports are in" in capsys.readouterr().out
    found = Predictions.load(out / "evaluation" / "toy" / TEST)
    assert found.variance is None
    assert len(found) == 60
    words = [str(write_config(tmp_path / "t2.toml", {"toy": write_set(tmp_path / "s", [])}))]
    assert run_command(lambda: baselines.main([*words, "--kind", "mlp"])) == 2
