"""Synthetic results with known effects: tidy table, scores and facts of a reduced grid and of the full one."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ipa_lib.evaluation import intervals
from ipa_lib.report import answers

LAMS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
USUAL_W = 3.0
JUDGED_ALONE = ("identity", "top1", "text", "copying")  # samples; the other scores are of whole sets
IDENTITY_JUDGED = ("identity", "top1", "copying")
COLUMNS = ["merge", "slots", "order", "target", "n_max", "random_n", "seed"]


def run(name: str) -> dict:
    """The leading columns of an adapter, from its name, such as concat-own-norm-shown-n4r-s0."""
    merge, slots, *others, n, seed = name.split("-")
    found = (merge, slots, "norm" if "norm" in others else "given", "shown" if "shown" in others else "left_out",
             int(n[1:].rstrip("r")), n.endswith("r"), int(seed[1:]))  # fmt: skip
    return {"adapter": name} | dict(zip(COLUMNS, found, strict=True))


MAIN, ALT = run("mean-own-n4r-s0"), run("concat-own-n4-s0")
RUNS = ((MAIN, (1, 2, 4)), (ALT, (4,)))  # the reduced grid: (adapter, the N of its usual cells), then other cells
FACTS = {
    "people_train": 800, "people_val": 100, "people_test": 100, "pictures": 12_000, "picture_size": 64,
    "latent_size": 8, "latent_channels": 8, "vae_params": 1_034_567, "unet_params": 3_012_345,
    "text_params": 512_345, "image_params": 1_412_345, "attention_layers": 7, "text_dim": 128,
    "embed_dim": 128, "tokens": 4, "adapter_params": 912_345, "train_steps": 1500, "batch_size": 32,
    "learning_rate": 1e-4, "snr_gamma": 0.02, "weight_decay": 0.01, "drop": 0.05, "diffusion_steps": 1000,
    "sampling_steps": 20, "people_judges": 600, "feature_dim": 128, "is_classes": 24,
    "device": "cpu",
}  # fmt: skip
OCCLUDED = tuple(f"occluded{share}" for share in (0, 50, 100))


def full_grid() -> tuple:
    """(adapter, N, other cells) as the paper's full grid has them."""
    many, four = (1, 2, 4, 8), tuple(f"n4-{kind}" for kind in OCCLUDED)
    side = [f"n{n}-{kind}" for n in many for kind in OCCLUDED] + [f"n4-w{w:g}" for w in (1, 2, 5, 7.5)]
    slots = ("concat-own-n4r-s1", "mean-own-norm-n4r-s0", "mean-own-norm-n4r-s1", "mean-shared-n4r-s0",
             "mean-shared-n4r-s1", "concat-shared-n4r-s0", "concat-shared-n4r-s1")  # fmt: skip
    return (
        (run("mean-own-n8r-s0"), many, tuple(side)),
        (run("mean-own-n8r-s1"), many),
        (run("mean-own-n4r-s0"), (1, 4), (*four, "n4-reversed")),
        (run("mean-own-n4r-s1"), (4,), ("n4-reversed",)),
        (run("concat-own-n4r-s0"), (4,), (*four, "n4-reversed")),
        *((run(f"{merge}-own-n4r-s0"), (4,), four) for merge in ("weighted", "gated", "sum")),
        *((run(name), (4,), ("n4-reversed",)) for name in slots),
        *((run(f"mean-own-n{n}-s0"), (n,)) for n in many),
        (run("mean-own-shown-n4r-s0"), (1, 4)),
    )


def no_effect(run: dict, cell: str, n: int, lam: float) -> float:
    return 0.0


def make_scores(
    runs=RUNS, lams=LAMS, people=20, samples=2, gain=0.2, effect=no_effect, noise=0.02
) -> pd.DataFrame:
    """One row a sample; identity grows by `gain` · λ and with log N, people and their pictures differ.

    effect(run, cell, n, lam) is added to identity and to copying; noise: of a cell alone, so that with 0 the paired
    differences are exactly those of the effects. Other cells than the usual ones are at λ = 1, those of w at all λ.
    The reconstructions lie at 0.5 and differ with the people.
    """
    rng = np.random.default_rng(0)
    skill, luck = rng.normal(0, 0.05, people), rng.normal(0, 0.03, (people, samples))
    rows = []
    for run, n, cell, lam in _cells(runs, lams):
        grown = gain * lam * (1 + 0.2 * np.log2(n)) + effect(run, cell, n, lam)
        for person, sample in np.ndindex(people, samples):
            own = rng.normal(0, 1, 3)
            identity = 0.05 + grown + skill[person] + luck[person, sample] + noise * own[0]
            scores = (identity, int(identity > 0.3), 0.8 - 0.1 * lam + 0.05 * own[1], identity + 0.02)
            place = {"adapter": run["adapter"], "seed": run["seed"], "cell": cell, "n_refs": n, "lam": lam}
            place |= {"person": person, "sample": sample}
            rows.append(place | dict(zip(JUDGED_ALONE, scores, strict=True)))
    for person, sample in np.ndindex(people, samples):
        rows.append({"adapter": "reconstruction", "n_refs": 0, "person": person, "sample": sample,
                     "identity": 0.5 + skill[person], "top1": 1, "text": 0.97, "copying": 0.6})  # fmt: skip
    return pd.DataFrame(rows)


def _cells(runs, lams):
    """(run, N, name, λ) of every cell of some runs."""
    for run, counts, *others in runs:
        names = [f"n{n}" for n in counts] + [name for more in others for name in more]
        for name in names:
            swept = re.fullmatch(r"n\d+(-w.*)?", name)
            yield from ((run, int(re.findall(r"\d+", name)[0]), name, lam) for lam in (lams if swept else (1.0,)))


def make_table(scores: pd.DataFrame, runs=RUNS, **overrides) -> pd.DataFrame:
    """The tidy table that goes with `scores`; overrides: metric -> value in all cells."""
    rows, by_adapter = [], dict(iter(scores.groupby("adapter")))
    for run, *_ in runs:
        for (cell, n, lam), own in by_adapter[run["adapter"]].groupby(["cell", "n_refs", "lam"]):
            means = {m: intervals.bootstrap(own[m], own["person"], resamples=50) for m in JUDGED_ALONE}
            fid = 14 + 6 * lam**2 - n + abs(_w(cell) - USUAL_W)
            kid = (fid / 1.5, fid / 1.6, fid / 1.4)
            sets = {"fid": (fid, fid - 1, fid + 1), "kid": kid, "is": (4.1, 4, 4.2)}
            found = means | sets | {name: (value,) * 3 for name, value in overrides.items()}
            keys = run | {"cell": cell, "prompts": _prompts(cell), "guidance": _w(cell)}
            rows += [_row(keys, metric, interval, len(own), n, lam) for metric, interval in found.items()]
    real = {"identity": 0.71, "top1": 0.91, "text": 0.97, "fid": 3.1, "kid": -0.1, "is": 4.9, "copying": 0.9}
    other = {"identity": 0.03, "top1": 0.01, "text": 0.8, "copying": 0.2}
    rows += [_row({"adapter": "real"}, m, (v, v - 0.01, v + 0.01), 40, 0, np.nan) for m, v in real.items()]
    rows += [_row({"adapter": "reconstruction"}, m, (v, v, v), 40, 0, np.nan) for m, v in real.items()]
    n = scores["n_refs"].max()
    keys = {"adapter": "other", "cell": f"n{n}-other", "prompts": "other", "guidance": USUAL_W}
    rows += [_row(keys, m, (v, v - 0.01, v + 0.01), 40, n, 1.0) for m, v in other.items()]
    return pd.DataFrame(rows)


def results_of(table: pd.DataFrame, scores: pd.DataFrame, **more) -> answers.Results:
    """Results of these tables, as `answers.read_results` gives them."""
    more = {"facts": FACTS, "bench": Path("nowhere"), **more}
    return answers.Results(Path("nowhere"), table, answers.with_cells(scores, table), **more)


def _w(cell: str) -> float:
    return float(cell.split("-w")[1]) if "-w" in cell else USUAL_W


def _prompts(cell: str) -> str:
    kind = cell.partition("-")[2]
    return "own" if kind.startswith("w") or not kind else kind


def _row(keys, metric, interval, count, n, lam) -> dict:
    judge = "mini identity judge" if metric in IDENTITY_JUDGED else "mini attribute judge"
    value, low, high = interval
    return {"profile": "mini", **keys, "n_refs": n, "lam": lam, "metric": metric,
            "value": value, "low": low, "high": high, "count": count, "judge": judge}  # fmt: skip
