"""How much sound a WAV file promises, and how much is there.

FFmpeg takes the end of the file for the end of the sound, so that a file that was cut off looks
whole. Read are the headers of chunks alone: RIFF, RF64 (EBU Tech 3306) and Wave64 (Sony).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST = 4096
"""Chunks that are looked at."""

UNKNOWN = 0xFFFFFFFF
"""Size of what was written without knowing its end, or (RF64) whose size is told elsewhere."""

WAVE64 = bytes.fromhex("2e91cf11a5d628db04c10000")
"""What follows ``riff`` in a Wave64 file; names of its chunks differ in their first four bytes."""


class Sound(NamedTuple):
    """Bytes of sound."""

    promised: int
    there: int


def sound(path: str | os.PathLike[str]) -> Sound | None:
    """None: not such a file, without sound, or one that does not know how much it has."""
    with Path(path).open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        head = file.read(12)
        wide = head[:4] == b"RF64"
        if head[:4] == b"riff" and head[4:] == WAVE64[:8]:
            file.seek(40)
            found = _data(_chunks64(file), end)
        elif head[8:] == b"WAVE" and (wide or head[:4] == b"RIFF"):
            found = _data(_chunks(file, wide=wide), end)
        else:
            found = None
    return found


def _data(chunks: Iterator[tuple[bytes, int, int]], end: int) -> Sound | None:
    for _, (name, start, size) in zip(range(MOST), chunks, strict=False):
        if name == b"data":
            return None if size in (0, UNKNOWN) else Sound(size, max(0, min(size, end - start)))
        if start + size >= end:
            break
    return None


def _chunks(file: BinaryIO, *, wide: bool) -> Iterator[tuple[bytes, int, int]]:
    """Name, where its content starts, and its size in bytes, of each chunk."""
    told = UNKNOWN
    while len(head := file.read(8)) == 8:
        name, size, start = head[:4], int.from_bytes(head[4:], "little"), file.tell()
        if wide and name == b"ds64":
            told = int.from_bytes(file.read(16)[8:], "little")
        if wide and name == b"data" and size == UNKNOWN:
            size = told
        yield name, start, size
        file.seek(start + size + size % 2)


def _chunks64(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Sizes of these hold the header, and chunks begin at multiples of 8."""
    while len(head := file.read(24)) == 24:
        start, size = file.tell(), max(0, int.from_bytes(head[16:], "little") - 24)
        yield head[:4], start, size
        file.seek(min(start + size + -size % 8, 2**62))
