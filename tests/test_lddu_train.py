"""A training run from feature sets to a checkpoint: settings, results, interruption."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lddu_model
from lddu_model.config import read_config
from lddu_model.errors import ConfigError, run_command
from lddu_model.evaluation import score
from lddu_model.train import main
from tests.lddu_toys import LABELS, SPEC, toy_samples, write_config, write_set

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One set per modality."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        name: write_set(folder / name, toy_samples(240, (name,), seed=i, prefix=name))
        for i, name in enumerate(SPEC.names)
    }


def test_run_learns_and_leaves_everything(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "toy.toml", sets)
    assert main([str(config)]) == 0
    assert "kept in" in capsys.readouterr().out
    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == {"best", "curves.png", "metrics.json"}
    model = lddu_model.load(out / "best", SPEC)
    # Unseen samples with all three modalities, which no set has.
    fresh = score(model, toy_samples(300, seed=99))
    assert fresh["map"] > 0.9
    assert fresh["macro_f1"] > 0.8
    record = model.record
    assert [each["name"] for each in record["data"]] == list(SPEC.names)
    assert set(record["metrics"]["validation"]) == {*SPEC.names, "mixed"}
    assert set(record["metrics"]["test"]) == set(SPEC.names)
    assert record["metrics"]["test"]["face"]["thresholds of the checkpoint"]["samples"] == 48
    history = json.loads((out / "metrics.json").read_text())["history"]
    assert history[-1]["total"] < history[0]["total"]
    card = (out / "best" / "README.md").read_text()
    assert "## Test: face" in card
    assert str(tmp_path) not in card + (out / "best" / "model.json").read_text()


def test_more_modalities_are_more_certain_after_training(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    main([str(write_config(tmp_path / "toy.toml", sets))])
    model = lddu_model.load(tmp_path / "run" / "best")
    whole = toy_samples(200, seed=7)
    face = toy_samples(200, ("face",), seed=7)
    assert model.predict(whole).variance.mean() < model.predict(face).variance.mean()


def test_same_seed_same_run(sets: dict[str, Path], tmp_path: Path) -> None:
    said = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = write_config(tmp_path / f"{name}.toml", {"face": sets["face"]})
        out = tmp_path / name
        change = ["--set", f"seed={seed}", "--set", "optim.epochs=1"]
        assert main([str(config), "--out", str(out), *change]) == 0
        said.append(lddu_model.load(out / "best").predict(toy_samples(3)).logit)
    np.testing.assert_array_equal(said[0], said[1])
    assert np.abs(said[0] - said[2]).max() > 1e-3


def test_training_stops_early(sets: dict[str, Path], tmp_path: Path) -> None:
    extra = "[optim]\nepochs = 30\nbatch = 32\nlearning_rate = 1e-9\npatience = 2\n"
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]}, extra)
    assert main([str(config)]) == 0
    history = json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]
    assert len(history) < 10


def test_divergence_is_an_error(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "[optim]\nlearning_rate = 1e30\nwarmup = 0.0\n"
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]}, extra)
    assert run_command(lambda: main([str(config)])) == 2
    assert "training diverged" in capsys.readouterr().err


def interrupted(config: Path, out: Path, when: Callable[[], bool]) -> tuple[int, str]:
    """Exit status and messages of a run that gets Ctrl-C once `when` is true."""
    with subprocess.Popen(
        [sys.executable, "-m", "lddu_model.train", str(config), "--out", str(out)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines = []
        assert process.stdout is not None
        sent = False
        while line := process.stdout.readline():
            lines.append(line)
            if not sent and when():
                process.send_signal(signal.SIGINT)
                sent = True
        return process.wait(60), "".join(lines)


def test_interruption_keeps_the_best_so_far(sets: dict[str, Path], tmp_path: Path) -> None:
    extra = "[optim]\nepochs = 1000\nbatch = 32\nlearning_rate = 1e-4\npatience = 1000\n"
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]}, extra)
    out = tmp_path / "out"
    status, said = interrupted(config, out, (out / "best" / "model.json").exists)
    assert status == 130, said
    assert "interrupted: the best epoch so far is" in said
    model = lddu_model.load(out / "best", SPEC)
    assert model.record["metrics"]["test"]["face"]
    assert (out / "curves.png").exists()


def test_bar_is_quiet_without_terminal(sets: dict[str, Path], tmp_path: Path) -> None:
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]})
    words = [sys.executable, "-m", "lddu_model.train", str(config), "--set", "optim.epochs=1"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "step" not in done.stderr
    assert "epoch 1: loss" in done.stdout


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("colour = 1\n", [], r"toy\.toml has wrong settings:\s+colour: unknown key"),
        ("[optim]\nlr = 1\n", [], r"optim\.lr: unknown key"),
        ("[loss]\ncontrast = -1\n", [], r"loss\.contrast: .*greater than or equal to 0"),
        ("seed = 'one'\n", [], r"seed: .*integer"),
        ("seed = \n", [], r"toy\.toml is not valid TOML"),
        ("", ["optim.lr=3"], r"--set optim\.lr=3 has wrong settings:\s+optim\.lr: unknown key"),
        ("", ["data.7.weight=3"], r"--set data\.7\.weight=3: no such key"),
        ("", ["seed"], r"expected key=value"),
        ("", ["data.0.name='face'", "data.1.name='face'"], r"different names"),
    ],
)
def test_wrong_settings_name_key_and_file(
    tmp_path: Path, text: str, changes: list[str], message: str
) -> None:
    sets = {"face": tmp_path / "a", "voice": tmp_path / "b"}
    config = write_config(tmp_path / "toy.toml", sets, text)
    with pytest.raises(ConfigError, match=message):
        read_config(config, changes)


def test_changes_from_the_command_line(tmp_path: Path) -> None:
    config = write_config(tmp_path / "toy.toml", {"face": tmp_path / "a"})
    changed = read_config(config, ["optim.epochs=3", "data.0.path=elsewhere", "model.width=32"])
    assert changed.optim.epochs == 3
    assert changed.data[0].path == Path("elsewhere")
    assert changed.model["width"] == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.0.path=nowhere", "no feature set at nowhere"),
        ("data.0.test_groups=['g9']", r"has no groups \['g9'\]"),
        ("labels=['happy', 'fear']", r"knows labels .* not \['fear'\]"),
        ("variant=papre", "unknown model variant"),
        ("model.widht=3", "widht"),
        ("data.0.weight=0", "no data set has training samples"),
        ("data.0.validation=0", "no data set has validation samples"),
    ],
)
def test_wrong_run_is_one_clear_error(
    sets: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    message: str,
) -> None:
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]})
    assert run_command(lambda: main([str(config), "--set", change])) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert re.search(message, said)
    assert not (tmp_path / "run").exists()


def test_labels_of_a_set_are_put_in_the_order_of_the_run(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    config = write_config(tmp_path / "toy.toml", {"face": sets["face"]})
    assert main([str(config), "--set", "labels=['anger', 'happy']", "--set", "optim.epochs=1"]) == 0
    model = lddu_model.load(tmp_path / "run" / "best")
    assert model.labels == ("anger", "happy")
    first = model.record["data"][0]["train_positives"]
    main([str(config)])
    second = lddu_model.load(tmp_path / "run" / "best").record["data"][0]["train_positives"]
    assert first == {name: second[name] for name in ("anger", "happy")}
    assert set(second) == set(LABELS)
