"""The temporal engine: from estimates of windows to what is shown of a person over time.

Each estimate is filtered on the logit (``workers.filters``), weighed by its calibrated variance
as long as the trust test allows (``workers.trust``), put through the gate (``workers.gate``) and
decided on (``workers.decisions``). A late revision takes the place of its window, and what came
after it is filtered again. A window that holds nothing to estimate from is no observation: the
filter goes back to the base rate by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workers.decisions import Decided, DecisionConfig, Event, decide
from workers.filters import Estimate, Filter, Filtered, Float64, Kalman, Smoother
from workers.gate import Gate, GateConfig, View, in_order
from workers.messages import FAILURES, Bool, EmotionEstimate, Gap, Message, Modality, Progress
from workers.states import EmotionEvent, EmotionState, LabelState, Reason, Status
from workers.trust import TrustConfig, TrustTest, Typical

HISTORY_S = 15.0
"""Revisions of windows older than this are not applied any more."""

_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class SmoothConfig:
    """How estimates become states."""

    thresholds: tuple[float, ...]
    """Probability from which a label counts as present, per label (from validation)."""
    expected: frozenset[Modality]
    """Modalities that this person's sources can give."""
    rule: Filter = field(default_factory=Kalman)
    constant: bool = False
    """Never weigh estimates by the model's variance."""
    window: float = 3.0
    """Length of a window in seconds."""
    hysteresis: float = 0.3
    """Logits that a label must rise above its threshold to come, and fall below it to go."""
    dwell: float = 1.0
    """Seconds that it stays what it became."""
    gate: GateConfig = field(default_factory=GateConfig)
    repeat: bool = False
    """Give every estimate too, in front of what is made of it."""
    both_ways: bool = False
    """Keep everything and give all of it again at the end, smoothed by what came before and after;
    only for recordings, and filters that can look back."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What holds after a window, given those before it."""

    filtered: Filtered
    sure: Bool
    decided: Decided
    unclear: bool
    """The likeliest label is too close to its threshold."""


@dataclass(slots=True)
class _Entry:
    """A window and what was made of it."""

    estimate: EmotionEstimate
    view: View
    said: Estimate
    """What the estimate says, for the filter."""
    trusted: bool
    """The variance passes the trust test."""
    constant: Float64 | None = None
    """(C,) the variance that counts instead of the model's."""
    judged: _Judged | None = None
    """None: to be filtered (again)."""
    told: tuple[Event, ...] = ()
    """Events that were given out."""

    @property
    def input(self) -> Estimate:
        """What the filter takes."""
        if self.constant is None:
            return self.said
        return Estimate(self.said.t, self.said.logit, self.constant, self.said.seen)

    def forget(self) -> None:
        """Let go of all that looking back at the end (``both_ways``) does not need."""
        self.judged, self.told = None, ()
        self.estimate = replace(
            self.estimate,
            logit=_NOTHING,
            variance=_NOTHING,
            probability=_NOTHING,
            modality_variance=_NOTHING,
            modality_logit=None,
            novelty=None,
        )


class SmoothStage:
    """EmotionEstimate -> EmotionState, EmotionEvent."""

    name = "smooth"

    def __init__(self, person: str, config: SmoothConfig) -> None:
        self.person = person
        self.expired = 0
        """Revisions that came too late."""
        thresholds = np.asarray(config.thresholds, np.float64)
        self._logits = np.log(thresholds) - np.log1p(-thresholds)
        self._config = config
        self._decisions = DecisionConfig(self._logits, config.hysteresis, config.dwell)
        self._gate = Gate(config.gate, config.expected, self._logits)
        self._trust = TrustTest(TrustConfig(window=config.window))
        self._typical = Typical()
        self._history: list[_Entry] = []
        self._base: _Entry | None = None
        """The newest window that is no longer in the history."""
        self._all: list[_Entry] = []
        self._untold: list[EmotionEvent] = []

    def push(self, item: Message) -> Sequence[Message]:
        """Take one estimate; return its state and the events that it made or took back."""
        if isinstance(item, Gap):
            return self._missing(item)
        if isinstance(item, Progress):
            return []
        if not isinstance(item, EmotionEstimate):
            raise TypeError(f"smooth cannot take {type(item).__name__}")
        position = bisect_left(self._history, item.index, key=lambda past: past.estimate.index)
        if position == len(self._history):
            self._append(item)
        elif self._history[position].estimate.index == item.index:
            self._revise(position, item)
        else:
            self.expired += 1
            return []
        state = self._state(self._history[position], self._filter_to(position))
        self._trim(item.t1)
        heard: list[Message] = [item] if self._config.repeat else []
        return [*heard, state, *self._tell()]

    def flush(self) -> Sequence[Message]:
        """Events of late revisions; then, where it was asked for, everything smoothed by all."""
        if self._history:
            self._filter_to(len(self._history) - 1)
        out: list[Message] = [*self._tell()]
        rule = self._config.rule
        if not self._all or not isinstance(rule, Smoother):
            return out
        past: _Judged | None = None
        smooth = rule.both_ways([entry.input for entry in self._all])
        for entry, filtered in zip(self._all, smooth, strict=True):
            past = self._judge(entry, filtered, past)
            out.append(replace(self._state(entry, past), smoothed=True))
            out += [self._event(entry, event, smoothed=True) for event in past.decided.events]
        return out

    def change(self, rule: Filter, shift: Float64, *, constant: bool) -> None:
        """Filter by `rule` from now on, with thresholds lowered by `shift` (C,) logits.

        The new filter starts from the windows of the history; what was decided stays.
        """
        config = self._config = replace(self._config, rule=rule, constant=constant)
        logits = self._logits - shift
        self._decisions = DecisionConfig(logits, config.hysteresis, config.dwell)
        self._gate = Gate(config.gate, config.expected, logits)
        if not self._history:
            return
        self._filter_to(len(self._history) - 1)
        filtered: Filtered | None = None
        for entry in [*([self._base] if self._base else []), *self._history]:
            entry.constant = self._weight(entry)
            filtered = rule.step(filtered, entry.input)
            assert entry.judged is not None
            entry.judged = replace(entry.judged, filtered=filtered)

    def expect(self, expected: frozenset[Modality]) -> None:
        """From now on there is nothing but `expected`, and nothing else is missed."""
        self._config = replace(self._config, expected=expected)
        self._gate = Gate(self._config.gate, expected, self._decisions.threshold)

    def stale(self, t: float) -> EmotionState | None:
        """What is left to say at `t`, when no window has come for a while; None: none ever came.

        Every label is unsure, and fades as the filter forgets. Asking changes no later state.
        """
        return self._faded(t, "stale")

    def _missing(self, gap: Gap) -> Sequence[Message]:
        """A window that has no estimate; where the model failed, its state says so."""
        state = self._faded(gap.t1, "failed") if gap.reason in FAILURES else None
        newer = state is not None and gap.t1 > self._history[-1].estimate.t1
        return [gap, state] if state is not None and newer else [gap]

    def _faded(self, t: float, reason: Reason) -> EmotionState | None:
        """All labels unsure at `t`, for `reason`; None: there never was a window."""
        if not self._history:
            return None
        last, judged = self._history[-1], self._filter_to(len(self._history) - 1)
        faded = self._config.rule.step(judged.filtered, replace(last.input, t=t, seen=False))
        judged = replace(judged, filtered=faded, sure=np.zeros_like(judged.sure), unclear=False)
        return replace(self._state(last, judged), t=t, reasons=(reason,), complete=False)

    def _append(self, estimate: EmotionEstimate) -> None:
        view = self._gate.view(estimate)
        said = _said(estimate, view)
        if said.seen:
            self._trust.push(said)
            self._typical.add(said.variance)
        entry = _Entry(estimate, view, said, self._trust.verdict.trusted)
        entry.constant = self._weight(entry)
        self._history.append(entry)
        if self._config.both_ways:
            self._all.append(entry)

    def _weight(self, entry: _Entry) -> Float64 | None:
        """The variance that counts instead of the model's; None: the model's counts."""
        if entry.trusted and not self._config.constant:
            return None
        return self._typical.value(entry.said.variance)

    def _revise(self, position: int, estimate: EmotionEstimate) -> None:
        """Put a revised estimate in its place; it and what came after it are filtered again."""
        entry = self._history[position]
        entry.estimate, entry.view = estimate, self._gate.view(estimate)
        entry.said = _said(estimate, entry.view)
        for each in self._history[position:]:
            each.judged = None

    def _filter_to(self, position: int) -> _Judged:
        """Filter what has to be up to `position`; what holds there."""
        past = self._base.judged if self._base else None
        for entry in self._history[: position + 1]:
            if entry.judged is None:
                filtered = self._config.rule.step(past.filtered if past else None, entry.input)
                entry.judged = self._judge(entry, filtered, past)
                self._untold += self._changes(entry, entry.judged.decided.events)
            past = entry.judged
        assert past is not None
        return past

    def _tell(self) -> list[EmotionEvent]:
        untold, self._untold = self._untold, []
        return untold

    def _judge(self, entry: _Entry, filtered: Filtered, past: _Judged | None) -> _Judged:
        mean, variance = filtered.mean, filtered.variance
        clear = self._gate.clear(mean, variance, past.sure if past else None)
        sure = clear & ~entry.view.barred
        t = entry.estimate.t1
        decided = decide(self._decisions, past.decided if past else None, t, mean, sure)
        unclear = (
            not entry.view.blind
            and not clear.all()
            and not clear[self._gate.likeliest(mean, variance)]
        )
        return _Judged(filtered, sure, decided, unclear)

    def _changes(self, entry: _Entry, events: tuple[Event, ...]) -> list[EmotionEvent]:
        """What has to be told so that a reader knows `events`, and no others, of this window."""
        if not entry.told and not events:
            return []
        before = {(event.kind, event.label): event for event in entry.told}
        after = {(event.kind, event.label): event for event in events}
        entry.told = events
        gone = [event for key, event in before.items() if key not in after]
        new = [event for key, event in after.items() if key not in before]
        return [
            *(self._event(entry, event, withdrawn=True) for event in gone),
            *(self._event(entry, event) for event in new),
        ]

    def _event(
        self, entry: _Entry, event: Event, *, withdrawn: bool = False, smoothed: bool = False
    ) -> EmotionEvent:
        name = entry.estimate.labels[event.label]
        peak = float(_sigmoid(np.asarray(event.peak)))
        times = (event.t, event.onset, event.peak_t)
        return EmotionEvent(self.person, event.kind, name, *times, peak, withdrawn, smoothed)

    def _trim(self, t: float) -> None:
        """Drop what is too old to be revised, as far as it has been filtered."""
        while len(self._history) > 1 and self._history[0].estimate.t1 < t - HISTORY_S:
            if self._history[0].judged is None:
                return
            if self._base is not None:
                self._base.forget()
            self._base = self._history.pop(0)

    def _state(self, entry: _Entry, judged: _Judged) -> EmotionState:
        estimate, filtered = entry.estimate, judged.filtered
        reasons: set[Reason] = {*entry.view.reasons}
        if judged.unclear:
            reasons.add("variance_high")
        labels = _labels(estimate.labels, filtered, judged.sure, judged.decided.present)
        return EmotionState(
            person=self.person,
            t=estimate.t1,
            index=estimate.index,
            revision=estimate.revision,
            labels=labels,
            reasons=in_order(reasons),
            complete=estimate.complete,
            variance_trusted=entry.trusted,
        )


def _said(estimate: EmotionEstimate, view: View) -> Estimate:
    logit, variance = (np.asarray(x, np.float64) for x in (estimate.logit, estimate.variance))
    return Estimate(estimate.t1, logit, variance, not view.blind)


def _labels(
    names: tuple[str, ...], filtered: Filtered, sure: Bool, present: Bool
) -> dict[str, LabelState]:
    mean, variance = filtered.mean, filtered.variance
    sd = np.sqrt(variance)
    moderated = mean / np.sqrt(1 + np.pi / 8 * variance)
    p, low, high = _sigmoid(np.array((moderated, mean - sd, mean + sd))).tolist()
    statuses: list[Status] = [
        "unsure" if not clear else "active" if there else "inactive"
        for clear, there in zip(sure.tolist(), present.tolist(), strict=True)
    ]
    rows = zip(names, p, variance.tolist(), low, high, statuses, strict=True)
    return {name: LabelState(p, v, (low, high), status) for name, p, v, low, high, status in rows}


def _sigmoid(x: Float64) -> Float64:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))
