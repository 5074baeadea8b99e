"""The guards of the test suite themselves."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCPeerConnection

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


def test_a_connection_that_is_closed_while_it_looks_for_its_peer_leaves_nothing() -> None:
    """The guard of this very test looks on: aiortc's task ends within 20 ms of the closing."""

    async def main() -> None:
        gone, peer = RTCPeerConnection(), RTCPeerConnection()
        gone.addTransceiver("audio")
        await gone.setLocalDescription(await gone.createOffer())
        offer = gone.localDescription
        await gone.close()
        await peer.setRemoteDescription(offer)
        await peer.setLocalDescription(await peer.createAnswer())
        await asyncio.sleep(0)
        await peer.close()

    asyncio.run(main())
