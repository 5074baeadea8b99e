"""What a window holds to estimate from, as figures for the gate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.messages import Bool, Face, FaceFrame, Float32, Recent
from workers.windows import Window

RECENT_S = 1.0
"""How far back from the end of a window what is called recent goes."""


@dataclass(slots=True)
class TimedWord:
    t0: float
    t1: float
    vector: Float32
    """(D,)"""


def recent_of(
    window: Window,
    voice: Bool,
    face: Bool,
    frames: Sequence[FaceFrame],
    words: Iterable[TimedWord],
) -> Recent:
    """The end of `window`, of whose steps `voice` and `face` are the masks; `frames` are in it."""
    begin = max(window.t0, window.t1 - RECENT_S)
    share = (window.t1 - begin) / (window.t1 - window.t0)
    late = [frame for frame in frames if frame.t >= begin]
    chosen = [each.quality for t, each in main_track(frames) or () if t >= begin]
    return Recent(
        speech=share_of(_end_of(voice, share)),
        words=recent_words(window.t1, words),
        face=share_of(_end_of(face, share)),
        several=sum(len(frame.faces) > 1 for frame in late) / max(1, len(late)),
        width=float(np.median([each.width for each in chosen])) if chosen else None,
        brightness=float(np.median([each.brightness for each in chosen])) if chosen else None,
    )


def recent_words(t: float, words: Iterable[TimedWord]) -> int:
    """Words that ended in the last second before `t`."""
    return sum(t - RECENT_S < word.t1 <= t for word in words)


def share_of(mask: Bool) -> float:
    """Of true steps; 0 of none."""
    return float(mask.mean()) if len(mask) else 0.0


def _end_of(mask: Bool, share: float) -> Bool:
    return mask[len(mask) - round(len(mask) * share) :]


def main_track(frames: Sequence[FaceFrame]) -> list[tuple[float, Face]] | None:
    """Times and faces of the track that is largest over all frames together."""
    size: defaultdict[int, float] = defaultdict(float)
    for frame in frames:
        for face in frame.faces:
            size[face.track] += face.quality.width
    if not size:
        return None
    track = max(size, key=lambda key: (size[key], -key))
    return [(frame.t, face) for frame in frames for face in frame.faces if face.track == track]
