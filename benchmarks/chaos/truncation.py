"""Recordings cut off at many points: decoded as by ``stream.replay``, each in its own child.

What must hold: this process lives, and every cut ends in messages to the end, or in an error that
says what is wrong and what to do (``MediaError``), within the time limit; of a kind that says to
the byte how much it has, always in an error.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos.journal import Journal, Result
from stream.errors import MediaError
from stream.media import open_media
from tests import recordings

KINDS: dict[str, dict[str, Any]] = {
    "mp4": {"audio": "aac", "video": "libx264"},
    "index-first.mp4": {
        "audio": "aac",
        "video": "libx264",
        "options": {"movflags": "faststart"},
    },
    "webm": {"audio": "libopus", "video": "libvpx"},
    "live.webm": {"audio": "libopus", "video": "libvpx", "options": {"live": "1"}},
    "wav": {"audio": "pcm_s16le", "rate": 16_000},
}
LIMIT_S = 60.0

EXACT = ("wav", "mp4", "index-first.mp4", "webm")
"""Kinds that say to the byte how much they have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--points", type=int, default=500, help="per kind of file")
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace, journal: Journal) -> Result:
    figures: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            whole = recordings.write(Path(folder) / f"whole.{kind}", **KINDS[kind])
            data = whole.read_bytes()
            rng = random.Random(f"{options.seed} {kind}")
            points = sorted(rng.sample(range(len(data)), min(options.points, len(data))))
            cut = Path(folder) / f"cut.{kind}"
            rows = []
            for point in points:
                cut.write_bytes(data[:point])
                rows.append(journal.do(f"{kind} {point}", partial(read, cut)))
            figures[kind] = summary(rows, exact=kind in EXACT) | {"bytes": len(data)}
    held = all(row["wrong"] == 0 and row["slowest_s"] <= LIMIT_S for row in figures.values())
    return {"kinds": figures, "held": held}


def read(path: Path) -> Result:
    """How the recording ended, what came before, and how long it took."""
    begin = time.perf_counter()
    items = 0
    try:
        with open_media(path, fps=10.0) as media:
            for _ in media:
                items += 1
        how = "warned" if media.warnings else "whole"
    except MediaError as error:
        how = "crashed" if "crashed" in error.message else "refused" if items == 0 else "cut off"
        if not error.hint:
            how = "no hint"
    except Exception as error:  # noqa: BLE001  what the benchmark looks for
        how = type(error).__name__
    return {"how": how, "items": items, "seconds": round(time.perf_counter() - begin, 3)}


def summary(rows: list[Result], *, exact: bool) -> Result:
    """Counts; ``wrong``: ends that are neither whole (unless `exact`) nor an error that helps."""
    hows = Counter(str(row["how"]) for row in rows)
    right = ["cut off", "refused", "crashed", *(() if exact else ("whole", "warned"))]
    return {
        "points": len(rows),
        "ends": dict(hows),
        "wrong": sum(n for how, n in hows.items() if how not in right),
        "slowest_s": max(row["seconds"] for row in rows),
    }
