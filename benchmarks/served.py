"""The server as people start it, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 180.0
"""All models are loaded before the server answers."""

STOP_S = 60.0
"""It ends itself after 20 s; a busy machine needs some to notice."""


@dataclass(frozen=True)
class Served:
    url: str
    pid: int


@contextmanager
def serve(folder: Path, *overrides: str) -> Iterator[Served]:
    """Start ``python -m stream.serve`` on a free port; stop it at the end.

    `overrides` are ``key=value`` for ``--set``; what it prints goes to ``serve.log`` in `folder`.
    Raises ``RuntimeError`` with that text when it does not come up.
    """
    port = _free_port()
    command = [sys.executable, "-m", "stream.serve"]
    for pair in (f"port={port}", *overrides):
        command += ["--set", pair]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url, log)
        yield Served(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            fetch(f"{url}/healthz")
        except OSError:  # not yet: it listens before it has loaded its models
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the server did not start at {url}; it printed:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
