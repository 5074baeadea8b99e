"""Fit what a checkpoint says to your own data: probabilities, variances and thresholds anew.

    python -m lddu_model.calibrate CHECKPOINT --set FOLDER... --out DIR

The weights stay as they are; DIR gets a whole checkpoint. Each set counts alike, however large.
Thresholds are the best ones on these very data: score the result on others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lddu_model.card import write_card
from lddu_model.checkpoint import load, save
from lddu_model.data.sets import labelled
from lddu_model.data.shards import read_shards
from lddu_model.errors import ConfigError, DataError, run_command
from lddu_model.evaluation import choose
from lddu_model.report import git_commit
from lddu_model.spec import differences


def calibrate(checkpoint: Path, sets: Sequence[Path], out: Path, device: str = "auto") -> Path:
    """Write `checkpoint`, calibrated on `sets`, into `out`; returns the path of its model.json."""
    names = [folder.name for folder in sets]
    if len(set(names)) != len(names):
        raise ConfigError(f"sets need different names, got {names}")
    model = load(checkpoint, device=device)
    views, told = {}, []
    for folder in sets:
        found = read_shards(folder)
        lines = differences(model.spec, found.spec)
        if lines:
            raise DataError(
                f"{folder} has other features than {checkpoint} was made for: {'; '.join(lines)}",
                "prepare the set with the settings that the checkpoint was trained with",
            )
        views[folder.name] = labelled(found, model.labels)
        if not views[folder.name]:
            raise DataError(f"{folder} has no labelled samples", "prepare it with its labels")
        told.append({"name": folder.name, "samples": len(views[folder.name]),
                     "fingerprint": found.fingerprint})  # fmt: skip
    choose(model, views)
    model.record = {**model.record, "calibrated": {"sets": told, "git_commit": git_commit()}}
    path = save(out, model)
    write_card(out)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--set", nargs="+", type=Path, required=True, help="labelled feature sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args(arguments)
    calibrate(chosen.checkpoint, chosen.set, chosen.out, chosen.device)
    print(f"calibrated checkpoint: {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
