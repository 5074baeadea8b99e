"""Looks at one picture with a ``FaceEngine`` inside a network that is only this process's own.

Run by ``test_face_privacy`` under ``unshare --net --mount --map-root-user``: there is no way out,
names are asked for here, every name has the address of this machine, and here every question and
every connection is written down. Prints what was seen as JSON.

    python -m tests.watched_face MODEL kept|removed
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from workers import face_process
from workers.face import FaceEngine

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
ANSWERED_PORTS = (80, 443)
"""Where somebody listens; the port of the refusing proxy is left alone, as on a real machine."""


def main() -> None:
    model, proxy = Path(sys.argv[1]), sys.argv[2]
    raise_loopback()
    names: list[str] = []
    connections: list[int] = []
    with own_resolver():
        answer_names(names)
        for port in ANSWERED_PORTS:
            count_connections(port, connections)
        if proxy == "removed":
            remove_proxy()
        with FaceEngine(model) as engine:
            pictures = [engine.detect(np.full((120, 160, 3), v, np.uint8)) for v in (0, 128)]
            environment = child_variables(engine)
        time.sleep(0.5)  # for a question that is still on its way
    print(
        json.dumps(
            {
                "pictures": len(pictures),
                "names": sorted(set(names)),
                "connections": connections,
                "proxies": sorted(k for k in face_process.PROXY_VARIABLES if k in environment),
            }
        )
    )


def remove_proxy() -> None:
    """Undo what the engine does for privacy, to see that this watch would notice."""
    guarded = face_process.child_environment

    def unguarded() -> dict[str, str]:
        hidden = face_process.PROXY_VARIABLES
        return {name: value for name, value in guarded().items() if name not in hidden}

    face_process.child_environment = unguarded  # type: ignore[assignment]


def child_variables(engine: FaceEngine) -> set[str]:
    entries = Path(f"/proc/{engine.pid}/environ").read_bytes().split(b"\0")
    return {entry.split(b"=")[0].decode() for entry in entries if entry}


def raise_loopback() -> None:
    request = struct.Struct("16sH14x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        reply = fcntl.ioctl(probe, SIOCGIFFLAGS, request.pack(b"lo", 0))
        flags: int = request.unpack(reply)[1]
        fcntl.ioctl(probe, SIOCSIFFLAGS, request.pack(b"lo", flags | IFF_UP))


@contextmanager
def own_resolver() -> Iterator[None]:
    """Let this mount namespace ask 127.0.0.1 for names, and no cache before it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (
            ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
        ):
            ours, theirs = Path(folder, name), Path("/etc", name)
            ours.write_text(text)
            if theirs.exists():
                subprocess.run(["mount", "--bind", ours, theirs.resolve()], check=True)
        yield


def answer_names(names: list[str]) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def run() -> None:
        while True:
            question, sender = server.recvfrom(4096)
            labels, i = [], 12
            while question[i]:
                labels.append(question[i + 1 : i + 1 + question[i]].decode())
                i += 1 + question[i]
            names.append(".".join(labels))
            server.sendto(address_of(question, i + 5), sender)

    threading.Thread(target=run, daemon=True).start()


def address_of(question: bytes, end: int) -> bytes:
    """The answer 127.0.0.1 for type A, an empty one for any other type."""
    is_a = question[end - 4 : end - 2] == b"\0\1"
    head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if is_a else b""
    return head + question[12:end] + record


def count_connections(port: int, connections: list[int]) -> None:
    server = socket.create_server(("127.0.0.1", port))

    def run() -> None:
        while True:
            connection, _ = server.accept()
            connections.append(port)
            connection.close()

    threading.Thread(target=run, daemon=True).start()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the listeners never end
