"""Inputs of all kinds, nearly right and wrong, into everything that reads what others send.

Each target (see ``benchmarks.chaos.targets``) runs in a process of its own for --minutes or until
--inputs. What must hold: no target fails. What fails is left in runs/chaos/fuzz/TARGET; what led to
a correction is kept in tests/corpus, and fed again by the tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.chaos.journal import JOURNALS, PROJECT, Journal, Result, machine
from benchmarks.chaos.targets import TARGETS

WORK = JOURNALS / "fuzz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets", nargs="*", type=target, metavar="TARGET", help=f"of {', '.join(TARGETS)}"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)


def target(name: str) -> str:
    """The name of a target, for the command line."""
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(TARGETS)}")
    return name


def run(options: argparse.Namespace, journal: Journal) -> Result:
    figures = {}
    for name in options.targets or TARGETS:
        key = f"{name} {options.minutes:g} {options.inputs} {options.seed}"
        if journal.done.get(key, {}).get("failed"):  # perhaps it was corrected meanwhile
            del journal.done[key]
        figures[name] = journal.do(key, lambda name=name: fuzz(name, options))  # type: ignore[misc]
        print(name, figures[name], flush=True)
    return {"targets": figures, "held": not any(figure["failed"] for figure in figures.values())}


def fuzz(name: str, options: argparse.Namespace) -> Result:
    """Feed one target; how many inputs it took, and what failed."""
    work = WORK / name
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.chaos.fuzzing", name, "--work", str(work)]
    command += ["--seconds", str(options.minutes * 60), "--inputs", str(options.inputs)]
    command += ["--seed", str(options.seed)]
    before = machine()
    with (work / "log").open("w") as log:
        done = subprocess.run(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"inputs"')]
    if not lines:  # it crashed: the log says how
        return {**before, "inputs": 0, "failed": f"exit code {done.returncode}"}
    told: Result = json.loads(lines[-1])
    if done.returncode and not told["failed"]:
        told["failed"] = f"exit code {done.returncode}"
    return {**before, **told}
