"""The paper's side questions: from the tidy table and the samples' scores to a frame of a few rows for each.

A function a question, (table, scores) -> frame; the frame is empty, with its columns, where the grid lacks what the
question needs. A quantity x has three columns: x, x_low, x_high. Values are those of the table, averaged over the
seeds of a variant; `runs` counts the trainings behind them. Differences are of the same samples, paired by
(seed, person, sample) over the seeds that both sides have, with an interval over people; whose they are stands in each
docstring. λ is 1 where no column says else.
Letters: N prompts (`n_refs`), λ weight of the images (`lam`), w guidance. No torch and no matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from ..evaluation import intervals
from .variants import VARIANT, Variant, find_variants, roles, usual

SCALES = {"text": 100, "top1": 100, "share": 100, "faces": 100}  # shown in per cent
SYMMETRIC = ("mean", "concat", "gated", "sum", "average")  # merges to which an order of the prompts means nothing
OCCLUDED = (0, 50, 100)  # per cent of the prompts
SAMPLED = ("identity", "text")  # scores of single samples, of which differences can be paired
NOTHING = (np.nan, np.nan, np.nan)
NO_SCORES = pd.Series(dtype=float)


def answers(
    table: pd.DataFrame,
    scores: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    costs: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """The frames of all questions by the names of their functions; measured: see `slots`, costs: see `each_n`."""
    asked = (over_n, occlusion, tradeoff, merges, guidance, target_shown)
    found = {question.__name__: question(table, scores) for question in asked}
    return found | {"slots": slots(table, scores, measured), "each_n": each_n(table, scores, costs)}


# ---- (a) more prompts --------------------------------------------------------------------------------------


def over_n(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row an N of main: identity, its share of the way from the floor (λ = 0) to the ceiling of the autoencoder,
    and the gain over the previous N and over the smallest one (over_first).

    Gains: main at N against main at the other N. Share: the same samples at λ = 0 and reconstructed, by person.
    """
    main, rows, before = roles(table)["main"], [], None
    first = scored(scores, main.names, f"n{main.n_refs[0]}")
    floor, ceiling = scored(scores, main.names, lam=0), _ceiling(scores)
    for n in main.n_refs:
        here = scored(scores, main.names, f"n{n}")
        row = {"n_refs": n} | values(table, main.names, f"n{n}", ["identity"])
        gain, whole = (NOTHING, NOTHING) if before is None else (difference(here, before), difference(here, first))
        rows.append(row | _three("share", _share(here, floor, ceiling)) | _three("gain", gain)
                    | _three("over_first", whole))
        before = here
    return _judged(_frame(rows, ["n_refs"], ["identity", "share", "gain", "over_first"]))


def _ceiling(scores: pd.DataFrame) -> pd.Series:
    """Identity of the reconstructed targets by (person, sample); they know no seed."""
    rows = scores[scores["adapter"] == "reconstruction"]
    return rows.set_index(["person", "sample"])["identity"].astype(float).rename("ceiling")


def _share(here: pd.Series, floor: pd.Series, ceiling: pd.Series) -> intervals.Interval:
    """(here − floor) / (ceiling − floor) of the means; people are drawn anew for both differences at once."""
    both = pd.concat({"here": here, "floor": floor}, axis=1, join="inner")
    both = both.join(ceiling, on=["person", "sample"], how="inner").dropna()
    if both.empty:
        return NOTHING
    gain, room = (both[name].to_numpy() - both["floor"].to_numpy() for name in ("here", "ceiling"))
    ratio = lambda rows: gain[rows.astype(int)].sum() / room[rows.astype(int)].sum()  # noqa: E731
    return intervals.bootstrap(np.arange(len(gain)), both.index.get_level_values("person"), ratio)


def occlusion(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a variant, N and share of occluded prompts (per cent): identity, its difference to share 0, and excess,
    what this difference has more than at the smallest N of the variant (above 0: occlusion costs less at N).

    Difference: the same adapters at the same N, the same prompts drawn with an occluder against without any.
    """
    rows, judged = [], set(zip(table["adapter"], table["cell"], strict=True))
    for v in find_variants(table):
        counts = [n for n in v.n_refs if any((name, f"n{n}-occluded0") in judged for name in v.names)]
        for n, share in product(counts, OCCLUDED):
            lost = _lost(scores, v.names, n, share) if share else NO_SCORES
            more = difference(lost, _lost(scores, v.names, counts[0], share)) if share and n > counts[0] else NOTHING
            row = v.settings | {"n_refs": n, "share": share}
            row |= values(table, v.names, f"n{n}-occluded{share}", ["identity"])
            rows.append(row | _three("difference", mean(lost)) | _three("excess", more))
    return _judged(_frame(rows, [*VARIANT, "n_refs", "share"], ["identity", "difference", "excess"]))


def _lost(scores: pd.DataFrame, names: Sequence[str], n: int, share: int) -> pd.Series:
    """Identity with this share of the prompts occluded minus that with none, of each sample."""
    here, bare = (scored(scores, names, f"n{n}-occluded{each}") for each in (share, 0))
    return here - bare


# ---- (b) what the weight of the images costs ---------------------------------------------------------------


def tradeoff(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row an N and λ of main: identity, kid, fid, text, the differences of identity and text to λ = 1, and marks of
    the best λ of each N: best_identity, best_kid, best_fid, best_text.

    λ = 0 may be the best; of two equals the smaller one is. Differences: the same samples, at this λ and at 1.
    """
    main, rows = roles(table)["main"], usual(table)
    rows = rows[rows["adapter"].isin(main.names)][["n_refs", "lam"]].drop_duplicates().sort_values(["n_refs", "lam"])
    metrics, found = ["identity", "kid", "fid", "text"], []
    for n, lam in rows.to_numpy():
        row = {"n_refs": int(n), "lam": float(lam)} | values(table, main.names, f"n{n:g}", metrics, lam)
        for metric in SAMPLED:
            here, at_one = (scored(scores, main.names, f"n{n:g}", at, metric) for at in (lam, 1))
            row |= _three(f"{metric}_difference", NOTHING if lam == 1 else difference(here, at_one))
        found.append(row)
    frame = _frame(found, ["n_refs", "lam"], [*metrics, *(f"{metric}_difference" for metric in SAMPLED)])
    marks = {f"best_{metric}": _best(frame, metric, -1 if metric in ("kid", "fid") else 1) for metric in metrics}
    return frame.assign(**marks)


def _best(frame: pd.DataFrame, metric: str, sign: int) -> pd.Series:
    judged = (sign * frame[metric]).dropna()
    return frame.index.isin(judged.groupby(frame["n_refs"]).idxmax()) if len(judged) else False


# ---- (c) G and U -------------------------------------------------------------------------------------------


def merges(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a merge and kind of prompts ("own", "occluded0" …), of the variants that differ in the merge alone, at
    their largest common N: identity, top1, kid, text, the difference of identity to the merge `mean`, and in rows of
    occluded prompts excess, what this difference has more than with none occluded.

    The largest group of such variants is taken, and the seeds that all of them have. Difference: merge against `mean`
    with the same prompts.
    """
    group, metrics = _widest(table, {"merge"}), ["identity", "top1", "kid", "text"]
    n, seeds = _common_n(group), set.intersection(*(set(v.seeds) for v in group)) if group else set()
    runs = {v.merge: v.runs(seeds) for v in group} if n and seeds else {}
    rows = []
    for kind, (merge, names) in product(("own", *(f"occluded{share}" for share in OCCLUDED)), runs.items()):
        row = {"merge": merge, "prompts": kind, "n_refs": n} | values(table, names, _prompted(n, kind), metrics)
        if merge != "mean" and "mean" in runs:
            better = _better(scores, names, runs["mean"], _prompted(n, kind))
            bare = _better(scores, names, runs["mean"], _prompted(n, "occluded0"))
            row |= _three("difference", mean(better))
            row |= _three("excess", difference(better, bare) if kind in ("occluded50", "occluded100") else NOTHING)
        rows.append(row)
    return _judged(_frame(rows, ["merge", "prompts", "n_refs"], [*metrics, "difference", "excess"]))


def _prompted(n: int, kind: str) -> str:
    """Name of a cell."""
    return f"n{n}" if kind == "own" else f"n{n}-{kind}"


def _better(scores: pd.DataFrame, names: Sequence[str], others: Sequence[str], cell: str) -> pd.Series:
    """Identity minus that of the other adapters, of each sample in the same cell."""
    here, there = (scored(scores, runs, cell) for runs in (names, others))
    return here - there


# ---- (d) own or shared matrices, and the order of the prompts ----------------------------------------------


def slots(table: pd.DataFrame, scores: pd.DataFrame, measured: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row a variant of those that differ in merge, slots and order alone, at their largest common N.

    own_shared (in rows of own slots): against the same with shared ones. norm_given (in rows of sorted prompts):
    against the same in the order given. own_reversed: the same adapters shown the same prompts in reversed order.
    A merge that has no second variant is left out. A merge that knows no order, with shared slots, is the same in any
    order: it is the shared twin of both orders, and its own reversal is no question. measured: columns adapter, cosine
    (of W'_p and W'_q), n_refs and order_change (1 − cosine of what both orders give at this N), averaged over the
    seeds; NaN where it has no such adapter.
    """
    group, rows = _with_twins(table), []
    n, measures = _common_n(group), ["cosine", "order_change"]
    measured = pd.DataFrame(columns=["adapter", "n_refs", *measures]) if measured is None else measured
    for v in group if n else []:
        row = v.settings | {"n_refs": n} | values(table, v.names, f"n{n}", ["identity"])
        shared = _shared_twin(group, v) if v.slots == "own" else None
        given = _twin(group, v, order="given") if v.order == "norm" else None
        turned = difference(scored(scores, v.names, f"n{n}"), scored(scores, v.names, f"n{n}-reversed"))
        row |= _three("own_shared", NOTHING if shared is None else _between(scores, v, shared, f"n{n}"))
        row |= _three("norm_given", NOTHING if given is None else _between(scores, v, given, f"n{n}"))
        row |= _three("own_reversed", turned)
        told = measured[measured["adapter"].isin(v.names)]
        rows.append(row | {"cosine": told["cosine"].astype(float).mean(),
                           "order_change": told.loc[told["n_refs"] == n, "order_change"].astype(float).mean()})
    return _frame(rows, [*VARIANT, "n_refs"], ["identity", "own_shared", "norm_given", "own_reversed"], measures)


def _with_twins(table: pd.DataFrame) -> list[Variant]:
    """The largest group alike but for merge, slots and order, of merges that have several slots or orders."""
    found = find_variants(table)
    groups = [[v for v in found if v.differs(one) <= {"merge", "slots", "order"}] for one in found]
    twins = lambda v, group: [u for u in group if u is not v and u.differs(v) <= {"slots", "order"}]  # noqa: E731
    group = max(([v for v in group if twins(v, group)] for group in groups), key=len, default=[])
    names = [v.merge for v in group]
    return sorted(group, key=lambda v: names.index(v.merge))


def _twin(group: Sequence[Variant], v: Variant, **changes: str) -> Variant | None:
    return next((u for u in group if u.settings == v.settings | changes), None)


def _shared_twin(group: Sequence[Variant], v: Variant) -> Variant | None:
    """The same with shared slots; in any order, where the merge knows none."""
    anyhow = {"order": "given"} if v.merge in SYMMETRIC else {}
    return _twin(group, v, slots="shared") or _twin(group, v, slots="shared", **anyhow)


# ---- (e) one model for every N, or one for each ------------------------------------------------------------


def each_n(table: pd.DataFrame, scores: pd.DataFrame, costs: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row an N for which a model of its own was trained: identity of main (`random`) and of that model (`fixed`).

    Both of the seeds that both have. Difference: main at N against the model of that N. costs: columns adapter,
    seconds, steps; random_seconds and fixed_seconds are of one training, the mean over these seeds.
    """
    main, rows = roles(table)["main"], []
    for v in sorted(find_variants(table), key=lambda v: v.n_max):
        n, seeds = v.n_max, set(main.seeds) & set(v.seeds)
        if trained_for_one_n(v, main) and n in set(main.n_refs) & set(v.n_refs) and seeds:
            one, own, cell = main.runs(seeds), v.runs(seeds), f"n{n}"
            row = {"n_refs": n, "runs": len(seeds)} | _three("random", _identity(table, one, cell))
            row |= _three("fixed", _identity(table, own, cell))
            row |= _three("difference", difference(scored(scores, one, cell), scored(scores, own, cell)))
            rows.append(row | {"random_seconds": _seconds(costs, one), "fixed_seconds": _seconds(costs, own)})
    return _frame(rows, ["n_refs"], ["random", "fixed", "difference"], ["random_seconds", "fixed_seconds"])


def trained_for_one_n(v: Variant, main: Variant) -> bool:
    """Is it main's counterpart with a fixed n?"""
    return main.random_n and not v.random_n and v.differs(main) <= {"n_max", "random_n"}


def _seconds(costs: pd.DataFrame | None, names: Sequence[str]) -> float:
    return np.nan if costs is None else float(costs.loc[costs["adapter"].isin(names), "seconds"].astype(float).mean())


# ---- (f) guidance ------------------------------------------------------------------------------------------


def guidance(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a λ and w at the N with most values of w: identity, kid, text of the runs of main judged at several w, and
    the differences of identity and text to the w of the usual cells.

    The w of the usual cell is one of them; a λ that has one w alone is left out. Differences: the same samples at the
    same λ.
    """
    rows, metrics = _at_several_w(table), ["identity", "kid", "text"]
    found = []
    for (lam, w, cell, n), judged in rows.groupby(["lam", "guidance", "cell", "n_refs"]):
        names = judged["adapter"].unique()
        row = {"guidance": float(w), "lam": float(lam), "n_refs": int(n)} | values(table, names, cell, metrics, lam)
        for metric in SAMPLED:
            here, plain = (scored(scores, names, at, lam, metric) for at in (cell, f"n{n:g}"))
            row |= _three(f"{metric}_difference", NOTHING if cell == f"n{n:g}" else difference(here, plain))
        found.append(row)
    return _frame(found, ["guidance", "lam", "n_refs"], [*metrics, *(f"{metric}_difference" for metric in SAMPLED)])


def _at_several_w(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of main at one N, of the adapters and λ that have several w there."""
    rows = table[table["adapter"].isin(roles(table)["main"].names) & (table["prompts"] == "own")]
    rows = rows[rows["n_refs"] == rows.groupby("n_refs")["guidance"].nunique().idxmax()]
    for name in ("adapter", "lam"):
        rows = rows[rows.groupby(name)["guidance"].transform("nunique") > 1]
    return rows


# ---- (g) the target among the prompts ----------------------------------------------------------------------


def target_shown(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row an N and target, of two variants that differ in the target alone: identity (to held-out pictures), copying
    (to the nearest prompt), and excess, what copying has more than identity in the same sample.

    In the rows of target "shown" also identity_difference, copying_difference, excess_difference: against "left_out"
    at the same N. An N at which "shown" alone was judged has no such row and no differences. All is of the seeds that
    both variants have.
    """
    shown, left_out = _shown_and_left_out(table)
    seeds = set(shown.seeds) & set(left_out.seeds) if shown else ()
    rows = []
    for n, v in product(shown.n_refs if seeds else (), (left_out, shown)):
        cell, names = f"n{n}", v.runs(seeds)
        identity, copying = (scored(scores, names, cell, metric=metric) for metric in ("identity", "copying"))
        row = {"n_refs": n, "target": v.target} | values(table, names, cell, ["identity", "copying"])
        row |= _three("excess", difference(copying, identity))
        for metric in ("identity", "copying", "excess"):
            paired = _between(scores, shown, left_out, cell, metric) if v is shown else NOTHING
            row |= _three(f"{metric}_difference", paired)
        rows.append(row)
    quantities = ["identity", "copying", "excess"]
    frame = _frame(rows, ["n_refs", "target"], [*quantities, *(f"{name}_difference" for name in quantities)])
    return _judged(frame)


def _shown_and_left_out(table: pd.DataFrame) -> tuple[Variant, Variant] | tuple[None, None]:
    found = find_variants(table)
    pairs = [(a, b) for a in found for b in found if a.target == "shown" and a.differs(b) == {"target"}]
    return pairs[0] if pairs else (None, None)


# ---- cells -------------------------------------------------------------------------------------------------


def values(
    table: pd.DataFrame, names: Sequence[str], cell: str, metrics: Sequence[str], lam: float = 1
) -> dict[str, float]:
    """runs, and x, x_low, x_high of each metric x in one cell, averaged over the seeds; NaN where it was not judged."""
    rows = _at(table[table["cell"] == cell], names, lam)
    means = rows.groupby("metric")[["value", "low", "high"]].mean().reindex(metrics).to_numpy(float)
    threes = [_three(metric, three) for metric, three in zip(metrics, means, strict=True)]
    return {"runs": rows["adapter"].nunique()} | {name: x for three in threes for name, x in three.items()}


def scored(
    scores: pd.DataFrame, names: Sequence[str], cell: str = "", lam: float = 1, metric: str = "identity"
) -> pd.Series:
    """Scores of one cell by (seed, person, sample); `excess` is copying − identity.

    At λ = 0 the prompts play no part: where the cell was not judged there, another usual one serves.
    """
    rows = _at(scores, names, lam)
    here = rows[rows["cell"] == cell]
    if here.empty and lam == 0:
        here = usual(rows).drop_duplicates(["seed", "person", "sample"])
    here = here.set_index(["seed", "person", "sample"])
    return here["copying"].astype(float) - here["identity"] if metric == "excess" else here[metric].astype(float)


def difference(a: pd.Series, b: pd.Series) -> intervals.Interval:
    """Mean a − b over the (seed, person, sample) that both have, with its interval over people; NaN without any."""
    return mean(a - b)


def mean(x: pd.Series) -> intervals.Interval:
    """Mean over (seed, person, sample) with its interval over people; NaN without any."""
    x = x.dropna()
    return intervals.bootstrap(x, x.index.get_level_values("person")) if len(x) else NOTHING


def _between(scores: pd.DataFrame, a: Variant, b: Variant, cell: str, metric: str = "identity") -> intervals.Interval:
    """Variant a − variant b in the same cell."""
    return difference(*(scored(scores, v.names, cell, metric=metric) for v in (a, b)))


def _identity(table: pd.DataFrame, names: Sequence[str], cell: str) -> tuple[float, ...]:
    found = values(table, names, cell, ["identity"])
    return tuple(found[column] for column in _three("identity", NOTHING))


def _at(rows: pd.DataFrame, names: Sequence[str], lam: float) -> pd.DataFrame:
    return rows[rows["adapter"].isin(names) & np.isclose(rows["lam"].astype(float), lam)]


def _widest(table: pd.DataFrame, axes: set[str]) -> list[Variant]:
    """The largest group of variants that differ in `axes` alone, the first of equals; none if nothing differs."""
    found = find_variants(table)
    group = max(([v for v in found if v.differs(one) <= axes] for one in found), key=len, default=[])
    return group if len(group) > 1 else []


def _common_n(group: Sequence[Variant]) -> int | None:
    """The largest N at which all were judged."""
    common = set.intersection(*(set(v.n_refs) for v in group)) if group else set()
    return max(common, default=None)


# ---- frames ------------------------------------------------------------------------------------------------


def _three(name: str, interval: Sequence[float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(float, interval), strict=True))


def _frame(
    rows: Sequence[dict], keys: Sequence[str], quantities: Sequence[str], plain: Sequence[str] = ()
) -> pd.DataFrame:
    columns = [*keys, "runs", *(column for name in quantities for column in _three(name, NOTHING)), *plain]
    return pd.DataFrame(list(rows), columns=columns)


def _judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of cells that the grid lacks."""
    return frame.dropna(subset="identity").reset_index(drop=True)
