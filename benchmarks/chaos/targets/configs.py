"""Configuration files of all commands, and overrides: usable, or a ``ConfigError`` with a hint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.journal import PROJECT
from benchmarks.chaos.targets import Feed, helps
from stream.config import PrepareConfig, ReplayConfig, ServeConfig, load, parse_overrides
from stream.errors import ConfigError

KINDS = (ServeConfig, ReplayConfig, PrepareConfig)
SEEDS = [
    *(bytes([n]) + (PROJECT / f"configs/{name}.toml").read_bytes() for n, name in enumerate(
        ("serve", "replay", "prepare")
    )),
    b"\3window.hop=0.5",
    b"\0a = " + b"[" * 3000,
    b"\3a=" + b"[" * 3000,
    b"\3" + b"a." * 1500 + b"a=1",
    b"\0[access]\nkey = 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'\nledger = 'l'",
]  # fmt: skip


@contextmanager
def opened() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"

        def feed(data: bytes) -> None:
            if not data:
                return
            try:
                if data[0] % 4 == 3:
                    text = data[1:].decode("utf-8", errors="replace")
                    load(ServeConfig, None, parse_overrides(text.split("\n")))
                else:
                    path.write_bytes(data[1:])
                    load(KINDS[data[0] % 4], path)
            except ConfigError as error:
                helps(error)

        yield feed
