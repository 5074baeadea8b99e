"""The one record schema: on the wire, in JSONL and from Python. Documented in docs/records.md.

A record is a JSON object with a ``type``. Times are seconds of media time (stream time).
"""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

from stream.degrade import Load
from stream.estimates import EstimateRecord
from workers.messages import Modality, Source
from workers.states import Reason, Status

SCHEMA = 1
"""Version of the schema; a reader refuses a higher one."""

Origin = Literal["camera", "tab", "whip", "file"]
"""Where pictures and sound of a session come from; ``tab``: a shared tab, window or screen."""

ORIGINS: tuple[Origin, ...] = get_args(Origin)


class HelloRecord(TypedDict):
    type: Literal["hello"]
    schema: int
    session: str
    person: str
    labels: list[str]
    purpose: str
    consent: dict[str, str | bool]
    notice: str
    window_s: float
    hop_s: float
    source: Origin
    many: bool
    modalities: list[Modality]


class LabelRecord(TypedDict):
    probability: float
    variance: float
    interval: list[float]
    status: Status


class StateRecord(TypedDict):
    type: Literal["state", "smoothed"]
    t: float
    person: str
    index: int
    revision: int
    complete: bool
    labels: dict[str, LabelRecord]
    reason: Reason | None
    reasons: list[Reason]
    variance_trusted: bool
    lag_s: float


class PeakRecord(TypedDict):
    t: float
    probability: float


class EventRecord(TypedDict):
    type: Literal["event"]
    kind: Literal["onset", "offset"]
    t: float
    person: str
    label: str
    onset: float
    peak: PeakRecord
    withdrawn: bool
    smoothed: bool
    lag_s: float


class WordRecord(TypedDict):
    t0: float
    t1: float
    text: str
    probability: float


class TranscriptRecord(TypedDict):
    type: Literal["transcript"]
    person: str | None
    t0: float
    t1: float
    text: str
    language: str
    words: list[WordRecord]
    overlap: bool
    lag_s: float


class FaceBoxRecord(TypedDict):
    track: int
    person: str | None
    box: list[float]
    outlines: list[list[list[float]]]


class FaceRecord(TypedDict):
    type: Literal["face"]
    t: float
    person: str
    faces: list[FaceBoxRecord]
    lag_s: float


class PersonRecord(TypedDict):
    type: Literal["person"]
    person: str
    t: float
    present: bool


class ClockRecord(TypedDict):
    type: Literal["clock"]
    person: str
    provisional: bool
    unix_at_zero: float | None


class ConsentRecord(TypedDict):
    type: Literal["consent"]
    person: str
    t: float
    consent: dict[str, str | bool]


class LoadRecord(TypedDict):
    type: Literal["load"]
    person: str
    t: float
    load: Load


class GapRecord(TypedDict):
    type: Literal["gap"]
    person: str
    source: Source
    t0: float
    t1: float
    reason: str


class RecordingRecord(TypedDict):
    type: Literal["recording"]
    person: str
    on: bool
    reason: str | None


class SettingsRecord(TypedDict):
    type: Literal["settings"]
    person: str
    smoothing: str
    sensitivity: dict[str, float]
    paused: bool


Level = Literal["few", "some", "most"]
"""How many people of a room look like something."""


class GroupHelloRecord(TypedDict):
    type: Literal["group_hello"]
    schema: int
    room: str
    labels: list[str]
    least: int
    over_s: float


class GroupRecord(TypedDict):
    type: Literal["group"]
    at: float
    over_s: float
    people: int | None
    labels: dict[str, Level | None]
    reason: Literal["too_few"] | None


class EndRecord(TypedDict):
    type: Literal["end"]
    reason: str


Record = (
    HelloRecord
    | EstimateRecord
    | StateRecord
    | EventRecord
    | TranscriptRecord
    | FaceRecord
    | PersonRecord
    | ClockRecord
    | ConsentRecord
    | LoadRecord
    | GapRecord
    | RecordingRecord
    | GroupHelloRecord
    | GroupRecord
    | SettingsRecord
    | EndRecord
)
