"""The `default` model: latent emotional distributions per modality, fused by their certainty.

Shape legend
    B samples   M modalities   C labels   L steps of a modality   D its features per step
    d width of the encoders (`width`)     z latent dimensions of an emotion (`latent`)

    features_m (B, L, D) --Encoder-->      states_m (B, L, d)      one encoder per modality
    states_m             --LabelReader-->  reading_m (B, C, d)     one query per label
    reading_m            --Distribution--> mu, log_var (B, C, z)   N(mu, diag exp(log_var))
    mu, log_var          --linear-->       logit_m, spread_m (B, C)   exact: the map is linear
    all logit_m, spread_m --fuse-->        logit, spread (B, C)
    pooled features_m --linear-->          linear (B, C)           optional, see ``linear``
    signals           --Doubt-->           doubt (B, C), doubt_m (B, M, C)
    p (1 - p) doubt                        variance (B, C), variance_m (B, M, C)

The spread is what likelihood makes of uncertainty: it weighs modalities and moderates the
probability p. It sees, beside what was read, simple properties of each sequence as a signal, which
noise changes whatever the features are (``novelty``). The variance that is stated is the squared
error that p expects of itself, p (1 - p), times a doubt that those properties cast on it; ranking
trains that doubt and nothing else, because weights that follow errors make estimates worse
(docs/protocols.md).

What is not there is not looked at: attention masks padding and missing steps, and a modality
without any valid step has infinite variance, hence no weight. Its place in the interaction term is
taken by what the encoder makes of a learned token.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from lddu_model.blocks import Attention, FeedForward, Layer, age
from lddu_model.dropout import Dropout
from lddu_model.losses import LossConfig, losses
from lddu_model.network import Network, cross_entropy, expected_error, sinusoids, unmasked
from lddu_model.novelty import PROPERTIES, Novelty
from lddu_model.spec import FeatureSpec

INPUT_LIMIT = 8.0
"""Normalised features are cut to this many standard deviations."""
LOG_VARIANCE_LIMIT = 5.0
SMALLEST_VARIANCE = 0.01
NOVELTY_STEEPNESS = 3.0
"""How fast distance beyond what is usual counts: at a third beyond it, 63 %."""


class DefaultHyper(BaseModel):
    """Hyper-parameters of the `default` model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=8)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=2, ge=1)
    feed_forward: int = Field(default=256, ge=8)
    latent: int = Field(default=64, ge=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance of each input feature to be zero in training: against learning vectors by heart."""
    prior_variance: float = Field(default=9.0, gt=0)
    """Variance of the logit when no modality is present (standard deviation 3: anything goes)."""
    variance_floor: dict[str, float] = Field(default_factory=dict)
    """Per modality the variance that stays however clear it looks: what its training data cannot
    tell about other data. Elsewhere ``SMALLEST_VARIANCE``."""
    logit_limit: float | None = Field(default=None, gt=0)
    """Bound of the logit of a modality, so that none can outshout the others; None: no bound."""
    interaction: bool = True
    """Whether modalities may correct the fused mean together."""
    positions: Literal["start", "end"] = "start"
    """Where steps are counted from; ``end`` when the last one is what is asked about."""
    variance_width: int = Field(default=64, ge=0)
    """Width of the layers that doubt; 0: what is stated is the spread."""
    linear: bool = False
    """Whether a linear reading of each sequence's pooled features (its last step where positions
    count from the end, else its mean) is averaged with the deep one. Each is trained by itself:
    they err differently, and with few data that is worth more than depth."""
    quality: bool = True
    """Ablation: False hides the properties of the signals (see ``Novelty``) from all variances."""
    novelty: bool = False
    """Whether sequences that are unlike those of the training data raise the variance."""
    recency: bool = False
    """Whether labels read with a learned preference for late steps, one slope per head."""
    reliability: bool = True
    """Ablation: False weighs all present modalities equally, whatever their variances."""
    masks: bool = True
    """Ablation: False takes padding and missing modalities for zeros that were observed."""

    @model_validator(mode="after")
    def _heads_fit(self) -> DefaultHyper:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class DefaultOutput(NamedTuple):
    """See ``network.Output``."""

    logit: Tensor
    spread: Tensor
    variance: Tensor
    modality_logit: Tensor
    """(B, M, C)"""
    modality_spread: Tensor
    """(B, M, C)"""
    modality_variance: Tensor
    doubt: Tensor | None
    modality_doubt: Tensor | None
    deep: Tensor
    """(B, C) the logit of the distributions alone."""
    linear: Tensor | None
    """(B, C) that of the pooled features alone."""
    mu: Tensor
    """(B, M, C, z)"""
    log_var: Tensor
    """(B, M, C, z)"""
    novelty: Tensor
    present: Tensor


class Encoder(nn.Module):
    """The sequence of one modality in its context."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, hyper: DefaultHyper) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.input = nn.Linear(dim, hyper.width)
        self.missing = nn.Parameter(torch.randn(hyper.width) * 0.02)
        self.input_dropout = Dropout(hyper.input_dropout)
        self.dropout = Dropout(hyper.dropout)
        self.layers = nn.ModuleList(
            Layer(hyper.width, hyper.heads, hyper.feed_forward, hyper.dropout)
            for _ in range(hyper.layers)
        )
        self.norm = nn.LayerNorm(hyper.width)
        self.from_end = hyper.positions == "end"
        self.novelty = Novelty() if hyper.novelty or hyper.quality else None

    def quality(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, K) properties of the sequence as a signal, see ``Novelty``."""
        if self.novelty is None:
            return features.new_zeros(len(features), PROPERTIES)
        return self.novelty.quality(self._normalised(features), mask)

    def learn_usual(self, features: Tensor, mask: Tensor) -> None:
        """From training data (N, L, D) and (N, L), where each has a valid step."""
        if self.novelty is not None and len(features) > 1:
            self.novelty.learn(self._normalised(features), mask)

    def _normalised(self, features: Tensor) -> Tensor:
        return ((features - self.mean) * self.scale).clamp(-INPUT_LIMIT, INPUT_LIMIT)

    def pooled(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, D): the last valid step, or the mean of all; 0 where there is none."""
        weight = mask.to(features.dtype)
        if self.from_end:
            weight = weight * (age(mask) == 0)
        share = weight / weight.sum(dim=1, keepdim=True).clamp_min(1.0)
        return (share[..., None] * self._normalised(features)).sum(dim=1)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, L, D) and mask (B, L) -> states (B, L, d) and valid (B, L).

        A sample without a valid step gets the learned token as its only step, so that attention
        always has something to read.
        """
        x = self.input(self.input_dropout(self._normalised(features)))
        step = torch.arange(x.shape[1], device=x.device)
        place = age(mask) if self.from_end else step
        x = x + sinusoids(place, x.shape[2]).to(x.dtype)
        first = step == 0
        absent = ~mask.any(dim=1, keepdim=True) & first
        x = torch.where(absent[..., None], self.missing.to(x.dtype), x)
        valid = mask | absent
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, valid)
        return self.norm(x), valid


class LabelReader(nn.Module):
    """Emotion-space mapping: each label reads from the sequence what concerns it."""

    def __init__(self, hyper: DefaultHyper) -> None:
        super().__init__()
        self.attention = Attention(hyper.width, hyper.heads)
        self.dropout = Dropout(hyper.dropout)
        self.feed_forward = FeedForward(hyper.width, hyper.feed_forward, hyper.dropout)
        # From all but blind to what was before (a factor exp(-4) per step) to almost indifferent.
        slopes = 4.0 * 0.5 ** torch.arange(hyper.heads)
        self.log_slope = nn.Parameter(slopes.log()) if hyper.recency else None

    def forward(self, labels: Tensor, states: Tensor, valid: Tensor) -> Tensor:
        """Labels (C, d), states (B, L, d) and valid (B, L) -> (B, C, d)."""
        query = labels.expand(len(states), -1, -1)
        bias = None
        if self.log_slope is not None:
            bias = -self.log_slope.exp()[:, None, None] * age(valid)[:, None, None, :]
        x = query + self.dropout(self.attention(query, states, valid, bias))
        return x + self.feed_forward(x)  # type: ignore[no-any-return]  # a torch call is Any


class Distribution(nn.Module):
    """Latent emotional distribution of one modality, shared over labels."""

    def __init__(self, hyper: DefaultHyper) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.LayerNorm(hyper.width), nn.Linear(hyper.width, hyper.latent), nn.GELU()
        )
        self.mu = nn.Linear(hyper.latent, hyper.latent)
        self.log_var = nn.Linear(hyper.latent, hyper.latent)
        self.quality: nn.Module | None = None
        if hyper.quality:
            self.quality = nn.Sequential(
                nn.Linear(PROPERTIES, hyper.latent),
                nn.GELU(),
                nn.Linear(hyper.latent, hyper.latent),
            )

    def forward(self, reading: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, d) and (B, K) -> mu, log_var (B, C, z)."""
        hidden = self.trunk(reading)
        log_var = self.log_var(hidden)
        if self.quality is not None:
            log_var = log_var + self.quality(quality.to(hidden.dtype))[:, None]
        return self.mu(hidden).float(), _bounded(log_var)


class Doubt(nn.Module):
    """How many times the expected squared error of a probability is to be expected of such signals.

    What was read, and what was made of it, is not looked at: training errors would be learnt by
    heart.
    """

    def __init__(self, modalities: int, labels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(modalities * (PROPERTIES + 1), width)
        self.label = nn.Parameter(torch.zeros(labels, width))
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, quality: Tensor, present: Tensor) -> Tensor:
        """Properties of the signals (B, M, K) and which there are (B, M) -> factor (B, C)."""
        signal = torch.cat([quality.flatten(1), present.to(quality.dtype)], dim=1)
        hidden = functional.gelu(self.hidden(signal)[:, None] + self.label)
        return _bounded(self.out(hidden)).squeeze(-1).exp()


def _bounded(log_variance: Tensor) -> Tensor:
    """Within +-LOG_VARIANCE_LIMIT."""
    return LOG_VARIANCE_LIMIT * torch.tanh(log_variance.float() / LOG_VARIANCE_LIMIT)


class DefaultNet(Network):
    """All of the above for one spec and label set; see the module's docstring."""

    prior_logit: Tensor
    floor: Tensor

    def __init__(self, spec: FeatureSpec, labels: int, hyper: DefaultHyper) -> None:
        super().__init__()
        count = len(spec.modalities)
        self.prior_precision = 1.0 / hyper.prior_variance
        self.logit_limit = hyper.logit_limit
        self.reliability = hyper.reliability
        self.novelty = hyper.novelty
        self.steps = None if hyper.masks else [each.steps for each in spec.modalities]
        floor = [hyper.variance_floor.get(name, SMALLEST_VARIANCE) for name in spec.names]
        self.register_buffer("floor", torch.tensor(floor)[:, None], persistent=False)
        self.labels = nn.Parameter(torch.randn(labels, hyper.width) * hyper.width**-0.5)
        self.encoders = nn.ModuleList(Encoder(each.dim, hyper) for each in spec.modalities)
        self.readers = nn.ModuleList(LabelReader(hyper) for _ in range(count))
        self.distributions = nn.ModuleList(Distribution(hyper) for _ in range(count))
        self.weight = nn.Parameter(torch.randn(count, labels, hyper.latent) * hyper.latent**-0.5)
        self.bias = nn.Parameter(torch.zeros(count, labels))
        self.conflict = nn.Parameter(torch.full((labels,), -1.0))
        self.register_buffer("prior_logit", torch.zeros(labels))
        self.doubts: nn.ModuleList | None = None
        if hyper.variance_width:
            sizes = [*[1] * count, count]
            self.doubts = nn.ModuleList(Doubt(m, labels, hyper.variance_width) for m in sizes)
        self.linear: nn.Linear | None = None
        if hyper.linear:
            self.linear = nn.Linear(sum(each.dim for each in spec.modalities), labels)
            nn.init.zeros_(self.linear.weight)
        self.interaction: nn.Module | None = None
        if hyper.interaction and count > 1:
            last = nn.Linear(hyper.latent, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.interaction = nn.Sequential(
                nn.LayerNorm(count * hyper.latent),
                nn.Linear(count * hyper.latent, hyper.latent),
                nn.GELU(),
                Dropout(hyper.dropout),
                last,
            )

    def set_normalisation(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        encoder = self._encoders()[index]
        encoder.mean.copy_(mean)
        encoder.scale.copy_(1.0 / deviation.clamp_min(1e-3))

    def set_usual(self, index: int, features: Tensor, mask: Tensor) -> None:
        self._encoders()[index].learn_usual(features, mask)

    def set_base_rate(self, rate: Tensor) -> None:
        self.prior_logit.copy_(torch.logit(rate, eps=1e-3))

    def losses(
        self, out: DefaultOutput, target: Tensor, weight: Tensor, config: LossConfig
    ) -> dict[str, Tensor]:
        terms = losses(out, target, weight, config)
        if out.linear is not None and self.linear is not None:
            terms["linear"] = cross_entropy(out.linear, target, weight).mean()
            terms["total"] = terms["total"] + terms["linear"]
            terms["total"] = (
                terms["total"] + config.linear_decay * self.linear.weight.square().sum()
            )
        return terms

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> DefaultOutput:
        if self.steps is not None:
            pairs = [unmasked(x, steps) for x, steps in zip(features, self.steps, strict=True)]
            features, mask = [x for x, _ in pairs], [valid for _, valid in pairs]
        quality = [
            encoder.quality(x, valid)
            for encoder, x, valid in zip(self._encoders(), features, mask, strict=True)
        ]
        latents = [self._latent(m, features[m], mask[m], quality[m]) for m in range(len(features))]
        mu = torch.stack([each[0] for each in latents], dim=1)
        log_var = torch.stack([each[1] for each in latents], dim=1)
        signals = torch.stack(quality, dim=1).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        present = torch.stack([each.any(dim=1) for each in mask], dim=1)
        # A linear map of a Gaussian: no sampling is needed to know the logit's mean and variance.
        modality_logit = (self.weight * mu).sum(-1) + self.bias
        if self.logit_limit is not None:
            modality_logit = self.logit_limit * torch.tanh(modality_logit / self.logit_limit)
        modality_spread = (self.weight.square() * log_var.exp()).sum(-1) + self.floor
        logit, spread = self._fuse(modality_logit, modality_spread, present)
        together = mu.transpose(1, 2).flatten(2)
        if self.interaction is not None:
            correction = self.interaction(together).float().squeeze(-1)
            logit = logit + correction * present.any(dim=1, keepdim=True)
        deep, linear = logit, None
        if self.linear is not None:
            pooled = [
                x.pooled(*each) for x, *each in zip(self._encoders(), features, mask, strict=True)
            ]
            linear = self.linear(torch.cat(pooled, dim=1)).float()
            logit = 0.5 * (deep + linear)
        variance, modality_variance = spread.detach(), modality_spread.detach()
        doubt, modality_doubt = None, None
        if self.doubts is not None:
            *each, last = self.doubts
            alone = [x(signals[:, m, None], present[:, m, None]) for m, x in enumerate(each)]
            modality_doubt = torch.stack(alone, dim=1)
            # With nothing there, training teaches nothing: no doubt beyond that of the prior.
            doubt = torch.where(present.any(dim=1, keepdim=True), last(signals, present), 1.0)
            variance = doubt * expected_error(logit.detach(), variance)
            modality_variance = modality_doubt * expected_error(
                modality_logit.detach(), modality_variance
            )
        novelty = torch.zeros_like(present, dtype=torch.float32)
        if self.novelty:
            novelty = self._novelty(signals)
            spread = spread + novelty.amax(dim=1, keepdim=True) / self.prior_precision
        return DefaultOutput(
            logit,
            spread,
            variance,
            modality_logit,
            modality_spread,
            modality_variance,
            doubt,
            modality_doubt,
            deep,
            linear,
            mu,
            log_var,
            novelty,
            present,
        )

    def _novelty(self, signals: Tensor) -> Tensor:
        """(B, M) from 0 for inputs as in training to 1 for others.

        Of each present modality, beyond what nearly all training data stay within.
        """
        judged = [
            encoder.novelty(signals[:, m])
            for m, encoder in enumerate(self._encoders())
            if encoder.novelty is not None
        ]
        return 1.0 - torch.exp(-NOVELTY_STEEPNESS * torch.stack(judged, dim=1))

    def _encoders(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]

    def _latent(
        self, m: int, features: Tensor, mask: Tensor, quality: Tensor
    ) -> tuple[Tensor, ...]:
        """mu, log_var (B, C, z) of modality `m`; samples without it share one token."""
        if mask.is_cuda or torch.compiler.is_compiling():  # no wait for how many there are
            return self._encode(m, features, mask, quality)
        index = mask.any(dim=1).nonzero().squeeze(1)
        if len(index) == len(mask):
            return self._encode(m, features, mask, quality)
        nothing = torch.zeros_like(quality[:1])
        absent = self._encode(m, features[:1, :1], torch.zeros_like(mask[:1, :1]), nothing)
        filled = [each.repeat(len(mask), 1, 1) for each in absent]
        if len(index):
            found = self._encode(m, features[index], mask[index], quality[index])
            filled = [x.index_copy(0, index, y) for x, y in zip(filled, found, strict=True)]
        return tuple(filled)

    def _encode(
        self, m: int, features: Tensor, mask: Tensor, quality: Tensor
    ) -> tuple[Tensor, ...]:
        states, valid = self.encoders[m](features, mask)
        reading = self.readers[m](self.labels, states, valid)
        mu, log_var = self.distributions[m](reading, quality)
        return mu, log_var

    def _fuse(self, logit: Tensor, variance: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, C) twice and (B, M) -> mean and variance (B, C).

        Inverse-variance weighting over what is present and a wide prior, which alone speaks when
        nothing is present. Each modality that is added lowers the variance; modalities that
        contradict each other raise it again by their weighted spread.
        """
        precision = present[..., None] / variance
        if not self.reliability:
            count = present.sum(dim=1, keepdim=True).clamp_min(1)[..., None]
            level = (variance * present[..., None]).sum(dim=1, keepdim=True) / count
            precision = present[..., None] / level.clamp_min(SMALLEST_VARIANCE)
        evidence = precision.sum(dim=1)
        total = evidence + self.prior_precision
        weighted = (precision * logit).sum(dim=1)
        mean = (weighted + self.prior_precision * self.prior_logit) / total
        centre = weighted / evidence.clamp_min(1e-9)
        spread = (precision * (logit - centre[:, None]).square()).sum(dim=1) / total
        return mean, 1.0 / total + functional.softplus(self.conflict) * spread
