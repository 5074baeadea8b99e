"""The report of one recording: one HTML file that needs no network and no other file.

Only the recording itself is referred to, by a relative path, unless it is embedded. The page's
scripts (stream/report/page) become one script; the browser runs it by its hash alone
(Content-Security-Policy), and may fetch nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import os
import re
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from stream import findings, runs
from stream.columns import Columns, RecordsError
from stream.report import payload, sections, words
from stream.report.payload import Payload
from stream.runs import RunRecord

SCRIPTS = (
    *("words.js", "data.js", "levels.js", "paint.js", "overlay.js"),
    *("player.js", "lanes.js", "transcript.js", "main.js"),
)
"""In order of need; each name at top level is used once in all of them."""

IMPORT = re.compile(r"^import .*;$\n?", re.MULTILINE)
EXPORT = re.compile(r"^export ", re.MULTILINE)
SHARED = "const byId = (id) => document.getElementById(id);\n"
"""Stands in several scripts, and once in the one that they become."""

CONTENTS = (
    *(("recording", "Recording"), ("timelines", "Timelines"), ("moments", "Moments")),
    *(("speaking", "Speaking"), ("agreement", "Agreement"), ("quality", "Quality")),
    *(("run", "Settings and figures"), ("card", "Model card and limits")),
)

LONGEST_HOPS = 3
"""A state holds for so many hops where none follows."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made of."""

    columns: Columns
    title: str
    recording: Path | None = None
    """None, or one that is not there: the timelines stand alone."""
    run: RunRecord | None = None
    card: str | None = None
    """Markdown."""
    agreement: str = ""
    """HTML of the agreement with human labels; see ``stream.report.agreement``."""
    embed: bool = False
    """Put the recording itself into the report."""


def write_report(material: Material, target: Path) -> Path:
    """Write `target`, whole or not at all. Raises ``OSError`` and ``RecordsError``."""
    text = build(material, target.parent)
    partial = target.with_name(f"{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(target)


def build(material: Material, folder: Path) -> str:
    """The report as HTML, to be placed in `folder`."""
    columns = material.columns
    spoken = findings.speech(columns)
    overlap = findings.overlap(columns, spoken)
    episodes = findings.episodes(columns)
    turns = findings.turning_points(columns)
    packed = Payload()
    people = payload.fill(packed, columns, spoken)
    for person in people:
        person["turns"] = [{"t": each.t} for each in turns if each.person == person["id"]]
    hop = float(columns.hello["hop_s"])
    about: dict[str, Any] = {
        "labels": columns.labels,
        "reasons": payload.reasons(columns),
        "unclear": words.UNCLEAR[1],
        "duration": max(columns.duration, hop),
        "hop": hop,
        "longest": LONGEST_HOPS * hop,
        "people": people,
        "moments": sorted({each.t0 for each in episodes} | {each.t for each in turns}),
        "layout": packed.layout,
    }
    style, script = _style(), _script()
    agreement = material.agreement and (
        '<section id="agreement"><h2>Agreement with human labels</h2>'
        f"{material.agreement}</section>"
    )
    return Template(_page("report.html")).substitute(
        policy=_policy(style, script),
        title=escape(material.title),
        notice=escape(words.NOTICE),
        contents=" ".join(
            f'<a href="#{name}">{escape(title)}</a>'
            for name, title in CONTENTS
            if name != "agreement" or agreement
        ),
        video=_video(material, folder),
        transcript=sections.transcript(columns),
        readout=escape(words.READOUT if columns.tracked else words.NOBODY),
        moments=sections.moments(columns, episodes, turns),
        speaking=sections.speaking(columns, spoken, overlap),
        agreement=agreement,
        quality=sections.quality(columns, material.run),
        settings=sections.settings(columns, material.run),
        card=sections.card(material.card),
        about=json.dumps(about, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        data=packed.text(),
        style=style,
        script=script,
    )


def material_of(
    columns: Columns,
    run: RunRecord | None,
    *,
    recording: Path | None = None,
    agreement: str = "",
    embed: bool = False,
) -> Material:
    """Of what was read from records; `recording` is where it lies now, if not where it was."""
    if recording is None and run is not None:
        recording = Path(run.recording)
    return Material(
        columns=columns,
        title=str(columns.hello["session"]),
        recording=recording,
        run=run,
        card=runs.card(run),
        agreement=agreement,
        embed=embed,
    )


def _video(material: Material, folder: Path) -> str:
    recording = material.recording
    if recording is None:
        return ""
    name = f'data-name="{escape(quote(recording.name))}"'
    if material.embed:
        kind = mimetypes.guess_type(recording.name)[0] or "video/mp4"
        try:
            data = base64.b64encode(recording.read_bytes()).decode()
        except OSError as error:
            raise RecordsError(
                f"{recording} cannot be embedded: {error.strerror}",
                hint="name it with --video, or leave out --embed",
            ) from None
        return f'src="data:{kind};base64,{data}" {name}'
    if not recording.exists():
        return name
    way = os.path.relpath(recording.resolve(), folder.resolve())
    return f'src="{escape(quote(Path(way).as_posix()))}" {name}'


def _policy(style: str, script: str) -> str:
    def of(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:;"
        f" style-src 'sha256-{of(style)}'; script-src 'sha256-{of(script)}';"
        " media-src 'self' file: data: blob:"
    )


def _style() -> str:
    return f"\n{_page('report.css')}"


def _script() -> str:
    parts = [
        EXPORT.sub("", IMPORT.sub("", _page(name))).replace(SHARED, "").strip() for name in SCRIPTS
    ]
    return f"\n{SHARED}" + "\n".join(parts) + "\n"


def _page(name: str) -> str:
    return (resources.files("stream.report") / "page" / name).read_text(encoding="utf-8")
