"""What a call does without: when its server cannot keep up, until it can, and what was withdrawn.

A ladder of levels. A call goes up by one where it is strained for a while, and comes down by one
where it has been calm for longer; where coming down strained it again at once, the next try waits
longer. Everything here is without a clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from stream.graph import Graph
from workers.infer import InferWorker
from workers.messages import AudioChunk, Gap, Modality, Progress, VideoFrame
from workers.states import Reason
from workers.transcribe import TranscribeStage
from workers.voice import VoiceStage
from workers.worker import Worker

Load = Literal["full", "fewer_pictures", "few_pictures", "no_words", "nothing"]
"""What is analysed: all; every second picture; every third; and no words; nothing."""

LOADS: tuple[Load, ...] = get_args(Load)
TOP = len(LOADS) - 1

EVERY: dict[Load, int] = {"full": 1, "fewer_pictures": 2, "few_pictures": 3, "no_words": 3}
"""Of so many pictures one is looked at. With every fourth of 10 per second too few steps of a
window would have a face (``gate.min_face``)."""

REASON: Reason = "overload"
"""Of gaps, and of states from ``no_words`` on."""


WITHDRAWN: Reason = "no_consent"
"""Of gaps in words that their person does not want to be heard any more."""


@dataclass(slots=True)
class Ladder:
    """The level of one call. Times are in seconds of any clock."""

    level: int = 0
    strained_s: float = 1.5
    """Strain for so long goes one up."""
    calm_s: float = 8.0
    """Calm for so long goes one down, ..."""
    longest_calm_s: float = 64.0
    """... and twice as long, up to this, after every time that coming down did not last."""
    _since: float | None = None
    _strained: bool = False
    _down_at: float = float("-inf")
    _wait: float = 0.0

    def update(self, t: float, *, strained: bool, calm: bool) -> bool:
        """Take what holds at `t`; whether the level changed."""
        step = self.wish(t, strained=strained, calm=calm)
        if step:
            self.step(t, step)
        return bool(step)

    def wish(self, t: float, *, strained: bool, calm: bool) -> int:
        """Take what holds at `t`: by how much the level is to go up (-1: down)."""
        if not strained and not calm:
            self._since = None
            return 0
        if self._since is None or strained != self._strained:
            self._since, self._strained = t, strained
        if strained:
            return int(t - self._since >= self.strained_s and self.level < TOP)
        return -int(t - self._since >= self._patience() and self.level > 0)

    def step(self, t: float, by: int) -> None:
        """Go one up (`by` 1) or down (-1)."""
        self.level, self._since = self.level + by, t
        if by < 0:
            self._down_at = t
            return
        short = t - self._down_at < 2 * self.calm_s
        self._wait = min(2 * self._patience(), self.longest_calm_s) if short else 0.0

    def _patience(self) -> float:
        return max(self.calm_s, self._wait)


class Degrader:
    """Makes a live graph do without what its level leaves out."""

    def __init__(self, graph: Graph) -> None:
        self.load: Load = "full"
        self._graph = graph
        self._withdrawn: frozenset[Modality] = frozenset()
        self._pictures = 0

    def use(self, load: Load) -> None:
        """From now on analyse what `load` says."""
        self.load = load
        words, voice = load in ("no_words", "nothing"), load == "nothing"
        gone = self._withdrawn
        for worker in self._graph.workers.values():
            stage = worker.stage if isinstance(worker, Worker) else None
            if isinstance(stage, TranscribeStage):
                stage.skip = WITHDRAWN if "words" in gone else REASON if words else None
            elif isinstance(stage, VoiceStage):
                stage.skip = voice or "voice" in gone

    def withdraw(self, modalities: frozenset[Modality]) -> None:
        """Of these nothing is analysed any more; together with those of before."""
        self._withdrawn |= modalities
        for worker in self._graph.workers.values():
            if isinstance(worker, InferWorker):
                worker.withdrawn = self._withdrawn
        self.use(self.load)

    def thin(self, item: AudioChunk | VideoFrame | Progress | Gap) -> Progress | None:
        """What takes the place of `item`, where it is a picture that is left out.

        Its time goes on all the same, so that windows do not wait for it.
        """
        if not isinstance(item, VideoFrame):
            return None
        if "face" in self._withdrawn:
            return Progress(item.person, "video", item.t)
        self._pictures += 1
        if self.load != "nothing" and self._pictures % EVERY[self.load] == 0:
            return None
        return Progress(item.person, "video", item.t)

    @property
    def lacking(self) -> bool:
        """Whether estimates lack something important."""
        return self.load in ("no_words", "nothing")
