"""``python -m benchmarks.chaos FAULT``: the long programmes that try to break the server.

Every fault is a module of this package: see ``Fault``. A programme that is
stopped goes on where it was when it is started again with the same settings (``--anew``: from the
beginning). The last line is JSON, which also goes to benchmarks/results/chaos-FAULT.json; the exit
code is 1 where what must hold does not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from benchmarks.chaos.journal import Journal, Result, machine, open_journal, write_result

FAULTS = {
    "fuzz": "inputs of all kinds into everything that reads what others send",
    "network": "a voice over a network that loses, delays and cuts",
    "payloads": "mutated Opus, VP8 and H.264 payloads in live tracks",
    "truncation": "recordings that were cut off, at many points each",
    "overload": "more calls at once than the server can carry",
    "cycles": "many calls, one after the other",
    "soak": "a few calls for a long time",
    "kills": "every worker process killed again and again",
}
"""Name of the module -> what it does."""


NOT_SETTINGS = (
    *("fault", "anew", "without_words"),
    *("scenes", "codecs", "kinds", "targets", "minutes", "inputs"),
)
"""Arguments that change no result that is known."""


class Fault(Protocol):
    """What the module of a fault has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Those of this fault; together they are its settings."""

    def run(self, options: argparse.Namespace, journal: Journal) -> Result:
        """The figures; ``"held"`` says whether what must hold did."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description="Try to break the server; see each FAULT."
    )
    commands = parser.add_subparsers(dest="fault", required=True, metavar="FAULT")
    modules = {}
    for name, what in FAULTS.items():
        module = cast("Fault", importlib.import_module(f"benchmarks.chaos.{name}"))
        command = commands.add_parser(name, help=what, description=module.__doc__)
        command.add_argument("--anew", action="store_true", help="forget what was done so far")
        module.add_arguments(command)
        modules[name] = module
    options = parser.parse_args(arguments)
    settings = {k: str(v) for k, v in vars(options).items() if k not in NOT_SETTINGS}
    before = machine()
    journal = open_journal(options.fault, settings, anew=options.anew)
    figures = modules[options.fault].run(options, journal)
    figures = {**before, "load_after": machine()["load"], "settings": settings, **figures}
    write_result(options.fault, figures)
    print(json.dumps(figures))
    return 0 if figures["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
