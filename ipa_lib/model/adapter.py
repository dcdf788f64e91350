"""The modified IP-Adapter, equation (6): image prompts in, keys and values of the cross-attention layers out.

    adapter = MultiImageAdapter.from_unet(unet, embed_dim=1024, n_slots=4, merge="mean", slots="own")
    attach(unet)
    pipe(prompt, cross_attention_kwargs={"image_kv": adapter.guided(embeds), "lam": 0.8})

All that is trained lies here.  `adapter(embeds, mask)` is computed once per generation or training batch.

B batch · N prompts · E embedding width · T tokens a prompt · D text width · C inner width of a layer
S stacked matrices: one for each slot (`own`, the paper) or a single one (`shared`)
A prompt is a pooled embedding [E], for the resampler hidden states [patches, E].
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack, cast

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..files import atomic
from .adapter_config import AdapterConfig, Options
from .attention import ImageKV, cross_attention_layers
from .merge import MERGES, ORDERS, SetEncoder, share, take
from .projection import PROJECTIONS


class ImagePrompts(nn.Module):
    """The matrices W'_{k_p}, W'_{v_p} of one cross-attention layer; zero until they are filled."""

    def __init__(self, stacked: int, inner_dim: int, text_dim: int):
        super().__init__()
        self.to_k = nn.Parameter(torch.zeros(stacked, inner_dim, text_dim))  # [S, C, D]
        self.to_v = nn.Parameter(torch.zeros(stacked, inner_dim, text_dim))  # [S, C, D]

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [B, N, T, D], slot by slot -> K' and V', each [B, N, T, C]."""
        return project(tokens, self.to_k), project(tokens, self.to_v)


# K'_p = c_p W'_{k_p}, V'_p = c_p W'_{v_p} (Equation 6)
def project(tokens: Tensor, weight: Tensor) -> Tensor:
    """tokens [B, N, T, D] through the matrix of each slot, weight [S, C, D] -> [B, N, T, C]."""
    n = tokens.shape[1]
    weight = weight.expand(n, -1, -1) if len(weight) == 1 else weight[:n]  # [N, C, D]
    return torch.einsum("bntd,ncd->bntc", tokens, weight)  # [B, N, T, C]


class MultiImageAdapter(nn.Module):
    """N image embeddings of one person -> the `ImageKV` that the processors of `attention` take.

    `notes`: a loaded file's remarks.
    """

    def __init__(self, config: AdapterConfig):
        super().__init__()
        self.config, self.notes = config, dict[str, str]()
        self.projection = PROJECTIONS[config.projection](config.embed_dim, config.text_dim, config.tokens)
        self.score = MERGES[config.merge].score(config.n_slots, config.text_dim)
        encoder = MERGES[config.merge].encoder
        self.encoder: SetEncoder | None = encoder(config.text_dim, config.tokens) if encoder else None
        marks = torch.zeros(config.n_slots, config.text_dim) if config.slots == "marked" else None
        self.marks = marks if marks is None else nn.Parameter(marks)  # [N, D]
        stacked = config.n_slots if config.slots == "own" else 1
        self.layers = nn.ModuleDict(
            {key(name): ImagePrompts(stacked, c, config.text_dim) for name, c in config.layers.items()}
        )

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, embed_dim: int, n_slots: int, **options: Unpack[Options],
                  ) -> MultiImageAdapter:  # fmt: skip
        """A new adapter whose W'_k and W'_v are, in every slot, W_k and W_v of the layer of the same name.

        `options`: the other arguments of `AdapterConfig`, whose errors are raised.
        """
        originals = cross_attention_layers(unet)
        widths = {name: attn.to_k.out_features for name, attn in originals.items()}
        adapter = cls(AdapterConfig(widths, embed_dim, unet.config.cross_attention_dim, n_slots, **options))
        with torch.no_grad():
            for name, attn in originals.items():
                adapter.layer(name).to_k.copy_(attn.to_k.weight)
                adapter.layer(name).to_v.copy_(attn.to_v.weight)
        return adapter

    def layer(self, name: str) -> ImagePrompts:
        """The matrices of the cross-attention layer of this name."""
        return cast(ImagePrompts, self.layers[key(name)])

    def forward(self, embeds: Tensor, mask: Tensor | None = None) -> ImageKV:
        """embeds [B, N, E] or [B, N, patches, E], mask [B, N] bool (False: a missing prompt) -> G and U of every layer.

        Any n ≤ `config.n_slots` prompts; more where nothing belongs to a slot.
        ValueError for too many, for a sample without any, and for other shapes.
        """
        mask = self.check_prompts(embeds, mask)
        if mask is not None:
            missing = ~mask.reshape(*mask.shape, *[1] * (embeds.ndim - 2))
            embeds = embeds.masked_fill(missing, 0)  # not even a NaN there may matter
        merge, order = MERGES[self.config.merge], ORDERS[self.config.order]
        rows = order(embeds, mask)  # [B, N] the prompt of each slot
        back = None if rows is None else rows.argsort(1)  # [B, N] the slot of each prompt
        tokens = take(self.projection(embeds), rows)  # [B, N, T, D], slot by slot
        if self.marks is not None:
            tokens = tokens + self.marks[: tokens.shape[1], None]
        w = share(take(self.score(tokens), back), mask)  # [B, N, T], from here in the order given
        if self.encoder is not None:
            pooled = self.encoder(take(tokens, back), mask)  # [B, 1, T, D]
            return ImageKV({name: self.layer(name)(pooled) for name in self.config.layers}, shares=w)
        layers = {}
        for name in self.config.layers:
            k, v = (take(x, back) for x in self.layer(name)(tokens))  # [B, N, T, C]
            layers[name] = merge.combine(k, w), merge.combine(v, w)  # G, U
        return ImageKV(layers, merge.weights(w), None if mask is None else merge.seen(w), w)

    # Both branches of guidance (Equation 5)
    def guided(self, embeds: Tensor, mask: Tensor | None = None, nothing: Tensor | None = None) -> ImageKV:
        """[2B, …]: no picture, through projection and adapter, first, then the prompts.

        So diffusers' pipelines stack the batch for guidance.  No picture is a zero embedding, and for the resampler
        `nothing` [patches, E], the encoder's hidden states of zeros in place of a processed picture, which is mid-grey
        (`backbone.no_picture`).  Other arguments and errors as in `forward`; ValueError where `nothing` is wanted and
        not given, or does not fit.
        """
        mask = self.check_prompts(embeds, mask)
        if nothing is None and self.projection.patches:
            raise ValueError("nothing: the hidden states of no picture [patches, E] were expected for a resampler")
        nothing = torch.zeros_like(embeds[0, 0]) if nothing is None else nothing
        if nothing.shape != embeds.shape[2:]:
            raise ValueError(f"nothing: expected {list(embeds.shape[2:])}, got {list(nothing.shape)}")
        return self(torch.cat([nothing.expand_as(embeds), embeds]), None if mask is None else mask.repeat(2, 1))

    def takes(self, n_refs: int) -> bool:
        """May there be so many prompts? Own matrices and learned weights are there for each of N slots and no more."""
        config = self.config
        return n_refs <= config.n_slots or (config.slots == "shared" and config.merge != "weighted")

    def check_prompts(self, embeds: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask, or None if every prompt is there; ValueError as `forward` says."""
        patches = self.projection.patches
        if embeds.ndim != 3 + patches or embeds.shape[-1] != self.config.embed_dim or not all(embeds.shape[1:]):
            expected = f"[B, N, {'patches, ' * patches}{self.config.embed_dim}]"
            raise ValueError(f"embeds: expected {expected}, got {list(embeds.shape)}")
        if not self.takes(embeds.shape[1]):
            raise ValueError(f"embeds: {embeds.shape[1]} prompts for an adapter of {self.config.n_slots} slots")
        if mask is None:
            return None
        if not isinstance(mask, Tensor) or mask.shape != embeds.shape[:2] or mask.dtype != torch.bool:
            got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
            raise ValueError(f"mask: expected bool {list(embeds.shape[:2])}, got {got}")
        if not mask.any(1).all():
            raise ValueError("mask: a sample has no prompt; for text alone leave image_kv out or set lam = 0")
        return None if mask.all() else mask

    def save(self, path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
        """Write the adapter and nothing else as safetensors.

        `metadata` are remarks, such as what it was trained on; a loaded file's `notes` are kept.
        ValueError if `metadata` holds a name that the adapter writes itself.
        """
        settings, metadata = self.config.metadata(), metadata or {}
        if clash := sorted(settings.keys() & metadata.keys()):
            raise ValueError(f"metadata: {', '.join(clash)} are written by the adapter itself")
        tensors = {name: x.detach().cpu().contiguous() for name, x in self.state_dict().items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, {**self.notes, **metadata, **settings})
            sort_metadata(temporary)

    @classmethod
    def load(cls, path: str | os.PathLike) -> MultiImageAdapter:
        """Read what `save` wrote.

        FileNotFoundError without the file; ValueError with the names for keys missing, surplus, misshapen or with NaN.
        """
        tensors, notes = read_safetensors(path)
        with naming(path), torch.device("meta"):  # shapes only: nothing is drawn at random and nothing is held twice
            adapter = cls(AdapterConfig.pop(notes))
            refuse_difference(adapter.state_dict(), tensors)
        adapter.load_state_dict(tensors, assign=True)
        adapter.notes = notes
        return adapter


# cos(W'_p, W'_q) of the matrices of Equation 6
@torch.no_grad()
def slot_cosines(adapter: MultiImageAdapter) -> Tensor:
    """Cosines of the slots' matrices, flattened: how alike they have become, float [layers, 2, N, N].

    Layers in the order of `config.layers`; 0 is to_k, 1 is to_v.  All are 1 in a new adapter, whose slots start alike:
    what is below 1 was learned.  A matrix of zeros has cosine 0 with all.  Shared slots: [layers, 2, 1, 1], ones.
    """
    layers = [adapter.layer(name) for name in adapter.config.layers]
    stacks = [weight.float().flatten(1) for layer in layers for weight in (layer.to_k, layer.to_v)]
    units = [nn.functional.normalize(stack, dim=1) for stack in stacks]  # [N, C·D] each, C the layer's own
    return torch.stack([unit @ unit.mT for unit in units]).unflatten(0, (-1, 2))


def mean_slot_cosine(adapter: MultiImageAdapter) -> float:
    """The mean of `slot_cosines` over layers, keys, values and pairs of slots p < q; NaN for a single slot."""
    cosines = slot_cosines(adapter)
    n = cosines.shape[-1]
    return cosines[..., *torch.triu_indices(n, n, 1)].mean().item()


def key(layer: str) -> str:
    """A layer's name as that of a submodule, which may hold no dots: mid_block/attentions/0/…/attn2."""
    return layer.replace(".", "/")


@contextmanager
def naming(path: object) -> Iterator[None]:
    """A ValueError within is said of the file `path`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def sort_metadata(path: str | os.PathLike) -> None:
    """Sort the metadata of a safetensors file, which its writer puts down in another order in every process."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            raise ValueError(f"{path}: the header can't be written in the {length} bytes that it had")
        file.seek(8)
        file.write(text.ljust(length))


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such adapter file")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None


def refuse_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """ValueError that names what the file lacks, has too much, in another shape, or as NaN or infinity."""
    both = ours.keys() & theirs.keys()
    faults = {
        "missing": ours.keys() - both,
        "surplus": theirs.keys() - both,
        "misshapen": {
            f"{name} {list(theirs[name].shape)} instead of {list(ours[name].shape)}"
            for name in both
            if theirs[name].shape != ours[name].shape
        },
    }
    if any(faults.values()):
        raise ValueError("; ".join(f"{fault} {', '.join(sorted(x))}" for fault, x in faults.items() if x))
    if spoilt := sorted(name for name, x in theirs.items() if not x.isfinite().all()):
        raise ValueError(f"{spoilt[0]} holds values that are not finite")
