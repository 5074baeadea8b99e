"""M3ED: annotations, official splits and feature files in the layout of DialogueRNN.

``annotation.json``: series -> dialogue -> ``Dialog`` -> utterance -> StartTime, EndTime, Text,
Speaker, EmoAnnotation {final_mul_emo "Happy,Surprise", final_main_emo}. Times are HH:MM:SS:FF,
where FF is a frame at 25 per second. ``movie_list_{train,val,test}.txt`` name the series.

A feature file is a tuple of ten: ids, speakers, labels, text, audio, visual, sentences (each
dialogue -> one entry per utterance) and three lists of dialogues. Neither the names of the fields
nor those lists are relied on: files in use have audio and visual, or validation and test, the
other way round. Features are told apart by their size, splits are those of the movie lists, and
labels those of the annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model.data import dialogues as protocols
from lddu_model.data.conversion import Conversion
from lddu_model.data.dialogues import EMOTIONS, Dialogue, Protocol, Utterance, known_emotions
from lddu_model.data.pickles.tree import read_tree
from lddu_model.data.sequences import as_text, cleaned
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, ModalitySpec

FRAMES_PER_SECOND = 25
DIMS: Mapping[int, str] = {768: "words", 1024: "voice", 342: "face"}
"""Features per utterance -> modality: RoBERTa, wav2vec and DenseFace."""
IDS, FIRST, LAST = 0, 3, 5
"""Places in the tuple: utterances of each dialogue, and the fields that hold features."""
LAYOUT = "see lddu_model/data/m3ed.py for the layout"


def read_m3ed(
    annotation: Path,
    splits: Path,
    features: Sequence[Path],
    protocol: Protocol,
    *,
    context: int | None = None,
    dims: Mapping[int, str] = DIMS,
    scratch: Path | None = None,
) -> Conversion:
    """A conversion of M3ED; `splits` is the folder of the movie lists."""
    found = read_annotation(annotation, read_movies(splits))
    rows: dict[str, list[Float32]] = {}
    for path in features:
        for name, values in read_features(path, found, dims, scratch).items():
            if name in rows:
                raise DataError(f"{path} gives {name} a second time", "name one file per modality")
            rows[name] = values
    steps = protocols.steps_of(found, protocol, context)
    modalities = [
        ModalitySpec(name, dim, steps, None, f"M3ED {dim}")
        for dim, name in dims.items()
        if name in rows
    ]
    parts = protocols.parts(found, rows, protocol, context)
    report = {"source": annotation.name, "protocol": protocols.PROTOCOLS[protocol]}
    spec = FeatureSpec(f"m3ed-{protocol}", tuple(modalities))
    return Conversion(spec, EMOTIONS, parts, report)


def seconds(time: str, where: str) -> float:
    """HH:MM:SS:FF -> seconds."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", time.strip())
    if match is None or int(match[4]) >= FRAMES_PER_SECOND:
        raise DataError(
            f"{where}: {time!r} is not HH:MM:SS:FF at {FRAMES_PER_SECOND} frames", LAYOUT
        )
    hours, minutes, whole, frames = (int(each) for each in match.groups())
    return 3600.0 * hours + 60 * minutes + whole + frames / FRAMES_PER_SECOND


def read_movies(folder: Path) -> dict[str, str]:
    """Series -> split."""
    found: dict[str, str] = {}
    for theirs, ours in (("train", "train"), ("val", "validation"), ("test", "test")):
        path = folder / f"movie_list_{theirs}.txt"
        try:
            movies = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} cannot be read: {error}", "name the folder splitInfo"
            ) from error
        twice = [movie for movie in movies if movie in found]
        if twice:
            raise DataError(f"{path} has {twice[0]}, which is in {found[twice[0]]} already")
        found |= dict.fromkeys(movies, ours)
    return found


def read_annotation(path: Path, movies: Mapping[str, str]) -> list[Dialogue]:
    """All dialogues of the series in `movies`; their utterances in the order of their numbers."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if lost := [movie for movie in tree if movie not in movies]:
            raise DataError(
                f"{path} has {lost[0]}, which is in no split", "take the official lists"
            )
        return [
            _dialogue(f"{path}, {name}", name, movie, movies[movie], content["Dialog"])
            for movie, dialogues in tree.items()
            for name, content in dialogues.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not M3ED's annotation: {error!r}", LAYOUT) from error


def _dialogue(where: str, name: str, movie: str, split: str, turns: Mapping[str, Any]) -> Dialogue:
    utterances = []
    for turn in sorted(turns, key=_number):
        entry = turns[turn]
        emotion = entry["EmoAnnotation"]
        main = emotion["final_main_emo"]
        listed = known_emotions([main, *emotion["final_mul_emo"].split(",")], f"{where}, {turn}")
        times = [seconds(entry[key], f"{where}, {turn}") for key in ("StartTime", "EndTime")]
        each = tuple(dict.fromkeys(listed))
        utterances.append(Utterance(turn, entry["Speaker"], each, entry["Text"], *times))
    return Dialogue(name, movie, split, tuple(utterances))


def _number(name: str) -> int:
    """The last number of a name such as ``anjia_1_12``."""
    match = re.search(r"(\d+)(?:\.\w+)?$", name)
    if match is None:
        raise ValueError(f"utterance {name!r} has no number")
    return int(match[1])


def read_features(
    path: Path, dialogues: Sequence[Dialogue], dims: Mapping[int, str], scratch: Path | None = None
) -> dict[str, list[Float32]]:
    """By modality: for each of `dialogues` (utterances, D)."""
    fields = read_tree(path, scratch=scratch)
    if not isinstance(fields, list) or len(fields) not in (9, 10):
        raise DataError(f"{path} is not a tuple of ten", LAYOUT)
    found: dict[str, list[Float32]] = {}
    for place in range(FIRST, LAST + 1):
        field = fields[place]
        if not isinstance(field, dict) or not field:
            continue
        dim = np.shape(next(iter(field.values())))[-1]
        if dim not in dims:
            raise DataError(
                f"{path}: field {place + 1} has {dim} features, which belong to no modality",
                f"known are {dict(dims)}; add one with --dim {dim}=face",
            )
        if dims[dim] in found:
            raise DataError(f"{path}: two fields have {dim} features", LAYOUT)
        found[dims[dim]] = [_rows(path, field, fields[IDS], each, dim) for each in dialogues]
    return found


def _rows(path: Path, field: Any, ids: Any, dialogue: Dialogue, dim: int) -> Float32:
    """(utterances, D) in the order of the dialogue's utterances."""
    count, name = len(dialogue.utterances), dialogue.id
    if name not in field:
        raise DataError(f"{path} has nothing of the dialogue {name}", LAYOUT)
    rows = cleaned(np.asarray(field[name]))
    if rows.shape != (count, dim):
        raise DataError(f"{path}: {name} has features {rows.shape}, not {(count, dim)}", LAYOUT)
    named = ids.get(name) if isinstance(ids, dict) else None
    if named is None or len(named) != count:
        return rows
    order = {_number(as_text(each)): i for i, each in enumerate(named)}
    wanted = [_number(each.id) for each in dialogue.utterances]
    if set(order) != set(wanted):
        raise DataError(f"{path}: {name} has other utterances than the annotation", LAYOUT)
    return rows[[order[number] for number in wanted]]
