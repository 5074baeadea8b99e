"""What goes into the graph while a call is paused: nothing that could be analysed.

Silence takes the place of sound, and pictures are dropped, so that time goes on for every stage
and nothing has to be caught up with afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from workers.messages import AudioChunk, Control, Gap, Progress, VideoFrame, freeze

Item = AudioChunk | VideoFrame | Control


class Pause:
    """Blanks the input of a session while ``on``; afterwards tells the gaps that this made."""

    def __init__(self, person: str) -> None:
        self.on = False
        self._person = person
        self._since: dict[str, float] = {}
        """Source -> from when on it is blank, as long as that is not told."""

    def filter(self, item: Item) -> list[Item]:
        """What of `item` may be analysed, after the gap that ends with it."""
        match item:
            case AudioChunk():
                blank: Item = replace(item, samples=freeze(np.zeros_like(item.samples)))
                return self._step("audio", item.t0, item, blank)
            case VideoFrame():
                blank = Progress(self._person, "video", item.t)
                return self._step("video", item.t, item, blank)
            case _:
                return [item]

    def _step(
        self, source: Literal["audio", "video"], t: float, item: Item, blank: Item
    ) -> list[Item]:
        if self.on:
            self._since.setdefault(source, t)
            return [blank]
        since = self._since.pop(source, None)
        return [item] if since is None else [Gap(self._person, source, since, t, "paused"), item]
