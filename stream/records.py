"""Messages of the graph, and what else is told, as records (``stream.record_types``)."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence

from stream.config import Consent
from stream.degrade import Load
from stream.record_types import (
    SCHEMA,
    ClockRecord,
    ConsentRecord,
    EndRecord,
    EventRecord,
    FaceRecord,
    GapRecord,
    HelloRecord,
    LabelRecord,
    LoadRecord,
    Origin,
    PersonRecord,
    Record,
    RecordingRecord,
    SettingsRecord,
    StateRecord,
    TranscriptRecord,
)
from workers.messages import (
    MODALITIES,
    FaceFrame,
    Gap,
    Modality,
    Presence,
    TranscriptSegment,
)
from workers.states import EmotionEvent, EmotionState, LabelState

NOTICE = "Emotion estimates are running. They are guesses about expression, not facts about people."


def hello(
    session: str,
    person: str,
    labels: Sequence[str],
    purpose: str,
    consent: Consent,
    window_s: float,
    hop_s: float,
    source: Origin,
    *,
    many: bool,
    modalities: Collection[Modality],
) -> HelloRecord:
    """`modalities`: those that there is something of, and that were agreed to."""
    return {
        "type": "hello",
        "schema": SCHEMA,
        "session": session,
        "person": person,
        "labels": list(labels),
        "purpose": purpose,
        "consent": consent.model_dump(),
        "notice": NOTICE,
        "window_s": window_s,
        "hop_s": hop_s,
        "source": source,
        "many": many,
        "modalities": [name for name in MODALITIES if name in modalities],
    }


def state(message: EmotionState, lag_s: float) -> StateRecord:
    return {
        "type": "smoothed" if message.smoothed else "state",
        "t": _seconds(message.t),
        "person": message.person,
        "index": message.index,
        "revision": message.revision,
        "complete": message.complete,
        "labels": {name: _label(label) for name, label in message.labels.items()},
        "reason": message.reason,
        "reasons": list(message.reasons),
        "variance_trusted": message.variance_trusted,
        "lag_s": _seconds(lag_s),
    }


def event(message: EmotionEvent, lag_s: float) -> EventRecord:
    return {
        "type": "event",
        "kind": message.kind,
        "t": _seconds(message.t),
        "person": message.person,
        "label": message.label,
        "onset": _seconds(message.onset),
        "peak": {"t": _seconds(message.peak_t), "probability": round(message.peak, 4)},
        "withdrawn": message.withdrawn,
        "smoothed": message.smoothed,
        "lag_s": _seconds(lag_s),
    }


def transcript(message: TranscriptSegment, lag_s: float) -> TranscriptRecord:
    return {
        "type": "transcript",
        "person": message.person if message.known else None,
        "t0": _seconds(message.t0),
        "t1": _seconds(message.t1),
        "text": message.text,
        "language": message.language,
        "words": [
            {
                "t0": _seconds(word.t0),
                "t1": _seconds(word.t1),
                "text": word.text,
                "probability": round(word.probability, 4),
            }
            for word in message.words
        ],
        "overlap": message.overlap,
        "lag_s": _seconds(lag_s),
    }


def face(
    message: FaceFrame, outlines: Sequence[list[list[list[float]]]], lag_s: float
) -> FaceRecord:
    """`outlines` holds the polylines of each face of `message`."""
    return {
        "type": "face",
        "t": _seconds(message.t),
        "person": message.person,
        "faces": [
            {
                "track": found.track,
                "person": found.person,
                "box": [round(edge, 4) for edge in found.box],
                "outlines": lines,
            }
            for found, lines in zip(message.faces, outlines, strict=True)
        ],
        "lag_s": _seconds(lag_s),
    }


def person(message: Presence) -> PersonRecord:
    return {
        "type": "person",
        "person": message.person,
        "t": _seconds(message.t),
        "present": message.present,
    }


def clock(person: str, unix_at_zero: float | None) -> ClockRecord:
    """`unix_at_zero`: the sender's wall clock at stream time 0, None while provisional."""
    return {
        "type": "clock",
        "person": person,
        "provisional": unix_at_zero is None,
        "unix_at_zero": unix_at_zero,
    }


def gap(message: Gap) -> GapRecord:
    return {
        "type": "gap",
        "person": message.person,
        "source": message.source,
        "t0": _seconds(message.t0),
        "t1": _seconds(message.t1),
        "reason": message.reason,
    }


def consent(person: str, t: float, agreed: Consent) -> ConsentRecord:
    """What is still agreed to, when a part was taken back."""
    return {"type": "consent", "person": person, "t": _seconds(t), "consent": agreed.model_dump()}


def load(person: str, t: float, analysed: Load) -> LoadRecord:
    return {"type": "load", "person": person, "t": _seconds(t), "load": analysed}


def recording(person: str, reason: str | None) -> RecordingRecord:
    """`reason`: why nothing is recorded for now; None: it is."""
    return {"type": "recording", "person": person, "on": reason is None, "reason": reason}


def settings(
    person: str, smoothing: str, sensitivity: Mapping[str, float], *, paused: bool
) -> SettingsRecord:
    """What the call has set for itself; `smoothing` names the filter."""
    return {
        "type": "settings",
        "person": person,
        "smoothing": smoothing,
        "sensitivity": dict(sensitivity),
        "paused": paused,
    }


def end(reason: str) -> EndRecord:
    return {"type": "end", "reason": reason}


def to_json(record: Record) -> str:
    """One line of JSON without line break."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _label(label: LabelState) -> LabelRecord:
    return {
        "probability": round(label.probability, 4),
        "variance": round(label.variance, 4),
        "interval": [round(edge, 4) for edge in label.interval],
        "status": label.status,
    }


def _seconds(t: float) -> float:
    if not math.isfinite(t):
        raise ValueError(f"a record needs a finite time, got {t}")
    return round(t, 4)
