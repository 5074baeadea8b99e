"""Write CMU-MOSEI's emotion labels to clips that have none, by the name of the clip.

    python -m lddu_model.labels SET LABELS.csv [--out DIR]       a converted set
    python -m lddu_model.labels MMSA.pkl LABELS.csv --out FILE.npz

A converted set (see ``lddu_model.data.convert``, kinds mmsa and mult) gets its labels in place, or
is copied with them to DIR; its features stay as they are. For an MMSA pickle, whose own layout has
no place for emotions, FILE.npz has for each split (``train``, ``validation``, ``test``), in the
order of the pickle's rows:

``<split>.id`` (N,) names of the clips      ``<split>.present`` (N, 6) of 0 and 1
``<split>.intensity`` (N, 6) averaged annotations, 0 to 3

beside ``labels``, the names of the six. The pickle is not changed, and nothing in it is run (see
``lddu_model.data.pickles``).

The counts are checked against the known ones; --part accepts a part of the data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from lddu_model.data.conversion import REPORT, Count
from lddu_model.data.fingerprints import MOSEI, identify
from lddu_model.data.mmsa import clip_of, read_splits
from lddu_model.data.mosei import EMOTIONS, Clip, LabelTable, joined, read_label_table
from lddu_model.data.sequences import as_text
from lddu_model.data.shards import INDEX
from lddu_model.errors import DataError, run_command
from lddu_model.files import replacing, write_text
from lddu_model.spec import Float32

AGAIN = "convert it again: python -m lddu_model.data.convert"


def label_pickle(source: Path, table: Path, out: Path, *, part: bool = False) -> str:
    """Write the labels of an MMSA pickle; returns which known counts they have."""
    labels = read_label_table(table)
    arrays: dict[str, Any] = {"labels": np.array(EMOTIONS)}
    counted: dict[str, Count] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for split, fields in read_splits(source, out.parent).items():
        names = [clip_of(name, f"{source}, {split}") for name in fields["id"]]
        clips = [labels.named(*name) for name in names]
        present = joined(clips, ["$_$".join(name) for name in names], split, source, labels)
        arrays[f"{split}.id"] = np.array([as_text(name) for name in fields["id"]])
        arrays[f"{split}.present"] = present
        arrays[f"{split}.intensity"] = np.array(
            [clip.intensity for clip in clips if clip is not None], dtype=np.float32
        )
        counted[split] = Count(len(present), int(present.sum()))
    found = _identified(counted, str(source), part=part)
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return found


def label_set(source: Path, table: Path, out: Path | None = None, *, part: bool = False) -> str:
    """Write the labels of a converted set; returns which known counts they have.

    What is at `out` (None: `source`) is replaced when everything is written.
    """
    labels = read_label_table(table)
    report = _json(source / REPORT)
    out = source if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        new = Path(folder) / "set"
        counted = {}
        for split in report["splits"]:
            present = _label_split(source / split, new / split, split, labels)
            counted[split] = Count(len(present), int(present.sum()))
            report["splits"][split] |= {
                "positives": counted[split].positives,
                "per_label": dict(
                    zip(EMOTIONS, present.sum(axis=0).astype(int).tolist(), strict=True)
                ),
            }
        report["fingerprint"] = _identified(counted, str(source), part=part)
        write_text(new / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        if out.exists():
            out.rename(Path(folder) / "old")
        new.rename(out)
    return str(report["fingerprint"])


def _label_split(source: Path, out: Path, split: str, table: LabelTable) -> Float32:
    """Copy the shards of one split with labels; returns these (N, 6)."""
    index = _json(source / INDEX)
    if tuple(index["labels"]) != EMOTIONS:
        raise DataError(f"{source} has the labels {index['labels']}, not CMU-MOSEI's emotions")
    out.mkdir(parents=True)
    found = []
    for shard in index["shards"]:
        path = source / shard["file"]
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} cannot be read: {error}", AGAIN) from error
        samples = json.loads(header["samples"])
        pairs = list(zip(samples["ids"], samples["groups"], strict=True))
        present = joined(
            [_clip(name, video, table) for name, video in pairs], samples["ids"], split, path, table
        )
        tensors["labels"], tensors["labelled"] = present, np.ones(len(present), dtype=bool)
        data = serialise(tensors, header)
        (out / path.name).write_bytes(data)
        shard["sha256"] = hashlib.sha256(data).hexdigest()
        found.append(present)
    write_text(out / INDEX, json.dumps(index, indent=1) + "\n")
    return np.concatenate(found) if found else np.zeros((0, len(EMOTIONS)), np.float32)


def _clip(name: str, video: str, table: LabelTable) -> Clip | None:
    """The row of a sample, whose name is <video>_<clip> or <video>@<start>..<end>."""
    rest = name.removeprefix(video)
    if rest.startswith("@"):
        start, _, end = rest[1:].partition("..")
        return table.at(video, float(start), float(end))
    return table.named(video, rest[1:])


def _identified(counted: dict[str, Count], where: str, *, part: bool) -> str:
    if part:
        total = sum(each.samples for each in counted.values())
        return f"not checked: a part, {total:,} samples"
    return identify(MOSEI, counted, where)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", AGAIN) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not what a conversion has written", AGAIN)
    return found


def run(source: Path, table: Path, out: Path | None, *, part: bool) -> str:
    """Label a set or a pickle; returns what to tell about it."""
    if source.is_dir():
        if (source / REPORT).is_file():
            return f"{out or source}: {label_set(source, table, out, part=part)}"
        raise DataError(f"{source} has no {REPORT}: it is no converted set", AGAIN)
    if out is None or out.suffix != ".npz":
        raise DataError(f"the labels of {source} go to a file of their own", "give --out FILE.npz")
    return f"{out}: {label_pickle(source, table, out, part=part)}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("table", type=Path, metavar="LABELS.csv")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", action="store_true", help="do not insist on the known counts")
    chosen = parser.parse_args(arguments)
    print(run(chosen.source, chosen.table, chosen.out, part=chosen.part))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
