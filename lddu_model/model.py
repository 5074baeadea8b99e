"""The `default` model: latent emotional distributions per modality, fused by their certainty.

Shape legend
    B samples   M modalities   C labels   L steps of a modality   D its features per step
    d width of the encoders (`width`)     z latent dimensions of an emotion (`latent`)

    features_m (B, L, D) --Encoder-->      states_m (B, L, d)      one encoder per modality
    states_m             --LabelReader-->  reading_m (B, C, d)     one query per label
    reading_m            --Distribution--> mu, log_var (B, C, z)   N(mu, diag exp(log_var))
    mu, log_var          --linear-->       logit_m, spread_m (B, C)   exact: the map is linear
    all logit_m, spread_m --fuse-->        logit, spread (B, C)
    pooled features_m --linear-->          linear (B, C)           optional, see ``linear``
    signals           --Doubt-->           doubt (B, C), doubt_m (B, M, C)
    p (1 - p) doubt                        variance (B, C), variance_m (B, M, C)

The spread is what likelihood makes of uncertainty: it weighs modalities and moderates the
probability p. It sees, beside what was read, simple properties of each sequence as a signal, which
noise changes whatever the features are (``novelty``). The variance that is stated is the squared
error that p expects of itself, p (1 - p), times a doubt that those properties cast on it; ranking
trains that doubt and nothing else, because weights that follow errors make estimates worse
(docs/protocols.md).

What is not there is not looked at: attention masks padding and missing steps, and a modality
without any valid step has infinite variance, hence no weight. Its place in the interaction term is
taken by what the encoder makes of a learned token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lddu_model.dropout import Dropout
from lddu_model.losses import LossConfig, losses
from lddu_model.network import Network, cross_entropy, expected_error, unmasked
from lddu_model.parts import (
    INPUT_LIMIT,
    LARGEST_DOUBT,
    DefaultHyper,
    Distribution,
    Doubt,
    Encoder,
    LabelReader,
)
from lddu_model.spec import FeatureSpec

SMALLEST_VARIANCE = 0.01
NOVELTY_STEEPNESS = 3.0
"""How fast distance beyond what is usual counts: at a third beyond it, 63 %."""


class DefaultOutput(NamedTuple):
    """See ``network.Output``."""

    logit: Tensor
    spread: Tensor
    variance: Tensor
    modality_logit: Tensor
    """(B, M, C)"""
    modality_spread: Tensor
    """(B, M, C)"""
    modality_variance: Tensor
    doubt: Tensor | None
    modality_doubt: Tensor | None
    deep: Tensor
    """(B, C) the logit of the distributions alone."""
    linear: Tensor | None
    """(B, C) that of the pooled features alone."""
    mu: Tensor
    """(B, M, C, z)"""
    log_var: Tensor
    """(B, M, C, z)"""
    novelty: Tensor
    present: Tensor


class DefaultNet(Network):
    """All of the above for one spec and label set; see the module's docstring."""

    prior_logit: Tensor
    floor: Tensor

    def __init__(self, spec: FeatureSpec, labels: int, hyper: DefaultHyper) -> None:
        super().__init__()
        count = len(spec.modalities)
        self.prior_precision = 1.0 / hyper.prior_variance
        self.logit_limit = hyper.logit_limit
        self.reliability = hyper.reliability
        self.novelty = hyper.novelty
        self.steps = None if hyper.masks else [each.steps for each in spec.modalities]
        floor = [hyper.variance_floor.get(name, SMALLEST_VARIANCE) for name in spec.names]
        self.register_buffer("floor", torch.tensor(floor)[:, None], persistent=False)
        self.labels = nn.Parameter(torch.randn(labels, hyper.width) * hyper.width**-0.5)
        self.encoders = nn.ModuleList(Encoder(each.dim, hyper) for each in spec.modalities)
        self.readers = nn.ModuleList(LabelReader(hyper) for _ in range(count))
        self.distributions = nn.ModuleList(Distribution(hyper) for _ in range(count))
        self.weight = nn.Parameter(torch.randn(count, labels, hyper.latent) * hyper.latent**-0.5)
        self.bias = nn.Parameter(torch.zeros(count, labels))
        self.conflict = nn.Parameter(torch.full((labels,), -1.0))
        self.register_buffer("prior_logit", torch.zeros(labels))
        self.doubts: nn.ModuleList | None = None
        if hyper.variance_width:
            sizes = [*[1] * count, count]
            self.doubts = nn.ModuleList(Doubt(m, labels, hyper.variance_width) for m in sizes)
        self.linear: nn.Linear | None = None
        if hyper.linear:
            self.linear = nn.Linear(sum(each.dim for each in spec.modalities), labels)
            nn.init.zeros_(self.linear.weight)
        self.interaction: nn.Module | None = None
        if hyper.interaction and count > 1:
            last = nn.Linear(hyper.latent, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.interaction = nn.Sequential(
                nn.LayerNorm(count * hyper.latent),
                nn.Linear(count * hyper.latent, hyper.latent),
                nn.GELU(),
                Dropout(hyper.dropout),
                last,
            )

    def set_normalisation(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        encoder = self._encoders()[index]
        encoder.mean.copy_(mean)
        encoder.scale.copy_(1.0 / deviation.clamp_min(1e-3))

    def set_usual(self, index: int, features: Tensor, mask: Tensor, *, again: bool = False) -> None:
        self._encoders()[index].learn_usual(features, mask, again=again)

    def set_base_rate(self, rate: Tensor) -> None:
        self.prior_logit.copy_(torch.logit(rate, eps=1e-3))

    def losses(
        self, out: DefaultOutput, target: Tensor, weight: Tensor, config: LossConfig
    ) -> dict[str, Tensor]:
        terms = losses(out, target, weight, config)
        if out.linear is not None and self.linear is not None:
            terms["linear"] = cross_entropy(out.linear, target, weight).mean()
            terms["total"] = terms["total"] + terms["linear"]
            terms["total"] = (
                terms["total"] + config.linear_decay * self.linear.weight.square().sum()
            )
        return terms

    def forward(self, features: list[Tensor], mask: list[Tensor]) -> DefaultOutput:
        if self.steps is not None:
            pairs = [unmasked(x, steps) for x, steps in zip(features, self.steps, strict=True)]
            features, mask = [x for x, _ in pairs], [valid for _, valid in pairs]
        quality = [
            encoder.quality(x, valid)
            for encoder, x, valid in zip(self._encoders(), features, mask, strict=True)
        ]
        latents = [self._latent(m, features[m], mask[m], quality[m]) for m in range(len(features))]
        mu = torch.stack([each[0] for each in latents], dim=1)
        log_var = torch.stack([each[1] for each in latents], dim=1)
        signals = torch.stack(quality, dim=1).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        present = torch.stack([each.any(dim=1) for each in mask], dim=1)
        # A linear map of a Gaussian: no sampling is needed to know the logit's mean and variance.
        modality_logit = (self.weight * mu).sum(-1) + self.bias
        if self.logit_limit is not None:
            modality_logit = self.logit_limit * torch.tanh(modality_logit / self.logit_limit)
        modality_spread = (self.weight.square() * log_var.exp()).sum(-1) + self.floor
        logit, spread = self._fuse(modality_logit, modality_spread, present)
        together = mu.transpose(1, 2).flatten(2)
        if self.interaction is not None:
            correction = self.interaction(together).float().squeeze(-1)
            logit = logit + correction * present.any(dim=1, keepdim=True)
        deep, linear = logit, None
        if self.linear is not None:
            pooled = [
                x.pooled(*each) for x, *each in zip(self._encoders(), features, mask, strict=True)
            ]
            linear = self.linear(torch.cat(pooled, dim=1)).float()
            logit = 0.5 * (deep + linear)
        variance, modality_variance = spread.detach(), modality_spread.detach()
        doubt, modality_doubt = None, None
        if self.doubts is not None:
            *each, last = self.doubts
            alone = [x(signals[:, m, None], present[:, m, None]) for m, x in enumerate(each)]
            modality_doubt = torch.stack(alone, dim=1)
            # With nothing there, training teaches nothing: no doubt is larger.
            something = present.any(dim=1, keepdim=True)
            doubt = torch.where(something, last(signals, present), LARGEST_DOUBT)
            variance = doubt * expected_error(logit.detach(), variance)
            modality_variance = modality_doubt * expected_error(
                modality_logit.detach(), modality_variance
            )
        novelty = torch.zeros_like(present, dtype=torch.float32)
        if self.novelty:
            novelty = self._novelty(signals)
            spread = spread + novelty.amax(dim=1, keepdim=True) / self.prior_precision
        return DefaultOutput(
            logit,
            spread,
            variance,
            modality_logit,
            modality_spread,
            modality_variance,
            doubt,
            modality_doubt,
            deep,
            linear,
            mu,
            log_var,
            novelty,
            present,
        )

    def _novelty(self, signals: Tensor) -> Tensor:
        """(B, M) from 0 for inputs as in training to 1 for others.

        Of each present modality, beyond what nearly all training data stay within.
        """
        judged = [
            encoder.novelty(signals[:, m])
            for m, encoder in enumerate(self._encoders())
            if encoder.novelty is not None
        ]
        return 1.0 - torch.exp(-NOVELTY_STEEPNESS * torch.stack(judged, dim=1))

    def _encoders(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]

    def _latent(
        self, m: int, features: Tensor, mask: Tensor, quality: Tensor
    ) -> tuple[Tensor, ...]:
        """mu, log_var (B, C, z) of modality `m`; samples without it share one token."""
        if mask.is_cuda or torch.compiler.is_compiling():  # no wait for how many there are
            return self._encode(m, features, mask, quality)
        index = mask.any(dim=1).nonzero().squeeze(1)
        if len(index) == len(mask):
            return self._encode(m, features, mask, quality)
        nothing = torch.zeros_like(quality[:1])
        absent = self._encode(m, features[:1, :1], torch.zeros_like(mask[:1, :1]), nothing)
        filled = [each.repeat(len(mask), 1, 1) for each in absent]
        if len(index):
            found = self._encode(m, features[index], mask[index], quality[index])
            filled = [x.index_copy(0, index, y) for x, y in zip(filled, found, strict=True)]
        return tuple(filled)

    def _encode(
        self, m: int, features: Tensor, mask: Tensor, quality: Tensor
    ) -> tuple[Tensor, ...]:
        states, valid = self.encoders[m](features, mask)
        reading = self.readers[m](self.labels, states, valid)
        mu, log_var = self.distributions[m](reading, quality)
        return mu, log_var

    def _fuse(self, logit: Tensor, variance: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, C) twice and (B, M) -> mean and variance (B, C).

        Inverse-variance weighting over what is present and a wide prior, which alone speaks when
        nothing is present. Each modality that is added lowers the variance; modalities that
        contradict each other raise it again by their weighted spread.
        """
        precision = present[..., None] / variance
        if not self.reliability:
            count = present.sum(dim=1, keepdim=True).clamp_min(1)[..., None]
            level = (variance * present[..., None]).sum(dim=1, keepdim=True) / count
            precision = present[..., None] / level.clamp_min(SMALLEST_VARIANCE)
        evidence = precision.sum(dim=1)
        total = evidence + self.prior_precision
        weighted = (precision * logit).sum(dim=1)
        mean = (weighted + self.prior_precision * self.prior_logit) / total
        centre = weighted / evidence.clamp_min(1e-9)
        spread = (precision * (logit - centre[:, None]).square()).sum(dim=1) / total
        return mean, 1.0 / total + functional.softplus(self.conflict) * spread
