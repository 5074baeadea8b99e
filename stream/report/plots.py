"""Figures for a paper: one person's timeline as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stream import findings
from stream.columns import ACTIVE, UNSURE, Columns, Floats, Track
from stream.findings import Span
from stream.report import words

COLOURS = ("#b86e00", "#0072b2", "#b3261e", "#00805a", "#8a3f86", "#3b3f8f", "#6b6b00", "#555555")
"""Told apart with every common kind of colour vision; each label also has a row of its own."""

WIDTH, ROW, STRIP = 7.2, 0.62, 0.6
"""Inches: two columns of a journal; a label; the strip of words."""

DPI = 200
POINTS = 1500
"""Most points of a line: more than can be told apart, at a size that can be sent around."""

WORDS_UP_TO_S = 45.0
"""Longer recordings show when somebody spoke, not what."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lddu",
    "hatch.linewidth": 0.6,
    "font.size": 8.0,
}


def plot_people(columns: Columns, stem: Path) -> list[Path]:
    """Write ``<stem>.<person>.png`` and ``.svg`` for everybody. Raises ``OSError``."""
    written = []
    with mpl.rc_context(STYLE):
        for person in columns.tracked:
            figure = plot_person(columns, person)
            for kind in ("png", "svg"):
                path = stem.with_name(f"{stem.name}.{person}.{kind}")
                hidden = {"Date": None} if kind == "svg" else {"Software": None}
                figure.savefig(path, dpi=DPI, metadata=hidden)
                written.append(path)
    return written


def plot_person(columns: Columns, person: str) -> Figure:
    """Rows of labels with bands, events, turning points; below them what was said."""
    count = len(columns.labels)
    track = columns.best(person)
    figure = Figure(figsize=(WIDTH, count * ROW + STRIP + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [ROW] * count + [STRIP]
    axes = figure.subplots(count + 1, 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    for c, label in enumerate(columns.labels):
        _label(axes[c], track, c, label, columns.hello["hop_s"])
    _marks(list(axes[:count]), columns, person)
    _said(axes[count], columns, person)
    axes[count].set_xlim(0, max(columns.duration, 1.0))
    axes[count].set_xlabel("time (s)")
    kind = "by the whole recording" if person in columns.smoothed else "as in a call"
    figure.suptitle(
        f"What {person} looks like, {kind}: probability with one standard deviation;"
        " hatched: not sure; bar: active; dotted: turning points",
        fontsize=7,
    )
    return figure


def _label(axes: Axes, track: Track, c: int, label: str, hop: float) -> None:
    colour = COLOURS[c % len(COLOURS)]
    t, low, mean, high = _thinned(track, c)
    axes.fill_between(t, low, high, color=colour, alpha=0.3, linewidth=0)
    axes.plot(t, mean, color=colour, linewidth=0.9)
    for t0, t1 in _stretches(track, track.status[:, c] >= UNSURE, hop):
        axes.axvspan(t0, t1, facecolor="none", edgecolor="#888888", hatch="////", linewidth=0)
    for t0, t1 in _stretches(track, track.status[:, c] == ACTIVE, hop):
        axes.plot([t0, t1], [-0.06, -0.06], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.set_ylim(-0.12, 1.02)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _thinned(track: Track, c: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Time, low, mean and high in at most ``POINTS`` steps; the band keeps its extremes."""
    step = max(1, -(-len(track) // POINTS))
    n = len(track) // step * step
    if n == 0:
        return track.t, track.low[:, c], track.probability[:, c], track.high[:, c]

    def blocks(values: Floats) -> Floats:
        return values[:n].reshape(-1, step)

    return (
        blocks(track.t)[:, 0],
        blocks(track.low[:, c]).min(axis=1),
        blocks(track.probability[:, c]).mean(axis=1),
        blocks(track.high[:, c]).max(axis=1),
    )


def _stretches(track: Track, held: np.ndarray, hop: float) -> list[Span]:
    """Where `held` (n,) is true, each state until the next one (a hop at most)."""
    return findings.union([(t, t + hop) for t in track.t[held].tolist()], pause=1e-6)


def _marks(axes: Sequence[Axes], columns: Columns, person: str) -> None:
    for turn in findings.turning_points(columns):
        if turn.person == person:
            for each in axes:
                each.axvline(turn.t, color="#555555", linewidth=0.7, linestyle=":")
    for episode in findings.episodes(columns):
        if episode.person == person:
            row = axes[columns.labels.index(episode.label)]
            row.plot([episode.peak_t], [episode.peak], marker="v", color="black", markersize=3)


def _said(axes: Axes, columns: Columns, person: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("speech", rotation=0, ha="right", va="center")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    short = columns.duration <= WORDS_UP_TO_S
    for k, segment in enumerate(each for each in columns.transcripts if _by(each, person)):
        known = segment["person"] is not None
        axes.plot(
            [segment["t0"], segment["t1"]],
            [0.12, 0.12],
            color="black" if known else "#999999",
            linewidth=2,
            solid_capstyle="butt",
        )
        if short:
            who = "" if known else f" ({words.UNKNOWN_SPEAKER})"
            text = f"{segment['text']}{who}".replace("$", r"\$")
            axes.text(segment["t0"], 0.3 + 0.25 * (k % 3), text, fontsize=4.5, clip_on=True)


def _by(segment: dict[str, object], person: str) -> bool:
    """Whether `person` said it, or nobody knows who did."""
    return segment["person"] in (person, None)
