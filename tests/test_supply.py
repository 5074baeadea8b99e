"""What is installed: the locks are in step with pyproject.toml, and the bill names the weights."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from stream import bill
from stream.weights import TABLE

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9.-]+)==([^ ]+)(?: ; [^\\]+)? \\$")


def locked(name: str) -> dict[str, set[str]]:
    """Versions per package; several where Pythons differ."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def wanted(extra: str | None) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    # The build of torch is chosen by set-up.
    return [need for need in map(Requirement, names) if need.name != "torch"]


@pytest.mark.parametrize(("lock", "extra"), [("requirements", None), ("requirements-dev", "dev")])
def test_every_requirement_is_locked_within_its_bounds(lock: str, extra: str | None) -> None:
    pins = locked(f"{lock}.lock")
    for need in [*wanted(None), *wanted(extra)]:
        assert need.name.lower() in pins, f"{need.name} is not locked; run `make lock`"
        for version in pins[need.name.lower()]:
            assert need.specifier.contains(version), f"{need}: {version} locked; run `make lock`"


def test_every_locked_file_has_a_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        blocks = re.split(r"\n(?=[a-z])", (ROOT / name).read_text())
        assert len(blocks) > 50
        assert all("--hash=sha256:" in block for block in blocks if "==" in block)


def test_a_bill_gets_each_weight_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bom.json"
    package = {"type": "library", "bom-ref": "numpy==2", "name": "numpy"}
    path.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [package]}))
    for _ in range(2):
        assert bill.main([str(path)]) == 0
    parts = json.loads(path.read_text())["components"]
    assert [part["name"] for part in parts] == ["numpy", *TABLE]
    hashes = {file["hashes"][0]["content"] for part in parts[1:] for file in part["components"]}
    assert hashes == {file.sha256 for weights in TABLE.values() for file in weights.files}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"bomFormat": "SPDX"}', b"\xff"])
def test_what_is_no_bill_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bom.json"
    path.write_bytes(content)
    with pytest.raises(bill.BillError, match=r"bom\.json"):
        bill.read_bill(path)
