"""The process that takes one file apart: limits, containers, and the tree that is written.

    python -P -m lddu_model.data.pickles.child SOURCE FOLDER MEMORY_MB SECONDS

Writes ``FOLDER/tree.json`` and ``FOLDER/inline.bin`` and exits with 0, or says in one line of
stderr why the file is refused and exits with 2. In the tree

* a list or tuple is a list, text and numbers are themselves;
* ``{"dict": [[key, value], ...]}`` is a dictionary;
* ``{"array": [place, offset, type, shape, strides]}`` is an array, whose numbers lie at `offset`
  (bytes) of the ``source`` or of ``inline.bin``, with strides in bytes;
* ``{"objects": [...], "shape": [...]}`` is an array of objects.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import resource
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lddu_model.data.pickles.inert import (
    STORAGES,
    Array,
    Dtype,
    OldText,
    Raw,
    Refused,
    Storage,
    Tensor,
)
from lddu_model.data.pickles.machine import Machine

MAX_NODES = 5_000_000
MAX_DEPTH = 40
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older layout of ``torch.save``."""
CHUNK = 1 << 20

FORBIDDEN = frozenset(
    {"compile", "ctypes", "exec", "import", "marshal", "open", "os", "pty", "shutil", "socket"}
    | {"subprocess", "urllib", "webbrowser", "winreg"}
)
"""Groups of audit events that mean something is being run, loaded, opened or contacted."""


def confine(memory: int, seconds: int, output: int) -> None:
    """Limit this process: bytes of memory, seconds of CPU time, bytes per written file."""
    if sys.platform != "darwin":  # macOS refuses to limit it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid(event: str, _: tuple[Any, ...]) -> None:
    """Audit hook: a second wall behind `inert.NAMES`, which should leave it nothing to do."""
    if event.partition(".")[0] in FORBIDDEN:
        raise Refused(f"it led to {event}, which reading data does not need")


def dismantle(file: BinaryIO) -> Any:
    """The value in a pickle or in either layout of ``torch.save``."""
    if zipfile.is_zipfile(file):
        return _zipped(file)
    file.seek(0)
    value = Machine(file).run()
    return _older(file) if value == TORCH_MAGIC else value


def _zipped(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        found = [name for name in members if name.endswith("data.pkl")]
        if len(found) != 1:
            raise Refused("it is a zip file, but not one that torch.save has written")
        prefix = found[0].removesuffix("data.pkl")
        order = members.get(f"{prefix}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise Refused("its numbers have the byte order of another machine")
    places = {name: _place(file, info) for name, info in members.items()}

    def storage(reference: Any) -> Storage:
        kind, key, count = _reference(reference)
        info = members.get(f"{prefix}data/{key}")
        if info is None or info.file_size < count * kind.size:
            raise Refused(f"its tensor {key!r} is missing or too short")
        return Storage(kind, count, places[info.filename])

    file.seek(places[found[0]])
    return Machine(file, storage).run()


def _place(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the content of a member begins."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise Refused(f"its member {info.filename!r} is compressed")
    file.seek(info.header_offset + 26)
    lengths = file.read(4)
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return info.header_offset + 30 + name + extra


def _older(file: BinaryIO) -> Any:
    """Pickles of version, machine, value and keys; then the numbers, each with its count."""
    known: dict[str, Storage] = {}

    def storage(reference: Any) -> Storage:
        kind, key, count = _reference(reference)
        return known.setdefault(key, Storage(kind, count))

    machine = Machine(file, storage)
    _, system, value, keys = (machine.run() for _ in range(4))
    if not system.get("little_endian", True):
        raise Refused("its numbers have the byte order of another machine")
    for key in keys:
        held = known[str(key)]
        count = int.from_bytes(file.read(8), "little")
        if count < held.count:
            raise Refused(f"its tensor {key!r} is too short")
        held.offset = file.tell()
        file.seek(count * held.dtype.size, os.SEEK_CUR)
    return value


def _reference(reference: Any) -> tuple[Dtype, str, int]:
    _, kind, key, _, count, *_ = reference
    if kind not in STORAGES:
        raise Refused(f"it holds tensors of {kind!r}")
    return Dtype(STORAGES[kind]), str(key), int(count)


class TreeWriter:
    """Turns values into plain JSON types, and checks every array against the file."""

    def __init__(self, source: BinaryIO, inline: BinaryIO) -> None:
        self._source = source
        self._size = os.fstat(source.fileno()).st_size
        self._inline = inline
        self._nodes = 0

    def plain(self, value: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused(f"it holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise Refused(f"it is nested more than {MAX_DEPTH} deep")
        if value is None or isinstance(value, (bool, int, float, str)):
            return str(value) if isinstance(value, OldText) else value
        if isinstance(value, dict):
            items = [[self._key(key), self.plain(x, depth + 1)] for key, x in value.items()]
            return {"dict": items}
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, (list, tuple)):
            return [self.plain(each, depth + 1) for each in value]
        if isinstance(value, Array):
            return self._array(value, depth)
        if isinstance(value, Raw) and value.data is not None:
            return value.data.decode("latin-1")
        if isinstance(value, Raw):
            raise Refused(f"it holds {value.length} bytes that belong to no array")
        raise Refused(f"it holds a {type(value).__name__} that is no data")

    def _key(self, key: Any) -> Any:
        if key is not None and not isinstance(key, (bool, int, float, str)):
            raise Refused("it has a dictionary whose keys are neither text nor numbers")
        return str(key) if isinstance(key, OldText) else key

    def _array(self, array: Array, depth: int) -> dict[str, Any]:
        shape = _checked(array.shape)
        if array.dtype.code[0] == "O":
            if not isinstance(array.data, list) or len(array.data) != math.prod(shape):
                raise Refused("it has an array of objects without its objects")
            return {"objects": self.plain(array.data, depth + 1), "shape": shape}
        if not isinstance(array.data, Raw):
            raise Refused("it has an array without its numbers")
        place, offset, length = self._where(array.data)
        size = array.dtype.size
        if length != math.prod(shape) * size:
            raise Refused(f"it has an array of shape {shape} in {length} bytes")
        strides, step = [0] * len(shape), size
        axes = range(len(shape)) if array.fortran else reversed(range(len(shape)))
        for axis in axes:
            strides[axis], step = step, step * shape[axis]
        return {"array": [place, offset, array.dtype.order + array.dtype.code, shape, strides]}

    def _where(self, raw: Raw) -> tuple[str, int, int]:
        """Place, offset and length of bytes; those that are not in the file are written."""
        if raw.offset is not None and not raw.utf8:
            return "source", raw.offset, raw.length
        if raw.inline is None:
            raw.inline = self._inline.tell()
            if raw.data is not None:
                self._inline.write(raw.data)
            else:
                self._transcribe(raw)
            raw.length = self._inline.tell() - raw.inline
        return "inline", raw.inline, raw.length

    def _transcribe(self, raw: Raw) -> None:
        """Bytes that are in the file as text: each character is one byte."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        assert raw.offset is not None
        self._source.seek(raw.offset)
        left = raw.length
        while left:
            data = self._source.read(min(left, CHUNK))
            left -= len(data)
            self._inline.write(decoder.decode(data, final=not left).encode("latin-1"))

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        storage, size = tensor.storage, tensor.storage.dtype.size
        shape, steps = _checked(tensor.shape), _checked(tensor.strides)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if storage.offset is None or tensor.offset < 0:
            raise Refused("it has a tensor without numbers")
        if 0 not in shape and last >= min(storage.count, (self._size - storage.offset) // size):
            raise Refused(f"it has a tensor of shape {shape} that is larger than its numbers")
        begin, strides = storage.offset + tensor.offset * size, [step * size for step in steps]
        return {"array": ["source", begin, "<" + storage.dtype.code, shape, strides]}


def _checked(shape: Sequence[Any]) -> list[int]:
    if len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise Refused(f"it has an array of shape {str(shape)[:60]}")
    return list(shape)


def main(arguments: Sequence[str]) -> int:
    source, folder, memory, seconds = arguments
    for codec in ("cp437", "latin-1", "raw-unicode-escape", "utf-32-be", "utf-32-le"):
        codecs.lookup(codec)  # loads them, which will not be possible any more
    with (
        Path(source).open("rb") as file,
        (Path(folder) / "inline.bin").open("wb") as inline,
        (Path(folder) / "tree.json").open("w", encoding="utf-8") as out,
    ):
        size = os.fstat(file.fileno()).st_size
        confine(int(memory) << 20, int(seconds), size + (256 << 20))
        sys.addaudithook(forbid)
        try:
            json.dump(TreeWriter(file, inline).plain(dismantle(file)), out)
        except Refused as error:
            print(error, file=sys.stderr)
            return 2
        except MemoryError:
            print(f"reading it takes more than {memory} MB of memory", file=sys.stderr)
            return 2
        except Exception as error:  # noqa: BLE001 - whatever a broken or hostile file provokes
            print(f"it is damaged: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
