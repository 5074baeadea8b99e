"""Sessions of the live spec from data that the shipped checkpoint was not trained on.

A session is one generated person whom no training data hold, who is seen in some windows and says
some texts of GoEmotions' dev part. Its windows are: each of its texts alone, each of its faces
alone, and each face with a text of the same labels, its own where there is one. Voices are not in
it: all speakers of EmoDB were trained on, or chosen by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lddu_model.api import Model
from lddu_model.config import read_config
from lddu_model.data.sets import load_sets
from lddu_model.spec import Sample

TRAINING = Path(__file__).resolve().parent.parent / "configs" / "train-live.toml"
USED = ("goemotions", "faces")


def live_parts(model: Model) -> list[tuple[list[Sample], list[Sample]]]:
    """Texts and faces: those that training left out to choose by, and those of the test parts.

    The feature sets of ``make checkpoint`` lie in sets/live.
    """
    chosen = [each for each in read_config(TRAINING).data if each.name in USED]
    spec, sets = load_sets(chosen, model.labels)
    assert spec.digest == model.spec.digest
    words, faces = sets
    return [(words.validation, faces.validation), (words.test, faces.test)]


def live_sessions(model: Model, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """Validation and test."""
    rng = np.random.default_rng(seed)
    validation, test = (sessions(*part, rng) for part in live_parts(model))
    return validation, test


def sessions(
    words: Sequence[Sample], faces: Sequence[Sample], rng: np.random.Generator
) -> list[Sample]:
    """See the module's docstring; texts are dealt to the persons by chance."""
    persons = sorted({face.group for face in faces})
    dealt = rng.integers(len(persons), size=len(words))
    found = [
        replace(text, id=f"{text.id} alone", group=persons[k])
        for text, k in zip(words, dealt, strict=True)
    ]
    own: dict[tuple[str, bytes], list[Sample]] = {}
    everyone: dict[bytes, list[Sample]] = {}
    for text, k in zip(words, dealt, strict=True):
        own.setdefault((persons[k], shown(text)), []).append(text)
        everyone.setdefault(shown(text), []).append(text)
    for face in faces:
        found.append(face)
        fits = own.get((face.group, shown(face))) or everyone.get(shown(face))
        if fits:
            found.append(_together(face, fits[int(rng.integers(len(fits)))]))
    return found


def shown(sample: Sample) -> bytes:
    """One byte per label, 1 where it is there."""
    assert sample.labels is not None
    return np.asarray(sample.labels > 0.5).tobytes()


def _together(face: Sample, text: Sample) -> Sample:
    return replace(
        face,
        features={**face.features, **text.features},
        mask={**face.mask, **text.mask},
        id=f"{face.id} says {text.id}",
    )
