"""Folders of recorded sessions: read as far as they are whole, or a ``RecordError`` with a hint.

The first byte of an input chooses the file, and whether lines get the checksum that belongs to
them: else hardly any would be looked at.
"""

from __future__ import annotations

import json
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chaos.targets import Feed, helps
from stream.record_files import ARTEFACTS, RecordError, SessionFolder, sweep
from stream.record_log import encode
from stream.session_index import summary_of

HEADER = {
    "type": "log", "session": "s", "subject": None, "key": "k", "artefact": "estimates",
    "started": 1.7e9, "keep_until": 4e9, "format": 1,
}  # fmt: skip
HELLO = {"type": "hello", "schema": 1, "purpose": "research", "hop_s": 0.25, "labels": ["happy"]}
STATE = {"type": "state", "t": 3.0, "index": 0, "labels": {"happy": {"status": "active"}}}
END = {"type": "end", "reason": "left"}
LINES: list[dict[str, Any]] = [HEADER, HELLO, STATE, END]
WHOLE = b"".join(encode((n, line)) for n, line in enumerate(LINES))
PLAIN = "\n".join(f"{n} {json.dumps(line)}" for n, line in enumerate(LINES)).encode()
SEEDS = [
    b"\0" + WHOLE,
    b"\3" + PLAIN,
    b"\4" + PLAIN,
    b"\0" + WHOLE[:-9],
    b"\0031 " + b"[" * 3000,
]


@contextmanager
def opened() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        session = SessionFolder(root, "s")
        session.path.mkdir(parents=True)

        def feed(data: bytes) -> None:
            if not data:
                return
            for path in session.files().values():
                path.unlink()
            session.path.mkdir(parents=True, exist_ok=True)
            body = data[1:]
            if data[0] % 6 >= 3:
                body = b"".join(b"%08x %s\n" % (zlib.crc32(x), x) for x in body.split(b"\n"))
            session.file(ARTEFACTS[data[0] % 3]).write_bytes(body)
            for use in (
                lambda: list(session.records(Counter())),
                lambda: summary_of(session),
                lambda: sweep(root, time.time(), {"estimates": 1.0}),
            ):
                try:
                    use()
                except RecordError as error:
                    helps(error)

        yield feed
