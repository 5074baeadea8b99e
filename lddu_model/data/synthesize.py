"""Write synthetic sets shaped like CMU-MOSEI, see ``lddu_model.data.synthetic``.

    python -m lddu_model.data.synthesize configs/synthetic.toml --out DIR [--set key=value ...]

DIR gets a feature set per split, each with ``noise.npz`` (ids, modalities, level and kind (N, M)),
and generation.json with the whole configuration and its digest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from tqdm import tqdm

from lddu_model.config import read_changed
from lddu_model.data.shards import ShardWriter
from lddu_model.data.synthetic import Made, SyntheticConfig, World
from lddu_model.errors import ConfigError, DataError, run_command
from lddu_model.files import replacing, write_text
from lddu_model.spec import Float32, Sample

NOISE_FILE = "noise.npz"


class KnownNoise(NamedTuple):
    """What was done to N samples with M modalities."""

    ids: tuple[str, ...]
    modalities: tuple[str, ...]
    level: Float32
    """(N, M): 0 where clean, NaN where missing."""
    kind: NDArray[np.str_]
    """(N, M)"""


def read_noise(folder: Path) -> KnownNoise:
    """Of a synthetic feature set; ``DataError`` when it is not one."""
    path = folder / NOISE_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            return KnownNoise(
                tuple(map(str, file["ids"])),
                tuple(map(str, file["modalities"])),
                np.asarray(file["level"], dtype=np.float32),
                np.asarray(file["kind"], dtype=np.str_),
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "python -m lddu_model.data.synthesize"
        ) from error


def read_synthetic(path: Path, changes: Sequence[str] = ()) -> SyntheticConfig:
    """A missing file, unknown key or wrong value is a ``ConfigError``."""
    plain = read_changed(path, changes)
    try:
        return SyntheticConfig.model_validate(plain)
    except ValidationError as error:
        faults = "".join(
            f"\n  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise ConfigError(f"{path} has wrong settings:{faults}", "correct these keys") from error


def write_synthetic(config: SyntheticConfig, out: Path) -> None:
    """All splits that `config` names."""
    world = World(config)
    for split, count in config.samples.items():
        _write(out / split, config, split, _samples(world, split, count))
    plain = config.model_dump(mode="json")
    text = json.dumps(plain, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    report = {"sha256": digest, "configuration": plain}
    write_text(out / "generation.json", json.dumps(report, indent=1) + "\n")


def _samples(world: World, split: str, count: int) -> Iterator[Made]:
    for i in range(count):
        if split == "test-paired":
            yield from world.paired(i)
        else:
            yield world.sample(split, i)


def _write(folder: Path, config: SyntheticConfig, split: str, samples: Iterator[Made]) -> None:
    ids, level, kind = [], [], []
    names = list(config.modalities)
    with ShardWriter(folder, config.spec, config.labels) as writer:
        for made in tqdm(samples, split, unit="sample", disable=not sys.stderr.isatty()):
            writer.add(Sample(made.features, {}, made.labels, made.id, made.speaker))
            ids.append(made.id)
            level.append([made.level[name] for name in names])
            kind.append([made.kind[name] for name in names])
    with replacing(folder / NOISE_FILE) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            ids=np.array(ids),
            modalities=np.array(names),
            level=np.array(level, dtype=np.float32),
            kind=np.array(kind),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.data.synthesize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="TOML file, see configs/synthetic.toml")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args(arguments)
    write_synthetic(read_synthetic(chosen.config, chosen.set), chosen.out)
    print(f"written to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
