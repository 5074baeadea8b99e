"""What an estimate costs after its features: ``python -m benchmarks.gate [--windows 2400]``.

The shipped checkpoint on one window at live shapes, all modalities full, on one thread; then the
temporal engine.

Windows of one person as a call makes them: four a second, each first without its words; every two
seconds a segment of speech is understood, and eight windows come again, so that what followed is
filtered again. Six labels, three modalities. Per filter the processor time of the whole stage
(trust test, filter, gate, decisions, states) by window, revisions included; `causal` is without
revisions, as in recordings. The trust test decides once a second, which is in the mean, and in the
95th percentile of some.

The last line is JSON, which also goes to benchmarks/results/gate.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lddu_model import Sample, load
from lddu_model.api import use_threads
from lddu_model.report import git_commit
from stream.engines import SHIPPED_CHECKPOINT
from stream.smoothing import GateConfig, SmoothingConfig, smooth_config
from workers.messages import EmotionEstimate, Evidence, Modality, Recent
from workers.smooth import SmoothStage

RESULTS = Path(__file__).resolve().parent / "results"
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
HOP, WIDTH, SEGMENT = 0.25, 3.0, 8
"""Seconds between windows, seconds of a window, windows whose words come together."""
FILTERS = ("hmm", "kalman", "kalman_constant", "ema", "one_euro", "raw")
BUDGET_MS = 0.2


def estimates(count: int) -> list[EmotionEstimate]:
    """Logits that wander, with variances that vary: what they say does not matter here."""
    rng = np.random.default_rng(1)
    logits = np.cumsum(rng.normal(0, 0.3, (count, 6)), axis=0) * 0.2 - 2
    recent = Recent(0.8, 2, 0, 1.0, 0.0, 0.2, 0.5)
    evidence = Evidence(0.8, 1.0, 6, 1, False, recent=recent)
    found = []
    for k, logit in enumerate(logits.astype(np.float32)):
        variance = np.exp(rng.normal(1, 0.7, 6)).astype(np.float32)
        each = np.tile(logit, (3, 1))
        found.append(
            EmotionEstimate(
                "p1", k, 0, k * HOP, k * HOP + WIDTH, LABELS, logit, variance, logit,
                np.ones_like(each), evidence, True, each, np.zeros(3, np.float32),
            )
        )  # fmt: skip
    return found


def cost(name: Any, windows: list[EmotionEstimate], *, late: bool) -> dict[str, float]:
    """Milliseconds per window."""
    expected: frozenset[Modality] = frozenset({"words", "voice", "face"})
    config = smooth_config(
        SmoothingConfig(filter=name), GateConfig(), expected, (0.4,) * 6,
        np.full(6, -4.0), window=WIDTH,
    )  # fmt: skip
    stage = SmoothStage("p1", config)
    spent = []
    for k, window in enumerate(windows):
        start = time.thread_time()
        stage.push(window)
        if late and k % SEGMENT == SEGMENT - 1:
            for old in windows[k + 1 - SEGMENT : k + 1]:
                stage.push(replace(old, revision=1))
        spent.append(1000 * (time.thread_time() - start))
    return {
        "mean_ms": round(statistics.fmean(spent), 4),
        "p50_ms": round(float(np.percentile(spent, 50)), 4),
        "p95_ms": round(float(np.percentile(spent, 95)), 4),
    }


def forward(repeats: int = 100) -> dict[str, float]:
    """Milliseconds of processor time for one full window through the shipped checkpoint."""
    use_threads(1)
    model, rng = load(SHIPPED_CHECKPOINT), np.random.default_rng(0)
    features = {
        each.name: rng.normal(size=(each.steps, each.dim)).astype(np.float32)
        for each in model.spec.modalities
    }
    spent = []
    for _ in range(repeats):
        start = time.thread_time()
        model.predict([Sample(features, {})])
        spent.append(1000 * (time.thread_time() - start))
    return {"best_ms": round(min(spent), 2), "p50_ms": round(statistics.median(spent), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of gate and filter per window.")
    parser.add_argument("--windows", type=int, default=2400, help="of each run")
    windows = estimates(parser.parse_args().windows)
    found: dict[str, Any] = {}
    checkpoint = forward()
    print(f"forward of one window: {checkpoint}")
    for name in FILTERS:
        found[name] = {
            how: cost(name, windows, late=late) for how, late in (("causal", False), ("live", True))
        }
        causal, live = (found[name][how]["mean_ms"] for how in ("causal", "live"))
        print(f"{name:16} causal {causal:.3f} ms, live {live:.3f} ms")
    result = {
        "benchmark": "gate",
        "commit": git_commit(),
        "cores": os.cpu_count(),
        "budget_ms": BUDGET_MS,
        "load": os.getloadavg()[0],
        "windows": len(windows),
        "forward_of_one": checkpoint,
        "filters": found,
    }
    line = json.dumps(result)
    (RESULTS / "gate.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
