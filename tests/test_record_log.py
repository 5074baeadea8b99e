"""Logs of records: every cut, a killed writer, a full disk."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.record_log import FORMAT, LogReader, LogWriter, decode, encode, is_open
from tests.conftest import PROJECT

HEADER = {"type": "log", "session": "s"}


def state(i: int) -> dict[str, Any]:
    return {"type": "state", "t": i / 4, "labels": {"happy": {"probability": 0.5}}, "text": "é\n"}


def write(path: Path, n: int) -> bytes:
    log = LogWriter(path, HEADER)
    for i in range(n):
        log.append([(i + 1, state(i))])
    log.sync()
    log.close()
    return path.read_bytes()


def read(path: Path) -> tuple[list[int], LogReader]:
    with LogReader(path) as reader:
        numbers = []
        for number, record in reader:
            assert record == state(number - 1)
            numbers.append(number)
    return numbers, reader


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.log", 20)
    numbers, reader = read(tmp_path / "a.log")
    assert numbers == list(range(1, 21))
    assert reader.header == {**HEADER, "format": FORMAT}
    assert not reader.damage
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600


def test_a_cut_at_any_byte_costs_the_last_line_at_most(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.log", 12)
    cut = tmp_path / "cut.log"
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        lines = whole[:size].count(b"\n")
        numbers, reader = read(cut)
        assert numbers == list(range(1, lines))
        assert (reader.header is None) == (lines == 0)
        assert reader.damage.lines == 0
        assert reader.damage.torn == size - (whole[:size].rfind(b"\n") + 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_anywhere_costs_only_what_it_hit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.log"
    whole = write(path, 12)
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(1, 40))
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=40)) + whole[at + length :])
    numbers, _ = read(path)  # nothing that is read is wrong
    assert set(numbers) >= set(range(1, whole[:at].count(b"\n")))
    hit = whole[at : at + length].count(b"\n") + 1
    assert len(numbers) >= 12 - hit - 1


@given(st.binary(max_size=300))
def test_a_line_is_decoded_only_if_it_was_encoded(raw: bytes) -> None:
    line = decode(raw)
    assert line is None or encode(line) == raw or raw.endswith(b"}\n")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(encode((0, {**HEADER, "format": FORMAT + 1})))
    with pytest.raises(ValueError, match=r"format 2"):
        LogReader(path)


def test_no_log_is_written_over(tmp_path: Path) -> None:
    write(tmp_path / "a.log", 1)
    with pytest.raises(FileExistsError):
        LogWriter(tmp_path / "a.log", HEADER)


def test_who_writes_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogWriter(path, HEADER)
    assert is_open(path)
    log.close()
    assert not is_open(path)


FULL = """
import resource, sys
from pathlib import Path
from stream.record_log import LogWriter
from tests.test_record_log import HEADER, state
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
log, n, failed = LogWriter(Path(sys.argv[1]), HEADER), 0, 0
while failed < 3:
    try:
        log.append([(n + i + 1, state(n + i)) for i in range(4)])
        n += 4
    except OSError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append([(n + 1, state(n))])
print(n + 1)
"""


def test_a_full_disk_takes_nothing_and_room_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    command = [sys.executable, "-c", FULL, str(path)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    numbers, reader = read(path)
    assert len(numbers) > 8
    assert numbers == list(range(1, int(run.stdout) + 1))
    assert not reader.damage


ENDLESS = """
import sys
from pathlib import Path
from stream.record_log import LogWriter
from tests.test_record_log import HEADER, state
print("ready", flush=True)
for folder in sys.stdin:
    log, n = LogWriter(Path(folder.strip()) / "a.log", HEADER), 0
    while True:
        log.append([(n + 1, state(n))])
        n += 1
"""


@pytest.mark.parametrize(
    "kills", [5, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_a_writer_killed_at_any_time_leaves_a_readable_log(tmp_path: Path, kills: int) -> None:
    rng = random.Random(kills)
    for i in range(kills):
        folder = tmp_path / str(i)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESS],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdin is not None and writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            writer.stdin.write(f"{folder}\n")
            writer.stdin.flush()
            time.sleep(rng.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
        if (folder / "a.log").exists():
            numbers, reader = read(folder / "a.log")
            assert numbers == list(range(1, len(numbers) + 1))
            assert reader.damage.lines == 0
            assert not is_open(folder / "a.log")
