import copy
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from ipa_lib.data.identity_sets import evaluation_sets, group_by_person
from ipa_lib.diffusion import sampling
from ipa_lib.diffusion.backbone import decode_latents
from ipa_lib.model import attention
from ipa_lib.model.adapter import MultiImageAdapter


@pytest.fixture(scope="module")
def models(base):
    models = copy.deepcopy(base)
    attention.attach(models.unet)
    return models


@pytest.fixture(scope="module")
def adapter(base):
    torch.manual_seed(0)
    return MultiImageAdapter.from_unet(base.unet, base.image_encoder.config.projection_dim, 3)


@pytest.fixture(scope="module")
def sets(stored):
    return evaluation_sets(group_by_person(stored[0], 5, "test"), 3, 2, seed=0)


def test_guidance_is_equation_2():
    empty, condition = torch.randn(2, 1, 3)
    expected = 7.5 * condition + (1 - 7.5) * empty
    torch.testing.assert_close(sampling.guide(torch.cat([empty, condition]), 7.5), expected)


def test_noise_is_a_function_of_seed_person_and_sample():
    noise = sampling.initial_noise([3, 3, 8], [0, 1, 0], (2, 4, 4), seed=5)
    assert torch.equal(noise[2], sampling.initial_noise([8], [0], (2, 4, 4), seed=5)[0])
    assert torch.equal(noise[:2], sampling.initial_noise([3, 3], [0, 1], (2, 4, 4), seed=5))
    different = [*noise, *sampling.initial_noise([3], [0], (2, 4, 4), seed=6)]
    assert len({tuple(x.flatten().tolist()) for x in different}) == 4


def test_text_to_image_equals_the_stock_pipeline(base, base_folder, stored):
    pipe = StableDiffusionPipeline.from_pretrained(
        base_folder, safety_checker=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    x_T, text, empty = torch.randn(2, *base.latent_shape), stored[1].text(torch.tensor([0, 1])), stored[1].empty
    theirs = pipe(prompt_embeds=text, negative_prompt_embeds=empty.expand_as(text), latents=x_T.clone(),
                  num_inference_steps=4, guidance_scale=3.0, output_type="latent").images
    *_, ours = sampling.denoise(base.unet, base.scheduler, x_T, text, empty, w=3.0, steps=4)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_at_lam_0_the_prompts_play_no_part(base, models, adapter, stored):
    x_T, text, empty = torch.randn(2, *base.latent_shape), stored[1].text(torch.tensor([0, 1])), stored[1].empty
    kv = adapter.guided(stored[1].embeds[torch.tensor([[2, 3], [4, 5]])])
    *_, bare = sampling.denoise(base.unet, base.scheduler, x_T, text, empty, steps=3)
    *_, zero = sampling.denoise(models.unet, base.scheduler, x_T, text, empty, kv, lam=0.0, steps=3)
    *_, one = sampling.denoise(models.unet, base.scheduler, x_T, text, empty, kv, lam=1.0, steps=3)
    assert torch.equal(bare, zero) and not torch.equal(bare, one)


def test_a_sweep_in_one_batch_equals_its_parts(models, adapter, stored, sets):
    def drawn(lams, size):
        stream = sampling.draw_sets(models, adapter, stored[1], sets, 2, lams, steps=3, batch_size=size)
        rows, pictures = zip(*stream, strict=True)
        keys = [(r.person, r.sample, r.lam) for part in rows for r in part.itertuples()]
        return dict(zip(keys, np.concatenate(pictures), strict=True))

    sweep = drawn([0.0, 0.5, 1.0], 6)
    single = drawn([0.5], 1)
    assert len(sweep) == 3 * len(sets)
    for key, picture in single.items():
        assert np.abs(sweep[key].astype(int) - picture).max() <= 1  # a rounding of the last bit


def test_batches_that_are_made_are_passed_over_and_the_others_stay_the_same(models, adapter, stored, sets):
    draw = partial(sampling.draw_sets, models, adapter, stored[1], sets, 2, [0.0, 1.0], steps=2, batch_size=4)
    whole = list(draw())
    first = whole[0][0]
    again = list(draw(made=lambda rows: rows.equals(first)))
    assert len(whole) > 1 and again[0][1] is None
    assert all(a.equals(b) for (a, _), (b, _) in zip(whole, again, strict=True))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(whole[1:], again[1:], strict=True))


def test_the_scheduler_is_left_alone(models, stored):
    before = models.scheduler.timesteps.clone()
    next(sampling.denoise(models.unet, models.scheduler, torch.randn(1, *models.latent_shape),
                          stored[1].texts[:1], stored[1].empty, steps=3))
    assert torch.equal(models.scheduler.timesteps, before)


def test_every_step_is_yielded(models, stored):
    x_T = torch.randn(1, *models.latent_shape)
    steps = list(sampling.denoise(models.unet, models.scheduler, x_T, stored[1].texts[:1], stored[1].empty, steps=5))
    assert len(steps) == 5
    assert decode_latents(models.vae, steps[-1]).shape == (1, 64, 64, 3)


def test_latents_that_are_not_finite_name_step_and_sample(base, models, stored, sets):
    """An adapter that overflows: what would be decoded to a black picture is no picture."""
    adapter = MultiImageAdapter.from_unet(base.unet, base.image_encoder.config.projection_dim, 3)
    with torch.no_grad():
        adapter.projection.proj.weight.fill_(1e38)
        adapter.projection.norm.weight.fill_(1e38)
    person = sets.person[0]
    with pytest.raises(FloatingPointError, match=f"from step 0 on, of person {person}, sample 0, λ = 1; lower"):
        list(sampling.draw_sets(models, adapter, stored[1], sets, 2, [1.0], steps=2))
