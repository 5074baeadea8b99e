"""The temporal engine as the configuration describes it."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

import workers.gate
from lddu_model import Sample
from stream.sections import Fraction, NotNegative, Positive, Seconds, Section
from workers.baselines import Ema, OneEuro, Raw
from workers.filters import Filter, Float64, Kalman
from workers.infer import Model
from workers.markov import TwoState
from workers.messages import Modality
from workers.smooth import SmoothConfig

FilterName = Literal["kalman", "hmm", "kalman_constant", "ema", "one_euro", "raw"]
FILTERS: tuple[FilterName, ...] = get_args(FilterName)
BASELINES: tuple[FilterName, ...] = ("ema", "one_euro", "kalman_constant", "raw")
"""Filters that do not weigh estimates by the model's variance."""


LOWEST_LEVEL = 1.0
"""Logits between threshold and absent label, where base rate and threshold hardly differ."""


class KalmanConfig(Section):
    tau: Seconds = 8.0
    """Seconds in which a logit forgets where it was."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    """Of the time that a label is present; with the model's base rate and threshold it gives where
    a logit returns to and how far it goes from there."""
    shared: Fraction = 0.8
    """Share of the noise that overlapping windows have in common."""


class HmmConfig(Section):
    """See ``workers.markov.TwoState``."""

    on: Seconds = 24.0
    off: Seconds = 8.0
    level_variance: NotNegative = 1.0
    temper: Positive = 1.0
    """Weight of a window."""
    shared: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Correlation of the noise of windows that overlap all but completely. On generated streams .6
    to .8 are best; on those of real voices (``benchmarks.temporal_clips``) four checkpoints out of
    four lose by it."""


class EmaConfig(Section):
    tau: Seconds = 1.0


class OneEuroConfig(Section):
    """Frequencies in Hz."""

    min_cutoff: Positive = 0.2
    beta: NotNegative = 0.1
    derivative_cutoff: Positive = 1.0


class SmoothingConfig(Section):
    """Filter over time, and decisions; see ``workers.smooth``."""

    filter: FilterName = "hmm"
    hysteresis: NotNegative = 0.3
    """Logits above its threshold at which a label comes, and below at which it goes."""
    dwell: NotNegative = 1.0
    """Seconds that a label stays what it became."""
    kalman: KalmanConfig = KalmanConfig()
    hmm: HmmConfig = HmmConfig()
    ema: EmaConfig = EmaConfig()
    one_euro: OneEuroConfig = OneEuroConfig()


class GateConfig(Section):
    """When a label is not sure, and for what reason; see ``workers.gate``."""

    min_margin: NotNegative = 0.75
    """Standard deviations between mean and threshold below which a label is not sure: of single
    windows that leaves four decisions of five (``benchmarks.gate_fit``)."""
    margin_hysteresis: NotNegative = 0.25
    """So much more for a label that was not sure."""
    conflict: Positive = 1.0
    """Standard deviations to each side; intervals of two modalities that do not meet conflict. What
    is best depends on how often people contradict themselves (``benchmarks.gate_fit``)."""
    min_face: Fraction = 0.3
    """Share of face steps below which the reason is no_face."""
    min_speech: Fraction = 0.1
    """Share of voice steps below which the reason is no_speech."""
    overlap: Fraction = 0.5
    """Share of the last second in which several people speak, or nobody knows who does."""
    several_faces: Fraction = 0.5
    """Share of the last second's pictures with more than one face."""
    min_width: Fraction = 0.1
    """Width of a face over that of the picture."""
    min_brightness: Fraction = 0.15
    """Mean luma of a face."""
    max_asr_lag: Seconds = 4.0
    """How far transcription may be behind the sound."""
    max_unknown: Fraction = 0.5
    """Share of words that the text encoder does not know."""
    max_novelty: NotNegative = 0.0
    """0: what 99 % of the validation data do not exceed."""
    stale_after: Seconds = 0.8
    """Only live: without a new window for so long, the estimate is stale."""


def smooth_config(
    smoothing: SmoothingConfig,
    gate: GateConfig,
    expected: frozenset[Modality],
    thresholds: tuple[float, ...],
    prior: Float64,
    *,
    window: float,
    both_ways: bool = False,
    repeat: bool = False,
) -> SmoothConfig:
    """`thresholds` (C,) are probabilities, `prior` (C,) the logits when nothing is known, `window`
    the length of a window in seconds.
    """
    return SmoothConfig(
        thresholds=thresholds,
        expected=expected,
        rule=filter_of(smoothing, window, thresholds, prior),
        constant=smoothing.filter == "kalman_constant",
        window=window,
        hysteresis=smoothing.hysteresis,
        dwell=smoothing.dwell,
        gate=workers.gate.GateConfig(**gate.model_dump(exclude={"stale_after"})),
        both_ways=both_ways,
        repeat=repeat,
    )


def filter_of(
    config: SmoothingConfig, window: float, thresholds: tuple[float, ...], prior: Float64
) -> Filter:
    """The chosen filter for windows of `window` seconds.

    A label that is absent is where the model has it by base rate (`prior`), a present one as far
    above its threshold: this scale is the model's own, and differs much between labels.
    """
    p = np.asarray(thresholds, np.float64)
    middle = np.log(p) - np.log1p(-p)
    level = np.maximum(middle - prior, LOWEST_LEVEL)
    match config.filter:
        case "kalman" | "kalman_constant":
            tau, share = config.kalman.tau, config.kalman.share
            base = middle - level * (1 - 2 * share)
            spread = 4 * share * (1 - share) * level**2
            return Kalman(tau, spread, base, config.kalman.shared, window)
        case "hmm":
            return TwoState(base=middle, level=level, window=window, **config.hmm.model_dump())
        case "ema":
            return Ema(**config.ema.model_dump())
        case "one_euro":
            return OneEuro(**config.one_euro.model_dump())
        case "raw":
            return Raw()


def prior_of(model: Model) -> Float64:
    """(C,) logits of a model that is given nothing: the base rates."""
    return np.asarray(model.predict([Sample({}, {})]).logit[0], np.float64)
