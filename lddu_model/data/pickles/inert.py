"""What a pickle may name, and the descriptions that stand in for it. Nothing here does anything.

A pickle builds objects by naming classes and functions. `NAMES` lists the only names it may use;
each stands for a function of this module, which describes instead of building. So neither numpy
nor torch ever sees what a file says of an array before its size and type have been checked.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Refused(Exception):
    """The pickle asks for something that is not done here."""


class Raw:
    """Bytes of the file: at `offset`, or in `data`, or both where they are few."""

    __slots__ = ("data", "inline", "length", "offset", "utf8")

    def __init__(
        self, offset: int | None, length: int, data: bytes | None, *, utf8: bool = False
    ) -> None:
        self.offset = offset
        self.length = length
        self.data = data
        self.utf8 = utf8
        """At `offset` is text in UTF-8, whose characters stand for bytes (protocol 2)."""
        self.inline: int | None = None
        """Where a copy was written."""


class OldText(str):
    """A byte string of Python 2: text, or the numbers of an array."""

    __slots__ = ("raw",)
    raw: Raw

    @staticmethod
    def of(raw: Raw) -> OldText:
        data = raw.data or b""
        try:
            text = OldText(data.decode("utf-8"))
        except UnicodeDecodeError:
            text = OldText(data.decode("latin-1"))
        text.raw = raw
        return text


class Dtype:
    """A plain numpy data type: numbers, text of fixed width, or objects."""

    PLAIN = re.compile(r"b1|[iu][1248]|f[248]|[US][0-9]{1,6}|O8?")
    FORMATS: Mapping[str, str] = {
        "b1": "?",
        "i1": "b",
        "i2": "h",
        "i4": "i",
        "i8": "q",
        "u1": "B",
        "u2": "H",
        "u4": "I",
        "u8": "Q",
        "f2": "e",
        "f4": "f",
        "f8": "d",
    }

    def __init__(self, code: object = "b1", *_: object) -> None:
        if not self.PLAIN.fullmatch(str(code)):
            raise Refused(f"it holds an array of type {str(code)[:40]!r}")
        self.code = str(code)
        self.order = "<"

    def set_state(self, state: Sequence[Any]) -> None:
        order, parts, names = str(state[1]), state[2], state[3]
        if parts is not None or names is not None or order not in "<>=|":
            raise Refused("it holds a structured array")
        self.order = ">" if order == ">" else "<"

    @property
    def size(self) -> int:
        """Bytes per element."""
        width = int(self.code[1:] or 8)
        return 4 * width if self.code[0] == "U" else width

    def value(self, data: bytes) -> object:
        """One element."""
        if self.code[0] == "U":
            return data.decode("utf-32-le" if self.order == "<" else "utf-32-be").rstrip("\0")
        if self.code[0] == "S":
            return data.decode("latin-1").rstrip("\0")
        if self.code not in self.FORMATS:
            raise Refused(f"it holds a number of type {self.code}")
        return struct.unpack(self.order + self.FORMATS[self.code], data)[0]


class Array:
    """A numpy array; `data` are its bytes or, for objects, a list of them."""

    def __init__(self) -> None:
        self.dtype = Dtype()
        self.shape: tuple[int, ...] = (0,)
        self.fortran = False
        self.data: Any = Raw(None, 0, b"")

    def set_state(self, state: Sequence[Any]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, Dtype):
            raise Refused("it holds an array without a data type")
        self.shape, self.dtype, self.fortran = tuple(shape), dtype, bool(fortran)
        self.data = data if isinstance(data, list) else _raw(data)


class Storage:
    """The numbers behind tensors; `offset` may become known later."""

    def __init__(self, dtype: Dtype, count: int, offset: int | None = None) -> None:
        self.dtype = dtype
        self.count = count
        self.offset = offset


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Fields(dict[Any, Any]):
    """The attributes of an object that does nothing but hold them."""

    def set_state(self, state: Any) -> None:
        self.update(state)


class Name(NamedTuple):
    """A class or function that is named and never loaded."""

    module: str
    name: str


def _raw(data: Any) -> Raw:
    if isinstance(data, OldText):
        return data.raw
    return data if isinstance(data, Raw) else _encode(data, "latin1")


def _encode(text: Any, encoding: object, *_: object) -> Raw:
    """``codecs.encode``, with which protocol 2 writes bytes as text."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"it holds bytes in the encoding {encoding!r}")
    if isinstance(text, Raw):
        return Raw(text.offset, text.length, None, utf8=True)
    data = text.encode("latin-1")
    return Raw(None, len(data), data)


def _bytes(*parts: Any) -> Raw:
    """Empty, a copy, or (protocol 2) text and its encoding."""
    if len(parts) > 1:
        return _encode(*parts)
    return _raw(parts[0]) if parts else Raw(None, 0, b"")


def _array(*_: object) -> Array:
    return Array()


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    array = Array()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Dtype, data: Any) -> object:
    return dtype.value(_raw(data).data or b"")


def _tensor(storage: Storage, offset: int, shape: Any, strides: Any, *_: object) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _list(items: Sequence[Any] = ()) -> list[Any]:
    return list(items)


def _dict(items: Sequence[Sequence[Any]] = ()) -> dict[Any, Any]:
    return {key: value for key, value in items}  # noqa: C416 - says that these are pairs


def _fields(*_: object) -> Fields:
    return Fields()


def _object(kind: Name, *_: object) -> Fields:
    """How protocols 0 and 1 make objects of any class."""
    if kind != NAMESPACE:
        raise Refused(f"it holds a {'.'.join(kind)}")
    return Fields()


def _names() -> Iterator[tuple[Name, Callable[..., Any] | None]]:
    for numpy in ("numpy.core", "numpy._core"):
        yield Name(f"{numpy}.multiarray", "_reconstruct"), _array
        yield Name(f"{numpy}.multiarray", "scalar"), _scalar
        yield Name(f"{numpy}.numeric", "_frombuffer"), _array_of_buffer
    yield Name("numpy", "ndarray"), None
    yield Name("numpy", "dtype"), Dtype
    yield Name("_codecs", "encode"), _encode
    for builtins in ("builtins", "__builtin__"):
        yield Name(builtins, "set"), _list
        yield Name(builtins, "frozenset"), _list
        yield Name(builtins, "bytes"), _bytes
        yield Name(builtins, "bytearray"), _bytes
        yield Name(builtins, "object"), None
    for registry in ("copyreg", "copy_reg"):
        yield Name(registry, "_reconstructor"), _object
    yield Name("collections", "OrderedDict"), _dict
    yield NAMESPACE, _fields
    yield Name("torch._utils", "_rebuild_tensor_v2"), _tensor
    yield Name("torch._utils", "_rebuild_tensor"), _tensor
    yield Name("torch", "Size"), _list
    for storage in STORAGES:
        yield storage, None


NAMESPACE = Name("argparse", "Namespace")
"""Settings, which some files hold beside the data."""

STORAGES: Mapping[Name, str] = {
    Name("torch", f"{kind}Storage"): code
    for kind, code in {
        "Float": "f4",
        "Double": "f8",
        "Half": "f2",
        "Long": "i8",
        "Int": "i4",
        "Short": "i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "b1",
    }.items()
}
"""Class of a tensor's storage -> data type."""

NAMES: Mapping[Name, Callable[..., Any] | None] = dict(_names())
"""Every name a pickle may use -> what describes it; None: it is only handed on."""
