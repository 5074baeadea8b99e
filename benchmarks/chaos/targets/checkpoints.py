"""Checkpoints: a model, or a ``CheckpointError`` with a hint.

The first byte of an input chooses: the JSON file, or the tensors (with the digest that belongs).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lddu_model
from benchmarks.chaos.targets import Feed, helps
from lddu_model import FeatureSpec, ModalitySpec, checkpoint
from lddu_model.errors import ModelError

SPEC = FeatureSpec(
    name="small",
    modalities=(
        ModalitySpec("words", 4, 5, None, "test", ""),
        ModalitySpec("voice", 4, 6, 10.0, "test", ""),
        ModalitySpec("face", 4, 6, 10.0, "test", ""),
    ),
    window_s=3.0,
)


def small(folder: Path) -> tuple[bytes, bytes]:
    """JSON and tensors of a model."""
    checkpoint.save(folder, lddu_model.create("default", SPEC, ("happy", "sad")))
    text = (folder / "model.json").read_bytes()
    name = json.loads(text)["tensors"]["file"]
    return text, (folder / name).read_bytes()


with tempfile.TemporaryDirectory() as _folder:
    TEXT, TENSORS = small(Path(_folder) / "model")
SEEDS = [b"\0" + TEXT, b"\1" + TENSORS[:4096], b"\0" + b"[" * 3000, b"\0" + b'{"a":' * 800]


@contextmanager
def opened() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors = folder / json.loads(TEXT)["tensors"]["file"]

        def feed(data: bytes) -> None:
            if not data:
                return
            text, state = (data[1:], TENSORS) if data[0] % 2 == 0 else (TEXT, data[1:])
            if data[0] % 2:
                state += TENSORS[len(state) :]
                content = json.loads(TEXT)
                content["tensors"]["sha256"] = hashlib.sha256(state).hexdigest()
                text = json.dumps(content).encode()
            (folder / "model.json").write_bytes(text)
            tensors.write_bytes(state)
            try:
                checkpoint.load(folder)
            except ModelError as error:
                helps(error)

        yield feed
