"""A model with everything that is needed to use it: create, predict, load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError

from lddu_model.batch import Batch, collate
from lddu_model.errors import ConfigError, DeviceError, ModelError, SpecError
from lddu_model.losses import ClassWeights, LossConfig
from lddu_model.model import DefaultNet
from lddu_model.network import Network, Output, expected_error, moderated
from lddu_model.paper import PaperHyper, PaperNet
from lddu_model.paper_losses import PaperLossConfig
from lddu_model.parts import DefaultHyper
from lddu_model.spec import FeatureSpec, Float32, Prediction, Sample
from lddu_model.transformer import TransformerHyper, TransformerNet

NOVELTY_FACTOR = 7.0
"""By how much more than once the stated variance of what is novel is larger."""
DOUBT_POWER = 0.2
"""How much of a doubt is believed: training errors, which teach it, follow noise more closely than
those of other data. Chosen on validation data and damaged copies of them: with more, decisions of
small variance are more often wrong; with less, variances no longer grow with all damage."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One architecture."""

    hyper: type[BaseModel]
    loss: type[ClassWeights]
    build: Callable[[FeatureSpec, int, Any], Network]
    """From the spec, the number of labels and an instance of `hyper`."""


VARIANTS: dict[str, Variant] = {
    "default": Variant(DefaultHyper, LossConfig, DefaultNet),
    "paper": Variant(PaperHyper, PaperLossConfig, PaperNet),
    "transformer": Variant(TransformerHyper, ClassWeights, TransformerNet),
}
"""By name. Another architecture is one more line here."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted on validation data: logit -> scale * logit + shift, spread -> scale**2 * spread, by
    what is there; stated variance -> variance_scale * variance ** variance_power. Novelty raises a
    variance after that, and is no part of the fit.
    """

    scale: tuple[tuple[float, ...], ...]
    """1 / temperature: a row (C,) for each combination of modalities, in the order of
    ``combination``. What is heard or seen alone comes from other data, with other base rates, than
    what comes together."""
    shift: tuple[tuple[float, ...], ...]
    """The same of shifts: they undo what class weights did to the base rate."""
    variance_scale: tuple[float, ...]
    """First that of the fused estimate, then of each modality alone."""
    variance_power: tuple[float, ...]

    @staticmethod
    def identity(labels: int, modalities: int) -> Calibration:
        ones, rows = (1.0,) * (1 + modalities), 2**modalities
        return Calibration(((1.0,) * labels,) * rows, ((0.0,) * labels,) * rows, ones, ones)


def combination(present: torch.Tensor) -> torch.Tensor:
    """Which modalities are there (..., M) -> number of that combination (...).

    The first modality counts 1, the second 2, the third 4, and so on.
    """
    weight = 2 ** torch.arange(present.shape[-1], device=present.device)
    return (present * weight).sum(dim=-1)


def widening(novelty: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Novelty (..., M) -> factors of variances: of each modality (..., M), of the fused (...)."""
    factor = 1.0 + NOVELTY_FACTOR * novelty
    return factor, factor.amax(dim=-1)


@dataclass(slots=True)
class Model:
    """A network with its spec, labels, calibration and thresholds.

    ``predict`` may be called from several threads; training at the same time is not supported.
    """

    variant: str
    spec: FeatureSpec
    labels: tuple[str, ...]
    hyper: BaseModel
    net: Network
    calibration: Calibration
    thresholds: tuple[float, ...]
    """Probability from which a label counts as present."""
    record: dict[str, Any] = field(default_factory=dict)
    """How it came to be: data, metrics, versions. Plain JSON types."""

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def to(self, device: str) -> Model:
        """Move to ``auto`` (GPU when there is one), ``cpu`` or ``cuda``; returns itself."""
        self.net.to(pick_device(device))
        return self

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        """Mean, probability and variance per label, for samples of any lengths.

        Neither padding nor the other samples of the call change what is said of a sample. A
        modality that is left out or all masked has infinite ``modality_variance``. With nothing
        present the prior speaks: the base rate, with the variance of the largest doubt.
        """
        return self.describe(self.outputs(samples)) if samples else self._empty()

    def outputs(self, samples: Sequence[Sample]) -> Output:
        """What the network gives for at least one sample; calibration has no part in it."""
        if self.net.training:
            self.net.eval()
        with torch.inference_mode():
            batch = collate(samples, self.spec).to(self.device)
            found: Output = self.net(batch.features, batch.mask)
            return found

    def describe(self, out: Output) -> Prediction:
        """What `out` (of ``outputs``) says under the calibration of now."""
        scale, shift, factor, power = (
            torch.tensor(x, device=out.logit.device)
            for x in (
                self.calibration.scale,
                self.calibration.shift,
                self.calibration.variance_scale,
                self.calibration.variance_power,
            )
        )
        absent, there = ~out.present[..., None], combination(out.present)
        logit = out.logit * scale[there] + shift[there]
        spread = out.spread * scale[there].square()
        each = torch.full_like(out.modality_variance, torch.nan)
        if out.modality_logit is not None:
            only = 2 ** torch.arange(absent.shape[1], device=logit.device)
            each = out.modality_logit * scale[only] + shift[only]
            each = each.masked_fill(absent, torch.nan)
        variance, alone = out.variance, out.modality_variance
        if out.doubt is not None and out.modality_doubt is not None:
            variance = expected_error(logit, spread) * out.doubt.pow(DOUBT_POWER)
            alone = alone * out.modality_doubt.pow(DOUBT_POWER - 1.0)
        novel, most = widening(out.novelty)
        alone = factor[1:, None] * alone.pow(power[1:, None]) * novel[..., None]
        variance = factor[0] * variance.pow(power[0]) * most[:, None]
        return Prediction(
            logit=_array(logit),
            probability=_array(torch.sigmoid(moderated(logit, spread))),
            variance=_array(variance),
            modality_logit=_array(each),
            modality_variance=_array(alone.masked_fill(absent, torch.inf)),
            spread=_array(spread),
            novelty=_array(out.novelty),
        )

    def _empty(self) -> Prediction:
        none = np.zeros((0, len(self.labels)), dtype=np.float32)
        modalities = np.zeros((0, len(self.spec.modalities), len(self.labels)), dtype=np.float32)
        return Prediction(none, none, none, modalities, modalities, none, modalities[..., 0])


def create(
    variant: str,
    spec: FeatureSpec,
    labels: Sequence[str],
    hyper: Mapping[str, Any] | None = None,
) -> Model:
    """A new model with random weights (seed torch for reproducible ones), on the CPU.

    `hyper` overrides hyper-parameters of the variant by name.
    """
    chosen = variant_of(variant)
    if not labels or len(set(labels)) != len(labels):
        raise SpecError(f"a model needs labels with different names, got {list(labels)}")
    try:
        settings = chosen.hyper(**(hyper or {}))
    except ValidationError as error:
        raise ConfigError(
            f"hyper-parameters of variant {variant!r}: {error}",
            f"known are {sorted(chosen.hyper.model_fields)}",
        ) from error
    foreign = sorted(set(getattr(settings, "variance_floor", {})) - set(spec.names))
    if foreign:
        raise ConfigError(f"variance_floor names {foreign}, spec {spec.name!r} has {spec.names}")
    count = len(labels)
    net = chosen.build(spec, count, settings).eval()
    identity = Calibration.identity(count, len(spec.modalities))
    return Model(variant, spec, tuple(labels), settings, net, identity, (0.5,) * count)


def variant_of(name: str) -> Variant:
    """The architecture of that name; an unknown one is a ``ModelError``."""
    if name not in VARIANTS:
        raise ModelError(f"unknown model variant {name!r}", f"choose one of {sorted(VARIANTS)}")
    return VARIANTS[name]


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a torch device."""
    if name not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"unknown device {name!r}", "choose auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise DeviceError("no CUDA device is usable here", "choose device auto or cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def forward(model: Model, batch: Batch) -> Any:
    """The raw ``Output`` of the network."""
    return model.net(batch.features, batch.mask)


def _array(x: torch.Tensor) -> Float32:
    return np.ascontiguousarray(x.float().cpu().numpy())


def use_threads(count: int) -> None:
    """Compute with `count` CPU threads in this whole process: the application's decision.

    Windows are small: beside other stages more threads cost more than they gain.
    """
    torch.set_num_threads(count)
