"""Labels by people: read from CSV and ELAN, set beside the estimates, made into training data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pympi.Elan import Eaf
from sklearn.metrics import cohen_kappa_score, f1_score

from lddu_model.data.shards import read_shards
from stream import agreement, corrections, replay
from stream.agreement import Sampled, agree, sample
from stream.annotations import Annotation, AnnotationError, read_annotations
from stream.columns import Columns, gather
from stream.errors import ConfigError, run_command
from stream.exports import Source, export
from stream.labels_option import names_of
from stream.report import __main__ as report
from stream.runs import RunRecord, beside
from stream.spec import LABELS
from tests.made_records import WINDOW, made_records, write

TWO = ("p1.1", "p1.2")


@pytest.fixture(scope="module")
def columns() -> Columns:
    return gather(made_records(90.0, TWO))


def test_csv_and_elan_say_the_same(columns: Columns, tmp_path: Path) -> None:
    wanted = [
        Annotation("p1.1", "happy", 3.0, 9.5),
        Annotation("p1.2", "sad", 4.25, 6.0),
        Annotation("p1.1", "", 10.0, 12.0),
        Annotation("p1.2", "anger", 20.0, 30.0),
    ]
    table = tmp_path / "a.csv"
    table.write_text(
        "\ufeffstart,end,person,label\n3,9.5,p1.1,Joy\n4.25,6,p1.2,SAD\n10,12,p1.1,neutral\n"
        "20,30,p1.2,cross\n"
    )
    assert read_annotations(table, columns, {"cross": "anger"}) == wanted
    elan = Eaf(author="somebody")
    elan.add_tier("p1.1 happy")  # the name says whom and what
    elan.add_annotation("p1.1 happy", 3000, 9500, "")
    elan.add_tier("looks", part="p1.2")  # the annotations say what
    elan.add_annotation("looks", 4250, 6000, "sadness")
    elan.add_annotation("looks", 20_000, 30_000, "cross")
    elan.add_tier("p1.1 neutral")
    elan.add_annotation("p1.1 neutral", 10_000, 12_000)
    elan.add_tier("comments")
    elan.add_annotation("comments", 0, 1000, "what a long film")
    path = tmp_path / "a.eaf"
    elan.to_file(str(path))
    assert read_annotations(path, columns, {"cross": "anger"}) == wanted


def test_our_own_tiers_are_not_taken_for_labels_of_people(columns: Columns, tmp_path: Path) -> None:
    (path,) = export(Source(columns, tmp_path / "a"), ["eaf"])
    with pytest.raises(AnnotationError, match="holds no label"):
        read_annotations(path, columns)
    elan = Eaf(str(path))
    elan.add_tier("seen", part="p1.1", ann="somebody")
    elan.add_annotation("seen", 1000, 2000, "fear")
    elan.to_file(str(path))
    assert read_annotations(path, columns) == [Annotation("p1.1", "fear", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "start,end,who\n", "column label"),
        ("a.csv", "start,end,person,label\n1,2,p1.1,bored stiff\n", "line 2: label 'bored stiff'"),
        ("a.csv", "start,end,person,label\n1,2,anna,happy\n", "no person 'anna'"),
        ("a.csv", "start,end,label\n1,2,happy\n", "no person ''"),
        ("a.csv", "start,end,person,label\n2,1,p1.1,happy\n", "2 to 1"),
        ("a.csv", "start,end,person,label\nnan,1,p1.1,happy\n", "nan to 1"),
        ("a.csv", "start,end,person,label\n", "holds no label"),
        ("a.eaf", "<ANNOTATION_DOCUMENT>", "not XML"),
        ("a.eaf", '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "declares entities"),
    ],
)
def test_what_cannot_be_used_is_named(
    columns: Columns, tmp_path: Path, name: str, text: str, problem: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(AnnotationError, match=problem) as caught:
        read_annotations(path, columns)
    assert name in caught.value.message and caught.value.hint
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotations(tmp_path / "gone.csv", columns)


def test_names_of_labels() -> None:
    assert names_of(["Amused=happy", "x="]) == {"amused": "happy", "x": ""}
    with pytest.raises(ConfigError):
        names_of(["happy"])


def as_the_model(columns: Columns, person: str) -> list[Annotation]:
    """What a person would label who agreed with every decision."""
    track = columns.best(person)
    found = []
    for c, label in enumerate(columns.labels):
        for t in track.t[track.status[:, c] == 1]:
            middle = t - WINDOW / 2
            found.append(Annotation(person, label, middle - 0.01, middle + 0.01))
    return found


def test_who_agrees_with_everything_has_kappa_one(columns: Columns) -> None:
    found = agree(columns, as_the_model(columns, "p1.2"))
    track = columns.best("p1.2")
    row = found.labels["all"]
    assert (row["kappa"], row["f1"], row["accuracy"]) == (1.0, 1.0, 1.0)
    assert row["coverage"] == pytest.approx((track.status < 2).mean(), abs=1e-4)
    assert found.aurc == 0 and found.curve[-1] == (row["coverage"], 0.0)
    assert found.states == len(track) and found.blocks == 10
    for c, label in enumerate(columns.labels):
        if not (track.status[:, c] == 1).any():
            assert found.labels[label]["f1"] is None, "nothing was seen: nothing to find"


def test_only_what_was_looked_at_counts(columns: Columns) -> None:
    labels = [Annotation("p1.1", "happy", 10.0, 20.0), Annotation("p1.1", "", 30.0, 40.0)]
    everything, some = sample(columns, labels), sample(columns, labels, "labelled")
    assert len(everything.truth) == len(columns.best("p1.1")) and len(some.truth) == 80
    assert everything.truth.sum() == some.truth.sum() == 40
    assert not some.truth[:, 1:].any()


cells = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(0.01, 5)),
    min_size=30,
    max_size=80,
)


@given(cells)
def test_figures_are_those_of_another_implementation(rows: list[tuple[Any, ...]]) -> None:
    """One label: kappa and F1 as in scikit-learn, over what is decided."""
    truth, said, decided, doubt = (
        np.asarray(column)[:, None] for column in zip(*rows, strict=True)
    )
    sampled = Sampled(truth, decided, said, doubt, np.arange(len(rows)) // 10)
    counts, blocks = agreement._counts(sampled)
    figures = agreement._figures(counts.sum(axis=(0, 1)))
    kept = decided[:, 0]
    assert blocks == -(-len(rows) // 10) and counts.sum() == kept.sum()
    if kept.any() and truth[kept].any():
        expected = f1_score(truth[kept, 0], said[kept, 0], zero_division=0.0)
        assert figures["f1"] == pytest.approx(expected)
    if len({*truth[kept, 0].tolist(), *said[kept, 0].tolist()}) == 2:
        expected = cohen_kappa_score(truth[kept, 0], said[kept, 0])
        assert figures["kappa"] == pytest.approx(expected)


def test_the_interval_covers_what_chance_alone_gives() -> None:
    """Labels that know nothing of the estimates: kappa is near 0, and its interval holds 0."""
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = 600
        truth, said = rng.random((n, 1)) < 0.4, rng.random((n, 1)) < 0.3
        sampled = Sampled(truth, np.ones_like(truth), said, rng.random((n, 1)), np.arange(n) // 40)
        counts, blocks = agreement._counts(sampled)
        drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), 500)
        spread = agreement._figures((drawn @ counts[:, 0].reshape(blocks, 4)).T)
        low, high = agreement._interval(spread["kappa"]) or (1.0, -1.0)
        inside += low <= 0 <= high
    assert inside >= 16


def test_the_report_shows_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", made_records(90.0, TWO))
    table = tmp_path / "labels.csv"
    table.write_text("start,end,person,label\n3,30,p1.1,surprise\n40,60,p1.2,disgust\n")
    assert report.main([str(path), "--annotations", str(table)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["labels"]) == {*LABELS, "all"}
    row = found["labels"]["all"]
    assert row["kappa_interval"][0] <= row["kappa"] <= row["kappa_interval"][1]
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '<section id="agreement">' in text and "Cohen" in text and "<polyline" in text
    assert f"{row['kappa']:.2f} (" in text
    assert ">risk</text>" in text and ">coverage</text>" in text, "axes have names"


@pytest.mark.long
def test_corrections_become_a_set_for_training(
    tmp_path: Path, shared: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real recording, labels that contradict the estimates, through the real preparation."""
    recording = shared / "media/speech/jfk.flac"
    out = tmp_path / "analysis"
    assert replay.main([str(recording), "--out", str(out), "--no-report"]) == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("start,end,label\n2,6,fear\n2,6,disgust\n7,7.2,sad\n")
    records = str(out / "jfk.jsonl")
    capsys.readouterr()
    command = [records, "--annotations", str(labels), "--looked-at", "labelled"]
    assert corrections.main([*command, "--out", str(tmp_path / "sets/mine")]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["stretches"] == 1 and made["samples"] == 16, "middles from 2 s to 6 s"
    samples = read_shards(tmp_path / "sets/mine")
    assert len(samples) == 16
    expected = [float(name in ("disgust", "fear")) for name in LABELS]
    assert all(each.labels is not None and each.labels.tolist() == expected for each in samples)
    assert {each.group for each in samples} == {"jfk.flac"}
    with (tmp_path / "sets/mine.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["path"], row["labels"], row["t0"]) == ("jfk.flac", "disgust|fear", "2.000")
    (out / "jfk.run.json").unlink()
    assert run_command(lambda: corrections.main([*command, "--out", "x"])) == 2


def test_a_set_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = write(tmp_path / "a.jsonl", made_records(30.0))
    made = RunRecord("a.webm", "", "", {}, {"name": "", "sha256": ""}, False, {}, [], 0, [])
    made.write(beside(records))
    labels = tmp_path / "labels.csv"
    labels.write_text("start,end,label\n5,25,fear\n")
    command = [str(records), "--annotations", str(labels), "--all", "--out"]
    blocked = str(labels / "mine")  # a file is no folder
    assert run_command(lambda: corrections.main([*command, blocked])) == 2
    told = capsys.readouterr().err
    assert f"error: the set cannot be written to {blocked}: " in told and "next: " in told


def test_stretches_are_cut_where_labels_change(columns: Columns) -> None:
    one = gather(made_records(30.0))
    labels = [Annotation("p1", "happy", 5.0, 15.0), Annotation("p1", "sad", 10.0, 20.0)]
    every = corrections.stretches(one, labels, "labelled", everything=True)
    assert every == [
        (5.0, 10.0, ("happy",)),
        (10.0, 15.0, ("happy", "sad")),
        (15.0, 20.0, ("sad",)),
    ]
    whole = corrections.stretches(one, labels, "all", everything=True)
    assert [each[:2] for each in whole] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 30)]
    status = one.best("p1").status
    sure = np.flatnonzero((status[:, 0] == 0) & (status[:, 1:] == 0).all(axis=1))
    middle = float(one.best("p1").t[sure[0]]) - WINDOW / 2
    for label, differs in (("", False), ("happy", True)):
        seen = [Annotation("p1", label, middle - 0.05, middle + 0.6)]
        few = one.best("p1").t - WINDOW / 2
        decided = status[(few >= middle - 0.05) & (few < middle + 0.6)]
        found = corrections.stretches(one, seen, "labelled", everything=False)
        assert bool(found) == (differs or bool(decided.any()))
