"""Files in the exact layouts of data sets, with generated features."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
DIMS = {"text": 768, "audio": 74, "vision": 35}
COUNTS = {"train": 24, "valid": 8, "test": 12}
Clips = dict[str, list[dict[str, Any]]]
"""Split as in the files -> rows of the label table."""


def made_clips(counts: Mapping[str, int] = COUNTS, seed: int = 0) -> Clips:
    """Rows of a label table, several clips per video."""
    rng = np.random.default_rng(seed)
    found: Clips = {}
    for split, count in counts.items():
        rows = []
        for i in range(count):
            video, clip = f"{split}_-v{i // 3}", str(i % 3 * 4)
            felt = rng.random(6) < [0.5, 0.25, 0.2, 0.1, 0.15, 0.1]
            levels = (felt * rng.integers(1, 9, 6) / 3).round(6)
            start = round(i % 3 * 7.25 + 0.123, 3)
            rows.append(
                {
                    "key": f"{video}_{clip}",
                    "video_id": video,
                    "clip_id": clip,
                    "split": split,
                    "csd_row": i % 3,
                    "start": start,
                    "end": start + 5.5,
                    "sentiment": 0.0,
                    **dict(zip(EMOTIONS, levels.tolist(), strict=True)),
                    "match": "order",
                }
            )
        found[split] = rows
    return found


def read_clips(path: Path) -> Clips:
    """The rows of a real label table."""
    found: Clips = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["split"], []).append(dict(row))
    return found


def write_table(path: Path, clips: Clips) -> Path:
    rows = [row for part in clips.values() for row in part]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def present(row: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.array([float(row[name]) > 0 for name in EMOTIONS], dtype=np.float32)


def mmsa_tree(
    clips: Clips,
    *,
    steps: Mapping[str, int] | None = None,
    dims: Mapping[str, int] = DIMS,
    seed: int = 0,
    shuffle: bool = True,
) -> dict[str, dict[str, Any]]:
    """What an MMSA file holds: aligned without `steps`, else with lengths. Real rows are followed
    by zeros; label c shifts feature c.
    """
    rng = np.random.default_rng(seed)
    longest = {"text": 50, "audio": 50, "vision": 50} if steps is None else dict(steps)
    tree = {}
    for split, rows in clips.items():
        order = rng.permutation(len(rows)) if shuffle else np.arange(len(rows))
        mine = [rows[i] for i in order]
        lengths = {name: rng.integers(2, n + 1, len(rows)) for name, n in longest.items()}
        if steps is None:
            lengths = dict.fromkeys(longest, lengths["text"])
        fields: dict[str, Any] = {
            "raw_text": np.array(["some words" for _ in mine], dtype=object),
            "id": [f"{row['video_id']}$_${row['clip_id']}" for row in mine],
            "annotations": ["Neutral" for _ in mine],
            "classification_labels": np.ones(len(mine)),
            "regression_labels": np.zeros(len(mine), dtype=np.float32),
            "text_bert": _tokens(lengths["text"], longest["text"]),
        }
        shift = np.stack([present(row) for row in mine])
        for name, n in longest.items():
            x = np.zeros((len(mine), n, dims[name]), dtype=np.float32)
            for i, length in enumerate(lengths[name]):
                x[i, :length] = rng.standard_normal((length, dims[name]), dtype=np.float32)
                x[i, :length, :6] += 2 * shift[i]
            fields[name] = x
            if steps is not None and name != "text":
                fields[f"{name}_lengths"] = lengths[name].tolist()
        tree[split] = fields
    return tree


def _tokens(lengths: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """(N, 3, L) token numbers, mask and segments."""
    mask = (np.arange(steps) < lengths[:, None]).astype(np.int64)
    return np.stack([mask * 101, mask, mask * 0], axis=1)


def write_pickle(path: Path, value: Any, protocol: int = 4) -> Path:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=protocol)
    return path


def write_m3ed(
    folder: Path,
    dialogues: Mapping[str, Mapping[str, int]],
    seed: int = 0,
    lengths: tuple[int, int] = (2, 13),
) -> dict[str, list[tuple[str, str, int]]]:
    """annotation.json, splitInfo and features.pkl; `dialogues`: split -> series -> dialogues.

    As in the real file, audio and visual, and validation and test, stand the other way round.
    Returns split -> (series, dialogue, utterances).
    """
    rng = np.random.default_rng(seed)
    names = ("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise")
    (folder / "splitInfo").mkdir(parents=True)
    tree: dict[str, Any] = {}
    made: dict[str, list[tuple[str, str, int]]] = {}
    fields: list[dict[str, Any]] = [{} for _ in range(7)]
    for split, movies in dialogues.items():
        (folder / "splitInfo" / f"movie_list_{split}.txt").write_text("\n".join(movies))
        for movie, count in movies.items():
            tree[movie] = {}
            for d in range(1, count + 1):
                name, length = f"{movie}_{d}", int(rng.integers(*lengths))
                turns = {f"{name}_{u}": _turn(rng, names, u) for u in rng.permutation(length) + 1}
                tree[movie][name] = {"SpeakerInfo": {"A": {"Name": "A"}}, "Dialog": turns}
                made.setdefault(split, []).append((movie, name, length))
                fields[0][name] = [f"A_{name}_{u}" for u in range(1, length + 1)]
                fields[2][name] = [0] * length
                for place, dim in ((3, 768), (4, 342), (5, 1024)):
                    x = rng.standard_normal((length, dim), dtype=np.float32)
                    x[:, 0] = np.arange(1, length + 1)
                    fields[place][name] = x
    (folder / "annotation.json").write_text(json.dumps(tree, ensure_ascii=False))
    lists = [[name for _, name, _ in made[split]] for split in ("train", "test", "val")]
    write_pickle(folder / "features.pkl", (*fields, *lists))
    return made


def _turn(rng: np.random.Generator, names: Sequence[str], number: int) -> dict[str, Any]:
    main, other = (names[i] for i in rng.choice(len(names), 2, replace=False))
    return {
        "StartTime": f"00:01:{number:02d}:05",
        "EndTime": f"00:01:{number:02d}:24",
        "Text": "你好",
        "Speaker": "A" if number % 2 else "B",
        "EmoAnnotation": {
            "EmoAnnotator1": main,
            "EmoAnnotator2": main,
            "EmoAnnotator3": other,
            "final_mul_emo": f"{other},{main}" if number % 3 == 0 else main,
            "final_main_emo": main,
        },
    }
