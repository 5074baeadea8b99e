"""What every architecture is behind one interface, and the parts that several share.

Shapes: B samples, M modalities, C labels, L steps of a modality, D features per step.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Output(Protocol):
    """What every network computes; everything in float32. Each adds what its losses need."""

    @property
    def logit(self) -> Tensor:
        """(B, C)."""

    @property
    def spread(self) -> Tensor:
        """(B, C) variance of the logit that belongs into the probability; 0: none."""

    @property
    def variance(self) -> Tensor:
        """(B, C) stated."""

    @property
    def modality_logit(self) -> Tensor | None:
        """(B, M, C) what each modality alone says; None: they are not told apart."""

    @property
    def modality_variance(self) -> Tensor:
        """(B, M, C); meaningless where absent (see `present`)."""

    @property
    def doubt(self) -> Tensor | None:
        """(B, C) what `variance` is, in units of ``expected_error``; None: it has other units."""

    @property
    def modality_doubt(self) -> Tensor | None:
        """(B, M, C) the same of `modality_variance`."""

    @property
    def novelty(self) -> Tensor:
        """(B, M) from 0 for a sequence as in training to 1 for another kind; 0 where absent."""

    @property
    def present(self) -> Tensor:
        """(B, M) bool."""


class Network(nn.Module):
    """An architecture for one spec and label set."""

    states_variance = True
    """False for a baseline that has none and says 1 for everything."""

    def set_normalisation(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        """Standardise modality `index` by mean (D,) and standard deviation (D,)."""
        raise NotImplementedError

    def set_usual(self, index: int, features: Tensor, mask: Tensor, *, again: bool = False) -> None:
        """Learn what is usual for modality `index` from training data (N, L, D) and (N, L).

        `again`: after training, so nothing that the weights rest on may change.
        """

    def set_base_rate(self, rate: Tensor) -> None:
        """Shares (C,) of the labels in the training data."""
        raise NotImplementedError

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> Any:
        """Features (B, L_m, D_m) and mask (B, L_m) per modality -> an ``Output``."""
        raise NotImplementedError

    def losses(self, out: Any, target: Tensor, weight: Tensor, config: Any) -> dict[str, Tensor]:
        """All terms (scalars), and under ``total`` the sum that is trained on.

        `out` is what ``forward`` gave, `target` (B, C) of 0 and 1, `weight` (C,) that of a positive
        and `config` the loss configuration of the variant.
        """
        raise NotImplementedError


def moderated(logit: Tensor, variance: Tensor) -> Tensor:
    """The logit whose sigmoid is E[sigmoid(x)], x ~ N(logit, variance) (MacKay's probit rule)."""
    return logit / torch.sqrt(1.0 + (math.pi / 8.0) * variance)


def expected_error(logit: Tensor, variance: Tensor) -> Tensor:
    """The squared error p (1 - p) that the moderated probability p expects of itself."""
    fair = moderated(logit, variance)
    return (functional.logsigmoid(fair) + functional.logsigmoid(-fair)).exp()


def cross_entropy(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy from logits, each: in log space, so nothing overflows."""
    return functional.binary_cross_entropy_with_logits(
        logit, target, pos_weight=weight, reduction="none"
    )


def sinusoids(position: Tensor, width: int) -> Tensor:
    """Positions (...) -> (..., width): any number of steps, nothing to learn.

    Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
    """
    half = torch.arange(0, width, 2, device=position.device, dtype=torch.float32)
    angle = position[..., None].float() * torch.exp(half * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :width]


def unmasked(features: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Pad (B, L, D) with zeros to `steps` and call everything valid: what a network without masks
    sees, whatever else is in the batch.
    """
    missing = steps - features.shape[1]
    if missing > 0:
        features = functional.pad(features, (0, 0, 0, missing))
    return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
