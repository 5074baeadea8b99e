"""What a long programme has done so far, so that it can be stopped and go on.

One JSON line per finished unit of work, after a line with the settings. Other settings, or
``--anew``, start anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lddu_model.report import git_commit

PROJECT = Path(__file__).resolve().parents[2]
JOURNALS = PROJECT / "runs/chaos"
RESULTS = PROJECT / "benchmarks/results"

Result = dict[str, Any]


class Journal:
    """Finished units of one fault, by key. Settings and results are plain JSON."""

    def __init__(self, path: Path, settings: Result, *, anew: bool = False) -> None:
        self._path = path
        self.done: dict[str, Result] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if anew else _whole_lines(path)
        if lines and lines[0] == {"settings": settings}:
            self.done = {line["key"]: line["result"] for line in lines[1:]}
        rows: list[Result] = [{"settings": settings}]
        rows += [{"key": key, "result": result} for key, result in self.done.items()]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")  # without a line that was cut off

    def do(self, key: str, work: Callable[[], Result]) -> Result:
        """The result of `key`: what is known, else what `work` gives, which is then kept."""
        if key not in self.done:
            self.put(key, work())
        return self.done[key]

    def put(self, key: str, result: Result) -> None:
        """Keep the result of `key`."""
        self.done[key] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "result": result}) + "\n")


def open_journal(fault: str, settings: Result, *, anew: bool = False) -> Journal:
    """The journal of `fault`, in the project's folder of runs."""
    return Journal(JOURNALS / f"{fault}.jsonl", settings, anew=anew)


def machine() -> Result:
    """Where and of which code figures come from."""
    return {
        "commit": git_commit(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def write_result(fault: str, figures: Result) -> Path:
    """Keep the figures of `fault` where results are."""
    path = RESULTS / f"chaos-{fault}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"benchmark": f"chaos {fault}", **figures}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _whole_lines(path: Path) -> list[Result]:
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # cut off when the programme was killed
            break
    return rows
