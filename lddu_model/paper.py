"""The `paper` model: the released code's LDDU (arXiv 2502.13954), for the comparison tables.

Shape legend
    B samples   M = 3 modalities   C labels   L steps of a modality   D its features per step
    d = 256 width   z = 128 latent dimensions of an emotion

    features_m (B, L, D) --LayerNorm, Encoder-->  states_m (B, L, d)     post-norm, like BERT
    states_m             --EmotionSpace-->        Z_m (B, C, d)          labels read the sequence
    Z_m                  --Latent-->              mu_m, sigma_m (B, C, z)
    all Z_m              --direct head-->         y_dir (B, C)           one for all labels
    all mu_m             --centre heads-->        y_mu (B, C)            one per label
    all sigma_m          --uncertainty heads-->   y_sigma (B, C)         one per label
    y = y_dir y_mu + (1 - y_dir) y_sigma          u = |all sigma_m| (B, C)

``variance`` is u squared. It is not the variance of the logit, and nothing ties it to errors.

What differs from the release, none of it in a value: its unused pooler is left out; the mixture is
computed in log space, so that the loss stands half precision; C, D, L and M come from the spec; and
padding is not attended to unless ``masks`` is false, which is what the release does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from lddu_model.dropout import Dropout, dropout
from lddu_model.network import Network, unmasked
from lddu_model.paper_losses import ContrastQueue, PaperLossConfig, paper_losses
from lddu_model.spec import FeatureSpec

MANY_STEPS = 128
EPS = 1e-12
"""Of every LayerNorm."""


class PaperHyper(BaseModel):
    """Hyper-parameters of the `paper` model; the defaults are the release's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=256, ge=8)
    heads: int = Field(default=8, ge=1)
    layers: int = Field(default=3, ge=1)
    latent: int = Field(default=128, ge=2)
    latent_hidden: int = Field(default=192, ge=2)
    positions: int = Field(default=60, ge=1)
    """Rows of the position table at least; a modality with more steps gets as many as it has."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """In the encoders, also on attention weights."""
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    queue: int = Field(default=8192, ge=0)
    """Distributions of earlier batches that the contrast compares with."""
    masks: bool = True
    """False attends to padding, as the release does."""

    @model_validator(mode="after")
    def _heads_fit(self) -> PaperHyper:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class PaperOutput(NamedTuple):
    """See ``network.Output``."""

    logit: Tensor
    """(B, C) of the mixture."""
    spread: Tensor
    """Zeros: sigma is no variance of the logit."""
    variance: Tensor
    """(B, C) u squared."""
    modality_logit: None
    modality_variance: Tensor
    """(B, M, C) each modality's part of it."""
    doubt: None
    modality_doubt: None
    direct: Tensor
    """(B, C) logit of y_dir."""
    mu: Tensor
    """(B, M, C, z)"""
    sigma: Tensor
    """(B, M, C, z)"""
    novelty: Tensor
    present: Tensor
    """(B, M) bool"""


class SelfAttention(nn.Module):
    """Multi-head self-attention with dropout on its weights."""

    def __init__(self, hyper: PaperHyper) -> None:
        super().__init__()
        self.heads = hyper.heads
        self.dropout = hyper.dropout
        self.query_key_value = nn.Linear(hyper.width, 3 * hyper.width)
        self.out = nn.Linear(hyper.width, hyper.width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        parts = self.query_key_value(x).view(*x.shape[:2], 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = valid[:, None, None, :]
        if self.training and self.dropout:
            if x.shape[1] > MANY_STEPS:
                read = checkpoint(self._dropping, query, key, value, mask, use_reentrant=False)
            else:
                read = self._dropping(query, key, value, mask)
        else:
            read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        joined: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return joined

    def _dropping(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """The same with dropout on the weights, which no fused kernel has on a CPU.

        Of long sequences it is computed again in the backward pass, for the weights of all layers
        would be 12 GB for 64 samples of 500 steps.
        """
        score = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        weight = score.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return dropout(weight, self.dropout, training=True) @ value


class PostNormLayer(nn.Module):
    """Attention and feed-forward, each followed by dropout, residual and LayerNorm."""

    def __init__(self, hyper: PaperHyper) -> None:
        super().__init__()
        self.attention = SelfAttention(hyper)
        self.attention_norm = nn.LayerNorm(hyper.width, eps=EPS)
        self.up = nn.Linear(hyper.width, hyper.width)
        self.down = nn.Linear(hyper.width, hyper.width)
        self.norm = nn.LayerNorm(hyper.width, eps=EPS)
        self.dropout = Dropout(hyper.dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, valid)))
        more = self.down(functional.gelu(self.up(x)))
        return self.norm(x + self.dropout(more))  # type: ignore[no-any-return]  # torch: Any


class PaperEncoder(nn.Module):
    """The sequence of one modality in its context."""

    def __init__(self, dim: int, steps: int, hyper: PaperHyper) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(dim, eps=EPS)
        self.input = nn.Linear(dim, hyper.width)
        self.positions = nn.Parameter(torch.zeros(max(steps, hyper.positions), hyper.width))
        self.norm = nn.LayerNorm(hyper.width, eps=EPS)
        self.dropout = Dropout(hyper.dropout)
        self.layers = nn.ModuleList(PostNormLayer(hyper) for _ in range(hyper.layers))
        nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Features (B, L, D) and valid (B, L) -> states (B, L, d)."""
        x: Tensor = self.input(self.input_norm(features)) + self.positions[: features.shape[1]]
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x = layer(x, valid)
        return x


class EmotionSpace(nn.Module):
    """Labels read the sequence: one head, one projection for keys and values, no residual."""

    def __init__(self, hyper: PaperHyper) -> None:
        super().__init__()
        self.query = nn.Linear(hyper.width, hyper.width)
        self.key_value = nn.Linear(hyper.width, hyper.width)
        self.dropout = Dropout(hyper.head_dropout)
        self.out = nn.Linear(hyper.width, hyper.width)

    def forward(self, labels: Tensor, states: Tensor, valid: Tensor) -> Tensor:
        """Labels (C, d), states (B, L, d) and valid (B, L) -> (B, C, d)."""
        key = self.key_value(states)
        read = functional.scaled_dot_product_attention(
            self.query(labels).expand(len(states), -1, -1), key, key, attn_mask=valid[:, None, :]
        )
        mapped: Tensor = self.out(self.dropout(read))
        return mapped


class Latent(nn.Module):
    """Latent emotional distribution of one modality, shared over labels; used without sampling."""

    def __init__(self, hyper: PaperHyper) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(hyper.width, hyper.latent_hidden),
            nn.ReLU(),
            nn.Linear(hyper.latent_hidden, hyper.latent),
            nn.ReLU(),
            nn.Linear(hyper.latent, hyper.latent),
            nn.ReLU(),
        )
        self.mu = nn.Linear(hyper.latent, hyper.latent)
        self.log_var = nn.Linear(hyper.latent, hyper.latent)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, d) -> mu, sigma (B, C, z)."""
        hidden = self.trunk(z)
        return self.mu(hidden).float(), (0.5 * self.log_var(hidden).float()).exp()


class Head(nn.Sequential):
    """(..., dim) -> (..., 1), a logit."""

    def __init__(self, dim: int, hyper: PaperHyper) -> None:
        super().__init__(
            nn.Linear(dim, hyper.latent),
            Dropout(hyper.head_dropout),
            nn.ReLU(),
            nn.Linear(hyper.latent, 1),
        )


class PaperNet(Network):
    """All of the above; see the module's docstring."""

    def __init__(self, spec: FeatureSpec, labels: int, hyper: PaperHyper) -> None:
        super().__init__()
        count = len(spec.modalities)
        self.steps = None if hyper.masks else [each.steps for each in spec.modalities]
        self.encoders = nn.ModuleList(
            PaperEncoder(each.dim, each.steps, hyper) for each in spec.modalities
        )
        self.labels = nn.Parameter(nn.init.xavier_uniform_(torch.empty(labels, hyper.width)))
        self.spaces = nn.ModuleList(EmotionSpace(hyper) for _ in range(count))
        self.latents = nn.ModuleList(Latent(hyper) for _ in range(count))
        self.direct = Head(count * hyper.width, hyper)
        self.centre = nn.ModuleList(Head(count * hyper.latent, hyper) for _ in range(labels))
        self.uncertainty = nn.ModuleList(Head(count * hyper.latent, hyper) for _ in range(labels))
        self.queue = ContrastQueue(hyper.queue, 2 * hyper.latent)

    def set_normalisation(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        """Nothing: a LayerNorm over the features of each step does it."""

    def set_base_rate(self, rate: Tensor) -> None:
        """Nothing: this model has no prior."""

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> PaperOutput:
        present = torch.stack([each.any(dim=1) for each in mask], dim=1)
        mapped = [self._map(m, features[m], mask[m]) for m in range(len(features))]
        latents = [latent(z) for latent, z in zip(self.latents, mapped, strict=True)]
        mu = torch.stack([each[0] for each in latents], dim=1)
        sigma = torch.stack([each[1] for each in latents], dim=1)
        direct = self.direct(torch.cat(mapped, dim=-1)).squeeze(-1).float()
        centre = _per_label(self.centre, mu)
        uncertainty = _per_label(self.uncertainty, sigma)
        each = sigma.square().sum(-1)
        logit = mixture_logit(direct, centre, uncertainty)
        none = torch.zeros_like(logit)
        familiar = torch.zeros_like(present, dtype=torch.float32)
        return PaperOutput(
            logit, none, each.sum(1), None, each, None, None, direct, mu, sigma, familiar, present
        )

    def losses(
        self, out: PaperOutput, target: Tensor, weight: Tensor, config: PaperLossConfig
    ) -> dict[str, Tensor]:
        return paper_losses(out, target, weight, config, self.queue)

    def _map(self, m: int, features: Tensor, mask: Tensor) -> Tensor:
        """Z (B, C, d) of modality `m`; one that is absent is read as a single step of zeros."""
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        valid = mask | (~mask.any(dim=1, keepdim=True) & first)
        if self.steps is not None:
            features, valid = unmasked(features, self.steps[m])
        states = self.encoders[m](features, valid)
        mapped: Tensor = self.spaces[m](self.labels, states, valid)
        return mapped


def mixture_logit(direct: Tensor, centre: Tensor, uncertainty: Tensor) -> Tensor:
    """The logit of p(direct) p(centre) + (1 - p(direct)) p(uncertainty), from three logits."""
    yes, no = logsigmoid(direct), logsigmoid(-direct)
    there = torch.logaddexp(yes + logsigmoid(centre), no + logsigmoid(uncertainty))
    absent = torch.logaddexp(yes + logsigmoid(-centre), no + logsigmoid(-uncertainty))
    return there - absent


def _per_label(heads: nn.ModuleList, latent: Tensor) -> Tensor:
    """Head c on what all modalities say of label c: (B, M, C, z) -> (B, C)."""
    said = latent.transpose(1, 2).flatten(2)
    return torch.cat([head(said[:, c]) for c, head in enumerate(heads)], dim=1).float()
