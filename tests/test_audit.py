"""The audit log: whatever is done to it is found."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit import AuditBroken, AuditError, AuditLog, Head, head_path, main, verify
from stream.errors import run_command
from tests.conftest import PROJECT


def written(folder: Path, n: int = 6) -> Path:
    log = AuditLog(folder / "audit.log")
    for i in range(n):
        log.append("consent", f"session-{i % 2}", face=True, version="2", number=i)
    return log.path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("audit"))


def copy(whole: Path, folder: Path, lines: list[bytes]) -> Path:
    path = folder / "audit.log"
    path.write_bytes(b"".join(lines))
    head_path(path).write_bytes(head_path(whole).read_bytes())
    return path


def test_a_whole_log_verifies(tmp_path: Path) -> None:
    path = written(tmp_path)
    head = verify(path)
    assert head.number == 6
    assert verify(path, head, Head(0, "0" * 64)) == head
    assert path.stat().st_mode & 0o777 == 0o600
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert entries[3]["previous"] == entries[2]["hash"]


@settings(deadline=None)
@given(st.data())
def test_any_change_is_found(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = whole.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    put = data.draw(st.binary(max_size=4))
    cut = data.draw(st.integers(0, 4))
    changed = raw[:at] + put + raw[at + cut :]
    if changed == raw:
        return
    path = copy(whole, tmp_path_factory.mktemp("changed"), [changed])
    if changed.startswith(raw) and b"\n" not in changed[len(raw) :]:
        assert verify(path).number == 6  # an entry that was never finished
        return
    with pytest.raises(AuditBroken):
        verify(path)


@settings(deadline=None)
@given(st.permutations(range(6)), st.integers(0, 6))
def test_swaps_and_cuts_are_found(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, order: list[int], keep: int
) -> None:
    lines = whole.read_bytes().splitlines(keepends=True)
    chosen = [lines[i] for i in order[:keep]]
    path = copy(whole, tmp_path_factory.mktemp("swapped"), chosen)
    if chosen == lines:
        assert verify(path).number == 6
        return
    with pytest.raises(AuditBroken):
        verify(path)


def test_a_chain_made_anew_is_found_by_a_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write the log and its head can make another; what is noted elsewhere tells."""
    path = written(tmp_path)
    head = verify(path)
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps({"audit": {"n": head.number, "hash": head.hash}}))
    assert main(["verify", str(path), "--receipt", str(receipt)]) == 0
    path.unlink()
    head_path(path).unlink()
    forged = written(tmp_path, 7)
    assert verify(forged).number == 7
    assert main(["verify", str(forged), "--receipt", str(receipt)]) == 1
    assert main(["verify", str(forged), "--head", f"{head.number}:{head.hash}"]) == 1
    assert "entry 6" in capsys.readouterr().err
    head_path(forged).unlink()
    assert main(["verify", str(forged)]) == 1


def test_an_entry_that_a_crash_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"at":"2026')
    assert verify(path).number == 6
    AuditLog(path).append("server_started")
    assert verify(path).number == 7


def test_a_crash_before_the_head_was_noted_is_no_cut(tmp_path: Path) -> None:
    path = written(tmp_path)
    noted = head_path(path).read_bytes()
    AuditLog(path).append("server_started")
    head_path(path).write_bytes(noted)
    assert verify(path).number == 7


@pytest.mark.parametrize("what", ["cut", "emptied", "removed", "another"])
def test_nothing_is_added_to_a_log_whose_end_is_gone(tmp_path: Path, what: str) -> None:
    """It would look whole again."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    another = written(tmp_path / "other").read_bytes()  # of another time
    path.write_bytes({"cut": b"".join(lines[:-1]), "another": another}.get(what, b""))
    if what == "removed":
        path.unlink()
    with pytest.raises(AuditBroken, match="up to entry 6") as caught:
        AuditLog(path).append("ended", "session-1", how="left")
    assert "move" in caught.value.hint
    with pytest.raises(AuditBroken):
        verify(path)
    path.unlink(missing_ok=True)
    head_path(path).unlink()
    assert AuditLog(path).append("ended").number == 1  # a new log, on purpose


def test_many_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    script = (
        "import sys\nfrom pathlib import Path\nfrom stream.audit import AuditLog\n"
        "for _ in range(20): AuditLog(Path(sys.argv[1])).append('x')\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=PROJECT) for _ in range(2)
    ]
    log = AuditLog(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: log.append("y"), range(20)))
    assert [other.wait(30) for other in others] == [0, 0]
    assert verify(path).number == 60


def test_what_cannot_be_written_or_read_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be written"):
        AuditLog(tmp_path / "file" / "audit.log").append("x")
    with pytest.raises(AuditError, match="cannot be read"):
        verify(tmp_path / "none")
    (tmp_path / "other").write_text("something else\n")
    with pytest.raises(AuditBroken, match="nothing is added"):
        AuditLog(tmp_path / "other").append("x")
    assert run_command(lambda: main(["verify", str(tmp_path / "none")])) == 2
