"""numpy computes with one thread: what it does here is small, and its threads wait in a loop."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workers.face_process import child_environment

COUNT = """
import numpy
from threadpoolctl import threadpool_info
from workers.threads import limit_here
if {here}:
    limit_here()
print(max(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"))
"""

several_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs two cores to see a difference"
)


def threads(environment: dict[str, str], *, here: bool = False) -> int:
    """As many as numpy would compute with in a process that starts like this."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT.format(here=here)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout)


def free() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}


@several_cores
def test_workers_compute_with_one_thread() -> None:
    assert threads(free()) > 1
    assert threads(child_environment(free())) == 1


@several_cores
def test_who_asks_for_more_threads_gets_them() -> None:
    assert threads(child_environment(free() | {"OPENBLAS_NUM_THREADS": "2"})) == 2


@several_cores
def test_a_process_limits_itself() -> None:
    assert threads(free(), here=True) == 1
