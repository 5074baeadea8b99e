"""Records for other programmes: ``python -m stream.export RECORDS... --to csv vtt``.

Prints the path of each file that it wrote. docs/exports.md says what is in them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stream import runs
from stream.columns import read
from stream.errors import ConfigError, run_command
from stream.exports import EXPORTS, Source, export


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stream.export", description="Records in the formats of other programmes."
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORDS", help="JSONL files")
    parser.add_argument(
        "--to",
        nargs="+",
        choices=EXPORTS,
        default=["csv"],
        metavar="FORMAT",
        help=", ".join(EXPORTS),
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: beside the records")
    options = parser.parse_args(arguments)
    for path in options.records:
        columns = read(path)
        run = runs.load(runs.beside(path))
        stem = (options.out or path.parent) / path.name.removesuffix(".jsonl")
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            recording = None if run is None else Path(run.recording)
            for written in export(Source(columns, stem, recording), options.to):
                print(written)
        except OSError as error:
            raise ConfigError(
                f"{stem.parent} cannot be written to: {error.strerror or error}",
                hint="name another folder with --out",
            ) from None
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
