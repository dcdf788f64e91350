import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from ipa_lib import files, hub
from ipa_lib.diffusion import backbone


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


# ---- where models come from --------------------------------------------------------------------------------


@pytest.fixture
def apart(base_folder, tmp_path):
    """A base without an image encoder, and that encoder beside it, as on the hub."""
    shutil.copytree(base_folder, tmp_path / "base")
    shutil.move(tmp_path / "base/image_encoder", tmp_path / "image_encoder")
    shutil.rmtree(tmp_path / "base/feature_extractor")
    index = tmp_path / "base/model_index.json"
    parts = json.loads(index.read_text())
    index.write_text(json.dumps(parts | dict.fromkeys(("image_encoder", "feature_extractor"), [None, None])))
    return tmp_path


def test_an_image_encoder_of_another_folder_is_used(apart, base):
    with pytest.raises(ValueError, match="image_encoder and feature_extractor were expected in it; or name one"):
        backbone.load_base(apart / "base")
    source = backbone.Source(str(apart / "base"), str(apart / "image_encoder"))
    models = backbone.load_base(source)
    ours, theirs = (m.image_encoder.state_dict() for m in (models, base))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert models.image_processor.crop_size["height"] == 224  # CLIP's own, where the folder has none
    assert source.folder("image_encoder") == apart / "image_encoder" and source.folder("unet") == apart / "base/unet"


def test_size_and_dtype_are_those_asked_for(base_folder):
    models = backbone.load_base(backbone.Source(str(base_folder), size=32, dtype="bfloat16"))
    assert models.picture_size == 32 and models.latent_shape[1:] == (8, 8)
    assert {p.dtype for m in (models.unet, models.vae, models.text_encoder) for p in m.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="size: 42 pixels; .* takes multiples of "):
        backbone.load_base(backbone.Source(str(base_folder), size=42))


def rescheduled(folder, base_folder, **values):
    shutil.copytree(base_folder, folder)
    file = folder / "scheduler/scheduler_config.json"
    kept = {name: value for name, value in json.loads(file.read_text()).items() if name != "clip_sample"}
    file.write_text(json.dumps(kept | values))
    return folder


def test_a_model_that_predicts_v_is_taken_and_one_that_predicts_x_0_is_not(base_folder, tmp_path):
    v = backbone.load_base(rescheduled(tmp_path / "v", base_folder, prediction_type="v_prediction"))
    assert v.scheduler.config.prediction_type == "v_prediction" and v.scheduler.config.clip_sample is False
    with pytest.raises(ValueError, match="prediction_type sample; epsilon or v_prediction was expected"):
        backbone.load_base(rescheduled(tmp_path / "x", base_folder, prediction_type="sample"))


def test_weights_in_half_precision_alone_are_found(base_folder, base, tmp_path):
    pipe = StableDiffusionPipeline.from_pretrained(base_folder, safety_checker=None, requires_safety_checker=False)
    pipe.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert backbone.variant(tmp_path / "half") == "fp16" and backbone.variant(base_folder) is None
    models = backbone.load_base(tmp_path / "half")
    for (name, ours), theirs in zip(models.unet.named_parameters(), base.unet.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.half().float(), msg=name)
    for file in (tmp_path / "half/unet").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="half: "):
        backbone.load_base(tmp_path / "half")


def test_a_name_is_a_path_or_one_of_the_hub(base_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(base_folder.parent))
    assert hub.local_folder(f"~/{base_folder.name}") == base_folder
    monkeypatch.chdir(base_folder)
    assert hub.local_folder("configs") == files.ROOT / "configs"
    assert hub.local_file("configs/mini.yaml") == files.ROOT / "configs/mini.yaml"
    for look in (hub.local_folder, hub.local_file):
        with pytest.raises(FileNotFoundError, match="owner/name/part: no such .*nor is it in the hub's cache") as error:
            look("owner/name/part", download=False)
        assert len(str(error.value).splitlines()) == 1


def test_large_pictures_go_through_the_autoencoder_a_few_at_a_time(base):
    sizes = []
    vae = SimpleNamespace(device="cpu", dtype=torch.float32, config=base.vae.config,
                          encode=lambda x: (sizes.append(len(x)), base.vae.encode(x[:, :, :64, :64]))[1])  # fmt: skip
    for side, expected in ((64, [64, 6]), (512, [4] * 17 + [2])):
        sizes.clear()
        backbone.encode_pictures(vae, np.zeros((70, side, side, 3), np.uint8))
        assert sizes == expected
