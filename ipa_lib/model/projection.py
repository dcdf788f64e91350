"""Image embeddings to tokens of the text encoder's width: c_p of equation (6).

The parameters bear the names of the published checkpoints' `image_proj`.

    linear     a pooled embedding [..., E] -> T = 4 tokens ("base")
    mlp        the same over a hidden layer ("FaceID", whose embeddings are those of a face network)
    resampler  hidden states of the patches [..., patches, E] -> T = 16 tokens ("plus")
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


# https://github.com/tencent-ailab/IP-Adapter/blob/main/ip_adapter/ip_adapter.py (ImageProjModel)
class LinearProjection(nn.Module):
    """Embeddings [..., E] -> `tokens` tokens each, [..., T, D]; `ImageProjection` in diffusers."""

    tokens = 4  # as published
    patches = False  # one picture is [E]

    def __init__(self, embed_dim: int, text_dim: int, tokens: int = tokens):
        super().__init__()
        self.proj = nn.Linear(embed_dim, tokens * text_dim)
        self.norm = nn.LayerNorm(text_dim)

    def forward(self, embeds: Tensor) -> Tensor:
        """embeds [..., E] -> [..., T, D]."""
        tokens = self.proj(embeds.to(self.proj.weight.dtype))  # [..., T·D]
        return self.norm(tokens.unflatten(-1, (-1, *self.norm.normalized_shape)))  # [..., T, D]


# https://github.com/tencent-ailab/IP-Adapter/blob/main/ip_adapter/ip_adapter_faceid.py (MLPProjModel)
class MLPProjection(nn.Module):
    """Embeddings [..., E] over `mult`·E hidden units -> [..., T, D]; `IPAdapterFaceIDImageProjection` in diffusers."""

    tokens = 4  # as published
    patches = False

    def __init__(self, embed_dim: int, text_dim: int, tokens: int = tokens, mult: int = 2):
        super().__init__()
        hidden = mult * embed_dim
        self.proj = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, tokens * text_dim))
        self.norm = nn.LayerNorm(text_dim)

    def forward(self, embeds: Tensor) -> Tensor:
        """embeds [..., E] -> [..., T, D]."""
        tokens = self.proj(embeds.to(next(self.proj.parameters()).dtype))  # [..., T·D]
        return self.norm(tokens.unflatten(-1, (-1, *self.norm.normalized_shape)))  # [..., T, D]


# https://github.com/tencent-ailab/IP-Adapter/blob/main/ip_adapter/resampler.py, after Flamingo's perceiver
# resampler, https://arxiv.org/abs/2204.14198
class Resampler(nn.Module):
    """Hidden states [..., patches, E] -> `tokens` tokens, [..., T, D]; `IPAdapterPlusImageProjection` in diffusers.

    `tokens` learned queries look at the patches in `depth` layers of width D, with D/64 heads of 64 as published.
    """

    tokens = 16  # as published
    patches = True  # one picture is [patches, E]

    def __init__(self, embed_dim: int, text_dim: int, tokens: int = tokens, depth: int = 4):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, tokens, text_dim) / text_dim**0.5)
        self.proj_in = nn.Linear(embed_dim, text_dim)
        self.proj_out = nn.Linear(text_dim, text_dim)
        self.norm_out = nn.LayerNorm(text_dim)
        layers = [[PerceiverAttention(text_dim), feed_forward(text_dim)] for _ in range(depth)]
        self.layers = nn.ModuleList(nn.ModuleList(pair) for pair in layers)

    def forward(self, embeds: Tensor) -> Tensor:
        """embeds [..., patches, E] -> [..., T, D]."""
        x = self.proj_in(embeds.to(self.proj_in.weight.dtype))  # [..., patches, D]
        latents = self.latents.expand(*x.shape[:-2], -1, -1)  # [..., T, D]
        for pair in self.layers:
            attention, mlp = pair.children()
            latents = latents + attention(x, latents)
            latents = latents + mlp(latents)
        return self.norm_out(self.proj_out(latents))


class PerceiverAttention(nn.Module):
    """Latents [..., T, D] look at themselves and at x [..., patches, D]."""

    def __init__(self, dim: int, head_dim: int = 64):
        super().__init__()
        self.heads = max(1, dim // head_dim)
        inner = self.heads * head_dim
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """Update that is added to the latents, [..., T, D]."""
        latents = self.norm2(latents)
        k, v = self.to_kv(torch.cat([self.norm1(x), latents], -2)).chunk(2, dim=-1)  # [..., patches + T, D]
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for y in (self.to_q(latents), k, v))
        z = F.scaled_dot_product_attention(q, k, v)  # [..., H, T, d]
        return self.to_out(z.transpose(-2, -3).flatten(-2))  # [..., T, D]


def feed_forward(dim: int, factor: int = 4) -> nn.Sequential:
    """[..., D] -> [..., D] over a hidden layer of `factor`·D, as the Resampler has it, without biases."""
    layers = nn.Linear(dim, factor * dim, bias=False), nn.GELU(), nn.Linear(factor * dim, dim, bias=False)
    return nn.Sequential(nn.LayerNorm(dim), *layers)


PROJECTIONS: dict[str, type[LinearProjection] | type[MLPProjection] | type[Resampler]] = {
    "linear": LinearProjection, "mlp": MLPProjection, "resampler": Resampler}  # fmt: skip
