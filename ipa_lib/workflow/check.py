"""Before any hour is spent: is everything there that a profile needs?

    python -m ipa_lib.workflow.check sd15      # `make check PROFILE=sd15`

Models, data, judges, memory and space on disk, one line each; status 1 if something is missing, and each line says
where to get it. Nothing is downloaded, and of the large models no weight is loaded.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from safetensors import safe_open

from .. import hub
from ..data import captions, picture_table
from ..data.celeba import people_with
from ..diffusion import backbone, training
from ..diffusion.backbone import DTYPES, Source
from ..evaluation import inception, judges, photo_judges
from ..files import ROOT
from ..model.exchange import projection_shape, read_published
from ..model.projection import PROJECTIONS
from .config import DEFAULT, Profile, load_profile
from .paths import data_dir, results_dir

GB = 1e9
PARTS = ("unet", "vae", "text_encoder")
ENCODER = ("visual_projection.weight", "vision_model.embeddings.position_embedding.weight")  # their shapes are needed
JUDGED = ("03_cache_features", "07_measure_ceilings", "08_compare_slots", "09_count_samples", "06_evaluate")
TOKENS = 77  # of a caption
STATE = 16  # bytes a trained parameter: weight, gradient and AdamW's two averages, all float32
KEPT = 700  # numbers kept for the gradient, a place of the latents and channel of the first block: a rule of thumb
MISSING = (FileNotFoundError, ValueError, ImportError)


class Finding(NamedTuple):
    """One line of the check."""

    name: str
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.good else 'MISSING'}  {self.name:<14} {self.text}"


class Needs(NamedTuple):
    """Sizes that memory and space on disk depend on."""

    source: Source
    configs: Mapping[str, dict]  # of unet and vae
    weights: Mapping[str, dict[str, list[int]]]  # part -> tensor -> shape

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return self.source.size or self.configs["unet"]["sample_size"] * self.halvings

    @property
    def halvings(self) -> int:
        """Number of times that the autoencoder halves a picture."""
        return 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    def embed_dim(self, patches: bool) -> int:
        """Width of what the image encoder gives: of its hidden states, or of pooled embeddings."""
        pooled, hidden = (self.weights["image_encoder"][name] for name in ENCODER)
        return hidden[1] if patches else pooled[0]

    @property
    def places(self) -> int:
        """Number of places in the latents of one picture."""
        return (self.size // self.halvings) ** 2


def check(profile: Profile) -> Iterator[Finding]:
    """Findings one after another."""
    used, needs = profile.settings("03_cache_features"), None
    source = Source(used["base"], used["image_encoder"], used["size"], used["dtype"])
    try:
        needs = read_needs(source)
        yield Finding("base", True, f"{source.base}, {_millions(needs, PARTS)} million parameters, {needs.size} pixels")
        yield Finding("image encoder", True, f"{_millions(needs, ['image_encoder'])} million parameters")
    except MISSING as error:
        own = source.base == profile.values("02_train_base").get("publish")
        said = f"{source.base}: 02_train_base will make it" if own else f"{error}{_how_to_fetch(source)}"
        yield Finding("base", own, said)
    yield from _half_precision(source)
    yield from _start(profile.settings("04_train_adapter")["start"], used["patches"], needs)
    for spec in dict.fromkeys(profile.settings(notebook)["judged_by"] for notebook in JUDGED):
        yield from _judges(ROOT / spec, profile.values("02_train_base"))
    pictures = yield from _data(profile)
    if needs and pictures:
        yield _memory(profile, needs, *pictures)
        yield _disk(profile, needs, used["patches"], *pictures)


def _tried(name: str, look: Callable[[], str], hint: str = "") -> Finding:
    try:
        return Finding(name, True, look())
    except FileNotFoundError as error:
        return Finding(name, False, f"{error}{hint}")
    except MISSING as error:
        return Finding(name, False, str(error))


def _fetch(lines: str) -> str:
    return f'; to fetch it: python -c "{lines}"'


# ---- models ------------------------------------------------------------------------------------------------


def read_needs(source: Source) -> Needs:
    """Configs and the shapes of weights, from the files' heads.

    FileNotFoundError or ValueError, of one line, for what `backbone.load_base` would refuse.
    """
    if source.dtype not in DTYPES:
        raise ValueError(f"dtype: {' or '.join(DTYPES)} was expected, got {source.dtype}")
    folder = hub.local_folder(source.base, pipeline=True, download=False)
    for file in ("model_index.json", "scheduler/scheduler_config.json", "tokenizer/*.json"):
        if not any(folder.glob(file)):
            raise FileNotFoundError(f"{source.base}: no {file} in it; a Stable Diffusion folder was expected")
    kind = _json(folder / "scheduler/scheduler_config.json").get("prediction_type", "epsilon")
    if kind not in backbone.PREDICTIONS:
        raise ValueError(f"{source.base}: it predicts {kind}; {' or '.join(backbone.PREDICTIONS)} was expected")
    weights = {part: _shapes(source.folder(part, download=False)) for part in (*PARTS, "image_encoder")}
    if lacking := [name for name in ENCODER if name not in weights["image_encoder"]]:
        folder = source.folder("image_encoder", download=False)
        raise ValueError(f"{folder}: no CLIP vision model with projection, its weights lack {lacking[0]}")
    needs = Needs(source, {part: _json(folder / part / "config.json") for part in ("unet", "vae")}, weights)
    if needs.size % (least := backbone.least_size(needs.configs["vae"], needs.configs["unet"])):
        raise ValueError(f"size: {needs.size} pixels; {source.base} takes multiples of {least}")
    return needs


def _json(file: Path) -> dict:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    return json.loads(file.read_text())


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a folder's safetensors files; where there are several variants, of the plain one."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if "fp16" not in file.name and "non_ema" not in file.name]
    if not files:
        raise FileNotFoundError(f"{folder}: no weights in safetensors here")
    return {name: shape for file in plain or files[:1] for name, shape in _heads(file)}


def _heads(file: Path) -> Iterator[tuple[str, list[int]]]:
    with safe_open(file, "pt") as tensors:
        yield from ((name, tensors.get_slice(name).get_shape()) for name in tensors.keys())


def _count(weights: Mapping[str, list[int]]) -> int:
    return sum(torch.Size(shape).numel() for shape in weights.values())


def _millions(needs: Needs, parts) -> str:
    return f"{sum(_count(needs.weights[part]) for part in parts) / 1e6:.1f}"


def _half_precision(source: Source) -> Iterator[Finding]:
    if source.dtype in ("bfloat16", "float16") and not torch.cuda.is_available() and half_is_slow():
        said = "without a GPU or AVX-512 tens to hundreds of times slower than float32; `dtype: float32` runs here"
        yield Finding("dtype", False, f"{source.dtype}: {said}")


def half_is_slow() -> bool:
    """Tell whether PyTorch multiplies 16-bit numbers in plain loops. On x86 without AVX-512 it does."""
    return platform.machine().lower() in ("x86_64", "amd64") and "AVX512" not in torch.backends.cpu.get_cpu_capability()


def _how_to_fetch(source: Source) -> str:
    """The lines that download what is needed and nothing else, for names of the hub."""
    calls = [f"local_folder({source.base!r}, pipeline=True)"] * _of_the_hub(source.base)
    calls += [f"local_folder({source.image_encoder!r})"] * _of_the_hub(source.image_encoder)
    return _fetch(f"from ipa_lib.hub import *; {'; '.join(calls)}") if calls else ""


def _of_the_hub(name: str) -> bool:
    """Tell whether a name looks like owner/repository, not like a path here."""
    return "/" in name and not name.startswith(("/", ".", "~")) and not (ROOT / name.split("/")[0]).exists()


def _start(start: str, patches: bool, needs: Needs | None) -> Iterator[Finding]:
    """Findings on what adapters start from: does it fit the base, and the features?"""
    if start in PROJECTIONS:
        wants, text_dim, embed_dim, said = PROJECTIONS[start].patches, None, None, start
    else:
        try:
            file = hub.local_file(start, download=False)
            parts = read_published(file)
            width, shape = projection_shape(parts["image_proj"])
        except MISSING as error:
            hint = _fetch(f"from ipa_lib.hub import *; local_file({start!r})")
            yield Finding("start", False, f"{error}{hint * _of_the_hub(start)}")
            return
        said, embed_dim = file.name, width
        wants, text_dim = PROJECTIONS[shape["projection"]].patches, next(iter(parts["ip_adapter"].values())).shape[1]
    if wants != patches:
        said = f"{said}: `patches: {str(wants).lower()}` was expected in 03_cache_features"
    elif needs and text_dim and text_dim != (width := needs.configs["unet"]["cross_attention_dim"]):
        said, wants = f"{said}: for texts of width {text_dim}, those of the base have {width}", None
    elif needs and embed_dim and embed_dim != (width := needs.embed_dim(patches)):
        said, wants = f"{said}: for image embeddings of width {embed_dim}, those of the encoder have {width}", None
    yield Finding("start", wants == patches, said)


# ---- judges ------------------------------------------------------------------------------------------------


def _judges(spec: Path, trained: Mapping[str, object]) -> Iterator[Finding]:
    """Each judge for itself. Those of drawn faces are small, and a face network is: they are loaded.

    trained: what the profile sets of 02_train_base, which may make the judge of attributes.
    """
    if spec.suffix not in (".yaml", ".yml", ".json"):
        yield _tried("judges", lambda: judges.load_judges(spec).identity_name)
        return
    try:
        named, folder = photo_judges.read_spec(spec), spec.parent
    except MISSING as error:
        yield Finding("judges", False, str(error))
        return
    where = "; docs/real_model.md says where such networks are to be had"
    yield _tried("identity judge", lambda: photo_judges.load_identity(named, folder)[1], where)
    if named["features"] == "inception":
        weights = folder / named["weights"] if "weights" in named else None
        hint = "" if weights else _fetch("from ipa_lib.evaluation.inception import inception_file; inception_file()")
        yield _tried("features judge", lambda: str(inception.inception_file(weights, download=False)), hint)
    else:
        yield _tried("features judge", lambda: photo_judges.load_features(named, folder)[1])
    if "text" in named:
        hint = _fetch(f"from ipa_lib.hub import *; local_folder({named['text']!r})") * _of_the_hub(named["text"])
        yield _tried("text judge", lambda: str(photo_judges.clip_folder(named["text"], folder, download=False)), hint)
    if "attributes" in named:
        yield _attribute_judge(folder / named["attributes"], trained)


def _attribute_judge(place: Path, trained: Mapping[str, object]) -> Finding:
    own = "publish" in trained and place.resolve().parent == (ROOT / trained["publish"]).resolve()
    if own and place.name in trained.get("parts", [place.name]):
        return Finding("attribute judge", True, f"{place.name}: 02_train_base makes it")
    there = (place / "config.json").is_file()
    said = str(place) if there else f"{place}: no judge here; 02_train_base trains one"
    return Finding("attribute judge", there, said)


# ---- data --------------------------------------------------------------------------------------------------


def _data(profile: Profile) -> Iterator[Finding]:
    """Finding; returns (number of pictures that take part, of different captions), None where there is no data."""
    chosen, drawn = profile.settings("01_prepare_data"), profile.settings("05_generate")
    if chosen["draw"]:
        yield Finding("data", True, f"{chosen['people']} people will be drawn")
        return chosen["people"] * chosen["pictures"], 1000
    most = max(run.n_max for run in profile.adapters.values())
    need = {"train": most + 1, "val": most + 1}
    need["test"] = max(cell.n_refs for cell in profile.cells.values()) + 2 * drawn["samples"]
    try:
        table = picture_table.read(data_dir(profile.name))
        table = picture_table.with_validation(table, profile.max_refs + 1, seed=chosen["seed"])
        taken = picture_table.choose(table, profile.max_refs + 1, chosen["people"], chosen["seed"])
    except MISSING as error:
        yield Finding("data", False, f"{error}; docs/real_model.md says how pictures have to lie")
        return None
    there = {split: people_with(taken[taken["split"] == split], least) for split, least in need.items()}
    said = ", ".join(f"{there[split]} {split} people with {least} or more" for split, least in need.items())
    yield Finding("data", min(there.values()) > 0, f"{len(taken)} of {len(table)} pictures are taken: {said}")
    return len(taken), len(set(captions.captions(taken, chosen["style"])))


# ---- memory and disk ---------------------------------------------------------------------------------------


def _bytes_a_number(needs: Needs) -> int:
    return DTYPES[needs.source.dtype].itemsize


def _features(needs: Needs, pictures: int, texts: int, patches: bool) -> int:
    """Bytes of the cached features."""
    encoder, unet = needs.weights["image_encoder"], needs.configs["unet"]
    embed = torch.Size(encoder[ENCODER[1]]).numel() if patches else needs.embed_dim(patches)
    halves = pictures * needs.places * unet["in_channels"] + texts * TOKENS * unet["cross_attention_dim"]
    return halves * _bytes_a_number(needs) + pictures * embed * 4


def _adapter(profile: Profile, needs: Needs) -> int:
    """Parameters of the largest adapter of the grid, the projection left out."""
    slots = max(run.n_max if run.slots == "own" else 1 for run in profile.adapters.values())
    matrices = {name: shape for name, shape in needs.weights["unet"].items()
                if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}  # fmt: skip
    return slots * _count(matrices)


def _memory(profile: Profile, needs: Needs, pictures: int, texts: int) -> Finding:
    """Memory of one training: all models of the base, features, adapter, and what is kept for the gradient."""
    batch = profile.settings("04_train_adapter")["batch_size"] * needs.places
    patches = profile.settings("03_cache_features")["patches"]
    kept = min(batch, max(training.AT_ONCE, needs.places)) * needs.configs["unet"]["block_out_channels"][0] * KEPT
    needed = (sum(map(_count, needs.weights.values())) + kept) * _bytes_a_number(needs)
    needed += _adapter(profile, needs) * STATE + _features(needs, pictures, texts, patches)
    if torch.cuda.is_available():
        where, free = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    else:
        where, free = "no GPU: main memory", psutil.virtual_memory().available
    return Finding("memory", needed <= free, f"about {needed / GB:.1f} GB needed, {free / GB:.1f} GB there ({where})")


def _disk(profile: Profile, needs: Needs, patches: bool, pictures: int, texts: int) -> Finding:
    drawn = profile.settings("05_generate")
    samples = sum(len(cell.lams) for cell in profile.cells.values()) * drawn["people"] * drawn["samples"]
    needed = _features(needs, pictures, texts, patches) + samples * needs.size**2 * 1.5  # bytes a pixel of a PNG
    needed += len(profile.adapters) * _adapter(profile, needs) * 4
    free = shutil.disk_usage(_there(results_dir(profile.name))).free
    said = f"at most {needed / GB:.1f} GB for features, adapters and {samples} samples, {free / GB:.1f} GB free"
    return Finding("disk", needed <= free, said)


def _there(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def main(arguments: list[str]) -> int:
    """Prints the findings; 0 if nothing is missing."""
    try:
        verdicts = []
        for finding in check(load_profile(*arguments)):
            print(finding)
            verdicts.append(finding.good)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:2] or [DEFAULT]))
