"""M3ED-INSIDE: text and key frames of M3ED as it was released again, without sound.

A folder with ``utterances.csv`` (utt_id, split, movie, dialog, index, speaker, start_sec, end_sec,
text, emotions "Anger|Disgust") and ``visual_*.npz`` (utt_id, visual (N, D)). Results on it are
results on "M3ED-INSIDE, text and vision", not on M3ED.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model.data import dialogues as protocols
from lddu_model.data.conversion import Conversion, counts, split_name
from lddu_model.data.dialogues import EMOTIONS, Dialogue, Protocol, Utterance, known_emotions
from lddu_model.data.fingerprints import M3ED_INSIDE, identify
from lddu_model.data.text_vectors import Encoder, vectors_of
from lddu_model.errors import DataError
from lddu_model.spec import FeatureSpec, Float32, ModalitySpec

LAYOUT = "the folder needs utterances.csv and visual_*.npz; see lddu_model/data/m3ed_inside.py"


def read_m3ed_inside(
    folder: Path,
    protocol: Protocol,
    encoder: Encoder | None = None,
    *,
    encoder_name: str = "",
    cache: Path | None = None,
    context: int | None = None,
    part: bool = False,
    progress: bool = False,
) -> Conversion:
    """A conversion; words are left out without an `encoder`, which gives one vector per text."""
    found = read_dialogues(folder / "utterances.csv")
    features: dict[str, list[Float32]] = {}
    extractors = {"words": encoder_name, "face": "CLIP ViT-B/16, mean of key frames"}
    if encoder is not None:
        features["words"] = text_vectors(found, encoder, encoder_name, cache, progress=progress)
    features["face"] = read_visual(folder, found)
    steps = protocols.steps_of(found, protocol, context)
    spec = FeatureSpec(
        f"m3ed-inside-{protocol}",
        tuple(
            ModalitySpec(name, rows[0].shape[1], steps, None, extractors[name])
            for name, rows in features.items()
        ),
    )
    parts = protocols.parts(found, features, protocol, context)
    report: dict[str, Any] = {
        "source": "M3ED-INSIDE",
        "protocol": protocols.PROTOCOLS[protocol],
        "context": context,
    }
    if not part:
        report["fingerprint"] = identify(M3ED_INSIDE[protocol], counts(parts), str(folder))
    return Conversion(spec, EMOTIONS, parts, report)


def read_dialogues(path: Path) -> list[Dialogue]:
    """All dialogues, in the order of the file; utterances by their index."""
    rows: dict[str, list[tuple[int, Utterance]]] = {}
    of: dict[str, tuple[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                name = row["dialog"]
                split = of.setdefault(name, (row["movie"], split_name(row["split"], where)))[1]
                if split != split_name(row["split"], where):
                    raise DataError(f"{where}: dialogue {name} is in two splits")
                rows.setdefault(name, []).append((int(row["index"]), _utterance(row, where)))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error!r}", LAYOUT) from error
    return [
        Dialogue(name, *of[name], tuple(x for _, x in sorted(turns, key=lambda pair: pair[0])))
        for name, turns in rows.items()
    ]


def _utterance(row: Mapping[str, str], where: str) -> Utterance:
    emotions = known_emotions(row["emotions"].split("|"), where)
    times = [float(row[key]) if row[key] else None for key in ("start_sec", "end_sec")]
    return Utterance(row["utt_id"], row["speaker"], emotions, row["text"], *times)


def text_vectors(
    dialogues: list[Dialogue],
    encoder: Encoder,
    name: str,
    cache: Path | None = None,
    *,
    progress: bool = False,
) -> list[Float32]:
    """(utterances, D) for each dialogue; several vectors of one text are averaged."""
    texts = [each.text for dialogue in dialogues for each in dialogue.utterances]
    found = vectors_of(texts, encoder, name, cache, progress=progress)
    rows = np.stack([x.mean(axis=0) if len(x) else np.zeros(x.shape[1], np.float32) for x in found])
    return _split(rows, dialogues)


def read_visual(folder: Path, dialogues: list[Dialogue]) -> list[Float32]:
    """(utterances, D) for each dialogue; zeros where an utterance has no picture."""
    paths = sorted(folder.glob("visual_*.npz"))
    if len(paths) != 1:
        raise DataError(f"{folder} has {len(paths)} files visual_*.npz, not one", LAYOUT)
    try:
        with np.load(paths[0], allow_pickle=False) as file:
            visual = np.asarray(file["visual"], dtype=np.float32)
            place = {str(name): i for i, name in enumerate(file["utt_id"])}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{paths[0]} cannot be read: {error}", LAYOUT) from error
    names = [each.id for dialogue in dialogues for each in dialogue.utterances]
    rows = np.zeros((len(names), visual.shape[1]), dtype=np.float32)
    for i, name in enumerate(names):
        if name in place:
            rows[i] = visual[place[name]]
    return _split(rows, dialogues)


def _split(rows: Float32, dialogues: list[Dialogue]) -> list[Float32]:
    ends = np.cumsum([len(each.utterances) for each in dialogues])
    return np.split(rows, ends[:-1])
