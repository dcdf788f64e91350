"""The module: its start, its parameters, its gradients, its files."""

import json

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ipa_lib.model.adapter import MultiImageAdapter, slot_cosines
from ipa_lib.model.adapter_config import AdapterConfig
from ipa_lib.model.attention import attached
from ipa_lib.model.merge import MERGES
from ipa_lib.model.projection import PROJECTIONS

# Cross-attention widths of Stable Diffusion 1.5 in the order of `unet.attn_processors`: down, up, mid
SD15 = [320] * 2 + [640] * 2 + [1280] * 5 + [640] * 3 + [320] * 3 + [1280]


@pytest.fixture(scope="module")
def unet():
    return tiny.unet()


def weights(adapter):
    return {name: x.clone() for name, x in adapter.state_dict().items()}


# --- start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots, stacked", [("own", 3), ("shared", 1)])
def test_every_slot_starts_as_the_layer_of_the_same_name(unet, slots, stacked):
    adapter = MultiImageAdapter.from_unet(unet, tiny.EMBED, 3, slots=slots)
    assert list(adapter.config.layers) == [k[: -len(".processor")] for k in unet.attn_processors if "attn2" in k]
    for name in adapter.config.layers:
        original, made = unet.get_submodule(name), adapter.layers[name.replace(".", "/")]
        for weight, start in [(made.to_k, original.to_k.weight), (made.to_v, original.to_v.weight)]:
            assert len(weight) == stacked and all(torch.equal(slot, start) for slot in weight)


def test_from_unet_copies_and_does_not_share(unet):
    before = weights(unet)
    tiny.shaken(MultiImageAdapter.from_unet(unet, tiny.EMBED, 2))
    assert all(torch.equal(x, before[name]) for name, x in unet.state_dict().items())


@pytest.mark.parametrize("n_slots, slots, matrices", [(1, "own", 1), (4, "own", 4), (4, "shared", 1)])
def test_parameter_count_at_full_size(n_slots, slots, matrices):
    layers = {f"layer.{i}": width for i, width in enumerate(SD15)}
    with torch.device("meta"):
        adapter = MultiImageAdapter(AdapterConfig(layers, 1024, 768, n_slots, slots=slots))
    assert sum(p.numel() for p in adapter.parameters()) == matrices * 19_169_280 + 3_150_336


def test_projection_has_the_published_names(unet):
    adapter = MultiImageAdapter.from_unet(unet, tiny.EMBED, 1)
    shapes = {name: list(x.shape) for name, x in adapter.projection.state_dict().items()}
    wide = tiny.TOKENS * tiny.TEXT
    assert shapes == {
        "proj.weight": [wide, tiny.EMBED],
        "proj.bias": [wide],
        "norm.weight": [tiny.TEXT],
        "norm.bias": [tiny.TEXT],
    }


@pytest.mark.parametrize(
    "choice, line",
    [
        ({"merge": "median"}, "merge: one of mean, weighted, gated, concat, sum, average, pool; got 'median'"),
        ({"slots": "both"}, "slots: one of own, shared, marked; got 'both'"),
        ({"projection": "cnn"}, "projection: one of linear, mlp, resampler; got 'cnn'"),
        ({"order": "age"}, "order: one of given, norm; got 'age'"),
        ({"n_slots": 0}, "n_slots: a whole number, at least 1; got 0"),
    ],
)
def test_unknown_choices_are_refused(unet, choice, line):
    with pytest.raises(ValueError, match=line):
        MultiImageAdapter.from_unet(unet, tiny.EMBED, **{"n_slots": 2, **choice})


# --- prompts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", MERGES)
def test_keys_are_made_for_every_layer(unet, merge):
    kv = tiny.adapter(unet, 3, merge)(tiny.embeddings(2, 3))
    paths = 3 if merge in ("sum", "average") else 1
    tokens = 3 * tiny.TOKENS if merge == "concat" else tiny.TOKENS
    for name, (g, u) in kv.layers.items():
        assert g.shape == u.shape == (2, paths, tokens, unet.get_submodule(name).to_k.out_features)
    assert len(kv) == 2


@pytest.mark.parametrize("merge", MERGES)
def test_guided_is_zero_embeddings_then_the_prompts(unet, merge):
    adapter, embeds = tiny.adapter(unet, 3, merge), tiny.embeddings(2, 3)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    both, args = adapter.guided(embeds, mask), tiny.inputs(2)
    with attached(unet):
        for half, own in [(both[:2], torch.zeros_like(embeds)), (both[2:], embeds)]:
            difference = tiny.run(unet, args, half) - tiny.run(unet, args, adapter(own, mask))
            assert difference.abs().max() < 1e-5
        zero_is_not_off = tiny.run(unet, args, both[:2]) - unet(*args).sample
    assert zero_is_not_off.abs().max() > 1e-2


@pytest.mark.parametrize(
    "shape, mask, line",
    [
        ((2, 3), None, r"embeds: expected \[B, N, 16\], got \[2, 3\]"),
        ((2, 3, 8), None, r"embeds: expected \[B, N, 16\], got \[2, 3, 8\]"),
        ((2, 0, 16), None, r"embeds: expected \[B, N, 16\], got \[2, 0, 16\]"),
        ((2, 4, 16), None, "embeds: 4 prompts for an adapter of 3 slots"),
        (
            (2, 3, 16),
            torch.ones(2, 2, dtype=torch.bool),
            r"mask: expected bool \[2, 3\], got torch.bool \[2, 2\]",
        ),
        ((2, 3, 16), torch.ones(2, 3), r"mask: expected bool \[2, 3\], got torch.float32"),
        ((2, 3, 16), torch.tensor([[True] * 3, [False] * 3]), "mask: a sample has no prompt"),
        ((1, 2, 16), [[True, False]], r"mask: expected bool \[1, 2\], got \[\[True, False\]\]"),
    ],
)
def test_prompts_of_the_wrong_form_are_refused(unet, shape, mask, line):
    with pytest.raises(ValueError, match=line):
        tiny.adapter(unet, 3)(torch.zeros(shape), mask)


@pytest.mark.parametrize("merge", MERGES)
def test_shared_slots_take_more_prompts_unless_the_weights_belong_to_slots(unet, merge):
    adapter = tiny.adapter(unet, 2, merge, "shared")
    if merge == "weighted":
        with pytest.raises(ValueError, match="5 prompts for an adapter of 2 slots"):
            adapter(tiny.embeddings(1, 5))
    else:
        assert len(adapter(tiny.embeddings(1, 5))) == 1


def test_a_resampler_takes_hidden_states_and_says_so(unet):
    adapter = tiny.adapter(unet, 2, projection="resampler", tokens=None)
    hidden = torch.randn(1, 2, 9, tiny.EMBED)
    assert adapter.config.tokens == 16 and next(iter(adapter(hidden).layers.values()))[0].shape[2] == 16
    with pytest.raises(ValueError, match=r"embeds: expected \[B, N, patches, 16\], got \[1, 2, 16\]"):
        adapter(tiny.embeddings(1, 2))
    with pytest.raises(ValueError, match=r"nothing: the hidden states of no picture \[patches, E\] were expected"):
        adapter.guided(hidden)
    with pytest.raises(ValueError, match=r"nothing: expected \[9, 16\], got \[7, 16\]"):
        adapter.guided(hidden, nothing=torch.zeros(7, tiny.EMBED))
    with pytest.raises(ValueError, match="embeds: expected"):
        adapter.guided(tiny.embeddings(1, 2), nothing=torch.zeros(9, tiny.EMBED))


def test_the_unconditional_half_of_a_resampler_is_the_zero_picture(unet):
    adapter = tiny.adapter(unet, 2, projection="resampler", tokens=5)
    hidden, nothing = torch.randn(1, 2, 9, tiny.EMBED), torch.randn(9, tiny.EMBED)
    both, args = adapter.guided(hidden, nothing=nothing), tiny.inputs(1)
    with attached(unet):
        for half, own in [(both[:1], nothing.expand(1, 2, -1, -1)), (both[1:], hidden)]:
            assert (tiny.run(unet, args, half) - tiny.run(unet, args, adapter(own))).abs().max() < 1e-5


# --- gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_gradients_reach_the_adapter_and_nothing_else(unet, merge, slots, projection):
    torch.manual_seed(0)
    slots = tiny.slots_of(merge, slots)
    adapter = MultiImageAdapter.from_unet(unet, tiny.EMBED, 2, merge=merge, slots=slots, projection=projection)
    if merge == "pool":  # what its blocks add is 0 at first, and so are gradients before it
        tiny.shaken(adapter.encoder)
    embeds = torch.randn(2, 2, *[9] * (projection == "resampler"), tiny.EMBED)
    with attached(unet):
        tiny.run(unet, tiny.inputs(2), adapter(embeds)).square().mean().backward()
    without = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad is None for p in unet.parameters())


def test_an_empty_slot_gets_no_gradient(unet):
    adapter = tiny.adapter(unet, 3, "concat")
    mask = torch.tensor([[True, False, True]])
    with attached(unet):
        tiny.run(unet, tiny.inputs(1), adapter(tiny.embeddings(1, 3), mask)).square().mean().backward()
    for layer in adapter.layers.values():
        for weight in (layer.to_k, layer.to_v):
            assert [bool(slot.any()) for slot in weight.grad] == [True, False, True]


# --- how alike the slots are -------------------------------------------------------------------------------


def two_layers(n_slots, slots="own"):
    """An adapter with zeros for matrices, of two layers that differ in width."""
    return MultiImageAdapter(AdapterConfig({"down.0": 2, "mid": 3}, 4, 2, n_slots, slots=slots, tokens=1))


def test_cosines_of_matrices_made_by_hand():
    adapter = two_layers(3)
    down, mid = adapter.layers.values()
    first = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    with torch.no_grad():
        down.to_k.copy_(torch.stack([first, 7 * first, -first]))  # scaled: 1, turned round: -1
        down.to_v.copy_(torch.stack([first, first.flip(0), first + first.flip(0)]))  # at right angles; between them
        mid.to_k.copy_(torch.eye(6)[:3].view(3, 3, 2))
        mid.to_v[0, 0, 0] = mid.to_v[1, 0, 0] = 1.0  # the third is of zeros
    half = 0.5**0.5
    wanted = [
        [[[1, 1, -1], [1, 1, -1], [-1, -1, 1]], [[1, 0, half], [0, 1, half], [half, half, 1]]],
        [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [1, 1, 0], [0, 0, 0]]],
    ]
    measured = slot_cosines(adapter)
    assert measured.dtype == torch.float32 and not measured.requires_grad
    torch.testing.assert_close(measured, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_cosines_are_of_whole_matrices_layer_by_layer(unet):
    adapter = tiny.adapter(unet, 3)
    measured = slot_cosines(adapter.bfloat16())
    assert measured.shape == (len(adapter.config.layers), 2, 3, 3) and measured.dtype == torch.float32
    for name, layer in zip(adapter.config.layers, measured, strict=True):
        made = adapter.layers[name.replace(".", "/")]
        for stack, cosines in zip((made.to_k, made.to_v), layer, strict=True):
            for p, q in [(0, 1), (1, 2), (2, 0), (1, 1)]:
                wanted = torch.cosine_similarity(stack[p].float().ravel(), stack[q].float().ravel(), dim=0)
                assert abs(cosines[p, q] - wanted) < 1e-5


@pytest.mark.parametrize("slots, n", [("own", 3), ("shared", 1)])
def test_slots_start_alike(unet, slots, n):
    measured = slot_cosines(MultiImageAdapter.from_unet(unet, tiny.EMBED, 3, slots=slots))
    torch.testing.assert_close(measured, torch.ones(len(measured), 2, n, n), atol=1e-6, rtol=0)


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("merge", MERGES)
def test_round_trip_is_lossless(unet, tmp_path, merge, slots):
    adapter, file = tiny.adapter(unet, 3, merge, slots), tmp_path / "adapter.safetensors"
    adapter.save(file, {"trained_on": "no one"})
    again = MultiImageAdapter.load(file)
    assert again.notes == {"trained_on": "no one"}
    assert again.config == adapter.config
    assert list(again.config.layers) == list(adapter.config.layers)
    assert weights(again).keys() == weights(adapter).keys()
    assert all(torch.equal(x, adapter.state_dict()[name]) for name, x in weights(again).items())
    args, embeds = tiny.inputs(2), tiny.embeddings(2, 3)
    with attached(unet):
        assert torch.equal(tiny.run(unet, args, again(embeds)), tiny.run(unet, args, adapter(embeds)))


def test_precision_and_random_state_survive_loading(unet, tmp_path):
    tiny.adapter(unet, 2, "gated").bfloat16().save(tmp_path / "half.safetensors")
    before = torch.random.get_rng_state()
    half = MultiImageAdapter.load(tmp_path / "half.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.dtype == torch.bfloat16 and p.requires_grad for p in half.parameters())
    assert next(iter(half(tiny.embeddings(1, 2)).layers.values()))[0].dtype == torch.bfloat16


def test_the_file_holds_the_adapter_alone_and_says_what_it_is(unet, tmp_path):
    adapter, file = tiny.adapter(unet, 3, "gated"), tmp_path / "adapter.safetensors"
    adapter.save(file, {"steps": "100"})
    assert load_file(file).keys() == adapter.state_dict().keys()
    with safe_open(file, "pt") as opened:
        said = opened.metadata()
    assert (said["merge"], said["slots"], said["n_slots"], said["steps"]) == ("gated", "own", "3", "100")
    assert json.loads(said["layers"]) == adapter.config.layers
    assert [p.name for p in tmp_path.iterdir()] == ["adapter.safetensors"]


def test_a_file_from_before_there_was_a_choice_is_read(unet, tmp_path):
    tiny.adapter(unet, 2).save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "pt") as opened:
        said = {name: x for name, x in opened.metadata().items() if name not in ("projection", "order")}
    save_file(load_file(tmp_path / "new.safetensors"), tmp_path / "old.safetensors", said)
    assert MultiImageAdapter.load(tmp_path / "old.safetensors").config.order == "given"


def test_an_adapter_is_the_same_bytes_in_every_process(unet, tmp_path):
    """Within one process, too: the writer of safetensors shuffles its metadata with every call."""
    adapter, files = tiny.adapter(unet, 2, "gated"), [tmp_path / f"{i}.safetensors" for i in range(8)]
    for file in files:
        adapter.save(file, {"seed": "0", "fran\u00e7ais": "\u00e9\n\"\u2028\U0001f600"})
    assert len({file.read_bytes() for file in files}) == 1
    assert MultiImageAdapter.load(files[0]).notes["fran\u00e7ais"] == "\u00e9\n\"\u2028\U0001f600"


def test_notes_survive_a_second_save(unet, tmp_path):
    tiny.adapter(unet, 1).save(tmp_path / "a.safetensors", {"seed": "1", "steps": "10"})
    MultiImageAdapter.load(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors", {"steps": "20"})
    assert MultiImageAdapter.load(tmp_path / "b.safetensors").notes == {"seed": "1", "steps": "20"}


def test_notes_cannot_contradict_the_adapter(unet, tmp_path):
    with pytest.raises(ValueError, match="metadata: merge, n_slots are written by the adapter itself"):
        tiny.adapter(unet, 1).save(tmp_path / "a.safetensors", {"merge": "sum", "n_slots": "9"})
    assert not list(tmp_path.iterdir())


def lose(tensors):
    del tensors["projection.proj.bias"]


def add(tensors):
    tensors["projection.extra"] = torch.zeros(1)


def bend(tensors):
    tensors["projection.norm.bias"] = torch.zeros(5)


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lose, r"missing projection\.proj\.bias$"),
        (add, r"surplus projection\.extra$"),
        (bend, r"misshapen projection\.norm\.bias \[5\] instead of \[32\]$"),
        (lambda t: (lose(t), add(t)), r"missing projection\.proj\.bias; surplus projection\.extra$"),
    ],
)
def test_keys_that_do_not_fit_are_refused_by_name(unet, tmp_path, spoil, fault):
    file = tmp_path / "adapter.safetensors"
    adapter = tiny.adapter(unet, 2)
    tensors = weights(adapter)
    spoil(tensors)
    save_file(tensors, file, adapter.config.metadata())
    with pytest.raises(ValueError, match=f"adapter.safetensors: {fault}"):
        MultiImageAdapter.load(file)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.safetensors: no such adapter file"):
        MultiImageAdapter.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(ValueError, match="text.safetensors: not a readable safetensors file"):
        MultiImageAdapter.load(tmp_path / "text.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"merge": "mean"})
    with pytest.raises(
        ValueError, match="other.safetensors: not an adapter of this package, .* lack embed_dim"
    ):
        MultiImageAdapter.load(tmp_path / "other.safetensors")


def test_settings_that_cannot_be_read_are_refused(unet, tmp_path):
    adapter, file = tiny.adapter(unet, 2), tmp_path / "adapter.safetensors"
    wrong = [("n_slots", "two"), ("tokens", "-4"), ("layers", "{"), ("layers", "[32]"), ("merge", "median")]
    for name, value in wrong:
        save_file(weights(adapter), file, {**adapter.config.metadata(), name: value})
        with pytest.raises(ValueError, match=f"adapter.safetensors: .*{name}"):
            MultiImageAdapter.load(file)
