"""Speech segments to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from workers.heard import Before, Heard
from workers.messages import (
    SAMPLE_RATE,
    Float32,
    Gap,
    Message,
    SpeechSegment,
    TranscriptSegment,
    Word,
)

CONTEXT_S = 2.0
"""So much of what was said before a cut is heard again, to hear rightly what follows it."""

MARGIN_S = 0.1
"""Sound in front of the first word of the context: word times are that inexact."""


class Hears(Protocol):
    """What ``workers.whisper.Transcriber`` does."""

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard: ...


@dataclass(frozen=True, slots=True)
class _Spoken:
    """Sound without a pause up to now, and the words heard in it (in stream time)."""

    t0: float
    samples: Float32
    words: tuple[Word, ...]
    language: str

    @property
    def t1(self) -> float:
        return self.t0 + len(self.samples) / SAMPLE_RATE


class TranscribeStage:
    """``SpeechSegment`` -> ``TranscriptSegment`` of one person, with times in stream time.

    A segment that follows a cut inside speech is heard together with up to ``CONTEXT_S`` seconds
    before the cut. Segments in which nothing is heard give a transcript without words, so that
    there is one transcript per segment. All else is passed on in order.
    """

    name = "transcribe"

    def __init__(self, person: str, transcriber: Hears) -> None:
        self.person = person
        self._transcriber = transcriber
        self._spoken: _Spoken | None = None
        self.skip: str | None = None
        """Why speech is not transcribed for now, as gaps give it."""

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        if not isinstance(item, SpeechSegment):
            return [item]
        if self.skip is not None:
            self._spoken = None
            return [Gap(self.person, "words", item.t0, item.t1, self.skip)]
        spoken = self._context(item)
        heard = self._transcriber.transcribe(item.samples, _before(spoken))
        words = tuple(
            replace(word, t0=item.t0 + word.t0, t1=item.t0 + word.t1) for word in heard.words
        )
        self._spoken = None if item.closed else _join(spoken, item, words, heard.language)
        return [TranscriptSegment(self.person, item.index, item.t0, item.t1, words, heard.language)]

    def flush(self) -> Sequence[Message]:
        """Nothing is held back."""
        return []

    def _context(self, segment: SpeechSegment) -> _Spoken | None:
        """What was said last, from the start of a word, where `segment` follows it directly."""
        spoken = self._spoken
        if spoken is None or abs(spoken.t1 - segment.t0) > 1 / SAMPLE_RATE:
            return None
        words = tuple(word for word in spoken.words if word.t0 >= segment.t0 - CONTEXT_S)
        if not words:
            return None
        skip = max(0, round((words[0].t0 - MARGIN_S - spoken.t0) * SAMPLE_RATE))
        t0 = spoken.t0 + skip / SAMPLE_RATE
        return _Spoken(t0, spoken.samples[skip:], words, spoken.language)


def _before(spoken: _Spoken | None) -> Before | None:
    if spoken is None:
        return None
    return Before(spoken.samples, tuple(word.text for word in spoken.words), spoken.language)


def _join(
    spoken: _Spoken | None, segment: SpeechSegment, words: tuple[Word, ...], language: str
) -> _Spoken:
    if spoken is None:
        return _Spoken(segment.t0, segment.samples, words, language)
    samples = np.concatenate([spoken.samples, segment.samples])
    return _Spoken(spoken.t0, samples, spoken.words + words, language)
