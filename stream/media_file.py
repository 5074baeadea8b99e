"""The file of kept media: encoded frames as they came, in Matroska, in stream time.

What is written at once is one cluster, so that a killed writer leaves all of it readable. Times of
a track only rise. Sound that comes again is left out, as a session leaves it out; pictures are
needed to decode what follows, so one that comes too late follows the last one by a millisecond.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stream import opus
from stream.clock import Stamp
from stream.matroska import Block, Picture, Sound, clusters, header
from stream.receivers import RATES, Kind

CHANNELS = 2
"""What WebRTC says of all Opus (RFC 7587, 7)."""

SIZE = (640, 360)
"""What the header says of H.264; decoders go by its parameters."""


class Kept(NamedTuple):
    """One encoded frame."""

    kind: Kind
    codec: str
    data: bytes
    stamp: Stamp


class MediaFile:
    """Has the tracks of the frames that came first; only its owner may read it, locked while open.

    Methods raise OSError.
    """

    def __init__(self, path: Path, first: dict[Kind, Kept]) -> None:
        """`first`: of each track the first frame."""
        self._codecs = {kind: frame.codec for kind, frame in first.items()}
        self._numbers = {kind: number for number, kind in enumerate(first, start=1)}
        self._newest = dict.fromkeys(first, -1)
        """Milliseconds."""
        self._heard = 0.0
        """Until where there is sound, in seconds."""
        begin = header([_track(frame) for frame in first.values()])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size = 0
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self._append(begin)
        except OSError:
            os.close(self._descriptor)
            path.unlink()
            raise

    def write(self, frames: Sequence[Kept]) -> int:
        """Returns how many were left out: of a codec or kind that came later."""
        blocks, left_out = [], 0
        for frame in frames:
            if self._codecs.get(frame.kind) != frame.codec:
                left_out += 1
            elif frame.kind == "video" or self._is_new(frame):
                block = self._block(frame)
                left_out += not block.data
                blocks += [block] if block.data else []
        self._append(clusters(blocks))
        return left_out

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        """All of it or nothing: half of a cluster would hide what follows."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(data)

    def _is_new(self, sound: Kept) -> bool:
        """Whether most of it lies after what there is, and after the beginning of the session."""
        try:
            length = opus.duration(sound.data) / opus.RATE
        except opus.OpusError:  # kept as it came
            length = 0.0
        if sound.stamp.t + length / 2 < self._heard:
            return False
        self._heard = sound.stamp.t + length
        return True

    def _block(self, frame: Kept) -> Block:
        at = max(round(frame.stamp.t * 1000), self._newest[frame.kind] + 1, 0)
        self._newest[frame.kind] = at
        data, key = frame.data, frame.kind == "audio" or starts_key(frame)
        if frame.codec == "h264":
            data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in _units(data))
        return Block(self._numbers[frame.kind], at, key, data)


def starts_key(frame: Kept) -> bool:
    """Whether a picture can be decoded without any before it.

    Of H.264 that is a key picture with its parameter sets: those of the first are in the header.
    """
    if frame.codec == "vp8":
        return bool(frame.data) and frame.data[0] & 1 == 0
    lengths = {unit[0] & 0x1F: len(unit) for unit in _units(frame.data)}
    return lengths.get(7, 0) >= 4 and lengths.get(8, 0) >= 2 and 5 in lengths


def _track(first: Kept) -> Sound | Picture:
    if first.kind == "audio":
        return Sound(CHANNELS, RATES["audio"])
    if first.codec == "vp8":
        return Picture("vp8", *(_vp8_size(first.data) or SIZE))
    units = {unit[0] & 0x1F: unit for unit in _units(first.data)}
    return Picture("h264", *SIZE, _avc_parameters(units[7], units[8]))


def _units(data: bytes) -> list[bytes]:
    """Units of H.264 between start codes (ITU-T H.264, annex B)."""
    units = (unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", data)[1:])
    return [unit for unit in units if unit]


def _avc_parameters(sequence: bytes, picture: bytes) -> bytes:
    """What a header says of H.264: profile, units with 4 bytes of length, parameter sets."""
    return b"".join(
        (
            b"\x01" + sequence[1:4] + b"\xff\xe1",
            len(sequence).to_bytes(2, "big") + sequence,
            b"\x01" + len(picture).to_bytes(2, "big") + picture,
        )
    )


def _vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a VP8 key frame (RFC 6386, 9.1)."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF
