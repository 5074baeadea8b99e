"""Generated face sequences: facial-action prototypes moved like faces move.

What varies: the resting face of a person, which action units a display contains, their strength,
the two sides, onset and offset, gaze, blinking, head pose, speech movements of mouth and brows (on
plain faces as well), measurement noise by the quality of the picture, pictures that come late or
never, and what was seen of the person before. Plain faces make up a good part, so that a resting
face that resembles an emotion is not taken for one.

These are caricatures with known labels, not recordings: posed, prototypical, and of nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.facs_motion import Float, MovingFace, Person, all_names, course, episode
from lddu_model.data.facs_tables import BLENDS, PROTOTYPES
from lddu_model.errors import DataError
from lddu_model.spec import Bool, Float32

SAMPLES_PER_PERSON = 8
PLAIN = 0.5
"""Share of sequences without any emotion."""
BLENDED = 0.12
"""Share of the emotional sequences that show two."""
TALKING = 0.65
STILL = 0.06
"""Share of sequences without any movement, as of photographs."""
WEAKEST = 0.35
"""A labelled emotion reaches at least this strength."""
UNHEARD = 0.25
"""Share of sequences whose sound is not known."""
MISHEARD = 0.05
"""Share of steps where speech is found wrongly, or missed."""
HISTORY_RATE = 4.0
HISTORY = 240
"""Steps of what was seen of a person before: a minute."""
SLOW = 0.25
"""Share of sequences from a camera or network that gives fewer pictures than there are steps."""
SLOWEST = 2.5
"""Pictures per second, at least."""
UNSEEN = 0.2
"""Share of sequences with nothing before."""


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedFace:
    """One labelled sequence."""

    features: Float32
    """(steps, D)"""
    mask: Bool
    """(steps,) True where a face was found."""
    speech: Float32 | None
    """(steps,) of 0 and 1, with mistakes; None where the sound is not known."""
    before: Float32
    """(n, D) of the same person at ``HISTORY_RATE``, n from 0 to ``HISTORY``."""
    labels: Float32
    """(C,) of 0 and 1."""
    id: str
    person: str


@dataclass(frozen=True, slots=True)
class FaceGenerator:
    """Makes sequences of a face.

    `names` are the features in order: mediapipe blendshapes, and any of yaw, pitch, roll (radians),
    width, brightness, sharpness. `labels` are the label set, all with a prototype.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    steps: int = 30
    rate: float = 10.0

    def __post_init__(self) -> None:
        missing = [label for label in self.labels if label not in PROTOTYPES]
        if missing:
            raise DataError(f"no facial prototype of {missing}", f"known: {sorted(PROTOTYPES)}")
        lacking = sorted(all_names() - set(self.names))
        if lacking:
            raise DataError(f"the face features lack {lacking}", "give mediapipe's blendshapes")

    def samples(self, count: int, seed: int) -> Iterator[GeneratedFace]:
        """`count` sequences, several in a row of one person."""
        rng = np.random.default_rng(seed)
        for i in range(count):
            if i % SAMPLES_PER_PERSON == 0:
                person = Person.draw(rng)
                past = self._history(person, rng)
            shown = self._choose(rng)
            features, speech = self._sequence(person, shown, rng)
            seen = 0 if rng.random() < UNSEEN else int(rng.integers(1, HISTORY + 1))
            yield GeneratedFace(
                features,
                _found(self.steps, rng),
                _heard(speech, rng),
                past[HISTORY - seen :],
                np.array([label in shown for label in self.labels], dtype=np.float32),
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
        self, person: Person, shown: Sequence[str], rng: np.random.Generator
    ) -> tuple[Float32, Float]:
        """(steps, D) features and (steps,) speech."""
        face = MovingFace(self.steps, self.rate, person, rng)
        speech = np.zeros(self.steps)
        strength = rng.uniform(WEAKEST, 1.0) if shown else 0.0
        for emotion in shown:
            face.show(emotion, strength * rng.uniform(0.8, 1.0), course(self.steps, rng), rng)
        if not shown and rng.random() < 0.5:
            face.twitch(course(self.steps, rng), rng)
        if rng.random() < STILL:
            face.freeze()
        else:
            face.blink(rng)
            if rng.random() < TALKING:
                speech = face.talk(rng)
        return face.features(self.names, rng)[self._pictures(rng)], speech

    def _pictures(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(steps,) which moment is seen at each step: the last one of which a picture came."""
        steps = np.arange(self.steps)
        if rng.random() >= SLOW:
            return steps
        new = rng.random(self.steps) < rng.uniform(SLOWEST, self.rate) / self.rate
        new[0] = True
        return np.maximum.accumulate(np.where(new, steps, 0))

    def _history(self, person: Person, rng: np.random.Generator) -> Float32:
        """(HISTORY, D): mostly a plain face that speaks or does not, now and then a display."""
        face = MovingFace(HISTORY, HISTORY_RATE, person, rng)
        for _ in range(rng.poisson(4)):
            length = int(rng.integers(4, 40))
            when = episode(HISTORY, int(rng.integers(-length, HISTORY)), length)
            if rng.random() < 0.5:
                face.twitch(when, rng)
            else:
                shown = self.labels[int(rng.integers(len(self.labels)))]
                face.show(shown, rng.uniform(0.2, 1.0), when, rng)
        face.blink(rng)
        if rng.random() < TALKING:
            face.talk(rng)
        return face.features(self.names, rng)


def _found(steps: int, rng: np.random.Generator) -> Bool:
    """(steps,) True where a face was found: mostly always, sometimes with holes."""
    mask = np.ones(steps, dtype=bool)
    if rng.random() < 0.3:
        mask &= rng.random(steps) >= rng.uniform(0.0, 0.5)
    mask[int(rng.integers(steps))] = True
    return mask


def _heard(speech: Float, rng: np.random.Generator) -> Float32 | None:
    """What voice activity detection makes of `speech` (steps,)."""
    if rng.random() < UNHEARD:
        return None
    wrong = rng.random(len(speech)) < MISHEARD
    return np.where(wrong, 1.0 - speech, speech).astype(np.float32)
