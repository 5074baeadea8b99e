"""Files in the layout and of the size of M3ED, and what it costs to train on them.

    python -m benchmarks.m3ed_sized FOLDER [--protocol utterance|dialogue] [--keep]

Annotations and features are generated: 56 series, 990 dialogues of 24.7 utterances on average, as
in M3ED. The commands are those that a user runs, with one epoch of configs/train-m3ed.toml. FOLDER
is emptied again without --keep. The last line is JSON: seconds and memory of each command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from benchmarks.measured import MB, measured, train
from tests.lddu_layouts import write_m3ed

SERIES = {"train": 38, "val": 7, "test": 11}
DIALOGUES = (18, 17)
"""In every second series each, so that there are about 990."""
UTTERANCES = (2, 48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocol", choices=("utterance", "dialogue"), default="utterance")
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    source, out, run = (chosen.folder / name for name in ("m3ed", "set", "run"))
    begin = time.perf_counter()
    counts = {
        split: {f"{split}{i}": DIALOGUES[i % 3 > 0] for i in range(series)}
        for split, series in SERIES.items()
    }
    made = write_m3ed(source, counts, lengths=UTTERANCES)
    files = ("annotation.json", "splitInfo", "features.pkl")
    convert = measured(
        "lddu_model.data.convert", "m3ed", *(str(source / name) for name in files),
        "--protocol", chosen.protocol, "--context", "3", "--out", str(out),
    )  # fmt: skip
    result = {
        "protocol": chosen.protocol,
        "dialogues": sum(len(each) for each in made.values()),
        "utterances": sum(length for each in made.values() for _, _, length in each),
        "generating_s": round(time.perf_counter() - begin - convert["seconds"], 1),
        "file_mb": (source / "features.pkl").stat().st_size // MB,
        "convert": convert,
        "set_mb": sum(each.stat().st_size for each in out.rglob("*.safetensors")) // MB,
        **train(out, run, "configs/train-m3ed.toml"),
    }
    if not chosen.keep:
        for folder in (source, out, run):
            shutil.rmtree(folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
