"""What a benchmark found, printed and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lddu_model.report import git_commit


def tell(benchmark: str, figures: Mapping[str, Any], out: Path) -> None:
    """Print `figures` with commit and cores; the last line, which also goes to `out`, is JSON."""
    told = {
        "benchmark": benchmark,
        "commit": git_commit(),
        "cores": os.cpu_count(),
        **figures,
    }
    print(json.dumps(told, indent=1))
    line = json.dumps(told)
    out.write_text(line + "\n", encoding="utf-8")
    print(line)
