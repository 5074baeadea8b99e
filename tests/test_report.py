"""Columns of records, what is found in them, and the report as a file."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import findings
from stream.columns import ACTIVE, UNKNOWN, RecordsError, gather, read
from stream.errors import run_command
from stream.report import __main__ as command
from stream.report import words
from stream.report.build import SCRIPTS, material_of, write_report
from stream.report.plots import plot_people
from stream.runs import RunRecord
from stream.spec import LABELS
from tests.made_records import made_records, write
from workers.states import REASONS

TWO = ("p1.1", "p1.2")


def test_columns_hold_what_the_records_say() -> None:
    records = list(made_records(60.0, TWO))
    columns = gather(records)
    assert columns.people == TWO and columns.tracked == TWO and columns.is_smoothed
    said = [r for r in records if r["type"] == "state" and r["person"] == "p1.2" and r["labels"]]
    track = columns.states["p1.2"]
    assert len(track) == len(said) == 229
    k = 100
    assert track.t[k] == said[k]["t"]
    for c, name in enumerate(LABELS):
        label = said[k]["labels"][name]
        assert track.probability[k, c] == label["probability"]
        assert [track.low[k, c], track.high[k, c]] == label["interval"]
        assert (track.status[k, c] == ACTIVE) == (label["status"] == "active")
    for k, record in enumerate(said):
        assert list(columns.names(int(track.reasons[k]))) == record["reasons"]
    assert len(columns.faces["p1.1"].t) == 120
    assert columns.end == "finished" and columns.duration == 60.0 - 0.0


def state(records: list[dict[str, Any]], index: int) -> dict[str, Any]:
    return next(r for r in records if r["type"] == "state" and r["index"] == index)


def test_the_last_revision_counts_and_what_was_taken_back_does_not() -> None:
    records = list(made_records(10.0, smoothed=False))
    late = json.loads(json.dumps(state(records, 5)))
    late["revision"] = 1
    late["labels"]["sad"]["probability"] = 0.123
    event = {
        "type": "event",
        "kind": "onset",
        "t": 5.0,
        "person": "p1",
        "label": "sad",
        "onset": 5.0,
        "peak": {"t": 5.0, "probability": 0.9},
        "smoothed": False,
        "lag_s": 0.0,
    }
    told = [{**event, "withdrawn": False}, {**event, "withdrawn": True}]
    before = gather(records)
    columns = gather([*records[:-1], late, *told])
    place = int(np.searchsorted(columns.states["p1"].t, late["t"]))
    assert columns.states["p1"].probability[place, LABELS.index("sad")] == 0.123
    assert columns.states["p1"].revision[place] == 1
    assert len(columns.states["p1"]) == len(before.states["p1"])
    assert columns.events == before.events and columns.end is None
    paused = {**late, "t": 99.0, "index": 40, "labels": {}, "reasons": ["paused"]}
    track = gather([*records, paused]).states["p1"]
    assert (track.status[-1] == UNKNOWN).all() and np.isnan(track.probability[-1]).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"type": "state"}', "begin with a hello"),
        ('{"type": "hello", "schema": 2, "labels": []}', "schema 2"),
        ('{"type": "hello", "schema": 1, "labels": []}\n{"type": "state"}', "record 2"),
        ('{"type": "hello", "schema": 1, "labels": []}\n{"type": "gap"', "line 2"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(RecordsError, match=problem) as caught:
        read(path)
    assert "a.jsonl" in caught.value.message and caught.value.hint
    assert run_command(lambda: command.main([str(path)])) == 2
    assert "next: " in capsys.readouterr().err and not path.with_suffix(".html").exists()


def test_a_report_makes_its_folder_or_says_what_is_in_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.jsonl", made_records(10.0))
    there = tmp_path / "new/folder/a.html"
    assert run_command(lambda: command.main([str(path), "--out", str(there)])) == 0
    assert there.is_file()
    blocked = path / "b.html"  # a file is no folder
    assert run_command(lambda: command.main([str(path), "--out", str(blocked)])) == 2
    told = capsys.readouterr().err
    assert f"error: {blocked} cannot be written: " in told and "next: " in told


spans = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 10)).map(lambda x: (x[0], x[0] + x[1])), max_size=12
)


@given(spans, st.floats(0, 3))
def test_a_union_covers_the_same_and_does_not_touch_itself(
    given_spans: list[tuple[float, float]], pause: float
) -> None:
    joined = findings.union(given_spans, pause)
    assert all(b[0] - a[1] > pause for a, b in itertools.pairwise(joined))
    for t0, t1 in given_spans:
        assert any(a <= t0 and t1 <= b for a, b in joined)
    ends = {edge for span in given_spans for edge in span}
    assert all(edge in ends for span in joined for edge in span)


def test_episodes_speech_and_overlap() -> None:
    records = list(made_records(120.0, TWO))
    columns = gather(records)
    for each in findings.episodes(columns):
        track = columns.smoothed[each.person]
        inside = (track.t >= each.t0) & (track.t < (each.t1 or np.inf))
        assert (track.status[inside, LABELS.index(each.label)] == ACTIVE).all()
        assert each.peak_t >= each.t0 and (each.t1 is None or each.peak_t <= each.t1)
    spoken = findings.speech(columns)
    assert set(spoken) == {None, *TWO}
    total = sum(findings.seconds(each) for each in spoken.values())
    assert 40 < total < 120
    stated = sum(r["t1"] - r["t0"] for r in columns.transcripts if r["overlap"])
    assert stated > 0
    assert findings.seconds(findings.overlap(columns, spoken)) == pytest.approx(stated)
    both = findings.overlap(columns, {"a": [(0.0, 4.0)], "b": [(1.0, 2.0)], "c": [(1.5, 5.0)]})
    assert both[0] == (1.0, 4.0)


def step_records(before: float, after: float, doubt: float) -> list[dict[str, Any]]:
    """One person whose first label jumps in the middle of a minute."""
    records = [r for r in made_records(60.0, smoothed=False) if r["type"] != "event"]
    for record in records:
        if record["type"] == "state" and record["labels"]:
            for name, label in record["labels"].items():
                p = (before if record["t"] < 30 else after) if name == LABELS[0] else 0.05
                label |= {"probability": p, "interval": [max(0, p - doubt), min(1, p + doubt)]}
    return records


def test_a_turning_point_is_where_it_turned_and_above_its_doubt() -> None:
    (turn,) = findings.turning_points(gather(step_records(0.1, 0.8, 0.1)))
    assert turn.t == pytest.approx(30.0, abs=0.3) and turn.label == LABELS[0]
    assert turn.before == pytest.approx(0.1, abs=0.02)
    assert turn.after == pytest.approx(0.8, abs=0.02)
    assert findings.turning_points(gather(step_records(0.3, 0.8, 0.5))) == []
    assert findings.turning_points(gather(step_records(0.3, 0.4, 0.01))) == []


class Looker(HTMLParser):
    """Everything that refers to something, and all that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name != "style" and not name.startswith("on"), "the policy forbids these"
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.references.append((tag, value or ""))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.shown.append(data)


def looked_at(path: Path) -> Looker:
    looker = Looker()
    looker.feed(path.read_text(encoding="utf-8"))
    return looker


def test_the_report_refers_to_nothing_but_the_recording(tmp_path: Path) -> None:
    records = list(made_records(60.0, TWO))
    records[0]["session"] = "a <b> & c"
    records[0]["purpose"] = "<script>alert(1)</script>"
    for record in records:
        if record["type"] == "transcript":
            record["text"] = '</script><img src="http://x/y.png">'
    video = tmp_path / "media" / "ä b?.webm"
    video.parent.mkdir()
    video.write_bytes(b"x")
    (tmp_path / "out").mkdir()
    material = material_of(gather(records), None, recording=video)
    path = write_report(material, tmp_path / "out" / "a.html")
    found = looked_at(path)
    assert [r for r in found.references if not r[1].startswith("#")] == [
        ("video", "../media/%C3%A4%20b%3F.webm")
    ]
    text = path.read_text(encoding="utf-8")
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "http:" not in policy and "connect-src" not in policy
    assert "img" not in found.tags and found.tags.count("script") == 3
    shown = " ".join(found.shown)
    assert "a <b> & c" in shown and words.NOTICE in shown
    assert len(SCRIPTS) == 9 and not re.search(r"^(import|export) ", text, re.MULTILINE)
    gone = write_report(material_of(gather(records), None), tmp_path / "b.html")
    assert not [r for r in looked_at(gone).references if r[0] == "video"]
    inside = material_of(gather(records), None, recording=video, embed=True)
    embedded = write_report(inside, tmp_path / "c.html")
    assert ("video", "data:video/webm;base64,eA==") in looked_at(embedded).references


def test_the_report_never_says_what_anybody_feels(tmp_path: Path) -> None:
    path = write_report(material_of(gather(made_records(60.0, TWO)), None), tmp_path / "a.html")
    text = path.read_text(encoding="utf-8")
    own = text[: text.index('<section id="card">')] + text[text.index("<dialog") :]
    assert "ooks like" in own and not re.search(r"\bfe(els?|elings?|lt)\b(?! like)", own)


def test_settings_and_figures_are_told_in_words_and_units(tmp_path: Path) -> None:
    run = RunRecord(
        recording="a.webm",
        content="0" * 64,
        key="",
        settings={"model": {"checkpoint": None}, "text_only": False, "labels": ["a", "b"]},
        model={"name": "live", "sha256": "1" * 64},
        paced=False,
        figures={
            "media_s": 89.304,
            "abstained": {"modality_conflict": 0.0809},
            "failed": {},
            "dropped": {"face": 3},
            "unsure": 0.0135,
        },
        warnings=["the picture ends 2 s before the sound"],
        records_bytes=0,
        outputs=[],
    )
    material = material_of(gather(made_records(10.0)), run)
    shown = " ".join(looked_at(write_report(material, tmp_path / "a.html")).shown)
    told = " ".join(shown.split())
    for text in (
        "media 89.304 s",
        "abstained conflict 8 %",
        "failed none",
        "dropped face 3",
        "unsure 1 %",
        "model.checkpoint –",
        "text_only no",
        "labels a, b",
        "the picture ends 2 s before the sound",
    ):
        assert text in told, text
    assert not re.search(r"\{'|\{\}|\bNone\b|\bFalse\b", told)


def test_a_report_of_nobody_says_so(tmp_path: Path) -> None:
    kept = ("hello", "transcript", "end")
    records = [each for each in made_records(30.0, TWO) if each["type"] in kept]
    for record in records:
        if record["type"] == "transcript":
            record["person"] = None
    shown = " ".join(
        looked_at(write_report(material_of(gather(records), None), tmp_path / "a")).shown
    )
    assert shown.count(words.NOBODY) == 3, "timelines, moments, quality"
    assert "No label was present" not in shown and "Point at a timeline" not in shown


def test_every_reason_has_a_sentence() -> None:
    assert set(words.REASONS) == set(REASONS)
    assert words.reason("new_one")[0] == "new one"


def test_plots_for_a_paper(tmp_path: Path) -> None:
    columns = gather(made_records(40.0))
    written = plot_people(columns, tmp_path / "a")
    assert [path.name for path in written] == ["a.p1.png", "a.p1.svg"]
    svg = written[1].read_text(encoding="utf-8")
    for text in (*LABELS, "speech", "time (s)", columns.transcripts[0]["text"].split()[0]):
        assert f">{text}" in svg or text in svg
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>|"http[^"]*"', "", svg)
    again = plot_people(columns, tmp_path / "b")
    assert [a.read_bytes() for a in written] == [b.read_bytes() for b in again], "no dates inside"
    with av.open(str(written[0])) as picture:
        (frame,) = picture.decode(video=0)
    pixels = frame.to_ndarray(format="rgb24")
    assert pixels.shape[1] == 1440 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
