"""Our outputs are those of diffusers' IP-Adapter, wherever it has a counterpart, to 1e-5 in float32.

The counterpart is loaded by diffusers' own code on a copy of the U-Net, in the published format.
"""

import copy

import pytest
import tiny
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.unet_loader_utils import _maybe_expand_lora_scales
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from torch.nn.attention import SDPBackend, sdpa_kernel

from ipa_lib.model.attention import attached, by_layer, cross_attention_layers
from ipa_lib.model.exchange import to_published
from ipa_lib.model.merge import MERGES

LAMS = (0.6, 1.0, 1.7)


def with_ip_adapters(unet, state_dicts):
    unet = copy.deepcopy(unet)
    unet._load_ip_adapter_weights(state_dicts)
    return unet


def theirs(unet, args, image_embeds, lam):
    """Output of diffusers' IP-Adapters; `image_embeds` is a list of [B, images, E], one for each adapter."""
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [lam] * len(processor.scale)
    return unet(*args, added_cond_kwargs={"image_embeds": image_embeds}).sample


def ours(unet, adapter, args, embeds, lam):
    with attached(unet):
        return tiny.run(unet, args, adapter(embeds), lam)


def assert_equal_but_not_base(a, b, base):
    assert (a - b).abs().max() <= 1e-5
    assert (a - base).abs().max() > 1e-2


@pytest.fixture(scope="module")
def unet():
    return tiny.unet()


@pytest.fixture(scope="module")
def args():
    return tiny.inputs(3)


@pytest.fixture(scope="module")
def base(unet, args):
    return unet(*args).sample


@torch.no_grad()
@pytest.mark.parametrize("slots", ["own", "shared", "marked"])
@pytest.mark.parametrize("merge", [merge for merge in MERGES if merge != "pool"])  # a file can't hold its encoder
def test_one_prompt_is_one_ip_adapter(unet, args, base, merge, slots):
    adapter, embeds = tiny.adapter(unet, 3, merge, slots), tiny.embeddings(3, 1)
    other = with_ip_adapters(unet, [to_published(adapter)])
    for lam in LAMS:
        expected = theirs(other, args, [embeds], lam)
        assert_equal_but_not_base(ours(unet, adapter, args, embeds, lam), expected, base)


@torch.no_grad()
@pytest.mark.parametrize("n", [2, 4])
def test_shared_concat_is_one_adapter_given_n_images(unet, args, base, n):
    adapter, embeds = tiny.adapter(unet, n, "concat", "shared"), tiny.embeddings(3, n)
    other = with_ip_adapters(unet, [to_published(adapter)])
    for lam in LAMS:
        expected = theirs(other, args, [embeds], lam)
        assert_equal_but_not_base(ours(unet, adapter, args, embeds, lam), expected, base)


@torch.no_grad()
@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("merge", ["sum", "average"])
def test_own_sum_is_n_adapters_of_one_image_each(unet, args, base, merge, n):
    adapter, embeds = tiny.adapter(unet, n, merge, "own"), tiny.embeddings(3, n)
    other = with_ip_adapters(unet, [to_published(adapter, slot) for slot in range(n)])
    for lam in LAMS:
        scale = lam / n if merge == "average" else lam
        expected = theirs(other, args, list(embeds.split(1, dim=1)), scale)
        assert_equal_but_not_base(ours(unet, adapter, args, embeds, lam), expected, base)


@torch.no_grad()
@pytest.mark.parametrize("n", [2, 4])
def test_shared_mean_is_one_adapter_given_the_mean_of_the_tokens(unet, args, base, n):
    adapter, embeds = tiny.adapter(unet, n, "mean", "shared"), tiny.embeddings(3, n)
    other = with_ip_adapters(unet, [to_published(adapter)])
    other.encoder_hid_proj.image_projection_layers[0] = torch.nn.Identity()  # takes tokens, not embeddings
    tokens = adapter.projection(embeds).mean(1, keepdim=True)  # [B, 1, T, D]
    for lam in LAMS:
        expected = theirs(other, args, [tokens], lam)
        assert_equal_but_not_base(ours(unet, adapter, args, embeds, lam), expected, base)


@torch.no_grad()
def test_zero_lam_is_zero_scale_bitwise(unet, args, base):
    adapter, embeds = tiny.adapter(unet, 1), tiny.embeddings(3, 1)
    other = with_ip_adapters(unet, [to_published(adapter)])
    assert torch.equal(theirs(other, args, [embeds], 0.0), base)
    assert torch.equal(ours(unet, adapter, args, embeds, 0.0), base)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3])
def test_the_mlp_is_theirs(unet, args, base, n):
    adapter, embeds = tiny.adapter(unet, n, "sum", projection="mlp"), tiny.embeddings(3, n)
    other = with_ip_adapters(unet, [to_published(adapter, slot) for slot in range(n)])
    expected = theirs(other, args, list(embeds.split(1, dim=1)), 0.8)
    assert_equal_but_not_base(ours(unet, adapter, args, embeds, 0.8), expected, base)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 3])
def test_the_resampler_is_theirs(unet, args, base, n):
    adapter = tiny.adapter(unet, n, "concat", "shared", projection="resampler", tokens=5)
    prompts = torch.randn(3, n, 9, tiny.EMBED, generator=torch.Generator().manual_seed(5))  # 9 patches
    other = with_ip_adapters(unet, [to_published(adapter)])
    expected = theirs(other, args, [prompts], 0.8)
    assert_equal_but_not_base(ours(unet, adapter, args, prompts, 0.8), expected, base)


NOTATIONS = [
    {"down": 0.5, "mid": 0.7, "up": 1.2},
    {"up": {"block_1": [0.0, 1.0]}},
    {"down": {"block_0": [0.6]}, "up": {"block_1": 0.9}},
    {"mid": [1.3]},
    {"up": [0.4, 0.8]},
    {},
]


@torch.no_grad()
@pytest.mark.parametrize("lam", NOTATIONS, ids=str)
def test_lam_for_each_block_is_their_scale_for_each_block(unet, args, base, lam):
    adapter, embeds = tiny.adapter(unet, 1), tiny.embeddings(3, 1)
    other = pipeline(with_ip_adapters(unet, [to_published(adapter)]))
    other.set_ip_adapter_scale(lam)
    expected = other.unet(*args, added_cond_kwargs={"image_embeds": [embeds]}).sample
    assert (ours(unet, adapter, args, embeds, lam) - expected).abs().max() <= 1e-5
    assert torch.equal(expected, base) == (not lam)


@pytest.mark.parametrize("lam", [
    {"down": 0.5, "mid": 0.7, "up": [0.1, 0.2, 0.3]},
    {"down": {"block_2": [0.0, 1.0]}, "up": {"block_1": [0.0, 1.0, 0.0], "block_3": 0.4}},
    {"down": [0.6, 0.7], "up": {"block_2": [0.9]}},
], ids=str)  # fmt: skip
def test_lam_for_each_block_is_theirs_at_full_size(lam):
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    ours, theirs = by_layer(lam, cross_attention_layers(unet)), _maybe_expand_lora_scales(unet, [lam], 0.0)[0]
    expected = {name: next(x for start, x in theirs.items() if name.startswith(start)) for name in ours}
    assert len(ours) == 16 and ours == expected


# --- through the stock pipeline ----------------------------------------------------------------------------

# https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/scheduler/scheduler_config.json
SD15_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def pipeline(unet):
    """Text embeddings in, latents out: the denoising loop of the stock pipeline and nothing else."""
    scheduler = DDIMScheduler(**SD15_SCHEDULER)
    parts = dict.fromkeys(["vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"])
    pipe = StableDiffusionPipeline(**parts, unet=unet, scheduler=scheduler, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe, guidance, **images):
    """Two texts, two pictures each, four steps."""
    text = tiny.inputs(2)[2]
    return pipe(
        prompt_embeds=text,
        negative_prompt_embeds=text.roll(1, 2),
        latents=torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(7)),
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=guidance,
        num_images_per_prompt=2,
        output_type="latent",
        **images,
    ).images


def load_into(pipe, state_dicts, lam):
    """As from files on a disk: `load_ip_adapter` takes their contents too."""
    n = len(state_dicts)
    pipe.load_ip_adapter(state_dicts, subfolder=[""] * n, weight_name=[""] * n, image_encoder_folder=None)
    pipe.set_ip_adapter_scale([lam] * n)


ROWS = [("mean", "own", 1), ("concat", "shared", 3), ("sum", "own", 3), ("average", "own", 3), ("mean", "shared", 3)]


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("merge, slots, n", ROWS)
def test_stock_pipeline_gives_the_same_latents(unet, merge, slots, n, guidance):
    adapter, embeds, lam = tiny.adapter(unet, n, merge, slots), tiny.embeddings(1, n), 0.8
    text_only = generate(pipeline(unet), guidance)
    with attached(unet), torch.no_grad():
        kv = adapter.guided(embeds) if guidance > 1 else adapter(embeds)
        images = {"image_kv": kv.repeat_interleave(4), "lam": lam}
        mine = generate(pipeline(unet), guidance, cross_attention_kwargs=images)

    pipe, added = pipeline(copy.deepcopy(unet)), merge in ("sum", "average")
    each = embeds.split(1, dim=1) if added else [embeds]
    scale = lam / n if merge == "average" else lam
    load_into(pipe, [to_published(adapter, slot) for slot in range(len(each))], scale)
    given = [torch.cat([torch.zeros_like(e), e]) if guidance > 1 else e for e in each]
    if (merge, slots) == ("mean", "shared"):  # one adapter given the mean of the tokens
        pipe.unet.encoder_hid_proj.image_projection_layers[0] = torch.nn.Identity()
        given = [adapter.projection(given[0]).mean(1, keepdim=True).detach()]
    expected = generate(pipe, guidance, ip_adapter_image_embeds=given)
    size = expected.abs().max()  # latents of an untrained U-Net grow to about 20: 1e-5 of that
    assert_equal_but_not_base(mine / size, expected / size, text_only / size)


@pytest.mark.parametrize("lam", [0, {"mid": 0.0}, torch.zeros(4)], ids=str)
def test_lam_0_leaves_the_stock_pipeline_bitwise_what_it_was(unet, lam):
    adapter, embeds = tiny.adapter(unet, 2), tiny.embeddings(1, 2)
    text_only = generate(pipeline(unet), 7.5)
    with attached(unet), torch.no_grad():
        images = {"image_kv": adapter.guided(embeds).repeat_interleave(4), "lam": lam}
        assert torch.equal(generate(pipeline(unet), 7.5, cross_attention_kwargs=images), text_only)


def test_their_adapter_on_top_of_ours_is_an_error_and_changes_nothing(unet):
    parts, pipe = to_published(tiny.adapter(unet, 1)), pipeline(unet)
    with attached(unet):
        before = dict(unet.attn_processors)
        with pytest.raises(ValueError, match="an adapter is attached to this U-Net; detach it before"):
            load_into(pipe, [parts], 1.0)
        assert unet.attn_processors == before


# --- other arithmetic --------------------------------------------------------------------------------------


def eager(unet):
    """Diffusers' adapter without SDPA, with the same weights."""
    for layer, processor in unet.attn_processors.items():
        if isinstance(processor, IPAdapterAttnProcessor2_0):
            plain = IPAdapterAttnProcessor(
                processor.hidden_size, processor.cross_attention_dim, processor.num_tokens, processor.scale
            )
            plain.load_state_dict(processor.state_dict())
            unet.get_submodule(layer.removesuffix(".processor")).set_processor(plain)
        else:
            unet.get_submodule(layer.removesuffix(".processor")).set_processor(AttnProcessor())
    return unet


@torch.no_grad()
@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], ids=str)
def test_eager_attention_gives_the_same(unet, args, base, merge, kernel):
    adapter, embeds = tiny.adapter(unet, 3, merge, "shared"), tiny.embeddings(3, 3)
    each = embeds.split(1, dim=1) if merge == "sum" else [embeds]
    other = eager(with_ip_adapters(unet, [to_published(adapter)] * len(each)))
    expected = theirs(other, args, list(each), 0.8)
    with sdpa_kernel(kernel):
        assert_equal_but_not_base(ours(unet, adapter, args, embeds, 0.8), expected, base)


@torch.no_grad()
@pytest.mark.parametrize("merge, slots", [("mean", "own"), ("concat", "shared"), ("sum", "own")])
def test_bfloat16_differs_by_what_bfloat16_rounds(unet, merge, slots):
    """Both sides in bfloat16, 8 bits of mantissa: within 2 % of the largest output, of about 3."""
    n = 1 if merge == "mean" else 3
    adapter, embeds = tiny.adapter(unet, n, merge, slots).bfloat16(), tiny.embeddings(3, n).bfloat16()
    half = copy.deepcopy(unet).bfloat16()
    x, t, text = tiny.inputs(3)
    args = x.bfloat16(), t, text.bfloat16()
    each = embeds.split(1, dim=1) if merge == "sum" else [embeds]
    other = with_ip_adapters(half, [to_published(adapter, slot) for slot in range(len(each))])
    mine, expected = ours(half, adapter, args, embeds, 0.8), theirs(other, args, list(each), 0.8)
    assert mine.dtype == torch.bfloat16
    assert (mine - expected).abs().max() <= 0.02 * expected.abs().max()
    assert (mine - half(*args).sample).abs().max() > 0.1
