"""The process in which mediapipe looks for faces; the only place that imports mediapipe.

mediapipe reports usage to its maker and has no switch for that. Its reports go through the proxy
that the environment names, so this process gets one that refuses every connection
(``child_environment``). It has a process of its own so that nobody else's connections suffer, and
so that a crash in native code ends no call.

Parent and child speak over one stream socket. A request is height and width (two unsigned 32 bit
integers, little endian) and the RGB bytes; a reply is its length and a pickle of ``Ready``, of
``Failure`` or of a tuple of ``FoundFace``. A picture of 640x360 takes less than a millisecond to
get across, against ten in mediapipe: shared memory would save little and could leak.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.child_limits import keep_no_core
from workers.face_features import BLENDSHAPES, FoundFace, describe

REFUSING_PROXY = "http://127.0.0.1:9"
"""Nobody listens on the discard port of this machine."""

PROXY_VARIABLES = (
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
)

_SHAPE = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    version: str
    """Of mediapipe."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in the child, which lives on where `kind` is ``picture``."""

    kind: Literal["library", "model", "picture"]
    text: str


Reply = Ready | Failure | tuple[FoundFace, ...]


def child_environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`base` for the child: no way out to the network, no chatter, this package importable."""
    environment = dict(base)
    environment.update(dict.fromkeys(PROXY_VARIABLES, REFUSING_PROXY))
    environment.update({"no_proxy": "", "NO_PROXY": ""})
    environment.update({"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2"})
    root = str(Path(__file__).resolve().parent.parent)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
    return environment


def send_picture(connection: socket.socket, image: NDArray[np.uint8]) -> None:
    """Send (H, W, 3); `image` must be C-contiguous."""
    connection.sendall(_SHAPE.pack(*image.shape[:2]))
    connection.sendall(image.data.cast("B"))


def receive_picture(connection: socket.socket) -> NDArray[np.uint8]:
    """The next (H, W, 3). Raises EOFError when the other side has closed."""
    height, width = _SHAPE.unpack(_receive(connection, _SHAPE.size))
    return np.frombuffer(_receive(connection, height * width * 3), np.uint8).reshape(
        height, width, 3
    )


def send_reply(connection: socket.socket, reply: Reply) -> None:
    data = pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_reply(connection: socket.socket) -> Reply:
    """The next reply. Raises EOFError when the other side has closed."""
    (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size))
    reply: Reply = pickle.loads(_receive(connection, length))  # noqa: S301 (our own child)
    return reply


def _receive(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the other side has closed")
        view = view[count:]
    return data


class Landmarker:
    """mediapipe's face landmarker for still pictures: a result depends on its picture alone."""

    def __init__(self, model: Path, num_faces: int, min_confidence: float) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self.version: str = mediapipe.__version__
        self._mediapipe: Any = mediapipe
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=num_faces,
            min_face_detection_confidence=min_confidence,
            min_face_presence_confidence=min_confidence,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)

    def raw(self, image: NDArray[np.uint8]) -> Any:
        """Return the unprocessed result for (H, W, 3)."""
        # mediapipe reads an array with padded rows as if it had none, and then finds nothing
        image = np.ascontiguousarray(image)
        rgb = self._mediapipe.ImageFormat.SRGB
        return self._landmarker.detect(self._mediapipe.Image(image_format=rgb, data=image))

    def detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]:
        """All faces in (H, W, 3), largest first."""
        result = self.raw(image)
        found = []
        for points, shapes, matrix in zip(
            result.face_landmarks,
            result.face_blendshapes,
            result.facial_transformation_matrixes,
            strict=True,
        ):
            landmarks = np.array([(p.x, p.y, p.z) for p in points], dtype=np.float32)
            score = {shape.category_name: shape.score for shape in shapes}
            blendshapes = np.array([score[name] for name in BLENDSHAPES], dtype=np.float32)
            found.append(describe(image, landmarks, blendshapes, matrix))
        return tuple(sorted(found, key=lambda face: -face.quality.width))

    def close(self) -> None:
        self._landmarker.close()


def serve(connection: socket.socket, landmarker: Landmarker) -> None:
    """Answer one picture after the other until the parent closes."""
    send_reply(connection, Ready(landmarker.version))
    while True:
        try:
            image = receive_picture(connection)
        except (EOFError, ConnectionError):
            return
        reply: Reply
        try:
            reply = landmarker.detect(image)
        except Exception as error:  # noqa: BLE001 (a boundary: the parent raises it)
            reply = Failure("picture", f"{type(error).__name__}: {error}")
        send_reply(connection, reply)


def main(arguments: list[str]) -> int:
    """Run the child on `arguments` FD, MODEL, NUM_FACES, MIN_CONFIDENCE while stdin is open."""
    keep_no_core()
    descriptor, model, num_faces, min_confidence = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with socket.socket(fileno=int(descriptor)) as connection:
        try:
            landmarker = Landmarker(Path(model), int(num_faces), float(min_confidence))
        except ImportError as error:
            send_reply(connection, Failure("library", str(error)))
            return 1
        except Exception as error:  # noqa: BLE001 (as above; mediapipe raises many kinds)
            kind: Literal["library", "model"] = (
                "library" if "cannot open shared object" in str(error) else "model"
            )
            send_reply(connection, Failure(kind, f"{type(error).__name__}: {error}"))
            return 1
        try:
            serve(connection, landmarker)
        finally:
            landmarker.close()
    return 0


def _end_with_parent() -> None:
    """Leave at once, also in the middle of a picture, when the parent is gone."""
    os.read(0, 1)
    os._exit(0)
