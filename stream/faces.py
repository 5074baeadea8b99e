"""Generated faces for training: ``python -m stream.faces --out DIR``.

The face sequences of ``lddu_model.data.facs``, as a feature set like those of ``stream.prepare``:
under the live feature specification, with the features that the face stage and windows give.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lddu_model import Sample
from lddu_model.data.facs import HISTORY_RATE, FaceGenerator, GeneratedFace
from lddu_model.data.shards import ShardWriter
from stream import config as configuration
from stream.config import PrepareConfig
from stream.errors import run_command
from stream.spec import LABELS, RATE, live_spec
from workers.face_features import MEASURED, SPEAKING, complete
from workers.neutral import NeutralFace


def write_faces(folder: Path, config: PrepareConfig, count: int, seed: int) -> None:
    """Replace the set in `folder` by `count` generated samples."""
    spec = live_spec(config)
    generator = FaceGenerator(MEASURED, LABELS, spec["face"].steps, RATE)
    with ShardWriter(folder, spec, LABELS, dtype=config.dtype) as writer:
        for face in generator.samples(count, seed):
            writer.add(face_sample(face))


def face_sample(face: GeneratedFace) -> Sample:
    """What the stages would have made of it in a call that began with ``face.before``."""
    neutral = NeutralFace()
    for i, measured in enumerate(face.before):
        neutral.see(i / HISTORY_RATE, measured)
    start = len(face.before) / HISTORY_RATE
    rows = []
    for i, measured in enumerate(face.features):
        rows.append(complete(measured, *neutral.shapes()))
        if face.mask[i]:
            neutral.see(start + i / RATE, measured)
    features = np.stack(rows)
    if face.speech is not None:
        features[:, SPEAKING] = face.speech
    return Sample({"face": features}, {"face": face.mask}, face.labels, face.id, face.person)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stream.faces", description="Generate labelled face sequences."
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="e.g. configs/prepare-live.toml"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the set")
    parser.add_argument("--count", type=int, default=12_000, help="samples (default 12000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other faces")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes a setting"
    )
    options = parser.parse_args(arguments)
    overrides = configuration.parse_overrides(options.set)
    config = configuration.load(PrepareConfig, options.config, overrides)
    write_faces(options.out, config, options.count, options.seed)
    print(json.dumps({"folder": str(options.out), "samples": options.count}))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
