"""Calibrating a checkpoint on data of another kind, by the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lddu_model
from lddu_model.calibrate import main
from lddu_model.calibration import MAX_SCALE
from lddu_model.checkpoint import save
from lddu_model.data.sets import stacked_labels
from lddu_model.errors import run_command
from lddu_model.evaluation import choose, predict_all
from tests.lddu_toys import LABELS, SMALL, SPEC, toy_samples, write_set


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = lddu_model.create("default", SPEC, LABELS, SMALL)
    choose(model, {"toy": toy_samples(200)})
    save(tmp_path / "checkpoint", model)
    return tmp_path / "checkpoint"


def test_other_base_rates_are_met(checkpoint: Path, tmp_path: Path) -> None:
    often = [
        replace(s, labels=1 - s.labels) for s in toy_samples(400, seed=4) if s.labels is not None
    ]
    folder = write_set(tmp_path / "mine", often)
    before = lddu_model.load(checkpoint)
    assert main([str(checkpoint), "--set", str(folder), "--out", str(tmp_path / "new")]) == 0
    after = lddu_model.load(tmp_path / "new")
    rate = stacked_labels(often).mean(axis=0)
    assert np.abs(predict_all(after, often).probability.mean(axis=0) - rate).max() < 0.05
    assert np.abs(predict_all(before, often).probability.mean(axis=0) - rate).max() > 0.2
    assert after.record["calibrated"]["sets"][0]["samples"] == 400
    assert "mine" in (tmp_path / "new" / "README.md").read_text()
    for name, tensor in before.net.state_dict().items():
        assert tensor.equal(after.net.state_dict()[name]), name


@pytest.mark.parametrize("seed", [10, 32, 56])
def test_base_rates_are_met_by_what_hardly_says_anything(seed: int) -> None:
    """A network whose logits hardly differ wants a larger scale than there may be."""
    torch.manual_seed(seed)
    model = lddu_model.create("default", SPEC, LABELS, SMALL)
    samples = [
        replace(s, labels=1 - s.labels) for s in toy_samples(400, seed=4) if s.labels is not None
    ]
    said = choose(model, {"toy": samples})["toy"]
    assert np.max(model.calibration.scale) == pytest.approx(MAX_SCALE)
    rate = stacked_labels(samples).mean(axis=0)
    np.testing.assert_allclose(said.probability.mean(axis=0), rate, atol=0.01)


def test_other_base_rates_of_what_is_seen_alone_are_met() -> None:
    model = lddu_model.create("default", SPEC, LABELS, SMALL)
    faces = [
        replace(s, labels=1 - s.labels)
        for s in toy_samples(400, ("face",), seed=5, signal=0.0)
        if s.labels is not None
    ]
    views = {"words": toy_samples(400, ("words",), signal=0.0), "face": faces}
    choose(model, views)
    for samples in views.values():
        rate = stacked_labels(samples).mean(axis=0)
        assert np.abs(predict_all(model, samples).probability.mean(axis=0) - rate).max() < 0.03


def test_faults_are_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_set(tmp_path / "bare", [replace(s, labels=None) for s in toy_samples(5)])
    words = [str(checkpoint), "--out", str(tmp_path / "new"), "--set"]
    assert run_command(lambda: main([*words, str(bare)])) == 2
    assert "no labelled samples" in capsys.readouterr().err
    assert run_command(lambda: main([*words, str(bare), str(bare)])) == 2
    assert "different names" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
