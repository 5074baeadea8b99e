"""The parts of the report that are text and tables, as HTML without scripts or styles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from stream import findings
from stream.card import card_html
from stream.columns import Columns
from stream.findings import Episode, Span, TurningPoint
from stream.report import words
from stream.runs import RunRecord

SILENCE_S = 8.0
"""Seconds of silence after which the same speaker starts a new paragraph."""

PARAGRAPH_S = 30.0
"""Longest paragraph, in seconds."""


def jump(t: float) -> str:
    """A link that takes the recording to `t`."""
    return f'<a class="jump" href="#t={t:.2f}" data-t="{t:.3f}">{words.clock(t)}</a>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Cells are HTML; the first of each row names it. `head` may be empty."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>"
        f"{top}<tbody>{body}</tbody></table></div>"
    )


def bar(share: float) -> str:
    """A share as a number and a bar."""
    return (
        f'<span class="share"><meter min="0" max="1" value="{share:.4f}"></meter> '
        f"{words.percent(share)}</span>"
    )


def transcript(columns: Columns) -> str:
    """Turns of speech; each segment knows when it was said."""
    if not columns.transcripts:
        return '<p class="fine">No words were heard, or words were not looked at.</p>'
    parts = []
    for turn in _turns(columns.transcripts):
        first = turn[0]
        who = first["person"] or words.UNKNOWN_SPEAKER
        mark = ' <span class="tag">several at once</span>' if first.get("overlap") else ""
        said = " ".join(
            f'<span class="seg" data-t="{each["t0"]:.3f}" data-e="{each["t1"]:.3f}"'
            f' lang="{escape(each["language"])}">{escape(each["text"])}</span>'
            for each in turn
        )
        parts.append(
            f'<p class="turn">{jump(first["t0"])} <b>{escape(who)}</b>{mark}'
            f" <span>{said}</span></p>"
        )
    return "".join(parts)


def _turns(segments: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    turns: list[list[Mapping[str, Any]]] = []
    for _, group in groupby(segments, key=lambda each: (each["person"], each.get("overlap"))):
        turn: list[Mapping[str, Any]] = []
        for each in group:
            silent = turn and each["t0"] - turn[-1]["t1"] > SILENCE_S
            if turn and (silent or each["t1"] - turn[0]["t0"] > PARAGRAPH_S):
                turns.append(turn)
                turn = []
            turn.append(each)
        turns.append(turn)
    return turns


def nobody() -> str:
    """What stands where nothing can be shown of anybody."""
    return f'<p class="fine">{escape(words.NOBODY)}</p>'


def moments(columns: Columns, episodes: Sequence[Episode], turns: Sequence[TurningPoint]) -> str:
    """Turning points, and when which label was present."""
    if not columns.tracked:
        return nobody()
    if turns:
        text = table(
            ("When", "Who", "What", "Before", "After"),
            (
                (
                    jump(each.t),
                    escape(each.person),
                    f"looks {_way(each)} like {escape(each.label)}",
                    words.percent(each.before),
                    words.percent(each.after),
                )
                for each in turns
            ),
            f"Turning points: the mean estimate of the {findings.TURN_S:g} s after differs from"
            f" that of the {findings.TURN_S:g} s before, by more than its own doubt",
        )
    else:
        text = '<p class="fine">No turning points: nothing changed by more than its own doubt.</p>'
    if not episodes:
        return f'{text}<p class="fine">No label was present for long enough to be an event.</p>'
    return text + table(
        ("From", "To", "Who", "Looks like", "Most at"),
        (
            (
                jump(each.t0),
                "the end" if each.t1 is None else jump(each.t1),
                escape(each.person),
                escape(each.label),
                f"{jump(each.peak_t)} ({words.percent(each.peak)})",
            )
            for each in episodes
        ),
        "Events",
    )


def _way(turn: TurningPoint) -> str:
    return "more" if turn.after > turn.before else "less"


def speaking(
    columns: Columns, spoken: Mapping[str | None, Sequence[Span]], overlap: Sequence[Span]
) -> str:
    if not spoken:
        return '<p class="fine">Nobody was heard to speak, or words were not looked at.</p>'
    total = max(columns.duration, 1e-9)
    counted: dict[str | None, int] = dict.fromkeys(spoken, 0)
    for segment in columns.transcripts:
        counted[segment["person"]] += len(segment["words"])
    rows = []
    for speaker, spans in spoken.items():
        said, count = findings.seconds(spans), counted[speaker]
        rate = f"{60 * count / said:.0f}" if said else "–"
        name = escape(speaker or words.UNKNOWN_SPEAKER)
        rows.append((name, f"{said:.1f} s", bar(said / total), str(count), rate))
    both = findings.seconds(overlap)
    rows.append(("several at once", f"{both:.1f} s", bar(both / total), "–", "–"))
    return table(
        ("Who", "Time", "Of the recording", "Words", "Words per minute of speech"),
        rows,
        "Speaking time, by the words that were transcribed; pauses below"
        f" {findings.PAUSE_S:g} s count",
    )


def quality(columns: Columns, run: RunRecord | None = None) -> str:
    """What could be said of each person, and why not, and what was wrong with the recording."""
    parts = [] if columns.tracked else [nobody()]
    if run is not None and run.warnings:
        told = "".join(f"<li>{escape(each)}</li>" for each in run.warnings)
        parts.append(f"<p>Of the recording:</p><ul>{told}</ul>")
    for person in columns.tracked:
        found = findings.quality(columns, person)
        rows = [
            ("no label decided either way", bar(found.silent), "Every label was “not sure”."),
            *((name, bar(x), "“not sure” about this label") for name, x in found.unsure.items()),
        ]
        for name, share in found.reasons.items():
            short, sentence = words.reason(name)
            rows.append((escape(short), bar(share), escape(sentence)))
        rows += [
            ("complete windows", bar(found.complete), "Nothing inside the window was lost."),
            ("variance trusted", bar(found.trusted), "Its variance predicted disagreement."),
        ]
        caption = f"{person}: share of {found.states} states"
        parts.append(table(("What", "Share", "Meaning"), rows, caption))
    if gaps := findings.lost(columns):
        rows = [
            (f"{escape(source)}: {escape(why.replace('_', ' '))}", str(n), f"{s:.2f} s")
            for (source, why), (n, s) in gaps.items()
        ]
        parts.append(table(("Lost", "Times", "Together"), rows, "Gaps"))
    else:
        parts.append('<p class="fine">No gaps: no picture and no sound was lost.</p>')
    return "".join(parts)


def settings(columns: Columns, run: RunRecord | None) -> str:
    """How the records were made and what that cost."""
    hello = columns.hello
    facts = {
        "session": hello["session"],
        "purpose": hello["purpose"].replace("_", " "),
        "agreed to": ", ".join(k for k, v in hello["consent"].items() if v is True) or "nothing",
        "window, hop": f"{hello['window_s']:g} s, {hello['hop_s']:g} s",
        "ended": columns.end or "the records break off",
    }
    if run is None:
        return table((), _rows(facts), "From the records; of the run nothing is known")
    facts |= {
        "SHA-256 of the recording": run.content,
        "model": f"{run.model['name']} ({run.model['sha256'][:16]})",
    }
    every = {name: value for name, value in flat(run.settings) if name != "model.weights"}
    return "".join(
        (
            table((), _rows(facts), "Run"),
            table((), _rows(dict(map(_figure, run.figures.items()))), "Figures"),
            table((), _rows({**every, **run.versions}), "Settings and versions"),
        )
    )


def _figure(named: tuple[str, Any]) -> tuple[str, str]:
    """What a figure of a run is called, and its value with its unit."""
    name, value = named
    short = name.removesuffix("_s")
    if isinstance(value, Mapping):
        told = ", ".join(f"{words.reason(each)[0]} {_count(x)}" for each, x in value.items())
    elif name == "unsure":
        told = _count(value)
    else:
        told = f"{_plain(value)} s" if short != name else _plain(value)
    return short.replace("_", " "), told or "none"


def _count(value: Any) -> str:
    """Shares are fractions, what was counted is whole."""
    return words.percent(value) if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    """A value of a setting as people write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(escape(str(name)), escape(_plain(value))) for name, value in facts.items()]


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and values of nested tables."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def card(markdown: str | None) -> str:
    """The model card; HTML inside it is shown, not used, and nothing is fetched."""
    if markdown is None:
        return (
            '<p class="fine">The card of the model that made these records is not at hand.'
            " Take no number for granted.</p>"
        )
    html = card_html(markdown, links=False)
    for level in (4, 3, 2, 1):  # the report has headings of its own above these
        html = html.replace(f"<h{level}>", f"<h{level + 2}>")
        html = html.replace(f"</h{level}>", f"</h{level + 2}>")
    opened = '<div class="wide" tabindex="0" role="region" aria-label="Table of the card"><table>'
    return html.replace("<table>", opened).replace("</table>", "</table></div>")
