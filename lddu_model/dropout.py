"""Dropout whose masks cost a quarter of torch's on a CPU, where drawing them took a fifth of a
training step: four elements share one 64-bit draw of torch's own generator, so that seeds and
restored states hold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STEPS = 1 << 16
"""A chance is met to within half of one part in so many."""


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``, not in place."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name for it
        return dropout(input, self.p, self.training)


def dropout(x: Tensor, chance: float, training: bool) -> Tensor:
    """As ``torch.nn.functional.dropout``; that itself where it is the faster one."""
    if not training or chance == 0 or x.is_cuda or torch.compiler.is_compiling():
        return functional.dropout(x, chance, training)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    step = draws.view(torch.int16)[: x.numel()].view(x.shape)
    keep = step >= round(chance * STEPS) - STEPS // 2
    return x * keep.to(x.dtype).mul_(1.0 / (1.0 - chance))
