"""The adapter inside the stock diffusers pipelines of the kind of Stable Diffusion 1.5, texts and PIL pictures in.

Real classes with random weights.  The counterpart is the same pipeline with diffusers' own `load_ip_adapter`.
"""

import copy
import hashlib

import numpy as np
import pytest
import tiny
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

from ipa_lib.drawn import mini_base
from ipa_lib.model.attention import attach, attached, detach
from ipa_lib.model.exchange import to_published

TEXTS = ["a photo of a person, smiling", "a person with glasses"]
LAM = 0.8
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))
MASK = Image.fromarray(np.uint8([[0, 255], [255, 0]])).resize((64, 64), Image.Resampling.NEAREST)

KINDS = {  # name -> pipeline, channels into the U-Net
    "text-to-image": (StableDiffusionPipeline, 4),
    "image-to-image": (StableDiffusionImg2ImgPipeline, 4),
    "inpainting": (StableDiffusionInpaintPipeline, 4),
    "inpainting-9": (StableDiffusionInpaintPipeline, 9),
    "ControlNet": (StableDiffusionControlNetPipeline, 4),
}
INPUTS = {  # for n pictures; inpainting draws noise for each picture of a list from that picture's own generator
    StableDiffusionPipeline: lambda n: {},
    StableDiffusionImg2ImgPipeline: lambda n: {"image": PICTURE, "strength": 0.75},
    StableDiffusionInpaintPipeline: lambda n: {"image": [PICTURE] * n, "mask_image": [MASK] * n, "strength": 0.75},
    StableDiffusionControlNetPipeline: lambda n: {"image": PICTURE},
}


def new_pipeline(kind):
    cls, channels = KINDS[kind]
    torch.manual_seed(0)
    tokenizer = mini_base.new_tokenizer(TEXTS)
    text_encoder, vae, unet = mini_base.new_text_encoder(tokenizer).eval(), new_vae(), new_unet(channels)
    more = {"controlnet": new_controlnet(unet)} if kind == "ControlNet" else {}
    more |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return cls(vae, text_encoder, tokenizer, unet=unet, scheduler=mini_base.new_scheduler(), **more)


def new_vae():
    types = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(**types, block_out_channels=(8,) * 4, norm_num_groups=4, sample_size=64).eval()


def new_unet(channels):
    # the config's `_use_default_values` would undo what is set here
    settings = {name: value for name, value in tiny.unet().config.items() if not name.startswith("_")}
    settings |= {"in_channels": channels, "cross_attention_dim": mini_base.TEXT_WIDTH}
    return UNet2DConditionModel(**settings).requires_grad_(False).eval()


def new_controlnet(unet):
    """As if trained: the convolutions that start at zero are zero no more."""
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8)).eval()
    for name in ("cond_embedding", "down_blocks", "mid_block"):
        tiny.shaken(getattr(controlnet, f"controlnet_{name}"))
    return controlnet


def twin(pipe):
    """The same pipeline with networks of its own."""
    parts = {name: copy.deepcopy(x) if isinstance(x, torch.nn.Module) else x for name, x in pipe.components.items()}
    return type(pipe)(**parts, requires_safety_checker=False)


def generate(pipe, guidance, texts=TEXTS[:1], seeds=(5,), **images):
    """Latents after a few steps, one picture for each seed."""
    return pipe(
        texts,
        guidance_scale=guidance,
        num_inference_steps=3,
        num_images_per_prompt=len(seeds) // len(texts),
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="latent",
        **INPUTS[type(pipe)](len(seeds)),
        **images,
    ).images


@torch.no_grad()
def prompted(adapter, embeds, guidance=7.5, times=1, lam=LAM):
    kv = adapter.guided(embeds) if guidance > 1 else adapter(embeds)
    return {"cross_attention_kwargs": {"image_kv": kv.repeat_interleave(times), "lam": lam}}


def load_theirs(pipe, adapter, embeds, guidance=7.5):
    """diffusers' own adapter with the same weights; what the pipeline is to be given for it."""
    pipe.load_ip_adapter(to_published(adapter), subfolder="", weight_name="", image_encoder_folder=None)
    pipe.set_ip_adapter_scale(LAM)
    return {"ip_adapter_image_embeds": [torch.cat([torch.zeros_like(embeds), embeds]) if guidance > 1 else embeds]}


def difference(a, b):
    """Relative to the largest latent: those of an untrained U-Net grow."""
    return ((a - b).abs().max() / b.abs().max()).item()


def same_objects(a, b):
    return a.keys() == b.keys() and all(a[name] is b[name] for name in a)


def saved(pipe, folder):
    """Name -> digest of each file that `save_pretrained` writes."""
    pipe.save_pretrained(folder)
    return {str(x.relative_to(folder)): hashlib.sha256(x.read_bytes()).hexdigest() for x in folder.rglob("*.*")}


@pytest.fixture(scope="module", params=KINDS)
def pipe(request):
    return new_pipeline(request.param)


@pytest.fixture(scope="module")
def adapter(pipe):
    return tiny.adapter(pipe.unet, 2)


@pytest.fixture(scope="module", params=[1.0, 7.5])
def guidance(request):
    return request.param


@pytest.fixture(scope="module")
def before(pipe, guidance):
    """From the text alone, before any adapter."""
    return generate(pipe, guidance)


def test_one_prompt_gives_what_load_ip_adapter_gives(pipe, adapter, guidance, before):
    embeds, other = tiny.embeddings(1, 1), twin(pipe)
    theirs = generate(other, guidance, **load_theirs(other, adapter, embeds, guidance))
    with attached(pipe.unet):
        mine = generate(pipe, guidance, **prompted(adapter, embeds, guidance))
    assert difference(mine, theirs) <= 1e-5
    assert difference(mine, before) > 1e-2


def test_zero_lam_gives_the_output_before_attach_bitwise(pipe, adapter, guidance, before):
    with attached(pipe.unet):
        mine = generate(pipe, guidance, **prompted(adapter, tiny.embeddings(1, 2), guidance, lam=0))
    assert torch.equal(mine, before)


def test_detach_restores_the_very_processors_and_the_output(pipe, adapter, guidance, before):
    processors = pipe.unet.attn_processors
    attach(pipe.unet)
    generate(pipe, guidance, **prompted(adapter, tiny.embeddings(1, 2), guidance))
    detach(pipe.unet)
    assert same_objects(pipe.unet.attn_processors, processors)
    assert torch.equal(generate(pipe, guidance), before)


def test_own_prompts_in_a_batch_give_the_pictures_made_one_at_a_time(pipe, adapter, guidance):
    embeds, seeds = tiny.embeddings(2, 2), [5, 6, 7, 8]
    with attached(pipe.unet):
        batch = generate(pipe, guidance, TEXTS, seeds, **prompted(adapter, embeds, guidance, times=2))
        for i, seed in enumerate(seeds):
            own = slice(i // 2, i // 2 + 1)
            alone = generate(pipe, guidance, TEXTS[own], [seed], **prompted(adapter, embeds[own], guidance))
            assert difference(batch[i], alone[0]) <= 1e-5


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_second_adapter_is_refused_and_changes_nothing(pipe, adapter, whose):
    taken, embeds = twin(pipe), tiny.embeddings(1, 1)
    if whose == "ours":
        attach(taken.unet)
    images = prompted(adapter, embeds) if whose == "ours" else load_theirs(taken, adapter, embeds)
    processors, expected = taken.unet.attn_processors, generate(taken, 7.5, **images)
    with pytest.raises(ValueError, match="has an adapter already"):
        attach(taken.unet)
    assert same_objects(taken.unet.attn_processors, processors)
    assert torch.equal(generate(taken, 7.5, **images), expected)


@pytest.mark.parametrize("share", ["from_pipe", "components"])
@pytest.mark.parametrize("pipe", ["image-to-image", "inpainting", "ControlNet"], indirect=True)
def test_one_attached_unet_serves_all_pipelines_that_share_it(pipe, adapter, share):
    first, images = StableDiffusionPipeline.from_pipe(twin(pipe)), prompted(adapter, tiny.embeddings(1, 2))
    more = {name: pipe.components[name] for name in pipe.components.keys() - first.components.keys()}
    attach(first.unet)
    if share == "from_pipe":
        second = type(pipe).from_pipe(first, **more)
    else:
        second = type(pipe)(**first.components, **more, requires_safety_checker=False)
    assert second.unet is first.unet
    with attached(pipe.unet):
        assert torch.equal(generate(second, 7.5, **images), generate(pipe, 7.5, **images))


@pytest.mark.parametrize("attention", ["sliced", "eager"])
@pytest.mark.parametrize("pipe", ["text-to-image", "ControlNet"], indirect=True)
def test_sliced_and_eager_attention_give_what_sdpa_gives(pipe, adapter, attention):
    other, images = twin(pipe), prompted(adapter, tiny.embeddings(1, 2))
    if attention == "sliced":
        other.enable_attention_slicing()
    else:
        other.unet.set_attn_processor(AttnProcessor())
    text_only = generate(other, 7.5)
    with attached(pipe.unet), attached(other.unet):
        assert difference(generate(other, 7.5, **images), generate(pipe, 7.5, **images)) <= 1e-5
        images["cross_attention_kwargs"]["lam"] = 0
        assert torch.equal(generate(other, 7.5, **images), text_only)


def test_a_bfloat16_pipeline_takes_a_float32_adapter(pipe, adapter):
    half, images = twin(pipe).to(torch.bfloat16), prompted(adapter, tiny.embeddings(1, 2))
    cast = {"image_kv": images["cross_attention_kwargs"]["image_kv"].to(torch.bfloat16), "lam": LAM}
    with attached(half.unet), attached(pipe.unet):
        mine = generate(half, 7.5, **images)
        assert mine.dtype == torch.bfloat16
        assert difference(mine, generate(pipe, 7.5, **images)) <= 0.05
        assert torch.equal(mine, generate(half, 7.5, cross_attention_kwargs=cast))


@pytest.mark.parametrize("pipe", ["text-to-image", "ControlNet"], indirect=True)
def test_an_attached_pipeline_is_saved_as_without_adapter(pipe, adapter, tmp_path):
    expected = saved(pipe, tmp_path / "before")
    with attached(pipe.unet):
        generate(pipe, 7.5, **prompted(adapter, tiny.embeddings(1, 2)))
        assert saved(pipe, tmp_path / "attached") == expected
