"""The mini Stable Diffusion and its judges: real diffusers and transformers classes, small and trained from scratch.

Pictures are uint8 [M,H,W,3] in memory and float [B,3,H,W] in −1…1 at a network's door. A `*_loss` is the loss of one
step; `02_train_base.ipynb` drives it through `training.fit`. Weights are stored in float16 and loaded as float32.
"""
import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from tokenizers import Tokenizer as BPETokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    RegNetConfig,
    RegNetForImageClassification,
)

from ..bars import tqdm
from ..data.windows import random_windows
from ..diffusion.backbone import encode_pictures
from ..diffusion.training import Checkpoint, denoising_loss, draw_noise, fit, min_snr_weights, step_generator
from ..files import atomic

SIZE = 64              # side of a picture, pixels
LATENT_CHANNELS = 4    # of 16 × 16 latents: 8 × 8 lose the mouth
TEXT_WIDTH = 128       # D, the U-Net's cross_attention_dim
EMBED_WIDTH = 128      # E, the image encoder's projection
WEIGHTS = "diffusion_pytorch_model.safetensors"  # diffusers' name of a model's weights
MAX_TOKENS = 77        # as CLIP's; the longest caption of an experiment has 25
JUDGE_SEED = 1001      # of the drawn people whom the judges learn from; no profile draws these
ENCODER_SEED = 2002    # of the drawn people whom the image encoder learns from
SNR_GAMMA = 5.0        # of the U-Net's loss, as published
HIDDEN = 0.5           # share of pictures of which the image encoder, in training, sees a random window alone
EMA_STEPS = 500        # that the moving average of the U-Net looks back
VAE_LOSS = {"kl_weight": 1e-6, "edge_weight": 1.0, "perceptual_weight": 0.4}


# --- the networks -------------------------------------------------------------------------------------------------

def new_vae(widths: Sequence[int] = (24, 48, 96)) -> AutoencoderKL:
    """Autoencoder, 64 × 64 × 3 to 16 × 16 × 4; its posterior starts narrow, or the decoder would see noise alone."""
    vae = AutoencoderKL(
        block_out_channels=tuple(widths), layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, sample_size=SIZE)
    torch.nn.init.constant_(vae.quant_conv.bias[LATENT_CHANNELS:], -6)  # the logarithm of the variance
    return vae


def new_unet(widths: Sequence[int] = (32, 64, 96), attention: Sequence[int] = (16, 8, 4)) -> UNet2DConditionModel:
    """U-Net over 16 × 16 latents, one width a level, with cross-attention at each of `attention` latents a side.

    Ten layers for the adapter at all three sides. Heads have 16 channels where every width can be divided so, else
    there are four. ValueError for a side of no level.
    """
    sides = [SIZE // 4 >> level for level in range(len(widths))]
    if foreign := sorted(set(attention) - set(sides)):
        raise ValueError(f"unet_attention: {foreign[0]} latents a side; of {', '.join(map(str, sides))} was expected")
    down = ["CrossAttnDownBlock2D" if side in attention else "DownBlock2D" for side in sides]
    up = ["CrossAttnUpBlock2D" if side in attention else "UpBlock2D" for side in reversed(sides)]
    heads = 4 if any(width % 16 for width in widths) else tuple(width // 16 for width in widths)
    return UNet2DConditionModel(
        sample_size=SIZE // 4, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, layers_per_block=1,
        block_out_channels=tuple(widths), norm_num_groups=8, down_block_types=tuple(down), up_block_types=tuple(up),
        cross_attention_dim=TEXT_WIDTH, attention_head_dim=heads)  # diffusers' name for the number of heads


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's 1 000-step schedule."""
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                         set_alpha_to_one=False, steps_offset=1)


def new_tokenizer(captions: Sequence[str], vocab_size: int = 1024) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer with merges learned from `captions`."""
    bpe = BPETokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    every_byte = [*letters, *(letter + "</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=letters, end_of_word_suffix="</w>",
                                  show_progress=False)
    bpe.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    words = dict.fromkeys([*every_byte, *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"])
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=MAX_TOKENS)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two-layer CLIP text model of width `TEXT_WIDTH`."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=MAX_TOKENS, projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


def new_image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP vision model with 64 patches of 8 × 8 pixels."""
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=144, intermediate_size=576, num_hidden_layers=4, num_attention_heads=4, image_size=SIZE,
        patch_size=8, projection_dim=EMBED_WIDTH))


def new_encoder_and_head(attributes: int, device: torch.device) -> list[torch.nn.Module]:
    """An image encoder, and the linear head that reads so many attributes off its embedding while it is trained."""
    return [new_image_encoder().to(device), torch.nn.Linear(EMBED_WIDTH, attributes).to(device)]


def new_image_processor() -> CLIPImageProcessorPil:
    """Resize, crop and scale to −1…1, the range that every network here is trained on."""
    return CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE},
                                 image_mean=[0.5] * 3, image_std=[0.5] * 3)


# Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678: a stem of stride 2, no pooling, still sees a smile
def new_judge(widths: Sequence[int], depths: Sequence[int], outputs: int) -> RegNetForImageClassification:
    """RegNet whose `logits` are the judge's `outputs`; one width and one depth a stage."""
    return RegNetForImageClassification(RegNetConfig(
        embedding_size=widths[0] // 2, hidden_sizes=list(widths), depths=list(depths), groups_width=widths[0],
        layer_type="x", num_labels=outputs))


# --- batches ------------------------------------------------------------------------------------------------------

def to_input(pictures: np.ndarray | torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """uint8 [B,H,W,3] to float [B,3,H,W] in −1…1; with a generator, each picture is mirrored with probability ½."""
    x = torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1                           # [B,3,H,W]
    if generator is None:
        return x
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def partly_hidden(pictures: np.ndarray, share: float, generator: torch.Generator) -> np.ndarray:
    """uint8 `pictures` [B,H,W,3], about `share` of them through a random window (`windows.random_windows`)."""
    if not share:
        return pictures
    rng = np.random.default_rng(torch.randint(2**62, (), generator=generator).item())
    chosen = rng.random(len(pictures)) < share
    return np.where(chosen[:, None, None, None], random_windows(pictures, rng), pictures)


def identity_batch(rows: Sequence[np.ndarray], people: int, pictures: int, generator: torch.Generator,
                   ) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers and labels, both [people · pictures]: `pictures` rows of each of `people` persons, no row twice."""
    chosen = torch.randperm(len(rows), generator=generator)[:people].tolist()
    picks = [torch.as_tensor(rows[i])[torch.randperm(len(rows[i]), generator=generator)[:pictures]] for i in chosen]
    return torch.cat(picks), torch.arange(len(picks)).repeat_interleave(torch.tensor([len(p) for p in picks]))


# --- the losses ---------------------------------------------------------------------------------------------------

def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal differences of neighbouring pixels of [B,3,H,W]."""
    return x.diff(dim=-2), x.diff(dim=-1)


# A perceptual distance in the manner of LPIPS, Zhang et al. 2018, https://arxiv.org/abs/1801.03924, equation (1)
def perceptual_error(encoder: CLIPVisionModelWithProjection, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared distance of unit feature vectors, mean over patches and layers of `encoder`; a, b [B,3,H,W] in −1…1."""
    ours, theirs = (encoder(x, output_hidden_states=True).hidden_states[1:] for x in (a, b))       # [B,P,C] each
    distances = [(F.normalize(p.float(), dim=-1) - F.normalize(q.float(), dim=-1)).square().sum(-1).mean()
                 for p, q in zip(ours, theirs, strict=True)]
    return torch.stack(distances).mean()


def vae_loss(vae: AutoencoderKL, encoder: CLIPVisionModelWithProjection, x: torch.Tensor, generator: torch.Generator,
             kl_weight: float, edge_weight: float, perceptual_weight: float) -> torch.Tensor:
    """Absolute error of pixels and of edges, perceptual error, and a small KL term for latents near unit scale."""
    posterior = vae.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
    decoded = vae.decode(posterior.mean + posterior.std * noise).sample.float()                     # [B,3,H,W]
    edge_error = sum(F.l1_loss(a, b) for a, b in zip(edges(decoded), edges(x), strict=True))
    return (F.l1_loss(decoded, x) + edge_weight * edge_error + perceptual_weight * perceptual_error(encoder, decoded, x)
            + kl_weight * posterior.kl().float().mean())


# Supervised contrastive loss, Khosla et al. 2020, https://arxiv.org/abs/2004.11362, equation (2)
def contrastive_loss(z: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Pulls embeddings `z` [B,D] of one label together and others apart; `labels` [B] must each occur twice or more."""
    z = F.normalize(z.float(), dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, float("-inf"))                         # [B,B]
    log_p = similarity.log_softmax(dim=-1).masked_fill(itself, 0)
    same = (labels[:, None] == labels) & ~itself
    return -((log_p * same).sum(-1) / same.sum(-1)).mean()


def judge_loss(logits: torch.Tensor, kinds: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over kinds [B] (the classes of IS) and, summed, binary cross-entropy over attributes [B,A]."""
    n_kinds = logits.shape[-1] - attributes.shape[-1]
    kind_logits, attribute_logits = logits.float().split([n_kinds, attributes.shape[-1]], dim=-1)
    by_picture = F.binary_cross_entropy_with_logits(attribute_logits, attributes, reduction="none").sum(-1)
    return F.cross_entropy(kind_logits, kinds) + by_picture.mean()


def moving_average(parameters: Sequence[torch.nn.Parameter]) -> tuple[EMAModel, Callable[[int], None]]:
    """The exponential moving average of `parameters` and what updates it after step 0, 1, …

    It looks back over `EMA_STEPS`, at first over fewer, so that the first weights are soon forgotten. Its state is
    `shadow_params` alone: the number of updates is that of the step.
    """
    average = EMAModel(parameters, decay=1 - 1 / EMA_STEPS, foreach=True)

    def update(step: int) -> None:
        average.optimization_step = step + 1  # at 0 it would take the weights themselves
        average.step(parameters)

    return average, update


# --- the parts, each a stream of training steps ---------------------------------------------------------------------

def steps_of(draw: Callable, loss_of: Callable, seed: int, files: Sequence[str]) -> dict[str, Callable]:
    """`loss_at` and `blame` of `fit`: `draw(generator)` gives the rows [B] of a batch, `loss_of(rows, generator)` its
    loss; `files` names the rows."""
    def loss_at(step: int) -> Iterator[torch.Tensor]:
        generator = step_generator(seed, step)
        yield loss_of(draw(generator), generator)

    def blame(step: int) -> str:
        rows = draw(step_generator(seed, step))
        return bad_pictures(lambda some: loss_of(some, step_generator(seed, step)), rows, files)

    return {"loss_at": loss_at, "blame": blame}


@torch.no_grad()
def bad_pictures(loss_of: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, files: Sequence[str]) -> str:
    """Pictures of a batch that have no finite loss by themselves, as a part of a message; of several the first.

    Each is held against itself, since a contrastive loss needs two pictures of a person.
    """
    bad = [row for row in rows.tolist() if not loss_of(torch.tensor([row, row])).isfinite()]
    if not bad:
        return ""
    name = files[bad[0]] if len(files) else f"row {bad[0]}"
    return f", in {len(bad)} of its {len(rows)} pictures, the first {name}"


def any_rows(count: int, batch_size: int) -> Callable[[torch.Generator], torch.Tensor]:
    """A draw of `batch_size` of `count` rows, all alike."""
    return lambda generator: torch.randint(count, (batch_size,), generator=generator)


def train_vae(vae: AutoencoderKL, encoder: CLIPVisionModelWithProjection, pictures: np.ndarray, steps: int,
              batch_size: int, seed: int, checkpoint: Checkpoint | None = None, files: Sequence[str] = (),
              ) -> Iterator[dict]:
    """Streams the steps of the autoencoder on uint8 `pictures` [M,H,W,3]; at the end latents get unit deviation.

    The frozen image `encoder` says what matters in a picture beside its pixels. `files`, here and below: the names of
    the pictures, for a message where a loss is not finite.
    """
    device = vae.device
    encoder.eval().requires_grad_(False).to(device)

    def loss_of(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        x = to_input(pictures[rows.numpy()], generator).to(device)
        with half_precision(device):
            return vae_loss(vae, encoder, x, generator, **VAE_LOSS)

    yield from fit(vae.train().parameters(), steps=steps, lr=1e-3, checkpoint=checkpoint,
                   **steps_of(any_rows(len(pictures), batch_size), loss_of, seed, files))
    vae.eval().register_to_config(scaling_factor=latent_scale(vae, pictures[:512]))


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """One over the deviation of the latents, Stable Diffusion's `scaling_factor`."""
    return round(1 / vae.encode(to_input(pictures).to(vae.device)).latent_dist.mode().std().item(), 4)


def views_as_latents(vae: AutoencoderKL, pictures: np.ndarray, mirrored: bool) -> torch.Tensor:
    """Scaled latents [M,F,c,h,w] of uint8 `pictures` [M,H,W,3]: F = 1, or 2 with that of the mirrored picture."""
    views = [pictures, pictures[:, :, ::-1].copy()] if mirrored else [pictures]
    return torch.stack([encode_pictures(vae, view) for view in views], 1)


def train_embedding(embed: Callable, modules: Sequence[torch.nn.Module], pictures: np.ndarray,
                    rows: Sequence[np.ndarray], steps: int, people: int, seed: int,
                    attributes: torch.Tensor | None = None, hidden: float = 0.0,
                    checkpoint: Checkpoint | None = None, files: Sequence[str] = ()) -> Iterator[dict]:
    """Streams a network that knows people apart: `people` × 4 pictures a step, contrastive over persons.

    `rows` lists the row numbers of each person. Where `attributes` [M,A] are given, the last module is a linear head
    that must read them off the embedding too, so that it also carries what the caption says. hidden: the share of
    pictures of which a random window alone is seen.
    """
    device, person = next(modules[0].parameters()).device, torch.zeros(len(pictures), dtype=torch.long)
    for label, own in enumerate(rows):
        person[own] = label

    def loss_of(picked: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        x = to_input(partly_hidden(pictures[picked.numpy()], hidden, generator), generator).to(device)
        with half_precision(device):
            z = embed(x)                                                                            # [B,D]
            loss = contrastive_loss(z, person[picked].to(device))
            if attributes is not None:
                wanted = attributes[picked].to(device)
                loss = loss + F.binary_cross_entropy_with_logits(modules[-1](z).float(), wanted)
        return loss

    yield from fit([p for m in modules for p in m.train().parameters()], steps=steps, lr=1e-3, weight_decay=0.05,
                   checkpoint=checkpoint, also=[b for m in modules for b in m.buffers()],
                   **steps_of(lambda generator: identity_batch(rows, people, 4, generator)[0], loss_of, seed, files))
    for module in modules:
        module.eval()


def train_judge(judge: RegNetForImageClassification, pictures: np.ndarray, kinds: torch.Tensor,
                attributes: torch.Tensor, steps: int, batch_size: int, seed: int, checkpoint: Checkpoint | None = None,
                files: Sequence[str] = ()) -> Iterator[dict]:
    """Streams the attribute judge: classes `kinds` [M] and `attributes` [M,A] of uint8 `pictures`."""
    device = judge.device

    def loss_of(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        x = to_input(pictures[rows.numpy()], generator).to(device)
        with half_precision(device):
            logits = judge(x).logits
        return judge_loss(logits, kinds[rows].to(device), attributes[rows].to(device))

    yield from fit(judge.train().parameters(), steps=steps, lr=2e-3, weight_decay=0.05, checkpoint=checkpoint,
                   also=list(judge.buffers()),
                   **steps_of(any_rows(len(pictures), batch_size), loss_of, seed, files))
    judge.eval()


def train_unet(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, scheduler: DDIMScheduler, latents: torch.Tensor,
               tokens: torch.Tensor, empty: torch.Tensor, steps: int, batch_size: int, seed: int,
               drop_text: float = 0.1, snr_gamma: float = SNR_GAMMA, checkpoint: Checkpoint | None = None,
               files: Sequence[str] = ()) -> Iterator[dict]:
    """Streams equation (1) over scaled `latents` [M,F,c,h,w] and caption `tokens` [M,V,L], text encoder included.

    Times are weighted as `training.min_snr_weights` says: unweighted, the U-Net learns what a face looks like long
    before it learns to heed the words about small parts of it.
    One of the F views and one of the V captions of a picture are drawn each time. The text is replaced by the `empty`
    one [L] with probability `drop_text`; the networks end as their moving average.
    """
    device, weights = unet.device, min_snr_weights(scheduler, snr_gamma)
    parameters = [*unet.train().parameters(), *text_encoder.train().parameters()]
    average, update = moving_average(parameters)

    def loss_of(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        version = torch.randint(tokens.shape[1], (len(rows),), generator=generator)
        dropped = torch.rand(len(rows), generator=generator) < drop_text
        told = torch.where(dropped[:, None], empty, tokens[rows, version])                          # [B,L]
        eps, t = draw_noise(scheduler, (len(rows), *latents.shape[2:]), generator)
        view = torch.randint(latents.shape[1], (len(rows),), generator=generator)
        with half_precision(device) if device.type == "cuda" else nullcontext():  # on a CPU nothing is gained
            text = text_encoder(told.to(device)).last_hidden_state                                  # [B,L,D]
            return denoising_loss(unet, scheduler, latents[rows, view].to(device), text, eps, t, weights)

    yield from fit(parameters, steps=steps, lr=1e-3, checkpoint=checkpoint, also=average.shadow_params,
                   after_step=update, **steps_of(any_rows(len(latents), batch_size), loss_of, seed, files))
    average.copy_to(parameters)
    unet.eval(), text_encoder.eval()


# --- on disk ------------------------------------------------------------------------------------------------------

def half_precision(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the device multiplies it in hardware, float32 elsewhere."""
    there = (device.type == "cpu" and torch.cpu._is_amx_tile_supported()
             or device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.autocast(device.type, torch.bfloat16, enabled=there)


def finish(models: dict[str, torch.nn.Module], folder: Path, training: Callable[..., Iterator[dict]], recipe: dict,
           train: bool = True) -> pd.DataFrame:
    """Runs `training(checkpoint=…)` to its end and saves each of `models` (name -> module) as float16 in `folder/name`.

    A part of the same architecture that is there by the very same `recipe` is left as it is, and with `train=False` so
    is any other; one that was interrupted goes on. Returns the log {step, loss, lr}, thinned to 200 rows; empty where
    nothing is known.
    """
    recipe_file = folder / f"{next(iter(models))}.json"
    recipe = recipe | {"architecture": architecture(*models.values())}
    made = json.loads(recipe_file.read_text()) if recipe_file.is_file() else {"log": []}
    if not train or all(made.get(key) == value for key, value in recipe.items()):
        return pd.DataFrame(made["log"])
    checkpoint = Checkpoint(recipe_file.with_suffix(".state"), recipe)
    log = list(tqdm(training(checkpoint=checkpoint), total=recipe["steps"], desc=recipe_file.stem, mininterval=5))
    for name, model in models.items():
        save_part(model, folder / name)
    made = recipe | {"seconds": round(checkpoint.seconds), "log": log[:: max(1, len(log) // 200)]}
    with atomic(recipe_file) as file:
        file.write_text(json.dumps(made, indent=None))
    checkpoint.remove()
    return pd.DataFrame(made["log"])


def architecture(*modules: torch.nn.Module) -> str:
    """Digest of the names and shapes of all weights."""
    shapes = [(name, *weight.shape) for module in modules for name, weight in module.state_dict().items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def save_part(model: torch.nn.Module, folder: Path) -> None:
    """Stores a model's weights in float16; the model itself stays in float32."""
    copy.deepcopy(model).half().save_pretrained(folder, safe_serialization=True)


def assemble(parts: Path, folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Makes the finished `parts` a `StableDiffusionPipeline` in `folder` for stock diffusers, judges beside it."""
    half = torch.float16
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(parts / "vae", torch_dtype=half),
        unet=UNet2DConditionModel.from_pretrained(parts / "unet", torch_dtype=half),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder", dtype=half),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(parts / "image_encoder", dtype=half),
        tokenizer=tokenizer, scheduler=new_scheduler(), feature_extractor=new_image_processor(), safety_checker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    for part in ("vae", "unet"):
        forget_origin(folder / part / "config.json")
    for judge in parts.glob("*_judge"):
        shutil.copytree(judge, folder / judge.name, dirs_exist_ok=True)
    (folder / "recipes").mkdir(exist_ok=True)
    for recipe in parts.glob("*.json"):
        shutil.copy(recipe, folder / "recipes" / recipe.name)


def forget_origin(config: Path) -> None:
    """Takes the folder that a model was loaded from, a path of this machine, out of its config.json."""
    settings = json.loads(config.read_text())
    settings.pop("_name_or_path", None)
    with atomic(config) as file:
        file.write_text(json.dumps(settings, indent=2) + "\n")
