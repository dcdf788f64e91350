import itertools
import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from ipa_lib.diffusion.training import Checkpoint
from ipa_lib.drawn import faces, mini_base
from ipa_lib.workflow.paths import MODELS

CAPTIONS = ["a photo of a person with black hair", "a photo of a person, smiling"]


def test_half_precision_is_for_devices_that_multiply_it_in_hardware(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda there=there: there)
        with mini_base.half_precision(torch.device("cpu")):
            assert torch.is_autocast_enabled("cpu") == there
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    for kind in ("cuda", "mps"):
        with mini_base.half_precision(torch.device(kind)):
            assert not torch.is_autocast_enabled(kind)


def test_tokenizer_gives_a_known_word_one_token_and_fails_on_none():
    tokenizer = mini_base.new_tokenizer(CAPTIONS)
    ids = tokenizer(CAPTIONS[1]).input_ids
    assert len(ids) == 2 + 7  # start, six words and a comma, end
    assert tokenizer.decode(ids[1:-1]).replace(" ", "") == CAPTIONS[1].replace(" ", "")
    assert tokenizer.unk_token_id not in tokenizer("Ещё quüx 😀").input_ids[1:-1]


def test_mirroring_is_drawn_for_each_picture():
    pictures = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 3), np.uint8)
    plain = mini_base.to_input(pictures)
    drawn = mini_base.to_input(pictures, torch.Generator().manual_seed(0))
    mirrored = (drawn == plain.flip(-1)).all(dim=(1, 2, 3))
    assert ((drawn == plain).all(dim=(1, 2, 3)) | mirrored).all() and 16 < mirrored.sum() < 48
    assert plain.min() >= -1 and plain.max() <= 1


def test_contrastive_loss_against_plain_loops():
    z, labels = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    unit, total = torch.nn.functional.normalize(z, dim=-1), 0.0
    for i in range(6):
        others = [torch.exp(unit[i] @ unit[j] / 0.1) for j in range(6) if j != i]
        positive = [torch.exp(unit[i] @ unit[j] / 0.1) for j in range(6) if j != i and labels[j] == labels[i]]
        total -= sum(torch.log(p / sum(others)) for p in positive) / len(positive)
    torch.testing.assert_close(mini_base.contrastive_loss(z, labels), total / 6, atol=1e-4, rtol=1e-4)


def test_the_perceptual_error_sees_what_changed_and_asks_for_no_gradient_of_the_encoder():
    torch.manual_seed(0)
    encoder = mini_base.new_image_encoder().eval().requires_grad_(False)
    a = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    near, far = (a.detach() + size * torch.randn(a.shape) for size in (0.05, 0.5))
    errors = [mini_base.perceptual_error(encoder, a, b) for b in (a.detach(), near, far)]
    assert 0 <= errors[0] < 1e-6 < errors[1] < errors[2] < 4
    errors[2].backward()
    assert a.grad.abs().sum() > 0 and all(p.grad is None for p in encoder.parameters())


def test_identity_batches_hold_each_person_with_different_pictures():
    rows = [np.arange(5) + 10 * person for person in range(9)]
    picked, labels = mini_base.identity_batch(rows, 4, 3, torch.Generator().manual_seed(0))
    assert len(set(picked.tolist())) == 12 and labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert all(len({p // 10 for p in picked[labels == label].tolist()}) == 1 for label in range(4))


def test_the_moving_average_against_a_plain_loop():
    parameters = [torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(4))]
    average, update = mini_base.moving_average(parameters)
    plain = [p.detach().double() for p in parameters]
    for step in [*range(30), *range(11000, 11020)]:  # also where the first weights no longer count more
        for p in parameters:
            p.data = torch.randn(p.shape)
        update(step)
        decay = min(1 - 1 / 500, (2 + step) / (11 + step))
        plain = [decay * a + (1 - decay) * p.detach().double() for a, p in zip(plain, parameters, strict=True)]
    average.copy_to(parameters)
    assert all(torch.allclose(p.double(), a, rtol=0, atol=1e-6) for p, a in zip(parameters, plain, strict=True))


def cross_attention(unet):
    """At how many latents a side each cross-attention layer was called."""
    sides = []
    hooks = [module.register_forward_hook(lambda _, x, __: sides.append(round(x[0].shape[1] ** 0.5)))
             for name, module in unet.named_modules() if name.endswith("attn2")]  # fmt: skip
    unet(torch.zeros(1, 4, 16, 16), 1, torch.zeros(1, 7, mini_base.TEXT_WIDTH))
    assert len(hooks) == len(sides)
    return sides


def test_text_is_attended_to_where_it_is_asked_for():
    assert cross_attention(mini_base.new_unet()) == [16, 8, 4, 4, 4, 4, 8, 8, 16, 16]
    assert cross_attention(mini_base.new_unet((40, 80, 128), (8, 4))) == [8, 4, 4, 4, 4, 8, 8]
    assert cross_attention(mini_base.new_unet((8, 8, 8), (16,))) == [16, 4, 16, 16]  # the middle has one in any case
    with pytest.raises(ValueError, match="unet_attention: 32 latents a side; of 16, 8, 4 was expected"):
        mini_base.new_unet(attention=(8, 32))


def test_a_share_of_pictures_is_seen_through_a_window():
    pictures = np.full((400, 64, 64, 3), 7, np.uint8)
    seen = mini_base.partly_hidden(pictures, 0.5, torch.Generator().manual_seed(0))
    hidden = (seen == 128).any((1, 2, 3))
    assert 160 < hidden.sum() < 240 and (seen[~hidden] == 7).all()
    assert mini_base.partly_hidden(pictures, 0.0, torch.Generator()) is pictures


def test_a_finished_part_is_not_trained_again(tmp_path):
    def refuse(checkpoint):
        raise AssertionError("trained again")
        yield

    part, recipe = torch.nn.Module(), {"steps": 2, "seed": 0}
    part = mini_base.new_judge((8,), (1,), 3)
    steps = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}]
    log = mini_base.finish({"judge": part}, tmp_path, lambda checkpoint: iter(steps), recipe)
    again = mini_base.finish({"judge": part}, tmp_path, refuse, recipe)
    assert log.equals(again) and json.loads((tmp_path / "judge.json").read_text())["seed"] == 0
    with pytest.raises(AssertionError):
        mini_base.finish({"judge": part}, tmp_path, refuse, recipe | {"seed": 1})
    assert mini_base.finish({"judge": part}, tmp_path, refuse, recipe | {"seed": 1}, train=False).equals(log)


def test_photographs_are_seen_mirrored_too():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    vae = mini_base.new_vae((8, 8, 8)).eval()
    one, two = (mini_base.views_as_latents(vae, pictures, mirrored) for mirrored in (False, True))
    mirrored = mini_base.views_as_latents(vae, np.flip(pictures, 2).copy(), False)
    assert one.shape == (3, 1, 4, 16, 16) and torch.equal(two, torch.cat([one, mirrored], 1))
    tokenizer, tokens = mini_base.new_tokenizer(["a face"]), torch.zeros(3, 1, 2, dtype=int)

    def loss(latents):
        torch.manual_seed(0)
        unet, text = mini_base.new_unet((8, 8, 8)), mini_base.new_text_encoder(tokenizer)
        stream = mini_base.train_unet(unet, text, mini_base.new_scheduler(), latents, tokens, tokens[0, 0], 1, 8, 0)
        return next(iter(stream))["loss"]

    assert loss(one) == loss(one.repeat(1, 2, 1, 1, 1)) != loss(two)


def test_an_interrupted_part_goes_on(tmp_path):
    """The text encoder's and U-Net's moving average included: the same weights as of an unbroken training."""
    latents, tokens = torch.randn(8, 2, 4, 16, 16), torch.randint(0, 40, (8, 2, 6))

    def part(folder, stop=None):
        torch.manual_seed(0)
        unet, text = mini_base.new_unet(), mini_base.new_text_encoder(mini_base.new_tokenizer(["a face"]))
        stream = mini_base.train_unet(unet, text, mini_base.new_scheduler(), latents, tokens, tokens[0, 0], 5, 2, 0,
                                      checkpoint=Checkpoint(folder / "unet.state", {"seed": 0}, every=2))
        log = [record["loss"] for record in itertools.islice(stream, stop)]
        return log, {**unet.state_dict(), **text.state_dict()}

    whole, weights = part(tmp_path / "whole")
    assert part(tmp_path / "checkpoint", stop=4)[0] == whole[:4]  # the state of step 2 was kept
    again, resumed = part(tmp_path / "checkpoint")
    assert again == whole and all(torch.equal(resumed[name], weights[name]) for name in weights)


def test_an_interrupted_judge_goes_on_with_its_running_means(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    kinds, attributes = torch.arange(12) % 3, torch.ones(12, 2)
    checkpoint = Checkpoint(tmp_path / "judge.state", {}, every=2)

    def trained(stop=None, checkpoint=checkpoint):
        torch.manual_seed(0)
        judge = mini_base.new_judge((16,), (1,), 5)
        list(itertools.islice(mini_base.train_judge(judge, pictures, kinds, attributes, 3, 4, 0, checkpoint), stop))
        return judge.state_dict()

    whole = trained(checkpoint=None)
    trained(stop=2)
    trained(stop=3)
    assert checkpoint.load()
    again = trained()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    checkpoint.remove()
    assert not checkpoint.load()


def broken_parts():
    """Part -> a stream of it that has no finite loss at row 2 of 4 alone."""
    pictures, rows = np.zeros((4, 64, 64, 3), np.uint8), [np.arange(2), np.arange(2, 4)]
    pictures[2] = 255
    torch.manual_seed(0)
    vae, unet, scheduler = mini_base.new_vae((8, 8, 8)), mini_base.new_unet((8, 8, 8)), mini_base.new_scheduler()
    judge, encoder = mini_base.new_judge((16, 16), (1, 1), 5), mini_base.new_image_encoder()
    text, told = mini_base.new_text_encoder(mini_base.new_tokenizer(["a face"])), torch.ones(4, 2)
    latents = torch.randn(4, 1, 4, 16, 16)
    told[2], latents[2] = torch.nan, torch.nan
    tokens = torch.randint(0, 40, (4, 2, 6))
    encode, weak = vae.encode, lambda x: torch.where((x > 0.9).all(), torch.inf, 1.0)
    vae.encode = lambda x: encode(torch.stack([one * weak(one) for one in x]))
    return {
        "embedding": lambda **how: mini_base.train_embedding(
            lambda x: torch.stack([one.mean((1, 2)) * weak(one) * judge(x).logits.sum() for one in x]), [judge],
            pictures, rows, 1, 2, 0, **how),
        "vae": lambda **how: mini_base.train_vae(vae, encoder, pictures, 1, 16, 0, **how),
        "judge": lambda **how: mini_base.train_judge(judge, pictures, torch.arange(4) % 3, told, 1, 16, 0, **how),
        "unet": lambda **how: mini_base.train_unet(
            unet, text, scheduler, latents, tokens, tokens[0, 0], 1, 16, 0, **how),
    }


@pytest.mark.parametrize("part", ["embedding", "vae", "judge", "unet"])
def test_a_loss_that_is_not_finite_names_the_pictures(part):
    said = r"^loss is (nan|inf) at step 0, in \d+ of its \d+ pictures, the first c; lower lr"
    with pytest.raises(FloatingPointError, match=said):
        list(broken_parts()[part](files=["a", "b", "c", "d"]))
    with pytest.raises(FloatingPointError, match=r"pictures, the first row 2; lower lr"):
        list(broken_parts()[part]())


def test_only_bad_pictures_are_named():
    rows = torch.tensor([5, 1, 3, 1])
    for bad, said in (((), ""), ((3,), ", in 1 of its 4 pictures, the first d"),
                      ((1, 5), ", in 3 of its 4 pictures, the first f")):  # fmt: skip
        def loss_of(some, bad=bad):
            return torch.tensor(torch.nan if some[0].item() in bad else 1.0)

        assert mini_base.bad_pictures(loss_of, rows, "abcdef") == said


def test_every_part_learns_something_in_a_few_steps():
    keys = [(0, 1 + i // 6, i % 6) for i in range(24)]  # seed, person, picture
    factors = [(faces.identity_factors(*key[:2]), faces.nuisance_factors(*key)) for key in keys]
    pictures = np.stack([np.asarray(faces.render(*both)) for both in factors])
    rows = list(np.arange(24).reshape(4, 6))
    torch.manual_seed(0)
    judge, vae = mini_base.new_judge((16, 16), (1, 1), 16), mini_base.new_vae()
    streams = {
        "embedding": mini_base.train_embedding(lambda x: judge(x).logits, [judge], pictures, rows, 12, 4, 0),
        "vae": mini_base.train_vae(vae, mini_base.new_image_encoder(), pictures, 10, 4, 0),
    }
    for name, stream in streams.items():
        losses = [record["loss"] for record in stream]
        assert min(losses[-3:]) < losses[0], name
    assert vae.config.scaling_factor > 0


def test_the_tracked_base_is_loaded_by_stock_diffusers():
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / "mini", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    asked = "a photo of a person with black hair"
    picture = pipe(asked, num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (64, 64)


def test_the_tracked_weights_are_small_and_have_their_recipes():
    weights = list((MODELS / "mini").rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) <= 20_000_000
    recipes = {file.stem: json.loads(file.read_text()) for file in (MODELS / "mini/recipes").glob("*.json")}
    adapter = recipes.pop("ip_adapter")
    assert adapter["notebook"] == "04_train_adapter" and adapter["train_steps"] > 0 and adapter["commit"]
    assert set(recipes) == {"identity_judge", "attribute_judge", "image_encoder", "vae", "unet"}
    assert all(recipe["notebook"] == "02_train_base" and recipe["steps"] > 0 for recipe in recipes.values())


def test_the_published_adapter_is_loaded_by_stock_diffusers():
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / "mini", torch_dtype=torch.float32)
    pipe.load_ip_adapter(str(MODELS / "mini"), "ip_adapter", "ip-adapter_mini.safetensors", image_encoder_folder=None)
    assert any("to_k_ip" in name for name in pipe.unet.state_dict())
