"""What the model is trained on: right probabilities, per-modality evidence, an honest variance.

Shapes: B samples, M modalities, C labels, z latent dimensions. Everything is computed in float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from lddu_model.network import Output, cross_entropy, moderated

MAX_RANKED = 512
"""Ranking compares at most so many estimates with each other (all pairs of a random draw)."""


class ClassWeights(BaseModel):
    """How much a positive of each label weighs; in the loss configuration of every variant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_weight_power: float = Field(default=0.5, ge=0, le=1)
    """Positives of a label weigh (negatives / positives) ** power: 0 = all equal, 1 = balanced."""
    class_weight_limit: float = Field(default=10.0, ge=1)


class LossConfig(ClassWeights):
    """Weights of the terms; 0 switches a term off. The loss on the fused estimate has weight 1."""

    auxiliary: float = Field(default=0.5, ge=0)
    """Each modality on its own."""
    contrast: float = Field(default=0.1, ge=0)
    ranking: float = Field(default=0.3, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    """Of the contrast."""
    linear_decay: float = Field(default=0.02, ge=0)
    """Times the squared weights of the linear reading."""


class Evidence(Output, Protocol):
    """What ``DefaultNet`` gives."""

    @property
    def modality_logit(self) -> Tensor:
        """(B, M, C)."""

    @property
    def deep(self) -> Tensor:
        """(B, C)."""

    @property
    def mu(self) -> Tensor:
        """(B, M, C, z)."""

    @property
    def log_var(self) -> Tensor:
        """(B, M, C, z)."""

    @property
    def modality_spread(self) -> Tensor:
        """(B, M, C)."""


def class_weights(labels: Tensor, config: ClassWeights) -> Tensor:
    """(N, C) training labels -> (C,) weight of a positive."""
    positives = labels.sum(dim=0).clamp_min(1.0)
    odds = (len(labels) - positives).clamp_min(1.0) / positives
    limit = config.class_weight_limit
    return odds.pow(config.class_weight_power).clamp(1.0 / limit, limit)


def losses(out: Evidence, target: Tensor, weight: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """All terms (scalars) and their weighted sum under ``total``.

    `target` (B, C) of 0 and 1, `weight` (C,) from ``class_weights``.
    """
    B, M, C = out.modality_logit.shape
    deep, fused = moderated(out.deep, out.spread), moderated(out.logit, out.spread)
    alone = moderated(out.modality_logit, out.modality_spread)
    each_target = target[:, None].expand(B, M, C)
    present = out.present[..., None].expand(B, M, C)
    terms = {"fused": cross_entropy(deep, target, weight).mean()}
    auxiliary = cross_entropy(alone, each_target, weight)
    terms["auxiliary"] = _mean_where(auxiliary, present)
    terms["contrast"] = contrast(out.mu, out.log_var, target, out.present, config.temperature)
    everywhere = torch.ones_like(target, dtype=torch.bool)
    terms["ranking"] = ranking(out.variance, fused, target, everywhere)
    terms["ranking"] = terms["ranking"] + ranking(
        out.modality_variance, alone, each_target, present
    )
    terms["total"] = (
        terms["fused"]
        + config.auxiliary * terms["auxiliary"]
        + config.contrast * terms["contrast"]
        + config.ranking * terms["ranking"]
    )
    return terms


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)


def contrast(mu: Tensor, log_var: Tensor, target: Tensor, present: Tensor, tau: float) -> Tensor:
    """Contrast of distributions inside each (modality, label) cell; anchors are the batch rows.

    A distribution is the direction of its mean beside that of its standard deviation. Rows with the
    same presence of the label attract each other. Cells are kept apart, because telling modalities
    and labels from each other is trivial and would teach nothing about presence.
    `mu`, `log_var` (B, M, C, z), `target` (B, C), `present` (B, M); scalar.
    """
    mean = functional.normalize(mu, dim=-1)
    deviation = functional.normalize((0.5 * log_var).exp(), dim=-1)
    v = torch.cat([mean, deviation], dim=-1).permute(1, 2, 0, 3)
    similarity = v @ v.transpose(-1, -2) / (2.0 * tau)
    there = present.T[:, None, :]
    other = ~torch.eye(len(mu), dtype=torch.bool, device=mu.device)
    pairs = there[..., :, None] & there[..., None, :] & other
    same = target.T[:, :, None] == target.T[:, None, :]
    positive = pairs & same[None]
    log_share = similarity - similarity.masked_fill(~pairs, -1e4).logsumexp(dim=-1, keepdim=True)
    count = positive.sum(dim=-1)
    per_anchor = -(log_share * positive).sum(dim=-1) / count.clamp_min(1)
    return _mean_where(per_anchor, count > 0)


def ranking(variance: Tensor, logit: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Of two estimates, the one with the larger error shall have the larger variance.

    Every pair costs softplus of the wrongly ordered log standard deviations, weighted by how much
    the errors differ (pairs of equal error say nothing). Errors are constants here: the term moves
    variances only. All tensors have one shape; estimates where `where` is False are left out.
    """
    chosen = where.flatten().nonzero().squeeze(1)
    if len(chosen) > MAX_RANKED:
        chosen = chosen[torch.randperm(len(chosen), device=chosen.device)[:MAX_RANKED]]
    log_deviation = 0.5 * variance.flatten()[chosen].log()
    error = (logit.sigmoid() - target).abs().detach().flatten()[chosen]
    gap = error[:, None] - error[None, :]
    wrong_way = -gap.sign() * (log_deviation[:, None] - log_deviation[None, :])
    importance = gap.abs()
    cost = (functional.softplus(wrong_way) * importance).sum()
    return cost / importance.sum().clamp_min(1e-6)
