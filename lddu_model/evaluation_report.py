"""The report on an evaluation: Markdown to read, JSON to compute with, PNG to show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lddu_model.files import replacing, write_text

NAME = "evaluation"
NOTES = """\
Precision is the share of what was predicted that is right, recall the share of what is there that
was predicted. Jaccard is what the literature on this task calls Acc: the mean over samples of
|both| / |either|; where both sets are empty a sample counts 0 (the convention of the published
tables) or 1. AUROC, AURC and AUGRC ask whether the decisions that an uncertainty calls doubtful are
the wrong ones (at thresholds per label); lower AURC and AUGRC are better. "both" is a logistic
regression on log variance and entropy, fitted on validation data.
"""
KINDS = ("variance", "entropy", "both")
ALL = "all labels"

Cells = Sequence[object]


def write_evaluation(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write evaluation.md, .json and .png into `folder`; returns the first."""
    write_text(folder / f"{NAME}.json", json.dumps(report, indent=1) + "\n")
    _plot(folder / f"{NAME}.png", report["runs_scored"][0])
    path = folder / f"{NAME}.md"
    write_text(path, markdown(report))
    return path


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as text. Tables below the first are of the first run."""
    first = report["runs_scored"][0]
    parts = ["# Evaluation\n", _about(report, first), "## Scores\n", _headline(report)]
    if "against" in report:
        parts += ["## Against another model\n", _against(report["against"])]
    parts += ["## Decisions\n", _rules(first), "## Labels\n", _labels(first)]
    parts += ["## Uncertainty\n", _uncertainty(first), "## How to read this\n", NOTES]
    parts.append(f"\n![reliability, risk and coverage, F1 by label]({NAME}.png)\n")
    return "\n".join(parts)


def table(head: Cells, rows: Iterable[Cells]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _about(report: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    facts = dict(report.get("about", {}))
    facts |= {"samples": first["samples"], "groups": first["groups"] or "none: samples are drawn"}
    facts["runs"] = len(report["runs_scored"])
    return table(("", ""), [(key, value) for key, value in facts.items() if value is not None])


def _headline(report: Mapping[str, Any]) -> str:
    several = len(report["runs_scored"]) > 1
    first = report["runs_scored"][0]["headline"]
    rows = []
    for name, entry in report["over_runs"].items():
        deviation = (entry["sd"],) if several else ()
        low_high = [_interval(first[name].get("intervals", {}), level) for level in ("90%", "95%")]
        rows.append((name, entry["mean"], *deviation, *low_high))
    extra = ("sd over runs",) if several else ()
    head = ("score", "mean" if several else "value", *extra, "90 % interval", "95 % interval")
    note = "Intervals: bootstrap of the first run, groups drawn whole.\n\n"
    return note + table(head, rows)


def _interval(found: Mapping[str, Sequence[float]], level: str) -> str:
    return " .. ".join(_cell(x) for x in found[level]) if level in found else "-"


def _against(found: Mapping[str, Any]) -> str:
    rows = [
        (name, difference, f"{_cell(low)} .. {_cell(high)}", share)
        for name, (difference, low, high, share) in found["differences"].items()
    ]
    head = ("score", "difference", "90 % interval", "share of resamples above 0")
    return f"Paired bootstrap against {', '.join(found['models'])}.\n\n" + table(head, rows)


def _rules(first: Mapping[str, Any]) -> str:
    keys = (
        "micro_precision",
        "micro_recall",
        "micro_f1",
        "macro_f1",
        "jaccard_empty_0",
        "jaccard_empty_1",
        "hamming_loss",
        "exact_match",
    )
    names = [key.replace("_", " ") for key in keys]
    names[4:6] = ["Jaccard (empty 0)", "Jaccard (empty 1)"]
    rows = [(rule, *(found[key] for key in keys)) for rule, found in first["decisions"].items()]
    notes = "".join(f"- {rule}: {text}\n" for rule, text in first["rules"].items())
    return table(("thresholds", *names), rows) + "\n" + notes


def _labels(first: Mapping[str, Any]) -> str:
    parts = []
    for rule, found in first["decisions"].items():
        rows = [
            (label, found["thresholds"][label], each["precision"], each["recall"], each["f1"])
            for label, each in found["labels"].items()
        ]
        parts.append(f"Thresholds: {rule}.\n\n")
        parts.append(table(("label", "threshold", "precision", "recall", "F1"), rows) + "\n")
    keys = ("positives", "average_precision", "ece", "brier", "brier_skill")
    rows = [(label, *(each[key] for key in keys)) for label, each in first["labels"].items()]
    head = ("label", "positives", "AP", "ECE (15 equal-mass bins)", "Brier", "Brier skill")
    return "".join(parts) + table(head, rows)


def _uncertainty(first: Mapping[str, Any]) -> str:
    found = first["uncertainty"]
    kinds = [kind for kind in KINDS if kind in found]
    titles = {
        "auroc_wrong": "AUROC",
        "aurc": "AURC",
        "augrc": "AUGRC",
        "risk_at_80": "risk at 80 % coverage",
        "spearman_squared_error": "Spearman with squared error",
    }
    rows: list[Cells] = [(title, *(found[k][key] for k in kinds)) for key, title in titles.items()]
    rows += [
        (f"AUROC, {label}", *(each["auroc_wrong"][kind] for kind in kinds))
        for label, each in first["labels"].items()
    ]
    share = f"Wrong decisions: {_cell(found['share_wrong'])} of all.\n\n"
    return share + table((ALL, *kinds), rows)


def _plot(path: Path, first: Mapping[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for label, (said, there) in first["curves"]["reliability"].items():
        left.plot(said, there, ".-", label=label, linewidth=1)
    left.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    left.set(title="reliability", xlabel="probability", ylabel="share present")
    for kind, (coverage, risk) in first["curves"]["risk_coverage"].items():
        middle.plot(coverage, risk, label=kind)
    middle.set(title="risk and coverage", xlabel="coverage", ylabel="share wrong", ylim=(0, None))
    labels = list(first["labels"])
    places = range(len(labels))
    f1 = [first["decisions"]["per label"]["labels"][label]["f1"] for label in labels]
    ap = [first["labels"][label]["average_precision"] or 0.0 for label in labels]
    right.bar([x - 0.2 for x in places], f1, 0.4, label="F1, threshold per label")
    right.bar([x + 0.2 for x in places], ap, 0.4, label="average precision")
    right.set_xticks(list(places), labels, rotation=30)
    right.set(title="labels", ylim=(0, 1))
    for axes in (left, middle, right):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
