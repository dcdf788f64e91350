"""How long the explorer takes to answer: seconds until four samples of 20 steps and their scores are there.

    python benchmarks/explore_latency.py --rounds 12    # two minutes on one core

The scale model, its published adapter in four slots, the drawn person of docs/person. Cases: the `first` grid, of
which nothing was computed before but for the models; `lam`, another λ; `prompt`, one prompt taken away, so K'/V'
anew; `text`, another caption; `lam0`, λ = 0, where the image attention is spared; `again`, a grid that was drawn
before. All are timed in one process in the order A B A C A …, A the first grid and B, C … in an order drawn anew
every round.

How to read `results/bench/explore_latency.csv`: a row is a case. `seconds` is the median over the rounds, `slowest` the
largest; `ratio` is the median of the time over the mean of its two neighbours A, `low` and `high` its 95 % bootstrap
interval. Where others use the cores, more `threads` than one make it slower, not faster: they wait for one another.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.data import celeba, folders
from ipa_lib.diffusion import backbone
from ipa_lib.evaluation import judges
from ipa_lib.evaluation.intervals import bootstrap
from ipa_lib.explore import explorer
from ipa_lib.explore.explorer import Session, Wish
from ipa_lib.model import attention, exchange
from ipa_lib.workflow import paths

STEPS, SAMPLES, N, CAPTION = 20, 4, 4, "a photo of a person with glasses, smiling"
ADAPTER, CASES = "published", ("lam", "prompt", "text", "lam0", "again")
fresh = count(1)  # no λ or caption is asked for twice


def new_session(folder: Path) -> Session:
    """Models, and nobody in it: the person comes from files."""
    models = backbone.load_base(paths.MODELS / "mini")
    start = str(paths.MODELS / "mini/ip_adapter/ip-adapter_mini.safetensors")
    adapter = exchange.start_adapter(start, models.unet, models.image_encoder, N)
    adapter.save(explorer.adapter_file(folder, ADAPTER))
    attention.attach(models.unet)
    nobody = pd.DataFrame(columns=["person"])
    return Session(folder, models, judges.load_judges(paths.MODELS / "mini"), nobody, nobody, (ADAPTER,))


def cases(session: Session) -> dict[str, Callable]:
    """What is asked for, by name; "first" forgets all that was computed before."""
    paths = folders.picture_files(files.ROOT / "docs/person")
    photographs = celeba.load_pictures(paths, session.models.picture_size)
    who, seed = session.own_subject(photographs), 7

    def draw(subject=who, caption=CAPTION, prompts=range(N), lam=1.0):
        wish = Wish(ADAPTER, subject, caption, explorer.grid(prompts, lam, SAMPLES), steps=STEPS, seed=seed)
        return sum(1 for _ in session.draw(wish))

    def first():
        session.memory.clear()
        return draw(session.own_subject(photographs))

    return {
        "first": first,
        "lam": lambda: draw(lam=1 + 1e-6 * next(fresh)),
        "prompt": lambda: draw(prompts=range(1, N)),
        "text": lambda: draw(caption=f"{CAPTION} {next(fresh)}"),
        "lam0": lambda: draw(lam=0.0),
        "again": draw,
    }


def seconds(act: Callable) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(acts: dict[str, Callable], rounds: int, seed: int = 0) -> Iterator[tuple[str, float, float]]:
    """Streams (case, seconds, mean of the first grids before and after), every case once a round."""
    shuffle = np.random.default_rng(seed)
    for _ in range(rounds):
        before = seconds(acts["first"])
        for name in shuffle.permutation(CASES):
            acts["again"]()  # what is kept from here on: models, person, K'/V', text, one grid
            own, after = seconds(acts[name]), seconds(acts["first"])
            yield name, own, (before + after) / 2
            yield "first", after, after
            before = after


def row(name: str, own: np.ndarray, first: np.ndarray) -> dict:
    ratio, low, high = bootstrap(own / first, np.arange(len(own)), np.median)
    return {"case": name, "seconds": np.median(own), "slowest": own.max(), "ratio": ratio, "low": low, "high": high,
            "rounds": len(own), "samples": SAMPLES, "steps": STEPS, "N": N, "threads": torch.get_num_threads(),
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
            "code": files.sha256(explorer.__file__)[:8]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1, as in the notebook)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        acts = cases(new_session(Path(folder)))
        acts["first"]()  # a warm-up
        found = pd.DataFrame(tqdm(measure(acts, options.rounds), total=2 * len(CASES) * options.rounds, mininterval=5),
                             columns=["case", "own", "first"])  # fmt: skip
    times = {name: one[["own", "first"]].to_numpy().T for name, one in found.groupby("case")}
    table = pd.DataFrame([row(name, *times[name]) for name in ("first", *CASES)]).round(4)
    with files.atomic(files.ROOT / "results/bench/explore_latency.csv") as file:
        table.to_csv(file, index=False)
    print(table.iloc[:, :7].to_string(index=False))


if __name__ == "__main__":
    main()
