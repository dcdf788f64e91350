"""Equations (3) and (6): the text attention of the frozen U-Net, and the image attention added to it.

    attach(unet)
    unet(x_t, t, text, cross_attention_kwargs={"image_kv": adapter(embeds), "lam": 0.8})
    detach(unet)

The processors hold no parameters and keep nothing between two calls: what a forward pass gives depends on
its arguments alone.  Without `image_kv`, and at λ = 0, the processor that was there before does the work.

B batch · L queries · H heads · d head width · C = H·d inner width · D text width · N prompts
P softmaxes, 1 in the paper's (6) and N for the merges `sum` and `average` · T keys of one softmax
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnProcessor,
    XFormersAttnProcessor,
)
from torch import Tensor

T = TypeVar("T")
Lam = float | Tensor  # a number, or one value for each sample
Lams = Lam | Mapping[str, Lam | list[Lam] | Mapping]  # or of each layer, or of parts and blocks of the U-Net
TEXT_ONLY = AttnProcessor | AttnProcessor2_0 | SlicedAttnProcessor | XFormersAttnProcessor


@dataclass(frozen=True)
class ImageKV:
    """The merged image prompts of a batch, made once per generation by `MultiImageAdapter`.

    `layers` maps the name of a cross-attention layer to its (G, U), each [B, P, T, C]; `weights` [B, P] are
    factors of the P softmaxes (None: 1); `seen` [B, T] bool says which keys are there (None: all).
    `shares` [B, N, tokens of a prompt] is what each prompt has in the merge, kept for `attention_maps`.
    """

    layers: dict[str, tuple[Tensor, Tensor]]
    weights: Tensor | None = None
    seen: Tensor | None = None
    shares: Tensor | None = None

    def __len__(self) -> int:
        return len(self._any_g)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> ImageKV:
        """The same for some samples of the batch, in the order given."""
        return self._map(lambda x: x[rows])

    def repeat_interleave(self, times: int) -> ImageKV:
        """Each sample `times` times in a row: several pictures, or several λ, from the same prompts."""
        return self._map(lambda x: x.repeat_interleave(times, 0))

    def to(self, *where) -> ImageKV:
        """On the U-Net's device or in its dtype, as `Tensor.to`, once, so that no denoising step has to cast."""
        return self._map(lambda x: x.to(*where).to(x.dtype) if x.dtype == torch.bool else x.to(*where))

    def all_seen(self) -> Tensor:
        """`seen`, written out where it is None."""
        b, _, t, _ = self._any_g.shape
        return self._any_g.new_ones(b, t, dtype=torch.bool) if self.seen is None else self.seen

    @property
    def _any_g(self) -> Tensor:
        return next(iter(self.layers.values()))[0]  # [B, P, T, C]

    def _map(self, f: Callable[[Tensor], Tensor]) -> ImageKV:
        layers = {name: (f(g), f(u)) for name, (g, u) in self.layers.items()}
        return ImageKV(layers, *(x if x is None else f(x) for x in (self.weights, self.seen, self.shares)))


def concat(kvs: list[ImageKV]) -> ImageKV:
    """One batch of several, in their order.

    ValueError unless they agree in merge, layers, widths and, for merges that keep the prompts side by side, in N.
    """
    shapes = [{name: g.shape[1:] for name, (g, _) in kv.layers.items()} for kv in kvs]
    weights = [kv.weights for kv in kvs if kv.weights is not None]
    if any(s != shapes[0] for s in shapes) or len(weights) not in (0, len(kvs)):
        raise ValueError("concat: these ImageKV differ in layers, widths, number of prompts or merge")
    layers = {name: (torch.cat([kv.layers[name][0] for kv in kvs]), torch.cat([kv.layers[name][1] for kv in kvs]))
              for name in shapes[0]}  # fmt: skip
    seen = None if all(kv.seen is None for kv in kvs) else torch.cat([kv.all_seen() for kv in kvs])
    shares = [kv.shares for kv in kvs if kv.shares is not None]
    return ImageKV(layers, torch.cat(weights) if weights else None, seen,
                   joined_shares(shares) if len(shares) == len(kvs) else None)


def joined_shares(shares: list[Tensor]) -> Tensor:
    """[B, N, T] of each batch, with zeros for the prompts that a batch has fewer than another."""
    n = max(x.shape[1] for x in shares)
    return torch.cat([F.pad(x, (0, 0, 0, n - x.shape[1])) for x in shares])


# Z' = Softmax(QKᵀ/√d)V (Equation 3)
def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q [B, H, L, d], k and v [B, H, T, d] -> [B, H, L, d]; `mask` is bool or added to the scores [B, H, L, T]."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # [B, H, L, d]


# Softmax(QGᵀ/√d)U (Equation 6), or a weighted sum of P of them
def attend_images(q: Tensor, g: Tensor, u: Tensor, weights: Tensor | None, seen: Tensor | None) -> Tensor:
    """q [B, H, L, d] and what `ImageKV` holds for a layer, g and u [B, P, T, C] -> [B, H, L, d]."""
    g, u = (split_heads(x.to(q.dtype), q.shape[1]) for x in (g, u))  # [B, P, H, T, d]
    seen = None if seen is None else seen[:, None, None]
    if weights is None:
        return attend(q, g[:, 0], u[:, 0], seen)  # [B, H, L, d]
    q = q.unsqueeze(1).expand(-1, g.shape[1], -1, -1, -1)  # [B, P, H, L, d]
    z = attend(q.flatten(1, 2), g.flatten(1, 2), u.flatten(1, 2), seen).unflatten(1, q.shape[1:3])
    return torch.einsum("bp,bphld->bhld", weights.to(z.dtype), z)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., L, H·d] -> [..., H, L, d], a view."""
    return x.view(*x.shape[:-1], heads, -1).transpose(-2, -3)


def join_heads(z: Tensor) -> Tensor:
    """[B, H, L, d] -> [B, L, H·d]."""
    return z.transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class ImageTextAttention:
    """The processor of a cross-attention layer: its name, the processor that it stands in for, all layers' names.

    The text part is the arithmetic of diffusers' default, `AttnProcessor2_0`, whatever stood there before; over that
    one a 0 in a tensor λ is bitwise, too.
    """

    name: str
    base: Callable
    layers: tuple[str, ...] = ()

    def own(self, lam: Lams) -> Lam:
        """λ of this layer."""
        return by_layer(lam, self.layers)[self.name] if isinstance(lam, Mapping) else lam

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,  # [B, L, C]
        encoder_hidden_states: Tensor,  # the text, [B, tokens, D]
        attention_mask: Tensor | None = None,
        image_kv: ImageKV | None = None,
        lam: Lams = 1.0,
    ) -> Tensor:
        lam = self.own(lam)
        if image_kv is None or is_zero(lam):
            return self.base(attn, hidden_states, encoder_hidden_states, attention_mask)
        g, u = keys_values(image_kv, self.name, len(hidden_states))
        q = split_heads(attn.to_q(hidden_states), attn.heads)
        k = split_heads(attn.to_k(encoder_hidden_states), attn.heads)
        v = split_heads(attn.to_v(encoder_hidden_states), attn.heads)
        z = attend(q, k, v, text_mask(attn, attention_mask, encoder_hidden_states))
        z = plus(z, lam, attend_images(q, g, u, image_kv.weights, image_kv.seen))  # Z'' (Equation 6)
        return attn.to_out[1](attn.to_out[0](join_heads(z)))  # [B, L, C]


@dataclass(frozen=True)
class Untouched:
    """The processor of every other layer: takes the image arguments away and passes the rest on.

    diffusers makes new processors with `type(p)()` when it loads or unloads an adapter; that call is refused, as a
    ValueError.
    """

    base: Callable | None = None

    def __post_init__(self):
        if self.base is None:
            raise ValueError("an adapter is attached to this U-Net; detach it before loading or unloading another")

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        image_kv: ImageKV | None = None,
        lam: Lams = 1.0,
    ) -> Tensor:
        extra = {} if temb is None else {"temb": temb}
        assert self.base is not None  # see __post_init__
        return self.base(attn, hidden_states, encoder_hidden_states, attention_mask, **extra)


# The notation of https://huggingface.co/docs/diffusers/using-diffusers/ip_adapter (`set_ip_adapter_scale`)
def by_layer(lam: Mapping[str, Lam | list[Lam] | Mapping], layers: Collection[str]) -> dict[str, Lam]:
    """λ of each of `layers` from {"down": 0.5, "mid": 1.0, "up": {"block_0": [0.0, 1.0, 0.0]}}.

    A block has one λ, or a list with one for each of its attentions; what a part has, each of its blocks has; what is
    not named has 0.  What comes out, all layers by name, may be passed as λ too.
    ValueError for a part or block that has no cross-attention, and for a list of another length.
    """
    if odd := sorted(lam.keys() ^ set(layers)) if lam.keys() & set(layers) else []:
        raise ValueError(f"lam: all layers by name or none; missing or unknown: {', '.join(odd)}")
    if lam.keys() == set(layers):
        return cast(dict[str, Lam], dict(lam))
    parts = blocks(tuple(layers))
    lams: dict[str, Lam] = {name: 0.0 for of_part in parts.values() for group in of_part.values() for names in group
                            for name in names}  # fmt: skip
    for part, of_part in lam.items():
        known = look_up("lam", part, parts)
        for block, values in (of_part if isinstance(of_part, Mapping) else dict.fromkeys(known, of_part)).items():
            attentions = look_up(f"lam: {part}", block, known)
            each = values if isinstance(values, list | tuple) else [values] * len(attentions)
            if len(each := each * len(attentions) if len(each) == 1 else each) != len(attentions):
                raise ValueError(f"lam: {part}.{block} has {len(attentions)} attentions, got {len(each)} values")
            lams |= {name: value for names, value in zip(attentions, each, strict=True) for name in names}
    return lams


@cache  # every layer asks at every step
def blocks(layers: tuple[str, ...]) -> dict[str, dict[str, list[list[str]]]]:
    """part -> block -> attention -> names of its cross-attention layers: {"up": {"block_1": [[…], […]]}, …}."""
    parts: dict[str, dict[str, dict[str, list[str]]]] = {}
    for name in layers:
        place = re.match(r"(down|mid|up)_blocks?(?:\.(\d+))?\.attentions\.(\d+)\.", name)
        part, block, attention = place.groups("0") if place else (name, "0", "0")
        parts.setdefault(part, {}).setdefault(f"block_{block}", {}).setdefault(attention, []).append(name)
    return {part: {block: list(x.values()) for block, x in of_part.items()} for part, of_part in parts.items()}


def look_up(where: str, name: str, known: Mapping[str, T]) -> T:
    """`known[name]`; ValueError that lists what is known."""
    if name not in known:
        raise ValueError(f"{where}: no cross-attention in {name!r}; expected one of {', '.join(known)}")
    return known[name]


def is_zero(lam: Lam) -> bool:
    """Whether λ is the number 0; ValueError if it is neither a finite number nor a tensor."""
    if isinstance(lam, Tensor):
        return False
    if not isinstance(lam, Real) or not -math.inf < lam < math.inf:
        raise ValueError(f"lam: a finite number, or a tensor with one value a sample; got {lam!r}")
    return lam == 0


def plus(z: Tensor, lam: Lam, z_images: Tensor) -> Tensor:
    """z + λ·z_images, all [B, H, L, d]; λ a number or one value for each sample.

    Guidance stacks the batch twice, so B/2 values serve both halves.  ValueError for any other count but 1.
    """
    if not isinstance(lam, Tensor):
        return torch.add(z, z_images, alpha=float(lam))
    if lam.ndim > 1 or lam.numel() not in (1, len(z), len(z) / 2):
        expected = f"one value for each of {len(z)} samples, or half as many for both halves of guidance, expected"
        raise ValueError(f"lam: {expected}; got shape {list(lam.shape)}")
    return z + lam.to(z).reshape(-1).repeat(len(z) // lam.numel()).view(-1, 1, 1, 1) * z_images


def keys_values(image_kv: ImageKV, name: str, batch: int) -> tuple[Tensor, Tensor]:
    """(G, U) of one layer; ValueError if there is none or if it is for another batch size."""
    if name not in image_kv.layers:
        raise ValueError(f"image_kv: nothing for layer {name}; the adapter was made for another U-Net")
    if len(image_kv) != batch:
        raise ValueError(
            f"image_kv: {len(image_kv)} samples for a batch of {batch}; for guidance use adapter.guided(…), "
            "for k pictures of each sample image_kv.repeat_interleave(k)"
        )
    return image_kv.layers[name]


def text_mask(attn: Attention, mask: Tensor | None, text: Tensor) -> Tensor | None:
    """diffusers' mask of the text's tokens as `attend` takes it, [B, H, 1, tokens]; None for none."""
    if mask is None:
        return None
    mask = attn.prepare_attention_mask(mask, text.shape[1], len(text))  # [B·H, 1, tokens]
    return mask.view(len(text), attn.heads, -1, mask.shape[-1])


def attach(unet: UNet2DConditionModel) -> None:
    """Let the cross-attention layers of a U-Net take `image_kv` and `lam`.

    For U-Nets of the kind of Stable Diffusion 1.x, inside any pipeline.  What sets processors of its own, such as
    `enable_attention_slicing` or `fuse_qkv_projections`, comes before.  ValueError if an adapter, ours or diffusers',
    is attached already, or if a cross-attention layer is of another kind.
    """
    layers = cross_attention_layers(unet)
    for layer, attn in layers.items():
        refuse_unless_plain(layer, attn)
    unet.set_attn_processor({key: _stand_in(key, base, tuple(layers)) for key, base in unet.attn_processors.items()})


def _stand_in(key: str, base: Callable, layers: tuple[str, ...]) -> ImageTextAttention | Untouched:
    layer = key.removesuffix(".processor")
    return ImageTextAttention(layer, base, layers) if layer in layers else Untouched(base)


def detach(unet: UNet2DConditionModel) -> None:
    """Put the original processors, the very objects, back.  ValueError if nothing is attached."""
    processors = unet.attn_processors
    if not all(isinstance(p, ImageTextAttention | Untouched) for p in processors.values()):
        raise ValueError("detach: no adapter is attached to this U-Net, or its attention is being recorded")
    unet.set_attn_processor({key: p.base for key, p in processors.items()})


@contextmanager
def attached(unet: UNet2DConditionModel) -> Iterator[UNet2DConditionModel]:
    """`with attached(unet): …` attaches, and detaches at the end of the block whatever happens in it."""
    attach(unet)
    try:
        yield unet
    finally:
        detach(unet)


def cross_attention_layers(unet: UNet2DConditionModel) -> dict[str, Attention]:
    """Name -> layer of each text cross-attention, in the order of `unet.attn_processors`."""
    names = (key.removesuffix(".processor") for key in unet.attn_processors)
    return {name: unet.get_submodule(name) for name in names if name.endswith("attn2")}


def refuse_unless_plain(layer: str, attn: Attention) -> None:
    """ValueError unless the layer computes equation (3), its output projection and nothing else."""
    kind = type(attn.processor).__name__
    if isinstance(attn.processor, ImageTextAttention) or kind.startswith("IPAdapter"):
        raise ValueError(f"attach: {layer} has an adapter already ({kind}); detach that one first")
    extras = (attn.group_norm, attn.spatial_norm, attn.norm_cross, attn.norm_q, attn.added_kv_proj_dim)
    plain = not any(extras) and not attn.residual_connection and attn.rescale_output_factor == 1
    if not plain or not isinstance(attn.processor, TEXT_ONLY):
        raise ValueError(f"attach: {layer} ({kind}) is not the plain cross-attention of Stable Diffusion 1.x")
