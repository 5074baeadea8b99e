"""Speech segments to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from workers.messages import Float32, Message, SpeechSegment, TranscriptSegment
from workers.whisper import Heard


class Hears(Protocol):
    """What ``workers.whisper.Transcriber`` does."""

    def transcribe(self, samples: Float32) -> Heard: ...


class TranscribeStage:
    """``SpeechSegment`` -> ``TranscriptSegment`` of one person, with times in stream time.

    Segments in which nothing is heard give a transcript without words: what follows may rely on
    one transcript per segment. All else is passed on in order.
    """

    name = "transcribe"

    def __init__(self, person: str, transcriber: Hears) -> None:
        self.person = person
        self._transcriber = transcriber

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        if not isinstance(item, SpeechSegment):
            return [item]
        heard = self._transcriber.transcribe(item.samples)
        words = tuple(
            replace(word, t0=item.t0 + word.t0, t1=min(item.t0 + word.t1, item.t1))
            for word in heard.words
        )
        return [TranscriptSegment(self.person, item.index, item.t0, item.t1, words, heard.language)]

    def flush(self) -> Sequence[Message]:
        """Nothing is held back."""
        return []
