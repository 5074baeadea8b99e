"""The audit log: what was done with whose consent, without any content, in a chain of hashes.

Every line is one entry as canonical JSON (RFC 8785 for what occurs here: sorted keys, no blanks):
its number, time, event, session, data, the hash of the entry before, and its own, SHA-256 of all
the rest. Whoever changes, removes, inserts or swaps entries breaks the chain. What is cut off at
the end is noticed by the file beside it (``.head``), which names the last entry; whoever can write
both can cut both, so receipts, which name entries too, and a head noted elsewhere prove more
(``verify --receipt``, ``--head``).

``python -m stream.audit verify FILE``: exit code 0 whole, 1 broken (which line, and how), 2 error.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from stream.errors import StreamError, run_command

FIRST = "0" * 64
"""Stands for the hash of an entry before the first."""

Entry = dict[str, Any]


class AuditError(StreamError, OSError):
    """The audit log cannot be written or read."""


class AuditBroken(StreamError, ValueError):
    """The audit log is not as it was written."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry."""

    number: int
    hash: str


class AuditLog:
    """Appends entries to one file; safe for several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, session: str | None = None, **data: Any) -> Head:
        """Write one entry to the disk. Blocks; raises ``AuditError``, ``AuditBroken``."""
        try:
            with self._locked() as file:
                last = _last(file, self.path)
                _check_end(last, self.path)
                head = self._write(file, last, event, session, data)
        except OSError as error:
            if isinstance(error, AuditError):
                raise
            raise AuditError(
                f"audit log {self.path} cannot be written: {error.strerror}",
                hint="make room, or check who owns it",
            ) from error
        return head

    async def note(self, event: str, session: str | None = None, **data: Any) -> Head:
        """``append`` in a thread."""
        return await asyncio.to_thread(lambda: self.append(event, session, **data))

    def _locked(self) -> IO[bytes]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _write(
        self, file: IO[bytes], last: Head, event: str, session: str | None, data: dict[str, Any]
    ) -> Head:
        entry: Entry = {
            "n": last.number + 1,
            "at": now_iso(),
            "event": event,
            "session": session,
            "data": data,
            "previous": last.hash,
        }
        entry["hash"] = digest(entry)
        line = canonical(entry) + b"\n"
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
        head = Head(entry["n"], entry["hash"])
        _replace(head_path(self.path), f"{head.number} {head.hash}\n")
        return head


def now_iso() -> str:
    """The time in UTC, to the millisecond (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def canonical(entry: Entry) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(entry: Entry) -> str:
    """The hash of an entry: of all but its own."""
    body = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(canonical(body)).hexdigest()


def head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def verify(path: Path, *known: Head) -> Head:
    """The last entry of a log that is whole and holds all `known` ones.

    Raises ``AuditBroken``, ``AuditError``.
    """
    hashes = [FIRST]
    for number, entry in enumerate(_entries(path), 1):
        if entry.get("n") != number:
            raise _broken(path, number, f"it says that it is number {entry.get('n')}")
        if entry.get("hash") != digest(entry):
            raise _broken(path, number, "it was changed: its hash is another")
        if entry.get("previous") != hashes[-1]:
            raise _broken(path, number, "it does not follow the entry before")
        hashes.append(entry["hash"])
    for head in (*_noted(path), *known):
        if not 0 <= head.number < len(hashes):
            raise _broken(path, len(hashes), f"it ends there, but entry {head.number} was written")
        if hashes[head.number] != head.hash:
            raise _broken(path, head.number, "it is another than was written")
    return Head(len(hashes) - 1, hashes[-1])


def _entries(path: Path) -> Iterator[Entry]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AuditError(
            f"audit log {path} cannot be read: {error.strerror}", hint="check the path"
        ) from None
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        entry = _parse(line)
        if entry is None:
            raise _broken(path, number, "it is no entry")
        yield entry
    # an entry that was cut off while it was written was never acknowledged


def _parse(line: bytes) -> Entry | None:
    """None unless `line` is the one spelling of an entry."""
    try:
        entry = json.loads(line)
        return entry if isinstance(entry, dict) and canonical(entry) == line else None
    except (ValueError, RecursionError):
        return None


def _noted(path: Path) -> list[Head]:
    try:
        number, _, known = head_path(path).read_text(encoding="ascii").strip().partition(" ")
    except (OSError, UnicodeError):
        raise AuditBroken(
            f"audit log {path}: the note of its last entry, {head_path(path)}, is missing",
            hint="entries at its end may be gone: compare it with receipts (--receipt)",
        ) from None
    return [Head(int(number) if number.isdigit() else -1, known)]


def _broken(path: Path, number: int, how: str) -> AuditBroken:
    return AuditBroken(
        f"audit log {path}, entry {number}: {how}", hint="keep the file, and compare copies of it"
    )


def _last(file: IO[bytes], path: Path) -> Head:
    """The last whole entry; a line that was cut off by a crash is taken away."""
    end = file.seek(0, os.SEEK_END)
    block = b""
    start = end
    while start > 0 and block.count(b"\n") < 2:
        start = max(0, start - 4096)
        file.seek(start)
        block = file.read(end - start)
    whole, newline, torn = block.rpartition(b"\n")
    if torn:
        os.ftruncate(file.fileno(), end - len(torn))
    if not newline:
        return Head(0, FIRST)
    entry = _parse(whole.rpartition(b"\n")[2])
    if entry is None:
        raise _broken(path, -1, "the last one is no entry; nothing is added to it")
    return Head(entry["n"], entry["hash"])


def _check_end(last: Head, path: Path) -> None:
    """Raise ``AuditBroken`` where the end was cut off: with more entries it would look whole."""
    if not head_path(path).exists():
        return
    for noted in _noted(path):
        if noted.number > last.number or (noted.number == last.number and noted != last):
            raise AuditBroken(
                f"audit log {path} ends with entry {last.number}, and that or what was written "
                f"after it, up to entry {noted.number}, is another or gone",
                hint=f"keep what there is, and move it away with {head_path(path)} to begin anew",
            )


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stream.audit", description="The audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    verifying = commands.add_parser("verify", help="check that it is as it was written")
    verifying.add_argument("file", type=Path)
    verifying.add_argument("--head", metavar="N:HASH", help="an entry that was noted elsewhere")
    verifying.add_argument("--receipt", type=Path, help="file with a receipt that must be in it")
    return parser.parse_args(arguments)


def _known(asked: argparse.Namespace) -> list[Head]:
    try:
        known = []
        if asked.head is not None:
            number, _, text = asked.head.partition(":")
            known.append(Head(int(number), text))
        if asked.receipt is not None:
            audit = json.loads(asked.receipt.read_text(encoding="utf-8"))["audit"]
            known.append(Head(int(audit["n"]), str(audit["hash"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditError(
            f"--head or --receipt cannot be used: {error}", hint="a receipt is JSON with 'audit'"
        ) from None
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = parse(arguments)
    known = _known(asked)
    try:
        head = verify(asked.file, *known)
    except AuditBroken as error:
        print(f"broken: {error.message}", file=sys.stderr)
        return 1
    print(json.dumps({"entries": head.number, "head": f"{head.number}:{head.hash}"}))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
