"""The part of the report that sets the estimates beside the labels of people."""

from __future__ import annotations

from html import escape
from typing import Any

from stream.agreement import BLOCK_S, Agreement
from stream.report.sections import bar, table
from stream.report.words import percent

WIDTH, HEIGHT, LEFT, BOTTOM = 420, 220, 48, 34


def agreement_section(found: Agreement) -> str:
    """Tables and the curve of risk against coverage, as HTML."""
    rows = [
        (
            escape(name),
            _share(row["seen"]),
            _share(row["coverage"]),
            _number(row["kappa"], row.get("kappa_interval")),
            _number(row["f1"], row.get("f1_interval")),
        )
        for name, row in found.labels.items()
    ]
    caption = (
        f"{found.states} states in {found.blocks} blocks of {BLOCK_S:g} s; kappa and F1 of the"
        " states that decide, with 95 % intervals over blocks"
    )
    head = ("Label", "Seen by people", "Decided (coverage)", "Cohen's kappa", "F1")
    return table(head, rows, caption) + _curve(found)


def _share(value: float | None) -> str:
    return "–" if value is None else bar(value)


def _number(value: float | None, interval: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _curve(found: Agreement) -> str:
    if not found.curve or found.aurc is None:
        return '<p class="fine">No state decided anything, so there is no risk to draw.</p>'
    top = max(0.1, *(risk for _, risk in found.curve))
    width, height = WIDTH - LEFT - 10, HEIGHT - BOTTOM - 10
    points = " ".join(
        f"{LEFT + width * coverage:.1f},{10 + height * (1 - risk / top):.1f}"
        for coverage, risk in found.curve
    )
    area = _number(found.aurc, found.aurc_interval)
    full = found.curve[-1]
    label = (
        f"Risk against coverage: {percent(full[1])} wrong among the {percent(full[0])} decided;"
        f" area under the curve {area}"
    )
    axis = 'stroke="currentColor" stroke-width="1" fill="none"'
    text = 'font-size="12" fill="currentColor"'
    return (
        f'<p class="fine">{escape(label)}. The most certain decisions (smallest variance) come'
        " first.</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img"'
        f' aria-label="{escape(label)}">'
        f'<path {axis} d="M{LEFT} 10V{10 + height}H{LEFT + width}"/>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="2"/>'
        f'<text {text} x="2" y="16">{percent(top)}</text><text {text} x="2" y="{10 + height}">0 %'
        f'</text><text {text} x="2" y="{10 + height / 2:.0f}">risk</text>'
        f'<text {text} x="{LEFT}" y="{HEIGHT - 12}">0 %</text>'
        f'<text {text} x="{LEFT + width / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">coverage'
        f'</text><text {text} x="{LEFT + width}" y="{HEIGHT - 12}" text-anchor="end">100 %</text>'
        "</svg>"
    )
