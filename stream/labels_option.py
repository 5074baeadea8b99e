"""What commands that read labels of people have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stream.errors import ConfigError


def add_label_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """``--annotations``, ``--label`` and ``--looked-at``."""
    parser.add_argument(
        "--annotations", required=required, type=Path, metavar="FILE", help="ELAN .eaf, or CSV"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a name that a label has in the annotations; THEIRS= for none of ours",
    )
    parser.add_argument(
        "--looked-at",
        choices=("all", "labelled"),
        default="all",
        help="all: what is not labelled showed nothing; labelled: nobody looked at it",
    )


def names_of(pairs: Sequence[str]) -> dict[str, str]:
    """What ``--label`` was given, in lower case. Raises ``ConfigError``."""
    names = {}
    for pair in pairs:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs.strip():
            raise ConfigError(f"--label {pair}: not THEIRS=OURS", hint="e.g. --label amused=happy")
        names[theirs.strip().lower()] = ours.strip().lower()
    return names
