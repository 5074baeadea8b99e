"""Checkpoints: what was saved comes back; every fault is told with its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lddu_model
from lddu_model.api import Calibration, Model
from lddu_model.checkpoint import save
from lddu_model.errors import CheckpointError
from tests.lddu_toys import LABELS, SMALL, SPEC, toy_samples


def saved(folder: Path, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    model = lddu_model.create("default", SPEC, LABELS, SMALL)
    model.net.set_normalisation(2, torch.full((9,), 0.5), torch.full((9,), 2.0))
    model.calibration = Calibration(
        tuple((0.5 + k, 1.0, 2.0) for k in range(8)),
        tuple((0.1, 0.25 * k, -0.1) for k in range(8)),
        (0.3, 1.0, 2.0, 3.0),
        (0.4, 1.0, 0.5, 1.5),
    )
    model.thresholds = (0.3, 0.5, 0.7)
    model.record = {"metrics": {"map": 0.5}}
    save(folder, model)
    return model


def tensors(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


def test_round_trip(tmp_path: Path) -> None:
    model = saved(tmp_path)
    for path in (tmp_path, tmp_path / "model.json", tensors(tmp_path)):
        again = lddu_model.load(path, SPEC)
        assert (again.labels, again.spec, again.variant) == (LABELS, SPEC, "default")
        assert (again.calibration, again.thresholds) == (model.calibration, model.thresholds)
        assert (again.record, again.hyper) == (model.record, model.hyper)
        before, after = model.predict(toy_samples(4)), again.predict(toy_samples(4))
        np.testing.assert_array_equal(before.probability, after.probability)
        np.testing.assert_array_equal(before.modality_variance, after.modality_variance)


def test_saving_again_replaces_and_leaves_other_files(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    second = saved(tmp_path, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["README.md", "model.json", tensors(tmp_path).name]
    )
    np.testing.assert_array_equal(
        lddu_model.load(tmp_path).predict(toy_samples(1)).logit,
        second.predict(toy_samples(1)).logit,
    )


def test_crash_while_saving_leaves_the_previous_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saved(tmp_path)

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("lddu_model.checkpoint.write_text", crash)
    with pytest.raises(OSError, match="disk full"):
        saved(tmp_path, seed=1)
    np.testing.assert_array_equal(
        lddu_model.load(tmp_path).predict(toy_samples(1)).logit,
        first.predict(toy_samples(1)).logit,
    )


def test_other_spec_names_both_and_what_differs(tmp_path: Path) -> None:
    saved(tmp_path)
    other = replace(
        SPEC,
        name="toy-2",
        modalities=(*SPEC.modalities[:2], replace(SPEC["face"], dim=10, sha256="abc")),
    )
    with pytest.raises(CheckpointError) as caught:
        lddu_model.load(tmp_path, other)
    for part in ("'toy'", "'toy-2'", "face.dim: 9 against 10", "face.sha256", "model.json"):
        assert part in str(caught.value)


def change(key: str, value: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.json"
        plain = json.loads(path.read_text())
        *parents, last = key.split(".")
        node = plain
        for part in parents:
            node = node[part]
        node[last] = value
        path.write_text(json.dumps(plain))

    return edit


def edit_tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(tensors(folder))
        edit(state)
        save_file(state, tensors(folder))

    return apply


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name if name else tensors(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return apply


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no json": (lambda f: (f / "model.json").unlink(), r"model\.json is missing"),
    "no tensors": (lambda f: tensors(f).unlink(), r"model-\w+\.safetensors cannot be read"),
    "json cut": (cut("model.json", 0.5), r"model\.json cannot be read"),
    "tensors cut": (cut("", 0.5), r"model-\w+\.safetensors cannot be read"),
    "tensors empty": (cut("", 0.0), r"model-\w+\.safetensors cannot be read"),
    "unknown key": (change("colour", 1), r"model\.json is not a valid.*colour"),
    "wrong type": (change("thresholds", "high"), r"thresholds"),
    "format": (change("format", 99), r"format 99, this version reads format 3"),
    "variant": (change("variant", "papre"), r"unknown variant 'papre'"),
    "hyper": (change("hyper.widht", 3), r"model\.json: hyper-parameters.*\s.*widht"),
    "spec": (change("spec", {"name": "x"}), r"model\.json: not a feature spec"),
    "spec changed": (change("spec.name", "x"), r"spec and spec_digest contradict"),
    "thresholds": (change("thresholds", [0.5]), r"one number per label"),
    "combinations": (change("calibration.scale", [[1.0] * 3] * 7), r"label and combination"),
    "scale": (change("calibration.scale", [[0.0] * 3] * 8), r"not positive"),
    "no number": (change("calibration.shift", [[float("nan")] * 3] * 8), r"shift.*finite"),
    "labels": (change("labels", ["a", "a", "b"]), r"different names"),
    "missing tensor": (edit_tensors(lambda s: s.pop("bias")), r"tensor bias is missing"),
    "unknown tensor": (
        edit_tensors(lambda s: s.update(extra=torch.zeros(1))),
        r"tensor extra is unknown",
    ),
    "shape": (
        edit_tensors(lambda s: s.update(bias=torch.zeros(2, 2))),
        r"tensor bias has shape \(2, 2\), expected \(3, 3\)",
    ),
    "not finite": (edit_tensors(lambda s: s["bias"].fill_(torch.nan)), r"bias is not finite"),
    "other values": (edit_tensors(lambda s: s["bias"].fill_(7.0)), r"sha256"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_is_told_with_its_file(tmp_path: Path, fault: str) -> None:
    saved(tmp_path)
    break_it, message = FAULTS[fault]
    break_it(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        lddu_model.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere"):
        lddu_model.load(tmp_path / "nowhere")
    saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"belongs to model-\w+\.safetensors, not to"):
        lddu_model.load(tmp_path / "other.safetensors")
