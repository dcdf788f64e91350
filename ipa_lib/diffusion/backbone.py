"""The frozen models: a Stable Diffusion in, its parts out, and the three encoders as functions.

Shapes: M pictures, c/h/w latent channels/height/width, L caption tokens, D text width, E image-embedding width.
Encoders work on their model's device and give back tensors of the CPU: latents and text states in the model's dtype,
image embeddings, which the adapter takes, in float32.
"""
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from ..files import sha256
from ..hub import first_line, local_folder

PREDICTIONS = ("epsilon", "v_prediction")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Source:
    """Names of the frozen models and how they are used; kept beside what was made with them for later stages.

    A model is a local folder, one inside the repository, or the name of a repository of the hub.
    """
    base: str                # Stable Diffusion 1.x, in the layout of `StableDiffusionPipeline.save_pretrained`
    image_encoder: str = ""  # CLIP vision model with projection; empty: the one in `base`
    size: int = 0            # side of a picture in pixels; 0: what the U-Net was made for
    dtype: str = "float32"   # of the frozen weights; the adapter stays in float32

    def folder(self, part: str, download: bool = True) -> Path:
        """The local folder of a part, such as "unet"; errors as `local_folder`."""
        if part == "image_encoder" and self.image_encoder:
            return local_folder(self.image_encoder, download=download)
        return local_folder(self.base, pipeline=True, download=download) / part

    def digest(self, parts: Iterable[str]) -> str:
        """sha256 over names and bytes of all files of some parts."""
        digest = new_sha256()
        for part in parts:
            folder = self.folder(part)
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                digest.update(f"{part}/{file.relative_to(folder)} {sha256(file)}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Backbone:
    """A frozen text-to-image model and its image encoder; pictures have `picture_size` pixels a side."""
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    image_encoder: CLIPVisionModelWithProjection
    image_processor: CLIPImageProcessorPil
    scheduler: DDIMScheduler
    picture_size: int

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture's latents."""
        side = self.picture_size // reduction(self.vae)
        return self.unet.config.in_channels, side, side

    @property
    def device(self) -> torch.device:
        """Device of the U-Net."""
        return self.unet.device


def reduction(vae: AutoencoderKL) -> int:
    """Number of pixels a side that one latent stands for."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def load_base(source: Source | str | Path, device: torch.device | str = "cpu") -> Backbone:
    """The frozen models of `source`, on `device`; a folder alone stands for `Source(folder)`.

    Raises FileNotFoundError that names what is not there, ValueError where there is no image encoder, where pictures
    of that size don't fit the model, or where it predicts something else than `PREDICTIONS`.
    """
    source = source if isinstance(source, Source) else Source(str(source))
    if source.dtype not in DTYPES:
        raise ValueError(f"dtype: {' or '.join(DTYPES)} was expected, got {source.dtype}")
    pipe = _load_pipeline(source)
    parts = (pipe.vae, pipe.unet, pipe.text_encoder, pipe.image_encoder)
    for model in parts:
        model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # a CPU trains 6 % faster
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)  # these are latents
    least = least_size(pipe.vae.config, pipe.unet.config)
    size = source.size or pipe.unet.config.sample_size * reduction(pipe.vae)
    if size % least:
        raise ValueError(f"size: {size} pixels; {source.base} takes multiples of {least}")
    if (kind := scheduler.config.prediction_type) not in PREDICTIONS:
        raise ValueError(f"{source.base}: prediction_type {kind}; {' or '.join(PREDICTIONS)} was expected")
    return Backbone(pipe.vae, pipe.unet, pipe.text_encoder, pipe.tokenizer, pipe.image_encoder,
                    pipe.feature_extractor, scheduler, size)


def _load_pipeline(source: Source) -> StableDiffusionPipeline:
    folder, dtype = local_folder(source.base, pipeline=True), DTYPES[source.dtype]
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{source.base}: no model_index.json here, a Stable Diffusion folder was expected")
    more: dict[str, Any] = {}
    if source.image_encoder:
        of_images = source.folder("image_encoder")
        more["image_encoder"] = CLIPVisionModelWithProjection.from_pretrained(
            of_images, dtype=dtype, use_safetensors=True)
        given = (of_images / "preprocessor_config.json").is_file()
        more["feature_extractor"] = (
            CLIPImageProcessorPil.from_pretrained(of_images) if given else CLIPImageProcessorPil())
    try:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder, torch_dtype=dtype, variant=variant(folder), safety_checker=None, requires_safety_checker=False,
            local_files_only=True, use_safetensors=True, **more)
    except OSError as error:  # of diffusers, for a part that lacks its files
        raise FileNotFoundError(f"{source.base}: {first_line(error)}") from None
    except (ValueError, RuntimeError, SafetensorError) as error:  # for one that holds something else, or half of it
        raise ValueError(f"{source.base}: {first_line(error).split('. ')[0]}") from None
    if pipe.image_encoder is None or pipe.feature_extractor is None:
        raise ValueError(f"{source.base}: image_encoder and feature_extractor were expected in it; or name one")
    return pipe


def variant(folder: Path) -> str | None:
    """"fp16" where a pipeline's folder has the weights of its U-Net in half precision alone."""
    names = [file.name for file in (folder / "unet").glob("*.safetensors")]
    return "fp16" if names and all(".fp16" in name for name in names) else None


def least_size(vae: Mapping, unet: Mapping) -> int:
    """Pixels a side of which a picture's must be a multiple, of two configs: all halvings of both."""
    return 2 ** (len(vae["block_out_channels"]) + len(unet["block_out_channels"]) - 2)


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: np.ndarray, batch_size: int | None = None) -> torch.Tensor:
    """Scaled latents [M,c,h,w] of uint8 pictures [M,H,W,3]: the posterior's mode, so that a cache equals a live run.

    As many at a time as `batch_size` says; by default 64, fewer large ones.
    """
    batch_size = batch_size or _at_once(pictures.shape[1])
    batches = (b.permute(0, 3, 1, 2) / 127.5 - 1 for b in torch.as_tensor(pictures).split(batch_size))
    modes = [vae.encode(x.to(vae.device, vae.dtype)).latent_dist.mode().cpu() for x in batches]
    return torch.cat(modes) * vae.config.scaling_factor


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: torch.Tensor, batch_size: int | None = None) -> np.ndarray:
    """uint8 pictures [M,H,W,3] of scaled latents [M,c,h,w]; `batch_size` as in `encode_pictures`."""
    batch_size = batch_size or _at_once(latents.shape[-1] * reduction(vae))
    scaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
    decoded = [vae.decode(z).sample.cpu() for z in scaled.split(batch_size)]
    pixels = ((torch.cat(decoded).float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def _at_once(size: int) -> int:
    """Number of pictures of a size that go through the autoencoder together: 4 of 512 pixels."""
    return max(1, min(64, 4 * 512**2 // size**2))


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Token numbers [M,L], padded and cut to the tokenizer's length."""
    return tokenizer(list(captions), padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                     return_tensors="pt").input_ids


@torch.no_grad()
def encode_captions(backbone: Backbone, captions: Sequence[str]) -> torch.Tensor:
    """Text states [M,L,D]."""
    encoder = backbone.text_encoder
    return encoder(tokenize(backbone.tokenizer, captions).to(encoder.device)).last_hidden_state.cpu()


@torch.no_grad()
def embed_pictures(backbone: Backbone, pictures: np.ndarray, batch_size: int = 64, patches: bool = False,
                   ) -> torch.Tensor:
    """Image embeddings [M,E] of uint8 pictures [M,H,W,3], through the model's own image processor.

    With `patches` what a resampler takes: hidden states [M,patches,E] of the last layer but one.
    """
    embeds, encoder = [], backbone.image_encoder
    for start in range(0, len(pictures), batch_size):
        pixels = backbone.image_processor(list(pictures[start:start + batch_size]), return_tensors="pt").pixel_values
        seen = encoder(pixels.to(encoder.device, encoder.dtype), output_hidden_states=patches)
        embeds.append((seen.hidden_states[-2] if patches else seen.image_embeds).float().cpu())
    return torch.cat(embeds)


@torch.no_grad()
def no_picture(backbone: Backbone, patches: bool = False) -> torch.Tensor:
    """Embedding that stands for no picture in equation (5): zeros [E]; with `patches` hidden states.

    These, [patches,E], are of zeros in place of a processed picture: mid-grey. As diffusers and the published code have
    it for the linear projection and for the resampler.
    """
    encoder = backbone.image_encoder
    if not patches:
        return torch.zeros(encoder.config.projection_dim)
    side: Any = encoder.config.image_size
    grey = torch.zeros(1, 3, side, side, dtype=encoder.dtype, device=encoder.device)
    return encoder(grey, output_hidden_states=True).hidden_states[-2][0].float().cpu()


def facts(backbone: Backbone) -> dict[str, int]:
    """The sizes that the paper states: of pictures, latents and widths, and parameters of each model."""
    channels, side, _ = backbone.latent_shape
    models = {"vae": backbone.vae, "unet": backbone.unet}
    models |= {"text": backbone.text_encoder, "image": backbone.image_encoder}
    return {
        "picture_size": backbone.picture_size, "latent_size": side, "latent_channels": channels,
        "text_dim": backbone.unet.config.cross_attention_dim,
        "embed_dim": backbone.image_encoder.config.projection_dim,
        "attention_layers": sum("attn2" in name for name in backbone.unet.attn_processors),
        "diffusion_steps": backbone.scheduler.config.num_train_timesteps,
        **{f"{name}_params": sum(p.numel() for p in model.parameters()) for name, model in models.items()},
    }
