"""Sampling with text and images, equation (5).

B samples at once; c/h/w latent channels/height/width, L caption tokens, D text width. One batch may hold every λ of a
sweep: λ is a number or a tensor [B], and the noise of a sample depends on (seed, person, sample) alone.
"""
import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from ..model.attention import ImageKV
from .backbone import decode_latents

AT_ONCE = 24_576  # places of latents in a batch: 96 pictures of the scale model, 6 of 512 px


def initial_noise(persons: Sequence[int], samples: Sequence[int], shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """x_T [B,c,h,w]: the same for a (seed, person, sample) whatever N, λ, merge, batch or number of workers."""
    streams = zip(persons, samples, strict=True)
    return torch.stack([torch.randn(shape, generator=_stream(seed, int(p), int(s))) for p, s in streams])


def _stream(seed: int, person: int, sample: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + person) * 1_009 + sample)


# Equations (2) and (5): ε̂ = w ε_θ(x_t, c, c_1…c_N, t) + (1 − w) ε_θ(x_t, t)
def guide(eps: torch.Tensor, w: float) -> torch.Tensor:
    """ε̂ [B,c,h,w] of the two branches `eps` [2B,c,h,w], the unconditional one first."""
    eps_empty, eps_condition = eps.chunk(2)
    return w * eps_condition + (1 - w) * eps_empty


@torch.no_grad()
def denoise(unet, scheduler, x_T: torch.Tensor, text: torch.Tensor, empty: torch.Tensor,
            image_kv: ImageKV | None = None, lam: float | torch.Tensor = 1.0, w: float = 3.0, steps: int = 20,
            ) -> Iterator[torch.Tensor]:
    """Latents after each of `steps` denoising steps, the last of them x_0; `scheduler` itself is left as it is.

    text [B,L,D], empty [L,D]. `image_kv` holds both branches, as `adapter.guided` gives them; None is text alone, for a
    U-Net with or without an adapter attached.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    x_t, condition = x_T * scheduler.init_noise_sigma, torch.cat([empty.expand_as(text), text])     # [2B,L,D]
    x_t = x_t.to(unet.device, torch.float32)  # a step is small: in half precision it would be lost
    images = None if image_kv is None else {"image_kv": image_kv, "lam": lam}
    for t in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([x_t, x_t]), t)                                # [2B,c,h,w]
        eps = unet(both.to(unet.dtype), t, condition, cross_attention_kwargs=images).sample
        x_t = scheduler.step(guide(eps.float(), w), t, x_t).prev_sample                             # [B,c,h,w]
        yield x_t


@torch.no_grad()
def draw_sets(backbone, adapter, features, sets: pd.DataFrame, n_refs: int, lams: Sequence[float], w: float = 3.0,
              steps: int = 20, seed: int = 0, batch_size: int | None = None,
              made: Callable[[pd.DataFrame], bool] | None = None,
              ) -> Iterator[tuple[pd.DataFrame, np.ndarray | None]]:
    """Pictures of evaluation sets over a whole sweep of λ, about `batch_size` at a time (`AT_ONCE` by default).

    `sets` as `identity_sets.evaluation_sets` gives them; the first `n_refs` prompts of each are used and K'/V' are
    computed once for all λ. Yields (rows [S] of `sets` with a column lam, uint8 pictures [S,H,W,3]). The U-Net must
    have the image attention attached. A batch of rows that `made` knows of is not drawn again: its pictures are None,
    and the others are those of a run without it, to the bit. Raises ValueError for more prompts than were set aside,
    FloatingPointError that names the sample where latents are not finite.
    """
    if n_refs > (most := len(sets["prompts"].iloc[0])):
        raise ValueError(f"n_refs = {n_refs}; max_refs = {most} prompts are set aside for each person")
    _, height, width = backbone.latent_shape
    per_batch = max(1, (batch_size or AT_ONCE // (height * width)) // len(lams))
    for start in range(0, len(sets), per_batch):
        part = sets.iloc[start:start + per_batch]
        rows = part.loc[part.index.repeat(len(lams))].assign(lam=list(lams) * len(part))
        if made and made(rows):
            yield rows, None
            continue
        kv, x_T, text, lam = _sweep(adapter, features, part, n_refs, lams, backbone.latent_shape, seed)
        stream = denoise(backbone.unet, backbone.scheduler, x_T, text, features.empty, kv, lam, w, steps)
        finite = [(x_t := x).isfinite().flatten(1).all(1) for x in stream]                          # steps × [S]
        _refuse_odd(torch.stack(finite), rows)
        yield rows, decode_latents(backbone.vae, x_t)  # x_0


def _refuse_odd(finite: torch.Tensor, rows: pd.DataFrame) -> None:
    """FloatingPointError where a sample of `rows` [S] is not finite after every step, [steps,S]."""
    if finite.all():
        return
    step, row = (~finite).nonzero()[0].tolist()
    person, sample, lam = rows.iloc[row][["person", "sample", "lam"]]
    raise FloatingPointError(f"latents are not finite from step {step} on, of person {person}, sample {sample}, "
                             f"λ = {lam:g}; lower guidance or λ, or take float32")


def _sweep(adapter, features, sets: pd.DataFrame, n_refs: int, lams: Sequence[float], shape: tuple, seed: int) -> tuple:
    """K'/V', noise, text and λ of every set at every λ: set by set, λ running fastest."""
    times = len(lams)
    refs = torch.tensor([row[:n_refs] for row in sets["prompts"]])                                  # [b,n]
    kv = adapter.guided(features.embeds[refs], nothing=features.nothing).repeat_interleave(times)   # [2bΛ,…]
    x_T = initial_noise(sets["person"], sets["sample"], shape, seed).repeat_interleave(times, 0)    # [bΛ,c,h,w]
    text = features.text(torch.tensor(sets["target"].to_numpy())).repeat_interleave(times, 0)       # [bΛ,L,D]
    return kv, x_T, text, torch.tensor(lams, device=text.device).repeat(len(sets))
