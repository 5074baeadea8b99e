"""What a configuration means to the graph of one participant."""

from __future__ import annotations

from dataclasses import replace

from lddu_model import FeatureSpec
from stream.config import Consent, StreamConfig
from stream.engines import Engines
from stream.graph import Flow, GraphConfig, Many
from stream.smoothing import smooth_config
from stream.spec import MAX_WORDS, RATE
from workers.align import AlignConfig
from workers.messages import MODALITIES, Modality
from workers.vad import VadConfig
from workers.windows import WindowPlan


def graph_config(
    config: StreamConfig,
    engines: Engines,
    expected: frozenset[Modality],
    flow: Flow,
    plan: WindowPlan | None = None,
    *,
    both_ways: bool = False,
    many: bool = False,
    raw: bool = False,
) -> GraphConfig:
    """The graph's part of a configuration; `plan` defaults to sliding windows, `many` people may
    be in the picture, `raw` estimates come too.
    """
    align = align_config(engines.model.spec, expected)
    if flow is Flow.LIVE:
        align = replace(align, max_wait=config.window.max_wait)
    return GraphConfig(
        plan=plan or WindowPlan.sliding(config.window.width, config.window.hop),
        expected=expected,
        vad=vad_config(config),
        align=align,
        smooth=smooth_config(
            config.smoothing,
            config.gate,
            expected,
            engines.model.thresholds,
            engines.prior,
            window=config.window.width,
            both_ways=both_ways,
            repeat=raw,
        ),
        flow=flow,
        many=Many(config.many.at_once) if many else None,
    )


def vad_config(config: StreamConfig) -> VadConfig:
    return VadConfig(max_s=config.analysis.max_segment)


def align_config(spec: FeatureSpec, expected: frozenset[Modality]) -> AlignConfig:
    """For recordings: every window waits for all sources."""
    return AlignConfig(
        dims={name: spec[name].dim for name in MODALITIES},
        expected=expected,
        face_rate=RATE,
        max_words=MAX_WORDS,
    )


def expected_modalities(consent: Consent, *, audio: bool, video: bool) -> frozenset[Modality]:
    """What the sources can give and the person agreed to."""
    found: set[Modality] = set()
    if video and consent.face:
        found.add("face")
    if audio and consent.voice:
        found.add("voice")
    if audio and consent.words:
        found.add("words")
    return frozenset(found)
