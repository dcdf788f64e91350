"""A base model of the mini architecture with random weights, in the folder layout of the real one."""

import json

import torch
from diffusers import StableDiffusionPipeline

from ipa_lib.data import captions
from ipa_lib.drawn import mini_base
from ipa_lib.evaluation import judges


def write(folder, seed=0):
    """Stable Diffusion, image encoder and judges in `folder`; weights are small, so that nothing overflows."""
    torch.manual_seed(seed)
    tokenizer = mini_base.new_tokenizer(["a photo of a person with black hair and glasses, smiling"])
    vae = mini_base.new_vae()
    vae.register_to_config(scaling_factor=1.0)
    StableDiffusionPipeline(
        vae=vae,
        unet=mini_base.new_unet(),
        text_encoder=mini_base.new_text_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler=mini_base.new_scheduler(),
        image_encoder=mini_base.new_image_encoder(),
        feature_extractor=mini_base.new_image_processor(),
        safety_checker=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    for name, outputs in (
        ("identity_judge", judges.IDENTITY_WIDTH),
        ("attribute_judge", judges.KINDS + len(captions.CAPTIONED)),
    ):
        mini_base.new_judge((8, 16), (1, 1), outputs).save_pretrained(folder / name)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "identity_judge.json").write_text(json.dumps({"judge_people": 3}))
    return folder
