"""A cable between two network namespaces (veth), which can be pulled out.

Sockets belong to the namespace in which they were made: both ends may be in one process. Needs
root, ``ip`` (iproute2) and a kernel with veth; ``Unable`` says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

End = Literal["a", "b"]

NETWORK = "10.213.77"
"""Seen by nobody else: both addresses are inside the namespaces."""

CLONE_NEWNET = 0x40000000


class Unable(RuntimeError):
    """This machine does not let us make such a cable."""


class Cable:
    """Two namespaces and what joins them; use as a context manager. Raises ``Unable``."""

    def __init__(self) -> None:
        self._names = {"a": f"chaos-{os.getpid()}-a", "b": f"chaos-{os.getpid()}-b"}
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Cable:
        a, b = self._names["a"], self._names["b"]
        try:
            for name in (a, b):
                ip("netns", "add", name)
                self._opened.callback(ip, "netns", "del", name)
            ip("-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b)
            for name, host in ((a, 1), (b, 2)):
                ip("-n", name, "addr", "add", f"{NETWORK}.{host}/30", "dev", "cable")
                ip("-n", name, "link", "set", "cable", "up")
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @contextlib.contextmanager
    def inside(self, end: End) -> Iterator[None]:
        """Sockets that this thread makes meanwhile belong to this end."""
        with (
            Path("/proc/thread-self/ns/net").open() as here,
            Path("/run/netns", self._names[end]).open() as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    async def pull(self, seconds: float) -> None:
        """Nothing gets through for so long: the link is down."""
        name = self._names["a"]
        await asyncio.to_thread(ip, "-n", name, "link", "set", "cable", "down")
        try:
            await asyncio.sleep(seconds)
        finally:
            ip("-n", name, "link", "set", "cable", "up")


def ip(*arguments: str) -> None:
    """Run ``ip``. Raises ``Unable``."""
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unable(f"ip: {error.strerror}") from None
    if done.returncode:
        raise Unable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, CLONE_NEWNET):
        raise Unable(f"setns: {os.strerror(ctypes.get_errno())}")
