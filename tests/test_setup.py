"""Set-up: what can be said without repeating it (``make test`` itself runs all of it)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of which nothing is set up."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts" / "setup.sh", tmp_path / "scripts")
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def setup(project: Path, *steps: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "scripts/setup.sh", *steps],
        cwd=project,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_usable_python_is_said(project: Path) -> None:
    tools = project / "bin"
    tools.mkdir()
    for tool in ("dirname", "cksum"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # one of another version
    (tools / "python3").chmod(0o755)
    result = setup(project, "packages", PATH=str(tools))
    assert result.returncode == 1
    assert "no Python 3.11, 3.12 or 3.13 found" in result.stderr
    assert "PYTHON=" in result.stderr
    assert not (project / ".venv").exists()


def test_an_unknown_step_is_refused(project: Path) -> None:
    result = setup(project, "everything")
    assert result.returncode == 1
    assert "unknown step everything" in result.stderr


def test_a_finished_set_up_is_left_alone(project: Path) -> None:
    """With the mark of a finished set-up, not even pip is started."""
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *pip*) echo pip >>log ;; esac\necho "Python 3.11.9"\n'
    )
    python.chmod(0o755)
    first = setup(project, "packages")
    assert first.returncode == 0, first.stderr
    assert (project / "log").read_text().splitlines()
    (project / "log").unlink()
    assert setup(project, "packages").returncode == 0
    assert not (project / "log").exists()
    with (project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert setup(project, "packages").returncode == 0
    assert (project / "log").exists()


def test_continuous_integration_runs_the_same_command() -> None:
    run = PROJECT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text(encoding="utf-8").rstrip().endswith("exec make test")
