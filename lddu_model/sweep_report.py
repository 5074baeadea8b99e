"""The table of a sweep, from the predictions that its runs left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lddu_model.config import TrainConfig
from lddu_model.errors import ConfigError
from lddu_model.evaluate import compare_seeds, evaluate_seeds
from lddu_model.evaluation_report import table
from lddu_model.files import replacing, write_text
from lddu_model.metrics import plain
from lddu_model.report import git_commit
from lddu_model.run_report import evaluated, load_predictions

SHOWN = (
    "mAP",
    "micro-F1, one threshold",
    "micro-F1, per label",
    "macro-F1, per label",
    "Jaccard (empty 0), one threshold",
    "AUROC(variance, wrong)",
    "AUROC(entropy, wrong)",
    "AUROC(both, wrong)",
)
COMPARED = ("mAP", "macro-F1, per label", "AUROC(variance, wrong)", "AUROC(entropy, wrong)")


class Entry(NamedTuple):
    """One run of the sweep, with all its seeds."""

    name: str
    config: TrainConfig

    @property
    def folders(self) -> list[Path]:
        return [self.config.one(seed).out for seed in self.config.seeds]


def write_sweep(out: Path, entries: Sequence[Entry], reference: str, *, resamples: int) -> Path:
    """Write sweep.md, .json and .png into `out` for what is finished; returns the first."""
    done = [each for each in entries if all(evaluated(folder) for folder in each.folders)]
    if not done:
        raise ConfigError(f"no run in {out} is finished: there is nothing to report")
    first = next((each for each in done if each.name == reference), None)
    found = {
        name: {
            each.name: _entry(each, first, name, resamples)
            for each in done
            if name in evaluated(each.folders[0])
        }
        for name in evaluated(done[0].folders[0])
    }
    report = {
        "reference": reference,
        "git_commit": git_commit(),
        "unfinished": [each.name for each in entries if each not in done],
        "data": found,
    }
    write_text(out / "sweep.json", json.dumps(report, indent=1) + "\n")
    _plot(out / "sweep.png", found)
    path = out / "sweep.md"
    write_text(path, _markdown(report))
    return path


def _entry(entry: Entry, reference: Entry | None, data: str, resamples: int) -> dict[str, Any]:
    mine = load_predictions(entry.folders, data)
    scores = evaluate_seeds(*mine, resamples=0)["over_runs"]
    against = {}
    if reference is not None and reference.name != entry.name:
        other = load_predictions(reference.folders, data)
        against = {
            name: dict(zip(found._fields, map(plain, found), strict=True))
            for name, found in compare_seeds(other, mine, resamples=resamples).items()
        }
    return {"seeds": list(entry.config.seeds), "scores": scores, "reference_minus_this": against}


def _markdown(report: Mapping[str, Any]) -> str:
    parts = ["# Sweep\n"]
    if report["unfinished"]:
        parts.append(f"Not finished: {', '.join(report['unfinished'])}.\n")
    for data, runs in report["data"].items():
        parts += [f"## {data}\n", "Mean (standard deviation over the seeds), test data.\n"]
        rows = [(run, *(_mean(found["scores"].get(name)) for name in SHOWN))
                for run, found in runs.items()]  # fmt: skip
        parts.append(table(("run", *SHOWN), rows))
        parts.append(
            f"\n{report['reference']} minus each: difference, 90 % interval of the paired "
            "bootstrap over groups, share of resamples above 0.\n"
        )
        rows = [
            (run, *(_gap(found["reference_minus_this"].get(name)) for name in COMPARED))
            for run, found in runs.items()
            if found["reference_minus_this"]
        ]
        parts.append(table(("against", *COMPARED), rows))
    parts.append("\n![scores](sweep.png)\n")
    return "\n".join(parts)


def _mean(found: Mapping[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return "-"
    deviation = "" if found["sd"] is None else f" ({found['sd']:.3f})"
    return f"{found['mean']:.3f}{deviation}"


def _gap(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    low, high = found["low"], found["high"]
    gap = f"{found['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{gap} {100 * found['above_zero']:.0f} %"


def _plot(path: Path, data: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib.figure import Figure

    names = ("mAP", "macro-F1, per label", "AUROC(variance, wrong)")
    size = max(len(runs) for runs in data.values())
    figure = Figure(figsize=(14, len(data) * (1.2 + 0.35 * size)), layout="constrained")
    grid = figure.subplots(len(data), len(names), squeeze=False)
    for row, (title, runs) in zip(grid, data.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            for place, found in enumerate(reversed(list(runs.values()))):
                values = [x for x in found["scores"].get(name, {}).get("values", ()) if x]
                axes.plot(values, [place] * len(values), "o", alpha=0.6)
            axes.set_yticks(range(len(runs)), list(reversed(list(runs))))
            axes.set(title=f"{title}: {name}")
            axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
