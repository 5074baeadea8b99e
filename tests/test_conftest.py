"""The guards of the test suite themselves."""

from __future__ import annotations

import pytest

from tests.conftest import PROJECT

pytest_plugins = ["pytester"]

LEAK = """
import asyncio
from tests.conftest import _no_tasks_left

def test_leaks():
    async def main():
        task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
        await asyncio.sleep(0)
    asyncio.run(main())

def test_waits():
    async def main():
        await asyncio.create_task(asyncio.sleep(0))
    asyncio.run(main())
"""


def test_a_leaked_task_fails_its_test(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a process of its own: this test is under the same guard.
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    pytester.makepyfile(LEAK)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*tasks were left running*forgotten*"])
