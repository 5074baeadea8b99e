"""Media of a call as it was received, kept where a person agreed to exactly that.

What is received waits in a queue until it is written (``stream.media_file``). A log beside the
file (``media.log``) says until when it may be kept, and how RTP timestamps lie in stream time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stream.buffers import Encoded
from stream.clock import JUMP_S
from stream.clock import Line as ClockLine
from stream.media_file import Kept, MediaFile, starts_key
from stream.receivers import RATES, Keep, Kind
from stream.record_log import Line, LogWriter

LIMIT = 16 * 1024 * 1024
"""Bytes that wait to be written while the disk is slow; of what is more the oldest goes."""

WAIT_S = 3.0
"""In the file's header are the tracks that had come so long after the first frame."""

SETTLE_S = 1.0
"""What comes first is placed by its arrival, and came late where it waited for the connection to
stand: all of it is placed by what is known after so long, or after the first sender reports."""


ASKS = 300
"""Pictures of a sender who makes no whole key frame for which one is asked for."""


class MediaQueue:
    """What one call has received and is not yet written. Safe between threads.

    Of pictures those are left out that rest on one that is not kept.
    """

    def __init__(self, kinds: frozenset[Kind]) -> None:
        self.kinds = kinds
        """What is kept."""
        self.paused: Callable[[], bool] = lambda: False
        """True: what comes is not kept."""
        self._lock = threading.Lock()
        self._waiting: list[Kept] = []
        self._bytes = 0
        self._dropped = 0
        self._inlets = 0
        self._current = 0
        self._wants_key_frame = "video" in kinds
        self._asked = 0

    def inlet(self) -> Keep:
        """Takes the frames of one connection, from any thread; True: a key frame is needed.

        When something has come over a later connection, nothing is kept of the earlier one.
        """
        self._inlets += 1
        return partial(self._put, self._inlets)

    def _put(self, inlet: int, kind: Kind, codec: str, encoded: Encoded) -> bool:
        if kind not in self.kinds:
            return False
        frame = Kept(kind, codec, encoded.data, encoded.stamp)
        with self._lock:
            if inlet < self._current:
                return False
            self._current = inlet
            if self.paused():
                self._wants_key_frame |= kind == "video"
                return False
            if kind == "video" and self._wants_key_frame:
                if not starts_key(frame):
                    self._asked += 1
                    return self._asked <= ASKS
                self._wants_key_frame, self._asked = False, 0
            self._waiting.append(frame)
            self._bytes += len(frame.data)
            self._shed()
            return self._wants_key_frame

    def stop(self, kinds: Iterable[Kind]) -> None:
        """Nothing of `kinds` is kept any more."""
        self.kinds -= frozenset(kinds)

    def take(self) -> tuple[list[Kept], int]:
        """All frames that wait, and how many were dropped since the last time."""
        with self._lock:
            taken = self._waiting, self._dropped
            self._waiting, self._bytes, self._dropped = [], 0, 0
        return taken

    def lost(self, frames: Iterable[Kept]) -> None:
        """`frames` were taken and could not be written."""
        if any(frame.kind == "video" for frame in frames):
            with self._lock:
                self._drop_pictures()

    def _shed(self) -> None:
        """Drop the oldest while too much waits."""
        pictures = False
        while self._bytes > LIMIT:
            frame = self._waiting.pop(0)
            self._bytes -= len(frame.data)
            self._dropped += 1
            pictures |= frame.kind == "video"
        if pictures:
            self._drop_pictures()

    def _drop_pictures(self) -> None:
        """Drop those that wait, until a key frame."""
        left: list[Kept] = []
        self._wants_key_frame = True
        for frame in self._waiting:
            if frame.kind == "video" and self._wants_key_frame:
                self._wants_key_frame = not starts_key(frame)
            if frame.kind == "audio" or not self._wants_key_frame:
                left.append(frame)
        self._dropped += len(self._waiting) - len(left)
        self._bytes = sum(len(frame.data) for frame in left)
        self._waiting = left


class MediaWriter:
    """The media of one session on disk. Blocks; for one thread. Methods raise OSError."""

    def __init__(self, log: Path, media: Path, header: dict[str, Any], queue: MediaQueue) -> None:
        self.lost = 0
        """Frames that could not be written."""
        self._paths = log, media
        self._header = header
        self._queue = queue
        self._log: LogWriter | None = None
        self._file: MediaFile | None = None
        self._early: list[Kept] = []
        self._lines: dict[Kind, object] = {}
        self._number = 0

    def write(self, *, last: bool = False) -> None:
        """Write what waits; `last`: nothing more will come."""
        frames, dropped = self._queue.take()
        self.lost += dropped
        self._early += frames
        if not self._early or not (last or self._file or self._settled()):
            return
        frames, self._early = self._early, []
        if self._file is None:
            frames = _placed_again(frames)
        try:
            if self._file is None:
                self._open(frames)
            assert self._log is not None and self._file is not None
            lines = self._new_lines(frames)
            if lines:
                self._log.append(lines)
            self.lost += self._file.write(frames)
        except OSError:
            self._lines.clear()  # perhaps not told
            self.lost += len(frames)
            self._queue.lost(frames)
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

    def _settled(self) -> bool:
        """Whether every track has begun, or may be left out, and where they lie is known."""
        newest = {frame.kind: frame.stamp.line for frame in self._early}
        times = [frame.stamp.t for frame in self._early]
        span = max(times) - min(times)
        known = not any(line.provisional for line in newest.values())
        return span > WAIT_S or (newest.keys() >= self._queue.kinds and (known or span > SETTLE_S))

    def _open(self, frames: Sequence[Kept]) -> None:
        log, media = self._paths
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log is None:
            self._log = LogWriter(log, self._header)
        first = {frame.kind: frame for frame in reversed(frames)}
        self._file = MediaFile(media, first)

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


def _placed_again(frames: Sequence[Kept]) -> list[Kept]:
    """`frames` by the newest line of their tracks, until where RTP timestamps jumped."""
    lines: dict[Kind, ClockLine] = {}
    placed = []
    for frame in reversed(frames):
        line = lines.get(frame.kind, frame.stamp.line)
        if abs(line.time(frame.stamp.timestamp) - frame.stamp.t) > JUMP_S:
            line = frame.stamp.line
        lines[frame.kind] = line
        placed.append(frame._replace(stamp=frame.stamp._replace(line=line)))
    return placed[::-1]
