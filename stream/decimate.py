"""Choose which pictures are analysed, before anything costly is done to them."""

from __future__ import annotations

import math


class Decimator:
    """Keeps the first picture of every 1/fps seconds of stream time.

    Buckets are fixed to stream time, so that live and replay keep the same pictures.
    """

    def __init__(self, fps: float) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"frames per second must be above 0, got {fps}")
        self._fps = fps
        self._last: int | None = None

    def keep(self, t: float) -> bool:
        """Whether the picture at `t` is analysed; pictures come in the order of time."""
        bucket = math.floor(t * self._fps + 1e-6)
        if self._last is not None and bucket <= self._last:
            return False
        self._last = bucket
        return True
