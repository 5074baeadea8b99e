"""Small feature sets with a known signal, for the tests of lddu_model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lddu_model import FeatureSpec, ModalitySpec, Sample
from lddu_model.data.shards import ShardWriter

# Threads that wait for each other on a busy machine make small tensors ten times slower.
torch.set_num_threads(1)

LABELS = ("happy", "sad", "anger")
SPEC = FeatureSpec(
    "toy",
    (
        ModalitySpec("words", 12, 6, None, "none"),
        ModalitySpec("voice", 10, 8, 10.0, "none"),
        ModalitySpec("face", 9, 8, 10.0, "none"),
    ),
    window_s=0.8,
)
SMALL = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "latent": 8}


def toy_samples(
    count: int,
    modalities: tuple[str, ...] = SPEC.names,
    *,
    seed: int = 0,
    signal: float = 2.0,
    prefix: str = "toy",
) -> list[Sample]:
    """Samples whose label c shifts feature c of every step by `signal`; noise has deviation 1."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        labels = (rng.random(len(LABELS)) < 0.3).astype(np.float32)
        features, mask = {}, {}
        for name in modalities:
            modality = SPEC[name]
            steps = int(rng.integers(2, modality.steps + 1))
            x = rng.normal(size=(steps, modality.dim)).astype(np.float32)
            x[:, : len(LABELS)] += signal * labels
            features[name] = x
            mask[name] = np.ones(steps, dtype=bool)
        made.append(Sample(features, mask, labels, f"{prefix}-{i}", f"g{i % 5}"))
    return made


def write_set(folder: Path, samples: list[Sample]) -> Path:
    with ShardWriter(folder, SPEC, LABELS) as writer:
        for sample in samples:
            writer.add(sample)
    return folder


def write_config(path: Path, sets: dict[str, Path], extra: str = "") -> Path:
    """A quick configuration over `sets` (name -> folder); `extra` comes before the sets."""
    model = "".join(f"{key} = {value}\n" for key, value in SMALL.items())
    lines = [
        'name = "toy"',
        f'out = "{path.parent / "run"}"',
        f"labels = {list(LABELS)}",
        'device = "cpu"\nthreads = 1',
        extra,
        f"[model]\n{model}",
    ]
    if "[optim]" not in extra:
        lines.append("[optim]\nepochs = 4\nbatch = 32\nlearning_rate = 5e-3\n")
    lines += [
        f'[[data]]\nname = "{name}"\npath = "{folder}"\nvalidation = 0.25\ntest_groups = ["g0"]\n'
        for name, folder in sets.items()
    ]
    path.write_text("\n".join(lines))
    return path
