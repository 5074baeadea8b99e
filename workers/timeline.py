"""Puts pieces of sound onto one sample grid, whatever their sizes, holes and overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.messages import SAMPLE_RATE, Float32

FRAME = SAMPLE_RATE // 50
"""Samples of a 20 ms frame: the raster on which sound leaves the timeline."""

SLACK = SAMPLE_RATE // 200
"""A piece that is at most 5 ms off is joined to what came before. A clock that is fitted to sender
reports moves by single samples all the time: following each would put clicks into the sound."""

TOLD_HOLE = SAMPLE_RATE * 3 // 100
"""Holes longer than 30 ms are reported."""

LONGEST_FILL = 2 * SAMPLE_RATE
"""Longer holes are filled up to here and then skipped, so that a jump of hours costs nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """Whole 20 ms frames that follow each other."""

    start: int
    """Index of the first sample since t = 0, a multiple of ``FRAME``."""
    samples: Float32
    """(``FRAME`` * m,)."""
    provisional: bool


@dataclass(frozen=True, slots=True)
class Hole:
    """Samples [start, stop) never came; the runs hold zeros instead, or leave them out."""

    start: int
    stop: int


class AudioTimeline:
    """A gapless grid at ``SAMPLE_RATE`` from the first sample on.

    What comes out depends only on where each sample was placed, never on how the sound was cut
    into pieces. The grid starts at the first piece, rounded down to whole frames.
    """

    def __init__(self) -> None:
        self._rest: Float32 = np.zeros(0, np.float32)
        self._end: int | None = None
        self._provisional_end = 0

    @property
    def end(self) -> int | None:
        """Index after the last sample, None before the first."""
        return self._end

    def add(self, t0: float, samples: Float32, provisional: bool = False) -> list[Run | Hole]:
        """Place `samples` (n,) at `t0` seconds; return what is whole now, in order.

        With no samples it says that everything before `t0` has come.
        """
        start = round(t0 * SAMPLE_RATE)
        samples = np.nan_to_num(np.asarray(samples, np.float32), posinf=0.0, neginf=0.0)
        if self._end is None:
            start, samples = max(start, 0), samples[max(-start, 0) :]
            if not len(samples):
                return []
            self._end = start
            self._rest = np.zeros(start % FRAME, np.float32)
        out: list[Run | Hole] = []
        ahead = start - self._end
        if ahead > SLACK:
            out += self._fill(ahead)
        elif ahead < -SLACK:
            samples = samples[-ahead:]
        if len(samples):
            out += self._append(samples, provisional)
        return out

    def flush(self) -> list[Run | Hole]:
        """The last frame, completed by zeros."""
        missing = -len(self._rest) % FRAME
        return self._append(np.zeros(missing, np.float32), False) if missing else []

    def _fill(self, count: int) -> list[Run | Hole]:
        assert self._end is not None
        hole = Hole(self._end, self._end + count)
        out: list[Run | Hole] = [hole] if count > TOLD_HOLE else []
        out += self._append(np.zeros(min(count, LONGEST_FILL), np.float32), False)
        if self._end < hole.stop:
            out += self.flush()
            self._end = max(self._end, hole.stop)
            self._rest = np.zeros(hole.stop % FRAME, np.float32)
        return out

    def _append(self, samples: Float32, provisional: bool) -> list[Run | Hole]:
        assert self._end is not None
        start = self._end - len(self._rest)
        self._end += len(samples)
        if provisional:
            self._provisional_end = self._end
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // FRAME * FRAME
        self._rest = joined[whole:]
        split = -(-self._provisional_end // FRAME) * FRAME - start
        split = min(max(split, 0), whole)
        parts = ((0, split, True), (split, whole, False))
        return [Run(start + a, joined[a:b], flag) for a, b, flag in parts if a < b]
