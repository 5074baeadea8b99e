"""Media of a call as it was received, kept where a person agreed to exactly that.

Encoded frames are written as they came, without transcoding, into Matroska in stream time; a
cluster every half second, so that a killed writer leaves everything but the last one readable. A
log beside it (``media.log``) says until when the file may be kept, and how RTP timestamps lie in
stream time.
"""

from __future__ import annotations

import contextlib
import fcntl
import fractions
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import OutputContainer
from av.packet import Packet

from stream.buffers import Encoded
from stream.clock import Stamp
from stream.receivers import RATES, Kind
from stream.record_log import Line, LogWriter

LIMIT = 16 * 1024 * 1024
"""Bytes that wait to be written while the disk is slow; of what is more the oldest goes."""

WAIT_S = 3.0
"""In the file's header are the tracks that had come so long after the first frame."""

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


class MediaQueue:
    """What one call has received and is not yet written. Safe between threads."""

    def __init__(self, kinds: frozenset[Kind]) -> None:
        self.kinds = kinds
        """What is kept."""
        self.paused: Callable[[], bool] = lambda: False
        """True: what comes is not kept."""
        self._lock = threading.Lock()
        self._waiting: list[Kept] = []
        self._bytes = 0
        self._dropped = 0

    def put(self, kind: Kind, codec: str, encoded: Encoded) -> None:
        """Any thread: one frame as it was received."""
        if kind not in self.kinds or self.paused():
            return
        frame = Kept(kind, codec, encoded.data, encoded.stamp)
        with self._lock:
            self._waiting.append(frame)
            self._bytes += len(frame.data)
            while self._bytes > LIMIT:
                self._bytes -= len(self._waiting.pop(0).data)
                self._dropped += 1

    def stop(self, kinds: Iterable[Kind]) -> None:
        """Nothing of `kinds` is kept any more."""
        self.kinds -= frozenset(kinds)

    def take(self) -> tuple[list[Kept], int]:
        """All frames that wait, and how many were dropped since the last time."""
        with self._lock:
            taken = self._waiting, self._dropped
            self._waiting, self._bytes, self._dropped = [], 0, 0
        return taken


class MediaWriter:
    """The media of one session on disk. Blocks; for one thread. Methods raise OSError."""

    def __init__(self, log: Path, media: Path, header: dict[str, Any], queue: MediaQueue) -> None:
        self.lost = 0
        """Frames that could not be written."""
        self._paths = log, media
        self._header = header
        self._queue = queue
        self._log: LogWriter | None = None
        self._file: _File | None = None
        self._early: list[Kept] = []
        self._lines: dict[Kind, object] = {}
        self._number = 0

    def write(self, *, last: bool = False) -> None:
        """Write what waits; `last`: nothing more will come."""
        frames, dropped = self._queue.take()
        self.lost += dropped
        self._early += frames
        if not self._early or not (last or self._file or self._all_there()):
            return
        frames, self._early = self._early, []
        try:
            if self._file is None:
                self._open(frames)
            assert self._log is not None and self._file is not None
            lines = self._new_lines(frames)
            if lines:
                self._log.append(lines)
            self.lost += self._file.write(frames)
        except OSError:
            self.lost += len(frames)
            if self._file is not None and self._file.empty:
                self._file.close()
                self._file = None
                self._paths[1].unlink()
            raise

    def sync(self) -> None:
        if self._log is not None:
            self._log.sync()
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        try:
            self.write(last=True)
        finally:
            if self._file is not None:
                self._file.close()
            if self._log is not None:
                self._log.close()

    def _all_there(self) -> bool:
        """Whether every track has begun, or may be left out."""
        begun = {frame.kind for frame in self._early}
        times = [frame.stamp.t for frame in self._early]
        return begun >= self._queue.kinds or max(times) - min(times) > WAIT_S

    def _open(self, frames: Sequence[Kept]) -> None:
        log, media = self._paths
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log is None:
            self._log = LogWriter(log, self._header)
        first = {frame.kind: frame for frame in reversed(frames)}
        self._file = _File(media, first)

    def _new_lines(self, frames: Sequence[Kept]) -> list[Line]:
        """How RTP time lies in stream time, wherever that changes."""
        lines: list[Line] = []
        for frame in frames:
            line = frame.stamp.line
            if self._lines.get(frame.kind) != line:
                self._lines[frame.kind] = line
                self._number += 1
                told = {"rtp": frame.stamp.timestamp, "t": round(frame.stamp.t, 6)}
                rate = RATES[frame.kind]
                lines.append(
                    (self._number, {"type": "line", "track": frame.kind, "rate": rate, **told})
                )
        return lines


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


class _File:
    """Matroska with the tracks of the frames that came first."""

    def __init__(self, path: Path, first: dict[Kind, Kept]) -> None:
        self._disk = _Disk(path)
        self._container: OutputContainer = av.open(
            self._disk, "w", format="matroska", options=OPTIONS
        )
        self._codecs = {kind: frame.codec for kind, frame in first.items()}
        self._newest = dict.fromkeys(first, -1)
        self._tracks = {kind: _track(self._container, frame) for kind, frame in first.items()}

    def write(self, frames: Sequence[Kept]) -> int:
        """Returns how many were left out: of a codec or kind that came later."""
        left_out, good = 0, self._disk.size
        for frame in frames:
            if self._codecs.get(frame.kind) != frame.codec:
                left_out += 1
                continue
            self._container.mux(self._packet(frame))
        refusal = self._disk.refusal
        if refusal is not None:
            with contextlib.suppress(OSError):
                self._disk.cut(good)
            raise refusal
        return left_out

    @property
    def empty(self) -> bool:
        """Whether not even its header could be written."""
        return self._disk.size == 0

    def sync(self) -> None:
        os.fdatasync(self._disk.descriptor)

    def close(self) -> None:
        try:
            self._container.close()
        finally:
            os.close(self._disk.descriptor)

    def _packet(self, frame: Kept) -> Packet[Any]:
        at = max(round(frame.stamp.t * 1000), self._newest[frame.kind] + 1, 0)
        self._newest[frame.kind] = at
        packet = Packet(frame.data)
        packet.stream = self._tracks[frame.kind]
        packet.time_base = MS
        packet.pts = packet.dts = at
        packet.is_keyframe = frame.kind == "audio" or _starts_key(frame)
        return packet


def _track(container: OutputContainer, first: Kept) -> Any:
    name = NAMES[first.codec]
    if first.kind == "audio":  # an encoder, unused, for what the header says of Opus
        return container.add_stream(name, rate=RATES["audio"])
    width, height = _vp8_size(first.data) or SIZE
    return container.add_mux_stream(name, width=width, height=height)


def _starts_key(frame: Kept) -> bool:
    if frame.codec == "vp8":
        return bool(frame.data) and frame.data[0] & 1 == 0
    return b"\x00\x00\x01\x67" in frame.data[:64] or b"\x00\x00\x01\x65" in frame.data[:64]


def _vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a VP8 key frame (RFC 6386, 9.1)."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF
