"""A training run from feature sets to a checkpoint: settings, results, interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lddu_model
from lddu_model import Sample
from lddu_model.config import OptimConfig, read_config
from lddu_model.errors import ConfigError, DataError, run_command
from lddu_model.evaluation import score
from lddu_model.optim import Optimiser, warm_cosine
from lddu_model.report import read_metrics
from lddu_model.resume import load_state
from lddu_model.train import main
from lddu_model.trainer import Trainer
from tests.lddu_toys import LABELS, SPEC, toy_samples, write_config, write_set

PROJECT = Path(__file__).parent.parent
PAPER = [
    word
    for change in (
        "model={width=16, heads=2, layers=1, latent=8, latent_hidden=8, queue=100}",
        "optim.bias_correction=false",
        "optim.clip_each=1.0",
    )
    for word in ("--set", change)
]


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
    assert {path.name for path in out.iterdir()} == {
        "best",
        "curves.png",
        "evaluation",
        "metrics.json",
        "tensorboard",
    }
    assert list((out / "tensorboard").iterdir())
    assert (out / "evaluation" / "face" / "evaluation.md").exists()
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
    face = [replace(s, features={"face": s.features["face"]}) for s in whole]
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


def quick(path: Path, sets: dict[str, Path], extra: str = "", epochs: int = 5) -> Path:
    optim = f"[optim]\nepochs = {epochs}\nbatch = 32\nlearning_rate = 5e-3\npatience = 9\n"
    return write_config(path, {"face": sets["face"]}, extra + optim)


Step = Callable[[Trainer, Sequence[Sample]], dict[str, Tensor]]


def interrupting(step: Step) -> Step:
    """`step`, but Ctrl-C in the second step of epoch 3."""
    calls = iter(range(1000))

    def interrupt(self: Trainer, samples: Sequence[Sample]) -> dict[str, Tensor]:
        if next(calls) == 2 * self.steps + 1:
            raise KeyboardInterrupt
        return step(self, samples)

    return interrupt


def test_interrupted_run_goes_on_bit_by_bit(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of epoch 3; the epoch is repeated, and everything else is the same."""
    for variant in ("default", "paper"):
        hyper = "" if variant == "default" else 'variant = "paper"\n'
        config = quick(tmp_path / f"{variant}.toml", sets, hyper)
        change = [] if variant == "default" else PAPER
        whole, broken = tmp_path / f"{variant}-whole", tmp_path / f"{variant}-broken"
        assert main([str(config), "--out", str(whole), *change]) == 0
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", interrupting(Trainer._step))
            assert main([str(config), "--out", str(broken), *change]) == 130
        assert len(read_metrics(broken)["history"]) == 2
        assert main([str(config), "--out", str(broken), "--resume", *change]) == 0
        for row, other in zip(
            read_metrics(whole)["history"], read_metrics(broken)["history"], strict=True
        ):
            assert {**row, "seconds": 0} == {**other, "seconds": 0}
        tensors = [
            next((folder / "best").glob("model-*.safetensors")) for folder in (whole, broken)
        ]
        assert tensors[0].read_bytes() == tensors[1].read_bytes()
        assert not (broken / "state").exists()
        before = (broken / "metrics.json").stat().st_mtime_ns
        assert main([str(config), "--out", str(broken), "--resume", *change]) == 0
        assert (broken / "metrics.json").stat().st_mtime_ns == before, "finished: nothing to do"


def test_state_of_another_run_is_refused(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = quick(tmp_path / "toy.toml", sets, epochs=2)
    trainer = Trainer(read_config(config))
    trainer.run()
    words = [str(config), "--resume"]
    assert run_command(lambda: main([*words, "--set", "optim.learning_rate=1e-3"])) == 2
    assert "another configuration" in capsys.readouterr().err
    state = trainer.state_folder / "state.json"
    state.write_text(state.read_text()[:-20])
    assert run_command(lambda: main(words)) == 2
    said = capsys.readouterr().err
    assert str(state) in said
    assert "train anew" in said


def test_several_seeds_give_mean_and_deviation(sets: dict[str, Path], tmp_path: Path) -> None:
    config = quick(tmp_path / "toy.toml", sets, epochs=2)
    assert main([str(config), "--seeds", "1", "2", "3"]) == 0
    out = tmp_path / "run"
    values = [
        json.loads((out / f"seed-{k}" / "best" / "model.json").read_text())["record"]["metrics"][
            "test"
        ]["face"]["thresholds of the checkpoint"]["map"]
        for k in (1, 2, 3)
    ]
    report = json.loads((out / "evaluation" / "face" / "evaluation.json").read_text())
    found = report["over_runs"]["mAP"]
    assert found["values"] == values
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    assert found["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert found["sd"] > 0
    assert "seed-2" in (out / "evaluation" / "face" / "evaluation.md").read_text()


def run_in(words: list[str], tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=PROJECT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "i")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_two_processes_train_one_model(sets: dict[str, Path], tmp_path: Path) -> None:
    config = quick(tmp_path / "toy.toml", sets, epochs=16)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    train = ["lddu_model.train", str(config)]
    said = run_in([*torchrun, *train], tmp_path)
    assert said.count("kept in") == 1, "one process talks"
    history = read_metrics(tmp_path / "run")["history"]
    assert history[-1]["total"] < history[0]["total"]
    model = lddu_model.load(tmp_path / "run" / "best")
    assert score(model, toy_samples(200, ("face",), seed=9))["map"] > 0.8
    assert "finished already" in run_in([*torchrun, *train, "--resume"], tmp_path)


def test_processes_average_their_gradients(sets: dict[str, Path], tmp_path: Path) -> None:
    """After training apart they would differ; the state of each holds the same network."""
    config = quick(tmp_path / "toy.toml", sets, epochs=2)
    code = tmp_path / "both.py"
    code.write_text(
        "import sys\n"
        "from lddu_model.config import read_config\n"
        "from lddu_model.ranks import joined\n"
        "from lddu_model.trainer import Trainer\n"
        "with joined('cpu') as ranks:\n"
        "    Trainer(read_config(sys.argv[1]), ranks).run()\n"
    )
    run_in(
        ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(code), str(config)],
        tmp_path,
    )
    states = [load_state(tmp_path / "run" / "state" / f"rank-{rank}") for rank in (0, 1)]
    assert states[0] is not None and states[1] is not None
    names = [name for name in states[0].tensors if name.startswith(("net.", "adam."))]
    assert len(names) > 20
    for name in names:
        assert torch.equal(states[0].tensors[name], states[1].tensors[name]), name
    assert states[0].plain["draws"] != states[1].plain["draws"], "each draws its own samples"


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_runs(sets: dict[str, Path], tmp_path: Path) -> None:
    config = quick(tmp_path / "toy.toml", sets, "compile = true\n", epochs=1)
    small = ["--set", "variant=transformer", "--set", "model.heads=2", "--set", "model.layers=1"]
    for key in ("latent",):  # the toy's hyper-parameters are those of default
        text = config.read_text()
        config.write_text(re.sub(rf"^{key} = .*\n", "", text, flags=re.MULTILINE))
    assert "kept in" in run_in(["lddu_model.train", str(config), *small], tmp_path)


def test_adam_without_bias_correction_is_the_literal_formula() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3)
    config = OptimConfig(
        learning_rate=1e-2, weight_decay=0.1, bias_correction=False, eps=1e-6, clip=1e9, warmup=0.0
    )
    optimiser = Optimiser(net, config, total=100)
    weight = net.weight.detach().double().numpy().copy()
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(20):
        net.zero_grad()
        (net(torch.randn(5, 4)) ** 2).sum().backward()
        assert net.weight.grad is not None
        gradient = net.weight.grad.double().numpy().copy()
        rate = optimiser.rate
        optimiser.step()
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight -= rate * (first / (np.sqrt(second) + 1e-6) + 0.1 * weight)
        np.testing.assert_allclose(net.weight.detach().numpy(), weight, rtol=1e-4, atol=1e-6)
        assert rate == pytest.approx(1e-2 * warm_cosine(config, 100, step))


def test_gradients_are_clipped_each_and_together() -> None:
    net = torch.nn.Linear(2, 2)
    config = OptimConfig(clip_each=0.5, clip=0.1)
    for parameter, size in ((net.weight, 30.0), (net.bias, 0.3)):
        parameter.grad = torch.full_like(parameter, size)
    together = float(Optimiser(net, config, 10).step())
    assert together == pytest.approx((0.5**2 + 2 * 0.3**2) ** 0.5, rel=1e-4)
    assert net.weight.grad is not None and net.bias.grad is not None
    left = torch.cat([net.weight.grad.flatten(), net.bias.grad])
    assert float(left.norm()) == pytest.approx(0.1, rel=1e-3)


def test_modalities_can_be_left_out(sets: dict[str, Path], tmp_path: Path) -> None:
    config = quick(tmp_path / "toy.toml", sets, epochs=1)
    assert main([str(config), "--set", "modalities=['face']"]) == 0
    model = lddu_model.load(tmp_path / "run" / "best")
    assert model.spec.names == ("face",)
    assert model.record["data"][0]["modalities"] == ["face"]


def test_validation_may_be_a_set_of_its_own(sets: dict[str, Path], tmp_path: Path) -> None:
    held = write_set(tmp_path / "held", toy_samples(50, ("face",), seed=5, prefix="held"))
    config = quick(tmp_path / "toy.toml", sets, epochs=1)
    change = ["--set", f"data.0.validation={held}"]
    assert main([str(config), *change]) == 0
    record = lddu_model.load(tmp_path / "run" / "best").record["data"][0]
    assert record["samples"] == {"train": 192, "validation": 50, "test": 48}
    change = ["--set", f"data.0.validation={sets['face']}"]
    with pytest.raises(DataError, match=r"192 samples are both in train and validation"):
        main([str(config), *change])


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
        ("seeds = [1, 1]\n", [], r"seeds must differ"),
        ("[[data]]\nname='x'\npath='y'\nvalidation=1.5\n", [], r"data\.0\.validation"),
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


def test_what_a_set_shows_may_be_trained_on_and_be_unusual(tmp_path: Path) -> None:
    plain = toy_samples(300, prefix="plain")
    loud = [
        replace(s, features={name: 5 * x for name, x in s.features.items()})
        for s in toy_samples(300, prefix="loud", seed=1)
    ]
    folders = {
        "plain": write_set(tmp_path / "plain", plain),
        "loud": write_set(tmp_path / "loud", loud),
    }
    path = write_config(tmp_path / "toy.toml", folders)
    novel = []
    for usual in ("true", "false"):
        config = read_config(path, [f"data.1.usual={usual}", "model.novelty=true"])
        trainer = Trainer(config)
        drawn = {trainer.draws.draw().id.split("-")[0] for _ in range(50)}
        assert drawn == {"plain", "loud"}
        said = trainer.model.predict(trainer.sets[1].validation)
        novel.append(float((said.novelty.max(axis=1) > 0.1).mean()))
    assert novel[0] < 0.1 and novel[1] > 0.9
