"""The parts of the `default` model and its hyper-parameters; ``model`` puts them together.

Shapes: see the legend in ``model``; K properties of a sequence as a signal.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from lddu_model.blocks import Attention, FeedForward, Layer, age
from lddu_model.dropout import Dropout
from lddu_model.network import sinusoids
from lddu_model.novelty import PROPERTIES, Novelty

INPUT_LIMIT = 8.0
"""Normalised features are cut to this many standard deviations."""
LOG_VARIANCE_LIMIT = 5.0
LARGEST_DOUBT = math.exp(LOG_VARIANCE_LIMIT)


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
    tell about other data. Elsewhere ``model.SMALLEST_VARIANCE``."""
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

    def learn_usual(self, features: Tensor, mask: Tensor, *, again: bool = False) -> None:
        """From training data (N, L, D) and (N, L), where each has a valid step."""
        if self.novelty is not None and len(features) > 1:
            self.novelty.learn(self._normalised(features), mask, again=again)

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
