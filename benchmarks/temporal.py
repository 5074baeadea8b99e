"""Does the variance earn its place over time?

    python -m benchmarks.temporal [--minutes 5] [--streams 32] [--tests 5] [--work DIR]

Generated streams, fixed here: one label, on for 8 s and off for 16 s on average; two modalities of
features at 4 Hz, AR(1) of 0.5, of which the label moves the mean; in bursts of 3 s, a quarter of
the time, the noise of the FEATURES is 2.2 or 3.75 times as large. A `default` model is trained on
windows of streams of its own (with bursts); logit and variance are what it says of windows of 1 s,
four a second. Every rule has the same choice of threshold, hysteresis and dwell. The rules that use
the model's variance do so while the trust test lets them, else the typical one of the stream.
Parameters are chosen on tuning streams; everything is measured on sets of test streams, and given
as mean and standard deviation over these sets:

- each baseline (EMA, One-Euro, Kalman and HMM with constant variance, no smoothing) by its best F1
  among settings within a mean onset latency, and among all;
- Kalman and HMM with the model's variance against each of these: the fewest switches per minute
  among settings whose F1 and mean onset latency on the tuning streams are no worse;
- beside that, what one reaches who knows the generator, its bursts and its noise, and filters its
  features exactly (`exact`): no filter can do better;
- the same with the variance shuffled over time, and both smoothers that look both ways.

The last line is JSON, which also goes to benchmarks/results/temporal.json, beside temporal.png.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.temporal_rules import (
    BASELINES,
    OWN,
    Scale,
    Setting,
    Tried,
    estimates,
    measured,
    rules,
    scale_of,
    scored,
    shuffled,
    tried,
    tried_odds,
    watched,
)
from benchmarks.temporal_scores import Score
from benchmarks.temporal_streams import LEVELS, Said, exact, kept, streams, trained
from lddu_model import load
from lddu_model.report import git_commit
from workers.filters import Float64, Smoother

RESULTS = Path(__file__).resolve().parent / "results"
LATENCIES = (0.6, 0.7, 0.8, 0.9, np.inf)
"""Seconds; within each, the best of a baseline is what has to be beaten."""


def rescaled(said: Said, factor: float) -> Said:
    return said._replace(variance=said.variance * factor)


def spread(scores: Sequence[Score]) -> dict[str, Any]:
    """Mean and standard deviation over test sets."""
    found = np.array(scores)
    return {
        **Score(*found.mean(0).tolist())._asdict(),
        "sd": Score(*found.std(0, ddof=1).tolist())._asdict() if len(found) > 1 else None,
    }


class Level:
    """Everything at one strength of the bursts."""

    def __init__(self, work: Path, factor: float, count: int, minutes: float, tests: int) -> None:
        model = load(work / "run" / "best")
        made, *sets = [streams(count, minutes, factor, seed) for seed in range(1, 2 + tests)]
        name = f"said-{factor}-{count}-{minutes}"
        raw, *whole = [
            kept(work / f"{name}-{seed}.npz", model, each)
            for seed, each in enumerate([made, *sets], start=1)
        ]
        self.scale: Scale = scale_of(raw)
        unit = self.scale.noise / raw.variance.mean()
        self.whole = [rescaled(each, unit) for each in whole]
        self.tuning, _ = watched(rescaled(raw, unit))
        self.tests, held = zip(*(watched(each) for each in self.whole), strict=True)
        self.held = float(np.mean(held))
        families = rules(self.scale)
        self.tried = {
            name: tried(f, self.tuning, self.scale.middle) for name, f in families.items()
        }
        self.odds = [exact(each) for each in sets]
        self.bound = tried_odds(exact(made), self.tuning)

    def over(self, setting: Setting, sets: Sequence[Said] | None = None) -> list[Score]:
        return [measured(setting, said, self.scale.middle) for said in sets or self.tests]

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = {**self.scale._asdict(), "variance trusted": self.held}
        found["best F1"] = {}
        for name, family in self.tried.items():
            setting, _ = family.best() or (None, None)
            assert setting is not None
            row = {"setting": repr(setting), **spread(self.over(setting))}
            found["best F1"][name] = row
        setting, _ = self.bound.best() or (None, None)
        assert setting is not None
        found["best F1"]["exact"] = spread(self.of_bound(setting))
        found |= self.distrusted(found["best F1"]["EMA"]["f1"])
        found["matched"] = [
            row
            for baseline, latency in product(BASELINES[1:], LATENCIES)
            for row in self.against(baseline, latency)
        ]
        return found

    def of_bound(self, setting: Setting) -> list[Score]:
        pairs = zip(self.odds, self.tests, strict=True)
        return [scored(odds, setting.decision, said, 0.0) for odds, said in pairs]

    def distrusted(self, ema: float) -> dict[str, Any]:
        """With a variance that tells nothing; and looking both ways."""
        lost = [shuffled(said, k) for k, said in enumerate(self.whole)]
        seen, held = zip(*(watched(each) for each in lost), strict=True)
        found: dict[str, Any] = {"shuffled variance trusted": float(np.mean(held))}
        for name in OWN:
            setting, _ = self.tried[name].best() or (None, None)
            assert setting is not None
            for how, sets in (("watched", seen), ("not watched", lost)):
                row = spread(self.over(setting, sets))
                found[f"{name}, shuffled variance, {how}"] = row | {"f1_minus_ema": row["f1"] - ema}
            both = [self.both_ways(setting, said) for said in self.tests]
            found[f"{name}, both ways"] = spread(both)
        return found

    def both_ways(self, setting: Setting, said: Said) -> Score:
        rule, decision = setting
        assert isinstance(rule, Smoother)
        mean: Float64 = np.stack([each.mean for each in rule.both_ways(estimates(said))])
        return scored(mean, decision, said, self.scale.middle)

    def against(self, baseline: str, latency: float) -> list[dict[str, Any]]:
        """Switches saved at no lower F1 and no higher latency than the baseline's best."""
        best = self.tried[baseline].best(latency)
        if best is None:
            return []
        reference, score = best
        own = self.over(reference)
        about = {"baseline": baseline, "within": latency if np.isfinite(latency) else None,
                 "setting_of_baseline": repr(reference), "of_baseline": spread(own)}  # fmt: skip
        rows = []
        for name in (*OWN, "exact"):
            family: Tried = self.bound if name == "exact" else self.tried[name]
            setting = family.matched(score)
            row = {"rule": name, **about, "matched": None}
            if setting is not None:
                new = self.of_bound(setting) if name == "exact" else self.over(setting)
                fewer = [1 - a.switches / b.switches for a, b in zip(new, own, strict=True)]
                row |= {
                    "matched": spread(new), "setting": repr(setting),
                    "fewer_switches": float(np.mean(fewer)),
                    "fewer_switches_sd": float(np.std(fewer, ddof=min(1, len(fewer) - 1))),
                }  # fmt: skip
            rows.append(row)
        return rows


def plot(found: dict[str, Any], path: Path) -> None:
    """Switches against latency where each has its best F1 within a latency."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots(1, len(found))
    for axis, (name, each) in zip(np.atleast_1d(axes), found.items(), strict=True):
        rows = [row for row in each["matched"] if row["baseline"] == "EMA"]
        for rule, mark in (("of_baseline", "o-"), ("HMM", "s-"), ("Kalman", "^-"), ("exact", "--")):
            points = [
                row["of_baseline"] if rule == "of_baseline" else row["matched"]
                for row in rows
                if row["rule"] == ("HMM" if rule == "of_baseline" else rule) and row["matched"]
            ]
            label = "EMA, best F1 within a latency" if rule == "of_baseline" else rule
            axis.plot([p["latency"] for p in points], [p["switches"] for p in points], mark,
                      label=label)  # fmt: skip
            for p in points:
                axis.annotate(f"{p['f1']:.3f}", (p["latency"], p["switches"]), fontsize=7)
        axis.set(title=f"bursts {name} x (F1 beside the points)", xlabel="mean onset latency, s",
                 ylabel="switches per minute")  # fmt: skip
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def show(name: str, each: dict[str, Any]) -> None:
    print(f"bursts {name} x")
    for rule, row in each["best F1"].items():
        print(f"  {rule:18} F1 {row['f1']:.3f}  {row['switches']:5.1f}/min  {row['latency']:.2f} s")
    print(
        f"  trusted {each['variance trusted']:.2f} of the time, "
        f"shuffled {each['shuffled variance trusted']:.2f}"
    )
    for rule in OWN:
        for how in ("shuffled variance, watched", "shuffled variance, not watched", "both ways"):
            row = each[f"{rule}, {how}"]
            print(f"  {rule}, {how}: F1 {row['f1']:.3f}  {row['switches']:.1f}/min")
    for row in each["matched"]:
        got, own, within = row["matched"], row["of_baseline"], row["within"]
        text = "no setting is as good" if got is None else (
            f"{100 * row['fewer_switches']:.0f} (sd {100 * row['fewer_switches_sd']:.0f}) % fewer "
            f"switches than {own['switches']:.1f}, F1 {got['f1']:.3f} for {own['f1']:.3f}, "
            f"{got['latency']:.2f} s for {own['latency']:.2f} s"
        )  # fmt: skip
        limit = "all" if within is None else f"{within} s"
        print(f"  {row['rule']} against {row['baseline']} ({limit}): {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=32, help="of the tuning and each test set")
    parser.add_argument("--tests", type=int, default=5, help="sets of test streams")
    parser.add_argument("--work", type=Path, help="keep sets, model and what it says here")
    chosen = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        work = chosen.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "run" / "best").is_dir():
            trained(work)
        size = (chosen.streams, chosen.minutes, chosen.tests)
        found = {str(each): Level(work, each, *size).report() for each in LEVELS}
    for name, each in found.items():
        show(name, each)
    RESULTS.mkdir(exist_ok=True)
    plot(found, RESULTS / "temporal.png")
    line = json.dumps({
        "benchmark": "temporal", "commit": git_commit(), "cores": os.cpu_count(),
        "seconds": round(time.perf_counter() - start), "minutes": chosen.minutes,
        "streams": chosen.streams, "tests": chosen.tests, "levels": found,
    })  # fmt: skip
    (RESULTS / "temporal.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
