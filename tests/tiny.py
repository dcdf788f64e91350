"""A random U-Net of Stable Diffusion's classes, small enough to run in milliseconds, and inputs for it."""

import torch
from diffusers import UNet2DConditionModel

from ipa_lib.model.adapter import MultiImageAdapter

EMBED, TEXT, TOKENS = 16, 32, 4


def unet(seed=0):
    torch.manual_seed(seed)
    return (
        UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=TEXT,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        .requires_grad_(False)
        .eval()
    )


def inputs(batch, seed=1):
    """x_t, t and text of a call."""
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, 4, 8, 8, generator=g),
        torch.full((batch,), 500),
        torch.randn(batch, 7, TEXT, generator=g),
    )


def embeddings(batch, n, seed=2):
    return torch.randn(batch, n, EMBED, generator=torch.Generator().manual_seed(seed))


def adapter(of, n_slots, merge="mean", slots="own", seed=3, **others):
    """An adapter as if trained: no two slots alike, no parameter left at its start."""
    torch.manual_seed(seed)
    choices = {"merge": merge, "slots": slots_of(merge, slots), "tokens": TOKENS} | others
    return shaken(MultiImageAdapter.from_unet(of, EMBED, n_slots, **choices), seed)


def slots_of(merge, slots):
    """`slots`, but for a merge that has no own ones."""
    return "shared" if (merge, slots) == ("pool", "own") else slots


def shaken(module, seed=3):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype), alpha=0.3)
    return module


def run(unet, args, image_kv=None, lam=1.0):
    given = {} if image_kv is None else {"image_kv": image_kv, "lam": lam}
    return unet(*args, cross_attention_kwargs=given).sample
