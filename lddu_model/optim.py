"""Optimiser and learning rate: AdamW, a linear rise, half a cosine down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lddu_model.config import OptimConfig


class Optimiser:
    """Steps a network through `total` steps."""

    def __init__(self, net: nn.Module, config: OptimConfig, total: int) -> None:
        self.config = config
        self.total = total
        self.done = 0
        """Finished steps."""
        self.parameters: list[Tensor] = [p for p in net.parameters() if p.requires_grad]
        averages = config.average is not None
        self.means = [p.detach().clone() for p in self.parameters] if averages else []
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1]},
            {"params": [p for p in self.parameters if p.ndim <= 1]},
        ]
        # Without decay of biases, norms and single vectors.
        self._decays = (config.weight_decay, 0.0)
        self.adam = torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True
        )

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return self.config.learning_rate * warm_cosine(self.config, self.total, self.done)

    def step(self) -> Tensor:
        """Clip the gradients and follow them; returns their norm before `clip`.

        Nothing is changed when that norm is not finite.
        """
        if self.config.clip_each is not None:
            for parameter in self.parameters:
                nn.utils.clip_grad_norm_(parameter, self.config.clip_each, foreach=False)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        if torch.isfinite(norm):
            self._set_rates()
            self.adam.step()
            self.done += 1
            self._follow()
        return norm

    def _set_rates(self) -> None:
        """AdamW divides its averages by 1 - beta ** step. Scaling rate, eps and decay undoes it."""
        rate, eps, scale = self.rate, self.config.eps, 1.0
        if not self.config.bias_correction:
            first, second = (1.0 - beta ** (self.done + 1) for beta in self.config.betas)
            scale = first / math.sqrt(second)
            eps /= math.sqrt(second)
        for group, decay in zip(self.adam.param_groups, self._decays, strict=True):
            group.update(lr=rate * scale, eps=eps, weight_decay=decay / scale)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average; young averages move faster, so that the start is soon forgotten."""
        if self.config.average is None:
            return
        decay = min(self.config.average, self.done / (self.done + 9.0))
        torch._foreach_lerp_(self.means, self.parameters, 1.0 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has the average of its weights."""
        if self.config.average is None:
            yield
            return
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._put(self.means)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Moments and averages by parameter, for ``restore``."""
        moments = {
            f"{i}.{key}": value
            for i, parameter in enumerate(self.parameters)
            for key, value in self.adam.state.get(parameter, {}).items()
        }
        return moments | {f"{i}.mean": value for i, value in enumerate(self.means)}

    def restore(self, state: dict[str, Tensor], done: int) -> None:
        for name, value in state.items():
            index, key = name.split(".", 1)
            parameter = self.parameters[int(index)]
            if key == "mean":
                self.means[int(index)].copy_(value)
                continue
            there = value if key == "step" else value.to(parameter.device)
            self.adam.state[parameter][key] = there
        self.done = done


def warm_cosine(config: OptimConfig, total: int, step: int) -> float:
    """Factor of the learning rate in `step` of `total`: a linear rise, then half a cosine to 0."""
    rise = max(1, round(config.warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))
