"""Attaching, λ, and equation (6) against plain loops in float64."""

import copy
import math
import re

import numpy as np
import pytest
import tiny
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, IPAdapterAttnProcessor2_0
from hypothesis import given, settings
from hypothesis import strategies as st

from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.adapter_config import AdapterConfig
from ipa_lib.model.attention import (
    ImageKV,
    ImageTextAttention,
    Untouched,
    attach,
    attached,
    by_layer,
    concat,
    cross_attention_layers,
    detach,
)
from ipa_lib.model.merge import MERGES

SOME_MISSING = torch.tensor([[True, True, True], [False, True, True], [True, False, False]])


@pytest.fixture(scope="module")
def unet():
    return tiny.unet()


@pytest.fixture
def attached_unet(unet):
    with attached(unet):
        yield unet


# --- λ = 0 is the base model, bit for bit ------------------------------------------------------------------


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("lam", [0, 0.0, -0.0, torch.zeros(()), torch.zeros(3)], ids=repr)
def test_zero_lam_is_the_base_bitwise(unet, merge, lam):
    args = tiny.inputs(3)
    base = unet(*args).sample
    with attached(unet):
        kv = tiny.adapter(unet, 3, merge)(tiny.embeddings(3, 3), SOME_MISSING)
        assert torch.equal(tiny.run(unet, args, kv, lam), base)
        assert not torch.equal(tiny.run(unet, args, kv, 1.0), base)


def test_attached_without_prompts_is_the_base_bitwise(unet):
    args = tiny.inputs(2)
    base = unet(*args).sample
    with attached(unet):
        assert torch.equal(unet(*args).sample, base)


def test_zero_for_one_sample_leaves_that_sample_bitwise(unet):
    args = tiny.inputs(3)
    base = unet(*args).sample
    with attached(unet):
        kv = tiny.adapter(unet, 2)(tiny.embeddings(3, 2))
        mixed = tiny.run(unet, args, kv, torch.tensor([0.7, 0.0, 1.0]))
    assert torch.equal(mixed[1], base[1])
    assert not torch.equal(mixed[0], base[0])


def test_a_mask_of_the_text_reaches_the_base_too(unet):
    args, mask = tiny.inputs(2), {"encoder_attention_mask": torch.tensor([[1] * 4 + [0] * 3, [1] * 7])}
    base, unmasked = unet(*args, **mask).sample, unet(*args).sample
    assert not torch.equal(base, unmasked)
    with attached(unet):
        kv = tiny.adapter(unet, 2)(tiny.embeddings(2, 2))
        assert torch.equal(unet(*args, **mask).sample, base)
        at_zero = unet(*args, **mask, cross_attention_kwargs={"image_kv": kv, "lam": 0}).sample
        assert torch.equal(at_zero, base)


# --- λ -----------------------------------------------------------------------------------------------------


def test_lam_is_1_where_none_is_given(attached_unet):
    args, kv = tiny.inputs(2), tiny.adapter(attached_unet, 2)(tiny.embeddings(2, 2))
    silent = attached_unet(*args, cross_attention_kwargs={"image_kv": kv}).sample
    assert torch.equal(silent, tiny.run(attached_unet, args, kv, 1.0))


def test_lam_per_sample_is_one_run_per_lam(attached_unet):
    args, lams = tiny.inputs(3), torch.tensor([0.25, 1.0, -0.5])
    kv = tiny.adapter(attached_unet, 2, "concat")(tiny.embeddings(3, 2))
    together = tiny.run(attached_unet, args, kv, lams)
    for i, lam in enumerate(lams.tolist()):
        alone = tiny.run(attached_unet, [x[i : i + 1] for x in args], kv[i : i + 1], lam)
        assert (together[i : i + 1] - alone).abs().max() < 1e-5


def test_half_a_batch_of_lams_serves_both_halves_of_guidance(attached_unet):
    args, lams = tiny.inputs(4), torch.tensor([0.3, 1.2])
    kv = tiny.adapter(attached_unet, 2).guided(tiny.embeddings(2, 2))
    half, whole = (tiny.run(attached_unet, args, kv, x) for x in (lams, lams.repeat(2)))
    assert torch.equal(half, whole)


@pytest.mark.parametrize("lam", ["1", None, math.nan, math.inf, -math.inf, 1j, [1.0, 2.0]], ids=repr)
def test_lam_that_is_no_number_is_refused(attached_unet, lam):
    kv = tiny.adapter(attached_unet, 1)(tiny.embeddings(2, 1))
    with pytest.raises(ValueError, match="^lam: a finite number"):
        tiny.run(attached_unet, tiny.inputs(2), kv, lam)


@pytest.mark.parametrize("shape", [(3,), (0,), (4, 1)])
def test_lam_of_another_length_is_refused(attached_unet, shape):
    kv = tiny.adapter(attached_unet, 1)(tiny.embeddings(4, 1))
    with pytest.raises(ValueError, match="lam: one value for each of 4 samples, or half as many"):
        tiny.run(attached_unet, tiny.inputs(4), kv, torch.ones(shape))


@pytest.mark.parametrize(
    "lam", [{"mid": 0.8}, {"up": {"block_1": [0.0, 1.0]}}, {"down": 0, "up": torch.tensor([0.0, 1.0])}], ids=str
)
def test_lam_0_for_a_layer_leaves_that_layer_bitwise(attached_unet, lam):
    layers, args = cross_attention_layers(attached_unet), tiny.inputs(2)
    kv, lams = tiny.adapter(attached_unet, 2)(tiny.embeddings(2, 2)), by_layer(lam, layers)
    for name, layer in layers.items():
        x, given_kv = torch.randn(2, 16, layer.to_q.in_features), {"image_kv": kv, "lam": lam}
        plain = layer(x, args[2])
        changed = [not torch.equal(a, b) for a, b in zip(layer(x, args[2], **given_kv), plain, strict=True)]
        assert changed == (torch.as_tensor(lams[name]) != 0).expand(2).tolist()


def test_lam_by_layer_spells_out_every_layer(attached_unet):
    layers = list(cross_attention_layers(attached_unet))
    lams = by_layer({"down": 0.5, "up": {"block_1": [0.0, 2.0]}}, layers)
    short = {name.split(".transformer")[0]: lam for name, lam in lams.items()}
    expected = {"down_blocks.0.attentions.0": 0.5, "up_blocks.1.attentions.0": 0.0, "up_blocks.1.attentions.1": 2.0}
    assert short == expected | {"mid_block.attentions.0": 0.0}
    args, kv = tiny.inputs(2), tiny.adapter(attached_unet, 2)(tiny.embeddings(2, 2))
    spelled = tiny.run(attached_unet, args, kv, lams)
    assert torch.equal(spelled, tiny.run(attached_unet, args, kv, {"down": 0.5, "up": {"block_1": [0.0, 2.0]}}))


def test_a_list_of_one_lam_serves_all_attentions_of_a_block():
    layers = list(cross_attention_layers(tiny.unet()))
    lams = by_layer({"up": {"block_1": [0.5]}}, layers)
    assert lams == by_layer({"up": {"block_1": [0.5, 0.5]}}, layers) == by_layer({"up": 0.5}, layers)


def test_layers_that_are_missing_and_unknown_are_named(attached_unet):
    layers = sorted(cross_attention_layers(attached_unet))
    line = f"lam: all layers by name or none; missing or unknown: {layers[0]}, zenith"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        by_layer(dict.fromkeys([*layers[1:], "zenith"], 1.0), layers)


@pytest.mark.parametrize(
    "lam, line",
    [
        ({"middle": 1.0}, "lam: no cross-attention in 'middle'; expected one of down, up, mid"),
        ({"up": {"block_0": 1.0}}, "lam: up: no cross-attention in 'block_0'; expected one of block_1"),
        ({"up": {"block_1": [1.0, 2.0, 3.0]}}, "lam: up.block_1 has 2 attentions, got 3 values"),
        ({"up": []}, "lam: up.block_1 has 2 attentions, got 0 values"),
        ({"mid": "1"}, "lam: a finite number"),
        ({"mid_block.attentions.0.transformer_blocks.0.attn2": 1.0}, "lam: all layers by name or none; missing or unk"),
    ],
)
def test_lam_for_what_is_not_there_is_refused(attached_unet, lam, line):
    kv = tiny.adapter(attached_unet, 1)(tiny.embeddings(2, 1))
    with pytest.raises(ValueError, match=line):
        tiny.run(attached_unet, tiny.inputs(2), kv, lam)


# --- attach and detach -------------------------------------------------------------------------------------


def test_detach_restores_the_very_processors(unet):
    before = dict(unet.attn_processors)
    attach(unet)
    assert all(new is not before[key] for key, new in unet.attn_processors.items())
    detach(unet)
    assert list(unet.attn_processors) == list(before)
    assert all(new is before[key] for key, new in unet.attn_processors.items())


def test_attached_detaches_after_an_error(unet):
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="inside"), attached(unet):
        raise RuntimeError("inside")
    assert unet.attn_processors == before


def test_attaching_twice_is_an_error_and_changes_nothing(attached_unet):
    before = dict(attached_unet.attn_processors)
    with pytest.raises(ValueError, match="has an adapter already"):
        attach(attached_unet)
    assert attached_unet.attn_processors == before


def test_attaching_over_an_adapter_of_diffusers_is_an_error():
    unet = tiny.unet()
    layer = next(k for k in unet.attn_processors if "attn2" in k)
    unet.set_attn_processor({**unet.attn_processors, layer: IPAdapterAttnProcessor2_0(32, tiny.TEXT)})
    with pytest.raises(ValueError, match="has an adapter already .IPAdapterAttnProcessor2_0"):
        attach(unet)


@pytest.mark.parametrize(
    "name, value",
    [("rescale_output_factor", 2.0), ("residual_connection", True), ("added_kv_proj_dim", 8)]
    + [(name, torch.nn.LayerNorm(64)) for name in ("group_norm", "spatial_norm", "norm_cross", "norm_q")],
)
def test_attaching_to_another_kind_of_layer_is_an_error(name, value):
    unet = tiny.unet()
    setattr(unet.mid_block.attentions[0].transformer_blocks[0].attn2, name, value)
    with pytest.raises(ValueError, match="mid_block.*attn2 .* is not the plain cross-attention"):
        attach(unet)
    assert all(isinstance(p, AttnProcessor2_0) for p in unet.attn_processors.values())


def test_detaching_from_a_bare_unet_is_an_error(unet):
    line = "detach: no adapter is attached to this U-Net, or its attention is being recorded"
    with pytest.raises(ValueError, match=f"^{line}$"):
        detach(unet)


def test_a_processor_that_stands_in_for_none_is_refused():
    line = "an adapter is attached to this U-Net; detach it before loading or unloading another"
    with pytest.raises(ValueError, match=f"^{line}$"):
        Untouched()


def test_other_layers_pass_on_everything_but_the_image_arguments():
    passed = []
    layer = Untouched(lambda *args, **named: passed.append((args, named)))
    layer("attn", "x", "text", "mask", image_kv="kv", lam=2.0)
    layer("attn", "x", "text", "mask", "temb", image_kv="kv", lam=2.0)
    assert passed == [(("attn", "x", "text", "mask"), {}), (("attn", "x", "text", "mask"), {"temb": "temb"})]


def test_processors_hold_nothing(attached_unet):
    keys = copy.deepcopy(attached_unet).state_dict().keys()
    assert keys == tiny.unet().state_dict().keys()
    for key, p in attached_unet.attn_processors.items():
        if isinstance(p, ImageTextAttention):
            assert vars(p).keys() == {"name", "base", "layers"} and f"{p.name}.processor" == key


def test_no_warning_for_the_extra_arguments(attached_unet, caplog):
    kv = tiny.adapter(attached_unet, 1)(tiny.embeddings(1, 1))
    diffusers_log = "diffusers.models.attention_processor"
    with caplog.at_level("WARNING", logger=diffusers_log):
        tiny.run(attached_unet, tiny.inputs(1), kv, 0.5)
    assert not caplog.records


def test_wrong_batch_and_foreign_layers_are_refused(attached_unet):
    kv = tiny.adapter(attached_unet, 1)(tiny.embeddings(2, 1))
    line = ("image_kv: 2 samples for a batch of 4; for guidance use adapter.guided(…), "
            "for k pictures of each sample image_kv.repeat_interleave(k)")
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        tiny.run(attached_unet, tiny.inputs(4), kv)
    foreign = MultiImageAdapter(AdapterConfig({"elsewhere.attn2": 32}, tiny.EMBED, tiny.TEXT, 1))(tiny.embeddings(4, 1))
    with pytest.raises(ValueError, match="nothing for layer down_blocks.0"):
        tiny.run(attached_unet, tiny.inputs(4), foreign)


def test_text_mask_reaches_the_text_attention(unet):
    x, t, text = tiny.inputs(2)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]])
    shorter = unet(x[:1], t[:1], text[:1, :4]).sample
    with attached(unet):
        kv = tiny.adapter(unet, 1)(tiny.embeddings(2, 1))
        given_kv = {"image_kv": kv, "lam": torch.zeros(2)}
        masked = unet(x, t, text, encoder_attention_mask=mask, cross_attention_kwargs=given_kv).sample
    assert (masked[:1] - shorter).abs().max() < 1e-5


# --- other precisions and machinery ------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [1.0, torch.tensor([0.5, 1.0])], ids=repr)
@pytest.mark.parametrize("merge", ["mean", "average"])
def test_float32_adapter_in_a_bfloat16_unet(merge, lam):
    unet = tiny.unet()
    exact = tiny.adapter(unet, 2, merge)(tiny.embeddings(2, 2))
    args = tiny.inputs(2)
    with attached(unet):
        full = tiny.run(unet, args, exact, lam)
        unet.to(torch.bfloat16)
        x, t, text = args
        halves = [
            tiny.run(unet, (x.bfloat16(), t, text.bfloat16()), kv, lam) for kv in (exact, exact.to(torch.bfloat16))
        ]
    assert halves[0].dtype == torch.bfloat16
    assert torch.equal(*halves)
    assert (halves[0].float() - full).abs().max() < 0.05  # 8 bits of mantissa on outputs of about 1


def test_autocast(attached_unet):
    adapter, args, embeds = tiny.adapter(attached_unet, 2, "gated"), tiny.inputs(2), tiny.embeddings(2, 2)
    full = tiny.run(attached_unet, args, adapter(embeds))
    with torch.autocast("cpu", torch.bfloat16):
        half = tiny.run(attached_unet, args, adapter(embeds))
    assert (half.float() - full).abs().max() < 0.05


def test_gradient_checkpointing_gives_the_same_gradients():
    unet, grads = tiny.unet().train(), []
    attach(unet)
    for checkpoint in (False, True):
        adapter = tiny.adapter(unet, 2)
        if checkpoint:
            unet.enable_gradient_checkpointing()
        tiny.run(unet, tiny.inputs(2), adapter(tiny.embeddings(2, 2))).square().mean().backward()
        grads.append([p.grad for p in adapter.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*grads, strict=True))


def test_compiles_without_a_break(attached_unet):
    adapter, args = tiny.adapter(attached_unet, 2, "concat"), tiny.inputs(2)
    layer = attached_unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    x, text = torch.randn(2, 5, 32), args[2]
    kv = adapter(tiny.embeddings(2, 2), torch.tensor([[True, False], [True, True]]))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for lam in (1.0, 0.5, torch.tensor([0.5, 0.0])):
        expected = layer(x, text, image_kv=kv, lam=lam)
        assert torch.allclose(compiled(x, text, image_kv=kv, lam=lam), expected, atol=1e-6)
    torch._dynamo.reset()


# --- batches of ImageKV ------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", MERGES)
def test_rows_of_a_batch_are_batches(attached_unet, merge):
    adapter, embeds = tiny.adapter(attached_unet, 3, merge), tiny.embeddings(3, 3)
    whole = adapter(embeds, SOME_MISSING)
    parts = [
        adapter(embeds[i : i + 1], SOME_MISSING[i : i + 1]) for i in range(3)
    ]  # the first misses nothing
    rows = torch.tensor([2, 0, 0, 1])
    for joined, same in [(concat(parts), whole), (concat([parts[i] for i in rows]), whole[rows])]:
        args = tiny.inputs(len(same))
        difference = tiny.run(attached_unet, args, joined) - tiny.run(attached_unet, args, same)
        assert difference.abs().max() < 1e-5
        torch.testing.assert_close(joined.shares, same.shares, rtol=0, atol=1e-6)  # a product's last bit varies with B
    alone = [adapter(embeds[i : i + 1, :2]) for i in range(2)]  # nobody misses anything: nothing is masked
    assert concat(alone).seen is None and len(concat(alone[:1])) == 1
    for g, _ in whole.repeat_interleave(2).layers.values():
        assert torch.equal(g[0], g[1]) and len(g) == len(whole.repeat_interleave(2)) == 6


def test_what_does_not_fit_is_not_joined(unet):
    lined_up, apart = ([tiny.adapter(unet, n, merge)(tiny.embeddings(1, n)) for n in (1, 2)]
                       for merge in ("concat", "sum"))
    line = "^concat: these ImageKV differ in layers, widths, number of prompts or merge$"
    of_one = [tiny.adapter(unet, 1, merge)(tiny.embeddings(1, 1)) for merge in ("mean", "sum")]
    for unlike in (lined_up, [lined_up[0], *lined_up], apart, of_one):
        with pytest.raises(ValueError, match=line):
            concat(unlike)


def test_batches_of_fewer_and_more_prompts_have_shares_of_zero_for_those_that_are_not_there(unet):
    adapter = tiny.adapter(unet, 3, "gated")
    few, many = adapter(tiny.embeddings(1, 2)), adapter(tiny.embeddings(2, 3))
    joined = concat([few, many]).shares
    assert torch.equal(joined[:1, :2], few.shares) and torch.equal(joined[1:], many.shares)
    assert joined.shape == (3, 3, tiny.TOKENS) and not joined[0, 2].any()
    assert concat([few, ImageKV(many.layers)]).shares is None


@torch.no_grad()
def test_a_batch_that_misses_nothing_may_join_one_that_does(attached_unet):
    adapter, embeds, args = tiny.adapter(attached_unet, 3, "concat"), tiny.embeddings(3, 3), tiny.inputs(3)
    joined = concat([adapter(embeds[:1]), adapter(embeds[1:], SOME_MISSING[1:])])
    expected = SOME_MISSING.repeat_interleave(tiny.TOKENS, 1)
    assert torch.equal(joined.seen, expected) and joined.seen.dtype == torch.bool
    whole = adapter(embeds, SOME_MISSING)
    assert (tiny.run(attached_unet, args, joined) - tiny.run(attached_unet, args, whole)).abs().max() < 1e-5


def test_in_another_dtype_what_is_there_stays_a_truth_value(unet):
    kv = tiny.adapter(unet, 3, "concat")(tiny.embeddings(3, 3), SOME_MISSING)
    half = kv.to(torch.bfloat16)
    assert torch.equal(half.seen, kv.seen) and half.seen.dtype == torch.bool
    assert {x.dtype for pair in half.layers.values() for x in pair} == {torch.bfloat16} == {half.shares.dtype}


# --- equation (6) in plain loops ---------------------------------------------------------------------------


def softmax(scores):
    exps = [math.exp(s - max(scores)) for s in scores]
    return [e / sum(exps) for e in exps]


def softmax_qk_v(q, keys, values):
    """Softmax(QKᵀ/√d)V for one query of one head."""
    weights = softmax([q @ k / math.sqrt(len(q)) for k in keys])
    return sum(w * v for w, v in zip(weights, values, strict=True))


def tokens_of(adapter, embed):
    p = {name: x.numpy() for name, x in adapter.projection.state_dict().items()}
    rows = (p["proj.weight"] @ embed + p["proj.bias"]).reshape(adapter.config.tokens, -1)
    normal = [(r - r.mean()) / math.sqrt(r.var() + 1e-5) for r in rows]
    return [n * p["norm.weight"] + p["norm.bias"] for n in normal]


def layer_norm(x, norm):
    return (x - x.mean()) / math.sqrt(x.var() + norm.eps) * norm.weight.numpy() + norm.bias.numpy()


def gelu(x):
    return np.array([0.5 * y * (1 + math.erf(y / math.sqrt(2))) for y in x])


def pooled(encoder, tokens):
    """The tokens [T][D] that the set encoder makes of those of N prompts [N][T][D]; one head."""
    flat = [token for prompt in tokens for token in prompt]
    means = [sum(prompt[t] for prompt in tokens) / len(tokens) for t in range(len(tokens[0]))]
    queries = [mean + own for mean, own in zip(means, encoder.queries.numpy(), strict=True)]
    for norm, attention, mlp in zip(encoder.norms, encoder.attentions, encoder.mlps, strict=True):
        w_q, w_k, w_v = attention.in_proj_weight.numpy().reshape(3, -1, len(queries[0]))
        keys, values = [w_k @ x for x in flat], [w_v @ x for x in flat]
        seen = [softmax_qk_v(w_q @ layer_norm(q, norm), keys, values) for q in queries]
        queries = [q + attention.out_proj.weight.numpy() @ z for q, z in zip(queries, seen, strict=True)]
        queries = [q + mlp[3].weight.numpy() @ gelu(mlp[1].weight.numpy() @ layer_norm(q, mlp[0])) for q in queries]
    return queries


def shares(adapter, merge, prompts, c, t):
    """Weight of token t of each prompt."""
    if merge == "weighted":
        return softmax([adapter.score.logits[p].item() for p in prompts])
    if merge == "gated":
        return softmax([adapter.score.linear.weight[0].numpy() @ c[p][t] for p in prompts])
    return [1 / len(prompts)] * len(prompts)


def image_term(adapter, merge, q, heads, prompts, c, k, v):
    cut = [k[p][t][heads] for p in prompts for t in range(len(c[p]))]
    cut_v = [v[p][t][heads] for p in prompts for t in range(len(c[p]))]
    if merge == "concat":
        return softmax_qk_v(q, cut, cut_v)
    if merge in ("sum", "average"):
        each = [softmax_qk_v(q, [x[heads] for x in k[p]], [x[heads] for x in v[p]]) for p in prompts]
        return sum(each) / (len(prompts) if merge == "average" else 1)
    g, u = [], []
    for t in range(adapter.config.tokens):
        w = shares(adapter, merge, prompts, c, t)
        g.append(sum(s * k[p][t] for s, p in zip(w, prompts, strict=True))[heads])
        u.append(sum(s * v[p][t] for s, p in zip(w, prompts, strict=True))[heads])
    return softmax_qk_v(q, g, u)


def oracle(attn, adapter, x, text, embeds, mask, lam):
    """Z'' of one sample, straight from the paper: x [L, C], text [S, D], embeds [N, E] -> [L, C]."""
    w_q, w_k, w_v = (m.weight.numpy() for m in (attn.to_q, attn.to_k, attn.to_v))
    own = adapter.layers["attn2"]
    slot = [p if adapter.config.slots == "own" else 0 for p in range(len(embeds))]
    prompts = [p for p in range(len(embeds)) if mask[p]]
    c = {p: tokens_of(adapter, embeds[p]) for p in prompts}
    if adapter.config.slots == "marked":
        c = {p: [token + adapter.marks[p].numpy() for token in c[p]] for p in prompts}
    if adapter.config.merge == "pool":  # one prompt is left
        c, prompts = {0: pooled(adapter.encoder, [c[p] for p in prompts])}, [0]
    k = {p: [own.to_k[slot[p]].numpy() @ token for token in c[p]] for p in prompts}
    v = {p: [own.to_v[slot[p]].numpy() @ token for token in c[p]] for p in prompts}
    rows = []
    for query in x:
        z = []
        for h in range(attn.heads):
            d = len(w_q) // attn.heads
            heads = slice(h * d, (h + 1) * d)
            q = (w_q @ query)[heads]
            z_text = softmax_qk_v(q, [(w_k @ s)[heads] for s in text], [(w_v @ s)[heads] for s in text])
            z.append(z_text + lam * image_term(adapter, adapter.config.merge, q, heads, prompts, c, k, v))
        rows.append(attn.to_out[0].weight.numpy() @ np.concatenate(z) + attn.to_out[0].bias.numpy())
    return np.stack(rows)


@torch.no_grad()
@settings(max_examples=60, derandomize=True)
@given(
    merge=st.sampled_from(list(MERGES)),
    slots=st.sampled_from(["own", "shared", "marked"]),
    heads=st.integers(1, 3),
    d=st.integers(1, 4),
    length=st.integers(1, 4),
    text_dim=st.integers(2, 6),
    tokens=st.integers(1, 3),
    n_slots=st.integers(1, 4),
    lam=st.floats(-2, 2),
    data=st.data(),
)
def test_equation_6_in_plain_loops(merge, slots, heads, d, length, text_dim, tokens, n_slots, lam, data):
    n = data.draw(st.integers(1, n_slots))
    masks = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    mask = torch.tensor([data.draw(masks), data.draw(masks)])
    torch.manual_seed(0)
    attn = Attention(heads * d, text_dim, heads, dim_head=d).double()
    adapter = MultiImageAdapter(AdapterConfig({"attn2": heads * d}, 5, text_dim, n_slots, merge,
                                              tiny.slots_of(merge, slots), tokens))
    tiny.shaken(adapter.double())
    x, text, embeds = (torch.randn(2, a, b).double() for a, b in [(length, heads * d), (3, text_dim), (n, 5)])
    attn.set_processor(ImageTextAttention("attn2", attn.processor))
    ours = attn(x, text, image_kv=adapter(embeds, mask), lam=lam)
    for b in range(2):
        loops = oracle(attn, adapter, x[b].numpy(), text[b].numpy(), embeds[b].numpy(), mask[b], lam)
        assert np.abs(ours[b].numpy() - loops).max() < 1e-10


@pytest.mark.parametrize("slots", ["own", "shared", "marked"])
@pytest.mark.parametrize("merge", MERGES)
def test_gradients_are_those_of_finite_differences(merge, slots):
    torch.manual_seed(0)
    attn = Attention(4, 3, 2, dim_head=2).double().requires_grad_(False)
    attn.set_processor(ImageTextAttention("attn2", attn.processor))
    config = AdapterConfig({"attn2": 4}, 3, 3, 2, merge, tiny.slots_of(merge, slots), 2)
    adapter = tiny.shaken(MultiImageAdapter(config).double())
    names, values = zip(*adapter.named_parameters(), strict=True)
    x, text, embeds = torch.randn(2, 2, 4).double(), torch.randn(2, 3, 3).double(), torch.randn(2, 2, 3).double()
    mask = torch.tensor([[True, True], [False, True]])

    def output(embeds, *values):
        kv = torch.func.functional_call(adapter, dict(zip(names, values, strict=True)), (embeds, mask))
        return attn(x, text, image_kv=kv, lam=0.7)

    assert torch.autograd.gradcheck(output, (embeds.requires_grad_(), *values))


@torch.no_grad()
@pytest.mark.parametrize("merge", MERGES)
def test_what_an_empty_slot_holds_does_not_matter(attached_unet, merge):
    adapter, embeds, args = tiny.adapter(attached_unet, 3, merge), tiny.embeddings(3, 3), tiny.inputs(3)
    expected = tiny.run(attached_unet, args, adapter(embeds, SOME_MISSING))
    spoiled = embeds.masked_fill(~SOME_MISSING.unsqueeze(-1), torch.nan)
    assert torch.equal(tiny.run(attached_unet, args, adapter(spoiled, SOME_MISSING)), expected)
