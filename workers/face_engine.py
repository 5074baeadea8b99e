"""The face process seen from here: asked, and restarted when it dies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers import face_process
from workers.child import START_TIMEOUT, Child, ChildDied, ChildTimeout, Closed, Line
from workers.errors import WorkerError
from workers.face_features import FoundFace
from workers.face_process import LANDMARKS, PLACES, Failure, Ready
from workers.messages import freeze
from workers.places import Place

_FETCH = "run: python -m stream.models fetch face_landmarker"

_PROGRAM = "import sys; from workers import face_process as p; sys.exit(p.main(sys.argv[1:]))"


class FaceError(WorkerError):
    """A picture cannot be looked at, or the face process cannot be used."""


class FaceModelError(FaceError, OSError):
    """The model file or mediapipe itself cannot be loaded."""


class FaceInputError(FaceError, ValueError):
    """The picture is not (H, W, 3) uint8, or mediapipe refuses it."""


class FaceProcessDied(FaceError):
    """The process ended while it looked at this picture. The next call starts a new one."""

    restarts = True


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
        timeout: float = 5.0,
        max_backoff: float = 5.0,
        spare: bool = False,
    ) -> None:
        """`spare`: another process waits to take the place of one that dies.

        `timeout` and `max_backoff` (longest wait before a restart) are in seconds.
        """
        if num_faces < 1:
            raise ValueError(f"num_faces must be at least 1, got {num_faces}")
        self._model = model
        self._arguments = [str(model), str(num_faces), str(min_confidence)]
        self._timeout = timeout
        self._line = Line(self._start, max_backoff, spare=spare)
        # one thread asks: its queue is the line in which calls wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="faces")

    @property
    def restarts(self) -> int:
        """How often the process was started again."""
        return self._line.restarts

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return self._line.pid

    def detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]:
        """Faces in `image` (H, W, 3) RGB uint8 of any size, largest first; waits for its turn.

        Raises ``FaceInputError``, ``FaceProcessDied``, ``FaceTimeout``, ``FaceModelError`` (the
        model vanished before a restart) or ``FaceClosed``.
        """
        found: tuple[FoundFace, ...] = self._in_turn(image, LANDMARKS)
        for face in found:
            freeze(face.landmarks)
            freeze(face.features)
        return found

    def search(self, image: NDArray[np.uint8]) -> tuple[Place, ...]:
        """Where faces are in `image`, also those too small for ``detect``, surest first.

        Otherwise as ``detect``.
        """
        places: tuple[Place, ...] = self._in_turn(image, PLACES)
        return places

    def close(self) -> None:
        """Answer the call in work, refuse those in line, end the process. May be called again."""
        self._line.stop()
        self._thread.shutdown()
        self._line.close()

    def __enter__(self) -> FaceEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_turn(self, image: NDArray[np.uint8], what: int) -> Any:
        image = _checked(image)
        try:
            return self._thread.submit(self._look, image, what).result()
        except RuntimeError:  # the thread takes no more
            if self._line.closing:
                raise _closed() from None
            raise

    def _look(self, image: NDArray[np.uint8], what: int) -> Any:
        reply = self._ask((what, image))
        if isinstance(reply, Failure):
            raise FaceInputError(
                f"mediapipe refused a picture of shape {image.shape}: {reply.text}",
                hint="skip this picture",
            )
        return reply

    def _ask(self, question: object) -> Any:
        try:
            return self._line.ask(question)
        except ChildTimeout as error:
            raise FaceTimeout(error.message, hint=error.hint) from None
        except ChildDied as error:
            raise FaceProcessDied(error.message, hint=error.hint) from None
        except Closed:
            raise _closed() from None

    def _start(self) -> Child:
        if not self._model.is_file():
            raise FaceModelError(f"there is no face model at {self._model}", hint=_FETCH)
        child = Child(
            "face process",
            _PROGRAM,
            self._arguments,
            START_TIMEOUT,
            face_process.child_environment(),
        )
        reply = child.read()
        if isinstance(reply, Ready):
            child.settle(self._timeout)
            return child
        child.close()
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
