"""The losses of the `paper` model, as released; lddu_model/losses.py has those of `default`.

Shapes: B samples, M modalities, C labels, z latent dimensions, Q places of the queue.
"""

from __future__ import annotations

from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lddu_model.losses import ClassWeights
from lddu_model.network import Output, cross_entropy

EMPTY = -1
"""Identity of a place of the queue that holds nothing."""


class PaperLossConfig(ClassWeights):
    """Weights of the terms; the defaults are the release's. The loss on y has weight 1."""

    class_weight_power: float = Field(default=0.0, ge=0, le=1)
    direct: float = Field(default=0.3, ge=0)
    """Of the cross-entropy of y_dir."""
    contrast: float = Field(default=1.0, ge=0)
    calibration: float = Field(default=0.3, ge=0)
    temperature: float = Field(default=0.07, gt=0)
    """Of the contrast."""


class Latents(Output, Protocol):
    """What ``PaperNet`` gives."""

    @property
    def direct(self) -> Tensor:
        """(B, C) logit of y_dir."""

    @property
    def mu(self) -> Tensor:
        """(B, M, C, z)."""

    @property
    def sigma(self) -> Tensor:
        """(B, M, C, z)."""


class ContrastQueue(nn.Module):
    """The newest Q distributions of earlier training batches, first in, first out."""

    vectors: Tensor
    ids: Tensor
    next: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        # Not part of a checkpoint: only training reads them.
        self.register_buffer("vectors", torch.zeros(size, dim), persistent=False)
        self.register_buffer("ids", torch.full((size,), EMPTY), persistent=False)
        self.register_buffer("next", torch.zeros((), dtype=torch.long), persistent=False)

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor) -> None:
        """Replace the oldest by `vectors` (N, dim) with identities `ids` (N,)."""
        size = len(self.ids)
        vectors, ids = vectors[-size:] if size else vectors[:0], ids[-size:] if size else ids[:0]
        if not len(ids):
            return
        place = (self.next + torch.arange(len(ids), device=ids.device)) % size
        self.vectors[place] = vectors.detach()
        self.ids[place] = ids
        self.next.copy_((self.next + len(ids)) % size)


def paper_losses(
    out: Latents, target: Tensor, weight: Tensor, config: PaperLossConfig, queue: ContrastQueue
) -> dict[str, Tensor]:
    """All terms and ``total``; the batch joins `queue` when gradients are on."""
    v, ids = directions(out.mu, out.sigma), identities(target, out.mu.shape[1])
    terms = {
        "fused": cross_entropy(out.logit, target, weight).mean(),
        "direct": cross_entropy(out.direct, target, weight).mean(),
        "contrast": contrast(v, ids, queue, config.temperature),
        "calibration": calibration(out.variance.sqrt(), out.direct.sigmoid()),
    }
    if torch.is_grad_enabled():
        queue.push(v, ids)
    terms["total"] = (
        terms["fused"]
        + config.direct * terms["direct"]
        + config.contrast * terms["contrast"]
        + config.calibration * terms["calibration"]
    )
    return terms


def directions(mu: Tensor, sigma: Tensor) -> Tensor:
    """Of every distribution v = [mu / |mu| ; sigma / |sigma|]: (B * M * C, 2 z)."""
    both = (functional.normalize(mu, dim=-1), functional.normalize(sigma, dim=-1))
    return torch.cat(both, dim=-1).flatten(0, 2)


def identities(target: Tensor, modalities: int) -> Tensor:
    """A number for each (modality, label, presence): (B * M * C,), in the order of `directions`."""
    B, C = target.shape
    cell = torch.arange(modalities * C, device=target.device).view(1, modalities, C)
    return (2 * cell + (target > 0.5).long().view(B, 1, C)).flatten()


def contrast(v: Tensor, ids: Tensor, queue: ContrastQueue, tau: float) -> Tensor:
    """Equal identities attract, all others repel, in the batch and the queue; scalar.

    The release takes the queue's rows as anchors too. They say the same (the value is equal where
    the queue is distributed as the batch is) at seven times the cost, so anchors are batch rows.
    """
    known = queue.ids != EMPTY
    everyone = torch.cat([v, queue.vectors[known]])
    everyone_ids = torch.cat([ids, queue.ids[known]])
    similarity = v @ everyone.T / (2.0 * tau)
    itself = torch.arange(len(v), device=v.device)
    positive = ids[:, None] == everyone_ids[None, :]
    positive[itself, itself] = False
    others = similarity.clone()
    others[itself, itself] = -1e4  # finite: a row without any other stays a number
    normaliser = others.logsumexp(dim=1)
    count = positive.sum(dim=1)
    attracted = (similarity * positive).sum(dim=1) / count.clamp_min(1)
    per_anchor = (normaliser - attracted) * (count > 0)
    return per_anchor.sum() / (count > 0).sum().clamp_min(1)


def calibration(u: Tensor, direct: Tensor) -> Tensor:
    """Symmetric KL of uncertainties against predicted presences, both (B, C); scalar.

    u is made a distribution over the whole batch, y_dir one over the labels of each sample. The
    axes do not match and no error enters: it pulls u towards predicted presence.
    """
    log_p = u.flatten().log_softmax(0).view_as(u)
    log_c = direct.log_softmax(1)
    gap = log_c - log_p
    return 0.5 * ((log_c.exp() - log_p.exp()) * gap).sum() / u.numel()
