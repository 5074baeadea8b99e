"""Recordings as a source of messages, decoded in a child process.

A crash of the decoder is an error here, not a crash: what was decoded before it is given first.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stream.errors import MediaError
from workers.messages import AudioChunk, Gap, Progress, VideoFrame

MediaItem = AudioChunk | VideoFrame | Gap | Progress

MAX_BYTES = 256 * 2**20
"""Largest message that is accepted from the child (a picture is a few MiB at most)."""

CONVERT = "repair or convert it, e.g. ffmpeg -i IN -c:v libx264 -c:a aac OUT.mp4"


@dataclass(frozen=True, slots=True)
class Request:
    """What the child is to read; see ``open_media``."""

    path: str
    person: str
    fps: float
    max_width: int
    audio: bool
    video: bool
    as_stored: bool = False


class Media:
    """An open recording, iterated once, in order of time; see ``open_media``.

    Iteration ends with ``MediaError``, after everything that could be decoded, when the decoder
    crashed or a stream broke off. Each source ends with ``Progress(person, source, END)``; one
    that the file lacks ends at once. Close it (or leave its ``with`` block) to end the child.
    """

    def __init__(self, path: Path, person: str, child: subprocess.Popen[bytes], link: Connection):
        self.path = path
        self.name = path.name
        self.person = person
        self.has_audio = self.has_video = False
        self.duration: float | None = None
        """Seconds, as the file says."""
        self.warnings: list[str] = []
        """Complete after iteration: damage that did not end it."""
        self.position = 0.0
        """Stream time reached, in seconds."""
        self._child = child
        self._link = link
        self._receiving = threading.Lock()
        self._exact = False
        self._closed = threading.Event()
        try:
            self._describe(self._receive())
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def __iter__(self) -> Iterator[MediaItem]:
        while not self._closed.is_set():
            try:
                header = self._receive()
                if header["kind"] == "end":
                    self._finish(header)
                    return
                item = self._message(header)
            except MediaError:
                if self._closed.is_set():
                    return  # closed while waiting, by another thread
                raise
            yield item

    def close(self) -> None:
        """End the child. Safe at any time, from any thread and more than once."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._child.kill()  # a thread that waits for the child stops waiting
        self._child.wait()
        with self._receiving:
            self._link.close()

    def __enter__(self) -> Media:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _describe(self, header: dict[str, Any]) -> None:
        self.has_audio, self.has_video = header["has_audio"], header["has_video"]
        self.duration = header["duration"]
        self._exact = header["exact"]

    def _message(self, header: dict[str, Any]) -> MediaItem:
        match header["kind"]:
            case "audio":
                samples = np.frombuffer(self._receive_bytes(), np.float32)
                chunk = AudioChunk(self.person, header["t"], samples)
                self._reached(chunk.t1)
                return chunk
            case "video":
                pixels = np.frombuffer(self._receive_bytes(), np.uint8)
                self._reached(header["t"])
                return VideoFrame(self.person, header["t"], pixels.reshape(header["shape"]))
            case "gap":
                t0, t1, reason = header["t0"], header["t1"], header["reason"]
                return Gap(self.person, header["source"], t0, t1, reason)
            case _:
                self._reached(header["t"])
                return Progress(self.person, header["source"], header["t"])

    def _reached(self, t: float) -> None:
        if np.isfinite(t):
            self.position = max(self.position, t)

    def _receive(self) -> dict[str, Any]:
        header: dict[str, Any] = json.loads(self._receive_bytes())
        if header["kind"] == "error":
            raise MediaError(header["message"], hint=header["hint"])
        return header

    def _receive_bytes(self) -> bytes:
        try:
            with self._receiving:
                return self._link.recv_bytes(MAX_BYTES)
        except (EOFError, OSError):
            raise self._crash() from None

    def _crash(self) -> MediaError:
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return MediaError(
            f"the decoder crashed on {self.path} at about {self.position:.1f} s ({how})",
            hint=f"the file is probably damaged: {CONVERT}",
        )

    def _finish(self, header: dict[str, Any]) -> None:
        if header["damaged"]:
            self.warnings.append(f"{header['damaged']} damaged packets were skipped")
        problems = header["problems"]
        missing = (self.duration or 0.0) - self.position
        if self._exact and missing > max(1.0, 0.05 * self.position):
            problems.append(f"the file says that it lasts {self.duration:.1f} s")
        if problems:
            raise MediaError(
                f"{self.path} could be read only to about {self.position:.1f} s: "
                + "; ".join(problems),
                hint=f"what was read is used; the file may be cut off: {CONVERT}",
            )


def open_media(
    path: str | os.PathLike[str],
    *,
    fps: float,
    max_width: int = 640,
    audio: bool = True,
    video: bool = True,
    person: str = "p1",
    as_stored: bool = False,
) -> Media:
    """Open a recording: mp4, mov, mkv, webm, wav, flac, mp3 and relatives.

    Sound comes as mono ``AudioChunk``s of at most 100 ms. Of every 1/`fps` seconds the first
    picture comes as ``VideoFrame``, upright, at most `max_width` pixels wide; the others as
    ``Progress(person, "video", t)``. Holes in the file stay holes.
    Times begin with the first sound or picture; `as_stored`: they are those of the file.

    Raises ``MediaError`` for what is not a readable recording with sound (if `audio`) or pictures
    (if `video`).
    """
    file = Path(path)
    _check(file)
    request = Request(str(file), person, fps, max_width, audio, video, as_stored)
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "stream.decode_process"),
                *(str(theirs.fileno()), json.dumps(asdict(request))),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": _import_path()},
        )
    return Media(file, person, child, Connection(ours.detach()))


def _check(path: Path) -> None:
    hint = "check the path"
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a recording", hint="give the files inside it")
    if not path.exists():
        raise MediaError(f"{path} does not exist", hint=hint)
    if not path.is_file():
        raise MediaError(f"{path} is not a regular file", hint="copy what it gives into a file")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path} may not be read", hint="change its permissions")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty", hint="record or copy it again")


def _import_path() -> str:
    """Where the child finds this package, whatever the working directory of the parent."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
