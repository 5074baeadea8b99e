"""Divides what is seen and heard of a picture with many people among them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workers.messages import (
    END,
    AcousticFrames,
    Bool,
    FaceFrame,
    Gap,
    Message,
    Presence,
    Progress,
    TranscriptSegment,
    VoicedAudio,
    freeze,
)
from workers.overlap import OverlapDetector
from workers.speaker import BLOCK_S, HISTORY_S, LEADS, WINDOW_S, Guess, Score, Speakers
from workers.sync import STEP_S, Mouth, Sounds, score

MARGIN_S = 0.16
"""The end of a block is not compared: not all of its sound and mouths are there yet."""
SHORTEST_S = 1.5
"""Less of a mouth is not compared: over so short a time many go with a sound by chance."""
SPOKEN = 0.5
"""Share of a block's 20 ms frames with speech from which somebody speaks in it."""
AHEAD_S, UNSURE_AHEAD_S = 1.0, 3.0
"""What follows so soon also counts for who said a segment, which waits for it; up to the second
where the first leaves it open, as when people have only just been seen. In other arrangements of
the clips of ``benchmarks.people``, 2, 4 and 8 at once, .97, .91 and .85 of the time goes to the
right person with 1 s for all, .98, .97 and .90 with up to 2 s, .99, .99 and .96 with 3 s."""
OVERLAP_S = 0.3
"""Of a segment in which several speak, from which it is told to be one of several."""
_RATE = 50
"""Frames of ``VoicedAudio`` per second."""


@dataclass(slots=True)
class _Stint:
    """A time during which somebody was in the picture."""

    person: str
    came: float
    left: float = END


class AttributeStage:
    """Everything of participant `person` in; of each person in the picture, what is theirs, out.

    ``AcousticFrames`` come out once per person present, with the speech of others masked; a
    ``TranscriptSegment`` gets its speaker, or ``known`` false; a ``FaceFrame`` becomes one per
    person who was looked for. All wait until face and sound have passed their end, so that what
    comes out depends on no order of arrival; with `max_wait` (live) no longer than so many seconds
    of stream time behind the newest. `faces`, `sound` and `voice`
    (``AcousticFrames``): what comes at all; without faces nobody is ever named, without voice no
    overlap is heard. Control messages keep the participant's name: they hold for everybody.
    """

    name = "attribute"

    def __init__(
        self,
        person: str,
        max_wait: float | None = None,
        *,
        faces: bool = True,
        sound: bool = True,
        voice: bool = True,
    ) -> None:
        self.person = person
        self._max_wait = max_wait
        self._sounds = Sounds()
        self._mouths: dict[str, Mouth] = {}
        self._present: list[str] = []
        """By the newest picture."""
        self._stints: deque[_Stint] = deque()
        self._speakers = Speakers()
        self._speech: dict[int, list[int]] = {}
        """Per block: frames with speech, and all frames."""
        self._overlap = OverlapDetector() if voice else None
        self._voiced = -math.inf if voice else END
        """End of the newest window of voice."""
        self._late = -math.inf
        """What lies before this waits no longer."""
        self._heard = -math.inf if sound else END
        self._faces_come = faces
        self._seen = -math.inf if faces else END
        self._sound_over = not sound
        self._next: int | None = None
        """The block that is decided next."""
        self._voice: deque[AcousticFrames | Progress] = deque()
        self._words: deque[TranscriptSegment | Progress] = deque()
        self._faces: deque[FaceFrame | Presence | Progress] = deque()

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; see the class."""
        match item:
            case VoicedAudio():
                self._hear(item)
            case AcousticFrames():
                self._voice.append(item)
                self._voiced = max(self._voiced, item.t1)
                if self._overlap is not None:
                    self._overlap.add(item)
            case Progress(source="voice"):
                self._voice.append(item)
                self._voiced = max(self._voiced, item.t)
                self._sound_over = item.t == END
            case TranscriptSegment() | Progress(source="words"):
                self._words.append(item)
            case Progress(source="face"):
                self._seen = max(self._seen, item.t)
                self._faces.append(item)
            case FaceFrame():
                self._divide(item)
            case Presence():
                self._come_or_leave(item)
            case Gap():
                return [item]
            case _:
                raise TypeError(f"attribute cannot take {type(item).__name__}")
        return self._due()

    def flush(self) -> Sequence[Message]:
        """Nothing more is seen or heard."""
        self._voiced = END
        out = self._advance(self._heard)
        return [*out, *self._release(END)]

    def _hear(self, piece: VoicedAudio) -> None:
        self._sounds.add(piece)
        first = round(piece.t0 * _RATE)
        for n, speech in enumerate(piece.speech):
            counts = self._speech.setdefault(int((first + n) / _RATE / BLOCK_S + 1e-9), [0, 0])
            counts[0] += bool(speech)
            counts[1] += 1
        if self._next is None:
            self._next = math.floor(piece.t0 / BLOCK_S + 1e-9)
        self._heard = max(self._heard, piece.t1)

    def _divide(self, frame: FaceFrame) -> None:
        """One frame per person who was looked for: empty where the face was not found."""
        named = {face.person: face for face in frame.faces if face.person is not None}
        for name in self._present:
            face = named.get(name)
            if face is None:
                self._faces.append(FaceFrame(name, frame.t, (), frame.provisional))
            elif face.fresh:
                self._mouths.setdefault(name, Mouth()).see(frame.t, face)
                self._faces.append(FaceFrame(name, frame.t, (face,), frame.provisional))

    def _come_or_leave(self, item: Presence) -> None:
        self._faces.append(item)
        if item.present:
            self._present.append(item.person)
            self._stints.append(_Stint(item.person, item.t))
            return
        self._present.remove(item.person)
        for stint in self._stints:
            if stint.person == item.person and stint.left == END:
                stint.left = item.t

    def _there(self, t: float) -> list[str]:
        """Who is in the picture at `t`."""
        return [stint.person for stint in self._stints if stint.came <= t < stint.left]

    def _due(self) -> list[Message]:
        until = min(self._heard, self._seen)
        if self._max_wait is not None:
            newest = max(t for t in (self._heard, self._seen) if t != END)
            self._late = max(self._late, newest - self._max_wait)
            until = max(until, min(self._heard, self._late))
        out = self._advance(until)
        if self._sound_over and (
            self._next is None or (self._next + 1) * BLOCK_S > self._heard + 1e-9
        ):
            out += self._release(END)
        elif self._next is None or self._late > self._next * BLOCK_S:  # no sound for a while
            out += self._pass(self._faces, self._late)
        return out

    def _advance(self, until: float) -> list[Message]:
        """Decide on the blocks that end by `until`, and let out what waited for them."""
        out: list[Message] = []
        while self._next is not None and (self._next + 1) * BLOCK_S <= until + 1e-9:
            self._decide(self._next)
            self._next += 1
            out += self._release(self._next * BLOCK_S)
        if not out and self._next is not None:
            out += self._release(self._next * BLOCK_S)
        return out

    def _decide(self, index: int) -> None:
        spoken, frames = self._speech.pop(index, [0, 1])
        speech = spoken >= SPOKEN * frames
        end = (index + 1) * BLOCK_S
        scores = {name: self._score(name, end) if speech else None for name in self._there(end)}
        self._speakers.add(index, scores, speech=speech)
        while self._stints and self._stints[0].left < end - HISTORY_S:
            self._stints.popleft()

    def _score(self, name: str, end: float) -> Score | None:
        """How well a mouth goes with the sound up to `end`; None: it was not seen well."""
        if name not in self._mouths:
            return None
        times, heard = self._sounds.window(end - MARGIN_S - WINDOW_S, end - MARGIN_S)
        values = []
        for lead in LEADS:
            seen, inside = self._mouths[name].at(times - lead, end)
            seconds = float(inside.sum()) * STEP_S
            if seen is None or seconds < SHORTEST_S:
                return None
            values.append(score(heard[inside], seen))
        return Score(tuple(values), seconds)

    def _release(self, decided: float) -> list[Message]:
        """What waited for the blocks that end by `decided`: voice, words, then faces."""
        voice = self._pass(self._voice, decided)
        words = self._pass(self._words, min(decided, max(self._voiced, self._late)))
        return [*voice, *words, *self._pass(self._faces, decided)]

    def _pass(
        self,
        waiting: deque[AcousticFrames | Progress]
        | deque[TranscriptSegment | Progress]
        | deque[FaceFrame | Presence | Progress],
        decided: float,
    ) -> list[Message]:
        out: list[Message] = []
        while waiting and self._whole(waiting[0]) <= decided + 1e-9:
            item = waiting[0]
            match item:
                case AcousticFrames():
                    out += self._voices(item)
                case TranscriptSegment():
                    said = self._said(item, decided)
                    if said is None:
                        break
                    out.append(said)
                case _:
                    out.append(item)
            waiting.popleft()
        return out

    def _whole(self, item: Message) -> float:
        """The end of the last block that lies before the end of what `item` waits for."""
        match item:
            case TranscriptSegment():
                end = item.t1 + (AHEAD_S if self._faces_come else 0.0)
            case AcousticFrames():
                end = item.t1
            case _:
                assert isinstance(item, FaceFrame | Presence | Progress)
                end = item.t
        if end == END:  # of the sound, which is all here by then
            end = self._heard
        return end if math.isinf(end) else math.floor(end / BLOCK_S + 1e-9) * BLOCK_S

    def _voices(self, frames: AcousticFrames) -> list[Message]:
        """The voice of everybody present."""
        steps = len(frames.mask)
        width = (frames.t1 - frames.t0) / max(1, steps)
        blocks = [math.floor((frames.t0 + (i + 0.5) * width) / BLOCK_S) for i in range(steps)]
        named = {block: self._speakers.at(block) for block in set(blocks)}
        several = self._several(frames.t0, frames.t1, steps)
        speaker = [
            None if both else named[block] for block, both in zip(blocks, several, strict=True)
        ]
        unclear: Bool = np.array([name is None for name in speaker], np.bool_)
        out: list[Message] = []
        for name in self._there(frames.t1):
            own = frames.mask & np.array([each == name for each in speaker], np.bool_)
            out.append(
                replace(
                    frames,
                    person=name,
                    features=freeze(frames.features * own[:, None]),
                    mask=freeze(own),
                    overlap=freeze(unclear & frames.mask),
                )
            )
        return out

    def _said(self, segment: TranscriptSegment, decided: float) -> TranscriptSegment | None:
        """With who said it; None: that waits for blocks after `decided`."""
        steps = max(1, round((segment.t1 - segment.t0) / STEP_S))
        several = self._several(segment.t0, segment.t1, steps)
        overlap = bool(several.sum() * STEP_S >= OVERLAP_S)
        if several.mean() > 0.5:
            return replace(segment, known=False, overlap=overlap)
        guess = self._guess(segment, decided)
        if guess is None:
            return None
        if guess.name is None:
            return replace(segment, known=False, overlap=overlap)
        return replace(segment, person=guess.name, overlap=overlap)

    def _guess(self, segment: TranscriptSegment, decided: float) -> Guess | None:
        """By the first block that makes it sure, whenever the segment itself came."""
        first = math.floor(segment.t0 / BLOCK_S)
        last = math.floor(segment.t1 / BLOCK_S + 1e-9) - 1
        latest = last + round((UNSURE_AHEAD_S if self._faces_come else AHEAD_S) / BLOCK_S)
        for until in range(last + round(AHEAD_S / BLOCK_S), latest + 1):
            guess = self._speakers.during(first, last, until)
            if guess.sure or until == latest:
                return guess
            if (until + 2) * BLOCK_S > decided + 1e-9:
                break
        return None

    def _several(self, t0: float, t1: float, steps: int) -> Bool:
        """(steps,) of [t0, t1) in which several people speak."""
        if self._overlap is None:
            return np.zeros(steps, np.bool_)
        width = (t1 - t0) / max(1, steps)
        heard = [self._overlap.at(t0 + (i + 0.5) * width, t1) for i in range(steps)]
        return np.array(heard, np.bool_)
