"""A CMU-MOSEI-sized MMSA file, and what converting it costs.

    python -m benchmarks.mosei_sized LABELS.csv FOLDER [--unaligned] [--train] [--keep]

LABELS.csv names the real clips (see ``lddu_model.data.mosei``); features are generated, of the
sizes and with the padding of the real ones. FOLDER gets the file (4 GB aligned, 8.5 GB unaligned)
and the set that is made of it, both of which are removed again without --keep. --train adds one
epoch of configs/train-mosei.toml and an evaluation of what it gave. The last line is JSON: seconds
and memory of each command that a user runs. Memory is what the process holds for
itself; pages of the file, which the system may drop at any time, are counted apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from benchmarks.measured import MB, measured, train
from tests.lddu_layouts import mmsa_tree, read_clips, write_pickle

UNALIGNED = {"text": 50, "audio": 500, "vision": 375}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--unaligned", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    file, out = chosen.folder / "mmsa.pkl", chosen.folder / "set"
    begin = time.perf_counter()
    steps = UNALIGNED if chosen.unaligned else None
    # Protocol 5 writes arrays without a second copy of them in memory.
    write_pickle(file, mmsa_tree(read_clips(chosen.labels), steps=steps), protocol=5)
    result: dict[str, object] = {
        "unaligned": chosen.unaligned,
        "generating_s": round(time.perf_counter() - begin, 1),
        "file_mb": file.stat().st_size // MB,
        "convert": measured("lddu_model.data.convert", "mmsa", str(file), "--out", str(out)),
        "labels": measured("lddu_model.labels", str(out), str(chosen.labels)),
    }
    result["set_mb"] = sum(each.stat().st_size for each in out.rglob("*.safetensors")) // MB
    if chosen.train:
        result |= train(out, chosen.folder / "run", "configs/train-mosei.toml")
    if not chosen.keep:
        shutil.rmtree(out)
        file.unlink()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
