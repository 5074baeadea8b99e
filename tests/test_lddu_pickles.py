"""Pickles are taken apart and never run; what is data comes back as it was."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lddu_model.data.pickles.tree import read_tree
from lddu_model.errors import DataError
from tests.conftest import PROJECT


def data() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    large = rng.normal(size=(70, 50, 6)).astype(np.float32)
    return {
        "large": large,
        "fortran": np.asfortranarray(rng.normal(size=(30, 400))),
        "small": np.arange(5, dtype=">i4"),
        "half": np.ones((2, 3), dtype=np.float16),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "words": np.array(["héllo", "你好"]),
        "bytes": np.array([b"ab", b"c"]),
        "objects": np.array(["x", "yy", None], dtype=object),
        "twice": [large, large],
        "plain": [1, 2.5, None, True, "text", 2**70, (3, "four"), {"deep": {5: [6]}}],
        "numbers": [np.float32(0.5), np.int64(-7), np.bool_(True)],
        "sets": [{1}, frozenset({2})],
        "ordered": collections.OrderedDict(a=1),
        "settings": Namespace(rate=0.1),
    }


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        if expected.dtype != object:
            assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, Namespace):
        assert found == vars(expected)
    elif isinstance(expected, (list, tuple, set, frozenset)):
        assert isinstance(found, list) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(data(), protocol=protocol))
    found = read_tree(path, scratch=tmp_path)
    same(found, data())
    assert list(tmp_path.iterdir()) == [path], "something is left"
    assert not found["large"].flags.writeable


def test_pickles_of_python_2(tmp_path: Path) -> None:
    # {"id": array(["ab"]), "x": array([1.5, 2.5])}, as Python 2 writes it in protocol 2.
    text = (
        b"\x80\x02}q\x00(U\x02idq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02S2K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNK\x02K\x01K\x00tb\x89U\x02abtbU\x01xh\x02h\x03K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x10" + np.array([1.5, 2.5]).tobytes() + b"tbu."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(text)
    assert pickle.loads(text, encoding="latin1")["x"].tolist() == [1.5, 2.5]
    found = read_tree(path)
    assert found["x"].tolist() == [1.5, 2.5] and found["id"].tolist() == [b"ab"]


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch(tmp_path: Path, zipped: bool) -> None:
    numbers = torch.arange(24.0).reshape(2, 3, 4)
    tree: dict[str, Any] = {
        "train": {
            "tensor": numbers,
            "view": numbers[:, 1:, 2],
            "turned": numbers.permute(2, 0, 1),
            "whole": torch.tensor([1, 2], dtype=torch.int64),
            "array": np.ones((30, 700), dtype=np.float32),
            "tgt": [[2, 4, 3], [2, 3]],
        },
        "none": torch.zeros(0, 3),
    }
    path = tmp_path / "data.pt"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    found = read_tree(path)
    for name, expected in tree["train"].items():
        same(found["train"][name], np.asarray(expected) if name != "tgt" else expected)
    assert found["none"].shape == (0, 3)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.parts


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


Attack = Callable[[str], bytes]
"""From a shell command to a pickle that runs it."""

ATTACKS: dict[str, Attack] = {
    "os.system": lambda c: pickle.dumps(Call(os.system, c)),
    "old protocol": lambda c: pickle.dumps(Call(os.system, c), protocol=0),
    "eval": lambda c: pickle.dumps(Call(eval, f"__import__('os').system({c!r})")),
    "exec": lambda c: pickle.dumps(Call(exec, f"import os; os.system({c!r})")),
    "subprocess": lambda c: pickle.dumps(Call(subprocess.call, ["sh", "-c", c])),
    "hidden in data": lambda c: pickle.dumps({**data(), "labels": [Call(os.system, c)]}),
    "as a key": lambda c: pickle.dumps({Call(os.system, c): 1}),
    "in an array": lambda c: pickle.dumps(np.array([Call(os.system, c)], dtype=object)),
    "instance": lambda c: f"(S{c!r}\nios\nsystem\n.".encode(),
    "object": lambda c: b"(cos\nsystem\n" + text(c) + b"o.",
    "stack name": lambda c: (
        b"\x80\x04" + text("os") + text("system") + b"\x93" + text(c) + b"\x85R."
    ),
    "attribute": lambda c: (
        b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + text(c) + b"\x85R."
    ),
    "dropped": lambda c: b"\x80\x02cos\nsystem\n" + text(c) + b"\x85R0N.",
    "import": lambda c: (
        b"\x80\x04cbuiltins\ngetattr\ncbuiltins\n__import__\n"
        + text("os") + b"\x85R" + text("system") + b"\x86R" + text(c) + b"\x85R."
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_is_run(tmp_path: Path, attack: Attack) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "bad.pkl"
    path.write_bytes(attack(f"touch {canary}"))
    with contextlib.suppress(TypeError):  # what a command returns is no name of a module
        pickle.loads(path.read_bytes())
    assert canary.exists(), "this pickle would be harmless anyway"
    canary.unlink()
    with pytest.raises(DataError, match=r"bad\.pkl is refused: it (names|uses|calls)"):
        read_tree(path)
    assert not canary.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_torch_files_is_run(tmp_path: Path, zipped: bool) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "bad.pt"
    tree = {"train": torch.ones(3), "valid": Call(os.system, f"touch {canary}")}
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"names posix\.system"):
        read_tree(path)
    assert not canary.exists()


NESTED = b"\x80\x04" + b"]" * 300_000 + b"a" * 299_999 + b"."
LAUGHS = b"\x80\x04]\x94K\x01a" + b"".join(
    b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(38)
) + b"."  # fmt: skip
ARRAY = b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FLOATS = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"

HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "byte 0 is no instruction"),
    "no pickle": (b"\x7fELF and so on", "no instruction"),
    "compressed": (b"\x1f\x8b\x08\x00", "no instruction"),
    "cut off": (pickle.dumps(data())[:-500], "damaged|no instruction|promises"),
    "deep": (NESTED, "nested more than 40 deep"),
    "itself": (b"\x80\x04]\x94h\x00a.", "nested more than 40 deep"),
    "endless growth": (LAUGHS, "stopped|more than"),
    "huge bytes": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f.", "promises"),
    "huge text": (b"\x80\x04X\xff\xff\xff\x7f.", "promises"),
    "huge number": (b"\x80\x04\x8b\xff\xff\xff\x7f.", "damaged|of memory"),
    "huge memo": (b"\x80\x04Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.", "damaged: KeyError"),
    "bytearray": (b"\x80\x04cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R.", "damaged"),
    "huge array": (
        ARRAY + b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + FLOATS + b"\x89C\x04abcdtb.",
        "array of shape",
    ),
    "negative array": (
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + FLOATS + b"\x89C\x04abcdtb.",
        "shape",
    ),
    "structured": (pickle.dumps(np.zeros(2, dtype=[("a", "f4")])), "array of type|structured"),
    "other class": (pickle.dumps(Path("x")), r"names pathlib\S*\.P"),
    "state of a name": (b"\x80\x04cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "changes a Name"),
    "outside": (b"\x80\x04X\x01\x00\x00\x00aQ.", "refers to something outside"),
    "registry": (b"\x80\x02\x82\x01.", "instruction EXT1"),
    "buffers": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
    "nothing there": (b"\x80\x04R.", "values that are not there"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.pkl is refused: (?s:.)*({reason})"):
        read_tree(path, seconds=2)


def test_tensors_stay_within_their_numbers(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save({"x": torch.arange(4.0)}, good)
    bad = tmp_path / "bad.pt"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("data.pkl"):
                assert content.count(b"K\x04\x85") == 1
                content = content.replace(b"K\x04\x85", b"K\x05\x85")  # shape (4,) -> (5,)
            target.writestr(member.filename, content)
    with pytest.raises(DataError, match="larger than its numbers"):
        read_tree(bad)


def test_memory_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps([chr(97 + i % 20) * 60_000 + str(i) for i in range(2500)]))
    with pytest.raises(DataError, match="more than 200 MB of memory"):
        read_tree(path, memory_mb=200)


def test_walls_behind_the_list() -> None:
    """Even code that did run could neither start, open nor contact anything."""
    script = """
import os, socket, subprocess, sys
from lddu_model.data.pickles import child
from lddu_model.data.pickles.inert import Refused
child.confine(2 << 30, 60, 1 << 20)
sys.addaudithook(child.forbid)
for attempt in (
    lambda: os.system("true"),
    lambda: subprocess.run(["true"]),
    lambda: socket.socket(),
    lambda: open("/etc/hostname"),
    lambda: exec("1"),
    lambda: __import__("webbrowser"),
):
    try:
        attempt()
    except Refused:
        continue
    sys.exit("it got through")
try:
    bytearray(4 << 30)
except MemoryError:
    print("all held")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "all held", done.stderr


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pkl is not a file"):
        read_tree(tmp_path / "none.pkl")
