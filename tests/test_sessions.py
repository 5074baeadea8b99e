"""Recorded sessions: from a real call to the commands that list, show, export and erase them."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from stream import record_files, recorder, session_index
from stream.earlier import as_now
from stream.errors import run_command
from stream.record_files import RecordError, SessionFolder, Summary, sessions
from stream.record_log import LogWriter, encode
from stream.recorder import Recorder, SessionWriter
from stream.records import end
from stream.sections import RecordConfig
from stream.session_index import Index
from stream.sessions import main
from stream.subscription import Subscription
from tests.serving import AGREED, calling, serving, until_no_call
from tests.webrtc_peers import Beeps, Flashes, until

pytestmark = pytest.mark.live

DAY = 86_400.0
HELLO: dict[str, Any] = {
    "type": "hello",
    "schema": 1,
    "session": "s",
    "person": "p1",
    "labels": ["happy", "sad"],
    "purpose": "research",
    "consent": {**AGREED, "record": True},
    "notice": "",
    "window_s": 3.0,
    "hop_s": 0.25,
}


def state(index: int, status: str = "active", revision: int = 0) -> dict[str, Any]:
    label = {"probability": 0.7, "variance": 0.1, "interval": [0.6, 0.8], "status": status}
    return {
        "type": "state",
        "t": 3.0 + index / 4,
        "person": "p1",
        "index": index,
        "revision": revision,
        "complete": True,
        "labels": {"happy": label, "sad": {**label, "status": "inactive"}},
        "reason": None,
        "lag_s": 0.1,
    }


def transcript(text: str) -> dict[str, Any]:
    return {"type": "transcript", "person": "p1", "t0": 1.0, "t1": 2.0, "text": text, "words": []}


def config(folder: Path, **days: float) -> RecordConfig:
    return RecordConfig.model_validate({"folder": str(folder), "days": {"estimates": 30.0, **days}})


def record(
    settings: RecordConfig,
    session: str,
    records: list[dict[str, Any]],
    subject: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[str | None]:
    """Record a session; what the person was told."""

    async def run() -> list[str | None]:
        told: list[str | None] = []
        waiting = Subscription(capacity=10_000)
        async with Recorder(settings) as writer:
            task = asyncio.create_task(writer.record(session, subject, "key", waiting, told.append))
            half = len(records) // 2
            for one in records[:half]:
                waiting.put(one)  # type: ignore[arg-type]
            await until(lambda: bool(told))
            meanwhile()
            for one in records[half:]:
                waiting.put(one)  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
            waiting.close(end("left"))
            await task
            await writer.settled()
        return told

    return asyncio.run(run())


def command(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert run_command(lambda: main(arguments)) == code
    printed = capsys.readouterr()
    return printed.out, printed.err


def found_in(folder: Path) -> list[Summary]:
    with Index(folder) as index:
        return index.find()


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy of what was recorded, for each test."""
    return shutil.copytree(recorded, tmp_path / "records")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions: of anna (happy), of ben (not happy), and of nobody named."""
    root = tmp_path_factory.mktemp("recorded")
    record(config(root), "one", [HELLO, *(state(i) for i in range(8))], "anna")
    record(config(root), "two", [HELLO, *(state(i, "unsure") for i in range(4))], "ben")
    record(config(root), "three", [HELLO, state(0, "active"), state(0, "inactive", 1)])
    return root


def test_a_call_is_recorded_as_it_was_told(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "days": {"estimates": 2, "words": 1}}

    async def run() -> tuple[str, list[dict[str, Any]], str]:
        begin = time.monotonic() + 0.2
        async with serving(record=settings) as url, ClientSession(url) as http:
            async with http.get("/api/config") as response:
                kept = (await response.json())["record"]
                assert kept == {"estimates": 2.0, "words": 1.0, "faces": 0.0, "media": 0.0}
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True) as call:
                await until(lambda: sum(r["type"] == "state" for r in call.records) >= 4)
                await until(lambda: "recording" in call.kinds())
                async with http.delete(f"/api/sessions/{call.session}", headers=call.bearer):
                    await until(lambda: "end" in call.kinds())
                await until_no_call(http)
            async with http.get("/metrics") as response:
                return call.session, call.records, await response.text()

    session, told, metrics = asyncio.run(run())
    assert {"type": "recording", "person": "p1", "on": True, "reason": None} in told
    assert 'lddu_recording_total{what="started"} 1.0' in metrics
    assert not (tmp_path / "sessions" / session / "faces.log").exists()
    stored = list(SessionFolder(tmp_path, session).records())
    assert stored[0] == next(record for record in told if record["type"] == "hello")
    assert stored[-1] == {"type": "end", "reason": "left"}
    for kind in ("state", "transcript", "clock", "gap"):
        of_kind = [record for record in told if record["type"] == kind]
        assert [record for record in stored if record["type"] == kind][-len(of_kind) or 0 :] == (
            of_kind
        )
    [found] = found_in(tmp_path)
    assert (found.session, found.reason, found.purpose) == (session, "left", "self_view")
    assert session.isalnum(), "with a hyphen in front a command line takes it for an option"


@pytest.mark.parametrize(("configured", "agreed"), [(True, False), (False, True)])
def test_nothing_is_recorded_unless_configured_and_agreed_to(
    tmp_path: Path, configured: bool, agreed: bool
) -> None:
    settings = {"record": {"folder": str(tmp_path)}} if configured else {}

    async def run() -> set[str]:
        async with serving(**settings) as url:
            async with calling(url, Beeps(time.monotonic(), 0.0), record=agreed) as call:
                await until(lambda: "state" in call.kinds())
                await asyncio.sleep(0.6)
            await asyncio.sleep(0.1)
            return call.kinds()

    assert "recording" not in asyncio.run(run())
    assert sessions(tmp_path) == []


def test_words_and_outlines_are_written_only_where_configured(tmp_path: Path) -> None:
    face = {"type": "face", "t": 1.0, "person": "p1", "faces": [], "lag_s": 0.0}
    spoken = [HELLO, transcript("zebra"), face, state(0)]
    record(config(tmp_path / "a"), "s", spoken)
    record(config(tmp_path / "b", words=1.0, faces=1.0), "s", spoken)
    stored = {
        name: [one["type"] for one in SessionFolder(tmp_path / name, "s").records()]
        for name in "ab"
    }
    assert stored == {
        "a": ["hello", "state", "end"],
        "b": ["hello", "transcript", "face", "state", "end"],
    }
    everything = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*.*"))
    assert b"zebra" not in everything


def test_a_disk_that_fails_is_told_and_nothing_recorded_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full for a while, then there is room again."""
    append = LogWriter.append
    full = [False]

    def refuse(self: LogWriter, lines: Any) -> None:
        if full[0]:
            full.append(True)
            full[0] = len(full) < 4
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, lines)

    def fill() -> None:
        full[0] = True

    monkeypatch.setattr(LogWriter, "append", refuse)
    told = record(config(tmp_path), "s", [HELLO, *map(state, range(600))], meanwhile=fill)
    assert told == [None, "disk_full", None]
    stored = list(SessionFolder(tmp_path, "s").records())
    indices = [one["index"] for one in stored if one["type"] == "state"]
    [lost] = [one for one in stored if one["type"] == "lost"]
    assert 0 < lost["records"] == 600 - len(indices)
    assert indices[:299] == list(range(299))
    assert stored[-1]["type"] == "end"


def test_a_folder_that_cannot_be_made_ends_no_call(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "s").write_text("in the way")
    told = record(config(tmp_path), "s", [HELLO, state(0)])
    assert told == ["disk_failed"]


def test_a_folder_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        async with Recorder(config(tmp_path / "file")):
            pass

    with pytest.raises(ValueError, match=r"record\.folder .* cannot be written"):
        asyncio.run(run())


def test_sessions_are_found_by_time_person_and_label(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(*arguments: str) -> list[dict[str, Any]]:
        code = run_command(lambda: main(["--folder", str(folder), "list", "--json", *arguments]))
        lines = capsys.readouterr().out.splitlines()
        assert code == (0 if lines else 1)
        return [json.loads(line) for line in lines]

    def names(*arguments: str) -> list[str]:
        return [session["session"] for session in found(*arguments)]

    assert names() == ["one", "two", "three"]
    assert names("--person", "anna") == ["one"]
    assert names("--label", "happy") == ["one"]
    assert names("--label", "sad") == []
    assert names("--until", "2020-01-01") == []
    assert names("--since", "2020-01-01") == ["one", "two", "three"]
    assert names("--since", "2100-01-01") == []
    one = found("--person", "anna")[0]
    assert one["active_s"] == {"happy": 2.0}
    assert (one["states"], one["reason"], one["seconds"]) == (8, "left", 4.75)


def test_show_and_export(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    at = ("--folder", str(folder))
    shown = json.loads(command(capsys, *at, "show", "one")[0])
    assert shown["subject"] == "anna"
    assert shown["consent"]["record"] is True
    assert shown["records"] == {"hello": 1, "state": 8, "end": 1}
    assert shown["damage"] == {}
    out = tmp_path / "one.jsonl"
    command(capsys, *at, "export", "one", "--out", str(out))
    records = [json.loads(line) for line in out.read_text().splitlines()]
    written: list[dict[str, Any]] = [HELLO, *map(state, range(8)), dict(end("left"))]
    assert records == [as_now(record) for record in written]
    assert (
        "cannot be written" in command(capsys, *at, "export", "one", "--out", str(out), code=2)[1]
    )
    printed, _ = command(capsys, *at, "export", "one")
    assert printed.splitlines() == out.read_text().splitlines()
    for wrong in ("none", "../one", "x" * 65):
        assert "error: " in command(capsys, *at, "show", wrong, code=2)[1]


def test_forgetting_leaves_nothing_but_a_receipt(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--folder", str(folder))
    printed, _ = command(capsys, *at, "forget", "--person", "anna")
    receipt = json.loads(printed)
    assert receipt["session"] == "one"
    assert [(part["artefact"], part["lines"]) for part in receipt["erased"]] == [("estimates", 11)]
    assert not (folder / "sessions" / "one").exists()
    assert b"anna" not in b"".join(path.read_bytes() for path in folder.rglob("*.*"))
    command(capsys, *at, "forget", "--person", "anna", code=1)
    command(capsys, *at, "forget", "--session", "two")
    assert [session.session for session in found_in(folder)] == ["three"]


@pytest.mark.parametrize("whom", ["--session", "--person"])
def test_an_empty_name_is_no_name_and_erases_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], whom: str
) -> None:
    """As a script passes on a variable that is not set."""
    before = found_in(folder)
    code = 2 if whom == "--session" else 1
    command(capsys, "--folder", str(folder), "forget", whom, "", code=code)
    assert found_in(folder) == before != []


def test_a_session_that_runs_is_not_erased(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sessions" / "live").mkdir()
    log = LogWriter(folder / "sessions/live/estimates.log", {"started": 0.0, "keep_until": 0.0})
    log.append([(1, HELLO)])
    at = ("--folder", str(folder))
    assert "end the call first" in command(capsys, *at, "forget", "--session", "live", code=2)[1]
    command(capsys, *at, "sweep")
    assert (folder / "sessions/live/estimates.log").exists()
    log.close()
    command(capsys, *at, "sweep")
    assert not (folder / "sessions/live").exists()


def spoil(folder: Path, how: str) -> None:
    """Add something beside the sessions that cannot be read as one."""
    if how == "foreign":
        (folder / "sessions" / "lost+found").mkdir()
        return
    spoilt = folder / "sessions" / "spoilt"
    spoilt.mkdir()
    if how == "newer":
        header = {"started": 0.0, "keep_until": 1.0, "format": 2}
        (spoilt / "estimates.log").write_bytes(encode((0, header)))
    else:
        (spoilt / "estimates.log").mkdir()


@pytest.mark.parametrize("how", ["foreign", "newer", "unreadable"])
def test_what_cannot_be_read_keeps_nobody_from_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Neither from a server, nor from what must be erased."""
    spoil(folder, how)
    at = ("--folder", str(folder))
    assert [line.split()[0] for line in command(capsys, *at, "list")[0].splitlines()] == [
        session.session for session in found_in(folder)
    ]
    assert ("spoilt" in caplog.text) == (how != "foreign")
    command(capsys, *at, "forget", "--session", "two")
    late = time.time() + 31 * DAY
    failed: dict[str, str] = {}
    gone = record_files.sweep(folder, late, {}, failed)
    assert set(gone) == {"one", "three"}
    assert set(failed) == (set() if how == "foreign" else {"spoilt"})
    told = record(config(folder), "new", [HELLO, state(0)])
    assert told == [None]
    _, printed = command(capsys, *at, "sweep", code=0 if how == "foreign" else 1)
    assert ("spoilt" in printed) == (how != "foreign")
    if how == "newer":
        command(capsys, *at, "forget", "--session", "spoilt")
        command(capsys, *at, "sweep")


def test_each_part_is_swept_at_its_time(tmp_path: Path) -> None:
    days = config(tmp_path, words=7.0)
    record(days, "s", [HELLO, transcript("zebra"), state(0)])
    now = time.time()
    folder = SessionFolder(tmp_path, "s")
    limits = days.days.model_dump()
    assert record_files.sweep(tmp_path, now + 6.9 * DAY, limits) == {}
    gone = record_files.sweep(tmp_path, now + 7.1 * DAY, limits)
    assert [part.artefact for part in gone["s"]] == ["words"]
    assert list(folder.files()) == ["estimates"]
    # a longer time in the configuration does not keep what a person was told is erased
    assert record_files.sweep(tmp_path, now + 29.9 * DAY, {"estimates": 900.0}) == {}
    gone = record_files.sweep(tmp_path, now + 30.1 * DAY, {"estimates": 900.0})
    assert [part.artefact for part in gone["s"]] == ["estimates"]
    assert not folder.path.exists()


def test_a_shorter_time_in_the_configuration_holds(tmp_path: Path) -> None:
    record(config(tmp_path), "s", [HELLO, state(0)])
    assert "s" in record_files.sweep(tmp_path, time.time() + 1.1 * DAY, {"estimates": 1.0})


def test_server_sweeps_when_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(config(tmp_path), "s", [HELLO, state(0)])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 31 * DAY)

    async def run() -> int:
        async with Recorder(config(tmp_path)) as writer:
            await until(lambda: writer.counts["swept"] == 1)
            return len(sessions(tmp_path))

    assert asyncio.run(run()) == 0
    assert found_in(tmp_path) == []


def test_a_disk_that_is_nearly_full_does_not_flicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is small may fit where the rest did not."""
    full = "disk_full"
    answers = [None, full, None, full, None, None, None, full, *[None] * 20, full, *[None] * 20]

    def write(_: SessionWriter, records: object, dropped: int) -> str | None:
        del records, dropped
        return answers.pop(0) if answers else None

    monkeypatch.setattr(SessionWriter, "write", write)
    monkeypatch.setattr(recorder, "WRITE_PERIOD_S", 0.001)
    told = record(config(tmp_path), "s", [state(i) for i in range(200)])
    assert not answers
    assert told == [None, full, None, full, None]


def test_index_is_made_anew_and_sessions_that_were_cut_off_are_found(folder: Path) -> None:
    path = folder / "sessions/one/estimates.log"
    path.write_bytes(path.read_bytes()[:-30])  # killed while it wrote the end
    (folder / "sessions/empty").mkdir()
    (folder / "sessions/empty/estimates.log").write_bytes(b"")  # killed before the header
    (folder / "index.sqlite").unlink()
    with Index(folder) as index:
        index.refresh()
        found = {session.session: session for session in index.find()}
    assert set(found) == {"one", "two", "three", "empty"}
    assert found["one"].reason == "cut off"
    assert found["one"].states == 8
    assert found["empty"].states == 0


def test_index_is_migrated_and_a_newer_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "ALTER TABLE sessions RENAME reason TO why; ALTER TABLE sessions RENAME why TO reason"
    with monkeypatch.context() as patched:
        patched.setattr(session_index, "MIGRATIONS", (*session_index.MIGRATIONS, more))
        with Index(folder) as index:
            assert len(index.find()) == 3
    with pytest.raises(RecordError, match="version 2, this program knows 1"):
        Index(folder)
    (folder / "index.sqlite").write_bytes(b"no database at all, but long enough to look like one")
    with pytest.raises(RecordError, match="not a database") as refused:
        Index(folder)
    assert "may be deleted" in refused.value.hint
    assert isinstance(refused.value.__cause__, sqlite3.Error)


def test_commands_explain_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = command(capsys, "--folder", str(tmp_path / "none"), "list", code=2)[1]
    assert "no folder of records" in error
    file = tmp_path / "serve.toml"
    file.write_text("")
    assert "records nothing" in command(capsys, "--config", str(file), "list", code=2)[1]
