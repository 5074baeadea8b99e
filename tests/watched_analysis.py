"""Analyses a recording inside a network that is only this process's own; see ``watched_face``.

    python -m tests.watched_analysis RECORDING silent|as_it_comes SECONDS

Prints as JSON how many records there were, which names were asked for and where connections went,
until so many seconds after the analysis.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

from stream.analysis import analyze
from tests.watched_face import answer_names, count_connections, own_resolver, raise_loopback


def main() -> None:
    recording, mode, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    raise_loopback()
    names: list[str] = []
    connections: list[int] = []
    with own_resolver():
        answer_names(names)
        for port in (80, 443):
            count_connections(port, connections)
        if mode == "as_it_comes":  # before anybody could tell it to be silent
            importlib.import_module("onnxruntime")
        records = sum(1 for _ in analyze(recording))
        end = time.monotonic() + seconds
        while time.monotonic() < end and not connections:
            time.sleep(0.2)
    seen = {"records": records, "names": sorted(set(names)), "connections": connections}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the listeners never end
