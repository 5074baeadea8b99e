"""One stage per person, where several people are in one picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from workers.align import AlignStage
from workers.filters import Filter, Float64
from workers.messages import EmotionEstimate, Gap, Message, Modality, Presence, Progress
from workers.smooth import SmoothStage
from workers.states import EmotionState


class AlignEach:
    """Windows of everybody in the picture; `make` gives the stage of who came at a time.

    ``Presence`` begins and ends a person's windows. Control messages are the participant's: they
    hold for everybody present, and a gap is told once.
    """

    name = "align"

    def __init__(self, make: Callable[[str, float], AlignStage]) -> None:
        self._make = make
        self._stages: dict[str, AlignStage] = {}
        self._told: deque[Gap] = deque(maxlen=64)

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; return the windows that became due."""
        match item:
            case Presence(present=True):
                self._stages[item.person] = self._make(item.person, item.t)
                return []
            case Presence():
                return self._stages.pop(item.person).leave(item.t)
            case Progress():
                return [each for stage in self._stages.values() for each in stage.push(item)]
            case Gap():
                return self._lose(item)
        stage = self._stages.get(getattr(item, "person", ""))
        return [] if stage is None else stage.push(item)

    def flush(self) -> Sequence[Message]:
        """Everybody leaves."""
        return [each for stage in self._stages.values() for each in stage.flush()]

    def _lose(self, gap: Gap) -> Sequence[Message]:
        if gap in self._told:
            return []
        self._told.append(gap)
        own = self._stages.get(gap.person)
        for stage in self._stages.values() if own is None else [own]:
            stage.push(gap)
        return [gap]


class SmoothEach:
    """States and events of everybody; who comes back is filtered on from where they left."""

    name = "smooth"

    def __init__(self, make: Callable[[str], SmoothStage]) -> None:
        self._make = make
        self._stages: dict[str, SmoothStage] = {}
        self._change: Callable[[SmoothStage], None] | None = None
        self._expected: frozenset[Modality] | None = None

    def push(self, item: Message) -> Sequence[Message]:
        """Take one estimate; return its state and the events that it made or took back."""
        if not isinstance(item, EmotionEstimate):
            return []
        if item.person not in self._stages:
            self._stages[item.person] = self._make(item.person)
            if self._change is not None:
                self._change(self._stages[item.person])
            if self._expected is not None:
                self._stages[item.person].expect(self._expected)
        return self._stages[item.person].push(item)

    def flush(self) -> Sequence[Message]:
        """As of ``SmoothStage``, one person after the other."""
        return [each for stage in self._stages.values() for each in stage.flush()]

    def change(self, rule: Filter, shift: Float64, *, constant: bool) -> None:
        """As of ``SmoothStage``, for everybody, those to come included."""
        self._change = partial(SmoothStage.change, rule=rule, shift=shift, constant=constant)
        for stage in self._stages.values():
            self._change(stage)

    def expect(self, expected: frozenset[Modality]) -> None:
        """As of ``SmoothStage``, for everybody, those to come included."""
        self._expected = expected
        for stage in self._stages.values():
            stage.expect(expected)

    def stale(self, person: str, t: float) -> EmotionState | None:
        """As of ``SmoothStage``."""
        stage = self._stages.get(person)
        return None if stage is None else stage.stale(t)
