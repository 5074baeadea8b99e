"""Every message that travels between stages.

All times are float seconds of *stream time*: one clock per session, on which capture of sound and
picture are comparable. Arrays are read-only (``freeze``). A message names the person that it is
about; nothing here assumes one person, one face or one language.

Two messages control the flow and travel *in the data queues*, in order with the data (out of band
they would overtake data that is still being processed):

* ``Progress``: nothing of this source that ends before ``t`` is still to come.
* ``Gap``: data of this source between ``t0`` and ``t1`` was lost, with the reason.

What is shown in the end is in ``workers.states``. Only the standard library and numpy are imported
here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from workers.states import EmotionEvent, EmotionState

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

SAMPLE_RATE = 16_000
"""Samples per second of all audio inside the graph (mono)."""

Source = Literal["audio", "video", "voice", "words", "face", "model"]
"""What a control message speaks of: a raw input (audio, video), a feature stream, or estimates."""

FAILURES = frozenset({"failed", "restarted"})
"""Reasons of gaps that a part of the graph made, not its input or the load."""

Modality = Literal["words", "voice", "face"]
MODALITIES: tuple[Modality, ...] = ("words", "voice", "face")
"""Order of modalities wherever they are listed or stacked."""

Array = TypeVar("Array", bound="NDArray[Any]")

END = math.inf
"""``Progress.t`` of a source that has ended."""


def freeze(array: Array) -> Array:
    """Return `array`, made read-only."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True)
class Progress:
    """Nothing of `source` that ends at or before `t` will come any more; ``END``: it is over."""

    person: str
    source: Source
    t: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Data of `source` in [t0, t1) was lost; `reason` is a short code, e.g. ``queue_full``."""

    person: str
    source: Source
    t0: float
    t1: float
    reason: str


Control = Progress | Gap


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Sound as it was captured: any length, in order, possibly with gaps or small overlaps."""

    person: str
    t0: float
    samples: Float32
    """(n,) in [-1, 1], mono, ``SAMPLE_RATE``."""
    provisional: bool = False
    """True while the clock is an estimate from arrival times (no sender report yet)."""

    @property
    def t1(self) -> float:
        return self.t0 + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture chosen for analysis."""

    person: str
    t: float
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class VoicedAudio:
    """Sound on the gapless sample grid of the session, with the speech decision per 20 ms frame."""

    person: str
    t0: float
    """A multiple of 20 ms."""
    samples: Float32
    """(320 * m,), lost samples are zero."""
    speech: Bool
    """(m,) raw voice activity per 20 ms."""
    provisional: bool = False

    @property
    def t1(self) -> float:
        return self.t0 + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Sound to be transcribed."""

    person: str
    index: int
    """0, 1, ... per person."""
    t0: float
    samples: Float32
    """(n,) at ``SAMPLE_RATE``."""
    closed: bool
    """True when a pause ended it, False when it was cut inside speech because it grew too long."""

    @property
    def t1(self) -> float:
        return self.t0 + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Word:
    t0: float
    t1: float
    text: str
    """As heard, without surrounding blanks; punctuation stays attached."""
    probability: float


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """The words heard in one ``SpeechSegment`` (`t0`, `t1` are those of the segment)."""

    person: str
    index: int
    t0: float
    t1: float
    words: tuple[Word, ...]
    language: str
    """ISO 639-1 code."""
    known: bool = True
    """False: nobody knows who of those that `person` shares said it."""
    overlap: bool = False
    """Several people spoke at once."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class TextFrames:
    """One vector per word, in order."""

    person: str
    t0: NDArray[np.float64]
    """(n,) start of each word."""
    t1: NDArray[np.float64]
    """(n,) end of each word."""
    vectors: Float32
    """(n, D)."""


@dataclass(frozen=True, slots=True)
class AcousticFrames:
    """Voice features of exactly one window of the plan, at an even rate over [t0, t1)."""

    person: str
    t0: float
    t1: float
    features: Float32
    """(steps, D)."""
    mask: Bool
    """(steps,) True where there is speech."""
    provisional: bool = False
    overlap: Bool | None = None
    """(steps,) True where several people speak, or nobody knows who does; None: one person."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What decides whether a face can be trusted; all ratios in [0, 1] unless stated."""

    width: float
    """Width of the face box over width of the picture."""
    brightness: float
    """Mean luma of the face box."""
    sharpness: float
    """Variance of the Laplacian of the face box's luma (0-255 scale), unbounded."""


@dataclass(frozen=True, slots=True)
class Face:
    track: int
    """Stable within a session while the face is followed; no identity."""
    landmarks: Float32
    """(478, 3): x and y over picture width and height, z in units of x (mediapipe)."""
    features: Float32
    """(D,) blendshapes, pose and quality; names in ``workers.face.FEATURE_NAMES``."""
    quality: FaceQuality
    person: str | None = None
    """Whose face it is; None: not decided (yet)."""
    fresh: bool = True
    """False: not looked at in this picture, but as it was in an earlier one."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 over picture width and height."""
        x0, y0 = self.landmarks[:, :2].min(axis=0)
        x1, y1 = self.landmarks[:, :2].max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


@dataclass(frozen=True, slots=True)
class FaceFrame:
    """All faces of one picture, largest first; empty when none was found."""

    person: str
    t: float
    faces: tuple[Face, ...]
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Presence:
    """A person appeared in the picture at `t`, left it, or came back."""

    person: str
    t: float
    present: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much of a window each modality covers, and what made it less."""

    speech: float
    """Share of voice steps with speech."""
    face: float
    """Share of face steps with a face."""
    words: int
    """Number of words."""
    faces: int
    """Largest number of faces in one picture."""
    provisional: bool
    """True when any part was placed by a provisional clock."""
    gaps: tuple[Source, ...] = ()
    """Sources of which data inside the window was lost."""
    recent: Recent | None = None
    """The same of the last second, which tells changes early; None: not known."""
    unknown_words: int = 0
    """Words that the text encoder has no vector for."""
    asr_lag: float = 0.0
    """Seconds by which transcription was behind the sound when the window was made."""
    stale: tuple[Modality, ...] = ()
    """Voice or face when nothing of it had come for a while at the end of the window."""
    failed: bool = False
    """A part failed on, or was started again during, the last second of the window."""
    overlap: float = 0.0
    """Share of the last second in which several people speak, or nobody knows who does."""


@dataclass(frozen=True, slots=True)
class Recent:
    """What the last second of a window holds."""

    speech: float
    """Share of voice steps with speech."""
    words: int
    """Words that ended in it."""
    unknown_words: int
    """Of these, words that the text encoder has no vector for."""
    face: float
    """Share of pictures with a face."""
    several: float
    """Share of pictures with more than one face."""
    width: float | None
    """Median ``FaceQuality.width`` of the face that is largest by then; None: no face."""
    brightness: float | None


@dataclass(frozen=True, slots=True)
class AlignedWindow:
    """What was seen, heard and said in [t0, t1): the model's input.

    `complete` is True when every source had passed t1 and nothing inside was lost: complete windows
    are equal in live and replay. A window may come again with a higher `revision` when words that
    were still in transcription have arrived.
    """

    person: str
    index: int
    revision: int
    t0: float
    t1: float
    features: Mapping[Modality, Float32]
    """(L_m, D_m) per modality; unused rows are zero."""
    mask: Mapping[Modality, Bool]
    """(L_m,) per modality."""
    evidence: Evidence
    complete: bool


@dataclass(frozen=True, slots=True)
class EmotionEstimate:
    """What the model says of one window (C labels, M modalities in the order of the spec)."""

    person: str
    index: int
    revision: int
    t0: float
    t1: float
    labels: tuple[str, ...]
    logit: Float32
    """(C,) fused mean."""
    variance: Float32
    """(C,) variance of the logit."""
    probability: Float32
    """(C,) expectation of sigmoid(logit) under that variance."""
    modality_variance: Float32
    """(M, C); infinite where a modality is absent."""
    evidence: Evidence
    complete: bool
    modality_logit: Float32 | None = None
    """(M, C) what each modality alone says; NaN where it is absent. None: not told apart."""
    novelty: Float32 | None = None
    """(M,) 0 for a sequence as 99 % of the training data; None: unknown."""


Data = (
    AudioChunk
    | VideoFrame
    | VoicedAudio
    | SpeechSegment
    | TranscriptSegment
    | TextFrames
    | AcousticFrames
    | FaceFrame
    | Presence
    | AlignedWindow
    | EmotionEstimate
    | EmotionState
    | EmotionEvent
)
Message = Data | Control


def size(item: Message) -> int:
    """Bytes of the arrays in `item` itself."""
    parts = (getattr(item, field.name) for field in fields(item))
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def lost(item: Message, reason: str) -> Gap | None:
    """The gap that losing `item` leaves, or None where no input of a window is lost."""
    match item:
        case Gap():
            return item
        case AudioChunk():
            return Gap(item.person, "audio", item.t0, item.t1, reason)
        case VideoFrame():
            return Gap(item.person, "video", item.t, item.t, reason)
        case FaceFrame():
            return Gap(item.person, "face", item.t, item.t, reason)
        case VoicedAudio() | AcousticFrames():
            return Gap(item.person, "voice", item.t0, item.t1, reason)
        case SpeechSegment() | TranscriptSegment():
            return Gap(item.person, "words", item.t0, item.t1, reason)
        case TextFrames():
            if not len(item.t0):
                return None
            return Gap(item.person, "words", float(item.t0[0]), float(item.t1[-1]), reason)
        case AlignedWindow():
            return Gap(item.person, "model", item.t1, item.t1, reason)
        case _:
            return None


def merge_gaps(first: Gap, second: Gap) -> Gap | None:
    """One gap that covers both, or None when they speak of different things."""
    if (first.person, first.source, first.reason) != (second.person, second.source, second.reason):
        return None
    t0, t1 = min(first.t0, second.t0), max(first.t1, second.t1)
    return Gap(first.person, first.source, t0, t1, first.reason)
