"""mediapipe would report usage to its maker; from our process nothing gets out.

The first test watches a whole network of its own. Where the kernel does not allow that, the two
others still show the parts: the variable is in the child, and reports go only where it points.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drawn_face import face
from workers import face_process
from workers.face import FaceEngine

OWN_NETWORK = ["unshare", "--net", "--mount", "--map-root-user"]


@pytest.fixture(scope="module")
def model(models: Callable[[str], Path]) -> Path:
    return models("face_landmarker")


def watched(model: Path, proxy: str) -> dict[str, Any]:
    program = [sys.executable, "-m", "tests.watched_face", str(model), proxy]
    done = subprocess.run(
        OWN_NETWORK + program,
        check=False,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_nothing_leaves_the_face_process(model: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs the program unshare (package util-linux) for a network of its own")
    attempt = [*OWN_NETWORK, "mount", "--bind", "/etc", "/etc"]
    allowed = subprocess.run(attempt, check=False, capture_output=True)
    if allowed.returncode:
        pytest.skip(f"no network of its own here: {allowed.stderr.decode(errors='replace')}")

    seen = watched(model, "kept")
    assert seen["pictures"] == 2
    assert seen["proxies"] == sorted(face_process.PROXY_VARIABLES)
    assert (seen["names"], seen["connections"]) == ([], [])

    # the same watch, blind to nothing: without our proxy it sees mediapipe call home
    unguarded = watched(model, "removed")
    assert unguarded["proxies"] == []
    assert unguarded["names"], "mediapipe is silent by itself: this test proves nothing any more"


def test_child_gets_the_refusing_proxy_whatever_the_user_has_set(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with FaceEngine(model) as engine:
        entries = Path(f"/proc/{engine.pid}/environ").read_bytes().decode().split("\0")
    variables = dict(entry.split("=", 1) for entry in entries if entry)
    for name in face_process.PROXY_VARIABLES:
        assert variables[name] == "http://127.0.0.1:9"
    assert variables["no_proxy"] == variables["NO_PROXY"] == ""


def test_reports_go_only_where_the_proxy_points(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[bytes] = []

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            requests.append(connection.recv(200))

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        proxy = threading.Thread(target=answer)
        proxy.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(face_process, "REFUSING_PROXY", url)
        with FaceEngine(model) as engine:
            engine.detect(face())
        proxy.join()
    assert requests, "mediapipe no longer reports through the proxy: see where it reports now"
    assert requests[0].startswith(b"CONNECT ")
