"""What looking for faces costs: ``python -m benchmarks.face [--clip FILE] [--pictures N]``.

``image`` and ``video`` are mediapipe's two modes, alone in a process: in the first a result depends
on its picture alone, in the second it follows one face from picture to picture. ``engine`` is what
the graph pays: ``FaceEngine`` with its process, to which each picture travels. Jitter is the mean
second difference of the landmarks, in percent of the face's width: trembling and real movement.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import psutil
from numpy.typing import NDArray

from stream import models
from tests.drawn_face import scene
from workers.face import FaceEngine
from workers.face_process import child_environment

Pictures = list[NDArray[np.uint8]]
Look = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]
"""Landmarks (478, 3) of each face in a picture."""

SIZES = ((320, 180), (640, 360), (1280, 720), (1920, 1080))

WARM_UP = 3
"""Pictures that are looked at before time is taken."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What looking for faces costs.")
    parser.add_argument("--clip", type=Path, help="pictures of this recording, 10 per second")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--alone", choices=["image", "video"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = models.path("face_landmarker")
    if arguments.alone:
        look = alone(model, arguments.alone)
        print(json.dumps(measure(look, pickle.load(sys.stdin.buffer))))
        return
    rows = []
    for name, pictures in scenes(arguments.clip, arguments.pictures):
        for mode in ("image", "video", "engine"):
            row = run_engine(model, pictures) if mode == "engine" else run_alone(mode, pictures)
            rows.append({"pictures": name, "mode": mode, **row})
    show(rows)
    print(json.dumps({"benchmark": "face", "rows": rows}))


def scenes(clip: Path | None, count: int) -> Iterator[tuple[str, Pictures]]:
    """Pictures by name: those of the recording, or one and two drawn faces of several sizes."""
    if clip is not None:
        yield clip.name, read(clip, count)
        return
    for width, height in SIZES:
        size, room = height * 3 // 5, width - height * 3 // 5
        places = [(i * room // (4 * count), height // 5, size) for i in range(count)]
        yield f"{width}x{height} 1 face", [scene(width, height, [place]) for place in places]
        if height == 360:
            two = [[place, (room, height // 5, size * 3 // 4)] for place in places]
            yield f"{width}x{height} 2 faces", [scene(width, height, faces) for faces in two]


def read(clip: Path, count: int) -> Pictures:
    pictures: Pictures = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if frame.time >= len(pictures) / 10:
                picture = cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))
                pictures.append(np.ascontiguousarray(picture))
            if len(pictures) == count:
                break
    return pictures


def alone(model: Path, mode: str) -> Look:
    """Load mediapipe into this process."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    landmarker = vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode[mode.upper()],
            num_faces=2,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
    )
    milliseconds = 0

    def look(picture: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        nonlocal milliseconds
        milliseconds += 100
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        video = mode == "video"
        result: Any = (
            landmarker.detect_for_video(image, milliseconds) if video else landmarker.detect(image)
        )
        return [
            np.array([(p.x, p.y, p.z) for p in points], np.float32)
            for points in result.face_landmarks
        ]

    return look


def run_alone(mode: str, pictures: Pictures) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.face", "--alone", mode],
        input=pickle.dumps(pictures),
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    row: dict[str, float] = json.loads(done.stdout)
    return row


def run_engine(model: Path, pictures: Pictures) -> dict[str, float]:
    with FaceEngine(model) as engine:
        assert engine.pid is not None
        child = psutil.Process(engine.pid)
        before = sum(child.cpu_times()[:2])
        row = measure(lambda image: [face.landmarks for face in engine.detect(image)], pictures)
        used = sum(child.cpu_times()[:2]) - before
        row["child_cpu_ms"] = round(used * 1e3 / (len(pictures) + WARM_UP), 1)
        row["child_mb"] = round(child.memory_info().rss / 2**20, 1)
    return row


def measure(look: Look, pictures: Pictures) -> dict[str, float]:
    for picture in pictures[:WARM_UP]:
        look(picture)
    times, faces, largest = [], [], []
    for picture in pictures:
        start = time.perf_counter()
        found = look(picture)
        times.append((time.perf_counter() - start) * 1e3)
        faces.append(len(found))
        if found:
            largest.append(max(found, key=lambda points: float(np.ptp(points[:, 0])))[:, :2])
    p50, p95 = np.percentile(times, (50, 95))
    row = {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}
    row["faces"] = round(float(np.mean(faces)), 2)
    if len(largest) > 2:
        points = np.array(largest)
        width = np.ptp(points[..., 0], axis=1).mean()
        row["jitter_percent"] = round(
            float(np.abs(np.diff(points, 2, axis=0)).mean() / width) * 100, 3
        )
    return row


def show(rows: Sequence[dict[str, Any]]) -> None:
    names = ["pictures", *dict.fromkeys(name for row in rows for name in row if name != "pictures")]
    print(" ".join(f"{name:>18}" for name in names))
    for row in rows:
        print(" ".join(f"{row.get(name, ''):>18}" for name in names))


if __name__ == "__main__":
    main()
