"""Exchange with published IP-Adapters: their files in, ours out as files that stock `pipe.load_ip_adapter` reads.

    adapter = from_published("ip-adapter_sd15.safetensors", unet, n_slots=4)   # a warm start of all four slots
    save_published(adapter, "slot_1.safetensors", slot=0)

A published checkpoint has two parts, "image_proj", the projection of the kind "base", "FaceID" or "plus", and
"ip_adapter", whose keys are `<i>.to_k_ip.weight` and `<i>.to_v_ip.weight` [C, D]; i is the place of the layer in
`unet.attn_processors`, where self- and cross-attention alternate: 1, 3, 5 … In a .safetensors file the parts are
prefixes of the keys; .bin is a pickle, of which tensors alone are read.
https://github.com/tencent-ailab/IP-Adapter, https://huggingface.co/h94/IP-Adapter
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from ..files import atomic, sha256
from ..hub import local_file
from .adapter import MultiImageAdapter, naming, read_safetensors, refuse_difference
from .adapter_config import Choices, Tokens
from .projection import PROJECTIONS

PARTS = ("image_proj", "ip_adapter")
SUFFIXES = (".safetensors", ".bin")


def to_published(adapter: MultiImageAdapter, slot: int = 0) -> dict[str, dict[str, Tensor]]:
    """The adapter of one slot, counted from 0, as {"image_proj": {…}, "ip_adapter": {…}}: detached, not copied.

    Weights of the merge have no place in it: one adapter with one picture needs none.  The vector of a marked slot goes
    into the bias of the projection's last norm.  IndexError without the slot; ValueError for `pool`, whose set encoder
    changes what a single picture gives and can't be written down there.
    """
    if adapter.encoder is not None:
        raise ValueError(f"merge: a published file has no place for the set encoder of {adapter.config.merge}")
    parts = _tensors(adapter, slot)
    if adapter.marks is not None:
        bias = "norm_out.bias" if adapter.projection.patches else "norm.bias"
        parts["image_proj"][bias] = (parts["image_proj"][bias] + adapter.marks[slot]).detach()
    return parts


def _tensors(adapter: MultiImageAdapter, slot: int) -> dict[str, dict[str, Tensor]]:
    """The adapter's own tensors of one slot, by their published names."""
    if not 0 <= slot < adapter.config.n_slots:
        raise IndexError(f"slot: 0 to {adapter.config.n_slots - 1} expected, got {slot}")
    row = slot if adapter.config.slots == "own" else 0
    matrices = {}
    for i, name in enumerate(adapter.config.layers):
        layer = adapter.layer(name)
        matrices[f"{2 * i + 1}.to_k_ip.weight"] = layer.to_k[row].detach()
        matrices[f"{2 * i + 1}.to_v_ip.weight"] = layer.to_v[row].detach()
    return {"image_proj": dict(adapter.projection.state_dict()), "ip_adapter": matrices}


def save_published(adapter: MultiImageAdapter, path: str | os.PathLike, slot: int = 0) -> None:
    """Write one slot as a published checkpoint, .safetensors or .bin; N slots are N such files.

    Stock diffusers: `pipe.load_ip_adapter(folder, subfolder="", weight_name=name, image_encoder_folder=None)`.  Given
    N files it adds their attentions, as the merge `sum` does; the scales [λ/N] * N make `average` of it.
    ValueError for another suffix and for T ≠ 4 of a pooled embedding, which readers take for granted.
    """
    refuse_suffix(Path(path))
    kind, tokens = adapter.config.projection, adapter.config.tokens
    if not adapter.projection.patches and tokens != 4:
        raise ValueError(f"{path}: a published {kind} projection has 4 tokens, this adapter {tokens}")
    parts = {part: {name: x.cpu().clone() for name, x in weights.items()}  # a view would take all slots along in a .bin
             for part, weights in to_published(adapter, slot).items()}
    with atomic(path) as temporary:
        if Path(path).suffix == ".bin":
            torch.save(parts, temporary)
        else:
            save_file(flat(parts), temporary)


def read_published(path: str | os.PathLike) -> dict[str, dict[str, Tensor]]:
    """{"image_proj": {…}, "ip_adapter": {…}} of a .safetensors or .bin file; keys of other prefixes are left out.

    FileNotFoundError without the file; ValueError, one line with its name, for a file that is something else.
    """
    refuse_suffix(path := Path(path))
    if path.suffix == ".bin":
        parts = read_bin(path)
    else:
        tensors, _ = read_safetensors(path)
        parts = {part: {name.removeprefix(f"{part}."): x for name, x in tensors.items() if name.startswith(f"{part}.")}
                 for part in PARTS}
    if empty := [part for part in PARTS if not parts[part]]:
        raise ValueError(f"{path}: not an IP-Adapter, it holds no {' and no '.join(empty)}")
    return parts


def read_bin(path: Path) -> dict[str, dict[str, Tensor]]:
    """The two parts of a .bin file, by torch's reader of tensors alone, which runs no code of the pickle."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such adapter file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes the reader stumbles over: a page of HTML, a pointer, a cut file
        kind = type(error).__name__
        raise ValueError(f"{path}: not a file of tensors alone, or damaged ({kind}); download it again") from None
    parts = {part: content.get(part, {}) for part in PARTS} if isinstance(content, dict) else {}
    whole = [isinstance(x, dict) and all(isinstance(y, Tensor) for y in x.values()) for x in parts.values()]
    if not whole or not all(whole):
        raise ValueError(f"{path}: expected {{'image_proj': {{name: tensor}}, 'ip_adapter': {{name: tensor}}}}")
    return parts


def refuse_suffix(path: Path) -> None:
    """ValueError for a file of another kind than `SUFFIXES`."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a file ending in {' or '.join(SUFFIXES)} was expected")


def from_published(path: str | os.PathLike, unet: UNet2DConditionModel, n_slots: int = 1, **choices: Unpack[Choices],
                   ) -> MultiImageAdapter:  # fmt: skip
    """A new adapter for `unet`, each of whose slots is the published one: the warm start of N slots.

    `choices`: merge, slots and order as of `AdapterConfig`; the file tells the projection.
    Errors of `read_published` and of `AdapterConfig`; ValueError that names keys missing, surplus or misshapen.
    """
    parts = read_published(path)
    with naming(path):
        embed_dim, shape = projection_shape(parts["image_proj"])
    adapter = MultiImageAdapter.from_unet(unet, embed_dim, n_slots, **choices, **shape)
    for slot in range(n_slots if adapter.config.slots == "own" else 1):
        with naming(path):
            fill_slot(adapter, parts, slot)
    return adapter


def start_adapter(start: str, unet: UNet2DConditionModel, image_encoder: CLIPVisionModelWithProjection, n_slots: int,
                  **choices: Unpack[Choices]) -> MultiImageAdapter:
    """A new adapter for a base: with a projection of the kind `start`, a key of `PROJECTIONS`, or a published one.

    `start` may also be the path of such a file, or its name on the hub. `choices` and errors as of `from_published`;
    errors of `local_file`, too.
    """
    if start not in PROJECTIONS:
        return from_published(local_file(start), unet, n_slots, **choices)
    config = image_encoder.config
    width = config.hidden_size if PROJECTIONS[start].patches else config.projection_dim
    return MultiImageAdapter.from_unet(unet, width, n_slots, projection=start, **choices)


def origin(start: str) -> str:
    """Name of what `start_adapter` starts from, for the record: the kind of projection, or a file's name and sha256."""
    return start if start in PROJECTIONS else f"{start} {sha256(local_file(start))}"


def load_adapter(path: str | os.PathLike, unet: UNet2DConditionModel, n_slots: int = 1) -> MultiImageAdapter:
    """An adapter of this package as it was saved, or a published one in each of `n_slots` slots under `concat`.

    Raises ValueError for one that takes fewer prompts. Other errors as of `MultiImageAdapter.load`, `from_published`.
    """
    ours = Path(path).suffix == ".safetensors" and "layers" in read_safetensors(path)[1]
    adapter = MultiImageAdapter.load(path) if ours else from_published(path, unet, n_slots, merge="concat")
    if not adapter.takes(n_slots):
        raise ValueError(f"{path}: at most n_refs = {adapter.config.n_slots} pictures were expected, got {n_slots}")
    return adapter


def load_published(adapter: MultiImageAdapter, path: str | os.PathLike, slot: int = 0) -> None:
    """Read a published file into one slot, counted from 0, and into the projection, which all slots have in common.

    So files of different trainings do not mix: the projection of the last one stays, and the others' matrices see
    tokens that they were not trained on.  Errors as of `from_published` and `to_published`; after one the adapter is
    what it was.
    """
    parts = read_published(path)
    with naming(path):
        fill_slot(adapter, parts, slot)


def projection_shape(weights: dict[str, Tensor]) -> tuple[int, Tokens]:
    """E, and the projection and its tokens, of an "image_proj" of the kinds "base", "FaceID" and "plus"."""
    names = ("proj.weight", "proj.0.weight", "proj.2.weight", "norm.weight", "latents", "proj_in.weight")
    axes = {name: weights[name].ndim for name in names if name in weights}
    if axes == {"proj.weight": 2, "norm.weight": 1}:
        (rows, embed_dim), (text_dim,) = weights["proj.weight"].shape, weights["norm.weight"].shape
        return embed_dim, {"projection": "linear", "tokens": max(1, rows // text_dim)}
    if axes == {"proj.0.weight": 2, "proj.2.weight": 2, "norm.weight": 1}:
        rows, text_dim = len(weights["proj.2.weight"]), len(weights["norm.weight"])
        return weights["proj.0.weight"].shape[1], {"projection": "mlp", "tokens": max(1, rows // text_dim)}
    if axes == {"latents": 3, "proj_in.weight": 2}:
        return weights["proj_in.weight"].shape[1], {"projection": "resampler", "tokens": weights["latents"].shape[1]}
    raise ValueError(f"image_proj: of none of the kinds base, FaceID, plus; it has {', '.join(sorted(weights)[:4])} …")


@torch.no_grad()
def fill_slot(adapter: MultiImageAdapter, parts: dict[str, dict[str, Tensor]], slot: int) -> None:
    """Copy published weights into the tensors of one slot; ValueError with the names unless all fit."""
    ours, theirs = flat(_tensors(adapter, slot)), flat(parts)
    refuse_difference(ours, theirs)
    for name, x in theirs.items():
        ours[name].copy_(x)
    if adapter.marks is not None:
        adapter.marks[slot].zero_()


def flat(parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """The keys of a .safetensors file."""
    return {f"{part}.{name}": x for part, weights in parts.items() for name, x in weights.items()}
