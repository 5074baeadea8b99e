"""Two analyses side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream import replay
from stream.columns import gather
from stream.compare import compare
from stream.errors import run_command
from tests.made_records import made_records, write


def changed() -> Iterator[dict[str, Any]]:
    """The same recording, but its middle: happy is active, a word is another, a face is gone."""
    for record in made_records(60.0):
        if record["type"] == "smoothed" and 30 <= record["t"] < 33:
            record["labels"]["happy"] |= {"status": "active", "probability": 0.9}
            record["reasons"] = ["no_face"]
        if record["type"] == "transcript" and 28 < record["t0"] < 31:
            record["words"][0]["text"] = "something"
        yield record


def test_where_and_why_two_analyses_differ() -> None:
    a, b = gather(made_records(60.0)), gather(changed())
    same = compare("a", a, gather(made_records(60.0)))
    assert same.same and same.agreement["happy"] == 1.0 and same.windows == 229
    pair = compare("a", a, b)
    assert not pair.same and pair.first == 30.0 and pair.largest > 0.5
    assert 30.0 <= (pair.largest_at or 0) < 33.0
    (stretch,) = pair.stretches
    assert (stretch.label, stretch.t0, stretch.t1, stretch.second) == ("happy", 30, 33, "active")
    why = " ".join(stretch.why)
    assert "no_face in B" in why and "something" in why
    assert pair.agreement["happy"] == pytest.approx(1 - 12 / 229, abs=1e-4)
    assert pair.words < 1 and compare("b", b, a).stretches[0].first == "active"


def test_the_command_tells_settings_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, records, margin in (("a", made_records(60.0), 0.75), ("b", changed(), 0.5)):
        (tmp_path / name / "sub").mkdir(parents=True)
        path = write(tmp_path / name / "sub/x.jsonl", records)
        run = {
            "recording": "x.mp4",
            "content": "c",
            "key": name,
            "settings": {"gate": {"min_margin": margin}, "model": {"checkpoint": None}},
            "model": {"name": "live-v1", "sha256": "s"},
            "paced": False,
            "figures": {},
            "warnings": [],
            "records_bytes": 1,
            "outputs": [],
        }
        path.with_name("x.run.json").write_text(json.dumps(run))
    write(tmp_path / "b/more.jsonl", made_records(5.0))
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert replay.main(["--compare", *folders]) == 1
    printed = capsys.readouterr().out
    assert "sub/x: differs" in printed and "more: only in B" in printed
    assert "setting gate.min_margin: 0.75 in A, 0.5 in B" in printed
    told = json.loads(printed.splitlines()[-1])
    assert told["settings"] == {"gate.min_margin": [0.75, 0.5]} and not told["same"]
    assert replay.main(["--compare", folders[0], folders[0]]) == 0
    assert "the same (229 windows)" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for wrong in ([folders[0], str(tmp_path / "empty")], [folders[0], str(tmp_path / "gone")]):
        assert run_command(lambda wrong=wrong: replay.main(["--compare", *wrong])) == 2  # type: ignore[misc]
        assert "next: " in capsys.readouterr().err
