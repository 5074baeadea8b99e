"""How a generated face moves: resting shapes, displays, blinks, speech, gaze, measurement noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.facs_tables import (
    ACTION_UNITS,
    EMPHASIS,
    PROTOTYPES,
    REST,
    SIDED,
    VISEMES,
)
from lddu_model.spec import Float32

Float = NDArray[np.float64]

POSE = ("yaw", "pitch", "roll")
QUALITY = {"width": (0.12, 0.6), "brightness": (0.2, 0.75), "sharpness": (0.35, 0.8)}
"""Of good pictures."""
WIDE = 0.24
"""Width from which a face is seen as well as a larger one."""
POOR = {"width": (0.06, 0.14), "brightness": (0.01, 0.15), "sharpness": (0.05, 0.35)}
POORLY_SEEN = 0.2
"""Chance of each quality to be poor."""


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same over the sequences of one person."""

    rest: dict[str, float]
    gain: dict[str, float]
    """How far each action unit of this person moves."""
    mouth: dict[str, float]
    """How strongly each viseme shows."""
    side: float
    """> 0: the left side moves more."""

    @staticmethod
    def draw(rng: np.random.Generator) -> Person:
        rest: dict[str, float] = {}
        for shape, (chance, low, high) in REST.items():
            level = rng.uniform(low, high) if rng.random() < chance else low
            for name in sides(shape):
                rest[name] = level * rng.uniform(0.7, 1.3)
        # The landmarker never shows raised and lowered brows at once.
        fewer = ("browInnerUp",) if rng.random() < 0.5 else sides("browDown")
        rest.update({name: rest[name] * 0.1 for name in fewer})
        gain = {unit: float(np.exp(rng.normal(0.0, 0.25))) for unit in ACTION_UNITS}
        mouth = {viseme: float(np.exp(rng.normal(0.0, 0.4))) for viseme in VISEMES}
        return Person(rest, gain, mouth, float(rng.normal(0.0, 0.15)))


class MovingFace:
    """Shapes over time: one (steps,) track per blendshape that ever moves."""

    def __init__(self, steps: int, rate: float, person: Person, rng: np.random.Generator) -> None:
        self.steps = steps
        self.rate = rate
        self.person = person
        self.tracks = {
            name: np.full(steps, level) + 0.04 * level * wander(steps, rng)
            for name, level in person.rest.items()
        }

    def show(self, emotion: str, strength: float, course: Float, rng: np.random.Generator) -> None:
        """Display an emotion along `course` (steps,), its units slightly out of step."""
        units = [unit for unit, chance in PROTOTYPES[emotion] if rng.random() < chance]
        if len(units) < 2:
            units = [unit for unit, _ in PROTOTYPES[emotion][:2]]
        side = self.person.side + rng.normal(0.0, 0.1)
        for unit in units:
            level = strength * self.person.gain[unit] * rng.uniform(0.7, 1.1)
            self.move(unit, level * np.roll(course, int(rng.integers(-1, 2))), side)

    def twitch(self, course: Float, rng: np.random.Generator) -> None:
        """One or two single units that mean nothing by themselves."""
        for unit in rng.choice(list(ACTION_UNITS), size=int(rng.integers(1, 3)), replace=False):
            self.move(str(unit), rng.uniform(0.05, 0.5) * course, self.person.side)

    def move(self, unit: str, level: Float, side: float) -> None:
        """Add an action unit; `level` (steps,) is its strength, 1 = full."""
        for shape, amount in ACTION_UNITS[unit].items():
            for name in sides(shape):
                sided = 1.0 + side * (1.0 if name.endswith("Left") else -1.0)
                if amount > 0:
                    self.add(name, amount * sided * level)
                else:
                    self.tracks[name] = self.tracks[name] * np.clip(1 + amount * level, 0, 1)

    def add(self, name: str, amount: Float) -> None:
        """Raise a shape; it saturates below 1."""
        before = np.clip(self.tracks.get(name, np.zeros(self.steps)), 0.0, 1.0)
        self.tracks[name] = 1.0 - (1.0 - before) * (1.0 - np.clip(amount, 0.0, 0.98))

    def blink(self, rng: np.random.Generator) -> None:
        """About one blink in four seconds, one or two steps long."""
        shut = (rng.random(self.steps) < 0.25 / self.rate).astype(float)
        shut = np.maximum(shut, 0.5 * np.roll(shut, 1)) * rng.uniform(0.4, 0.9)
        for name in sides("eyeBlink"):
            self.add(name, shut)

    def talk(self, rng: np.random.Generator) -> Float:
        """Visemes move the mouth; many speakers stress words with their brows.

        Returns when there is speech, (steps,) of 0 and 1.
        """
        speech = phrases(self.steps, self.rate, rng)
        size = rng.uniform(0.3, 1.5)
        for viseme, said in self._visemes(rng).items():
            strength = size * self.person.mouth[viseme] * said * speech
            for shape, most in VISEMES[viseme].items():
                for name in sides(shape):
                    self.add(name, most * strength)
        if rng.random() < 0.8:
            brows = ("browDown",) if rng.random() < 0.4 else ("browInnerUp", "browOuterUp")
            held = rng.uniform(0.0, 0.9)
            beat = held + (1 - held) * np.clip(wander(self.steps, rng), 0, 2) / 2
            for shape in brows:
                level = EMPHASIS[shape] * rng.uniform(0.2, 1.0)
                for name in sides(shape):
                    self.add(name, level * beat)
        return speech

    def _visemes(self, rng: np.random.Generator) -> dict[str, Float]:
        """(steps,) of each viseme: one after the other, about seven in a second."""
        names = list(VISEMES)
        each = max(1.0, self.rate / 7.0)
        said = rng.integers(len(names), size=int(self.steps / each) + 2)
        said = said[(np.arange(self.steps) / each).astype(int)]
        strength = np.clip(rng.normal(0.6, 0.3, self.steps), 0.0, 1.0)
        return {name: strength * (said == i) for i, name in enumerate(names)}

    def freeze(self) -> None:
        """Hold the middle of the sequence."""
        middle = self.steps // 2
        self.tracks = {name: np.full(self.steps, t[middle]) for name, t in self.tracks.items()}

    def features(self, names: Sequence[str], rng: np.random.Generator) -> Float32:
        """(steps, D) with gaze, pose, quality and the measurement noise that comes with it."""
        self._look_around(rng)
        quality = {name: self._quality(name, rng) for name in QUALITY}
        wrong = error(quality)
        columns: list[Float] = []
        for name in names:
            if name in POSE:
                spread = {"yaw": 0.18, "pitch": 0.15, "roll": 0.1}[name]
                track = float(rng.normal(0.0, spread)) + 0.04 * wander(self.steps, rng)
            elif name in QUALITY:
                track = quality[name]
            elif name == "_neutral":
                track = np.zeros(self.steps)  # the landmarker never sets it
            else:
                track = self.tracks[name] if name in self.tracks else self._unrelated(rng)
                track = _seen_with(track, wrong, rng)
            columns.append(track)
        return np.stack(columns, axis=1).astype(np.float32)

    def _quality(self, name: str, rng: np.random.Generator) -> Float:
        low, high = (POOR if rng.random() < POORLY_SEEN else QUALITY)[name]
        return np.maximum(rng.uniform(low, high) + 0.01 * wander(self.steps, rng), 0.0)

    def _unrelated(self, rng: np.random.Generator) -> Float:
        """Movement of a shape that no emotion uses, so that a model learns to ignore it."""
        if rng.random() < 0.7:
            return np.zeros(self.steps)
        return rng.uniform(0.0, 0.15) * np.abs(wander(self.steps, rng))

    def _look_around(self, rng: np.random.Generator) -> None:
        """Both eyes turn together: in on one side is out on the other."""
        aside = rng.normal(0.0, 0.12) + 0.08 * wander(self.steps, rng)
        turned = {"Left": np.clip(aside, 0, 1), "Right": np.clip(-aside, 0, 1)}
        for side, other in (("Left", "Right"), ("Right", "Left")):
            self.add(f"eyeLookOut{side}", 0.05 + turned[side])
            self.add(f"eyeLookIn{other}", 0.05 + turned[side])


def error(quality: dict[str, Float]) -> Float:
    """(steps,) standard deviation of shapes that are raised, given what the picture is like.

    Measured with the landmarker on ten pictures that were blurred, darkened and made smaller: 0.03
    for a light blur; 0.12 and 0.18 at a sharpness of 0.09 and 0.07; 0.08 and 0.10 at a brightness
    of 0.05 and 0.02; 0.08 and 0.12 at a width of 0.20 and 0.14.
    """
    blur = np.clip((0.2 - quality["sharpness"]) / 0.13, 0.0, 1.0) * 0.16
    dark = np.clip((0.15 - quality["brightness"]) / 0.13, 0.0, 1.0) * 0.1
    small = np.clip((WIDE - quality["width"]) / 0.12, 0.0, 1.0) * 0.1
    return np.asarray(np.sqrt(0.03**2 + blur**2 + dark**2 + small**2))


def seen_in(
    features: Float32,
    names: Sequence[str],
    picture: Mapping[str, float],
    rng: np.random.Generator,
) -> Float32:
    """(steps, D) `features` (with these `names`) as seen in worse pictures.

    `picture` says what some of ``QUALITY`` are now; the errors that this adds, ``error`` tells.
    """
    steps = len(features)
    good = {name: np.full(steps, low) for name, (low, _) in QUALITY.items()}
    good["width"] = np.full(steps, WIDE)
    now = good | {name: np.full(steps, level) for name, level in picture.items()}
    added = np.sqrt(np.maximum(error(now) ** 2 - error(good) ** 2, 0.0))
    columns = []
    for name, column in zip(names, features.T.astype(float), strict=True):
        if name in picture:
            columns.append(now[name])
        elif name in POSE or name in QUALITY or name == "_neutral":
            columns.append(column)
        else:
            columns.append(_seen_with(column, added, rng))
    return np.stack(columns, axis=1).astype(np.float32)


def _seen_with(track: Float, wrong: Float, rng: np.random.Generator) -> Float:
    """`track` with errors in proportion to how raised it is: some stay, some flicker."""
    raised = np.sqrt(np.clip(track, 0.0, 1.0) + 0.002) * wrong * 1.5
    noise = 0.6 * rng.standard_normal() + 0.8 * rng.standard_normal(len(track))
    return np.clip(track + raised * noise, 0.0, 1.0)


def course(steps: int, rng: np.random.Generator) -> Float:
    """(steps,) in [0, 1]: onset, plateau, perhaps offset; at least half of the time is plateau."""
    onset, rise = rng.uniform(-1.0, 0.3), rng.uniform(0.05, 0.25)
    end = rng.uniform(0.85, 2.0)
    t = np.arange(steps) / steps
    up = np.clip((t - onset) / rise, 0, 1)
    down = np.clip((end - t) / rise, 0, 1)
    return np.asarray(np.minimum(up, down) * rng.uniform(0.95, 1.0))


def episode(steps: int, start: int, length: int) -> Float:
    """(steps,) in [0, 1]: rises from `start`, lasts `length` steps, falls again."""
    t = np.arange(steps)
    ramp = max(1.0, length / 6)
    return np.clip(np.minimum((t - start) / ramp, (start + length - t) / ramp), 0.0, 1.0)


def phrases(steps: int, rate: float, rng: np.random.Generator) -> Float:
    """(steps,) of 0 and 1: speech of about 2.5 s between pauses of about half a second."""
    until_pause, until_speech = 1 / (2.5 * rate), min(1.0, 1 / (0.5 * rate))
    draws = rng.random(steps)
    now, said = rng.random() < 0.85, np.zeros(steps)
    for i in range(steps):
        if draws[i] < (until_pause if now else until_speech):
            now = not now
        said[i] = now
    return said


def wander(steps: int, rng: np.random.Generator, smooth: float = 0.8) -> Float:
    """(steps,) first-order autoregressive noise with standard deviation 1."""
    shocks = rng.standard_normal(steps) * np.sqrt(1 - smooth**2)
    track = np.empty(steps)
    level = rng.standard_normal()
    for i, shock in enumerate(shocks):
        level = smooth * level + shock
        track[i] = level
    return track


def sides(shape: str) -> tuple[str, ...]:
    """Names of a shape of ``facs_tables``."""
    return (f"{shape}Left", f"{shape}Right") if shape in SIDED else (shape,)


def all_names() -> set[str]:
    """Every blendshape that moves."""
    moves = [*ACTION_UNITS.values(), *VISEMES.values()]
    shapes = {shape for each in moves for shape in each} | set(REST) | set(EMPHASIS)
    return {name for shape in shapes for name in sides(shape)}
