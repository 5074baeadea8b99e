"""What is shown of a person, and why it may say less: the last messages of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal["active", "inactive", "unsure"]

Reason = Literal[
    "paused",
    "failed",
    "overload",
    "warming_up",
    "stale",
    "no_face",
    "several_faces",
    "small_or_dark_face",
    "no_speech",
    "overlap",
    "out_of_domain",
    "modality_conflict",
    "language",
    "asr_lag",
    "clock_provisional",
    "variance_high",
    "no_consent",
]
"""Why nothing (or not everything) can be said, in order of priority; see docs/records.md."""

REASONS: tuple[Reason, ...] = get_args(Reason)
"""Causes come before what follows from them: who can see the cause can change it."""


@dataclass(frozen=True, slots=True)
class LabelState:
    probability: float
    variance: float
    """Variance of the logit."""
    interval: tuple[float, float]
    """sigmoid(logit -+ one standard deviation)."""
    status: Status


@dataclass(frozen=True, slots=True)
class EmotionState:
    """What is shown for a person from stream time `t` on (`t` is the end of its window)."""

    person: str
    t: float
    index: int
    revision: int
    labels: Mapping[str, LabelState]
    reasons: tuple[Reason, ...]
    """All that hold, in the order of ``REASONS``."""
    complete: bool
    """As in ``AlignedWindow``."""
    variance_trusted: bool = True
    """False: the model's variance did not predict disagreement, a constant took its place."""
    smoothed: bool = False
    """True: by all windows of the recording, also those that followed."""

    @property
    def reason(self) -> Reason | None:
        """The most important one."""
        return self.reasons[0] if self.reasons else None


@dataclass(frozen=True, slots=True)
class EmotionEvent:
    """A label became present or ceased to be."""

    person: str
    kind: Literal["onset", "offset"]
    label: str
    t: float
    """When it was decided: the end of a window."""
    onset: float
    """When the label came; of an onset `t`."""
    peak_t: float
    peak: float
    """Largest probability since the onset, at `peak_t`."""
    withdrawn: bool = False
    """True: late words took this event back."""
    smoothed: bool = False
    """As in ``EmotionState``."""


def warming_up(person: str) -> EmotionState:
    """The state before the first window: nothing can be said yet."""
    return EmotionState(person, 0.0, -1, 0, {}, ("warming_up",), False)
