"""What somebody in the picture looks like for the moment: colours of hair, face and neck.

It tells people in one picture apart after they crossed or came back, within one session, and is
never stored or sent: colours of a few coarse cells, which change with clothes and light. The shape
of a face, which could recognise somebody elsewhere, is not part of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.messages import Float32
from workers.places import Place

COLUMNS, ROWS = 5, 7
_SAMPLES = 6
"""Pixels per side of a cell that are looked at."""

_SIDE, _ABOVE, _BELOW = 0.15, 0.3, 0.2
"""How far the cells reach beyond the box of a face, in its width or height: hair and neck. Further
down the picture of somebody else may begin."""


def appearance(image: NDArray[np.uint8], place: Place) -> Float32:
    """(``ROWS``, ``COLUMNS``, 3) light, red-green and yellow-blue of the face at `place`."""
    height, width = image.shape[:2]
    w, h = place.x1 - place.x0, place.y1 - place.y0
    columns = _spread(place.x0 - _SIDE * w, place.x1 + _SIDE * w, COLUMNS, width)
    rows = _spread(place.y0 - _ABOVE * h, place.y1 + _BELOW * h, ROWS, height)
    pixels = image[np.ix_(rows, columns)].astype(np.float32) / 255
    cells = pixels.reshape(ROWS, _SAMPLES, COLUMNS, _SAMPLES, 3).mean(axis=(1, 3))
    red, green, blue = cells[..., 0], cells[..., 1], cells[..., 2]
    light = (red + green + blue) / 3
    colours = np.stack([light, red - green, (red + green) / 2 - blue], axis=-1)
    return np.asarray(colours, np.float32)


def unlike(first: Float32, second: Float32) -> float:
    """0 for the same appearance. Of nine clips of as many people: up to 0.18 within one, 0.26 and
    more between two.
    """
    light, red, yellow = np.abs(first - second).mean(axis=(0, 1)).tolist()
    return float(light + 2 * red + 2 * yellow)


def _spread(low: float, high: float, cells: int, size: int) -> NDArray[np.int64]:
    places = np.linspace(low, high, cells * _SAMPLES, endpoint=False)
    return np.clip(places, 0, size - 1).astype(np.int64)
