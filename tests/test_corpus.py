"""What was found by feeding targets (``benchmarks.chaos fuzz``) is fed again; seeds are whole."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import cast

import pytest

from benchmarks.chaos import fuzz
from benchmarks.chaos.fuzzing import Count
from benchmarks.chaos.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_nothing_that_was_found_fails_again(name: str) -> None:
    target = cast("Target", importlib.import_module(f"benchmarks.chaos.targets.{name}"))
    found = sorted((CORPUS / name).glob("*"))
    with target.opened() as feed:
        for data in [*target.SEEDS, *(path.read_bytes() for path in found)]:
            feed(data)


@pytest.mark.parametrize(
    ("words", "named"), [([], []), (["offers", "configs"], ["offers", "configs"])]
)
def test_targets_on_the_command_line(words: list[str], named: list[str]) -> None:
    parser = argparse.ArgumentParser()
    fuzz.add_arguments(parser)
    assert parser.parse_args(words).targets == named
    with pytest.raises(SystemExit):
        parser.parse_args(["nonsense"])


def test_a_target_that_fails_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def feed(data: bytes) -> None:
        if data == b"bad":
            raise KeyError(data)

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    count = Count(feed, tmp_path, "test")
    count.take(b"good")
    with pytest.raises(SystemExit) as caught:
        count.take(b"bad")
    assert caught.value.code == 77
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == b"bad"
    assert '"inputs": 2' in capsys.readouterr().out
