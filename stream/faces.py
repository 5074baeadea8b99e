"""Generated faces for training: ``python -m stream.faces --out DIR``.

The face sequences of ``lddu_model.data.facs``, as a feature set like those of ``stream.prepare``:
under the live feature specification, with the features that the face stage gives.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lddu_model.data.facs import FaceGenerator
from lddu_model.data.shards import ShardWriter
from stream import config as configuration
from stream.config import PrepareConfig
from stream.errors import run_command
from stream.spec import LABELS, live_spec
from workers.face import FEATURE_NAMES


def write_faces(folder: Path, config: PrepareConfig, count: int, seed: int) -> None:
    """Replace the set in `folder` by `count` generated samples."""
    spec = live_spec(config)
    face = spec["face"]
    assert face.rate is not None
    generator = FaceGenerator(FEATURE_NAMES, LABELS, face.steps, face.rate)
    with ShardWriter(folder, spec, LABELS, dtype=config.dtype) as writer:
        for sample in generator.samples(count, seed):
            writer.add(sample)


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
    options = parser.parse_args(arguments)
    config = configuration.load(PrepareConfig, options.config)
    write_faces(options.out, config, options.count, options.seed)
    print(json.dumps({"folder": str(options.out), "samples": options.count}))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
