"""Parts of the `default` model that know nothing of emotions: attention and Transformer layers.

Shapes: B samples, Q queries, L steps, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lddu_model.dropout import Dropout


class Attention(nn.Module):
    """Multi-head attention with a key mask; no dropout on its weights, so the fused kernel runs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, states: Tensor, valid: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Queries `x` (B, Q, d) read states (B, L, d) where valid (B, L) -> (B, Q, d).

        `bias` (B, heads, 1, L) is added to the logits of the attention.
        """
        query = self._split(self.query(x))
        key, value = self.key_value(states).chunk(2, dim=-1)
        mask = valid[:, None, None, :]
        if bias is not None:
            mask = bias.masked_fill(~mask, -torch.inf).to(query.dtype)
        read = functional.scaled_dot_product_attention(
            query, self._split(key), self._split(value), attn_mask=mask
        )
        joined: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, d) -> (B, heads, L, d / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def age(valid: Tensor) -> Tensor:
    """(B, L) how many steps before the last valid one each step lies."""
    step = torch.arange(valid.shape[1], device=valid.device)
    return (step * valid).amax(dim=1, keepdim=True) - step


class FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )


class Layer(nn.Module):
    """One pre-norm Transformer layer."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dropout = Dropout(dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        normed = self.norm(x)
        x = x + self.dropout(self.attention(normed, normed, valid))
        return x + self.feed_forward(x)  # type: ignore[no-any-return]  # a torch call is Any
