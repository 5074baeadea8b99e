"""The gate in front of what is shown: which labels may be said, and for what reasons not.

A label is *unsure* when its threshold lies within ``min_margin`` posterior standard deviations of
its mean, when two modalities contradict each other about it, or when the window holds nothing at
all to estimate from. The other reasons do not silence a label: the model has seen windows without
a face, say, and its variance answers for them, as it does for what is unlike the training data.
They say what makes the estimate weaker than it could be.

Shapes: C labels, M modalities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.messages import Bool, EmotionEstimate, Evidence, Float32, Modality, Recent
from workers.states import REASONS, Reason

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Where each reason begins. Shares lie in [0, 1]."""

    min_margin: float = 0.75
    """Distance of the mean to its threshold, in standard deviations, below which a label is unsure.
    A label of which nothing is known, and that is there a quarter of the time, has 0.58."""
    margin_hysteresis: float = 0.25
    """So much more is needed by a label that was unsure, or it would flicker."""
    conflict: float = 1.0
    """Half length, in standard deviations, of the intervals of two modalities that must not meet
    for a conflict; 1 is the interval that is shown."""
    min_face: float = 0.3
    """Share of face steps below which there is no face."""
    min_speech: float = 0.1
    """Share of voice steps below which there is no speech."""
    overlap: float = 0.5
    """Share of the last second in which several people speak, or nobody knows who does."""
    several_faces: float = 0.5
    """Share of the last second's pictures that show more than one face."""
    min_width: float = 0.1
    """Width of a face over that of the picture."""
    min_brightness: float = 0.15
    """Mean luma of a face."""
    max_asr_lag: float = 4.0
    """Seconds that transcription may be behind; up to 3 are usual, for it hears whole segments."""
    max_unknown: float = 0.5
    """Share of words that the text encoder does not know."""
    max_novelty: float = 0.0
    """0 is what 99 % of held out training data do not exceed, in each modality."""


@dataclass(frozen=True, slots=True)
class View:
    """What one estimate allows to be said, whatever came before it."""

    reasons: frozenset[Reason]
    """Those that its evidence gives."""
    blind: bool
    """Nothing to estimate from: the estimate is the prior, and no observation."""
    barred: Bool
    """(C,) labels that are unsure, however clear their mean is."""


class Gate:
    """For one person. `thresholds` (C,) are logits from which a label counts as present."""

    def __init__(
        self, config: GateConfig, expected: frozenset[Modality], thresholds: Float64
    ) -> None:
        self._config = config
        self._expected = expected
        self._thresholds = thresholds

    def view(self, estimate: EmotionEstimate) -> View:
        """By evidence alone; nothing is remembered."""
        evidence = estimate.evidence
        blind = self._blind(evidence)
        conflict = self._conflict(estimate)
        reasons = {*self._missing(evidence), *self._weaker(evidence)}
        if not blind and _largest(estimate.novelty) > self._config.max_novelty:
            reasons.add("out_of_domain")
        if conflict.any():
            reasons.add("modality_conflict")
        return View(frozenset(reasons), blind, conflict | blind)

    def clear(self, mean: Float64, variance: Float64, past: Bool | None) -> Bool:
        """(C,) labels that are far enough from their thresholds; `past` those that were sure."""
        margin: float | Float64 = self._config.min_margin
        if past is not None:
            margin = np.where(past, margin, margin + self._config.margin_hysteresis)
        return np.asarray(np.abs(mean - self._thresholds) >= margin * np.sqrt(variance))

    def likeliest(self, mean: Float64, variance: Float64) -> int:
        """The label whose mean is furthest above its threshold, or least below it."""
        return int(((mean - self._thresholds) / np.sqrt(variance)).argmax())

    def _blind(self, evidence: Evidence) -> bool:
        """Sound alone counts when somebody said words in it (where words are transcribed): much
        that passes for speech is none.
        """
        spoken = evidence.speech >= self._config.min_speech
        heard = evidence.words > 0 or (spoken and "words" not in self._expected)
        return evidence.face < self._config.min_face and not heard

    def _missing(self, evidence: Evidence) -> Iterator[Reason]:
        config, recent = self._config, evidence.recent
        if evidence.failed:
            yield "failed"
        if evidence.stale:
            yield "stale"
        face = evidence.face if recent is None else min(evidence.face, recent.face)
        if "face" in self._expected and face < config.min_face:
            yield "no_face"
        if self._expected - {"face"} and not self._speaks(evidence):
            yield "no_speech"
        if self._expected - {"face"} and evidence.overlap >= config.overlap:
            yield "overlap"

    def _speaks(self, evidence: Evidence) -> bool:
        """In the last second, where that is known: words come too late to tell."""
        spoken = evidence.speech >= self._config.min_speech or evidence.words > 0
        if evidence.recent is None or "voice" not in self._expected:
            return spoken
        recent = evidence.recent
        return spoken and (recent.speech > self._config.min_speech or recent.words > 0)

    def _weaker(self, evidence: Evidence) -> Iterator[Reason]:
        config = self._config
        if evidence.recent is not None and "face" in self._expected:
            yield from self._poor_face(evidence.recent)
        if any(0 < unknown >= config.max_unknown * words for unknown, words in _unknown(evidence)):
            yield "language"
        if evidence.asr_lag > config.max_asr_lag or (
            "words" in self._expected and "words" in evidence.gaps
        ):
            yield "asr_lag"
        if evidence.provisional:
            yield "clock_provisional"

    def _poor_face(self, recent: Recent) -> Iterator[Reason]:
        config = self._config
        if recent.several >= config.several_faces:
            yield "several_faces"
        small = recent.width is not None and recent.width < config.min_width
        dark = recent.brightness is not None and recent.brightness < config.min_brightness
        if small or dark:
            yield "small_or_dark_face"

    def _conflict(self, estimate: EmotionEstimate) -> Bool:
        """(C,) labels that one modality sees and another does not, beyond their variances."""
        logit, variance = estimate.modality_logit, estimate.modality_variance
        if logit is None:
            return np.zeros(len(estimate.labels), np.bool_)
        half = self._config.conflict * np.sqrt(variance)  # of what is absent: infinite, logit NaN
        highest_low = np.fmax.reduce(logit - half)
        lowest_high = np.fmin.reduce(logit + half)
        return np.asarray((highest_low > self._thresholds) & (lowest_high < self._thresholds))


def _unknown(evidence: Evidence) -> Iterator[tuple[int, int]]:
    """Unknown words, and all of them: of the window, and of its last second."""
    yield evidence.unknown_words, evidence.words
    if evidence.recent is not None:
        yield evidence.recent.unknown_words, evidence.recent.words


def _largest(novelty: Float32 | None) -> float:
    return 0.0 if novelty is None else float(novelty.max(initial=0.0))


def in_order(reasons: frozenset[Reason] | set[Reason]) -> tuple[Reason, ...]:
    """By priority."""
    return tuple(reason for reason in REASONS if reason in reasons)
