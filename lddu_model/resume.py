"""The state of an unfinished training run, from which it goes on as if it had never stopped.

A folder with one safetensors file and `state.json`, written last, which names it: a crash while
saving leaves the previous state whole. On a CPU the run that goes on is equal bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise
from torch import Tensor

from lddu_model.errors import CheckpointError
from lddu_model.files import replacing, write_text

FORMAT = 1
JSON_NAME = "state.json"


class State(NamedTuple):
    """Tensors by name, and everything else as plain JSON types."""

    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]


def save_state(folder: Path, state: State) -> None:
    """Replace what is in `folder`."""
    tensors = {name: x.detach().cpu().contiguous().clone() for name, x in state.tensors.items()}
    data = serialise(tensors)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"state-{digest[:12]}.safetensors"
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    content = {"format": FORMAT, "file": path.name, "sha256": digest, **state.plain}
    write_text(folder / JSON_NAME, json.dumps(content) + "\n")
    for old in folder.glob("state-*.safetensors"):
        if old != path:
            old.unlink()


def load_state(folder: Path) -> State | None:
    """None where no state is; a damaged one is a ``CheckpointError``."""
    where = folder / JSON_NAME
    if not where.is_file():
        return None
    again = f"remove {folder} and train anew"
    try:
        plain = json.loads(where.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise CheckpointError(f"{where} has format {plain['format']}, not {FORMAT}", again)
        path = folder / str(plain["file"])
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != plain["sha256"]:
            raise CheckpointError(f"{path} is not the file that {where} names (sha256)", again)
        return State(parse_tensors(data), plain)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{where} cannot be read: {error!r}", again) from error


def drop_state(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
