"""What a process that reads other people's recordings may take, from both sides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

BEGIN = """
import os, resource, sys
from workers.child_limits import limit_child
limit_child(memory=1 << 30, files=16)
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""


def ended(program: str, folder: Path) -> str:
    """Kind of the error with which `program` ends in such a process; empty: none."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT)},
        timeout=60,
    )
    last = done.stderr.strip().splitlines()[-1:] or [""]
    assert bool(done.returncode) == bool(last[0]), done.stderr
    return last[0].partition(":")[0]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("bytearray(256 << 20)", ""),
        ("bytearray(1 << 30)", "MemoryError"),
        ("held = [open(os.devnull) for _ in range(8)]", ""),
        ("held = [open(os.devnull) for _ in range(16)]", "OSError"),
        ("open('new', 'wb').close()", ""),
        ("os.write(os.open('new', os.O_WRONLY | os.O_CREAT), b'x')", "OSError"),
    ],
)
def test_a_child_takes_no_more_than_it_may(tmp_path: Path, program: str, error: str) -> None:
    assert ended(program, tmp_path) == error
