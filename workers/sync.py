"""How well the movements of a mouth go with a sound: who speaks, seen rather than recognised.

The score is the mean of correlations over some seconds between what a mouth does and what is heard:
open lips go with energy, a lowered lip and jaw with fricatives and open vowels, a raised upper lip
with a high second formant, movement with loudness. All pairs count alike; nothing is trained. Pairs
were chosen on nine clips of seven people, everybody against the mouths of all the others, who speak
too: with the pairs that the other six people chose, the score of a person's own mouth over 3 s is
above that of another one in .88 of cases (.60 to 1.0 by person); energy against opening alone: .80.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from workers.face_features import BLENDSHAPES
from workers.messages import SAMPLE_RATE, Bool, Face, Float32, VoicedAudio

STEP = SAMPLE_RATE * 2 // 25
STEP_S = STEP / SAMPLE_RATE
"""Mouths and sounds are compared every 80 ms."""
AROUND = 400
"""Samples on either side of a step that are looked at too."""
KEPT_S = 12.0
"""Of sounds and mouths."""
LOUDEST_S = 30.0
"""The floor under energies follows the loudest step of so many seconds."""
LONGEST_HOLE_S = 0.5
"""A mouth that was not seen for longer is not compared."""
STILL = 0.012
"""Standard deviation of the opening (over the height of the face) of a mouth that moves; what
moves less cannot speak as well as its correlations say."""

Float64 = NDArray[np.float64]

_FREQUENCIES = np.fft.rfftfreq(STEP + 2 * AROUND, 1 / SAMPLE_RATE)
_TAPER = np.hanning(STEP + 2 * AROUND)

SOUND = ("all", "formant 1", "formant 1 over low", "middle", "high", "formant 2")
"""Logarithms of energies, and the mean frequency around the second formant."""

_SHAPES = tuple(
    name
    for name in BLENDSHAPES
    if name
    in {
        "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft",
        "mouthLowerDownLeft", "mouthUpperUpLeft", "mouthRollLower", "mouthShrugUpper",
        "mouthPressLeft", "mouthSmileLeft", "mouthDimpleLeft",
    }
)  # fmt: skip
_LEFT = [BLENDSHAPES.index(name) for name in _SHAPES]
_RIGHT = [BLENDSHAPES.index(name.replace("Left", "Right")) for name in _SHAPES]
_OPENING, _HEIGHT, _CHIN, _WIDTH = range(len(_SHAPES), len(_SHAPES) + 4)
"""Of the lips inside, outside, from nose to chin, and from corner to corner."""

_PAIRS = (
    ("lower lip", "high"),
    ("height", "high"),
    ("movement of shapes", "all"),
    ("funnel", "middle"),
    ("upper lip", "formant 2"),
    ("opening", "middle"),
    ("chin", "formant 1 over low"),
    ("movement of points", "formant 1"),
)


def mouth(face: Face) -> Float32:
    """(16,) shapes and distances of the mouth of an upright `face`."""
    x, y = face.landmarks[:, 0], face.landmarks[:, 1]
    shapes = (face.features[_LEFT] + face.features[_RIGHT]) / 2
    tall, wide = abs(y[152] - y[10]) + 1e-6, abs(x[454] - x[234]) + 1e-6
    points = (
        abs(y[14] - y[13]) / tall,
        abs(y[17] - y[0]) / tall,
        abs(y[152] - y[1]) / tall,
        abs(x[291] - x[61]) / wide,
    )
    return np.concatenate([shapes, points]).astype(np.float32)


class Sounds:
    """What is heard, one row per step; holes are silence."""

    def __init__(self) -> None:
        self._rest: Float32 = np.zeros(0, np.float32)
        self._start = 0
        """Of ``_rest``, in samples; a step needs ``AROUND`` more on both sides."""
        self._begun = False
        self._rows: deque[tuple[int, Float64, float]] = deque()
        self._loudest: deque[tuple[int, float]] = deque()

    def add(self, piece: VoicedAudio) -> None:
        start = round(piece.t0 * SAMPLE_RATE)
        hole = start - self._start - len(self._rest)
        if not self._begun or hole > SAMPLE_RATE:
            self._begun = True
            self._start, self._rest = start, np.zeros(0, np.float32)
        elif hole > 0:
            self._rest = np.pad(self._rest, (0, hole))
        self._rest = np.concatenate([self._rest, piece.samples])
        self._step()

    def window(self, t0: float, t1: float) -> tuple[Float64, Float64]:
        """Times (n,) of the steps in [t0, t1), and what is heard in them (n, len(SOUND))."""
        first, last = round(t0 / STEP_S), round(t1 / STEP_S)
        inside = [row for row in self._rows if first <= row[0] < last]
        times = np.array([index for index, _, _ in inside]) * STEP_S
        if not inside:
            return times, np.zeros((0, len(SOUND)))
        floor = 1e-5 * max(loud for _, loud in self._loudest) + 1e-12
        return times, _features(np.stack([power for _, power, _ in inside]), floor)

    def _step(self) -> None:
        step = -(-(self._start + AROUND) // STEP)
        while (step + 1) * STEP + AROUND <= self._start + len(self._rest):
            begin = step * STEP - AROUND - self._start
            frame = self._rest[begin : begin + STEP + 2 * AROUND] * _TAPER
            power = np.abs(np.fft.rfft(frame)) ** 2
            total = float(power.sum())
            self._rows.append((step, power, total))
            while self._loudest and self._loudest[-1][1] <= total:
                self._loudest.pop()
            self._loudest.append((step, total))
            step += 1
        keep = step * STEP - AROUND - self._start
        if keep > 0:
            self._rest, self._start = self._rest[keep:], self._start + keep
        while self._rows and self._rows[0][0] < step - KEPT_S / STEP_S:
            self._rows.popleft()
        while self._loudest and self._loudest[0][0] < step - LOUDEST_S / STEP_S:
            self._loudest.popleft()


class Mouth:
    """The mouth of one person over time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Float32]] = deque()

    def see(self, t: float, face: Face) -> None:
        self._seen.append((t, mouth(face)))
        while self._seen[0][0] < t - KEPT_S:
            self._seen.popleft()

    def at(self, times: Float64, until: float) -> tuple[Float64 | None, Bool]:
        """(n, 16) at those of `times` (m,) at which it was seen without a hole to the last of them,
        in between interpolated, and which these are (m,). Nothing after `until` counts.
        """
        run: list[tuple[float, Float32]] = []
        for t, row in reversed(self._seen):
            if t > until:
                continue
            if t < (run[-1][0] if run else until) - LONGEST_HOLE_S:
                break
            run.append((t, row))
        if len(run) < 4:
            return None, np.zeros(len(times), np.bool_)
        seen = np.array([t for t, _ in reversed(run)])
        rows = np.stack([row for _, row in reversed(run)]).astype(np.float64)
        inside = times >= seen[0] - STEP_S
        at = times[inside]
        return np.stack([np.interp(at, seen, column) for column in rows.T], axis=1), inside


def score(sound: Float64, seen: Float64) -> float:
    """In [-1, 1], of (n, len(SOUND)) heard and (n, 16) seen at the same steps."""
    tracks = _tracks(seen)
    heard = dict(zip(SOUND, sound.T, strict=True))
    mean = float(np.mean([_correlation(tracks[m], heard[s]) for m, s in _PAIRS]))
    moves = min(1.0, float(seen[:, _OPENING].std()) / STILL)
    return mean * moves


def _tracks(seen: Float64) -> dict[str, Float64]:
    shapes = seen[:, : len(_SHAPES)]
    points = seen[:, len(_SHAPES) :]
    scaled = (points - points.mean(axis=0)) / (points.std(axis=0) + 1e-6)
    jaw = shapes[:, _SHAPES.index("jawOpen")]
    scaled = np.column_stack([scaled, (jaw - jaw.mean()) / (jaw.std() + 1e-6)])
    return {
        "lower lip": shapes[:, _SHAPES.index("mouthLowerDownLeft")],
        "upper lip": shapes[:, _SHAPES.index("mouthUpperUpLeft")],
        "funnel": shapes[:, _SHAPES.index("mouthFunnel")],
        "opening": seen[:, _OPENING],
        "height": seen[:, _HEIGHT],
        "chin": seen[:, _CHIN],
        "movement of shapes": _smooth(np.abs(np.gradient(shapes, axis=0)).sum(axis=1)),
        "movement of points": np.abs(np.gradient(scaled, axis=0)).sum(axis=1),
    }


def _features(power: Float64, floor: float) -> Float64:
    """(n, len(SOUND)) of power spectra (n, bins)."""

    def band(low: float, high: float, share: float) -> Float64:
        inside = (low <= _FREQUENCIES) & (high > _FREQUENCIES)
        return np.asarray(np.log(power[:, inside].sum(axis=1) + share * floor))

    around = (_FREQUENCIES >= 900) & (_FREQUENCIES < 3000)
    weights = power[:, around]
    second = weights @ _FREQUENCIES[around] / (weights.sum(axis=1) + 1e-3 * floor)
    first, low = band(450, 1100, 0.1), band(100, 400, 0.1)
    return np.column_stack(
        [
            np.log(power.sum(axis=1) + floor), first, first - low,
            band(1100, 3000, 0.05), band(3000, 7500, 0.02), second,
        ]
    )  # fmt: skip


def _smooth(x: Float64) -> Float64:
    return np.convolve(np.pad(x, 1, mode="edge"), np.ones(3) / 3, "valid")


def _correlation(a: Float64, b: Float64) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-9 else 0.0
