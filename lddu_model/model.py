"""The `default` model: latent emotional distributions per modality, fused by their certainty.

Shape legend
    B samples   M modalities   C labels   L steps of a modality   D its features per step
    d width of the encoders (`width`)     z latent dimensions of an emotion (`latent`)

    features_m (B, L, D) --Encoder-->      states_m (B, L, d)      one encoder per modality
    states_m             --LabelReader-->  reading_m (B, C, d)     one query per label
    reading_m            --Distribution--> mu, log_var (B, C, z)   N(mu, diag exp(log_var))
    mu, log_var          --linear-->       logit_m, var_m (B, C)   exact: the map is linear
    all logit_m, var_m   --fuse-->         logit, variance (B, C)

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
from lddu_model.network import Network, sinusoids, unmasked
from lddu_model.novelty import Novelty
from lddu_model.spec import FeatureSpec

INPUT_LIMIT = 8.0
"""Normalised features are cut to this many standard deviations."""
LOG_VARIANCE_LIMIT = 5.0
SMALLEST_VARIANCE = 0.01
NOVELTY_STEEPNESS = 3.0
"""How fast distance beyond what is usual becomes variance: at a third beyond it is 63 %."""


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
    variance_width: int = Field(default=0, ge=0)
    """Width of layers that only variances have; 0: they share the trunk of the means."""
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
    variance: Tensor
    modality_logit: Tensor
    """(B, M, C)"""
    modality_variance: Tensor
    mu: Tensor
    """(B, M, C, z)"""
    log_var: Tensor
    """(B, M, C, z)"""
    present: Tensor
    apart: tuple[Tensor, Tensor]
    """`variance` and `modality_variance` again; their gradients reach what makes variances only."""


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
        self.novelty = Novelty() if hyper.novelty else None

    def surprise(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B,) see ``Novelty``; 0 without it."""
        if self.novelty is None:
            return features.new_zeros(len(features))
        return self.novelty(self._normalised(features), mask)  # type: ignore[no-any-return]  # torch: Any

    def learn_usual(self, features: Tensor, mask: Tensor) -> None:
        """From training data (N, L, D) and (N, L), where each has a valid step."""
        if self.novelty is not None and len(features) > 1:
            self.novelty.learn(self._normalised(features), mask)

    def _normalised(self, features: Tensor) -> Tensor:
        return ((features - self.mean) * self.scale).clamp(-INPUT_LIMIT, INPUT_LIMIT)

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
        self.doubt: nn.Sequential | None = None
        if hyper.variance_width:
            self.doubt = nn.Sequential(
                nn.LayerNorm(hyper.width),
                nn.Linear(hyper.width, hyper.variance_width),
                nn.GELU(),
                nn.Linear(hyper.variance_width, hyper.latent),
                nn.GELU(),
            )

    def forward(self, reading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, d) -> mu, log_var (B, C, z), and log_var whose gradient ends at its own layers.

        log_var stays within +-LOG_VARIANCE_LIMIT.
        """
        hidden = self.trunk(reading)
        mu = self.mu(hidden).float()
        if self.doubt is not None:
            log_var = self._bounded(self.doubt(reading.detach()))
            return mu, log_var, log_var
        return mu, self._bounded(hidden), self._bounded(hidden.detach())

    def _bounded(self, hidden: Tensor) -> Tensor:
        log_var = self.log_var(hidden).float() / LOG_VARIANCE_LIMIT
        return LOG_VARIANCE_LIMIT * torch.tanh(log_var)


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
        encoder = self.encoders[index]
        assert isinstance(encoder, Encoder)
        encoder.mean.copy_(mean)
        encoder.scale.copy_(1.0 / deviation.clamp_min(1e-3))

    def set_usual(self, index: int, features: Tensor, mask: Tensor) -> None:
        encoder = self.encoders[index]
        assert isinstance(encoder, Encoder)
        encoder.learn_usual(features, mask)

    def set_base_rate(self, rate: Tensor) -> None:
        self.prior_logit.copy_(torch.logit(rate, eps=1e-3))

    def losses(
        self, out: DefaultOutput, target: Tensor, weight: Tensor, config: LossConfig
    ) -> dict[str, Tensor]:
        return losses(out, target, weight, config)

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> DefaultOutput:
        if self.steps is not None:
            pairs = [unmasked(x, steps) for x, steps in zip(features, self.steps, strict=True)]
            features, mask = [x for x, _ in pairs], [valid for _, valid in pairs]
        latents = [self._latent(m, features[m], mask[m]) for m in range(len(features))]
        mu = torch.stack([each[0] for each in latents], dim=1)
        log_var = torch.stack([each[1] for each in latents], dim=1)
        log_var_apart = torch.stack([each[2] for each in latents], dim=1)
        present = torch.stack([each.any(dim=1) for each in mask], dim=1)
        # A linear map of a Gaussian: no sampling is needed to know the logit's mean and variance.
        modality_logit = (self.weight * mu).sum(-1) + self.bias
        if self.logit_limit is not None:
            modality_logit = self.logit_limit * torch.tanh(modality_logit / self.logit_limit)
        modality_variance = self._spread(self.weight, log_var)
        logit, variance = self._fuse(modality_logit, modality_variance, present)
        alone = self._spread(self.weight.detach(), log_var_apart)
        _, fused = self._fuse(modality_logit.detach(), alone, present)
        if self.novelty:
            surprise = self._surprise(features, mask)
            variance, fused = variance + surprise, fused + surprise
        if self.interaction is not None:
            together = self.interaction(mu.transpose(1, 2).flatten(2)).float().squeeze(-1)
            logit = logit + together * present.any(dim=1, keepdim=True)
        return DefaultOutput(
            logit,
            variance,
            modality_logit,
            modality_variance,
            mu,
            log_var,
            present,
            (fused, alone),
        )

    def _spread(self, weight: Tensor, log_var: Tensor) -> Tensor:
        """Variance (B, M, C) of a linear map of N(., exp(log_var)), log_var (B, M, C, z)."""
        return (weight.square() * log_var.exp()).sum(-1) + self.floor

    def _surprise(self, features: list[Tensor], mask: list[Tensor]) -> Tensor:
        """(B, 1) variance for what training did not see: 0 for usual inputs, at most the prior's.

        Of each present modality, beyond what nearly all training data stay within.
        """
        each = []
        for encoder, x, valid in zip(self.encoders, features, mask, strict=True):
            assert isinstance(encoder, Encoder)
            each.append(encoder.surprise(x, valid))
        excess = torch.stack(each, dim=1).sum(dim=1, keepdim=True)
        return (1.0 - torch.exp(-NOVELTY_STEEPNESS * excess)) / self.prior_precision

    def _latent(self, m: int, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """What ``Distribution`` gives for modality `m`; samples without it share one token."""
        if mask.is_cuda or torch.compiler.is_compiling():  # no wait for how many there are
            return self._encode(m, features, mask)
        index = mask.any(dim=1).nonzero().squeeze(1)
        if len(index) == len(mask):
            return self._encode(m, features, mask)
        absent = self._encode(m, features[:1, :1], torch.zeros_like(mask[:1, :1]))
        filled = [each.repeat(len(mask), 1, 1) for each in absent]
        if len(index):
            found = self._encode(m, features[index], mask[index])
            filled = [x.index_copy(0, index, y) for x, y in zip(filled, found, strict=True)]
        return tuple(filled)

    def _encode(self, m: int, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        states, valid = self.encoders[m](features, mask)
        found: tuple[Tensor, ...] = self.distributions[m](
            self.readers[m](self.labels, states, valid)
        )
        return found

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
