"""Image prompts from several pictures of one person, for a latent diffusion model.

    from ipa_lib import attach, detach, from_published
    adapter = from_published("ip-adapter_sd15.safetensors", pipe.unet, n_slots=3, merge="concat")

`docs/adapter.md` has the whole example.  A name is loaded when it is first asked for: `import ipa_lib` alone is quick.
"""

from importlib import import_module

PUBLIC = {
    "model.adapter": ("MultiImageAdapter",),
    "model.adapter_config": ("AdapterConfig",),
    "model.attention": ("ImageKV", "attach", "attached", "detach"),
    "model.exchange": ("from_published", "load_adapter", "load_published", "save_published", "to_published"),
    "model.merge": ("MERGES",),
    "model.projection": ("PROJECTIONS",),
}


def __dir__() -> list[str]:
    return sorted([*globals(), *(name for names in PUBLIC.values() for name in names)])


def __getattr__(name: str) -> object:
    for module, names in PUBLIC.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
