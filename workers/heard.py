"""What was heard: words, made out of what Whisper's decoder and its attention give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.errors import WorkerError
from workers.messages import Float32, Word

SHORTEST_S = 0.02
"""A word lasts at least one encoder state."""

CROWD = 3
CROWD_S = 0.06
"""The last ``CROWD`` words or more, where they begin within so many seconds, were not said."""

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages in which words are not set apart: one word per character or so."""

ENDINGS = ".…?!,-"


class WhisperError(WorkerError):
    """Whisper cannot be loaded or used."""


class WhisperModelError(WhisperError, OSError):
    """The model folder or the device cannot be used."""


class WhisperInputError(WhisperError, ValueError):
    """The sound or an option cannot be used."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Words with times in seconds from the first sample, and the ISO 639-1 code of the language."""

    words: tuple[Word, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Before:
    """What a speaker said up to the very sample where the sound to be transcribed begins.

    A word that a cut went through is heard right only together with what came before it.
    """

    samples: Float32
    """(n,)."""
    words: tuple[str, ...]
    """The words heard in them: the transcript goes on after these."""
    language: str

    @property
    def text(self) -> str:
        """As text that goes on: the decoder ends what is cut off with a full stop or dots."""
        return " ".join(self.words).rstrip(ENDINGS)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken for speech. The defaults are Whisper's own where it has them."""

    no_speech: float = 0.6
    """A higher no-speech probability together with a low `log_probability` means silence."""
    surely_no_speech: float = 0.75
    """A higher no-speech probability alone means that nobody speaks (noise, a tone: above 0.76;
    of 122 segments of real speech one fragment)."""
    log_probability: float = -1.0
    """Mean per token."""
    compression: float = 2.4
    """Ratio by which the text can be compressed; above, it repeats itself."""
    tokens_per_second: float = 12.0
    """More than nobody says; above (plus 8), the decoder was stopped in a loop."""
    word_probability: float = 0.25
    """Less probable words at the very end are dropped."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where the segment lies in what the encoder was given, in seconds."""

    start: float
    end: float


def words_of(
    entries: Sequence[Mapping[str, Any]], skip: int, span: Span, *, spaced: bool, limits: Limits
) -> tuple[Word, ...]:
    """Words in seconds from the segment's start, without what cannot have been said in it.

    `entries` come from ``find_alignment`` of faster-whisper; those that begin in the first `skip`
    tokens were heard before. `spaced`: whether the language sets words apart.
    """
    words: list[Word] = []
    at = 0
    for entry in entries:
        first, at = at, at + len(entry["tokens"])
        if first < skip or entry["start"] >= span.end:
            continue
        word = _word(entry, span)
        if words and spaced and entry["word"][:1] != " ":
            words[-1] = _joined(words[-1], word)
        elif any(letter.isalnum() for letter in word.text):
            words.append(word)
    del words[_crowd(words) :]
    while words and _doubtful(words[-1], span.end - span.start, limits):
        words.pop()
    return tuple(words)


def _doubtful(word: Word, seconds: float, limits: Limits) -> bool:
    """The decoder likes to end with something polite that nobody said."""
    return word.probability < limits.word_probability and word.t1 > seconds - 0.1


def _word(entry: Mapping[str, Any], span: Span) -> Word:
    """The word of an alignment entry, in seconds from the segment's start."""
    t0 = max(0.0, float(entry["start"]) - span.start)
    t1 = min(float(entry["end"]), span.end) - span.start
    return Word(t0, max(t1, t0 + SHORTEST_S), entry["word"].strip(), float(entry["probability"]))


def _crowd(words: list[Word]) -> int:
    """How many words there are before the last ones, where those all begin at once.

    Nobody says three words at once: the decoder repeats itself there.
    """
    count = len(words)
    while count and words[-1].t0 - words[count - 1].t0 < CROWD_S:
        count -= 1
    return count if len(words) - count >= CROWD else len(words)


def _joined(first: Word, second: Word) -> Word:
    """Parts of one written word, like the two of ``part-time``."""
    probability = min(first.probability, second.probability)
    return Word(first.t0, max(first.t1, second.t1), first.text + second.text, probability)
