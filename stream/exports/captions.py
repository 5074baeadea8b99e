"""WebVTT and SRT: captions with speakers, and what people look like as metadata cues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from stream.columns import ACTIVE, UNSURE, Columns
from stream.exports import Source, path_of
from stream.report.words import UNKNOWN_SPEAKER

SHORTEST_S = 0.001
"""A cue lasts at least a millisecond."""


def write_vtt(source: Source) -> list[Path]:
    """``<stem>.vtt`` with captions, ``<stem>.states.vtt`` with a JSON object per stretch."""
    columns = source.columns
    captions, states = path_of(source, "vtt"), path_of(source, "states.vtt")
    lines = ["WEBVTT", ""]
    for segment in _said(columns):
        speaker = escape(segment["person"] or UNKNOWN_SPEAKER, quote=False)
        text = escape(segment["text"], quote=False)
        lines += [_when(segment, "."), f"<v {speaker}>{text}</v>", ""]
    captions.write_text("\n".join(lines), encoding="utf-8")
    lines = ["WEBVTT", "", "NOTE Guesses about expression, not facts about people.", ""]
    for number, cue in enumerate(stretches(columns)):
        said = {key: cue[key] for key in ("person", "active", "unsure", "reasons", "probability")}
        text = json.dumps(said, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
        lines += [str(number), _when(cue, "."), text, ""]
    states.write_text("\n".join(lines), encoding="utf-8")
    return [captions, states]


def write_srt(source: Source) -> list[Path]:
    """``<stem>.srt``: the captions."""
    path = path_of(source, "srt")
    lines = []
    for number, segment in enumerate(_said(source.columns), start=1):
        speaker = segment["person"] or UNKNOWN_SPEAKER
        lines += [str(number), _when(segment, ","), f"{speaker}: {_line(segment['text'])}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [path]


def stretches(columns: Columns) -> Iterator[dict[str, Any]]:
    """Stretches of a person in which no status and no reason changes, in order of time.

    ``t0``, ``t1`` (s), ``person``, ``active``, ``unsure`` (labels), ``reasons``, ``probability``
    (mean per label).
    """
    found = [cue for person in columns.tracked for cue in _of(columns, person)]
    yield from sorted(found, key=lambda cue: (cue["t0"], cue["person"]))


def _of(columns: Columns, person: str) -> Iterator[dict[str, Any]]:
    track, hop = columns.best(person), columns.hello["hop_s"]
    after = np.append(track.t[1:], track.t[-1:] + hop)
    end = np.minimum(after, track.t + 2 * hop)
    keys = [(bytes(track.status[i]), int(track.reasons[i])) for i in range(len(track))]
    for (status, bits), group in groupby(range(len(track)), key=keys.__getitem__):
        rows = list(group)
        mean = track.probability[rows].mean(axis=0)
        named = list(zip(columns.labels, status, mean.tolist(), strict=True))
        yield {
            "t0": float(track.t[rows[0]]),
            "t1": float(end[rows[-1]]),
            "person": person,
            "active": [name for name, code, _ in named if code == ACTIVE],
            "unsure": [name for name, code, _ in named if code >= UNSURE],
            "reasons": list(columns.names(bits)),
            "probability": {name: round(p, 3) for name, _, p in named if p == p},  # noqa: PLR0124
        }


def _said(columns: Columns) -> Iterator[dict[str, Any]]:
    for segment in columns.transcripts:
        if segment["text"].strip():
            yield {**segment, "text": _line(segment["text"])}


def _line(text: str) -> str:
    """Without what would end a cue."""
    return " ".join(text.replace("\x00", "").split()).replace("-->", "→")


def _when(cue: Mapping[str, Any], point: str) -> str:
    t1 = max(cue["t1"], cue["t0"] + SHORTEST_S)
    return f"{_stamp(cue['t0'], point)} --> {_stamp(t1, point)}"


def _stamp(seconds: float, point: str) -> str:
    ms = round(seconds * 1000)
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{point}{ms % 1000:03}"
