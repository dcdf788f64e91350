"""What N pictures cost: the time of one guided denoising step, as a ratio to the same step with text alone.

    python benchmarks/step_cost.py                                 # scale model and SD 1.5's sizes: 20 minutes, 2 cores
    python benchmarks/step_cost.py --models sd15 --rounds 4 --add  # four more rounds, 2 minutes each
    python benchmarks/step_cost.py --models sd15 --size 64 --device cuda --dtype bfloat16 [--compile]

A step is one forward pass of the U-Net, random weights, over both branches of guidance. Ours has own slots and makes
K'/V' once, outside the step (`adapter.guided`); diffusers' N adapters of one image each, or its one adapter given N
images, project the pictures anew in every step, as its pipelines do. All are timed in one process in the order
A B A C A …, A the text alone and B, C … in an order drawn anew every round: a ratio is the time of a step over the mean
of its two neighbours A.

How to read `results/bench/step_cost.csv`: a row is a case. `ratio` is the median over the rounds, `low` and `high` its
95 % bootstrap interval (of fewer than six rounds it is the range, and covers less); 1.05 is 5 % more time a step. The
row `text` is A against its twin and shows the noise: it should hold 1. `mean`, `weighted` and `gated` are the same
arithmetic in a step, whatever N: their rows differ by noise alone. `ms` and `text_ms` are medians that compare only
within a run. `kv_mb` is the size of the merged keys and values of both branches (MB = 10^6 bytes), `once_ms` the least
time that making them took: once a generation, not a step. `batch` counts both branches, `latents` is the side of the
latents. `step_cost.json` has the same rows and every single time. A run replaces the rows of the same model, size,
device, dtype and compilation; with `--add` its rounds join theirs. `code` is the hash of ipa_lib/model/attention.py.
"""
import argparse
import copy
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import diffusers
import numpy as np
import pandas as pd
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.drawn import mini_base
from ipa_lib.evaluation.intervals import bootstrap
from ipa_lib.model import attention
from ipa_lib.model.adapter import MultiImageAdapter
from ipa_lib.model.attention import ImageKV
from ipa_lib.model.exchange import to_published

MERGES = ("mean", "weighted", "gated", "concat")
OURS, THEIRS = (1, 4, 16), (4, 16)  # N
N_MAX = max(OURS)


class Case(NamedTuple):
    method: str
    merge: str
    N: int


REFERENCE = Case("reference", "none", 0)  # A
TEXT = Case("text", "none", 0)            # A again, as a network of its own
Steps = dict[Case, Callable[[], Tensor]]


class Base(NamedTuple):
    unet: Callable[[], UNet2DConditionModel]
    embed_dim: int  # E
    tokens: int     # L, of the text
    pictures: int   # B, half the batch
    size: int       # side of the latents
    rounds: int


def sd15_unet() -> UNet2DConditionModel:
    """Stable Diffusion 1.5's U-Net: 859 520 964 parameters, 16 cross-attention layers."""
    return UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)


BASES = {
    "mini": Base(mini_base.new_unet, mini_base.EMBED_WIDTH, mini_base.MAX_TOKENS, 1, 8, 100),
    "mini96": Base(mini_base.new_unet, mini_base.EMBED_WIDTH, mini_base.MAX_TOKENS, 96, 8, 10),  # the report's batch
    "sd15": Base(sd15_unet, 1024, 77, 1, 32, 8),
}


# --- the steps ----------------------------------------------------------------------------------------------------

def build(base: Base, options: argparse.Namespace) -> tuple[Steps, dict[Case, dict]]:
    """The step of every case, and what its image prompts take apart from the step: {kv_mb, once_ms}."""
    torch.manual_seed(0)
    unet = base.unet().requires_grad_(False).eval().to(options.device, options.dtype)
    x_t, text, embeds = inputs(unet, base, options)
    call = {"timestep": torch.tensor(500, device=options.device), "encoder_hidden_states": text}
    attention.attach(with_images := twin(unet))
    with_images = compiled(with_images, options)
    steps, prepared = {case: partial(compiled(twin(unet), options), x_t, **call) for case in (REFERENCE, TEXT)}, {}
    for merge in MERGES:
        adapter = new_adapter(unet, base, merge)
        for n in OURS:
            case = Case("ours", merge, n)
            kv, prepared[case] = prepare(adapter, embeds[:, :n], options)
            steps[case] = partial(with_images, x_t, **call, cross_attention_kwargs={"image_kv": kv})
    for case, other, images in counterparts(unet, new_adapter(unet, base, "concat"), embeds):
        steps[case] = partial(compiled(other, options), x_t, **call, added_cond_kwargs={"image_embeds": images})
    return steps, prepared


def inputs(unet, base: Base, options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """x_t [2B,c,h,w], text [2B,L,D] and embeddings [B,N,E], the last in float32 as the adapter is."""
    draw = partial(torch.randn, device=options.device)
    batch, size = 2 * base.pictures, options.size or base.size
    x_t = draw(batch, unet.config.in_channels, size, size, dtype=options.dtype)
    text = draw(batch, base.tokens, unet.config.cross_attention_dim, dtype=options.dtype)
    return x_t, text, draw(base.pictures, N_MAX, base.embed_dim)


def new_adapter(unet, base: Base, merge: str) -> MultiImageAdapter:
    """Own slots; the same projection under every merge, so that the outputs can be compared."""
    torch.manual_seed(1)
    return MultiImageAdapter.from_unet(unet, base.embed_dim, N_MAX, merge=merge).requires_grad_(False).to(unet.device)


def prepare(adapter: MultiImageAdapter, embeds: Tensor, options: argparse.Namespace) -> tuple[ImageKV, dict]:
    """K'/V' of both branches, and what they take."""
    times = [seconds(partial(adapter.guided, embeds), options.device) for _ in range(5)]
    kv = adapter.guided(embeds).to(options.dtype)
    return kv, {"kv_mb": megabytes(kv), "once_ms": 1e3 * min(times)}


def megabytes(kv: ImageKV) -> float:
    tensors = [*(x for pair in kv.layers.values() for x in pair), kv.weights, kv.seen, kv.shares]
    return sum(x.numel() * x.element_size() for x in tensors if x is not None) / 1e6


def counterparts(unet, adapter: MultiImageAdapter, embeds: Tensor) -> Iterator[tuple[Case, torch.nn.Module, list]]:
    """diffusers' cases: case, U-Net with its adapters, image embeddings [2B,images,E] of each adapter."""
    embeds = torch.cat([torch.zeros_like(embeds), embeds]).to(unet.dtype)
    one = with_ip_adapters(unet, adapter, 1)
    for n in THEIRS:
        yield Case("diffusers, N images", "concat", n), one, [embeds[:, :n]]
    for n in THEIRS:
        images = list(embeds[:, :n].split(1, 1))
        yield Case("diffusers, N adapters", "sum", n), with_ip_adapters(unet, adapter, n), images


def with_ip_adapters(unet, adapter: MultiImageAdapter, n: int) -> UNet2DConditionModel:
    """A twin with slots 0 … n−1 as diffusers' adapters."""
    (unet := twin(unet))._load_ip_adapter_weights([published(adapter, unet, slot) for slot in range(n)])
    return unet


def published(adapter: MultiImageAdapter, unet, slot: int) -> dict:
    """One slot as the contents of a published checkpoint, in memory of its own and in the U-Net's dtype."""
    parts = to_published(adapter, slot).items()
    return {part: {name: x.to(unet.dtype, copy=True) for name, x in weights.items()} for part, weights in parts}


def twin(unet) -> UNet2DConditionModel:
    """Modules of its own, the weights in common."""
    return copy.deepcopy(unet, {id(p): p for p in unet.parameters()})


def compiled(unet, options: argparse.Namespace) -> Callable:
    if not options.compile:
        return unet
    torch._dynamo.config.recompile_limit = 32  # the graphs of all twins count as one function's
    return torch.compile(unet, dynamic=False)


def refuse_wrong(steps: Steps, exact: bool) -> None:
    """RuntimeError if pictures change nothing, or if ours gives other than diffusers' does. A warm-up, too."""
    outputs = {case: step().sample.float() for case, step in steps.items()}
    text = outputs[TEXT]
    idle = [case for case, x in outputs.items() if case not in (TEXT, REFERENCE) and torch.equal(x, text)]
    for n in THEIRS if exact else ():
        ours, theirs = outputs[Case("ours", "concat", n)], outputs[Case("diffusers, N images", "concat", n)]
        effect = (theirs - outputs[TEXT]).abs().max()
        idle += [] if (ours - theirs).abs().max() <= 1e-3 * effect else [f"N = {n}: ours is not diffusers'"]
    if idle:
        raise RuntimeError(f"these steps do not compute what they should: {idle}")


# --- their time ---------------------------------------------------------------------------------------------------

def seconds(step: Callable, device: str) -> float:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - start


def measure(steps: Steps, rounds: int, device: str, seed: int) -> Iterator[tuple[Case, float, float]]:
    """Streams (case, seconds, mean of the text-only steps before and after), every case once a round."""
    cases, shuffle = [case for case in steps if case != REFERENCE], np.random.default_rng(seed)
    for _ in range(rounds):
        before = seconds(steps[REFERENCE], device)
        for i in shuffle.permutation(len(cases)):
            own, after = seconds(steps[cases[i]], device), seconds(steps[REFERENCE], device)
            yield cases[i], own, (before + after) / 2
            before = after


@torch.no_grad()
def run(name: str, options: argparse.Namespace, seed: int) -> list[dict]:
    """[{method, merge, N, kv_mb, once_ms, seconds, text_seconds}], the last two lists over the rounds."""
    base = BASES[name]
    steps, prepared = build(base, options)
    refuse_wrong(steps, exact=options.dtype == torch.float32 and not options.compile)
    times = {case: ([], []) for case in steps if case != REFERENCE}
    rounds = options.rounds or base.rounds
    for step in steps.values():
        step()
    stream = measure(steps, rounds, options.device, seed)
    for case, own, text in tqdm(stream, name, total=rounds * len(times), mininterval=5):
        times[case][0].append(own)
        times[case][1].append(text)
    return [case._asdict() | {"kv_mb": None, "once_ms": None} | prepared.get(case, {})
            | {"seconds": own, "text_seconds": text} for case, (own, text) in times.items()]


# --- their record -------------------------------------------------------------------------------------------------

def facts(name: str, options: argparse.Namespace) -> dict:
    """What a row is about; the first six name the run."""
    base = BASES[name]
    return {
        "model": name, "batch": 2 * base.pictures, "latents": options.size or base.size, "device": options.device,
        "dtype": str(options.dtype).removeprefix("torch."), "compiled": options.compile,
        "hardware": torch.cuda.get_device_name() if options.device == "cuda" else processor(),
        "threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__,
        "diffusers": diffusers.__version__, "code": files.sha256(attention.__file__)[:8],
    }


def processor() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores"


def row(about: dict, case: dict) -> dict:
    """One row of the table."""
    own, text = np.array(case["seconds"]), np.array(case["text_seconds"])
    ratio, low, high = bootstrap(own / text, np.arange(len(own)), np.median)
    cost = {"ratio": ratio, "low": low, "high": high, "rounds": len(own),
            "ms": 1e3 * np.median(own), "text_ms": 1e3 * np.median(text)}
    what = {name: case[name] for name in (*Case._fields, "kv_mb", "once_ms")}
    return {"model": about["model"], **{k: v if not isinstance(v, float) else round(v, 4)
                                        for k, v in {**what, **cost}.items()}, **about}


def pooled(old: dict, new: dict) -> dict:
    """The rounds of both runs."""
    for a, b in zip(old["cases"], new["cases"], strict=True):
        b["once_ms"] = b["once_ms"] and min(a["once_ms"], b["once_ms"])
        b["seconds"], b["text_seconds"] = a["seconds"] + b["seconds"], a["text_seconds"] + b["text_seconds"]
    return new


def save(runs: dict, folder: Path) -> None:
    """step_cost.json and step_cost.csv."""
    for run in runs.values():
        run["rows"] = [row(run["about"], case) for case in run["cases"]]
    with files.atomic(folder / "step_cost.json") as file:
        file.write_text(json.dumps(runs))
    with files.atomic(folder / "step_cost.csv") as file:
        pd.DataFrame([row for run in runs.values() for row in run["rows"]]).to_csv(file, index=False)


def stored(folder: Path) -> dict:
    file = folder / "step_cost.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=BASES, default=["mini", "sd15"])
    parser.add_argument("--rounds", type=int, help="default: 100 for mini, 10 for mini96, 8 for sd15")
    parser.add_argument("--size", type=int, help="side of the latents; default: 8 for mini, 32 for sd15")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the whole U-Net")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on the CPU (default 2)")
    parser.add_argument("--add", action="store_true", help="to the rounds that are stored already")
    parser.add_argument("--folder", type=Path, default=files.ROOT / "results" / "bench")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 2:
        parser.error("--rounds: an interval needs at least 2")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    return options


def main() -> None:
    options = read_options()
    options.dtype = getattr(torch, options.dtype)
    torch.set_num_threads(options.threads)
    diffusers.logging.set_verbosity_error()
    for name in options.models:
        about, runs = facts(name, options), stored(options.folder)
        label = " ".join(map(str, list(about.values())[:6]))
        old = runs.get(label) if options.add else None
        done = len(old["cases"][0]["seconds"]) if old else 0
        if old and old["about"] != about:
            raise SystemExit(f"--add: the stored rounds are of {old['about']}, these would be of {about}")
        new = {"about": about, "cases": run(name, options, seed=done)}
        runs[label] = pooled(old, new) if old else new
        save(runs, options.folder)
        print(pd.DataFrame(runs[label]["rows"]).iloc[:, :12].to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
