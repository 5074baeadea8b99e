"""Does the variance earn its place over time?

    python -m benchmarks.temporal [--minutes 10] [--streams 40] [--work DIR]

Generated streams, fixed here: one label, on for 8 s and off for 16 s on average; two modalities of
features at 4 Hz, AR(1) of 0.5, of which the label moves the mean; in bursts of 3 s, a quarter of
the time, the noise of the FEATURES is 2.2 or 3.75 times as large. A `default` model is trained on
windows of streams of its own (with bursts); logit and variance are what it says of windows of 1 s,
four a second. Every rule has the same choice of hysteresis and dwell. The rules that use the
model's variance do so while the trust test lets them, else a constant. Parameters are chosen on
tuning streams and everything is measured on others:

- each baseline (EMA, One-Euro, Kalman with constant variance, no smoothing) by its best F1;
- Kalman and HMM with the model's variance against each baseline: the fewest switches per minute
  among settings whose F1 and mean onset latency on the tuning streams are no worse;
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
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.temporal_streams import (
    LEVELS,
    OFF_S,
    ON_S,
    RATE,
    WINDOW,
    Bool,
    Said,
    said_of,
    trained,
)
from lddu_model import load
from lddu_model.report import git_commit
from workers.baselines import Ema, OneEuro, Raw
from workers.decisions import Decided, DecisionConfig, decide
from workers.filters import Estimate, Filter, Filtered, Float64, Kalman
from workers.markov import TwoState
from workers.trust import TrustConfig, TrustTest

RESULTS = Path(__file__).resolve().parent / "results"


def estimates(said: Said) -> list[Estimate]:
    """All streams side by side, as if each were a label."""
    return [
        Estimate(k / RATE, x, v)
        for k, (x, v) in enumerate(zip(said.logit, said.variance, strict=True))
    ]


def causal(rule: Filter, items: Sequence[Estimate]) -> Float64:
    """(T, S) filtered logits."""
    states: list[Filtered] = []
    for item in items:
        states.append(rule.step(states[-1] if states else None, item))
    return np.stack([each.mean for each in states])


def decided(mean: Float64, hysteresis: float, dwell: float, threshold: float = 0.0) -> Bool:
    config = DecisionConfig(np.full(mean.shape[1], threshold), hysteresis, dwell)
    past: Decided | None = None
    found = []
    for k, row in enumerate(mean):
        past = decide(config, past, k / RATE, row)
        found.append(past.present)
    return np.stack(found)


class Score(NamedTuple):
    f1: float
    switches: float
    """Per minute."""
    latency: float
    """Mean seconds from the onset of a label to its being present; all of its time if never."""


def score(shown: Bool, truth: Bool) -> Score:
    hits = (shown & truth).sum()
    f1 = 2 * hits / max(1, shown.sum() + truth.sum())
    minutes = truth.size / RATE / 60
    delays = []
    for s in range(truth.shape[1]):
        edges = np.flatnonzero(np.diff(np.r_[False, truth[:, s], False].astype(int)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            late = np.flatnonzero(shown[begin:end, s])
            delays.append((late[0] if len(late) else end - begin) / RATE)
    switches = np.abs(np.diff(shown.astype(int), axis=0)).sum() / minutes
    return Score(float(f1), float(switches), float(np.mean(delays)))


class Setting(NamedTuple):
    rule: Filter
    hysteresis: float
    dwell: float


HYSTERESIS, DWELL = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), (0.0, 0.5, 1.0, 1.5)


class Scale(NamedTuple):
    """What the tuning streams say of the logits."""

    off: float
    """Mean logit where the label is not there."""
    on: float
    noise: float
    """Mean squared distance to these."""

    @property
    def middle(self) -> float:
        return (self.on + self.off) / 2


def scale_of(said: Said) -> Scale:
    off, on = (float(said.logit[said.truth == value].mean()) for value in (False, True))
    error = np.square(said.logit - np.where(said.truth, on, off))
    return Scale(off, on, float(error.mean()))


def rules(scale: Scale) -> dict[str, list[Filter]]:
    """Every family's parameters to choose from."""
    share = ON_S / (ON_S + OFF_S)
    level = (scale.on - scale.off) / 2
    base = np.array([share * scale.on + (1 - share) * scale.off])
    spread = share * (1 - share) * 4 * level**2
    kalman = [
        Kalman(tau, spread, base, shared, WINDOW)
        for tau, shared in product((2.0, 4.0, 8.0, 16.0), (0.0, 0.5, 0.8, 0.95))
    ]
    hmm = [
        TwoState(OFF_S, ON_S, level, extra * scale.noise, temper, np.array([scale.middle]))
        for temper, extra in product((0.05, 0.1, 0.2, 0.35, 0.5), (0.0, 0.5, 1.0))
    ]
    return {
        "raw": [Raw()],
        "EMA": [Ema(tau) for tau in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)],
        "One-Euro": [
            OneEuro(cutoff, beta)
            for cutoff, beta in product((0.05, 0.1, 0.2, 0.4), (0.0, 0.05, 0.2, 0.5))
        ],
        "Kalman, constant": [
            replace(each, constant=weight * scale.noise)
            for each in kalman
            for weight in (0.25, 1.0, 4.0, 16.0)
        ],
        "HMM, constant": [replace(each, constant=scale.noise) for each in hmm],
        "Kalman": list(kalman),
        "HMM": list(hmm),
    }


def rescaled(said: Said, to: Said) -> Said:
    """Variances times the factor that makes those of `to` their mean squared error."""
    factor = scale_of(to).noise / to.variance.mean()
    return said._replace(variance=said.variance * factor)


def tried(family: Sequence[Filter], said: Said, threshold: float) -> list[tuple[Setting, Score]]:
    items = estimates(said)
    found = []
    for rule in family:
        mean = causal(rule, items)
        for hysteresis, dwell in product(HYSTERESIS, DWELL):
            shown = decided(mean, hysteresis, dwell, threshold)
            found.append((Setting(rule, hysteresis, dwell), score(shown, said.truth)))
    return found


def measured(setting: Setting, said: Said, threshold: float) -> Score:
    mean = causal(setting.rule, estimates(said))
    return score(decided(mean, setting.hysteresis, setting.dwell, threshold), said.truth)


def matched(candidates: Sequence[tuple[Setting, Score]], reference: Score) -> Setting | None:
    """The fewest switches among what is no worse in F1 and onset latency."""
    fit = [
        (each, found) for each, found in candidates
        if found.f1 >= reference.f1 and found.latency <= reference.latency
    ]  # fmt: skip
    return min(fit, key=lambda pair: pair[1].switches)[0] if fit else None


def watched(said: Said, constant: float) -> tuple[Said, float]:
    """Where the trust test does not hold, `constant` in place of the variance; and where it does,
    as a share of all windows.
    """
    held = np.ones(said.logit.shape, dtype=bool)
    for s in range(said.logit.shape[1]):
        test = TrustTest(TrustConfig(window=WINDOW))
        for k, (x, v) in enumerate(zip(said.logit[:, s], said.variance[:, s], strict=True)):
            held[k, s] = test.push(Estimate(k / RATE, np.array([x]), np.array([v]))).trusted
    variance = np.where(held, said.variance, constant)
    return said._replace(variance=variance), float(held.mean())


def shuffled(said: Said, seed: int = 0) -> Said:
    """The variances of each stream in another order."""
    order = np.random.default_rng(seed).permuted(np.arange(len(said.variance)))
    return said._replace(variance=said.variance[order])


def level(model: Any, factor: float, streams: int, minutes: float) -> dict[str, Any]:
    """Everything at one strength of the bursts."""
    raw = said_of(model, streams // 2, minutes, factor, seed=1)
    scale = scale_of(raw)
    other = rescaled(said_of(model, streams, minutes, factor, seed=2), raw)
    tuning, _ = watched(rescaled(raw, raw), scale.noise)
    test, held = watched(other, scale.noise)
    mixed, mixed_held = watched(shuffled(other), scale.noise)
    found: dict[str, Any] = {
        "noise": scale.noise, "on": scale.on, "off": scale.off,
        "variance trusted": held, "shuffled variance trusted": mixed_held,
    }  # fmt: skip
    families = {name: tried(f, tuning, scale.middle) for name, f in rules(scale).items()}
    best = {name: max(each, key=lambda pair: pair[1].f1) for name, each in families.items()}
    found["best F1"] = {
        name: {"setting": repr(setting), **measured(setting, test, scale.middle)._asdict()}
        for name, (setting, _) in best.items()
    }
    ema = found["best F1"]["EMA"]["f1"]
    for name in ("Kalman", "HMM"):
        rule = best[name][0]
        for how, said in (("watched", mixed), ("not watched", shuffled(other))):
            row = measured(rule, said, scale.middle)._asdict()
            found[f"{name}, shuffled variance, {how}"] = row | {"f1_minus_ema": row["f1"] - ema}
        assert isinstance(rule.rule, Kalman | TwoState)
        mean = np.stack([each.mean for each in rule.rule.both_ways(estimates(test))])
        shown = decided(mean, rule.hysteresis, rule.dwell, scale.middle)
        found[f"{name}, both ways"] = score(shown, test.truth)._asdict()
    found["matched"] = [
        _against(name, baseline, families, best, test, scale)
        for name, baseline in product(
            ("Kalman", "HMM"), ("raw", "EMA", "One-Euro", "Kalman, constant", "HMM, constant")
        )
    ]
    return found


def _against(
    name: str,
    baseline: str,
    families: dict[str, list[tuple[Setting, Score]]],
    best: dict[str, tuple[Setting, Score]],
    test: Said,
    scale: Scale,
) -> dict[str, Any]:
    """Switches saved at matched latency and F1."""
    chosen, reference = best[baseline]
    setting = matched(families[name], reference)
    own = measured(chosen, test, scale.middle)
    row: dict[str, Any] = {"rule": name, "baseline": baseline, "of_baseline": own._asdict()}
    if setting is None:
        return row | {"matched": None}
    new = measured(setting, test, scale.middle)
    fewer = 1 - new.switches / own.switches
    return row | {"matched": new._asdict(), "setting": repr(setting), "fewer_switches": fewer}


def plot(found: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, len(found))
    for axis, (name, each) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for rule, row in each["best F1"].items():
            axis.plot(row["switches"], row["f1"], "o")
            axis.annotate(rule, (row["switches"], row["f1"]), fontsize=8)
        axis.set(title=f"bursts {name} x", xlabel="switches per minute", ylabel="F1", xscale="log")
    figure.savefig(path, dpi=120)


def show(name: str, each: dict[str, Any]) -> None:
    print(f"bursts {name} x")
    for rule, row in each["best F1"].items():
        print(f"  {rule:18} F1 {row['f1']:.3f}  {row['switches']:5.1f}/min  {row['latency']:.2f} s")
    print(
        f"  trusted {each['variance trusted']:.2f} of the time, "
        f"shuffled {each['shuffled variance trusted']:.2f}"
    )
    for rule in ("Kalman", "HMM"):
        for how in ("shuffled variance, watched", "shuffled variance, not watched", "both ways"):
            row = each[f"{rule}, {how}"]
            print(f"  {rule}, {how}: F1 {row['f1']:.3f}  {row['switches']:.1f}/min")
    for row in each["matched"]:
        got = row["matched"]
        text = "no setting is as good" if got is None else (
            f"{100 * row['fewer_switches']:.0f} % fewer switches, F1 {got['f1']:.3f} for "
            f"{row['of_baseline']['f1']:.3f}, {got['latency']:.2f} s for "
            f"{row['of_baseline']['latency']:.2f} s"
        )  # fmt: skip
        print(f"  {row['rule']} against {row['baseline']}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--work", type=Path, help="keep the sets and the model here")
    chosen = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        work = chosen.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        kept = work / "run" / "best"
        model = load(kept) if kept.is_dir() else trained(work)
    found = {str(each): level(model, each, chosen.streams, chosen.minutes) for each in LEVELS}
    for name, each in found.items():
        show(name, each)
    RESULTS.mkdir(exist_ok=True)
    plot(found, RESULTS / "temporal.png")
    line = json.dumps({
        "benchmark": "temporal", "commit": git_commit(), "cores": os.cpu_count(),
        "seconds": round(time.perf_counter() - start), "minutes": chosen.minutes,
        "streams": chosen.streams, "levels": found,
    })  # fmt: skip
    (RESULTS / "temporal.json").write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
