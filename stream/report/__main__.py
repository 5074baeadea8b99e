"""A report from records: ``python -m stream.report RECORDS.jsonl [--video FILE] [--embed]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stream import runs
from stream.columns import read
from stream.errors import run_command
from stream.report.build import material_of, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stream.report", description=__doc__)
    parser.add_argument("records", type=Path, metavar="RECORDS", help="JSONL of stream.replay")
    parser.add_argument("--video", type=Path, help="the recording, where it lies elsewhere by now")
    parser.add_argument("--embed", action="store_true", help="put the recording into the report")
    parser.add_argument("--out", type=Path, help="default: beside the records, .html")
    options = parser.parse_args(arguments)
    target = options.out or options.records.with_suffix(".html")
    columns = read(options.records)
    run = runs.load(runs.beside(options.records))
    material = material_of(columns, run, recording=options.video, embed=options.embed)
    print(write_report(material, target))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
