"""Published checkpoints in and out: the real loaders of diffusers read ours, and we read what they read."""

import os
import pickle

import pytest
import tiny
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from test_equality_diffusers import generate, pipeline

from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.attention import attached
from ipa_lib.model.exchange import flat, from_published, load_published, read_published, save_published, to_published

KINDS = {"linear": 4, "mlp": 4, "resampler": 5}  # projection -> tokens
LAYOUTS = [(kind, suffix) for kind in KINDS for suffix in ("safetensors", "bin")]

# https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/unet/config.json
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
# The shapes of https://huggingface.co/h94/IP-Adapter: ip_adapter.<i>.to_k_ip.weight [C, 768] by i
SD15_PLACES = {320: (1, 3, 25, 27, 29), 640: (5, 7, 19, 21, 23), 1280: (9, 11, 13, 15, 17, 31)}
SD15_SHAPES = {i: [width, 768] for width, places in SD15_PLACES.items() for i in places}
RESAMPLER = {
    "0.norm1.weight": [768], "0.norm1.bias": [768], "0.norm2.weight": [768], "0.norm2.bias": [768],
    "0.to_q.weight": [768, 768], "0.to_kv.weight": [1536, 768], "0.to_out.weight": [768, 768],
    "1.0.weight": [768], "1.0.bias": [768], "1.1.weight": [3072, 768], "1.3.weight": [768, 3072],
}  # fmt: skip
IMAGE_PROJ = {
    "linear": {"proj.weight": [3072, 1024], "proj.bias": [3072], "norm.weight": [768], "norm.bias": [768]},
    "mlp": {  # of https://huggingface.co/h94/IP-Adapter-FaceID
        "proj.0.weight": [1024, 512], "proj.0.bias": [1024], "proj.2.weight": [3072, 1024], "proj.2.bias": [3072],
        "norm.weight": [768], "norm.bias": [768],
    },
    "resampler": {
        "latents": [1, 16, 768], "proj_in.weight": [768, 1280], "proj_in.bias": [768],
        "proj_out.weight": [768, 768], "proj_out.bias": [768], "norm_out.weight": [768], "norm_out.bias": [768],
        **{f"layers.{i}.{name}": shape for i in range(4) for name, shape in RESAMPLER.items()},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def unet():
    return tiny.unet()


def of_kind(unet, kind, n_slots=3, merge="mean", slots="own", seed=3):
    return tiny.adapter(unet, n_slots, merge, slots, seed, projection=kind, tokens=KINDS[kind])


def prompts(kind, n):
    patches = (9,) if kind == "resampler" else ()
    return torch.randn(1, n, *patches, tiny.EMBED, generator=torch.Generator().manual_seed(2))


def assert_same(a, b):
    assert a.keys() == b.keys() and all(torch.equal(x, b[name]) for name, x in a.items())


@pytest.mark.parametrize("kind, suffix", LAYOUTS)
def test_round_trip_is_lossless(unet, tmp_path, kind, suffix):
    adapter = of_kind(unet, kind)
    for slot in range(3):
        save_published(adapter, tmp_path / f"{slot}.{suffix}", slot)
        again = from_published(tmp_path / f"{slot}.{suffix}", unet)
        assert_same(flat(to_published(again)), flat(to_published(adapter, slot)))


@pytest.mark.parametrize("slots", ["own", "shared"])
def test_a_warm_start_fills_every_slot(unet, tmp_path, slots):
    save_published(of_kind(unet, "linear", 1), tmp_path / "a.safetensors")
    warm = from_published(tmp_path / "a.safetensors", unet, 4, merge="gated", slots=slots, order="norm")
    config = warm.config
    assert (config.n_slots, config.merge, config.slots, config.order) == (4, "gated", slots, "norm")
    for slot in range(4):
        assert_same(flat(to_published(warm, slot)), load_file(tmp_path / "a.safetensors"))


def test_one_slot_is_filled_and_the_others_are_left(unet, tmp_path):
    adapter, other = of_kind(unet, "linear"), of_kind(unet, "linear", 1, seed=9)
    before = [{name: x.clone() for name, x in to_published(adapter, slot)["ip_adapter"].items()} for slot in range(3)]
    save_published(other, tmp_path / "a.bin")
    load_published(adapter, tmp_path / "a.bin", 1)
    assert_same(to_published(adapter, 1)["ip_adapter"], to_published(other)["ip_adapter"])
    assert_same(to_published(adapter)["image_proj"], to_published(other)["image_proj"])
    for slot in (0, 2):
        assert_same(to_published(adapter, slot)["ip_adapter"], before[slot])


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("kind, suffix", LAYOUTS)
def test_stock_load_ip_adapter_reads_any_slot(unet, tmp_path, kind, suffix, guidance):
    adapter, embeds = of_kind(unet, kind, 3), prompts(kind, 1)
    save_published(adapter, tmp_path / f"slot.{suffix}", 1)
    ours = from_published(tmp_path / f"slot.{suffix}", unet)
    assert_stock_gives_the_same(unet, ours, embeds, [tmp_path / f"slot.{suffix}"], guidance)


@pytest.mark.parametrize("kind", KINDS)
def test_stock_load_ip_adapter_reads_all_slots_as_n_adapters(unet, tmp_path, kind):
    adapter = of_kind(unet, kind, 3, "sum")
    files = [tmp_path / f"slot_{slot}.safetensors" for slot in range(3)]
    for slot, file in enumerate(files):
        save_published(adapter, file, slot)
    assert_stock_gives_the_same(unet, adapter, prompts(kind, 3), files, 7.5)


def assert_stock_gives_the_same(unet, adapter, embeds, files, guidance, lam=0.8):
    nothing = None if embeds.ndim == 3 else torch.randn(embeds.shape[2:], generator=torch.Generator().manual_seed(4))
    with attached(unet), torch.no_grad():
        kv = adapter.guided(embeds, nothing=nothing) if guidance > 1 else adapter(embeds)
        images = {"image_kv": kv.repeat_interleave(4), "lam": lam}
        mine = generate(pipeline(unet), guidance, cross_attention_kwargs=images)
    pipe, n, names = pipeline(tiny.unet()), len(files), [file.name for file in files]
    pipe.load_ip_adapter(str(files[0].parent), [""] * n, names, image_encoder_folder=None)
    pipe.set_ip_adapter_scale([lam] * n)
    without = torch.zeros_like(embeds) if nothing is None else nothing.expand_as(embeds)
    both = torch.cat([without, embeds]) if guidance > 1 else embeds  # [2, N, …]
    expected = generate(pipe, guidance, ip_adapter_image_embeds=list(both.split(1, dim=1)))
    assert (mine - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (mine - generate(pipeline(unet), guidance)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "kind, embed_dim, parameters",
    [("linear", 1024, 22_319_616), ("mlp", 512, 22_844_928), ("resampler", 1280, 49_087_488)],
)
def test_full_size_has_the_published_names_shapes_and_counts(kind, embed_dim, parameters):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
        adapter = MultiImageAdapter.from_unet(unet, embed_dim, 4, projection=kind)
    parts = to_published(adapter, 3)
    wanted = {f"{i}.to_{x}_ip.weight": shape for i, shape in SD15_SHAPES.items() for x in "kv"}
    assert {name: list(x.shape) for name, x in parts["ip_adapter"].items()} == wanted
    assert {name: list(x.shape) for name, x in parts["image_proj"].items()} == IMAGE_PROJ[kind]
    assert sum(x.numel() for x in flat(parts).values()) == parameters
    assert sum(p.numel() for p in adapter.parameters()) == parameters + 3 * 19_169_280
    order = [i for i, name in enumerate(unet.attn_processors) if "attn2" in name]  # the numbers are places of layers
    assert [f"{i}.to_k_ip.weight" for i in order] == [name for name in parts["ip_adapter"] if "to_k" in name]


def test_keys_of_other_prefixes_are_left_out(unet, tmp_path):
    save_published(of_kind(unet, "linear", 1), tmp_path / "a.safetensors")
    save_file(load_file(tmp_path / "a.safetensors") | {"lora.weight": torch.ones(2)}, tmp_path / "b.safetensors")
    assert_same(flat(read_published(tmp_path / "b.safetensors")), load_file(tmp_path / "a.safetensors"))


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lambda parts: parts["ip_adapter"].pop("3.to_v_ip.weight"), r"missing ip_adapter.3.to_v_ip.weight$"),
        (lambda parts: parts["ip_adapter"].update({"8.to_k_ip.weight": torch.ones(1)}), r"surplus ip_adapter.8.to_k"),
        (
            lambda parts: parts["ip_adapter"].update({"1.to_k_ip.weight": torch.ones(7, 32)}),
            r"misshapen ip_adapter.1.to_k_ip.weight \[7, 32\] instead of \[32, 32\]",
        ),
        (lambda parts: parts["image_proj"].pop("norm.bias"), "missing image_proj.norm.bias"),
        (lambda parts: parts["ip_adapter"].clear(), "not an IP-Adapter, it holds no ip_adapter"),
        (lambda parts: parts["image_proj"].clear(), "not an IP-Adapter, it holds no image_proj"),
        (lambda parts: parts["image_proj"].pop("norm.weight"), "image_proj: of none of the kinds base, Fa"),
        (lambda parts: parts["image_proj"].update({"proj.weight": torch.ones(3)}), "image_proj: of none of the kinds"),
        (lambda parts: parts["image_proj"].update({"proj.weight": torch.ones(3, 16)}), "misshapen image_proj.proj"),
    ],
)
def test_keys_that_do_not_fit_are_refused_by_name(unet, tmp_path, suffix, spoil, fault):
    adapter = of_kind(unet, "linear", 2)
    before = {name: x.clone() for name, x in adapter.state_dict().items()}
    parts, path = to_published(of_kind(unet, "linear", 1, seed=8)), tmp_path / f"spoilt.{suffix}"
    spoil(parts)
    torch.save(parts, path) if suffix == "bin" else save_file(flat(parts), path)
    with pytest.raises(ValueError, match=f"^{path}: {fault}"):
        from_published(path, unet)
    with pytest.raises(ValueError, match=f"^{path}: (missing|surplus|misshapen|not an)"):
        load_published(adapter, path)
    assert_same(adapter.state_dict(), before)


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(unet, tmp_path):
    (tmp_path / "trap.bin").write_bytes(pickle.dumps({"image_proj": Trap(tmp_path / "sprung")}, protocol=2))
    torch.save({"image_proj": Trap(tmp_path / "sprung"), "ip_adapter": {}}, tmp_path / "trap2.bin")
    for name in ("trap.bin", "trap2.bin"):
        with pytest.raises(ValueError, match=f"{name}: not a file of tensors alone") as refused:
            from_published(tmp_path / name, unet)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "sprung").exists()


def test_a_bin_holds_one_slot_and_not_the_others(unet, tmp_path):
    for n in (1, 4):
        save_published(of_kind(unet, "linear", n), tmp_path / f"{n}.bin")
    assert (tmp_path / "4.bin").stat().st_size == (tmp_path / "1.bin").stat().st_size


def test_what_else_is_in_a_bin_is_left_out(unet, tmp_path):
    parts = to_published(of_kind(unet, "linear", 1))
    torch.save(parts | {"step": 5, "optimizer": {"lr": 0.1}}, tmp_path / "a.bin")
    assert_same(flat(read_published(tmp_path / "a.bin")), flat(parts))


@pytest.mark.parametrize("content", [[1, 2], {"image_proj": torch.ones(2)}, {"image_proj": {"a": 1}, "ip_adapter": {}}])
def test_a_bin_of_another_form_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="a.bin: expected {'image_proj'"):
        read_published(tmp_path / "a.bin")


def test_files_that_are_none_are_refused(unet, tmp_path):
    for name in ("absent.bin", "absent.safetensors"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such adapter file"):
            read_published(tmp_path / name)
    save_published(of_kind(unet, "linear", 1), tmp_path / "whole.bin")
    whole = (tmp_path / "whole.bin").read_bytes()
    for content in (b"", b"hello", b"<html><body>404", b"version https://git-lfs.github.com/spec/v1", whole[:300]):
        for name in ("damaged.bin", "damaged.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f"{name}: not a") as refused:
                read_published(tmp_path / name)
            assert "\n" not in str(refused.value) and "weights_only" not in str(refused.value)
    with pytest.raises(ValueError, match="a.pt: a file ending in .safetensors or .bin was expected"):
        save_published(of_kind(unet, "linear", 1), tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()


def test_what_readers_take_for_granted_is_kept(unet, tmp_path):
    for kind in ("linear", "mlp"):
        with pytest.raises(ValueError, match=f"a published {kind} projection has 4 tokens, this adapter 3"):
            save_published(tiny.adapter(unet, 1, tokens=3, projection=kind), tmp_path / "a.safetensors")
    with pytest.raises(IndexError, match="slot: 0 to 2 expected, got 3"):
        save_published(of_kind(unet, "linear"), tmp_path / "a.safetensors", 3)
    assert not list(tmp_path.iterdir())


def test_a_set_encoder_has_no_place_in_a_published_file(unet, tmp_path):
    pool = tiny.adapter(unet, 2, "pool")
    with pytest.raises(ValueError, match="^merge: a published file has no place for the set encoder of pool$"):
        save_published(pool, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    save_published(tiny.adapter(unet, 2, "mean", "shared"), tmp_path / "a.safetensors")
    warm = from_published(tmp_path / "a.safetensors", unet, 2, merge="pool", slots="shared")
    same = from_published(tmp_path / "a.safetensors", unet, 2, merge="mean", slots="shared")
    embeds = tiny.embeddings(2, 2)
    for name, pair in warm(embeds).layers.items():
        for ours, theirs in zip(pair, same(embeds).layers[name], strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_published_file_in_a_marked_slot_is_that_file(unet, tmp_path):
    one, marked = tiny.adapter(unet, 2, "mean", "shared"), tiny.adapter(unet, 2, "concat", "marked", seed=5)
    save_published(one, tmp_path / "a.safetensors")
    load_published(marked, tmp_path / "a.safetensors", slot=1)
    assert marked.marks[0].any() and not marked.marks[1].any()
    assert all(torch.equal(x, to_published(one)[part][name])
               for part, weights in to_published(marked, 1).items() for name, x in weights.items())  # fmt: skip
