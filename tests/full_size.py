"""Stable Diffusion 1.5 and OpenCLIP ViT-H/14 with their exact configurations and random weights, as local folders.

https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5 and, of the image encoder that the published
adapters use, https://huggingface.co/h94/IP-Adapter (models/image_encoder, models/ip-adapter_sd15.safetensors).
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from test_exchange import IMAGE_PROJ, SD15_SHAPES
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from ipa_lib.drawn.mini_base import new_tokenizer
from ipa_lib.workflow.check import half_is_slow

UNET = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 768,
    "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
VAE = {
    "sample_size": 512, "latent_channels": 4, "layers_per_block": 2, "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
TEXT = {
    "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 77, "projection_dim": 768,
}  # fmt: skip
VISION = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 14, "projection_dim": 1024, "hidden_act": "gelu",
}  # fmt: skip
SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip


def random(make, dtype=torch.bfloat16):
    """The model that `make()` gives, with small random weights, made without its own slow initialisation."""
    with torch.device("meta"):
        model = make()
    model = model.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        one = weight.ndim == 1 and name.endswith("weight")  # of a normalisation
        weight.data.fill_(float(one)) if weight.ndim == 1 else weight.data.normal_(0, 0.02, generator=generator)
    for buffer in model.buffers():
        buffer.copy_(torch.arange(buffer.numel()).view(buffer.shape))  # position_ids
    return model.eval()


def write(folder):
    """`folder`/base without an image encoder, as on the hub, `folder`/image_encoder and an adapter; 3.4 GB."""
    tokenizer = new_tokenizer(["a photo of a young woman with wavy brown hair, smiling"])
    StableDiffusionPipeline(
        vae=random(lambda: AutoencoderKL(**VAE)), unet=random(lambda: UNet2DConditionModel(**UNET)),
        text_encoder=random(lambda: CLIPTextModel(CLIPTextConfig(**TEXT))), tokenizer=tokenizer,
        scheduler=PNDMScheduler(**SCHEDULE), safety_checker=None, feature_extractor=CLIPImageProcessorPil(),
        requires_safety_checker=False,
    ).save_pretrained(folder / "base")
    encoder = random(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)))
    encoder.save_pretrained(folder / "image_encoder")
    save_file(published(), folder / "ip-adapter_sd15.safetensors")
    return folder


def published():
    """The tensors of `ip-adapter_sd15.safetensors`, in half precision as it is published: name -> random weights."""
    generator = torch.Generator().manual_seed(1)
    shapes = {f"image_proj.{name}": shape for name, shape in IMAGE_PROJ["linear"].items()}
    shapes |= {f"ip_adapter.{i}.{x}.weight": shape for i, shape in SD15_SHAPES.items() for x in ("to_k_ip", "to_v_ip")}
    return {name: torch.randn(shape, generator=generator).mul(0.02).half() for name, shape in shapes.items()}


def start_with_float32_products(folder):
    """An IPython directory `folder`, whose kernels begin with `Float32Products` where the processor needs it."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    if half_is_slow():
        lines = ("import sys", f"sys.path.append({str(Path(__file__).parent)!r})",
                 "from float32_products import Float32Products", "Float32Products().__enter__()")  # fmt: skip
        (startup / "00.py").write_text("\n".join(lines))
    return folder


def execute(notebook, output, flags, ipython):
    """Run a notebook file as the workflow does, and what it took: seconds by the clock and by the processor, and bytes
    of the largest process, its kernel, at its largest. `ipython` is the kernel's IPython directory."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ipa_lib.workflow.runs", notebook, output, "-q",
                                *shlex.split(flags)],
                               env=os.environ | {"IPYTHONDIR": str(ipython)})  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, notebook
    return {"seconds": time.perf_counter() - begun, "cpu": used.ru_utime + used.ru_stime,
            "peak": used.ru_maxrss * 1024}
