"""Fitting a checkpoint to the data of a training configuration without training, by the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lddu_model
from lddu_model import refit, train
from lddu_model.errors import run_command
from tests.lddu_toys import toy_samples, write_config, write_set


def test_weights_stay_and_the_rest_is_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noisier faces than before become usual, and other base rates are met."""
    face = toy_samples(300, ("face",), prefix="face")
    first = write_config(
        tmp_path / "a.toml",
        {"face": write_set(tmp_path / "face", face)},
        extra="[optim]\nepochs = 1\nbatch = 32",
    )
    change = ["--set", "model.novelty=true"]
    assert train.main([str(first), "--out", str(tmp_path / "a"), *change]) == 0
    rng = np.random.default_rng(0)

    def noisy(count: int, seed: int) -> list[lddu_model.Sample]:
        return [
            replace(
                s,
                features={
                    k: x + rng.normal(0, 4, x.shape).astype(np.float32)
                    for k, x in s.features.items()
                },
                labels=None if s.labels is None else 1 - s.labels,
            )
            for s in toy_samples(count, ("face",), seed=seed, prefix="noisy")
        ]

    second = write_config(
        tmp_path / "b.toml", {"face": write_set(tmp_path / "noisy", noisy(300, 3))}
    )
    arguments = [str(tmp_path / "a" / "best"), str(second), "--out", str(tmp_path / "b"), *change]
    assert refit.main(arguments) == 0
    before, after = (lddu_model.load(tmp_path / name) for name in ("a/best", "b"))
    fresh = noisy(200, 9)
    novel = [float((each.predict(fresh).novelty > 1e-6).mean()) for each in (before, after)]
    assert novel[1] < 0.05
    assert novel[0] > 0.3
    truth = np.mean([s.labels for s in fresh if s.labels is not None], axis=0)
    off = [
        float(np.abs(each.predict(fresh).probability.mean(axis=0) - truth).max())
        for each in (before, after)
    ]
    assert off[1] < 0.2
    assert off[0] > 0.3
    new = after.net.state_dict()
    for name, tensor in before.net.state_dict().items():
        if not name.endswith(("novelty.known", "novelty.limit")):
            assert tensor.equal(new[name]), name
    kept = tmp_path / "kept"
    assert refit.main([*arguments[:3], str(kept), *change, "--keep-calibration"]) == 0
    usual = lddu_model.load(kept)
    assert (usual.calibration, usual.thresholds) == (before.calibration, before.thresholds)
    np.testing.assert_array_equal(usual.predict(fresh).novelty, after.predict(fresh).novelty)
    assert set(after.record["metrics"]["test"]) == {"face"}
    assert "calibrated anew on" in (tmp_path / "b" / "README.md").read_text()

    other = write_config(tmp_path / "c.toml", {"face": tmp_path / "face"})
    arguments = [str(tmp_path / "a/best"), str(other), "--out", str(tmp_path / "c")]
    assert run_command(lambda: refit.main([*arguments, "--set", 'labels=["happy"]'])) == 2
    assert "knows the labels" in capsys.readouterr().err
