"""The file of kept media: encoded frames as they came, in Matroska, in stream time.

A cluster every half second, so that a killed writer leaves everything but the last one readable.
Times of a track only rise. Sound that comes again is left out, as a session leaves it out; pictures
are needed to decode what follows, so one that comes too late follows the last one by a millisecond.
"""

from __future__ import annotations

import contextlib
import fcntl
import fractions
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from stream import opus
from stream.clock import Stamp
from stream.receivers import RATES, Kind

OPTIONS = {"live": "1", "cluster_time_limit": "500", "flush_packets": "1"}

MS = fractions.Fraction(1, 1000)

NAMES = {"opus": "libopus", "vp8": "vp8", "h264": "h264"}
"""Codec, as RTP calls it, lower case -> as FFmpeg does."""

SIZE = (640, 360)
"""What the header says where the stream does not say it in its first frame; decoders go by that."""


class Kept(NamedTuple):
    """One encoded frame."""

    kind: Kind
    codec: str
    data: bytes
    stamp: Stamp


class _Disk:
    """A file that only its owner may read, locked while it is open; PyAV writes to it.

    FFmpeg gives a file up after its first error: here it hears of none, and ``refusal`` tells.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self.size = 0
        self.refusal: OSError | None = None
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> int:
        """All of it, or what there is room for."""
        view = memoryview(data)
        while view and self.refusal is None:
            try:
                count = os.write(self.descriptor, view)
            except OSError as error:
                self.refusal = error
                break
            self.size += count
            view = view[count:]
        return len(data)

    def cut(self, size: int) -> None:
        """Take back what was written after `size`: half of it would hide what follows."""
        self.refusal = None
        os.ftruncate(self.descriptor, size)
        os.lseek(self.descriptor, size, os.SEEK_SET)
        self.size = size


class MediaFile:
    """Matroska with the tracks of the frames that came first."""

    def __init__(self, path: Path, first: dict[Kind, Kept]) -> None:
        """`first`: of each track the first frame. Raises OSError."""
        self._disk = _Disk(path)
        self._container: OutputContainer = av.open(
            self._disk, "w", format="matroska", options=OPTIONS
        )
        self._codecs = {kind: frame.codec for kind, frame in first.items()}
        self._newest = dict.fromkeys(first, -1)
        """Milliseconds."""
        self._failed = False
        self._heard = 0.0
        """Until where there is sound, in seconds."""
        self._tracks = {kind: _track(self._container, frame) for kind, frame in first.items()}

    def write(self, frames: Sequence[Kept]) -> int:
        """Returns how many were left out: of a codec or kind that came later, or unreadable."""
        left_out, good = 0, self._disk.size
        for frame in frames:
            if self._failed or self._codecs.get(frame.kind) != frame.codec:
                left_out += 1
            elif frame.kind == "video" or self._is_new(frame):
                left_out += not self._mux(frame)
        refusal = self._disk.refusal
        if refusal is not None:
            with contextlib.suppress(OSError):
                self._disk.cut(good)
            raise refusal
        return left_out

    @property
    def size(self) -> int:
        """Bytes; 0: not even its header could be written."""
        return self._disk.size

    def sync(self) -> None:
        os.fdatasync(self._disk.descriptor)

    def close(self) -> None:
        try:
            with contextlib.suppress(FFmpegError):
                self._container.close()
        finally:
            os.close(self._disk.descriptor)

    def _mux(self, frame: Kept) -> bool:
        try:
            self._container.mux(self._packet(frame))
        except FFmpegError:  # of what strangers sent; a muxer that failed must not be used again
            self._failed = True
        return not self._failed

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

    def _packet(self, frame: Kept) -> Packet[Any]:
        at = max(round(frame.stamp.t * 1000), self._newest[frame.kind] + 1, 0)
        self._newest[frame.kind] = at
        packet = Packet(frame.data)
        packet.stream = self._tracks[frame.kind]
        packet.time_base = MS
        packet.pts = packet.dts = at
        packet.is_keyframe = frame.kind == "audio" or starts_key(frame)
        return packet


def _track(container: OutputContainer, first: Kept) -> Any:
    name = NAMES[first.codec]
    if first.kind == "audio":  # an encoder, unused, for what the header says of Opus
        return container.add_stream(name, rate=RATES["audio"])
    width, height = _vp8_size(first.data) or SIZE
    return container.add_mux_stream(name, width=width, height=height)


def starts_key(frame: Kept) -> bool:
    """Whether a picture can be decoded without any before it.

    Of H.264 that is a key picture with its parameter sets. FFmpeg takes what the header says from
    those of the first one, and crashes (8.1) where it goes on without them.
    """
    if frame.codec == "vp8":
        return bool(frame.data) and frame.data[0] & 1 == 0
    units = re.split(b"\0\0\1", frame.data)[1:]
    lengths = {unit[0] & 0x1F: len(unit) for unit in reversed(units) if unit}
    return lengths.get(7, 0) >= 4 and lengths.get(8, 0) >= 2 and 5 in lengths


def _vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a VP8 key frame (RFC 6386, 9.1)."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF
