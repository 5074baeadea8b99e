"""The process in which mediapipe looks for faces; the only place that imports mediapipe.

mediapipe reports usage to its maker and has no switch for that. Its reports go through the proxy
that the environment names, so this process gets one that refuses every connection
(``child_environment``). It has a process of its own so that nobody else's connections suffer, and
so that a crash in native code ends no call.

Parent and child speak over one stream socket (``workers.wire``). A request is ``LANDMARKS`` or
``PLACES`` and a picture (H, W, 3), a reply is ``Ready``, ``Failure`` or a tuple of ``FoundFace`` or
``Place``.
"""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers import threads, wire
from workers.child_limits import obey_parent
from workers.face_features import BLENDSHAPES, FoundFace, describe
from workers.places import Place, alone, tiles

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

LANDMARKS, PLACES = 0, 1
"""What is asked of a picture: faces with all their points, or only where faces are."""


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


Reply = Ready | Failure | tuple[FoundFace, ...] | tuple[Place, ...]


def child_environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`base` for the child: no way out to the network, no chatter, this package importable."""
    environment = dict(base)
    threads.limit(environment)
    environment.update(dict.fromkeys(PROXY_VARIABLES, REFUSING_PROXY))
    environment.update({"no_proxy": "", "NO_PROXY": ""})
    environment.update({"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2"})
    root = str(Path(__file__).resolve().parent.parent)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
    return environment


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
        self._model = model
        self._min_confidence = min_confidence
        self._detector: Any = None

    def raw(self, image: NDArray[np.uint8]) -> Any:
        """Return the unprocessed result for (H, W, 3)."""
        return self._landmarker.detect(self._image(image))

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

    def search(self, image: NDArray[np.uint8]) -> tuple[Place, ...]:
        """Where faces are in (H, W, 3), also those too small for the landmarker, surest first.

        The landmarker's own detector looks at overlapping tiles: it sees faces of more than about
        an eighth of what it is given.
        """
        if self._detector is None:
            self._detector = self._new_detector()
        height, width = image.shape[:2]
        found = []
        for x, y, side in tiles(width, height):
            part = image[y : y + side, x : x + side]
            for detection in self._detector.detect(self._image(part)).detections:
                box = detection.bounding_box
                left, top = x + box.origin_x, y + box.origin_y
                sure = float(detection.categories[0].score)
                found.append(Place(left, top, left + box.width, top + box.height, sure))
        return alone(found)

    def close(self) -> None:
        self._landmarker.close()
        if self._detector is not None:
            self._detector.close()

    def _image(self, image: NDArray[np.uint8]) -> Any:
        # mediapipe reads an array with padded rows as if it had none, and then finds nothing
        rgb = self._mediapipe.ImageFormat.SRGB
        return self._mediapipe.Image(image_format=rgb, data=np.ascontiguousarray(image))

    def _new_detector(self) -> Any:
        """The detector inside the landmarker's bundle; only who searches pays for it."""
        from mediapipe.tasks.python import BaseOptions, vision

        with zipfile.ZipFile(self._model) as bundle:
            model = bundle.read("face_detector.tflite")
        options = vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=model),
            min_detection_confidence=self._min_confidence,
        )
        return vision.FaceDetector.create_from_options(options)


def serve(connection: socket.socket, landmarker: Landmarker) -> None:
    """Answer one picture after the other until the parent closes."""
    wire.send(connection, Ready(landmarker.version))
    while True:
        try:
            what, image = wire.receive(connection)
        except (EOFError, ConnectionError):
            return
        reply: Reply
        try:
            reply = (landmarker.search if what == PLACES else landmarker.detect)(image)
        except Exception as error:  # noqa: BLE001 (a boundary: the parent raises it)
            reply = Failure("picture", f"{type(error).__name__}: {error}")
        wire.send(connection, reply)


def main(arguments: list[str]) -> int:
    """Run the child on `arguments` FD, MODEL, NUM_FACES, MIN_CONFIDENCE while stdin is open."""
    obey_parent()
    descriptor, model, num_faces, min_confidence = arguments
    with socket.socket(fileno=int(descriptor)) as connection:
        try:
            landmarker = Landmarker(Path(model), int(num_faces), float(min_confidence))
        except ImportError as error:
            wire.send(connection, Failure("library", str(error)))
            return 1
        except Exception as error:  # noqa: BLE001 (as above; mediapipe raises many kinds)
            kind: Literal["library", "model"] = (
                "library" if "cannot open shared object" in str(error) else "model"
            )
            wire.send(connection, Failure(kind, f"{type(error).__name__}: {error}"))
            return 1
        try:
            serve(connection, landmarker)
        finally:
            landmarker.close()
    return 0
