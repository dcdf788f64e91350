"""Which prompt each place of a picture listened to: the softmax of equation (6), read while the U-Net works.

    with attached(unet), recorded(unet) as records:
        *_, x_0 = denoise(unet, scheduler, x_T, text, empty, adapter.guided(embeds), lam)
    maps = average(records)[len(text):]                          # [B, N, h, w], the conditional half

Guidance doubles the batch, the unconditional half first: of everything here the rows `len // 2:` are the
conditional ones.  Some layers or some steps are a matter of the list, which is in the order of the calls:

    average([r for r in records if r.layer.startswith("up_blocks")])
    average(records[-5 * len({r.layer for r in records}):])      # the last five steps

Of the merges `concat` and `gated` can listen to different prompts in different places.  Under the others the maps
are flat, as what a prompt counts for there (1/N, or a learned number) does not depend on the query.

B batch · L queries · H heads · d head width · C = H·d inner width · N prompts · h × w = L the grid of the queries
P softmaxes, N for the merges `sum` and `average`, else 1 · T keys of one softmax
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from .attention import ImageKV, ImageTextAttention, Lams, is_zero, split_heads


@dataclass(frozen=True, eq=False)
class Record:
    """Inputs of one cross-attention layer in one forward pass; float32, without gradients, on the U-Net's device.

    `probs` [B, H, P, L, T]: every row over the T keys sums to 1, and a key that is not there has exactly 0.
    `weights` [B, P] and `shares` [B, N, tokens of a prompt] are those of the `ImageKV`.
    """

    layer: str
    probs: Tensor
    weights: Tensor | None = None
    shares: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Recorder:
    """The processor of a cross-attention layer that is being recorded: `base` works, and `records` grows by one."""

    base: ImageTextAttention
    records: list[Record]

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,  # [B, L, C]
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_kv: ImageKV | None = None,
        lam: Lams = 1.0,
    ) -> Tensor:
        out = self.base(attn, hidden_states, encoder_hidden_states, attention_mask, image_kv, lam)
        if image_kv is not None and not is_zero(self.base.own(lam)):
            self.records.append(record(self.base.name, attn, hidden_states, image_kv))
        return out  # [B, L, C]


@contextmanager
def recorded(unet: UNet2DConditionModel) -> Iterator[list[Record]]:
    """`with recorded(unet) as records: …` appends a `Record` for each image attention that is computed in the block.

    The U-Net computes what it does without; at the end, whatever happens in the block, the very processors of before
    are back.  A layer at the number λ = 0 or without `image_kv` computes none; a 0 in a tensor λ does.  Under
    gradient checkpointing a layer is recorded again when it is computed again.
    One guided picture of Stable Diffusion 1.5 at 512 px takes about 28 MB a step for 16 keys; the list is the
    caller's, who may `average` and then `clear` it after every step.
    ValueError if nothing is attached, or if the U-Net is being recorded already.
    """
    before = unet.attn_processors
    records: list[Record] = []
    if not any(isinstance(p, ImageTextAttention) for p in before.values()):
        raise ValueError("recorded: no adapter is attached to this U-Net, or it is being recorded already")
    unet.set_attn_processor({key: listening(p, records) for key, p in before.items()})
    try:
        yield records
    finally:
        unet.set_attn_processor(before)


def listening(processor, records: list[Record]):
    """A processor that records where there is something to record, else the very one."""
    return Recorder(processor, records) if isinstance(processor, ImageTextAttention) else processor


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def record(layer: str, attn: Attention, hidden_states: Tensor, image_kv: ImageKV) -> Record:
    """Record of `layer` for `image_kv` and hidden_states [B, L, C]."""
    q = split_heads(attn.to_q(hidden_states.to(attn.to_q.weight.dtype)), attn.heads)  # [B, H, L, d]
    g = split_heads(image_kv.layers[layer][0].to(q.dtype), attn.heads)  # [B, P, H, T, d]
    rest = (x if x is None else x.detach().float() for x in (image_kv.weights, image_kv.shares))
    return Record(layer, probabilities(q.float(), g.float(), image_kv.seen), *rest)


# Softmax(QGᵀ/√d) (Equation 6)
def probabilities(q: Tensor, g: Tensor, seen: Tensor | None) -> Tensor:
    """q [B, H, L, d], g [B, P, H, T, d], seen [B, T] -> [B, H, P, L, T]."""
    scores = torch.einsum("bhld,bphtd->bhplt", q, g) / math.sqrt(q.shape[-1])
    if seen is not None:
        scores = scores.masked_fill(~seen[:, None, None, None], -torch.inf)
    return scores.softmax(-1, dtype=torch.float32)  # [B, H, P, L, T]


def by_prompt(record: Record) -> Tensor:
    """[B, N, L] float32: how much each query listened to each prompt, averaged over the heads; sums to 1 over N.

    `concat`: the probability of the prompt's own keys.  `mean`, `weighted`, `gated`: every key is blended from all
    prompts, so its probability is divided as it was blended.  `sum`, `average`: a softmax for each prompt, which sums
    to 1 whatever the query is; so all that are there are listened to equally, and the map says just who is there.
    ValueError for a record of an `ImageKV` without `shares`, or of one that fits none of these.
    """
    n_paths, queries, keys = record.probs.shape[2:]
    if n_paths > 1 and record.weights is not None:
        return normal(record.weights).unsqueeze(-1).expand(-1, -1, queries)
    if record.shares is None:
        raise ValueError("by_prompt: the ImageKV of this record has no shares, as one from an adapter has")
    n, tokens = record.shares.shape[1:]
    a = record.probs.mean(1).squeeze(1)  # [B, L, T]
    if keys == tokens:
        return torch.einsum("blt,bnt->bnl", a, normal(record.shares))
    if keys == n * tokens:
        return a.unflatten(-1, (n, tokens)).sum(-1).transpose(1, 2)
    raise ValueError(f"by_prompt: {keys} keys for {n} prompts of {tokens} tokens; expected {tokens} or {n * tokens}")


def normal(x: Tensor) -> Tensor:
    """Over the prompts 1 again, also where half precision had rounded."""
    return x / x.sum(1, keepdim=True)  # [B, N, …]


def average(records: Sequence[Record], size: int | tuple[int, int] | None = None, ratio: float = 1.0) -> Tensor:
    """[B, N, h, w] float32: the mean of the records' maps, each resized (bilinear) to the largest grid or to `size`.

    `ratio` is height / width of the pictures, which the number of queries does not tell.  Sums to 1 over N.
    ValueError for no records, for records of several batches or numbers of prompts, and for a layer whose L is not
    that of a grid of this ratio.
    """
    if not records:
        raise ValueError("average: no records; is λ 0, or image_kv missing?")
    maps = [on_grid(by_prompt(r), ratio, r.layer) for r in records]
    if len(kinds := {tuple(m.shape[:2]) for m in maps}) > 1:
        raise ValueError(f"average: records of one batch and one N expected, got [B, N] of {sorted(kinds)}")
    grid = max((tuple(m.shape[2:]) for m in maps), key=math.prod) if size is None else size
    resized = [F.interpolate(m, grid, mode="bilinear", antialias=True) for m in maps]
    return sum(resized[1:], resized[0]) / len(maps)


def on_grid(x: Tensor, ratio: float, layer: str) -> Tensor:
    """[B, N, L] -> [B, N, h, w] with h / w = `ratio`, up to the rounding of odd sizes."""
    h, w = round(math.sqrt(x.shape[-1] * ratio)), round(math.sqrt(x.shape[-1] / ratio))
    if h * w != x.shape[-1]:
        expected = f"h · w of them with height / width = ratio = {ratio:g}"
        raise ValueError(f"average: {layer} has {x.shape[-1]} queries; expected {expected}")
    return x.unflatten(-1, (h, w))
