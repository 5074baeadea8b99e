"""Files of records that survive a crash at any byte: appended only, every line with a checksum.

A line is ``CRC N JSON``: the CRC-32 (8 hexadecimal digits) of the rest of the line, the number of
the record within its session (it orders the lines of several files), and one JSON object. The first
line of a file is its header, number 0.

What a killed writer leaves is whole lines and at most one that is cut off; the reader gives the
whole ones and says what it passed over. A full disk takes nothing back: an append that fails is
undone to the last byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

FORMAT = 1
"""Version of the format of lines and header; a reader refuses a higher one."""

MAX_LINE = 4 * 1024 * 1024
"""Bytes; a longer line is damage. The outlines of eight faces take 30 KB."""

Object = dict[str, Any]
Line = tuple[int, Object]
"""The number of a record and the record."""


def encode(line: Line) -> bytes:
    """One line of the file, with its line break."""
    number, record = line
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = f"{number} {text}".encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Line | None:
    """The opposite of ``encode``; None: the line is damaged."""
    checksum, _, body = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    number, _, text = body.partition(b" ")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (int(number), record) if number.isdigit() and isinstance(record, dict) else None


class LogWriter:
    """Appends lines to a new file that only its owner may read; locked while it is open.

    All methods raise OSError; none of them leaves less in the file than was there before.
    """

    def __init__(self, path: Path, header: Object) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._header = encode((0, {**header, "format": FORMAT}))
        self._size = 0
        self._torn = False
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            _sync_folder(path.parent)
        except OSError:
            os.close(self._file)
            path.unlink()
            raise

    def append(self, lines: Sequence[Line]) -> None:
        """Write all of `lines`, or none where it raises."""
        data = b"".join(map(encode, lines))
        if self._size == 0:
            data = self._header + data
        if self._torn:
            self._cut()
        try:
            _write(self._file, data)
        except OSError:
            with contextlib.suppress(OSError):
                self._torn = True
                self._cut()
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Return when everything that was appended would survive a loss of power."""
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _cut(self) -> None:
        """Take back what a failed append wrote."""
        os.ftruncate(self._file, self._size)
        self._torn = False


@dataclass(slots=True)
class Damage:
    """What a reader passed over."""

    lines: int = 0
    """That were complete, but not as they were written."""
    torn: int = 0
    """Bytes of a last line that was never finished."""

    def __bool__(self) -> bool:
        return bool(self.lines or self.torn)


class LogReader:
    """Iterates over the whole lines of a file; closes with its context.

    ``header`` is None where the writer was killed before it was written, and lines come all the
    same. ``damage`` is complete when the iteration is. Raises OSError, and ValueError for a format
    that is newer than this reader.
    """

    def __init__(self, path: Path) -> None:
        self.header: Object | None = None
        self.damage = Damage()
        self._file = path.open("rb")
        first = decode(self._file.readline(MAX_LINE))
        if first is not None and first[0] == 0:
            self.header = first[1]
            if self.header.get("format") != FORMAT:
                self._file.close()
                raise ValueError(
                    f"{path} has format {self.header.get('format')}, this reader knows {FORMAT}"
                )
        else:
            self._file.seek(0)

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        last = 0
        while raw := self._file.readline(MAX_LINE):
            line = decode(raw)
            if line is not None and line[0] > last:
                last = line[0]
                yield line
            elif raw.endswith(b"\n") or len(raw) == MAX_LINE:
                self.damage.lines += 1
            else:
                self.damage.torn = len(raw)


def is_open(path: Path) -> bool:
    """Whether a ``LogWriter`` in any process has the file open. Raises OSError."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
    return False


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    """A new name in `folder` would survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
