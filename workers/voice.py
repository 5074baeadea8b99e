"""Voice features of every window of a plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from workers.descriptors import DESCRIPTORS, describe
from workers.messages import (
    END,
    SAMPLE_RATE,
    AcousticFrames,
    Bool,
    Float32,
    Message,
    Progress,
    VoicedAudio,
    freeze,
)
from workers.timeline import FRAME
from workers.windows import Window, WindowPlan, pool, steps_in

STATE_DIM = 384
"""Width of the states of Whisper tiny.en's encoder."""

VOICE_DIM = STATE_DIM + len(DESCRIPTORS)
"""Encoder states, then low-level descriptors."""

ENOUGH = 0.5
"""A step counts as speech when at least this share of its 20 ms frames does."""

LONGEST = 30 * SAMPLE_RATE
"""Longer windows (utterances) are encoded in equal parts of at most this many samples."""


class Encodes(Protocol):
    """What ``workers.whisper.VoiceEncoder`` does."""

    def encode(self, samples: Float32) -> Float32: ...


class VoiceStage:
    """``VoicedAudio`` -> one ``AcousticFrames`` per window of the plan, then ``Progress``.

    A window is encoded once and whole, when sound or progress has passed its end; its bounds are
    rounded to 20 ms. Where sound is missing (before the first, in holes, after the last) it is
    silence. At the end of the input come the windows that still have some sound, without progress
    of their own: they end after everything that is known.
    """

    name = "voice"

    def __init__(
        self, person: str, plan: WindowPlan, encoder: Encodes, *, rate: float = 10.0
    ) -> None:
        self.person = person
        self._windows = iter(plan)
        self._next: Window | None = next(self._windows, None)
        self._encoder = encoder
        self._rate = rate
        self._sound: deque[VoicedAudio] = deque()
        self.skip = False
        """Encode nothing: windows are as if nobody spoke."""

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        match item:
            case VoicedAudio():
                self._sound.append(item)
                return self._advance(item.t1)
            case Progress(source="voice", t=t) if t == END:
                return [*self.flush(), item]
            case Progress(source="voice", t=t):
                return self._advance(t)
            case _:
                return [item]

    def flush(self) -> Sequence[Message]:
        """The windows that have some sound but end after it."""
        out: list[Message] = []
        while self._next is not None and self._sound:
            out.append(self._build(self._next))
            self._step()
        return out

    def _advance(self, t: float) -> list[Message]:
        out: list[Message] = []
        while self._next is not None and self._next.t1 <= t + 1e-9:
            out.append(self._build(self._next))
            out.append(Progress(self.person, "voice", self._next.t1))
            self._step()
        self._trim()
        return out

    def _step(self) -> None:
        self._next = next(self._windows, None)
        self._trim()

    def _trim(self) -> None:
        """Forget sound that lies before all windows to come."""
        start = _frame(self._next.t0) if self._next is not None else END
        while self._sound and _frame(self._sound[0].t1) <= start:
            self._sound.popleft()

    def _build(self, window: Window) -> AcousticFrames:
        samples, speech, provisional = self._cut(window)
        steps = steps_in(window, self._rate)
        share = pool(speech[:, None].astype(np.float32), steps)[:, 0]
        mask = share >= ENOUGH - 1e-6
        features = np.zeros((steps, VOICE_DIM), np.float32)
        if self.skip:
            mask[:] = False
        if mask.any():
            features = pool(self._encode(samples), steps)
            features[~mask] = 0
        return AcousticFrames(
            self.person, window.t0, window.t1, freeze(features), freeze(mask), provisional
        )

    def _cut(self, window: Window) -> tuple[Float32, Bool, bool]:
        """Samples of the window, speech per 20 ms, and whether the clock was provisional."""
        start, stop = _frame(window.t0), max(_frame(window.t1), _frame(window.t0) + 1)
        samples = np.zeros((stop - start, FRAME), np.float32)
        speech = np.zeros(stop - start, np.bool_)
        provisional = False
        for piece in self._sound:
            offset = _frame(piece.t0)
            a, b = max(start, offset), min(stop, offset + len(piece.speech))
            if a >= b:
                continue
            samples[a - start : b - start] = piece.samples.reshape(-1, FRAME)[
                a - offset : b - offset
            ]
            speech[a - start : b - start] = piece.speech[a - offset : b - offset]
            provisional = provisional or piece.provisional
        return samples.reshape(-1), speech, provisional

    def _encode(self, samples: Float32) -> Float32:
        """(m, VOICE_DIM) of samples (m * FRAME,)."""
        parts = -(-len(samples) // LONGEST)
        frames = np.array_split(samples.reshape(-1, FRAME), parts)
        states = np.concatenate([self._encoder.encode(part.reshape(-1)) for part in frames])
        return np.concatenate([states, describe(samples)], axis=1)


def _frame(t: float) -> int:
    return round(t * SAMPLE_RATE / FRAME)
