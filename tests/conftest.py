"""What all tests share."""

from __future__ import annotations

import asyncio
import asyncio.runners
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from stream import models as weights
from stream.weights import TABLE
from workers.threads import limit_here

PROJECT = Path(__file__).parent.parent

# A busy machine is no error of the code; what hangs ends by pytest's own timeout.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
limit_here()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of recordings and data sets that are not part of the project."""
    folder = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs recordings or data in {folder} (or in the folder LDDU_SHARED names)")
    return folder


@pytest.fixture(scope="session")
def models() -> Callable[[str], Path]:
    """Verified weights by name. Those that set-up fetches must be there; others skip the test."""

    def path(name: str) -> Path:
        try:
            return weights.path(name)
        except weights.ModelMissing as error:
            if TABLE[name].default:
                raise
            pytest.skip(f"{name} is not there; {error.hint}")

    return path


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """New networks are the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_tasks_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task that still runs when ``asyncio.run`` ends fails the test.

    asyncio itself cancels such tasks without a word. Its internal function is the only place where
    they can be seen; tests/test_conftest.py fails should it move. A connection of aiortc that was
    closed while it looked for its peer sees that up to 20 ms later, when its task wakes; it is
    given a moment.
    """
    left: list[str] = []
    cancel = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def note_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
        connecting = [task for task in asyncio.all_tasks(loop) if "__connect()" in repr(task)]
        if connecting:
            loop.run_until_complete(asyncio.wait(connecting, timeout=1.0))
        left.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel(loop)

    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", note_and_cancel)
    yield
    assert not left, f"tasks were left running: {left}"
