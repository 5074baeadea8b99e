"""How unlike the training data a sequence is, from simple statistics of its features.

Shapes: B samples, N training samples, L steps, D features per step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

COMPONENTS = 8
"""Directions in which the statistics of the training data vary together."""
USUAL = 0.95
"""Share of the training data that is not surprising at all."""


class Novelty(nn.Module):
    """0 for sequences as most of the training data, growing with the distance beyond them."""

    usual: Tensor
    usual_scale: Tensor
    common: Tensor
    rest_scale: Tensor
    limit: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(2 * dim))
        self.register_buffer("usual_scale", torch.ones(2 * dim))
        self.register_buffer("common", torch.zeros(min(COMPONENTS, dim // 4), 2 * dim))
        self.register_buffer("rest_scale", torch.ones(2 * dim))
        self.register_buffer("limit", torch.ones(()))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Normalised features (B, L, D) and mask (B, L) -> (B,); 0 where nothing is valid."""
        beyond = functional.relu(self._distance(features, mask) / self.limit - 1.0)
        return beyond * mask.any(dim=1)

    def _statistics(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, 2 D) of each feature over the valid steps: mean in standard deviations, their log."""
        x, weight = features.float(), mask[..., None].float()
        count = weight.sum(dim=1).clamp_min(1.0)
        mean = (x * weight).sum(dim=1) / count
        square = ((x - mean[:, None]).square() * weight).sum(dim=1) / count + 0.01
        return torch.cat([mean / square.sqrt(), 0.5 * square.log()], dim=1)

    def _distance(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B,) mean square of what is unusual in the statistics, in usual sizes.

        What varies together in the training data (how loud, how noisy) is taken out first.
        """
        return (self._rest(self._statistics(features, mask)) / self.rest_scale).square().mean(dim=1)

    def _rest(self, statistics: Tensor) -> Tensor:
        z = (statistics - self.usual) / self.usual_scale
        return z - (z @ self.common.T) @ self.common

    @torch.no_grad()
    def learn(self, features: Tensor, mask: Tensor) -> None:
        """From training data (N, L, D) and (N, L), where each has a valid step."""
        found = self._statistics(features, mask)
        self.usual.copy_(found.mean(dim=0))
        self.usual_scale.copy_(found.std(dim=0).clamp_min(1e-2))
        z = (found - self.usual) / self.usual_scale
        directions = torch.linalg.svd(z, full_matrices=False)[2][: len(self.common)]
        self.common.zero_()[: len(directions)] = directions
        self.rest_scale.copy_(self._rest(found).std(dim=0).clamp_min(1e-3))
        self.limit.copy_(torch.quantile(self._distance(features, mask), USUAL).clamp_min(1e-3))
