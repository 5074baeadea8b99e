"""Whether an MP4 or MOV file ends inside a part that it needs.

FFmpeg takes an index that was cut off for a shorter one, without the tracks that are missing. Read
are the headers of boxes alone (ISO/IEC 14496-12, 4.2).
"""

from __future__ import annotations

import os
from pathlib import Path

NEEDED = (b"moov", b"moof", b"mdat")
"""Index, index of a fragment, media."""

MOST = 65_536
"""Boxes that are looked at."""


def lacking(path: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Name of the box in which the file ends, and the bytes of it that are missing."""
    with Path(path).open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        start = 0
        for _ in range(MOST):
            file.seek(start)
            head = file.read(16)
            size, name = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:  # told in 64 bits
                size = int.from_bytes(head[8:], "big")
            if len(head) < 8 or size < 8:  # 0: goes on until the file ends
                return None
            if start + size > end:
                return (name.decode(), start + size - end) if name in NEEDED else None
            start += size
    return None
