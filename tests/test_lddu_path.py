"""The path a user walks: files as published -> convert -> labels -> train -> evaluate -> report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lddu_model import evaluate, labels
from lddu_model.data import convert
from lddu_model.data.shards import read_shards
from lddu_model.train import main as train
from tests.conftest import PROJECT
from tests.lddu_layouts import made_clips, mmsa_tree, write_m3ed, write_pickle, write_table

SHORT = ("optim.epochs=1", "optim.samples_per_epoch=32", "optim.batch=16", "seeds=[]", "threads=1")
SERIES = {"train": {"one": 12, "two": 8}, "val": {"three": 8}, "test": {"four": 8}}


def walk(config: str, sets: Path, out: Path, *changes: str) -> dict[str, object]:
    """Train on converted sets, evaluate the checkpoint; returns the report's ``about``."""
    parts = {"path": "train", "validation": "validation", "test": "test"}
    settings = [*SHORT, *changes, *(f"data.0.{k}={sets / v}" for k, v in parts.items())]
    words = [word for change in settings for word in ("--set", change)]
    assert train([str(PROJECT / "configs" / config), "--out", str(out), *words]) == 0
    words = ["--set", str(sets / "test"), "--validation", str(sets / "validation")]
    report = out / "report"
    words += ["--resamples", "50", "--out", str(report)]
    assert evaluate.main([str(out / "best"), *words]) == 0
    assert {path.name for path in report.iterdir()} == {
        f"evaluation.{kind}" for kind in ("md", "json", "png")
    }
    found = json.loads((report / "evaluation.json").read_text())
    assert found["runs_scored"][0]["samples"] > 5
    about: dict[str, object] = found["about"]
    return about


@pytest.mark.parametrize("variant", ["default", "paper"])
def test_mmsa(tmp_path: Path, variant: str) -> None:
    clips = made_clips({"train": 40, "valid": 20, "test": 20})
    file = write_pickle(tmp_path / "aligned_50.pkl", mmsa_tree(clips))
    table = write_table(tmp_path / "labels.csv", clips)
    sets = tmp_path / "mosei"
    assert convert.main(["mmsa", str(file), "--part", "--out", str(sets)]) == 0
    assert labels.main([str(sets), str(table), "--part"]) == 0
    small = [] if variant == "default" else [
        "variant=paper", "loss={}", "model={width=16, layers=1, heads=2, latent=8, queue=64}",
    ]  # fmt: skip
    about = walk("train-mosei.toml", sets, tmp_path / "run", *small)
    assert about["source"]


@pytest.mark.parametrize("protocol", ["utterance", "dialogue"])
def test_m3ed(tmp_path: Path, protocol: str) -> None:
    write_m3ed(tmp_path / "m3ed", SERIES)
    files = [str(tmp_path / "m3ed" / x) for x in ("annotation.json", "splitInfo", "features.pkl")]
    sets = tmp_path / "set"
    words = ["--protocol", protocol, "--context", "3", "--out", str(sets)]
    assert convert.main(["m3ed", *files, *words]) == 0
    about = walk("train-m3ed.toml", sets, tmp_path / "run")
    assert f"per {protocol}" in str(about["protocol"])


@pytest.mark.parametrize(
    ("kind", "folder", "label", "least"),
    [("mosi-csv", "mosi_bclstm", "positive", 0.75), ("emotions-arff", "emotions_arff", None, 0.60)],
)
def test_small_real_sets(
    shared: Path, tmp_path: Path, kind: str, folder: str, label: str | None, least: float
) -> None:
    """A smoke test on real data; mAP of the test part (by chance .51 and .31)."""
    sets = tmp_path / "sets"
    assert convert.main([kind, str(shared / "data" / folder), "--out", str(sets)]) == 0
    names = [label] if label else list(read_shards(sets / "train").labels)
    config = tmp_path / "small.toml"
    config.write_text(
        f'name = "small"\nout = "{tmp_path / "run"}"\nlabels = {names}\nthreads = 1\n'
        "[model]\nwidth = 32\nheads = 2\nlayers = 1\nfeed_forward = 32\nlatent = 16\n"
        "linear = true\ndropout = 0.3\n[optim]\nepochs = 6\nbatch = 32\nlearning_rate = 2e-3\n"
        "[mix]\nrate = 0.0\n"
        f'[[data]]\nname = "small"\npath = "{sets / "train"}"\nvalidation = 0.2\n'
        f'test = "{sets / "test"}"\n'
    )
    assert train([str(config)]) == 0
    report = tmp_path / "run" / "evaluation" / "small" / "evaluation.json"
    found = json.loads(report.read_text())["over_runs"]["mAP"]["mean"]
    assert found > least
