"""Image embeddings to tokens of the text encoder's width: c_p of equation (6).

The parameters bear the names of the published checkpoints' `image_proj`.
"""

from __future__ import annotations

from torch import Tensor, nn


# https://github.com/tencent-ailab/IP-Adapter/blob/main/ip_adapter/ip_adapter.py (ImageProjModel)
class LinearProjection(nn.Module):
    """Embeddings [..., E] -> `tokens` tokens each, [..., T, D]; `ImageProjection` in diffusers."""

    def __init__(self, embed_dim: int, text_dim: int, tokens: int = 4):
        super().__init__()
        self.proj = nn.Linear(embed_dim, tokens * text_dim)
        self.norm = nn.LayerNorm(text_dim)

    def forward(self, embeds: Tensor) -> Tensor:
        tokens = self.proj(embeds.to(self.proj.weight.dtype))  # [..., T·D]
        return self.norm(tokens.unflatten(-1, (-1, *self.norm.normalized_shape)))  # [..., T, D]
