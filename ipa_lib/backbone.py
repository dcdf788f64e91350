"""The frozen models: a Stable Diffusion folder in, its parts out, and the three encoders as functions.

Shapes: M pictures, c/h/w latent channels/height/width, L caption tokens, D text width, E image-embedding width.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection


@dataclass(frozen=True)
class Backbone:
    """A frozen text-to-image model and its image encoder."""
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    image_encoder: CLIPVisionModelWithProjection
    image_processor: CLIPImageProcessorPil
    scheduler: DDIMScheduler

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture's latents."""
        side = self.unet.config.sample_size
        return self.unet.config.in_channels, side, side

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)


def load_base(folder: str | Path, dtype: torch.dtype = torch.float32) -> Backbone:
    """The models of a local folder in `StableDiffusionPipeline.save_pretrained` layout, frozen, in `dtype`.

    Raises FileNotFoundError that names the folder when there is no pipeline in it, ValueError without image encoder.
    """
    if not (Path(folder) / "model_index.json").is_file():
        raise FileNotFoundError(f"{folder}: no model_index.json here, a Stable Diffusion folder was expected")
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, safety_checker=None,
                                                   requires_safety_checker=False, local_files_only=True)
    if pipe.image_encoder is None or pipe.feature_extractor is None:
        raise ValueError(f"{folder}: image_encoder and feature_extractor were expected in it")
    for model in (pipe.vae, pipe.unet, pipe.text_encoder, pipe.image_encoder):
        model.eval().requires_grad_(False)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return Backbone(pipe.vae, pipe.unet, pipe.text_encoder, pipe.tokenizer, pipe.image_encoder,
                    pipe.feature_extractor, scheduler)


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: np.ndarray, batch_size: int = 64) -> torch.Tensor:
    """Scaled latents [M,c,h,w] of uint8 pictures [M,H,W,3]: the posterior's mode, so that a cache equals a live run."""
    batches = torch.as_tensor(pictures).split(batch_size)
    modes = [vae.encode((b.permute(0, 3, 1, 2) / 127.5 - 1).to(vae.dtype)).latent_dist.mode() for b in batches]
    return torch.cat(modes) * vae.config.scaling_factor


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: torch.Tensor, batch_size: int = 64) -> np.ndarray:
    """uint8 pictures [M,H,W,3] of scaled latents [M,c,h,w]."""
    batches = [vae.decode(z).sample for z in (latents / vae.config.scaling_factor).split(batch_size)]
    pixels = ((torch.cat(batches).float() + 1) * 127.5).round().clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Token numbers [M,L], padded and cut to the tokenizer's length."""
    return tokenizer(list(captions), padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                     return_tensors="pt").input_ids


@torch.no_grad()
def encode_captions(backbone: Backbone, captions: Sequence[str]) -> torch.Tensor:
    """Text states [M,L,D]."""
    return backbone.text_encoder(tokenize(backbone.tokenizer, captions)).last_hidden_state


@torch.no_grad()
def embed_pictures(backbone: Backbone, pictures: np.ndarray, batch_size: int = 64, patches: bool = False,
                   ) -> torch.Tensor:
    """Image embeddings [M,E] of uint8 pictures [M,H,W,3], through the model's own image processor.

    With `patches` what a resampler takes: hidden states [M,patches,E] of the last layer but one.
    """
    embeds = []
    for start in range(0, len(pictures), batch_size):
        pixels = backbone.image_processor(list(pictures[start:start + batch_size]), return_tensors="pt").pixel_values
        seen = backbone.image_encoder(pixels.to(backbone.image_encoder.dtype), output_hidden_states=patches)
        embeds.append(seen.hidden_states[-2] if patches else seen.image_embeds)
    return torch.cat(embeds)


@torch.no_grad()
def no_picture(backbone: Backbone, patches: bool = False) -> torch.Tensor:
    """What stands for no picture in equation (5): a zero embedding [E]; with `patches` hidden states.

    These, [patches,E], are of zeros in place of a processed picture: mid-grey. As diffusers and the published code have
    it for the linear projection and for the resampler.
    """
    encoder = backbone.image_encoder
    if not patches:
        return torch.zeros(encoder.config.projection_dim, dtype=encoder.dtype)
    side = encoder.config.image_size
    return encoder(torch.zeros(1, 3, side, side, dtype=encoder.dtype), output_hidden_states=True).hidden_states[-2][0]


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
