"""What the feature cache saves: a training step with live encoders against one with cached features.

A B A B in one process on the mini base, for N = 1 and 4; prints the median of the paired ratios and its quartiles.
"""
import time
from functools import partial

import numpy as np
import torch

from ipa_lib.diffusion import backbone, training
from ipa_lib.diffusion.features import Features
from ipa_lib.model import attention
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.workflow import paths

BATCH, ROUNDS = 16, 9


def live_features(models, pictures: np.ndarray, texts: list[str]) -> Features:
    """Features of `pictures` [M,H,W,3], encoded now; texts[0] is the empty one."""
    return Features(
        backbone.encode_pictures(models.vae, pictures),
        backbone.embed_pictures(models, pictures),
        backbone.no_picture(models),
        backbone.encode_captions(models, texts),
        torch.ones(len(pictures), dtype=torch.long),
    )


def encode_and_step(step, *sources) -> None:
    step(live_features(*sources))


def seconds(step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    models = backbone.load_base(paths.MODELS / "mini")
    attention.attach(models.unet)
    side = models.picture_size
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH * 5, side, side, 3), np.uint8)
    texts = ["", "a photo of a person with brown hair, smiling"]
    cached = live_features(models, pictures, texts)
    for n in (1, 4):
        adapter = MultiImageAdapter.from_unet(models.unet, cached.embeds.shape[-1], n)
        rows = torch.arange(BATCH * (n + 1)).reshape(BATCH, n + 1)
        batch = {"target": rows[:, 0], "refs": rows[:, 1:], "mask": torch.ones(BATCH, n, dtype=torch.bool)}

        def step(features, adapter=adapter, batch=batch):
            generator = training.step_generator(0, 0)
            training.adapter_loss(
                adapter, models.unet, models.scheduler, features, batch, generator
            ).backward()

        needed = pictures[: rows.numel()]
        stored = partial(step, cached)
        live = partial(encode_and_step, step, models, needed, texts)
        ratios = [seconds(live) / seconds(stored) for _ in range(ROUNDS)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"N = {n}: a live step costs {middle:.2f} cached ones (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
