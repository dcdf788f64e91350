"""Before any hour is spent: is everything there that a profile needs?

    python -m ipa_lib.check sd15      # `make check PROFILE=sd15`

Models, data, judges, space on disk and memory, one line each; status 1 if something is missing, and each line says
where to get it. Nothing is downloaded and no weight is loaded.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from . import backbone, data, identity_sets, judges
from .config import DEFAULT, Profile, load_profile, parameters
from .paths import ROOT, data_dir, results_dir
from .projection import PROJECTIONS

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GB = 1e9
PARTS = ("unet", "vae", "text_encoder", "image_encoder")
TOKENS = 77  # of a caption
ACTIVATIONS = 3  # the frozen weights and what goes through them, in multiples of the weights: a rule of thumb


class Finding(NamedTuple):
    """One line of the check."""

    name: str
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.good else 'MISSING'}  {self.name:<14} {self.text}"


def settings(profile: Profile, notebook: str) -> dict[str, object]:
    """All parameters of a notebook: its defaults and what the profile changes."""
    defaults = {name: parameter.default for name, parameter in parameters(profile.folder / f"{notebook}.ipynb").items()}
    return defaults | profile.values(notebook)


def check(profile: Profile) -> Iterator[Finding]:
    """Findings one after another."""
    used = settings(profile, "03_cache_features")
    source = backbone.Source(used["base"], used["image_encoder"], used["size"], used["dtype"])
    models = [_model("base", source.base, source, ("unet", "vae", "text_encoder"))]
    models += [_model("image encoder", source.image_encoder or source.base, source, ("image_encoder",))]
    yield from models
    yield from _start(str(settings(profile, "04_train_adapter")["start"]))
    yield _judges(ROOT / settings(profile, "06_evaluate")["judged_by"])
    yield (pictures := _data(profile))
    if all(model.good for model in models):
        yield _memory(sum(_weights(source.folder(part, download=False)) for part in PARTS) * BYTES[source.dtype])
    if models[0].good and pictures.good:
        yield _disk(profile, source)


def _model(what: str, name: str, source: backbone.Source, parts: Sequence[str]) -> Finding:
    try:
        counts = {part: _weights(source.folder(part, download=False)) for part in parts}
    except FileNotFoundError as error:
        owner, _, rest = name.partition("/")
        repository, _, inside = rest.partition("/")
        only = f" --include '{inside}/*'" if inside else ""
        return Finding(what, False, f"{error}; to fetch it: hf download {owner}/{repository}{only}")
    if empty := [part for part, count in counts.items() if not count]:
        return Finding(what, False, f"{name}: no safetensors in {empty[0]}/")
    return Finding(what, True, f"{name}, {sum(counts.values()) / 1e6:.1f} million parameters")


def _start(start: str) -> Iterator[Finding]:
    """The published checkpoint that adapters start from, where they do."""
    if start not in PROJECTIONS:
        try:
            yield Finding("start", True, backbone.local_file(start, download=False).name)
        except FileNotFoundError as error:
            yield Finding("start", False, str(error))


def _weights(folder: Path) -> int:
    """Parameters in the safetensors files of a folder, from their headers."""
    return sum(_in_file(file) for file in _one_variant(folder))


def _one_variant(folder: Path) -> list[Path]:
    """The files that are loaded: where there are shards, these; a folder of the hub may hold several variants."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if "fp16" not in file.name and "non_ema" not in file.name]
    return plain or files[:1]


def _in_file(file: Path) -> int:
    with open(file, "rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    return sum(torch.Size(shape).numel() for shape in shapes)


def _judges(spec: Path) -> Finding:
    """Judges are small: they are loaded."""
    try:
        found = judges.load_judges(spec)
    except (FileNotFoundError, ValueError, ImportError) as error:
        return Finding("judges", False, str(error))
    return Finding("judges", True, f"{found.identity_name}, {found.attribute_name}")


def _data(profile: Profile) -> Finding:
    chosen = settings(profile, "01_prepare_data")
    if chosen["draw"]:
        return Finding("data", True, f"{chosen['people']} people will be drawn")
    try:
        pictures = data.read(data_dir(profile.name))
    except (FileNotFoundError, ValueError) as error:
        return Finding("data", False, f"{error}; docs/real_model.md says where to get CelebA")
    wanted = 1 + max(run.n_max for run in profile.adapters.values())
    enough = {split: len(identity_sets.group_by_person(pictures, wanted, split).rows)
              for split in ("train", "val", "test")}  # fmt: skip
    text = ", ".join(f"{count} {split}" for split, count in enough.items())
    return Finding("data", True, f"{len(pictures)} pictures; people with {wanted} or more: {text}")


def _memory(needed: float) -> Finding:
    needed *= ACTIVATIONS
    if torch.cuda.is_available():
        where, free = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    else:
        where, free = "no GPU: main memory", psutil.virtual_memory().available
    return Finding("memory", needed <= free, f"about {needed / GB:.1f} GB needed, {free / GB:.1f} GB there ({where})")


def _disk(profile: Profile, source: backbone.Source) -> Finding:
    chosen, drawn = settings(profile, "01_prepare_data"), settings(profile, "05_generate")
    config = json.loads((source.folder("unet", download=False) / "config.json").read_text())
    vae = json.loads((source.folder("vae", download=False) / "config.json").read_text())
    halvings = 2 ** (len(vae["block_out_channels"]) - 1)
    size = source.size or config["sample_size"] * halvings
    pictures = chosen["people"] * chosen["pictures"] if chosen["draw"] else len(data.read(data_dir(profile.name)))
    latents = pictures * config["in_channels"] * (size // halvings) ** 2 * BYTES[source.dtype]
    texts = pictures * TOKENS * config["cross_attention_dim"] * BYTES[source.dtype]  # if every caption differs
    samples = sum(len(cell.lams) for cell in profile.cells.values()) * drawn["people"] * drawn["samples"]
    needed = latents + texts + samples * size**2 * 1.5  # a PNG of a photograph, bytes a pixel
    free = shutil.disk_usage(_there(results_dir(profile.name))).free
    text = f"at most {needed / GB:.1f} GB for features and {samples} samples, {free / GB:.1f} GB free"
    return Finding("disk", needed <= free, text)


def _there(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def main(arguments: list[str]) -> int:
    """Prints the findings; 0 if nothing is missing."""
    try:
        found = []
        for finding in check(load_profile(*arguments)):
            print(finding)
            found.append(finding.good)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:2] or [DEFAULT]))
