"""Generated face sequences: facial-action prototypes moved like faces move.

What varies: the resting face of a person, which action units a display contains, their strength,
the two sides, onset and offset, gaze, blinking, head pose, speech movements of mouth and brows (on
plain faces as well), measurement noise, lost steps. Plain faces make up a good part, so that a
resting face that resembles an emotion is not taken for one.

These are caricatures with known labels, not recordings: posed, prototypical, and of nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.facs_tables import (
    ACTION_UNITS,
    BLENDS,
    EMPHASIS,
    PROTOTYPES,
    REST,
    SIDED,
    SPEECH,
)
from lddu_model.errors import DataError
from lddu_model.spec import Bool, Float32, Sample

Float = NDArray[np.float64]

SAMPLES_PER_PERSON = 8
POSE = ("yaw", "pitch", "roll")
QUALITY = {"width": (0.12, 0.6), "brightness": (0.2, 0.75), "sharpness": (0.3, 0.8)}
PLAIN = 0.4
"""Share of sequences without any emotion."""
BLENDED = 0.12
"""Share of the emotional sequences that show two."""
TALKING = 0.55
STILL = 0.06
"""Share of sequences without any movement, as of photographs."""
WEAKEST = 0.35
"""A labelled emotion reaches at least this strength."""


@dataclass(frozen=True, slots=True)
class FaceGenerator:
    """Makes samples of one modality.

    `names` are the features in order: mediapipe blendshapes, and any of yaw, pitch, roll (radians),
    width, brightness, sharpness. `labels` are the label set, all with a prototype.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    steps: int = 30
    rate: float = 10.0
    modality: str = "face"

    def __post_init__(self) -> None:
        missing = [label for label in self.labels if label not in PROTOTYPES]
        if missing:
            raise DataError(f"no facial prototype of {missing}", f"known: {sorted(PROTOTYPES)}")
        known = [name for shape in _all_shapes() for name in _sides(shape)]
        lacking = sorted(set(known) - set(self.names))
        if lacking:
            raise DataError(f"the face features lack {lacking}", "give mediapipe's blendshapes")

    def samples(self, count: int, seed: int) -> Iterator[Sample]:
        """`count` labelled samples; the group is the person."""
        rng = np.random.default_rng(seed)
        for i in range(count):
            if i % SAMPLES_PER_PERSON == 0:
                person = _Person.draw(rng)
            shown = self._choose(rng)
            features, mask = self._sequence(person, shown, rng)
            labels = np.array([label in shown for label in self.labels], dtype=np.float32)
            yield Sample(
                {self.modality: features},
                {self.modality: mask},
                labels,
                f"face-{seed}-{i:06d}",
                f"face-{seed}-person-{i // SAMPLES_PER_PERSON:05d}",
            )

    def _choose(self, rng: np.random.Generator) -> tuple[str, ...]:
        if rng.random() < PLAIN:
            return ()
        first = self.labels[int(rng.integers(len(self.labels)))]
        fitting = [pair for pair in BLENDS if first in pair and set(pair) <= set(self.labels)]
        if fitting and rng.random() < BLENDED:
            return fitting[int(rng.integers(len(fitting)))]
        return (first,)

    def _sequence(
        self, person: _Person, shown: Sequence[str], rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """(steps, D) features and (steps,) mask."""
        face = _Face(self.steps, person, rng)
        strength = rng.uniform(WEAKEST, 1.0) if shown else 0.0
        for emotion in shown:
            face.show(emotion, strength * rng.uniform(0.8, 1.0), rng)
        if not shown and rng.random() < 0.5:
            face.twitch(rng)
        if rng.random() < STILL:
            face.freeze()
        else:
            face.blink(self.rate, rng)
            if rng.random() < TALKING:
                face.talk(rng)
        return face.features(self.names, rng), _seen(self.steps, rng)


@dataclass(frozen=True, slots=True)
class _Person:
    """What stays the same over the sequences of one person."""

    rest: dict[str, float]
    gain: dict[str, float]
    """How far each action unit of this person moves."""
    side: float
    """> 0: the left side moves more."""

    @staticmethod
    def draw(rng: np.random.Generator) -> _Person:
        rest: dict[str, float] = {}
        for shape, (chance, low, high) in REST.items():
            level = rng.uniform(low, high) if rng.random() < chance else low
            for name in _sides(shape):
                rest[name] = level * rng.uniform(0.7, 1.3)
        # The landmarker never shows raised and lowered brows at once.
        fewer = ("browInnerUp",) if rng.random() < 0.5 else _sides("browDown")
        rest.update({name: rest[name] * 0.1 for name in fewer})
        gain = {unit: float(np.exp(rng.normal(0.0, 0.25))) for unit in ACTION_UNITS}
        return _Person(rest, gain, float(rng.normal(0.0, 0.12)))


class _Face:
    """Shapes over time: one (steps,) track per blendshape that ever moves."""

    def __init__(self, steps: int, person: _Person, rng: np.random.Generator) -> None:
        self.steps = steps
        self.person = person
        self.tracks = {
            name: np.full(steps, level) + 0.04 * level * _wander(steps, rng)
            for name, level in person.rest.items()
        }

    def show(self, emotion: str, strength: float, rng: np.random.Generator) -> None:
        """Display an emotion for most of the time, its units slightly out of step."""
        units = [unit for unit, chance in PROTOTYPES[emotion] if rng.random() < chance]
        if len(units) < 2:
            units = [unit for unit, _ in PROTOTYPES[emotion][:2]]
        course = _course(self.steps, rng)
        for unit in units:
            level = strength * self.person.gain[unit] * rng.uniform(0.7, 1.1)
            self.move(unit, level * np.roll(course, int(rng.integers(-1, 2))))

    def twitch(self, rng: np.random.Generator) -> None:
        """One or two single units that mean nothing by themselves."""
        for unit in rng.choice(list(ACTION_UNITS), size=int(rng.integers(1, 3)), replace=False):
            self.move(str(unit), rng.uniform(0.05, 0.5) * _course(self.steps, rng))

    def move(self, unit: str, level: Float) -> None:
        """Add an action unit; `level` (steps,) is its strength, 1 = full."""
        for shape, amount in ACTION_UNITS[unit].items():
            for name in _sides(shape):
                sided = 1.0 + self.person.side * (1.0 if name.endswith("Left") else -1.0)
                if amount > 0:
                    self.add(name, amount * sided * level)
                else:
                    self.tracks[name] = self.tracks[name] * np.clip(1 + amount * level, 0, 1)

    def add(self, name: str, amount: Float) -> None:
        """Raise a shape; it saturates below 1."""
        before = np.clip(self.tracks.get(name, np.zeros(self.steps)), 0.0, 1.0)
        self.tracks[name] = 1.0 - (1.0 - before) * (1.0 - np.clip(amount, 0.0, 0.98))

    def blink(self, rate: float, rng: np.random.Generator) -> None:
        """About one blink in four seconds, one or two steps long."""
        shut = (rng.random(self.steps) < 0.25 / rate).astype(float)
        shut = np.maximum(shut, 0.5 * np.roll(shut, 1)) * rng.uniform(0.4, 0.9)
        for name in _sides("eyeBlink"):
            self.add(name, shut)

    def talk(self, rng: np.random.Generator) -> None:
        """Syllables open and close the mouth; many speakers stress words with their brows."""
        size = rng.uniform(0.3, 1.0)
        for shape, most in SPEECH.items():
            syllables = np.clip(_wander(self.steps, rng, smooth=0.2), 0, 2) / 2
            for name in _sides(shape):
                self.add(name, most * size * syllables)
        if rng.random() < 0.6:
            brows = ("browDown",) if rng.random() < 0.4 else ("browInnerUp", "browOuterUp")
            held = rng.uniform(0.0, 0.7)
            beat = held + (1 - held) * np.clip(_wander(self.steps, rng), 0, 2) / 2
            for shape in brows:
                level = EMPHASIS[shape] * rng.uniform(0.2, 1.0)
                for name in _sides(shape):
                    self.add(name, level * beat)

    def freeze(self) -> None:
        """Hold the middle of the sequence."""
        middle = self.steps // 2
        self.tracks = {name: np.full(self.steps, t[middle]) for name, t in self.tracks.items()}

    def features(self, names: Sequence[str], rng: np.random.Generator) -> Float32:
        """(steps, D) with gaze, pose, quality and measurement noise."""
        self._look_around(rng)
        columns = []
        for name in names:
            if name in POSE:
                spread = {"yaw": 0.15, "pitch": 0.12, "roll": 0.08}[name]
                track = rng.normal(0.0, spread) + 0.04 * _wander(self.steps, rng)
            elif name in QUALITY:
                low, high = QUALITY[name]
                track = rng.uniform(low, high) + 0.01 * _wander(self.steps, rng)
            elif name == "_neutral":
                track = np.zeros(self.steps)  # the landmarker never sets it
            else:
                track = self.tracks[name] if name in self.tracks else self._unrelated(rng)
                noise = (0.002 + 0.06 * track) * rng.standard_normal(self.steps)
                track = np.clip(track + noise, 0.0, 1.0)
            columns.append(track)
        return np.stack(columns, axis=1).astype(np.float32)

    def _unrelated(self, rng: np.random.Generator) -> Float:
        """Movement of a shape that no emotion uses, so that a model learns to ignore it."""
        if rng.random() < 0.7:
            return np.zeros(self.steps)
        return rng.uniform(0.0, 0.15) * np.abs(_wander(self.steps, rng))

    def _look_around(self, rng: np.random.Generator) -> None:
        """Both eyes turn together: in on one side is out on the other."""
        aside = rng.normal(0.0, 0.12) + 0.08 * _wander(self.steps, rng)
        turned = {"Left": np.clip(aside, 0, 1), "Right": np.clip(-aside, 0, 1)}
        for side, other in (("Left", "Right"), ("Right", "Left")):
            self.add(f"eyeLookOut{side}", 0.05 + turned[side])
            self.add(f"eyeLookIn{other}", 0.05 + turned[side])


def _seen(steps: int, rng: np.random.Generator) -> Bool:
    """(steps,) True where a face was found: mostly always, sometimes with holes."""
    mask = np.ones(steps, dtype=bool)
    if rng.random() < 0.3:
        mask &= rng.random(steps) >= rng.uniform(0.0, 0.5)
    mask[int(rng.integers(steps))] = True
    return mask


def _course(steps: int, rng: np.random.Generator) -> Float:
    """(steps,) in [0, 1]: onset, plateau, perhaps offset; at least half of the time is plateau."""
    onset, rise = rng.uniform(-1.0, 0.3), rng.uniform(0.05, 0.25)
    end = rng.uniform(0.85, 2.0)
    t = np.arange(steps) / steps
    up = np.clip((t - onset) / rise, 0, 1)
    down = np.clip((end - t) / rise, 0, 1)
    return np.asarray(np.minimum(up, down) * rng.uniform(0.95, 1.0))


def _wander(steps: int, rng: np.random.Generator, smooth: float = 0.8) -> Float:
    """(steps,) first-order autoregressive noise with standard deviation 1."""
    shocks = rng.standard_normal(steps) * np.sqrt(1 - smooth**2)
    track = np.empty(steps)
    level = rng.standard_normal()
    for i, shock in enumerate(shocks):
        level = smooth * level + shock
        track[i] = level
    return track


def _sides(shape: str) -> tuple[str, ...]:
    return (f"{shape}Left", f"{shape}Right") if shape in SIDED else (shape,)


def _all_shapes() -> set[str]:
    units = {shape for moves in ACTION_UNITS.values() for shape in moves}
    return units | set(REST) | set(SPEECH) | set(EMPHASIS)
