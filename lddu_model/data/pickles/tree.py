"""What is in a pickle, as plain values: the side that starts the child and reads its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lddu_model.errors import DataError

ROOT = Path(__file__).parents[3]
"""The folder that `lddu_model` lies in."""
HINT = "if you trust its author, save it again as plain numpy arrays, text, lists and dictionaries"


def read_tree(
    path: Path, *, memory_mb: int = 2048, seconds: int = 600, scratch: Path | None = None
) -> Any:
    """The content of a pickle or a ``torch.save`` file: dictionaries, lists, text, numbers, arrays.

    Arrays are read-only views of the file, so they take no memory until they are read. Tuples and
    sets come as lists. Nothing in the file is run: a child process under the given limits takes it
    apart, and only names in ``inert.NAMES`` are understood. `scratch` is a folder for arrays that
    have to be copied (protocol 2). A ``DataError`` names the file and why it is refused.
    """
    path = path.absolute()
    if not path.is_file():
        raise DataError(f"{path} is not a file", "check the path")
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        _dismantle(path, Path(folder), memory_mb, seconds)
        files = {
            "source": np.memmap(path, np.uint8, "r"),
            "inline": _mapped(Path(folder) / "inline.bin"),
        }
        plain = json.loads((Path(folder) / "tree.json").read_text(encoding="utf-8"))
    return _build(plain, files)  # what is mapped stays readable without its name


def _mapped(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def _dismantle(path: Path, folder: Path, memory_mb: int, seconds: int) -> None:
    command = [sys.executable, "-P", "-m", "lddu_model.data.pickles.child"]
    limits = [str(path), str(folder), str(memory_mb), str(seconds)]
    # Of the environment only what starting Python takes; one thread, as threads reserve memory.
    environment = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    environment |= {k: os.environ[k] for k in ("LD_LIBRARY_PATH", "PATH") if k in os.environ}
    try:
        done = subprocess.run(
            [*command, *limits],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * seconds + 60,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path} is refused: reading it does not end", HINT) from error
    if done.returncode:
        raise DataError(f"{path} is refused: {_reason(done, seconds)}", HINT)


def _reason(done: subprocess.CompletedProcess[str], seconds: int) -> str:
    if done.returncode == 2:
        return done.stderr.strip()
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"reading it was stopped (it takes more than {seconds} s, or all of the memory)"
    last = done.stderr.strip().splitlines()[-1:] or ["no reason is known"]
    return f"the process that read it ended with {done.returncode}: {last[0]}"


def _build(plain: Any, files: Mapping[str, NDArray[np.uint8]]) -> Any:
    if isinstance(plain, list):
        return [_build(each, files) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if "dict" in plain:
        return {key: _build(value, files) for key, value in plain["dict"]}
    if "objects" in plain:
        objects = np.empty(len(plain["objects"]), dtype=object)
        objects[:] = _build(plain["objects"], files)
        return objects.reshape(plain["shape"])
    place, offset, dtype, shape, strides = plain["array"]
    # Raises where this would leave the file.
    return np.ndarray(shape, np.dtype(dtype), files[place].data, offset, strides)
