"""What poor cameras and networks make of pictures: (H, W, 3) RGB uint8 in and out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.uint8]
ChangePicture = Callable[[Image, np.random.Generator], Image]

NOISES = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 80.0)
"""Standard deviations of Gaussian noise, of 255."""
BLURS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations of a Gaussian blur, in hundredths of the width of the picture."""
LIGHTS = (0.6, 0.4, 0.25, 0.15, 0.1, 0.06, 0.03)
"""What is left of the light; a camera in the dark is noisy too."""
READ_NOISE = 3.0
"""Standard deviation of what a camera adds in the dark, of 255."""
SIZES = (0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.15)
"""Size of the scene over that of the picture."""


def noisy(level: float) -> ChangePicture:
    def change(image: Image, rng: np.random.Generator) -> Image:
        return _rounded(image + rng.normal(0.0, level, image.shape))

    return change


def blurred(level: float) -> ChangePicture:
    def change(image: Image, rng: np.random.Generator) -> Image:
        del rng
        sigma = level / 100 * image.shape[1]
        return _rounded(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))

    return change


def darkened(level: float) -> ChangePicture:
    def change(image: Image, rng: np.random.Generator) -> Image:
        return _rounded(image * level + rng.normal(0.0, READ_NOISE, image.shape))

    return change


def shrunk(level: float) -> ChangePicture:
    """The scene is further away: smaller, in the middle of a grey picture of the same size."""

    def change(image: Image, rng: np.random.Generator) -> Image:
        del rng
        height, width = image.shape[:2]
        shape = max(1, round(height * level)), max(1, round(width * level))
        # Each pixel is the mean of those that it covers, as a sensor's is.
        soft = ndimage.gaussian_filter(image.astype(np.float32), (0.4 / level, 0.4 / level, 0))
        rows = ((np.arange(shape[0]) + 0.5) / level).astype(int).clip(0, height - 1)
        columns = ((np.arange(shape[1]) + 0.5) / level).astype(int).clip(0, width - 1)
        made = np.full(image.shape, 110, np.uint8)
        top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
        made[top : top + shape[0], left : left + shape[1]] = _rounded(soft[np.ix_(rows, columns)])
        return made

    return change


def _rounded(image: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
