"""Turn a data set into feature sets for training, or recordings into a table of them.

    python -m lddu_model.data.convert KIND SOURCE... --out DIR [options]

KIND           SOURCE                                        options
mmsa           FILE.pkl                                      --labels CSV --part
mult           FILE.pkl                                      --labels CSV --part
tailor         FILE.pt                                       --part
csd            FILE.csd...                                   --labels CSV (for the splits) --root
m3ed           annotation.json SPLITFOLDER FEATURES.pkl...   --protocol --context --dim
m3ed-inside    FOLDER                                        --protocol --context --text --part
goemotions     FOLDER                                        --text --all-labels
mosi-csv       FOLDER
emotions-arff  FOLDER
raw-mosei      FOLDER                                        --labels CSV
raw-mmsa       FOLDER                                        --labels CSV
emodb          FOLDER
cremad         tabulatedVotes.csv FOLDER

The first nine write one feature set per split, DIR/train, DIR/validation and DIR/test, and
DIR/conversion.json with counts and notes. The last four write
DIR/recordings.csv, from which ``stream.prepare`` (kind ``table``) makes feature sets.

Pickles and .pt files are taken apart by a process of its own, under limits, and nothing in them is
run; see ``lddu_model.data.pickles``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lddu_model.data.conversion import Conversion, describe, write_conversion
from lddu_model.data.cremad import read_cremad
from lddu_model.data.csd import read_csd
from lddu_model.data.dialogues import PROTOCOLS
from lddu_model.data.goemotions import read_goemotions
from lddu_model.data.m3ed import DIMS, read_m3ed
from lddu_model.data.m3ed_inside import read_m3ed_inside
from lddu_model.data.mmsa import read_mmsa
from lddu_model.data.mult import read_mult
from lddu_model.data.recordings import (
    Recordings,
    read_emodb,
    read_raw_mmsa,
    read_raw_mosei,
    write_recordings,
)
from lddu_model.data.small_sets import read_emotions_arff, read_mosi_csv
from lddu_model.data.tailor import read_tailor
from lddu_model.data.text_vectors import load_encoder
from lddu_model.errors import ConfigError, run_command

Options = argparse.Namespace
Result = Conversion | Recordings


class Kind(NamedTuple):
    read: Callable[[Options], Result]
    least: int = 1
    """How many sources it takes."""
    most: int | None = 1
    """None: any number."""


def _mmsa(o: Options) -> Result:
    return read_mmsa(o.source[0], o.labels, part=o.part, scratch=o.out)


def _mult(o: Options) -> Result:
    return read_mult(o.source[0], o.labels, part=o.part, scratch=o.out)


def _tailor(o: Options) -> Result:
    return read_tailor(o.source[0], part=o.part, scratch=o.out)


def _csd(o: Options) -> Result:
    return read_csd(o.source, o.labels, modalities=_named(o.root, "--root"))


def _m3ed(o: Options) -> Result:
    annotation, splits, *features = o.source
    try:
        dims = {**DIMS, **{int(k): v for k, v in _named(o.dim, "--dim").items()}}
    except ValueError as error:
        raise ConfigError(f"--dim: {error}", "for example --dim 512=face") from error
    return read_m3ed(
        annotation, splits, features, o.protocol, context=o.context, dims=dims, scratch=o.out
    )


def _m3ed_inside(o: Options) -> Result:
    return read_m3ed_inside(
        o.source[0],
        o.protocol,
        None if o.text is None else load_encoder(o.text),
        encoder_name=o.text or "",
        cache=o.cache,
        context=o.context,
        part=o.part,
        progress=_shows(),
    )


def _goemotions(o: Options) -> Result:
    if o.text is None:
        raise ConfigError("goemotions needs a text encoder", "give --text, see --help")
    return read_goemotions(
        o.source[0],
        load_encoder(o.text),
        o.text,
        ekman=not o.all_labels,
        cache=o.cache,
        progress=_shows(),
    )


def _table(o: Options) -> Path:
    if o.labels is None:
        raise ConfigError(f"{o.kind} needs a table of labels", "give --labels CSV")
    labels: Path = o.labels
    return labels


KINDS: Mapping[str, Kind] = {
    "mmsa": Kind(_mmsa),
    "mult": Kind(_mult),
    "tailor": Kind(_tailor),
    "csd": Kind(_csd, 2, None),
    "m3ed": Kind(_m3ed, 3, None),
    "m3ed-inside": Kind(_m3ed_inside),
    "goemotions": Kind(_goemotions),
    "mosi-csv": Kind(lambda o: read_mosi_csv(o.source[0])),
    "emotions-arff": Kind(lambda o: read_emotions_arff(o.source[0])),
    "raw-mosei": Kind(lambda o: read_raw_mosei(o.source[0], _table(o))),
    "raw-mmsa": Kind(lambda o: read_raw_mmsa(o.source[0], _table(o))),
    "emodb": Kind(lambda o: read_emodb(o.source[0])),
    "cremad": Kind(lambda o: read_cremad(*o.source), 2, 2),
}


def _named(pairs: Sequence[str], option: str) -> dict[str, str]:
    """KEY=VALUE options."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.rpartition("=")
        if not equals or not key or not value:
            raise ConfigError(
                f"{option} {pair}: expected KEY=VALUE", f"for example {option} X=face"
            )
        found[key] = value
    return found


def _shows() -> bool:
    return sys.stderr.isatty()


def convert(options: Options) -> str:
    """Do what the command line asks; returns what to tell about it."""
    kind = KINDS[options.kind]
    count = len(options.source)
    if count < kind.least or (kind.most is not None and count > kind.most):
        raise ConfigError(f"{options.kind} does not take {count} sources", "see --help")
    options.out.mkdir(parents=True, exist_ok=True)
    found = kind.read(options)
    if isinstance(found, Recordings):
        path = write_recordings(found, options.out)
        return "\n".join([f"{path}: {len(found.rows)} recordings", *found.notes])
    report = write_conversion(found, options.out, dtype=options.dtype, progress=_shows())
    return describe(report, options.out)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m lddu_model.data.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("kind", choices=KINDS, metavar="KIND")
    made.add_argument("source", nargs="+", type=Path, metavar="SOURCE")
    made.add_argument("--out", required=True, type=Path, metavar="DIR")
    made.add_argument("--labels", type=Path, metavar="CSV", help="table of CMU-MOSEI's labels")
    made.add_argument(
        "--part", action="store_true", help="a part of a release: do not insist on its counts"
    )
    made.add_argument("--protocol", choices=PROTOCOLS, default="utterance")
    made.add_argument("--context", type=int, help="utterances of a sequence (default: all so far)")
    made.add_argument("--text", metavar="ENCODER", help="glove:FILE.npz or package.module:function")
    made.add_argument("--cache", type=Path, metavar="FILE.npz", help="keeps encoded texts")
    made.add_argument("--all-labels", action="store_true", help="28 labels instead of Ekman's 7")
    made.add_argument("--root", action="append", default=[], metavar="NAME=MODALITY")
    made.add_argument("--dim", action="append", default=[], metavar="SIZE=MODALITY")
    made.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    print(convert(options))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
