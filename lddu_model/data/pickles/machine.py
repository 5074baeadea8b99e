"""Follows the instructions of a pickle, as far as they build plain values and name known names.

The meaning of the instructions is that of the standard library's ``pickletools``, which also
reads their arguments. Large bytes and texts are not read: their place in the file is noted.
"""

from __future__ import annotations

import os
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from lddu_model.data.pickles.inert import (
    NAMES,
    Array,
    Dtype,
    Fields,
    Name,
    OldText,
    Raw,
    Refused,
    Storage,
)

SMALL = 1 << 16
"""Bytes and texts up to this size are read, larger ones stay in the file."""

CODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}

LENGTH: Mapping[str, struct.Struct] = {
    name: struct.Struct(code)
    for name, code in {
        "BINBYTES": "<I",
        "BINBYTES8": "<Q",
        "SHORT_BINBYTES": "<B",
        "BYTEARRAY8": "<Q",
        "BINSTRING": "<i",
        "SHORT_BINSTRING": "<B",
        "BINUNICODE": "<I",
        "BINUNICODE8": "<Q",
        "SHORT_BINUNICODE": "<B",
    }.items()
}
"""Instructions that are followed by bytes -> their length field."""


class Machine:
    """Reads pickles one after the other; `storage` gives what a tensor file refers to."""

    def __init__(self, file: BinaryIO, storage: Callable[[Any], Storage] | None = None) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        """Stacks that are continued when the marked part of the current one is taken."""
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value of the pickle that begins here; ``Refused`` if it wants more than values."""
        self._stack, self._below, self._memo = [], [], {}
        while True:
            at = self._file.tell()
            code = self._file.read(1)
            opcode = CODES.get(code[0]) if code else None
            if opcode is None:
                raise Refused(f"byte {at} is no instruction: it is damaged or no pickle")
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in LENGTH:
                self._bytes(opcode.name)
            elif opcode.name in DO:
                argument = None if opcode.arg is None else opcode.arg.reader(self._file)
                DO[opcode.name](self, argument)
            else:
                raise Refused(f"it uses the instruction {opcode.name} (byte {at})")

    def _bytes(self, name: str) -> None:
        head = LENGTH[name]
        (length,) = head.unpack(self._file.read(head.size))
        at = self._file.tell()
        if not 0 <= length <= self._size - at:
            raise Refused(f"byte {at} promises {length} bytes, the file has {self._size - at}")
        if length > SMALL:
            self._file.seek(length, os.SEEK_CUR)
            self._stack.append(Raw(at, length, None))
            return
        data = self._file.read(length)
        if "UNICODE" in name:
            self._stack.append(data.decode("utf-8", "surrogatepass"))
        else:
            raw = Raw(at, length, data)
            self._stack.append(OldText.of(raw) if "STRING" in name else raw)

    def skip(self, _: Any) -> None:
        """Versions, and how many bytes can be read at once: nothing is to be done."""

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def take_marked(self) -> list[Any]:
        found, self._stack = self._stack, self._below.pop()
        return found

    def pop(self) -> None:
        """Drop one value, or the mark where nothing follows it."""
        if self._stack:
            self._stack.pop()
        else:
            self.take_marked()

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) < count:
            raise Refused("it takes values that are not there")
        found = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        return found

    def extend(self, items: Iterable[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise Refused("it adds items to something else than a list")
        self._stack[-1].extend(items)

    def update(self, items: Iterable[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise Refused("it sets keys of something else than a dictionary")
        target.update(pairs(items))

    def remember(self, key: int | None) -> None:
        self._memo[len(self._memo) if key is None else key] = self._stack[-1]

    def recall(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def name(self, module: Any, name: Any) -> None:
        known = Name(str(module), str(name))
        if known not in NAMES:
            raise Refused(f"it names {'.'.join(known)[:120]}, which no data needs")
        self._stack.append(known)

    def call(self) -> None:
        """Describe what calling a name would give."""
        function, arguments = self.take(2)
        describe = NAMES.get(function) if isinstance(function, Name) else None
        if describe is None or type(arguments) is not tuple:
            raise Refused(f"it calls {'.'.join(function) if isinstance(function, Name) else '?'}")
        self._stack.append(describe(*arguments))

    def build(self) -> None:
        """Complete a description."""
        target, state = self.take(2)
        if not isinstance(target, (Array, Dtype, Fields)):
            raise Refused(f"it changes a {type(target).__name__}")
        target.set_state(state)
        self._stack.append(target)

    def refer(self) -> None:
        if self._storage is None:
            raise Refused("it refers to something outside of itself")
        self._stack.append(self._storage(self._stack.pop()))


def pairs(items: Iterable[Any]) -> dict[Any, Any]:
    """key, value, key, value ... as a dictionary."""
    each = iter(items)
    return dict(zip(each, each, strict=True))


DO: Mapping[str, Callable[[Machine, Any], None]] = {
    "PROTO": Machine.skip,
    "FRAME": Machine.skip,
    "INT": Machine.push,
    "BININT": Machine.push,
    "BININT1": Machine.push,
    "BININT2": Machine.push,
    "LONG": Machine.push,
    "LONG1": Machine.push,
    "LONG4": Machine.push,
    "FLOAT": Machine.push,
    "BINFLOAT": Machine.push,
    "STRING": Machine.push,
    "UNICODE": Machine.push,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_SET": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "TUPLE1": lambda m, _: m.push(m.take(1)),
    "TUPLE2": lambda m, _: m.push(m.take(2)),
    "TUPLE3": lambda m, _: m.push(m.take(3)),
    "MARK": lambda m, _: m.mark(),
    "TUPLE": lambda m, _: m.push(tuple(m.take_marked())),
    "LIST": lambda m, _: m.push(m.take_marked()),
    "FROZENSET": lambda m, _: m.push(m.take_marked()),
    "DICT": lambda m, _: m.push(pairs(m.take_marked())),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.take_marked().clear(),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.take_marked()),
    "ADDITEMS": lambda m, _: m.extend(m.take_marked()),
    "SETITEM": lambda m, _: m.update(m.take(2)),
    "SETITEMS": lambda m, _: m.update(m.take_marked()),
    "PUT": Machine.remember,
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "MEMOIZE": Machine.remember,
    "GET": Machine.recall,
    "BINGET": Machine.recall,
    "LONG_BINGET": Machine.recall,
    "GLOBAL": lambda m, both: m.name(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.refer(),
}
"""What is done for an instruction; every other one is refused."""
