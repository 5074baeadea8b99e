"""Whether a Matroska or WebM file ends inside a part that it began.

FFmpeg takes the end of the file for the end of the recording. Read are the headers of elements
alone (RFC 8794, RFC 9559). What a browser records has no size; then its clusters and blocks tell
it, and only a cut exactly between two of them cannot be seen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

MOST = 1 << 20
"""Elements that are looked at."""

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675

INSIDE = {
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),
    *(0xEC, 0xBF),
}
"""What a segment, a cluster, and both may contain."""

LONGEST = 12
"""Bytes of a header: 4 of the name, 8 of the size."""


def lacking(path: str | os.PathLike[str]) -> int | None:
    """Bytes that are missing at the end, at least; None: none as far as can be seen."""
    with Path(path).open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        start, expected = 0, {EBML}
        for _ in range(MOST):
            name, size, content = _header(file, start)
            if start == end or (name is not None and name not in expected):  # all, or damaged
                return None
            if name is None or content > end:
                return max(1, content - end)
            if size is None:
                if name not in (SEGMENT, CLUSTER):
                    return None
                start = content
            elif content + size > end:
                return content + size - end
            elif name == SEGMENT:
                return None
            else:
                start = content + size
            expected = {SEGMENT} if name == EBML else INSIDE
    return None


def _header(file: BinaryIO, start: int) -> tuple[int | None, int | None, int]:
    """Name (None: it is cut off), size of the content (None: unknown), and where that begins."""
    file.seek(start)
    head = file.read(LONGEST)
    named = _length(head[:1])
    sized = _length(head[named : named + 1])
    content = start + named + sized
    if sized > 8:  # no size begins so
        return 0, None, content
    if len(head) < named + sized:
        return None, None, content
    size, unknown = int.from_bytes(head[named : named + sized], "big"), (1 << 7 * sized) - 1
    size &= unknown
    return int.from_bytes(head[:named], "big"), None if size == unknown else size, content


def _length(first: bytes) -> int:
    """Bytes of a number of variable length, by its first one (1 where that is missing)."""
    return 9 - first[0].bit_length() if first else 1
