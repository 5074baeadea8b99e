"""What is fuzzed: each module has ``SEEDS`` and ``opened``, a context manager of a function that
takes bytes and raises where something is wrong with the code, not with the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

TARGETS = {
    "offers": "SDP offers",
    "packets": "RTP packets with header extensions, RTCP packets, datagrams",
    "channels": "messages of data channels",
    "sockets": "WebSocket frames",
    "configs": "configuration files and overrides",
    "records": "recorded sessions",
    "media": "frames of kept media",
    "checkpoints": "checkpoints of models",
    "requests": "HTTP requests",
}
"""Name of the module -> what it is fed with."""

Feed = Callable[[bytes], None]


class Told(Protocol):
    """An error that a person gets to see."""

    message: str
    hint: str


def helps(error: Told) -> None:
    """Raise unless `error` says what is wrong and what to do."""
    assert error.message
    assert error.hint, f"no hint: {error.message}"


class Target(Protocol):
    """What the module of a target has."""

    SEEDS: Sequence[bytes]

    def opened(self) -> AbstractContextManager[Feed]:
        """What takes inputs."""
