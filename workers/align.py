"""Collects words, voice and face on one clock and cuts them into windows."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workers.evidence import (
    RECENT_S,
    TimedWord,
    main_track,
    recent_of,
    recent_share,
    share_of,
    with_words,
)
from workers.messages import (
    END,
    FAILURES,
    MODALITIES,
    AcousticFrames,
    AlignedWindow,
    Bool,
    Evidence,
    FaceFrame,
    Float32,
    Gap,
    Message,
    Modality,
    Progress,
    Source,
    TextFrames,
    freeze,
)
from workers.windows import Window, WindowPlan, step_of, steps_in

AFFECTED: Mapping[Source, tuple[Modality, ...]] = {
    "audio": ("voice", "words"),
    "video": ("face",),
    "voice": ("voice",),
    "words": ("words",),
    "face": ("face",),
    "model": (),
}
"""Which modalities lose data by a gap in a source."""

STALE_S = 0.5
"""Voice or face that is so far behind the other at the end of a window stands still."""


@dataclass(frozen=True, slots=True)
class AlignConfig:
    """Shapes of the features and how long to wait for them."""

    dims: Mapping[Modality, int]
    """Feature dimension per modality."""
    expected: frozenset[Modality]
    """Modalities that this person's sources can give."""
    face_rate: float = 10.0
    """Face steps per second."""
    max_words: int = 20
    """Only the last so many words of a window are kept."""
    max_wait: float | None = None
    """Seconds of stream time that a window waits for a source behind the newest one, and that it
    waits for words at all; None: for ever (recordings)."""
    words_expire: float = 10.0
    """With `max_wait`: seconds after which a window is no longer revised for late words."""


class AlignStage:
    """Emits every window of the plan once all sources have passed its end.

    With `max_wait` (live) a window does not wait for words: it comes at once as revision 0 and,
    when the words have passed its end, again as revision 1. Windows that had to come before voice
    or face were there, or that lost data, are never `complete`.
    """

    name = "align"

    def __init__(self, person: str, plan: WindowPlan, config: AlignConfig) -> None:
        self.person = person
        self.late: Counter[str] = Counter()
        """Items that came after the window they belong to, and windows no longer revised."""
        self._config = config
        self._windows = iter(plan)
        self._sliding = plan.hop is not None
        self._next: Window | None = next(self._windows, None)
        self._progress: dict[Modality, float] = {
            name: -math.inf if name in config.expected else END for name in MODALITIES
        }
        self._newest = 0.0
        self._voice: deque[AcousticFrames] = deque()
        self._faces: deque[FaceFrame] = deque()
        self._words: deque[TimedWord] = deque()
        self._gaps: list[Gap] = []
        self._told: deque[Gap] = deque(maxlen=64)
        self._waiting: deque[tuple[AlignedWindow, bool]] = deque()
        """Windows that words may still change; False: voice or face were not there in time."""

    def push(self, item: Message) -> Sequence[Message]:
        """Take features, progress and gaps; return the windows that became due."""
        match item:
            case AcousticFrames():
                if self._in_time("voice", item.t0):
                    self._voice.append(item)
            case FaceFrame():
                if self._in_time("face", item.t):
                    self._faces.append(item)
            case TextFrames():
                self._add_words(item)
            case Gap():
                return self._add_gap(item)
            case Progress():
                self._advance(item)
                return self._due()
            case _:
                raise TypeError(f"align cannot take {type(item).__name__}")
        return []

    def flush(self) -> Sequence[Message]:
        """Treat every source as ended."""
        for name in MODALITIES:
            self._progress[name] = END
        return self._due()

    def leave(self, t: float) -> Sequence[Message]:
        """The person is gone since `t`: flush what ends before."""
        self._newest = min(self._newest, t)
        return self.flush()

    def _in_time(self, kind: Modality, t: float) -> bool:
        if self._next is not None and t >= self._next.t0 - 1e-6:
            return True
        self.late[kind] += 1
        return False

    def _add_words(self, item: TextFrames) -> None:
        for t0, t1, vector in zip(item.t0, item.t1, item.vectors, strict=True):
            self._words.append(TimedWord(float(t0), float(t1), vector))

    def _add_gap(self, gap: Gap) -> Sequence[Message]:
        if gap in self._told:  # a gap in the sound comes by way of voice and of words
            return []
        self._told.append(gap)
        self._gaps.append(gap)
        return [gap]

    def _advance(self, item: Progress) -> None:
        if item.source not in MODALITIES:
            raise ValueError(f"align got progress of {item.source}, which is no feature stream")
        self._progress[item.source] = max(self._progress[item.source], item.t)
        if item.t != END:
            self._newest = max(self._newest, item.t)

    def _due(self) -> list[Message]:
        windows: list[Message] = []
        while self._next is not None and self._is_due(self._next):
            window = self._build(self._next)
            windows.append(window)
            if self._config.max_wait is not None and not self._words_passed(window.t1):
                self._waiting.append((window, self._fast_passed(window.t1)))
            self._next = next(self._windows, None)
        windows += self._revisions()
        self._trim()
        return windows

    def _is_due(self, window: Window) -> bool:
        if self._sliding and window.t1 > self._newest + 1e-9:
            return False  # never beyond the data, also after the end of all sources
        wait = self._config.max_wait
        if wait is None:
            return self._fast_passed(window.t1) and self._words_passed(window.t1)
        return self._fast_passed(window.t1) or self._newest >= window.t1 + wait

    def _fast_passed(self, t: float) -> bool:
        return min(self._progress["voice"], self._progress["face"]) >= t - 1e-9

    def _words_passed(self, t: float) -> bool:
        return self._progress["words"] >= t - 1e-9

    def _asr_lag(self, t: float) -> float:
        """Seconds by which the words are behind the sound, as far as a window up to `t` goes."""
        return max(0.0, min(t, self._progress["voice"]) - self._progress["words"])

    def _stale(self, t: float) -> tuple[Modality, ...]:
        """What has been standing still, while the rest went on to `t`."""
        fast: tuple[Modality, ...] = ("voice", "face")
        return tuple(name for name in fast if self._progress[name] < t - STALE_S)

    def _revisions(self) -> list[Message]:
        revised: list[Message] = []
        while self._waiting and self._words_passed(self._waiting[0][0].t1):
            revised.append(self._revise(*self._waiting.popleft()))
        while self._waiting and self._waiting[0][0].t1 < self._newest - self._config.words_expire:
            self._waiting.popleft()
            self.late["revision"] += 1
        return revised

    def _build(self, window: Window) -> AlignedWindow:
        voice, voice_mask, provisional, overlap = self._voice_of(window)
        frames = [frame for frame in self._faces if window.t0 <= frame.t < window.t1]
        face, face_mask = self._face_of(window, frames)
        words, words_mask = self._words_of(window.t0, window.t1)
        gaps = self._gaps_in(window.t0, window.t1)
        evidence = Evidence(
            speech=share_of(voice_mask),
            face=share_of(face_mask),
            words=len(words),
            faces=max((len(frame.faces) for frame in frames), default=0),
            provisional=provisional or any(frame.provisional for frame in frames),
            gaps=gaps,
            recent=recent_of(window, voice_mask, frames, self._words),
            unknown_words=int((~words_mask).sum()),
            asr_lag=self._asr_lag(window.t1),
            stale=self._stale(window.t1),
            failed=self._failed(window.t1),
            overlap=overlap,
        )
        passed = min(self._progress.values()) >= window.t1 - 1e-9
        return AlignedWindow(
            person=self.person,
            index=window.index,
            revision=0,
            t0=window.t0,
            t1=window.t1,
            features={"words": words, "voice": voice, "face": face},
            mask={"words": words_mask, "voice": voice_mask, "face": face_mask},
            evidence=evidence,
            complete=passed and not gaps,
        )

    def _revise(self, window: AlignedWindow, in_time: bool) -> AlignedWindow:
        words, mask = self._words_of(window.t0, window.t1)
        gaps = self._gaps_in(window.t0, window.t1)
        recent = window.evidence.recent
        if recent is not None:
            recent = with_words(recent, window.t1, self._words)
        return replace(
            window,
            revision=window.revision + 1,
            features={**window.features, "words": words},
            mask={**window.mask, "words": mask},
            evidence=replace(
                window.evidence,
                words=len(words),
                gaps=gaps,
                recent=recent,
                unknown_words=int((~mask).sum()),
                asr_lag=0.0,
                failed=self._failed(window.t1),
            ),
            complete=in_time and not gaps,
        )

    def _voice_of(self, window: Window) -> tuple[Float32, Bool, bool, float]:
        """Features, mask, whether the clock was provisional, and the share of overlap lately."""
        for frames in self._voice:
            if abs(frames.t0 - window.t0) < 1e-6 and abs(frames.t1 - window.t1) < 1e-6:
                overlap = 0.0 if frames.overlap is None else recent_share(window, frames.overlap)
                return frames.features, frames.mask, frames.provisional, overlap
        return (*self._nothing("voice"), False, 0.0)

    def _face_of(self, window: Window, frames: Sequence[FaceFrame]) -> tuple[Float32, Bool]:
        chosen = main_track(frames)
        if chosen is None:
            return self._nothing("face")
        steps = steps_in(window, self._config.face_rate)
        features = np.zeros((steps, self._config.dims["face"]), np.float32)
        width = (window.t1 - window.t0) / steps
        best = np.full(steps, width)  # a frame counts for steps whose middle is this near
        mask = np.zeros(steps, np.bool_)
        for t, face in chosen:
            here = step_of(window, steps, t)
            for step in range(max(0, here - 1), min(steps, here + 2)):
                distance = abs(window.t0 + (step + 0.5) * width - t)
                if distance < best[step] - 1e-9:
                    best[step] = distance
                    features[step] = face.features
                    mask[step] = True
        return freeze(features), freeze(mask)

    def _words_of(self, t0: float, t1: float) -> tuple[Float32, Bool]:
        inside = [word for word in self._words if t0 <= (word.t0 + word.t1) / 2 < t1]
        inside = inside[-self._config.max_words :]
        if not inside:
            return self._nothing("words")
        vectors = np.stack([word.vector for word in inside]).astype(np.float32)
        known = np.any(vectors != 0, axis=1)  # a zero vector: the encoder does not know the word
        return freeze(vectors), freeze(known)

    def _nothing(self, modality: Modality) -> tuple[Float32, Bool]:
        dim = self._config.dims[modality]
        return freeze(np.zeros((0, dim), np.float32)), freeze(np.zeros(0, np.bool_))

    def _gaps_in(self, t0: float, t1: float) -> tuple[Source, ...]:
        found = {
            gap.source
            for gap in self._gaps
            if gap.t0 < t1
            and (gap.t1 > t0 or gap.t0 >= t0)
            and self._config.expected.intersection(AFFECTED[gap.source])
        }
        return tuple(sorted(found))

    def _failed(self, t: float) -> bool:
        """Whether a part failed in the last second before `t`."""
        return any(
            gap.reason in FAILURES
            and gap.t0 < t
            and gap.t1 >= t - RECENT_S
            and not self._config.expected.isdisjoint(AFFECTED[gap.source])
            for gap in self._gaps
        )

    def _trim(self) -> None:
        t0 = self._next.t0 if self._next is not None else math.inf
        while self._voice and self._voice[0].t0 < t0 - 1e-6:
            self._voice.popleft()
        while self._faces and self._faces[0].t < t0:
            self._faces.popleft()
        if self._waiting:
            t0 = min(t0, self._waiting[0][0].t0)
        while self._words and self._words[0].t1 < t0:
            self._words.popleft()
        self._gaps = [gap for gap in self._gaps if gap.t1 >= t0]
