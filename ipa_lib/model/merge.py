"""G and U of equation (6): how the N prompts of a person become the keys and values of a layer.

    score(tokens [B, N, T, D])          how much each token of each prompt counts, [B, N, T]; 0 at the start
    share(score, mask)                  w [B, N, T], a softmax over the prompts that are there: Σ_p w_p = 1
    combine(K'_1…K'_N [B, N, T, C], w)  G [B, P, T', C]; the same for V'_1…V'_N and U

A merge is a row of `MERGES`: a choice of `score` and of `combine`.  As the weights sum to 1, what λ means
does not depend on N, and one prompt gives the same under every merge; `weighted` and `gated` start as `mean`.
`sum` is the exception, as adapters stacked in other libraries are: its second term grows with N.
`mean` with shared matrices is no more than averaging the tokens. `pool` combines them with a non-linearity before the
matrices (`SetEncoder`); it starts as `mean`, and what one prompt gives is learned too. A vector a slot (`marked`) is a
constant under `mean`, `weighted`, `average` and `sum`, whatever the prompts are; `concat`, `gated` and `pool` can tell
by it who sees what.
`ORDERS` says which prompt goes to which slot; what comes out of a merge is in the order given all the same.

B batch · N prompts · T tokens a prompt · D text width · C inner width of a layer · P softmaxes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .projection import feed_forward


def share(score: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the prompts; a prompt that `mask` [B, N] says is missing gets exactly 0."""
    if mask is not None:
        score = score.masked_fill(~mask.unsqueeze(-1), -torch.inf)
    return score.softmax(dim=1)  # [B, N, T]


class Equal(nn.Module):
    """Every prompt counts the same."""

    def __init__(self, n_slots: int, text_dim: int):
        super().__init__()

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, N, T, D] -> score [B, N, T]."""
        return tokens.new_zeros(tokens.shape[:3])  # [B, N, T]


class BySlot(nn.Module):
    """A learned number a slot."""

    def __init__(self, n_slots: int, text_dim: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_slots))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, N, T, D] -> score [B, N, T]."""
        return self.logits[: tokens.shape[1], None].expand(tokens.shape[:3])  # [B, N, T]


class ByContent(nn.Module):
    """A learned linear function of the token, so that a picture that shows little can count little.

    No bias: what is added to every prompt's score does not change a softmax over the prompts.
    """

    def __init__(self, n_slots: int, text_dim: int):
        super().__init__()
        self.linear = nn.Linear(text_dim, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B, N, T, D] -> score [B, N, T]."""
        return self.linear(tokens).squeeze(-1)  # [B, N, T]


# G = Σ_p w_p K'_p, U = Σ_p w_p V'_p
def blend(x: Tensor, w: Tensor) -> Tensor:
    """x [B, N, T, C], w [B, N, T] -> [B, 1, T, C]."""
    return (w.unsqueeze(-1) * x).sum(1, keepdim=True)


# G = [K'_1 … K'_N], U = [V'_1 … V'_N]: one softmax over the N·T tokens
def line_up(x: Tensor, w: Tensor) -> Tensor:
    """x [B, N, T, C] -> [B, 1, N·T, C]."""
    return x.flatten(1, 2).unsqueeze(1)


# Σ_p Softmax(QK'_pᵀ/√d)V'_p: N softmaxes, not of the form of (6)
def keep_apart(x: Tensor, w: Tensor) -> Tensor:
    """x [B, N, T, C] as it is."""
    return x


# Pooling by attention, Set Transformer, Lee et al. 2019, https://arxiv.org/abs/1810.00825, section 3.2
class SetEncoder(nn.Module):
    """The tokens of all prompts -> as many tokens as one prompt has: `depth` blocks of attention to them and an MLP.

    The queries are the mean of the prompts' tokens plus a learned vector for each token. What every block adds is 0 in
    a new encoder. Any N; the order of the prompts, and how often all of them are repeated, does not matter.
    """

    def __init__(self, text_dim: int, tokens: int, depth: int = 2):
        super().__init__()
        heads = text_dim // 64 if text_dim % 64 == 0 else 1
        self.queries = nn.Parameter(torch.zeros(tokens, text_dim))
        attentions = [nn.MultiheadAttention(text_dim, heads, bias=False, batch_first=True) for _ in range(depth)]
        mlps = [feed_forward(text_dim) for _ in range(depth)]
        self.norms = nn.ModuleList(nn.LayerNorm(text_dim) for _ in range(depth))
        self.attentions, self.mlps = nn.ModuleList(attentions), nn.ModuleList(mlps)
        for last in (*(attention.out_proj for attention in attentions), *(mlp[-1] for mlp in mlps)):
            nn.init.zeros_(cast(nn.Linear, last).weight)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens [B, N, T, D], mask [B, N] bool (False: a missing prompt) -> [B, 1, T, D]."""
        absent = None if mask is None else ~mask.repeat_interleave(tokens.shape[2], 1)  # [B, N·T]
        w = share(tokens.new_zeros(tokens.shape[:3]), mask)
        x, queries = tokens.flatten(1, 2), blend(tokens, w)[:, 0] + self.queries  # [B, N·T, D], [B, T, D]
        for norm, attention, mlp in zip(self.norms, self.attentions, self.mlps, strict=True):
            seen, _ = attention(norm(queries), x, x, key_padding_mask=absent, need_weights=False)
            queries = queries + seen
            queries = queries + mlp(queries)
        return queries.unsqueeze(1)


# --- which prompt goes to which slot ---------------------------------------------------------------------------------


# In face recognition the norm of an embedding tells how good a picture is: AdaFace, Kim et al. 2022,
# https://arxiv.org/abs/2204.00964, section 3.2. Here that is carried over, not shown.
def longest_first(embeds: Tensor, mask: Tensor | None = None) -> Tensor:
    """The prompt of each slot [B, N]: the one with the longest embedding first, what `mask` [B, N] lacks last.

    embeds [B, N, …, E]; of several vectors a picture the mean counts.  The rule looks at each picture alone, so that
    training and use can follow it alike, whatever the other prompts are.
    """
    length = embeds.flatten(2, -2).mean(2).norm(dim=-1) if embeds.ndim > 3 else embeds.norm(dim=-1)  # [B, N]
    length = length if mask is None else length.masked_fill(~mask, -1)
    return length.argsort(dim=1, descending=True, stable=True)


def take(x: Tensor, rows: Tensor | None) -> Tensor:
    """x [B, N, …] with the prompts of each sample in the order of `rows` [B, N]; None: as they are."""
    return x if rows is None else x[torch.arange(len(x), device=x.device).unsqueeze(1), rows]


ORDERS: dict[str, Callable[[Tensor, Tensor | None], Tensor | None]] = {
    "given": lambda embeds, mask: None,  # drawn at random in training: every slot sees every kind of picture
    "norm": longest_first,
}


# --- the merges ----------------------------------------------------------------------------------------------------


class Merge(NamedTuple):
    """A row of `MERGES`: how prompts are scored and combined, and what the attention then has to know."""

    score: type[nn.Module]
    combine: Callable[[Tensor, Tensor], Tensor]
    weights: Callable[[Tensor], Tensor | None] = lambda w: None  # w -> factors of the softmaxes [B, P]
    seen: Callable[[Tensor], Tensor | None] = lambda w: None  # w -> keys of prompts that are there [B, T']
    encoder: type[SetEncoder] | None = None  # of the tokens, before the matrices


MERGES: dict[str, Merge] = {
    "mean": Merge(Equal, blend),
    "weighted": Merge(BySlot, blend),
    "gated": Merge(ByContent, blend),
    "concat": Merge(Equal, line_up, seen=lambda w: w.flatten(1) > 0),
    "sum": Merge(Equal, keep_apart, weights=lambda w: (w[..., 0] > 0).to(w)),
    "average": Merge(Equal, keep_apart, weights=lambda w: w[..., 0]),
    "pool": Merge(Equal, blend, encoder=SetEncoder),
}
