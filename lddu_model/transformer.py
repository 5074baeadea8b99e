"""The `transformer` model: a plain multimodal Transformer, the baseline that has no variance.

The steps of all modalities, each marked with its modality and place, are one sequence (B, sum L, d)
behind a class token, whose last state gives the logits (B, C). `variance` is the same for all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from lddu_model.dropout import Dropout
from lddu_model.losses import ClassWeights
from lddu_model.network import Network, cross_entropy, sinusoids
from lddu_model.spec import FeatureSpec


class TransformerHyper(BaseModel):
    """Hyper-parameters of the `transformer` model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=8)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=4, ge=1)
    feed_forward: int = Field(default=256, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance of each input feature to be zero in training."""
    from_end: bool = False
    """Count steps from the last one instead of the first."""

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerHyper:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class TransformerOutput(NamedTuple):
    """See ``network.Output``."""

    logit: Tensor
    spread: Tensor
    variance: Tensor
    modality_logit: None
    modality_variance: Tensor
    doubt: None
    modality_doubt: None
    novelty: Tensor
    present: Tensor


class TransformerNet(Network):
    """See the module's docstring."""

    states_variance = False

    def __init__(self, spec: FeatureSpec, labels: int, hyper: TransformerHyper) -> None:
        super().__init__()
        count = len(spec.modalities)
        self.from_end = hyper.from_end
        self.count = labels
        for m, modality in enumerate(spec.modalities):
            self.register_buffer(f"mean_{m}", torch.zeros(modality.dim))
            self.register_buffer(f"scale_{m}", torch.ones(modality.dim))
        self.inputs = nn.ModuleList(nn.Linear(each.dim, hyper.width) for each in spec.modalities)
        self.marks = nn.Parameter(torch.randn(count, hyper.width) * 0.02)
        self.token = nn.Parameter(torch.randn(hyper.width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            hyper.width,
            hyper.heads,
            hyper.feed_forward,
            hyper.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(hyper.width)
        self.encoder = nn.TransformerEncoder(
            layer, hyper.layers, norm=norm, enable_nested_tensor=False
        )
        self.input_dropout = Dropout(hyper.input_dropout)
        self.dropout = Dropout(hyper.dropout)
        self.head = nn.Linear(hyper.width, labels)

    def set_normalisation(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        self.get_buffer(f"mean_{index}").copy_(mean)
        self.get_buffer(f"scale_{index}").copy_(1.0 / deviation.clamp_min(1e-3))

    def set_base_rate(self, rate: Tensor) -> None:
        with torch.no_grad():
            self.head.bias.copy_(torch.logit(rate, eps=1e-3))

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> TransformerOutput:
        tokens = [self._embed(m, features[m], mask[m]) for m in range(len(features))]
        first = self.token.expand(len(features[0]), 1, -1)
        x = self.dropout(torch.cat([first, *tokens], dim=1))
        valid = torch.cat([torch.ones_like(mask[0][:, :1]), *mask], dim=1)
        states = self.encoder(x, src_key_padding_mask=~valid)
        logit = self.head(states[:, 0]).float()
        present = torch.stack([each.any(dim=1) for each in mask], dim=1)
        alone = torch.ones(*present.shape, self.count, device=logit.device)
        none = torch.zeros_like(logit)
        familiar = torch.zeros_like(present, dtype=torch.float32)
        ones = torch.ones_like(logit)
        return TransformerOutput(logit, none, ones, None, alone, None, None, familiar, present)

    def losses(
        self, out: TransformerOutput, target: Tensor, weight: Tensor, _config: ClassWeights
    ) -> dict[str, Tensor]:
        total = cross_entropy(out.logit, target, weight).mean()
        return {"fused": total, "total": total}

    def _embed(self, m: int, features: Tensor, mask: Tensor) -> Tensor:
        x = (features - self.get_buffer(f"mean_{m}")) * self.get_buffer(f"scale_{m}")
        x = self.inputs[m](self.input_dropout(x.clamp(-8.0, 8.0))) + self.marks[m]
        step = torch.arange(x.shape[1], device=x.device)
        place = (step * mask).amax(dim=1, keepdim=True) - step if self.from_end else step
        marked: Tensor = x + sinusoids(place, x.shape[2]).to(x.dtype)
        return marked
