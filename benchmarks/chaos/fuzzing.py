"""One target fed for some time: ``python -m benchmarks.chaos.fuzzing TARGET``, for ``fuzz``.

With atheris (``pip install -e '.[fuzz]'``) inputs are led by the lines that they reach, else they
are mutations of the seeds and of what was kept. What fails ends it with exit code 77 and leaves the
input beside the corpus; the last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
import os
import random
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from benchmarks.chaos.mutate import mutate
from benchmarks.chaos.targets import TARGETS, Feed, Target

FAILED = 77
LONGEST = 4096
INSTRUMENTED = ["stream", "workers", "lddu_model", "aiortc"]


class Count:
    """Feeds a target, counts, and keeps what fails."""

    def __init__(self, feed: Feed, work: Path, engine: str) -> None:
        self.inputs = 0
        self._feed = feed
        self._work = work
        self._engine = engine
        self._begin = time.monotonic()

    def take(self, data: bytes) -> None:
        self.inputs += 1
        try:
            self._feed(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            name = hashlib.sha256(data).hexdigest()[:12]
            (self._work / f"failed-{name}").write_bytes(data)
            traceback.print_exc()
            self.tell(f"{type(error).__name__} failed-{name}")
            os._exit(FAILED)  # whatever the engine would make of it

    def tell(self, failed: str | None = None) -> None:
        seconds = round(time.monotonic() - self._begin, 1)
        told = {"inputs": self.inputs, "seconds": seconds, "engine": self._engine, "failed": failed}
        print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Feed one target.")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    corpus = options.work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    led = find_spec("atheris") is not None
    target = load(options.target, led=led)
    for data in target.SEEDS:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    with target.opened() as feed:
        count = Count(feed, options.work, "atheris" if led else "mutation")
        (run_led if led else run_blind)(count, corpus, options)


def load(name: str, *, led: bool) -> Target:
    module = f"benchmarks.chaos.targets.{name}"
    if not led:
        return cast("Target", importlib.import_module(module))
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        return cast("Target", importlib.import_module(module))


def run_led(count: Count, corpus: Path, options: argparse.Namespace) -> None:
    atheris: Any = importlib.import_module("atheris")
    end = time.monotonic() + options.seconds

    def take(data: bytes) -> None:
        count.take(data)
        if time.monotonic() >= end or count.inputs >= options.inputs:
            count.tell()
            os._exit(0)  # libFuzzer would not return

    arguments = [f"-max_len={LONGEST}", f"-seed={options.seed}", "-timeout=60", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], take)
    atheris.Fuzz()


def run_blind(count: Count, corpus: Path, options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    known = [path.read_bytes() for path in sorted(corpus.iterdir())]
    end = time.monotonic() + options.seconds
    for data in known:
        count.take(data)
    while time.monotonic() < end and count.inputs < options.inputs:
        count.take(mutate(rng, rng.choice(known), known)[:LONGEST])
    count.tell()


if __name__ == "__main__":
    main()
