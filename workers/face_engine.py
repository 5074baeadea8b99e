"""The face process seen from here: started, asked, watched, restarted."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from workers import face_process
from workers.errors import WorkerError
from workers.face_features import FoundFace
from workers.face_process import Failure, Ready, Reply
from workers.messages import freeze

log = logging.getLogger(__name__)

START_TIMEOUT = 60.0
"""Seconds for importing mediapipe and loading the model; about 2 on an idle machine."""

_FETCH = "run: python -m stream.models fetch face_landmarker"

_PROGRAM = "import sys; from workers import face_process as p; sys.exit(p.main(sys.argv[1:]))"

_CHATTER = re.compile(r"[IW]\d{4} |INFO:|WARNING:|$")
"""How lines start that mediapipe, TensorFlow Lite and absl write below the level of an error."""


class FaceError(WorkerError):
    """A picture cannot be looked at, or the face process cannot be used."""


class FaceModelError(FaceError, OSError):
    """The model file or mediapipe itself cannot be loaded."""


class FaceInputError(FaceError, ValueError):
    """The picture is not (H, W, 3) uint8, or mediapipe refuses it."""


class FaceProcessDied(FaceError):
    """The process ended while it looked at this picture. The next call starts a new one."""


class FaceTimeout(FaceProcessDied):
    """The process did not answer in time and was ended. The next call starts a new one."""


class FaceClosed(FaceError):
    """The engine was closed before this call could be answered."""


class FaceEngine:
    """Finds faces for everybody: one process, calls are answered first come, first served.

    Safe to share between threads. Results depend on the picture alone, so one engine serves any
    number of people. Raises ``FaceModelError`` when the model cannot be loaded.
    """

    def __init__(
        self,
        model: Path,
        num_faces: int = 2,
        *,
        min_confidence: float = 0.5,
        timeout: float = 10.0,
        max_backoff: float = 5.0,
    ) -> None:
        """`timeout` and `max_backoff` (longest wait before a restart) are in seconds."""
        if num_faces < 1:
            raise ValueError(f"num_faces must be at least 1, got {num_faces}")
        self.restarts = 0
        """How often the process was started again."""
        self._model = model
        self._arguments = [str(model), str(num_faces), str(min_confidence)]
        self._timeout = timeout
        self._max_backoff = max_backoff
        self._deaths = 0  # in a row
        self._closing = threading.Event()
        self._close_lock = threading.Lock()
        self._process: _Process | None = self._start()
        # one thread owns the process from here on: its queue is the line in which calls wait
        self._line = ThreadPoolExecutor(1, thread_name_prefix="faces")

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        process = self._process
        return process.pid if process else None

    def detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]:
        """Faces in `image` (H, W, 3) RGB uint8 of any size, largest first; waits for its turn.

        Raises ``FaceInputError``, ``FaceProcessDied``, ``FaceTimeout``, ``FaceModelError`` (the
        model vanished before a restart) or ``FaceClosed``.
        """
        image = _checked(image)
        try:
            return self._line.submit(self._detect, image).result()
        except RuntimeError:  # the line takes no more
            if self._closing.is_set():
                raise _closed() from None
            raise

    def close(self) -> None:
        """Answer the call in work, refuse those in line, end the process. May be called again."""
        self._closing.set()
        self._line.shutdown()
        with self._close_lock:
            if self._process is not None:
                self._process.close()
                self._process = None

    def __enter__(self) -> FaceEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]:
        if self._closing.is_set():
            raise _closed()
        process = self._process or self._restart()
        try:
            reply = process.ask(image)
        except FaceProcessDied as error:
            self._process = None
            self._deaths += 1
            log.error("%s", error.message)
            raise
        self._deaths = 0
        if isinstance(reply, Failure):
            raise FaceInputError(
                f"mediapipe refused a picture of shape {image.shape}: {reply.text}",
                hint="skip this picture",
            )
        assert isinstance(reply, tuple)
        for face in reply:
            freeze(face.landmarks)
            freeze(face.features)
        return reply

    def _restart(self) -> _Process:
        delay = 0.0 if self._deaths < 2 else min(0.25 * 2.0**self._deaths, self._max_backoff)
        if self._closing.wait(delay):
            raise _closed()
        self.restarts += 1
        try:
            self._process = self._start()
        except FaceError:
            self._deaths += 1
            raise
        return self._process

    def _start(self) -> _Process:
        if not self._model.is_file():
            raise FaceModelError(f"there is no face model at {self._model}", hint=_FETCH)
        process = _Process(self._arguments, START_TIMEOUT)
        reply = process.read()
        if isinstance(reply, Ready):
            process.settle(self._timeout)
            return process
        process.close()
        assert isinstance(reply, Failure)
        if reply.kind == "library":
            raise FaceModelError(
                f"mediapipe cannot be loaded: {reply.text}",
                hint="run: make setup (needs the packages libgl1 libegl1 libgles2 libglib2.0-0)",
            )
        raise FaceModelError(
            f"the face model {self._model} cannot be loaded: {reply.text}",
            hint=_FETCH,
        )


class _Process:
    """One life of the child. Every way out of it leaves no process, socket or thread behind."""

    def __init__(self, arguments: list[str], timeout: float) -> None:
        self._timeout = timeout
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout)
        command = [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())]
        with theirs:
            self._popen = subprocess.Popen(
                command + arguments,
                stdin=subprocess.PIPE,  # its end tells the child that we are gone
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=face_process.child_environment(),
            )
        self.pid = self._popen.pid
        self._errors: deque[str] = deque(maxlen=5)
        assert self._popen.stderr is not None
        self._reader = threading.Thread(
            target=_read_errors, args=(self._popen.stderr, self._errors), daemon=True
        )
        self._reader.start()

    def settle(self, timeout: float) -> None:
        """From now on wait at most `timeout` seconds for an answer."""
        self._timeout = timeout
        self._socket.settimeout(timeout)

    def ask(self, image: NDArray[np.uint8]) -> Reply:
        """Send (H, W, 3) and wait for the answer."""
        try:
            face_process.send_picture(self._socket, image)
        except TimeoutError:
            raise self._hangs() from None
        except OSError:
            raise self._died() from None
        return self.read()

    def read(self) -> Reply:
        """Wait for the next answer."""
        try:
            return face_process.receive_reply(self._socket)
        except TimeoutError:
            raise self._hangs() from None
        except (EOFError, OSError):
            raise self._died() from None

    def close(self) -> None:
        """End it in order (mediapipe closes its model), by force if it does not obey."""
        self._socket.close()
        self._end(patience=5.0)

    def _died(self) -> FaceProcessDied:
        self._socket.close()
        status = self._end(patience=1.0)
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        errors = f": {' | '.join(self._errors)}" if self._errors else ""
        return FaceProcessDied(
            f"the face process {self.pid} died ({how}){errors}",
            hint="it is started again with the next picture; if it keeps dying, check memory",
        )

    def _hangs(self) -> FaceTimeout:
        self._socket.close()
        self._end(patience=0.0)
        return FaceTimeout(
            f"the face process {self.pid} gave no answer within {self._timeout:g} s and was ended",
            hint="it is started again with the next picture; if it keeps hanging, check the load",
        )

    def _end(self, patience: float) -> int:
        """Wait `patience` seconds for the child to end, then kill it; return its status."""
        try:
            status = self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            status = self._popen.wait()
        assert self._popen.stdin is not None
        assert self._popen.stderr is not None
        self._popen.stdin.close()
        self._reader.join()
        self._popen.stderr.close()
        return status


def _read_errors(stream: IO[bytes], errors: deque[str]) -> None:
    """Keep and log what the child says in trouble; leave out the chatter of its libraries."""
    for data in stream:
        line = data.decode(errors="replace").rstrip()
        if not _CHATTER.match(line):
            errors.append(line)
            log.warning("face process: %s", line)


def _checked(image: object) -> NDArray[np.uint8]:
    """`image` in one block of memory. Raises ``FaceInputError``."""
    kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise FaceInputError(f"a picture must be uint8, got {kind}", hint="convert it to RGB 0-255")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise FaceInputError(
            f"a picture must be (height, width, 3), got {kind}", hint="convert it to RGB"
        )
    return np.ascontiguousarray(image)


def _closed() -> FaceClosed:
    return FaceClosed("the face engine is closed", hint="make a new FaceEngine")
