"""Who may import whom: stream -> workers -> lddu_model, heavy libraries confined, no cycles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PACKAGES = {
    "lddu_model": {"lddu_model"},
    "workers": {"lddu_model", "workers"},
    "stream": {"lddu_model", "workers", "stream"},
}
"""Package -> packages of the project that it may import."""

LIVE = [
    "stream/webrtc.py",
    "stream/receivers.py",
    "stream/aiortc_inside.py",
    "stream/buffers.py",
    "stream/decoders.py",
    "stream/opus.py",
    "stream/convert.py",
]
"""The files around aiortc's peers, tracks and frames."""

CONFINED = {
    "aiohttp": [
        *("stream/app.py", "stream/guards.py", "stream/serve.py"),
        *("stream/doors.py", "stream/server_log.py", "stream/sockets.py", "stream/whip.py"),
    ],
    "aioice": LIVE,
    "aiortc": LIVE,
    "av": [*LIVE, "stream/decode.py"],
    "ctranslate2": ["workers/whisper.py"],
    "faster_whisper": ["workers/whisper.py"],
    "h5py": ["lddu_model/data/csd.py"],
    "markdown_it": ["stream/card.py"],
    "matplotlib": ["lddu_model/*.py", "stream/report/plots.py"],
    "mediapipe": ["workers/face_process.py"],
    "onnx": ["workers/e5.py"],
    "onnxruntime": ["workers/onnx_session.py"],
    "pandas": ["stream/frames.py"],
    "prometheus_client": ["stream/metrics.py"],
    "pyarrow": ["stream/exports/parquet.py"],
    "scipy": ["lddu_model/*.py"],
    "sklearn": ["lddu_model/*.py"],
    "tensorboardX": ["lddu_model/curves.py"],
    "tokenizers": ["workers/e5.py", "workers/minilm.py"],
    "torch": ["lddu_model/*.py"],
    "webrtcvad": ["workers/vad.py"],
}
"""Library -> files of the project that may import it (patterns; ``*`` also matches ``/``)."""

STANDS_ALONE: dict[str, set[str]] = {
    "workers/messages.py": {"numpy", "workers"},  # of workers: states, which imports nothing
    "workers/states.py": set(),
}
"""File -> the only libraries it may import, beside the standard one."""

FILES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py"))


def module_name(path: Path, root: Path = PROJECT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names that these nodes import; of ``from a import b`` both a and a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def everywhere(source: str) -> set[str]:
    """All imports, also those inside functions and for type checking."""
    return set(imported(ast.walk(ast.parse(source))))


def on_import(source: str) -> set[str]:
    """Imports that run when the module is imported."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if not lazy:
                yield child
                yield from walk(child)

    return set(imported(walk(ast.parse(source))))


def violations(place: str, source: str) -> list[str]:
    """What `source` at `place` (relative to the project) must not import."""
    package = place.split("/", maxsplit=1)[0]
    found = []
    for library in sorted({name.split(".", maxsplit=1)[0] for name in everywhere(source)}):
        if library in PACKAGES and library not in PACKAGES[package]:
            found.append(f"{place}: {package} must not import {library}")
        if library in CONFINED and not any(fnmatch(place, ok) for ok in CONFINED[library]):
            found.append(f"{place}: {library} belongs in {', '.join(CONFINED[library])}")
        if library in {"tests", "benchmarks"}:
            found.append(f"{place}: the project must not import {library}")
        alone = STANDS_ALONE.get(place)
        if alone is not None and library not in {*alone, *sys.stdlib_module_names}:
            found.append(f"{place}: may import only {', '.join(sorted(alone))}, not {library}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_only_what_it_may(path: Path) -> None:
    place = path.relative_to(PROJECT).as_posix()
    assert violations(place, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("lddu_model/x.py", "import workers.messages"),
        ("lddu_model/data/x.py", "from stream import config"),
        ("workers/x.py", "def f():\n    from stream.config import load"),
        ("workers/x.py", "import torch.nn"),
        ("workers/face.py", "def f():\n    import mediapipe as mp"),
        ("stream/replay.py", "from av.container import InputContainer"),
        ("stream/serve.py", "from aiortc import RTCPeerConnection"),
        ("workers/messages.py", "import pydantic"),
        ("stream/x.py", "from tests.conftest import PROJECT"),
    ],
)
def test_a_forbidden_import_is_found(place: str, source: str) -> None:
    assert len(violations(place, source)) == 1


def declared(*, dev: bool) -> set[str]:
    """Distributions that pyproject.toml names, normalised; `export` is for users, too."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = project["dependencies"] + extras["export"] + (extras["dev"] if dev else [])
    return {canonical(re.split(r"[<>=!~ ;\[]", need, maxsplit=1)[0]) for need in needs}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("folders", "dev"), [([*PACKAGES], False), (["tests", "benchmarks"], True)]
)
def test_every_library_is_declared(folders: list[str], dev: bool) -> None:
    own = {*PACKAGES, "tests", "benchmarks", *sys.stdlib_module_names}
    distributions = packages_distributions()
    undeclared = {}
    for path in (path for folder in folders for path in (PROJECT / folder).rglob("*.py")):
        names = everywhere(path.read_text(encoding="utf-8"))
        for library in {name.split(".", maxsplit=1)[0] for name in names} - own:
            makers = {canonical(name) for name in distributions.get(library, [library])}
            if not makers & declared(dev=dev):
                undeclared[library] = str(path.relative_to(PROJECT))
    assert undeclared == {}, "add these to pyproject.toml"


def needs(name: str, source: str, modules: set[str]) -> set[str]:
    """Modules of the project that are imported when this one is (its parents are not counted)."""
    names = on_import(source) & modules
    # `from a import b` names a too, but needs only a.b where that is a module.
    specific = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    return names - specific - {name}


def test_no_cycles() -> None:
    sources = {module_name(path): path.read_text(encoding="utf-8") for path in FILES}
    graph = {name: needs(name, source, set(sources)) for name, source in sources.items()}
    assert sum(map(len, graph.values())) > len(graph) / 2, "the imports were not found"
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_lazy_imports_are_told_apart() -> None:
    source = "import a\nif TYPE_CHECKING:\n    import b\ntry:\n    import c\nexcept E:\n    pass\n"
    source += "def f():\n    import d\nclass C:\n    import e\n"
    assert on_import(source) == {"a", "c", "e"}
    assert everywhere(source) == {"a", "b", "c", "d", "e"}


def test_messages_load_no_heavy_library() -> None:
    script = (
        "import sys, workers.messages; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "numpy" in loaded
    assert loaded & {*CONFINED, "pydantic", "scipy"} == set()
