"""What a window holds to estimate from, as figures for the gate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

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
    frames: Sequence[FaceFrame],
    words: Collection[TimedWord],
) -> Recent:
    """The end of `window`; `voice` (steps,) tells where there is speech, `frames` are in it.

    The face that it speaks of is the largest of late: a window that somebody else fills still uses
    the face from before.
    """
    begin = max(window.t0, window.t1 - RECENT_S)
    late = [frame for frame in frames if frame.t >= begin]
    chosen = [each.quality for _, each in main_track(late) or ()]
    found = Recent(
        speech=recent_share(window, voice),
        words=0,
        unknown_words=0,
        face=sum(bool(frame.faces) for frame in late) / max(1, len(late)),
        several=sum(len(frame.faces) > 1 for frame in late) / max(1, len(late)),
        width=float(np.median([each.width for each in chosen])) if chosen else None,
        brightness=float(np.median([each.brightness for each in chosen])) if chosen else None,
    )
    return with_words(found, window.t1, words)


def with_words(recent: Recent, t: float, words: Collection[TimedWord]) -> Recent:
    """`recent` of a window that ends at `t`, when more of its words are known."""
    late = [word for word in words if t - RECENT_S < word.t1 <= t]
    unknown = sum(not word.vector.any() for word in late)
    return replace(recent, words=len(late), unknown_words=unknown)


def share_of(mask: Bool) -> float:
    """Of true steps; 0 of none."""
    return float(mask.mean()) if len(mask) else 0.0


def recent_share(window: Window, mask: Bool) -> float:
    """Of true steps (steps,) in the last second of `window`."""
    share = min(1.0, RECENT_S / (window.t1 - window.t0))
    return share_of(mask[len(mask) - round(len(mask) * share) :])


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
