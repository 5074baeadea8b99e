"""A drawn person that the real face landmarker takes for one: faces without anybody's picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

SKIN, HAIR, SHIRT, WALL = (222, 172, 145), (60, 40, 30), (40, 60, 110), (150, 165, 180)


@cache
def face(size: int = 256) -> Image:
    """One frontal face in (size, size, 3), read-only; it is about 0.46 of the picture wide."""
    image = np.full((size, size, 3), WALL, dtype=float)

    def put(
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: tuple[int, int, int],
        soft: float = 0.15,
    ) -> None:
        """Paint an ellipse with a soft edge; lengths on a canvas of 256."""
        rows, columns = np.mgrid[0:size, 0:size] * (256 / size)
        radius = np.sqrt(((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2)
        cover = np.clip((1 - radius) / soft + 0.5, 0, 1)[..., None]
        image[:] = image * (1 - cover) + np.array(colour) * cover

    put(128, 110, 72, 88, HAIR)
    put(128, 240, 70, 60, SHIRT)
    put(128, 200, 26, 40, (200, 150, 125))  # neck
    put(128, 130, 58, 76, SKIN, 0.25)
    for side in (-1, 1):
        eye = 128 + side * 24
        put(eye, 100, 15, 3.5, (70, 45, 35), 0.5)  # brow
        put(eye, 116, 12, 6, (245, 245, 245), 0.3)
        put(eye, 116, 5.5, 5.5, (60, 40, 30), 0.3)
        put(eye, 116, 2.5, 2.5, (10, 10, 10))
        put(eye, 110, 13, 2, (120, 80, 65), 0.8)  # lid
        put(128 + side * 7, 152, 4, 2.5, (150, 95, 80), 0.6)  # nostril
        put(128 + side * 30, 150, 16, 12, (232, 165, 145), 1.0)  # cheek
    put(128, 135, 6, 20, (235, 190, 165), 1.0)  # nose
    put(128, 148, 9, 6, (238, 190, 165), 1.0)
    put(128, 174, 22, 7, (180, 85, 85), 0.4)  # lips
    put(128, 174, 18, 1.2, (110, 40, 45), 0.6)
    drawn = image.clip(0, 255).astype(np.uint8)
    drawn.flags.writeable = False
    return drawn


def scene(width: int, height: int, faces: Sequence[tuple[int, int, int]]) -> Image:
    """A wall of (height, width, 3) with a face of `size` at each (left, top, size)."""
    image = np.full((height, width, 3), WALL, dtype=np.uint8)
    for left, top, size in faces:
        image[top : top + size, left : left + size] = face(size)
    return image
