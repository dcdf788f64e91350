"""Recording changes nothing, and what it tells is the softmax of equation (6) in plain loops."""

import math

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention

from ipa_lib.model.attention import (
    ImageKV,
    ImageTextAttention,
    attach,
    attached,
    by_layer,
    concat,
    cross_attention_layers,
)
from ipa_lib.model.attention_maps import Record, Recorder, average, by_prompt, recorded
from ipa_lib.model.merge import MERGES

MID = "mid_block.attentions.0.transformer_blocks.0.attn2"
SOME_MISSING = torch.tensor([[True, True, True], [False, True, True], [True, False, False]])
BLENDS, APART = ("mean", "weighted", "gated"), ("sum", "average")


@pytest.fixture(scope="module")
def unet():
    """With an adapter attached; no test may leave it otherwise."""
    unet = tiny.unet()
    attach(unet)
    return unet


def prompted(unet, merge, slots="own", mask=SOME_MISSING):
    return tiny.adapter(unet, 3, merge, slots)(tiny.embeddings(3, 3), mask)


@torch.no_grad()
def records_of(unet, kv, lam=1.0, args=None):
    with recorded(unet) as records:
        tiny.run(unet, args or tiny.inputs(len(kv)), kv, lam)
    return records


def made_up(probs, layer="x", weights=None, shares=None):
    """A record of probs [L, T] of one sample with one head and one softmax."""
    return Record(layer, torch.tensor(probs)[None, None, None], weights, shares)


# --- recording ---------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("merge", MERGES)
def test_recording_changes_nothing_bitwise(unet, merge, slots):
    kv, args = prompted(unet, merge, slots), tiny.inputs(3)
    for lam in (0.7, torch.tensor([0.5, 0.0, 1.0]), {"mid": 1.0, "up": {"block_1": [0.3, 0.0]}}):
        expected = tiny.run(unet, args, kv, lam)
        with recorded(unet) as records:
            assert torch.equal(tiny.run(unet, args, kv, lam), expected)
        assert records


def test_every_layer_is_recorded_in_the_order_of_the_calls(unet):
    records = records_of(unet, prompted(unet, "concat"))
    layers = list(cross_attention_layers(unet))
    assert sorted(r.layer for r in records) == sorted(layers)
    assert [r.layer.split("_")[0] for r in records] == ["down", "mid", "up", "up"]
    assert [r.probs.shape[-2] for r in records] == [64, 16, 64, 64]


@pytest.mark.parametrize("lam", [0, 0.0, {}, {"mid": 0}], ids=repr)
def test_at_zero_lam_nothing_is_recorded(unet, lam):
    assert records_of(unet, prompted(unet, "concat"), lam) == []


def test_without_prompts_nothing_is_recorded(unet):
    with recorded(unet) as records:
        unet(*tiny.inputs(2))
    assert records == []


@pytest.mark.parametrize("lam", [{"mid": 0.5}, {"down": 0.0, "mid": 0.5}], ids=repr)
def test_only_layers_of_a_lam_are_recorded(unet, lam):
    assert [r.layer for r in records_of(unet, prompted(unet, "concat"), lam)] == [MID]
    whole = by_layer(lam, cross_attention_layers(unet))  # a name for every layer
    assert [r.layer for r in records_of(unet, prompted(unet, "concat"), whole)] == [MID]


def test_the_very_processors_are_back_after_an_error(unet):
    before = unet.attn_processors
    with pytest.raises(RuntimeError, match="inside"), recorded(unet):
        assert sum(isinstance(p, Recorder) for p in unet.attn_processors.values()) == 4
        raise RuntimeError("inside")
    after = unet.attn_processors
    assert list(after) == list(before) and all(after[key] is before[key] for key in before)


def test_what_the_processor_refuses_is_refused_and_not_recorded(unet):
    kv = prompted(unet, "mean")
    with recorded(unet) as records:
        with pytest.raises(ValueError, match="3 samples for a batch of 4"):
            tiny.run(unet, tiny.inputs(4), kv)
        with pytest.raises(ValueError, match="^lam: a finite number"):
            tiny.run(unet, tiny.inputs(3), kv, "1")
    assert records == []


def test_a_bare_unet_and_one_that_is_being_recorded_are_refused(unet):
    with pytest.raises(ValueError, match="no adapter is attached"), recorded(tiny.unet()):
        pass
    with recorded(unet), pytest.raises(ValueError, match="is being recorded already"), recorded(unet):
        pass
    assert isinstance(unet.attn_processors[f"{MID}.processor"], ImageTextAttention)


def test_gradients_pass_and_records_hold_none(unet):
    adapter = tiny.adapter(unet, 2, "gated")
    with recorded(unet) as records:
        tiny.run(unet, tiny.inputs(2), adapter(tiny.embeddings(2, 2))).square().mean().backward()
    assert all(p.grad is not None for p in adapter.parameters())
    assert not any(x.requires_grad for r in records for x in (r.probs, r.shares, by_prompt(r)))


# --- probabilities -----------------------------------------------------------------------------------------


@torch.no_grad()
def seen_by(unet, layer, kv):
    """(its record, hidden states [B, L, C]) of one layer in one run."""
    states = []
    hook = unet.get_submodule(layer).register_forward_pre_hook(lambda module, args: states.append(args[0]))
    try:
        (record,) = [r for r in records_of(unet, kv) if r.layer == layer]
    finally:
        hook.remove()
    return record, states[0]


def softmax(scores):
    exps = [math.exp(s - max(scores)) for s in scores]
    return [e / sum(exps) for e in exps]


def loops(attn, states, g, seen):
    """Softmax(QGᵀ/√d) of one sample and path in float64: states [L, C], g [T, C], seen [T] -> [H, L, T]."""
    w_q, states, g = (x.numpy().astype(np.float64) for x in (attn.to_q.weight, states, g))
    probs = np.zeros((attn.heads, len(states), len(g)))
    there = [t for t in range(len(g)) if seen[t]]
    for h, channels in enumerate(np.split(np.arange(len(w_q)), attn.heads)):
        for row, x in enumerate(states):
            q = (w_q @ x)[channels]
            probs[h, row, there] = softmax([q @ g[t, channels] / math.sqrt(len(channels)) for t in there])
    return probs


@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("merge", MERGES)
def test_probabilities_are_those_of_plain_loops(unet, merge, slots):
    kv = prompted(unet, merge, slots)
    record, states = seen_by(unet, MID, kv)
    attn, g, seen = unet.get_submodule(MID), kv.layers[MID][0].detach(), kv.all_seen()
    assert record.probs.shape == (3, attn.heads, g.shape[1], 16, g.shape[2])
    for b in range(3):
        for path in range(g.shape[1]):
            expected = loops(attn, states[b], g[b, path], seen[b])
            assert np.abs(record.probs[b, :, path].numpy() - expected).max() < 2e-6


@torch.no_grad()
@pytest.mark.parametrize("merge", MERGES)
def test_the_probabilities_times_the_values_are_what_the_layer_adds(unet, merge):
    kv = prompted(unet, merge)
    record, states = seen_by(unet, MID, kv)
    attn, text = unet.get_submodule(MID), tiny.inputs(3)[2]
    added = attn(states, text, image_kv=kv, lam=1.0) - attn(states, text)
    u = kv.layers[MID][1].unflatten(-1, (attn.heads, -1))  # [B, P, T, H, d]
    weights = torch.ones(3, u.shape[1]) if kv.weights is None else kv.weights
    z = torch.einsum("bp,bhplt,bpthd->blhd", weights, record.probs, u).flatten(2)
    assert (z @ attn.to_out[0].weight.T - added).abs().max() < 1e-5


@pytest.mark.parametrize("merge", MERGES)
def test_rows_sum_to_one_and_missing_keys_have_none(unet, merge):
    kv = prompted(unet, merge)
    for record in records_of(unet, kv):
        assert record.probs.dtype == torch.float32
        assert (record.probs.sum(-1) - 1).abs().max() < 1e-6
        missing = ~kv.all_seen()[:, None, None, None].expand_as(record.probs)
        assert (record.probs[missing] == 0).all() and (record.probs[~missing] > 0).all()
    assert missing.any() == (merge == "concat")


def test_half_precision_is_recorded_in_float32():
    unet = tiny.unet().to(torch.bfloat16)
    x, t, text = tiny.inputs(2)
    kv = tiny.adapter(tiny.unet(), 3, "gated")(tiny.embeddings(2, 3)).to(torch.bfloat16)
    with attached(unet):
        records = records_of(unet, kv, args=(x.bfloat16(), t, text.bfloat16()))
    for record in records:
        maps = by_prompt(record)
        assert record.probs.dtype == maps.dtype == torch.float32
        assert (maps.sum(1) - 1).abs().max() < 1e-6


# --- by prompt ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("merge", MERGES)
def test_prompts_share_each_query_and_a_missing_one_gets_nothing(unet, merge, slots):
    for record in records_of(unet, prompted(unet, merge, slots)):
        maps = by_prompt(record)
        assert maps.shape == (3, 3, record.probs.shape[-2]) and maps.dtype == torch.float32
        assert (maps.sum(1) - 1).abs().max() < 1e-6
        assert (maps[~SOME_MISSING] == 0).all() and (maps[SOME_MISSING] > 0).all()


@pytest.mark.parametrize("merge", MERGES)
def test_one_prompt_gets_everything(unet, merge):
    kv = tiny.adapter(unet, 3, merge)(tiny.embeddings(2, 1))
    for record in records_of(unet, kv):
        assert (by_prompt(record) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("merge", MERGES)
def test_only_concat_and_gated_tell_places_apart(unet, merge):
    (record,) = [r for r in records_of(unet, prompted(unet, merge, mask=None)) if r.layer == MID]
    spread = by_prompt(record).std(-1).max()
    assert spread > 1e-3 if merge in ("concat", "gated") else spread < 1e-6
    if merge in ("mean", *APART):
        assert (by_prompt(record) - 1 / 3).abs().max() < 1e-6


def test_a_blend_is_divided_by_the_shares():
    shares = torch.tensor([[[0.9, 0.2], [0.1, 0.8]]])  # two prompts of two tokens
    record = made_up([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], shares=shares)
    expected = torch.tensor([[[0.9, 0.2, 0.55], [0.1, 0.8, 0.45]]])
    assert (by_prompt(record) - expected).abs().max() < 1e-6


def test_under_concat_a_prompt_has_the_probability_of_its_own_keys():
    record = made_up([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0]], shares=torch.full((1, 2, 2), 0.5))
    assert (by_prompt(record) - torch.tensor([[[0.3, 0.0], [0.7, 1.0]]])).abs().max() < 1e-6


def test_heads_are_averaged():
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).view(1, 2, 1, 1, 2)  # two heads, one query
    assert by_prompt(Record("x", probs, None, torch.full((1, 2, 1), 0.5))).flatten().tolist() == [0.75, 0.25]


def test_the_prompt_whose_keys_dominate_gets_the_mass_where_they_do():
    """Queries of a 4 × 4 grid, own channel in the upper left; the keys of prompt 2 are that channel, large."""
    attn, records = Attention(4, 4, heads=1, dim_head=4), []
    attn.to_q.weight.data = torch.eye(4)
    attn.set_processor(Recorder(ImageTextAttention("attn2", attn.processor), records))
    upper_left = torch.zeros(4, 4, dtype=torch.bool)
    upper_left[:2, :2] = True
    x = F.one_hot(upper_left.flatten().long(), 4).float().unsqueeze(0)  # channel 1 there, channel 0 elsewhere
    g = torch.zeros(1, 1, 3 * 2, 4)
    g[:, :, 2:4, 1], g[:, :, 4:6, 0] = 40, 40  # keys of prompt 2 and of prompt 3
    kv = ImageKV({"attn2": (g, torch.randn_like(g))}, shares=torch.full((1, 3, 2), 1 / 3))
    attn(x, torch.randn(1, 5, 4), image_kv=kv)
    maps = average(records)[0]  # [3, 4, 4]
    expected = torch.stack([torch.zeros(4, 4), upper_left.float(), (~upper_left).float()])
    assert (maps - expected).abs().max() < 1e-6


@pytest.mark.parametrize("merge", BLENDS)
def test_batches_of_different_n_have_zeros_for_the_prompts_they_lack(unet, merge):
    few, many = (tiny.adapter(unet, 3, merge)(tiny.embeddings(1, n)) for n in (2, 3))
    together = average(records_of(unet, concat([few, many])))
    alone = average(records_of(unet, few, args=[x[:1] for x in tiny.inputs(2)]))
    assert (together[0, 2] == 0).all() and (together[:1, :2] - alone).abs().max() < 1e-5


@pytest.mark.parametrize("merge", ["concat", "gated"])
def test_the_second_half_of_a_guided_batch_is_the_conditional_one(unet, merge):
    adapter, embeds, (x, t, text) = tiny.adapter(unet, 2, merge), tiny.embeddings(2, 2), tiny.inputs(2)
    guided = records_of(unet, adapter.guided(embeds), args=(x.repeat(2, 1, 1, 1), t.repeat(2), text.repeat(2, 1, 1)))
    alone = average(records_of(unet, adapter(embeds), args=(x, t, text)))
    assert (average(guided)[2:] - alone).abs().max() < 1e-5
    assert (average(guided)[:2] - alone).abs().max() > 1e-3


def test_records_that_cannot_be_told_by_prompt_are_refused():
    with pytest.raises(ValueError, match="has no shares"):
        by_prompt(made_up([[1.0]]))
    with pytest.raises(ValueError, match="5 keys for 2 prompts of 3 tokens; expected 3 or 6"):
        by_prompt(made_up([[0.2] * 5], shares=torch.full((1, 2, 3), 0.5)))


# --- averages ----------------------------------------------------------------------------------------------


def test_an_average_over_layers_and_steps_is_that_made_by_hand(unet):
    kv = prompted(unet, "concat")
    records = records_of(unet, kv) + records_of(unet, kv, args=tiny.inputs(3, seed=9))  # two steps
    by_hand = np.zeros((3, 3, 8, 8))
    for r in records:
        side = math.isqrt(r.probs.shape[-2])
        map_ = by_prompt(r).view(3, 3, side, side)
        by_hand += F.interpolate(map_, (8, 8), mode="bilinear").numpy() / len(records)
    maps = average(records)
    assert maps.shape == (3, 3, 8, 8) and maps.dtype == torch.float32
    assert np.abs(maps.numpy() - by_hand).max() < 1e-6
    assert (maps.sum(1) - 1).abs().max() < 1e-6
    steps = torch.stack([average(records[:4]), average(records[4:])])
    assert (steps[0] - steps[1]).abs().max() > 1e-3 and (steps.mean(0) - maps).abs().max() < 1e-6


def test_rows_of_the_map_are_rows_of_the_picture():
    shares = torch.full((1, 2, 1), 0.5)
    record = made_up([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], shares=shares)
    assert average([record])[0, 0].tolist() == [[0, 0], [1, 0]]  # lower left
    assert average([record], ratio=4)[0, 0].tolist() == [[0], [0], [1], [0]]
    assert average([record], size=1)[0, 0].tolist() == [[0.25]]


def test_some_layers_and_another_size(unet):
    records = records_of(unet, prompted(unet, "concat"))
    mid = [r for r in records if r.layer.startswith("mid_block")]
    assert average(mid).shape == (3, 3, 4, 4)
    assert torch.equal(average(mid).flatten(2), by_prompt(mid[0]))
    larger = average(records, size=(32, 16))
    assert larger.shape == (3, 3, 32, 16) and (larger.sum(1) - 1).abs().max() < 1e-6


def test_pictures_that_are_not_square_need_their_ratio(unet):
    x, t, text = tiny.inputs(1)
    args = (x[..., :4], t, text)  # 8 × 4
    kv = tiny.adapter(unet, 2, "concat")(tiny.embeddings(1, 2))
    records = records_of(unet, kv, args=args)
    with pytest.raises(ValueError, match="down_blocks.* has 32 queries; expected .*height / width = ratio = 1$"):
        average(records)
    assert average(records, ratio=2).shape == (1, 2, 8, 4)
    with pytest.raises(ValueError, match="32 queries"):
        average(records, ratio=3)


def test_what_cannot_be_averaged_is_refused(unet):
    with pytest.raises(ValueError, match="no records; is λ 0, or image_kv missing"):
        average([])
    two, three = (records_of(unet, tiny.adapter(unet, 3, "concat")(tiny.embeddings(1, n))) for n in (2, 3))
    with pytest.raises(ValueError, match=r"one batch and one N expected, got .*\(1, 2\), \(1, 3\)"):
        average(two + three)


@pytest.mark.parametrize("merge", ["concat", "gated"])
def test_prompts_keep_their_places_whatever_slot_the_rule_gives_them(unet, merge):
    lengths = torch.tensor([[1.0, 3.0, 2.0]]).unsqueeze(-1)  # not in the order of the slots
    embeds = F.normalize(tiny.embeddings(1, 3), dim=-1) * lengths
    given, by_norm = (tiny.adapter(unet, 3, merge, "shared", order=order) for order in ("given", "norm"))
    heard, expected = (average(records_of(unet, adapter(embeds))) for adapter in (by_norm, given))
    torch.testing.assert_close(heard, expected, atol=1e-6, rtol=0)
    assert (heard[:, 0] - heard[:, 1]).abs().max() > 1e-3  # the prompts are told apart
