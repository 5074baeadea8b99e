"""ELAN: one .eaf with tiers per person: speech, words, each label, not sure, turning points."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET  # it writes; nothing is parsed here

from stream import findings
from stream.columns import Columns
from stream.exports import Source, path_of
from stream.exports.captions import stretches
from stream.report.words import UNKNOWN_SPEAKER

XSI = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
ANNOTATOR = "lddu-live"
"""Of the tiers written here; a reader of human labels leaves them out."""

MOMENT_S = 0.1
"""A turning point is drawn this long."""

FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold."""

Annotation = tuple[float, float, str]
"""Start and end in seconds, and the text."""


def write_eaf(source: Source) -> list[Path]:
    """``<stem>.eaf``, with the recording as linked media where it is known."""
    path = path_of(source, "eaf")
    document = _Document()
    for name, participant, found in tiers(source.columns):
        document.tier(name, participant, found)
    text = ET.tostring(document.finish(source), encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', encoding="utf-8")
    return [path]


def tiers(columns: Columns) -> Iterator[tuple[str, str, list[Annotation]]]:
    """(name, participant, annotations) of each tier; one without annotations is left out."""
    for speaker in (*columns.people, None):
        own = [each for each in columns.transcripts if each["person"] == speaker]
        who = speaker or UNKNOWN_SPEAKER
        yield f"{who} speech", who, [(s["t0"], s["t1"], s["text"]) for s in own]
        said = [word for segment in own for word in segment["words"]]
        yield f"{who} words", who, [(w["t0"], w["t1"], w["text"]) for w in said]
    end = columns.duration
    episodes = findings.episodes(columns)
    turns = findings.turning_points(columns)
    cues = list(stretches(columns))
    for person in columns.tracked:
        for label in columns.labels:
            own_ = [e for e in episodes if (e.person, e.label) == (person, label)]
            name = f"{person} {label}"
            yield name, person, [(e.t0, end if e.t1 is None else e.t1, label) for e in own_]
        unsure = [
            (cue["t0"], cue["t1"], ", ".join(cue["reasons"]) or "unclear")
            for cue in cues
            if cue["person"] == person and cue["unsure"]
        ]
        yield f"{person} not sure", person, _joined(unsure)
        yield (
            f"{person} turning points",
            person,
            [(turn.t, turn.t + MOMENT_S, turn.label) for turn in turns if turn.person == person],
        )


def _joined(annotations: Iterable[Annotation]) -> list[Annotation]:
    """Those that follow each other with the same text as one."""
    found: list[Annotation] = []
    for text, group in groupby(annotations, key=lambda each: each[2]):
        for t0, t1, _ in group:
            if found and found[-1][2] == text and abs(found[-1][1] - t0) < 1e-3:
                found[-1] = found[-1][0], t1, text
            else:
                found.append((t0, t1, text))
    return found


@dataclass(slots=True)
class _Document:
    """The parts of an EAF: time slots come before the tiers that use them."""

    slots: list[int] = field(default_factory=list)
    """Milliseconds of ``ts1``, ``ts2``, ..."""
    made: list[ET.Element] = field(default_factory=list)
    annotations: int = 0

    def tier(self, name: str, participant: str, annotations: Iterable[Annotation]) -> None:
        kind = {"TIER_ID": name, "PARTICIPANT": participant, "LINGUISTIC_TYPE_REF": "default-lt"}
        kind["ANNOTATOR"] = ANNOTATOR
        tier = ET.Element("TIER", kind)
        last = 0
        for t0, t1, text in sorted(annotations):
            # In a tier nothing overlaps, and everything lasts.
            start = max(last, round(t0 * 1000))
            end = max(start + 1, round(t1 * 1000))
            last = end
            self.annotations += 1
            self.slots += [start, end]
            inner = ET.SubElement(
                ET.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{self.annotations}",
                TIME_SLOT_REF1=f"ts{len(self.slots) - 1}",
                TIME_SLOT_REF2=f"ts{len(self.slots)}",
            )
            ET.SubElement(inner, "ANNOTATION_VALUE").text = FORBIDDEN.sub("", text)
        if last:
            self.made.append(tier)

    def finish(self, source: Source) -> ET.Element:
        root = ET.Element(
            "ANNOTATION_DOCUMENT",
            {
                "AUTHOR": ANNOTATOR,
                "DATE": "1970-01-01T00:00:00+00:00",  # the same records give the same file
                "FORMAT": "3.0",
                "VERSION": "3.0",
                "xmlns:xsi": XSI,
                "xsi:noNamespaceSchemaLocation": SCHEMA,
            },
        )
        header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
        if source.recording is not None:
            header.append(_media(source.recording, source.stem.parent))
        last = ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
        last.text = str(self.annotations)
        order = ET.SubElement(root, "TIME_ORDER")
        for k, ms in enumerate(self.slots, start=1):
            ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{k}", TIME_VALUE=str(ms))
        root.extend(self.made)
        ET.SubElement(
            root,
            "LINGUISTIC_TYPE",
            GRAPHIC_REFERENCES="false",
            LINGUISTIC_TYPE_ID="default-lt",
            TIME_ALIGNABLE="true",
        )
        return root


def _media(recording: Path, folder: Path) -> ET.Element:
    way = Path(os.path.relpath(recording.resolve(), folder.resolve())).as_posix()
    return ET.Element(
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=recording.resolve().as_uri(),
        MIME_TYPE=mimetypes.guess_type(recording.name)[0] or "unknown",
        RELATIVE_MEDIA_URL=quote(f"./{way}"),
    )
