"""Finds speech in sound and cuts it into segments for transcription."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import webrtcvad

from workers.messages import (
    END,
    SAMPLE_RATE,
    AudioChunk,
    Bool,
    Float32,
    Gap,
    Message,
    Progress,
    SpeechSegment,
    VoicedAudio,
    freeze,
)
from workers.timeline import FRAME, AudioTimeline, Hole, Run

FRAME_S = FRAME / SAMPLE_RATE

TOLD_S = 0.05
"""A hole that ends at most this long after a gap told from upstream is that gap."""


@dataclass(frozen=True, slots=True)
class VadConfig:
    """When speech begins and ends. All times in seconds, rounded to 20 ms frames."""

    aggressiveness: int = 2
    """Of webrtcvad: 0 takes most for speech, 3 least."""
    onset_s: float = 0.06
    """So much unbroken speech opens a segment."""
    padding_s: float = 0.2
    """Sound kept before the onset and after the last speech."""
    pause_s: float = 0.4
    """So much silence closes a segment."""
    max_s: float = 2.4
    """A segment that grows this long is cut inside speech: a word waits at most so long."""
    search_s: float = 1.0
    """The cut is made at the quietest point of the last so many seconds."""
    min_speech_s: float = 0.1
    """Segments with less speech are dropped: clicks, or the tail of a word that was cut off."""

    def __post_init__(self) -> None:
        if self.aggressiveness not in (0, 1, 2, 3):
            raise ValueError(f"vad: aggressiveness must be 0 to 3, got {self.aggressiveness}")
        if not FRAME_S <= self.onset_s <= 1:
            raise ValueError(f"vad: onset_s must lie in 0.02..1, got {self.onset_s}")
        if not 0 <= self.padding_s <= self.pause_s:
            raise ValueError(
                f"vad: padding_s must lie in 0..pause_s ({self.pause_s}), got {self.padding_s}"
            )
        if not 0 < self.search_s < self.max_s <= 28:
            raise ValueError(
                f"vad: needs 0 < search_s < max_s <= 28, got {self.search_s} and {self.max_s}"
            )
        if self.max_s - self.search_s < self.onset_s + self.padding_s:
            raise ValueError("vad: max_s - search_s must exceed onset_s + padding_s")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech with its surroundings, in frames since t = 0."""

    start: int
    samples: Float32
    closed: bool


class Segmenter:
    """The rule that turns frames into stretches of speech; one step per 20 ms frame.

    It holds the frames from `start` on: those of the open segment, or those that could still
    become the beginning of one. Nothing before `start` will be given out any more.
    """

    def __init__(self, config: VadConfig, start: int = 0) -> None:
        self.start = start
        self._config = config
        self._open = False
        self._frames: list[Float32] = []
        self._speech: list[bool] = []
        self._onset = _frames(config.onset_s)
        self._padding = _frames(config.padding_s)
        self._pause = _frames(config.pause_s)
        self._max = _frames(config.max_s)

    def push(self, frame: Float32, speech: bool) -> Stretch | None:
        """Take one frame (``FRAME``,); return a stretch that ended with it."""
        self._frames.append(frame)
        self._speech.append(speech)
        if not self._open:
            self._open = len(self._speech) >= self._onset and all(self._speech[-self._onset :])
            self._forget()
            return None
        if self._silence() >= self._pause:
            return self._close()
        if len(self._frames) >= self._max:
            return self._take(self._quietest(), closed=False)
        return None

    def flush(self) -> Stretch | None:
        """The input has ended: what is open, if anything."""
        return self._close() if self._open else None

    @property
    def position(self) -> int:
        """The frame that is expected next."""
        return self.start + len(self._frames)

    def restart(self, position: int) -> Stretch | None:
        """Go on at another frame; return the stretch that this ends."""
        stretch = self.flush()
        self._drop(len(self._frames))
        self.start = position
        return stretch

    def _silence(self) -> int:
        """Frames since the last speech."""
        return next(
            (n for n, speech in enumerate(reversed(self._speech)) if speech), len(self._speech)
        )

    def _close(self) -> Stretch | None:
        self._open = False
        last = len(self._speech) - self._silence()
        stretch = self._take(min(last + self._padding, len(self._frames)), closed=True)
        self._forget()
        return stretch

    def _take(self, count: int, *, closed: bool) -> Stretch | None:
        """Remove the first `count` frames; None where they hold too little speech."""
        enough = sum(self._speech[:count]) * FRAME_S >= self._config.min_speech_s - 1e-9
        stretch = None
        if enough:
            stretch = Stretch(self.start, np.concatenate(self._frames[:count]), closed)
        self._drop(count)
        return stretch

    def _forget(self) -> None:
        """Drop what can no longer become the beginning of a segment."""
        if not self._open:
            self._drop(max(0, len(self._frames) - self._padding - self._onset + 1))

    def _drop(self, count: int) -> None:
        del self._frames[:count]
        del self._speech[:count]
        self.start += count

    def _quietest(self) -> int:
        """Where to cut: between the two neighbouring frames that are softest together."""
        first = len(self._frames) - _frames(self._config.search_s)
        energy = np.array([float(np.dot(f, f)) for f in self._frames[first - 1 :]])
        return first + int(np.argmin(energy[:-1] + energy[1:]))


class VadStage:
    """``AudioChunk`` -> ``VoicedAudio`` and ``SpeechSegment`` of one person.

    Holes in the sound become silence, and a ``Gap`` when longer than 30 ms. ``Progress("audio",
    t)`` means that no sound before `t` is to come: what is missing up to there is a hole.
    """

    name = "vad"

    def __init__(self, person: str, config: VadConfig | None = None) -> None:
        self.person = person
        self._config = config or VadConfig()
        self._vad = webrtcvad.Vad(self._config.aggressiveness)
        self._timeline = AudioTimeline()
        self._segmenter: Segmenter | None = None
        self._index = 0
        self._gap_end = 0.0
        self._told_words = -math.inf

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        match item:
            case AudioChunk():
                return self._advance(self._timeline.add(item.t0, item.samples, item.provisional))
            case Progress(source="audio", t=t) if t == END:
                out = list(self.flush())
                out.append(Progress(self.person, "voice", END))
                out.append(Progress(self.person, "words", END))
                return out
            case Progress(source="audio", t=t):
                return self._advance(self._timeline.add(t, np.zeros(0, np.float32)))
            case Gap(source="audio"):
                self._gap_end = max(self._gap_end, item.t1)
                return [item]
            case _:
                return [item]

    def flush(self) -> Sequence[Message]:
        """What is left: the last frame and the open segment."""
        out = self._advance(self._timeline.flush())
        return [*out, *self._segment(self._segmenter.flush() if self._segmenter else None)]

    def _advance(self, parts: Sequence[Run | Hole]) -> list[Message]:
        out: list[Message] = []
        end = None
        for part in parts:
            if isinstance(part, Hole):
                out += self._hole(part)
            else:
                out += self._run(part)
                end = part.start + len(part.samples)
        if end is None:
            return out
        assert self._segmenter is not None
        out.append(Progress(self.person, "voice", end / SAMPLE_RATE))
        words = self._segmenter.start * FRAME / SAMPLE_RATE
        if words > self._told_words:
            self._told_words = words
            out.append(Progress(self.person, "words", words))
        return out

    def _hole(self, hole: Hole) -> list[Message]:
        """Told once: not again where the loss was already told from upstream."""
        t0, t1 = hole.start / SAMPLE_RATE, hole.stop / SAMPLE_RATE
        if t1 <= self._gap_end + TOLD_S:
            return []
        return [Gap(self.person, "audio", t0, t1, "missing")]

    def _run(self, run: Run) -> list[Message]:
        out: list[Message] = []
        first = run.start // FRAME
        if self._segmenter is None:
            self._segmenter = Segmenter(self._config, first)
        frames = run.samples.reshape(-1, FRAME)
        speech = self._decide(run.samples)
        for n, frame in enumerate(frames):
            out += self._step(first + n, frame, bool(speech[n]))
        t0 = run.start / SAMPLE_RATE
        voiced = VoicedAudio(self.person, t0, freeze(run.samples), freeze(speech), run.provisional)
        return [voiced, *out]

    def _step(self, index: int, frame: Float32, speech: bool) -> list[Message]:
        assert self._segmenter is not None
        out: list[Message] = []
        if index != self._segmenter.position:
            out += self._segment(self._segmenter.restart(index))
        return [*out, *self._segment(self._segmenter.push(frame, speech))]

    def _decide(self, samples: Float32) -> Bool:
        """Voice activity per frame, (n / ``FRAME``,)."""
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        size = 2 * FRAME
        frames = (pcm[at : at + size] for at in range(0, len(pcm), size))
        return np.array([self._vad.is_speech(frame, SAMPLE_RATE) for frame in frames], np.bool_)

    def _segment(self, stretch: Stretch | None) -> list[Message]:
        if stretch is None:
            return []
        t0 = stretch.start * FRAME / SAMPLE_RATE
        segment = SpeechSegment(
            self.person, self._index, t0, freeze(stretch.samples), stretch.closed
        )
        self._index += 1
        return [segment]


def _frames(seconds: float) -> int:
    return max(1, round(seconds / FRAME_S))
