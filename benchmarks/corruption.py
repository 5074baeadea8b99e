"""What the model says when it hears and sees worse: ``python -m benchmarks.corruption``.

Clips are damaged more and more before anything is computed from them, one modality at a time, and
the shipped checkpoint estimates each (``benchmarks.sweeps``): acted speech of the validation
speakers of ``configs/train-live.toml``, in noise, babble, with lost packets and silences; comments
of GoEmotions' dev part, misheard and with missing words; real faces in noise, blur, darkness, small
and with lost pictures; generated faces of unseen persons with the errors that such pictures bring.

Per level: the mean stated variance over clips and labels; coverage, the share of labels that the
gate calls sure (with the margin of its default configuration; nothing is sure of a clip of which
nothing is left); and risk, the share of these that are wrong, of clips whose labels are known. Per
sweep: the rank correlation of the mean variance with the level, and by how much the risk exceeds
that of the undamaged clips where it does so most, with a 95 % interval over clips. The last line is
JSON, which also goes to benchmarks/results/corruption.json beside a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

import lddu_model
from benchmarks.live_checkpoint import TRAINING
from benchmarks.sweeps import Sweep, generated, pictures, texts, voices
from lddu_model.api import Model
from lddu_model.config import read_config
from lddu_model.data.sets import stacked_labels
from lddu_model.evaluation import predict_all
from lddu_model.report import git_commit
from stream.config import AnalysisConfig, PrepareConfig
from stream.engines import checkpoint_at
from stream.extractors import LazyExtractors
from stream.spec import WORDS, live_spec
from workers.gate import Gate, GateConfig

RESULTS = Path(__file__).resolve().parent / "results"
DRAWN = 1000
"""Bootstrap samples of clips."""
MOST_RISE, LEAST_COVERAGE, LEAST_RANK = 0.03, 0.2, 0.9
"""What is asked: risk over that of undamaged clips, coverage at the middle level, rank
correlation."""

Bools = NDArray[np.bool_]


def judge(model: Model, sweep: Sweep, rng: np.random.Generator) -> dict[str, Any]:
    """Figures of one sweep, per level (the undamaged clips first) and over all."""
    p = np.asarray(model.thresholds)
    gate = Gate(GateConfig(), frozenset(), np.log(p) - np.log1p(-p))
    known = sweep.labelled
    truth = stacked_labels([x for x in sweep.samples[0] if x.labels is not None]) > 0.5
    variance, surely, wrongly = [], [], []
    for samples in sweep.samples:
        said = predict_all(model, samples)
        sure = [
            gate.clear(x, v, None) & bool(sample.features)
            for x, v, sample in zip(
                said.logit.astype(float), said.variance.astype(float), samples, strict=True
            )
        ]
        surely.append(np.stack(sure))
        present = said.logit[known] >= np.log(p) - np.log1p(-p)
        wrongly.append(surely[-1][known] & (present != truth))
        variance.append(float(said.variance.mean()))
    coverage = [float(sure.mean()) for sure in surely]
    risk = [_risk(wrong, sure[known]) for wrong, sure in zip(wrongly, surely, strict=True)]
    worst = int(np.argmax(risk[1:])) + 1
    rise = risk[worst] - risk[0]
    rank = float(spearmanr(np.arange(len(variance)), variance).statistic)
    middle = coverage[len(coverage) // 2]
    return {
        "modality": sweep.modality,
        "kind": sweep.kind,
        "clips": len(known),
        "labelled": int(known.sum()),
        "levels": sweep.levels,
        "variance": [round(x, 4) for x in variance],
        "coverage": [round(x, 3) for x in coverage],
        "risk": [round(x, 4) for x in risk],
        "rank correlation": round(rank, 3),
        "coverage at the middle level": round(middle, 3),
        "largest rise of the risk": [
            round(rise, 4),
            *_interval(wrongly, [sure[known] for sure in surely], worst, rng),
        ],
        "variance rises": bool(rank >= LEAST_RANK),
        "risk stays": bool(rise <= MOST_RISE and middle >= LEAST_COVERAGE),
    }


def _risk(wrong: Bools, sure: Bools) -> float:
    """Share of wrong ones; 0 where nothing is sure."""
    return float(wrong.sum() / max(1, sure.sum()))


def _interval(
    wrongly: list[Bools], surely: list[Bools], worst: int, rng: np.random.Generator
) -> list[float]:
    """95 % of the rise of the risk at that level, over draws of clips."""
    rises = []
    for _ in range(DRAWN):
        i = rng.integers(len(wrongly[0]), size=len(wrongly[0]))
        rises.append(
            _risk(wrongly[worst][i], surely[worst][i]) - _risk(wrongly[0][i], surely[0][i])
        )
    return [round(float(x), 4) for x in np.percentile(rises, [2.5, 97.5])]


def measure(model: Model, sweeps: Iterable[Sweep]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [judge(model, sweep, rng) for sweep in sweeps]


PARTS = ("texts", "voices", "generated", "pictures")


def all_sweeps(root: Path, config: PrepareConfig, parts: Sequence[str] = PARTS) -> Iterator[Sweep]:
    """Every kind of damage of `parts`, from the clips in `root`."""
    speakers = next(x for x in read_config(TRAINING).data if x.name == "emodb").validation_groups
    extractors = LazyExtractors(config)
    try:
        made: dict[str, Callable[[], Iterator[Sweep]]] = {
            "texts": lambda: texts(root, config, extractors),
            "voices": lambda: voices(root, speakers, extractors),
            "generated": generated,
            "pictures": lambda: pictures(root, extractors),
        }
        for part in parts:
            yield from made[part]()
    finally:
        extractors.close()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Variance, coverage and risk over the levels, one column per modality."""
    names = list(dict.fromkeys(row["modality"] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 9), layout="constrained")
    axes = figure.subplots(3, len(names), sharey="row", squeeze=False)
    for column, name in enumerate(names):
        for row in (row for row in rows if row["modality"] == name):
            for axis, key in zip(axes[:, column], ("variance", "coverage", "risk"), strict=True):
                axis.plot(row[key], ".-", label=row["kind"])
                axis.set(ylabel=key if column == 0 else "", xlabel="level of the damage")
        axes[0, column].set_title(name)
        axes[0, column].set_yscale("log")
        axes[2, column].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does the model say less when it perceives less?")
    parser.add_argument("--data", type=Path, default=Path("../shared"), metavar="FOLDER")
    parser.add_argument("--text", choices=list(WORDS), default="minilm", help="text model")
    parser.add_argument("--checkpoint", type=Path, help="default: the one that ships for it")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of it")
    parser.add_argument("--out", type=Path, default=RESULTS / "corruption.json")
    options = parser.parse_args()
    lddu_model.use_threads(1)
    config = PrepareConfig(analysis=AnalysisConfig(text_model=options.text))
    checkpoint = options.checkpoint or checkpoint_at(None, options.text)
    model = lddu_model.load(checkpoint, live_spec(config))
    start = time.perf_counter()
    rows = measure(model, all_sweeps(options.data, config, options.only))
    for row in rows:
        print(json.dumps(row))
    told = {
        "benchmark": "corruption",
        "commit": git_commit(),
        "cores": os.cpu_count(),
        "parts": list(options.only),
        "seconds": round(time.perf_counter() - start),
        "sweeps": rows,
    }
    plot(rows, options.out.with_suffix(".png"))
    line = json.dumps(told)
    options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
