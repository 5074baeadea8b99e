"""How unlike the training data a sequence is, by simple properties of it as a signal.

What noise does to features (it is not smooth, sits in few features or steps, freezes, has other
peaks) is much the same whatever the features are, and few properties tell it; a density of the
features themselves sees mostly how strong they are. Properties that are seen together in training,
also those of its noisy samples, are usual, and what is far from all of them is novel.

Shapes: B samples, N training samples, L steps, D features per step, K properties.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PROPERTIES = 10
NEIGHBOURS = 5
KNOWN = 1024
"""Training samples that are kept to compare with."""
USUAL = 0.99
"""Share of training data that is not novel at all."""
FEWEST = 50
"""With fewer training samples nothing is called novel."""
SMALL = 1e-3
UNKNOWN = 1e6
"""Fills places for samples that there were not; finite, as tensors of a checkpoint are."""


class Novelty(nn.Module):
    """0 for sequences as nearly all of the training data, growing with the distance beyond them."""

    usual: Tensor
    scale: Tensor
    known: Tensor
    limit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(PROPERTIES))
        self.register_buffer("scale", torch.ones(PROPERTIES))
        self.register_buffer("known", torch.zeros(KNOWN, PROPERTIES))
        self.register_buffer("limit", torch.tensor(torch.finfo(torch.float32).max))

    def forward(self, quality: Tensor) -> Tensor:
        """What ``quality`` gave (B, K) -> (B,); 0 where nothing is valid."""
        beyond = functional.relu(self._distance(quality) / self.limit - 1.0)
        return beyond * quality.any(dim=1)

    def quality(self, features: Tensor, mask: Tensor) -> Tensor:
        """Normalised features (B, L, D) and mask (B, L) -> (B, K) in standard deviations of the
        training data; 0 where nothing is valid.
        """
        found = (properties(features, mask) - self.usual) / self.scale
        return found * mask.any(dim=1, keepdim=True)

    def _distance(self, quality: Tensor) -> Tensor:
        """(B, K) -> (B,) mean distance to the nearest samples of the training data."""
        apart = torch.cdist(quality, self.known)
        return apart.topk(NEIGHBOURS, dim=1, largest=False).values.mean(dim=1)

    @torch.no_grad()
    def learn(self, features: Tensor, mask: Tensor, *, again: bool = False) -> None:
        """From training data (N, L, D) and (N, L), where each has a valid step.

        A quarter of it, not among what is compared with, tells which distances are usual.
        `again`: the network is trained on these properties already, so their scales stay.
        """
        parts = zip(torch.split(features, 256), torch.split(mask, 256), strict=True)
        found = torch.cat([properties(x, valid) for x, valid in parts])
        if not again:
            self.usual.copy_(found.mean(dim=0))
            self.scale.copy_(found.std(dim=0).clamp_min(SMALL))
        if len(found) < FEWEST:
            return
        found = (found - self.usual) / self.scale
        fourth = torch.arange(len(found)) % 4 == 3
        known = found[~fourth][:KNOWN]
        self.known.fill_(UNKNOWN)[: len(known)] = known
        limit = torch.quantile(self._distance(found[fourth]), USUAL)
        self.limit.copy_(limit.clamp_min(SMALL))


def properties(features: Tensor, mask: Tensor) -> Tensor:
    """Normalised features (B, L, D) and mask (B, L) -> (B, K) of each sequence as a signal."""
    x = features.float() * mask[..., None]
    count = mask.sum(dim=1).clamp_min(1).float()
    power = x.square()
    by_feature = power.sum(dim=1) / count[:, None]
    by_step = power.mean(dim=2)
    total = by_feature.mean(dim=1) + SMALL
    share = by_feature / total[:, None]
    mean = x.sum(dim=1) / count[:, None]
    change, largest = _changes(x, mask)
    found = [
        total.log(),
        (mean.square().mean(dim=1) + SMALL).log(),
        _autocorrelation(x, 1),
        _autocorrelation(x, 2),
        (share.amax(dim=1) + SMALL).log(),
        (share + SMALL).log().clamp_min(-4.6).mean(dim=1),
        (by_step.amax(dim=1) / total + SMALL).log(),
        (power.square().sum(dim=(1, 2)) / (count * x.shape[2]) / total.square() + SMALL).log(),
        change,
        largest,
    ]
    return torch.stack(found, dim=1)


def _autocorrelation(x: Tensor, lag: int) -> Tensor:
    """(B, L, D) -> (B,); steps that are not valid are zero. 0 for a sequence that is too short."""
    early, late = x[:, :-lag], x[:, lag:]
    there = (early.abs().sum(dim=2) * late.abs().sum(dim=2)) > 0
    early, late = early * there[..., None], late * there[..., None]
    size = early.square().sum(dim=(1, 2)) * late.square().sum(dim=(1, 2))
    return (early * late).sum(dim=(1, 2)) / (size + SMALL).sqrt()


def _changes(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the median and of the largest change between steps, over their mean: (B,) twice."""
    valid = mask[:, 1:] & mask[:, :-1]
    if not valid.shape[1]:
        return x.new_zeros(len(x)), x.new_zeros(len(x))
    change = (x[:, 1:] - x[:, :-1]).square().mean(dim=2)
    mean = (change * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1) + SMALL
    median = change.masked_fill(~valid, torch.nan).nanmedian(dim=1).values.nan_to_num(0.0)
    return (median / mean + 10 * SMALL).log(), (change * valid).amax(dim=1).div(mean).add(
        SMALL
    ).log()
