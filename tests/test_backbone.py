import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from ipa_lib import backbone


def test_a_folder_without_a_pipeline_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model_index.json"):
        backbone.load_base(tmp_path)


def test_everything_is_frozen(base):
    models = base.vae, base.unet, base.text_encoder, base.image_encoder
    assert not any(p.requires_grad for model in models for p in model.parameters())


def test_captions_are_encoded_as_the_stock_pipeline_does(base, base_folder):
    pipe = StableDiffusionPipeline.from_pretrained(
        base_folder, safety_checker=None, requires_safety_checker=False
    )
    ours = backbone.encode_captions(base, ["a photo of a person", ""])
    theirs = pipe.encode_prompt("a photo of a person", "cpu", 1, True, negative_prompt="")
    torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-6, rtol=0)


def test_pictures_are_embedded_as_the_stock_pipeline_does(base, base_folder):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    pipe = StableDiffusionPipeline.from_pretrained(
        base_folder, safety_checker=None, requires_safety_checker=False
    )
    theirs, zeros = pipe.encode_image(list(pictures), "cpu", 1)
    torch.testing.assert_close(backbone.embed_pictures(base, pictures), theirs, atol=1e-6, rtol=0)
    assert torch.equal(backbone.no_picture(base), zeros[0])  # the unconditional branch of equation (5)


def test_latents_do_not_depend_on_the_batch(base):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    whole, split = (backbone.encode_pictures(base.vae, pictures, size) for size in (5, 2))
    torch.testing.assert_close(whole, split, atol=1e-5, rtol=0)
    assert whole.shape == (5, *base.latent_shape)


def test_decoded_pictures_are_uint8(base):
    pictures = backbone.decode_latents(base.vae, torch.randn(3, *base.latent_shape) * 50, batch_size=2)
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.uint8


def test_patches_are_those_of_the_stock_pipeline(base, base_folder):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    pipe = StableDiffusionPipeline.from_pretrained(
        base_folder, safety_checker=None, requires_safety_checker=False
    )
    theirs, nothing = pipe.encode_image(list(pictures), "cpu", 1, output_hidden_states=True)  # [M, P, E]
    torch.testing.assert_close(backbone.no_picture(base, patches=True), nothing[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(backbone.embed_pictures(base, pictures, patches=True), theirs, atol=1e-6, rtol=0)
