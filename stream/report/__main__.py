"""A report from records: ``python -m stream.report RECORDS.jsonl [--annotations FILE]``.

With labels of people it has a part about agreement, which is also printed as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stream import runs
from stream.agreement import agree
from stream.annotations import read_annotations
from stream.columns import read
from stream.errors import ConfigError, run_command
from stream.labels_option import add_label_options, names_of
from stream.report.agreement import agreement_section
from stream.report.build import material_of, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stream.report", description=__doc__)
    parser.add_argument("records", type=Path, metavar="RECORDS", help="JSONL of stream.replay")
    parser.add_argument("--video", type=Path, help="the recording, where it lies elsewhere by now")
    parser.add_argument("--embed", action="store_true", help="put the recording into the report")
    parser.add_argument("--out", type=Path, help="default: beside the records, .html")
    add_label_options(parser)
    options = parser.parse_args(arguments)
    target = options.out or options.records.with_suffix(".html")
    columns = read(options.records)
    run = runs.load(runs.beside(options.records))
    found = None
    if options.annotations is not None:
        labels = read_annotations(options.annotations, columns, names_of(options.label))
        found = agree(columns, labels, options.looked_at)
    material = material_of(
        columns,
        run,
        recording=options.video,
        agreement="" if found is None else agreement_section(found),
        embed=options.embed,
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        print(write_report(material, target))
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror or error}",
            hint="make room, or name another file with --out",
        ) from None
    if found is not None:
        print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
