"""Properties of G and U: weights that sum to 1, prompts in any order, prompts repeated, prompts missing."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import shaken, slots_of

from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.adapter_config import AdapterConfig
from ipa_lib.model.attention import attend_images
from ipa_lib.model.merge import MERGES, longest_first, share

TEXT, EMBED, HEADS, WIDTH = 6, 5, 2, 8
FEW = settings(max_examples=25, derandomize=True)
CONVEX = [m for m in MERGES if m not in ("sum", "pool")]  # those whose second term is a weighted mean of values
ORDERLESS = [m for m in MERGES if m != "weighted"]  # those where nothing belongs to a slot but the matrices


@st.composite
def masks(draw, rows=2, most=4):
    n = draw(st.integers(1, most))
    row = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    return torch.tensor([draw(row) for _ in range(rows)])


def toy(merge, slots, n_slots, tokens=3, order="given"):
    torch.manual_seed(0)
    config = AdapterConfig({"layer": WIDTH}, EMBED, TEXT, n_slots, merge, slots_of(merge, slots), tokens, order=order)
    return shaken(MultiImageAdapter(config).double())


def embeddings(batch, n, seed=1):
    return torch.randn(batch, n, EMBED, generator=torch.Generator().manual_seed(seed)).double()


def image_term(adapter, embeds, mask=None):
    """Softmax(QGᵀ/√d)U for fixed queries, [B, H, L, d]."""
    kv = adapter(embeds, mask)
    q = torch.randn(1, HEADS, 5, WIDTH // HEADS, generator=torch.Generator().manual_seed(2)).double()
    return attend_images(q.expand(len(embeds), -1, -1, -1), *kv.layers["layer"], kv.weights, kv.seen)


def assert_close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@FEW
@given(mask=masks(), merge=st.sampled_from(list(MERGES)))
def test_weights_sum_to_one_and_a_missing_prompt_has_none(mask, merge):
    adapter = toy(merge, "own", mask.shape[1])
    w = share(adapter.score(adapter.projection(embeddings(*mask.shape))), mask)
    assert w.shape == (*mask.shape, adapter.config.tokens)
    assert_close(w.sum(1), torch.ones_like(w[:, 0]))
    assert (w[~mask] == 0).all() and (w[mask] > 0).all()


@pytest.mark.parametrize("merge, slots", [*product(["weighted", "gated"], ["own", "shared"]), ("pool", "shared")])
def test_learned_weights_start_as_mean(merge, slots):
    torch.manual_seed(0)
    fresh = MultiImageAdapter(AdapterConfig({"layer": WIDTH}, EMBED, TEXT, 3, merge, slots)).double()
    with torch.no_grad():
        fresh.layers["layer"].to_k.normal_()
        fresh.layers["layer"].to_v.normal_()
    mean = MultiImageAdapter(AdapterConfig({"layer": WIDTH}, EMBED, TEXT, 3, "mean", slots)).double()
    mean.load_state_dict({k: v for k, v in fresh.state_dict().items() if not k.startswith(("score", "encoder"))})
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert_close(image_term(fresh, embeddings(2, 3), mask), image_term(mean, embeddings(2, 3), mask))


@pytest.mark.parametrize("slots", ["own", "shared"])
@pytest.mark.parametrize("present", [None, [[True, False, False]]])
def test_one_prompt_is_the_same_under_every_merge(slots, present):
    mask = None if present is None else torch.tensor(present)
    embeds = embeddings(1, 1 if mask is None else 3)
    alike = [merge for merge in MERGES if merge != "pool"]  # which learns what one prompt gives, too
    adapters = {merge: toy("mean", slots, 3) for merge in alike}
    matrices = adapters["mean"].state_dict()
    for merge in alike:
        adapters[merge] = toy(merge, slots, 3)
        adapters[merge].load_state_dict(matrices, strict=False)
    terms = [image_term(adapter, embeds, mask) for adapter in adapters.values()]
    for term in terms[1:]:
        assert_close(term, terms[0])


@FEW
@given(mask=masks(), merge=st.sampled_from(ORDERLESS), data=st.data())
def test_order_does_not_matter_under_shared_slots(mask, merge, data):
    order = data.draw(st.permutations(range(mask.shape[1])))
    adapter, embeds = toy(merge, "shared", mask.shape[1]), embeddings(*mask.shape)
    assert_close(image_term(adapter, embeds[:, order], mask[:, order]), image_term(adapter, embeds, mask))


@FEW
@given(mask=masks(), merge=st.sampled_from(list(MERGES)), data=st.data())
def test_prompts_may_change_places_together_with_their_slots(mask, merge, data):
    n = mask.shape[1]
    order = data.draw(st.permutations(range(n)))
    adapter, moved, embeds = toy(merge, "own", n), toy(merge, "own", n), embeddings(2, n)
    with torch.no_grad():
        for weight in (
            moved.layers["layer"].to_k,
            moved.layers["layer"].to_v,
            getattr(moved.score, "logits", None),
        ):
            if weight is not None and len(weight) == n:  # shared matrices belong to no slot
                weight.copy_(weight[order])
    assert_close(image_term(moved, embeds[:, order], mask[:, order]), image_term(adapter, embeds, mask))


@FEW
@given(mask=masks(rows=1), merge=st.sampled_from(list(MERGES)), data=st.data())
def test_under_the_rule_own_slots_do_not_depend_on_the_order_given(mask, merge, data):
    adapter, embeds = toy(merge, "own", mask.shape[1], order="norm"), embeddings(*mask.shape)
    order = data.draw(st.permutations(range(mask.shape[1])))
    assert_close(image_term(adapter, embeds[:, order], mask[:, order]), image_term(adapter, embeds, mask))


@pytest.mark.parametrize("merge", MERGES)
def test_the_rule_puts_the_longest_embedding_into_the_first_slot(merge):
    sorted_, given_ = toy(merge, "own", 4, order="norm"), toy(merge, "own", 4)
    embeds, mask = embeddings(2, 4), torch.tensor([[True] * 4, [True, False, True, True]])
    lengths = torch.where(mask, embeds.norm(dim=-1), 0)
    by_length = [sorted(range(4), key=lambda p: -row[p]) for row in lengths.tolist()]
    rows = torch.arange(2)[:, None], torch.tensor(by_length)
    assert by_length != [[0, 1, 2, 3]] * 2
    assert_close(image_term(sorted_, embeds, mask), image_term(given_, embeds[rows], mask[rows]))
    assert torch.equal(sorted_(embeds, mask).shares > 0, mask.unsqueeze(-1).expand(-1, -1, 3))  # in the order given


def test_hidden_states_are_as_long_as_their_mean():
    hidden = embeddings(1, 6).view(1, 3, 2, EMBED)
    assert torch.equal(longest_first(hidden), longest_first(hidden.mean(2)))
    layers = embeddings(1, 12).view(1, 3, 2, 2, EMBED)  # several axes of vectors count as one
    assert torch.equal(longest_first(layers), longest_first(layers.mean((2, 3))))


def test_of_equally_long_ones_the_order_given_holds_and_a_missing_one_comes_after_zeros():
    zeros = torch.zeros(2, 3, EMBED)
    mask = torch.tensor([[False, True, True], [True, False, True]])
    assert longest_first(zeros).tolist() == [[0, 1, 2]] * 2
    assert longest_first(zeros, mask).tolist() == [[1, 2, 0], [0, 2, 1]]


def test_the_gate_has_no_bias():
    assert [name for name, _ in toy("gated", "own", 2).score.named_parameters()] == ["linear.weight"]


def test_order_matters_under_own_slots():
    adapter, embeds = toy("mean", "own", 2), embeddings(1, 2)
    assert not torch.allclose(image_term(adapter, embeds), image_term(adapter, embeds.flip(1)))


@FEW
@given(mask=masks(), times=st.integers(2, 3), merge=st.sampled_from(["mean", "gated", "concat", "average", "pool"]))
def test_every_prompt_repeated_changes_nothing_under_shared_slots(mask, times, merge):
    adapter, embeds = toy(merge, "shared", mask.shape[1]), embeddings(*mask.shape)
    again = image_term(adapter, embeds.repeat(1, times, 1), mask.repeat(1, times))
    assert_close(again, image_term(adapter, embeds, mask))


@FEW
@given(mask=masks(), times=st.integers(2, 3))
def test_sum_grows_with_the_number_of_prompts(mask, times):
    adapter, embeds = toy("sum", "shared", mask.shape[1]), embeddings(*mask.shape)
    again = image_term(adapter, embeds.repeat(1, times, 1), mask.repeat(1, times))
    assert_close(again, times * image_term(adapter, embeds, mask))


@FEW
@given(mask=masks(rows=1), merge=st.sampled_from(list(MERGES)))
def test_missing_prompts_are_as_if_they_were_left_out(mask, merge):
    n, left = mask.shape[1], mask[0].nonzero()[:, 0]
    adapter, embeds = toy(merge, "own", n), embeddings(1, n)
    short = toy(merge, "own", len(left))
    rows = {"layers.layer.to_k", "layers.layer.to_v", "score.logits"}
    short.load_state_dict({k: v[left] if k in rows and len(v) == n else v for k, v in adapter.state_dict().items()})
    assert_close(image_term(adapter, embeds, mask), image_term(short, embeds[:, left]))


@FEW
@given(mask=masks(), merge=st.sampled_from(CONVEX))
def test_the_second_term_does_not_outgrow_the_values(mask, merge):
    apart, adapter = (toy(m, "own", mask.shape[1]) for m in ("sum", merge))
    embeds = embeddings(*mask.shape)
    adapter.load_state_dict(apart.state_dict(), strict=False)
    _, v = apart(embeds).layers["layer"]  # V'_p, [B, N, T, C]
    assert image_term(adapter, embeds, mask).abs().max() <= v.abs().max() + 1e-12


@FEW
@given(n=st.integers(1, 4), merge=st.sampled_from(list(MERGES)))
def test_a_full_mask_is_no_mask(n, merge):
    adapter, embeds = toy(merge, "own", 4), embeddings(2, n)
    full = torch.ones(2, n, dtype=torch.bool)
    assert torch.equal(image_term(adapter, embeds, full), image_term(adapter, embeds))


def test_the_set_encoder_of_a_single_prompt_is_learned():
    fresh = MultiImageAdapter(AdapterConfig({"layer": WIDTH}, EMBED, TEXT, 2, "pool", "shared"))
    trained = toy("pool", "shared", 2)
    tokens = torch.randn(2, 1, 4, TEXT)
    torch.testing.assert_close(fresh.encoder(tokens), tokens)
    tokens = torch.randn(2, 1, 3, TEXT).double()
    assert not torch.allclose(trained.encoder(tokens), tokens, atol=0.1)


def test_pool_has_no_own_slots():
    with pytest.raises(ValueError, match="^slots: shared or marked was expected for the merge pool; got 'own'$"):
        AdapterConfig({"layer": WIDTH}, EMBED, TEXT, 2, "pool", "own")


# --- a vector a slot ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", MERGES)
def test_a_marked_slot_adds_its_vector_to_its_tokens(merge):
    marked, plain, embeds = toy(merge, "marked", 3), toy(merge, "shared", 3), embeddings(1, 2)
    plain.load_state_dict({name: x for name, x in marked.state_dict().items() if name != "marks"})
    told_apart = not torch.allclose(image_term(marked, embeds), image_term(marked, embeds.flip(1)))
    assert told_apart == (merge in ("concat", "gated", "pool", "weighted"))  # weighted: the weights belong to slots
    with torch.no_grad():
        marked.marks.copy_(marked.marks[:1].expand(3, -1))  # alike, they are a shift of the projection
        plain.projection.norm.bias.add_(marked.marks[0])
    assert_close(image_term(marked, embeds), image_term(plain, embeds))
    with pytest.raises(ValueError, match="4 prompts for an adapter of 3 slots"):
        marked(embeddings(1, 4))


def test_marks_start_at_nothing():
    fresh = MultiImageAdapter(AdapterConfig({"layer": WIDTH}, EMBED, TEXT, 3, "mean", "marked"))
    assert fresh.marks.shape == (3, TEXT) and not fresh.marks.any()
