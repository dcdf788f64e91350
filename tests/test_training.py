import copy
import itertools
from unittest import mock

import pytest
import torch

from ipa_lib.data import celeba
from ipa_lib.data.captions import EMPTY, captions
from ipa_lib.data.identity_sets import LeaveOneOutSets, group_by_person
from ipa_lib.diffusion import training
from ipa_lib.diffusion.backbone import embed_pictures, encode_captions, encode_pictures, no_picture
from ipa_lib.diffusion.features import Features, compute_features
from ipa_lib.model import attention
from ipa_lib.model.adapter import MultiImageAdapter


@pytest.fixture
def unet(base):
    unet = copy.deepcopy(base.unet)
    attention.attach(unet)
    return unet


@pytest.fixture
def sets(stored):
    return LeaveOneOutSets(group_by_person(stored[0], 4, "train"), 3, 4, steps=3, seed=0, random_n=True)


def new_adapter(base, merge="mean"):
    torch.manual_seed(0)
    return MultiImageAdapter.from_unet(base.unet, base.image_encoder.config.projection_dim, 3, merge=merge)


def test_noise_is_that_of_equation_1(base):
    x_0, eps = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)
    t = torch.tensor([3, 700])
    a = base.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    expected = a.sqrt() * x_0 + (1 - a).sqrt() * eps
    torch.testing.assert_close(training.add_noise(base.scheduler, x_0, eps, t), expected)


@pytest.mark.parametrize("shape", [(40_000, 3, 1), (40_000, 3, 2, 1)], ids=["linear", "resampler"])
def test_dropping_is_joint_and_as_often_as_asked(shape):
    text, embeds, empty, generator = torch.ones(40_000, 1, 1), torch.ones(shape), torch.zeros(1, 1), torch.Generator()
    nothing = torch.full(shape[2:], -1.0)
    text, embeds = training.drop_conditions(text, embeds, empty, nothing, generator.manual_seed(0), p=0.05)
    embeds = embeds.flatten(1)
    no_text, no_images = text.flatten() == 0, embeds[:, 0] == -1
    assert (embeds == embeds[:, :1]).all()  # one draw for all N images
    for dropped in (no_text & ~no_images, no_images & ~no_text, no_text & no_images):
        assert abs(dropped.float().mean().item() - 0.05) < 0.004


def test_only_the_adapter_has_gradients(base, unet, stored, sets):
    adapter = new_adapter(base)
    training.adapter_loss(
        adapter, unet, base.scheduler, stored[1], sets[0], torch.Generator().manual_seed(0)
    ).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in unet.parameters())


def test_the_unet_stays_bitwise_what_it_was(base, unet, stored, sets):
    before = {name: p.clone() for name, p in unet.state_dict().items()}
    list(training.train_adapter(new_adapter(base), unet, base.scheduler, stored[1], sets, sets))
    assert all(torch.equal(before[name], p) for name, p in unet.state_dict().items())


def test_two_runs_are_the_same_run(base, unet, stored, sets):
    adapters = [new_adapter(base) for _ in range(2)]
    logs = [list(training.train_adapter(a, unet, base.scheduler, stored[1], sets, sets)) for a in adapters]
    assert logs[0] == logs[1] and len(logs[0]) == 3 and "val_loss" in logs[0][-1]
    pairs = zip(adapters[0].parameters(), adapters[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_interrupted_training_goes_on_to_the_same_end(base, unet, stored, tmp_path):
    """Weights, optimiser, learning rates and validation losses, whether it stopped once or not at all."""
    sets = LeaveOneOutSets(group_by_person(stored[0], 4, "train"), 3, 4, steps=7, seed=0, random_n=True)
    checkpoint = training.Checkpoint(tmp_path / "adapter.state", {"lr": 1e-3}, every=3)

    def run(stop=None, checkpoint=checkpoint):
        adapter = new_adapter(base, "gated")
        stream = training.train_adapter(
            adapter, unet, base.scheduler, stored[1], sets, sets, 1e-3, 0, 2, checkpoint=checkpoint)
        return list(itertools.islice(stream, stop)), adapter.state_dict()

    whole, weights = run(checkpoint=None)
    assert run(stop=5)[0] == whole[:5] and checkpoint.path.is_file()
    assert checkpoint.load() and not training.Checkpoint(checkpoint.path, {"lr": 2e-3}).load()  # of another recipe
    spent = torch.load(checkpoint.path, weights_only=True)["seconds"]
    records, resumed = run()
    assert checkpoint.seconds > spent > 0  # the time of both
    assert records == whole and all(torch.equal(resumed[name], weights[name]) for name in weights)


def test_training_lowers_the_loss_on_its_own_sets(base, unet, stored):
    sets = LeaveOneOutSets(group_by_person(stored[0], 3, "train"), 2, 8, steps=25, seed=0)
    adapter = new_adapter(base)
    log = [r["val_loss"] for r in training.train_adapter(
        adapter, unet, base.scheduler, stored[1], sets, [sets[0], sets[1]], lr=3e-3, validate_every=24
    ) if "val_loss" in r]
    assert log[-1] < log[0]


def test_a_base_that_is_not_frozen_is_refused(base, stored, sets):
    with pytest.raises(ValueError, match="requires_grad_"):
        unfrozen = copy.deepcopy(base.unet).requires_grad_(True)
        next(training.train_adapter(new_adapter(base), unfrozen, base.scheduler, stored[1], sets, sets))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    weight = torch.nn.Parameter(torch.ones(1))
    losses = [1.0, float("nan"), 1.0]
    with pytest.raises(FloatingPointError, match="at step 1"):
        list(training.fit([weight], lambda step: iter([(weight * losses[step]).sum()]), 3, 0.1))


def test_learning_rate_warms_up_and_ends_near_zero():
    factor = training.warmup_cosine(100, warmup=10)
    rates = [factor(step) for step in range(100)]
    assert rates[0] < rates[5] < rates[9] and max(rates) <= 1 and rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_step_from_the_cache_is_the_step_from_the_pictures(base, unet, stored, sets):
    table, cached = stored
    batch, adapter = sets[0], new_adapter(base)
    rows = torch.cat([batch["target"][:, None], batch["refs"]], 1)  # [B, 1 + N]
    pictures = celeba.load_pictures(table.path.iloc[rows.flatten().tolist()], 64)
    live = Features(
        encode_pictures(base.vae, pictures, batch_size=1),
        embed_pictures(base, pictures, batch_size=1),
        no_picture(base),
        encode_captions(base, [EMPTY, *captions(table.iloc[batch["target"].tolist()])]),
        torch.arange(1, len(rows) + 1).repeat_interleave(rows.shape[1]),
    )
    numbered = torch.arange(rows.numel()).view(rows.shape)
    there = {"target": numbered[:, 0], "refs": numbered[:, 1:], "mask": batch["mask"]}
    losses = [
        training.adapter_loss(adapter, unet, base.scheduler, source, sample, torch.Generator().manual_seed(0))
        for source, sample in ((cached, batch), (live, there))
    ]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=0)


def test_training_and_sampling_share_their_unconditional_branch(base, stored):
    table, cached = stored
    resampled = compute_features(table.iloc[:9], base, patches=True)
    for features, projection in ((cached, "linear"), (resampled, "resampler")):
        adapter = MultiImageAdapter.from_unet(base.unet, features.embeds.shape[-1], 2, projection=projection)
        prompts = features.embeds[torch.tensor([[1, 2]])]
        _, dropped = training.drop_conditions(
            torch.zeros(1, 1, 1), prompts, torch.zeros(1, 1), features.nothing, torch.Generator(), p=1.0
        )
        trained, sampled = adapter(dropped), adapter.guided(prompts, nothing=features.nothing)
        for name, pair in trained.layers.items():
            for ours, theirs in zip(pair, sampled.layers[name], strict=True):
                torch.testing.assert_close(ours, theirs[:1], atol=1e-5, rtol=0)


def test_a_resampler_learns_from_patches(base, unet, stored, sets):
    features = compute_features(stored[0], base, patches=True)
    adapter = MultiImageAdapter.from_unet(base.unet, features.embeds.shape[-1], 3, projection="resampler")
    before = {name: p.clone() for name, p in adapter.named_parameters()}
    log = list(training.train_adapter(adapter, unet, base.scheduler, features, sets, sets))
    assert len(log) == 3 and not any(torch.equal(before[name], p) for name, p in adapter.named_parameters())


def in_parts(base, unet, stored, sets):
    """Losses and weights of a training, and how often a step went through the U-Net."""
    adapter, calls, loss = new_adapter(base), [], training.denoising_loss

    def counted(*args, **more):
        calls.append(torch.is_grad_enabled())  # not in validation
        return loss(*args, **more)

    with mock.patch.object(training, "denoising_loss", counted):
        log = list(training.train_adapter(adapter, unet, base.scheduler, stored[1], sets, sets, 1e-3))
    return [record["loss"] for record in log], adapter.state_dict(), sum(calls) / len(log)


@pytest.mark.parametrize("how", ["by size", "by accelerate"])
def test_a_batch_in_parts_is_the_same_training(base, unet, stored, sets, monkeypatch, how):
    losses, weights, calls = in_parts(base, unet, stored, sets)
    assert calls == 1
    if how == "by size":
        monkeypatch.setattr(training, "AT_ONCE", 2 * stored[1].latents[0, 0].numel())
    else:
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    others, divided, calls = in_parts(base, unet, stored, sets)
    assert calls == 2 and others == pytest.approx(losses, rel=1e-5)
    untrained = new_adapter(base).state_dict()
    for name, weight in weights.items():  # AdamW shows the rounding of a gradient near 0 in full: the way as a whole
        assert (divided[name] - weight).norm() < 0.05 * (weight - untrained[name]).norm(), name


def test_shares_are_equal_small_and_cover_the_batch():
    for batch, places, least, processes in ((12, 64 * 64, 1, 3), (32, 64 * 64, 1, 1), (48, 256, 1, 1), (12, 4, 2, 2)):
        found = [part for i in range(processes) for part in training.shares(batch, places, least, processes, i)]
        assert [row for part in found for row in range(batch)[part]] == list(range(batch))
        (size,) = {part.stop - part.start for part in found}
        assert size * places <= training.AT_ONCE and len(found) >= least * processes
    assert training.shares(48, 256) == [slice(0, 48)]  # the scale model's batch stays whole
    for wrong in ((10, 4, 1, 3), (4, 4, 5, 1)):
        with pytest.raises(ValueError, match="batch_size: .* sets, not to be divided among"):
            training.shares(*wrong)


def test_min_snr_weights_are_those_of_the_paper(base):
    weights = training.min_snr_weights(base.scheduler, 5.0)
    a = base.scheduler.alphas_cumprod.double()
    expected = torch.minimum(a / (1 - a), torch.tensor(5.0)) / (a / (1 - a))
    torch.testing.assert_close(weights.double(), expected, atol=1e-6, rtol=1e-5)
    assert weights.max() == 1 and weights.diff().min() >= -1e-6  # more noise, more weight


def test_times_are_drawn_as_often_as_they_weigh(base):
    """The weighted loss of equation (4) and the plain one at times so drawn have the same mean, but for a factor."""
    weights = training.min_snr_weights(base.scheduler, 0.02)
    _, t = training.draw_noise(base.scheduler, (200_000,), torch.Generator().manual_seed(0), weights)
    share = torch.histogram(t.float(), 10, range=(0, 1000)).hist / len(t)
    torch.testing.assert_close(share, weights.reshape(10, 100).sum(1) / weights.sum(), atol=4e-3, rtol=0)
    error = torch.linspace(1, 0, 1000).square()
    torch.testing.assert_close(error[t].mean(), (weights * error).sum() / weights.sum(), atol=1e-3, rtol=0)


def test_gamma_beyond_every_ratio_is_the_published_training(base, unet, stored, sets):
    logs = [
        list(training.train_adapter(new_adapter(base), unet, base.scheduler, stored[1], sets, sets, **how))
        for how in ({}, {"snr_gamma": 1e4}, {"snr_gamma": 0.02})
    ]
    assert logs[0] == logs[1] != logs[2]
    assert logs[2][0]["val_loss"] != logs[0][0]["val_loss"]  # validated as it is trained


def test_weights_of_one_leave_the_loss_as_it_is(base, stored):
    x_0, text = stored[1].latents[:3], stored[1].text(torch.arange(3))
    eps, t = training.draw_noise(base.scheduler, x_0.shape, torch.Generator().manual_seed(0))
    plain, weighted, half = (
        training.denoising_loss(base.unet, base.scheduler, x_0, text, eps, t, weights)
        for weights in (None, torch.ones(1000), torch.full((1000,), 0.5))
    )
    torch.testing.assert_close(plain, weighted)
    torch.testing.assert_close(plain / 2, half)


def test_numbers_that_are_none_name_step_sample_and_state(base, unet, stored, tmp_path):
    """A picture whose latents overflow stops the training at its first use; the state of before is as it was."""
    table, features = stored
    sets = LeaveOneOutSets(group_by_person(table, 4, "train"), 3, 4, steps=30, seed=0)
    step, target = next((i, row) for i in range(6, 30) for row in sets[i]["target"].tolist()
                        if not any(row in sets[j]["target"] for j in range(i)))
    latents = features.latents.clone()
    latents[target, 0, 0, 0] = float("inf")
    checkpoint = training.Checkpoint(tmp_path / "adapter.state", {}, every=2)
    stream = training.train_adapter(new_adapter(base), unet, base.scheduler, Features(**vars(features) | {
        "latents": latents}), sets, [sets[0]], validate_every=99, checkpoint=checkpoint)
    with pytest.raises(FloatingPointError) as error:
        list(stream)
    refs = sets[step]["refs"][sets[step]["target"].tolist().index(target)].tolist()
    assert f"at step {step}, in 1 of its 4 sets, the first of target {target} and prompts {refs}" in str(error.value)
    kept = step // 2 * 2
    assert f"; the last good state, of step {kept}, is {checkpoint.path};" in str(error.value)
    state = checkpoint.load()
    assert len(state["records"]) == kept and all(x.isfinite().all() for x in state["tensors"])


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt():
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(FloatingPointError, match="gradient is nan at step 0, of mine; lower lr"):
        losses = iter([weight.abs().sqrt().sum()])
        list(training.fit([weight], lambda step: losses, 3, 0.1, blame=lambda step: ", of mine"))
    assert weight.item() == 0
