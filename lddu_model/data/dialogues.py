"""Dialogues as samples, in two protocols that must never be compared with each other.

utterance   One sample is one utterance with its own labels. Its sequence is the dialogue so far,
            this utterance last: what a live system has.
dialogue    One sample is a whole dialogue, one step is one utterance, its labels are the union
            over the main emotions of all of them; cut after 60 utterances. CARAT's protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.conversion import Part, Sequences
from lddu_model.errors import DataError
from lddu_model.spec import Bool, Float32

Protocol = Literal["utterance", "dialogue"]
PROTOCOLS: Mapping[Protocol, str] = {
    "utterance": "per utterance; the sequence is the dialogue so far",
    "dialogue": "per dialogue; labels are the union of the main emotions (CARAT)",
}
EMOTIONS = ("happy", "neutral", "sad", "disgust", "anger", "fear", "surprise")
CUT = 60
"""Utterances of a dialogue in the protocol ``dialogue``."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One turn, or part of one, of one speaker."""

    id: str
    speaker: str
    emotions: tuple[str, ...]
    """All that are present, the main one first; in lower case."""
    text: str = ""
    t0: float | None = None
    """Seconds, in the recording of the dialogue."""
    t1: float | None = None


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Utterances in order of time."""

    id: str
    group: str
    """The series that it is from."""
    split: str
    utterances: tuple[Utterance, ...]

    def labels(self, *, main: bool = False) -> Float32:
        """(utterances, 7) of all emotions, or only of the main ones."""
        found = np.zeros((len(self.utterances), len(EMOTIONS)), dtype=np.float32)
        for row, utterance in zip(found, self.utterances, strict=True):
            for emotion in utterance.emotions[: 1 if main else None]:
                row[EMOTIONS.index(emotion)] = 1.0
        return found


Features = Mapping[str, Sequence[NDArray[np.generic]]]
"""By modality: for each dialogue (utterances, D); a row of zeros where nothing is known."""


def known_emotions(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Names as in `EMOTIONS`."""
    found = tuple(name.strip().lower() for name in names if name.strip())
    unknown = [name for name in found if name not in EMOTIONS]
    if unknown or not found:
        raise DataError(f"{where}: emotions {list(names)} are not of {', '.join(EMOTIONS)}")
    return found


def steps_of(dialogues: Sequence[Dialogue], protocol: Protocol, context: int | None) -> int:
    """The longest sequence that ``parts`` gives."""
    longest = max(len(each.utterances) for each in dialogues)
    return min(longest, (context or longest) if protocol == "utterance" else CUT)


def parts(
    dialogues: Sequence[Dialogue],
    features: Features,
    protocol: Protocol,
    context: int | None = None,
) -> dict[str, Part]:
    """One part per split. `context`: utterances of a sequence, with the last; None for all."""
    found = {}
    for split in ("train", "validation", "test"):
        chosen = [i for i, each in enumerate(dialogues) if each.split == split]
        if not chosen:
            continue
        mine = [dialogues[i] for i in chosen]
        rows = {
            name: [np.asarray(x[i], dtype=np.float32) for i in chosen]
            for name, x in features.items()
        }
        if protocol == "dialogue":
            found[split] = _whole(mine, rows)
        else:
            found[split] = _so_far(mine, rows, context)
    return found


def _so_far(
    dialogues: Sequence[Dialogue], features: Mapping[str, list[Float32]], context: int | None
) -> Part:
    places = [(d, u) for d, each in enumerate(dialogues) for u in range(len(each.utterances))]

    def sequences(i: int) -> Sequences:
        d, u = places[i]
        begin = 0 if context is None else max(0, u + 1 - context)
        return _valid({name: x[d][begin : u + 1] for name, x in features.items()})

    return Part(
        [dialogues[d].utterances[u].id for d, u in places],
        [dialogues[d].group for d, _ in places],
        np.concatenate([each.labels() for each in dialogues]),
        sequences,
    )


def _whole(dialogues: Sequence[Dialogue], features: Mapping[str, list[Float32]]) -> Part:
    def sequences(i: int) -> Sequences:
        return _valid({name: x[i][:CUT] for name, x in features.items()})

    return Part(
        [each.id for each in dialogues],
        [each.group for each in dialogues],
        np.stack([each.labels(main=True).max(axis=0) for each in dialogues]),
        sequences,
    )


def _valid(features: Mapping[str, Float32]) -> Sequences:
    """Masks from rows of zeros; a modality without any other row is left out."""
    masks: dict[str, Bool] = {name: np.asarray(x.any(axis=1)) for name, x in features.items()}
    present = [name for name, mask in masks.items() if mask.any()]
    return {name: features[name] for name in present}, {name: masks[name] for name in present}
