"""The frame of the chaos programmes: they go on where they were stopped, and say what held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chaos import __main__, journal, truncation
from benchmarks.chaos.journal import Journal


def test_a_programme_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first = Journal(path, {"n": "1"})
    assert first.do("a", lambda: {"v": 1}) == {"v": 1}
    with path.open("a") as file:
        file.write('{"key": "b", "res')  # killed while writing
    again = Journal(path, {"n": "1"})
    assert again.do("a", lambda: pytest.fail("done again")) == {"v": 1}
    assert again.do("b", lambda: {"v": 2}) == {"v": 2}
    assert Journal(path, {"n": "1"}).done == {"a": {"v": 1}, "b": {"v": 2}}
    assert Journal(path, {"n": "2"}).done == {}


def test_anew_forgets(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    Journal(path, {}).put("a", {})
    assert Journal(path, {}, anew=True).done == {}


def test_truncation_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "JOURNALS", tmp_path)
    monkeypatch.setattr(journal, "RESULTS", tmp_path)
    assert __main__.main(["truncation", "--points", "2", "--kinds", "wav", "webm"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: row["points"] for name, row in told["kinds"].items()} == {"wav": 2, "webm": 2}
    kept = json.loads((tmp_path / "chaos-truncation.json").read_text())
    assert kept["held"] and kept["kinds"] == told["kinds"]


def test_an_end_that_helps_nobody_is_wrong() -> None:
    rows = [{"how": how, "seconds": 1.0} for how in ("whole", "no hint", "KeyError")]
    assert truncation.summary(rows)["wrong"] == 2
