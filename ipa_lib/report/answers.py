"""The paper's questions: from tidy scores to one tidy answer table for each.

A question is one function, `Results` -> rows; adding one is a sibling of those below. In its table a row is one number:
the columns of its index (n_refs, lam, merge …), then measure, value, low, high, count, runs, against. `against` says
what a difference is taken from and is empty for a value. `count` is the number of samples of one training behind a
value, and of all pairs behind a difference; `runs` is the number of trainings. A table has no rows where the grid lacks
what its question needs. λ is 1 where no column says else.

Values are those of the tidy table, averaged over the seeds of a variant. Differences are of the same samples, paired by
(seed, person, sample) over the seeds that both sides have, with an interval over people.
Letters: N prompts (`n_refs`), λ weight of the images (`lam`), w guidance. No torch and no matplotlib.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from numbers import Number
from pathlib import Path

import numpy as np
import pandas as pd

from ..evaluation import intervals
from ..files import ROOT, atomic
from ..workflow.paths import PUBLISHED
from .variants import BOUNDS, VARIANT, Variant, best_lam, find_variants, kin, roles, usual

COLUMNS = ["measure", "value", "low", "high", "count", "runs", "against"]
OCCLUDED = (0, 50, 100)  # per cent of the prompts
SAMPLED = ("identity", "text")  # scores of single samples, of which differences can be paired
SYMMETRIC = ("mean", "concat", "gated", "sum", "average", "pool")  # order of prompts means nothing
NOTHING = (np.nan, np.nan, np.nan)
NO_SCORES = pd.Series(dtype=float)
TABLES = ("slots", "counts", "costs", "logs")


@dataclass(frozen=True)
class Results:
    """The tables of a finished run; `scores` has the columns prompts and guidance of its cells. `bench`: a folder."""

    folder: Path
    table: pd.DataFrame
    scores: pd.DataFrame
    slots: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    logs: pd.DataFrame = field(default_factory=pd.DataFrame)
    facts: dict = field(default_factory=dict)
    bench: Path = ROOT / "results" / "bench"

    @property
    def main(self) -> Variant:
        """Variant that the paper calls the main adapter."""
        return roles(self.table)["main"]


@dataclass(frozen=True)
class Question:
    """`answer(results)` yields rows; `index`: columns that tell them apart; `beside`: columns alike in all rows."""

    answer: Callable[[Results], Iterator[dict]]
    index: tuple[str, ...]
    beside: tuple[str, ...] = ()


QUESTIONS: dict[str, Question] = {}


def question(*index: str, beside: Sequence[str] = ()) -> Callable:
    """Register a function under its own name."""

    def register(answer: Callable) -> Callable:
        QUESTIONS[answer.__name__] = Question(answer, index, tuple(beside))
        return answer

    return register


def read_results(folder: str | Path) -> Results:
    """The tables in a results folder. FileNotFoundError without table.csv or scores.csv; others may be missing."""
    folder = Path(folder)
    table, scores = pd.read_csv(folder / "table.csv"), pd.read_csv(folder / "scores.csv")
    files = {name: folder / f"{name}.csv" for name in TABLES}
    facts = json.loads((folder / "facts.json").read_text()) if (folder / "facts.json").is_file() else {}
    more = {name: pd.read_csv(file) for name, file in files.items() if file.is_file()}
    return Results(folder, table, with_cells(scores, table), facts=facts, **more)


def with_cells(scores: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Scores with the columns prompts and guidance of their cells."""
    cells = table[["adapter", "cell", "prompts", "guidance"]].drop_duplicates(["adapter", "cell"])
    return scores.merge(cells, on=["adapter", "cell"], how="left")


def answer(results: Results, name: str) -> pd.DataFrame:
    """The answer table of one question."""
    asked = QUESTIONS[name]
    frame = pd.DataFrame(list(asked.answer(results)), columns=[*asked.index, *asked.beside, *COLUMNS])
    return frame.dropna(subset="value").reset_index(drop=True)


def answers(results: Results) -> dict[str, pd.DataFrame]:
    """The answer tables of all questions."""
    return {name: answer(results, name) for name in QUESTIONS}


def ask(results: Results, name: str) -> pd.DataFrame:
    """The answer table of one question, which is kept as answers/<question>.csv in the results folder."""
    frame = answer(results, name)
    with atomic(results.folder / "answers" / f"{name}.csv") as file:
        frame.to_csv(file, index=False)
    return frame


def sentence(row: Mapping) -> str:
    """One row of an answer table in English words."""
    own = {name: value for name, value in row.items() if name not in COLUMNS}
    parts = [f"{name} {value:g}" if isinstance(value, Number) else str(value) for name, value in own.items()]
    value = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**row)
    if not row["against"]:
        return f"{row['measure']} at {', '.join(parts)}: {value}."
    side = "above" if row["low"] > 0 else "below" if row["high"] < 0 else "not significantly different from"
    return f"{row['measure']} at {', '.join(parts)}: {side} {row['against']}, {value}, {row['count']:.0f} pairs."


def measured(frame: pd.DataFrame, *measures: str, **where: object) -> pd.DataFrame:
    """Rows of an answer table with one of these measures, and with these values of other columns."""
    rows = frame[frame["measure"].isin(measures)] if measures else frame
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


# ---- what is shown of the usual cells, and the bounds ------------------------------------------------------


@question("role", "n_refs", "lam")
def cells(results: Results) -> Iterator[dict]:
    """Every criterion of the main adapter and of the one with another merge, over N and λ."""
    for role, v in roles(results.table).items():
        rows = usual(results.table)
        rows = rows[rows["adapter"].isin(v.names)]
        for n, lam in rows[["n_refs", "lam"]].drop_duplicates().sort_values(["n_refs", "lam"]).to_numpy(float):
            yield from _values({"role": role, "n_refs": int(n), "lam": lam}, _cell(results, v.names, int(n), lam))


@question("bound")
def bounds(results: Results) -> Iterator[dict]:
    """Ceilings (real, reconstruction) and floors (other: another person's prompts; text_alone: λ = 0)."""
    plain = usual(results.table)
    for bound in BOUNDS:
        rows = plain[plain["adapter"] == bound]
        if bound == "other" and len(rows):  # the most prompts, λ = 1
            rows = rows[(rows["n_refs"] == rows["n_refs"].max()) & np.isclose(rows["lam"].astype(float), 1)]
        yield from _values({"bound": bound}, rows)
    yield from _values({"bound": "text_alone"}, _cell(results, results.main.names, results.main.n_refs[-1], 0))


@question("contrast")
def contrasts(results: Results) -> Iterator[dict]:
    """Differences that the text states of the main adapter in one sentence each. Of whole sets (FID, KID, IS) they are
    not paired: their interval is from the one end's distance to the other's."""
    main, best, alt = results.main, best_lam(results.table), roles(results.table).get("alt")
    n_min, n_max = main.n_refs[0], main.n_refs[-1]
    at = lambda n, lam, v=main, metric="identity": scored(results, v.names, n, lam=lam, metric=metric)  # noqa: E731
    pairs = {
        "gain": (at(n_max, 1), at(n_max, 0), "lam=0"),
        "gain-nmin": (at(n_min, 1), at(n_min, 0), "lam=0"),
        "gain-best": (at(n_max, best), at(n_max, 0), "lam=0"),
        "n": (at(n_max, 1), at(n_min, 1), f"n_refs={n_min}"),
        "n-best": (at(n_max, best), at(n_min, best), f"n_refs={n_min}"),
        "text": (at(n_max, 1, metric="text"), at(n_max, 0, metric="text"), "lam=0"),
        "merge": (at(n_max, 1, alt), at(n_max, 1), "main") if alt else None,
        "other": (at(n_max, 1), _other_prompts(results), "other"),
    }
    for contrast, pair in pairs.items():
        if pair and (contrast != "n-best" or best != 1):
            measure = f"{contrast if contrast == 'text' else 'identity'}_difference"
            yield _difference({"contrast": contrast}, measure, *pair)
    one, zero = (_by_metric(_cell(results, main.names, n_max, lam)) for lam in (1, 0))
    if pairs["other"][1].empty:  # not scored sample by sample
        other = measured(answer(results, "bounds"), "identity", bound="other")[["value", "low", "high"]].to_numpy()
        yield from (_row({"contrast": "other"}, "identity_difference", _apart(one["identity"], three), against="other")
                    for three in other)
    for metric in ("fid", "kid", "is"):
        if metric in one and metric in zero:
            yield _row({"contrast": metric}, "unpaired", _apart(one[metric], zero[metric]), against="lam=0")


def _other_prompts(results: Results) -> pd.Series:
    """Identity of the same people when the first run of main is shown another person's pictures, λ = 1."""
    scores, main = results.scores, results.main
    rows = scores[(scores["adapter"] == "other") & np.isclose(scores["lam"].astype(float), 1)]
    rows = rows[rows["n_refs"] == main.n_refs[-1]].assign(seed=main.seeds[0])
    return rows.set_index(["seed", "person", "sample"])["identity"].astype(float)


def _apart(a: intervals.Interval, b: intervals.Interval) -> tuple[float, float, float]:
    """Distance of two intervals: above 0 where a lies above b as a whole, below where it lies below."""
    return a[0] - b[0], a[1] - b[2], a[2] - b[1]


# ---- (a) more prompts --------------------------------------------------------------------------------------


@question("n_refs")
def over_n(results: Results) -> Iterator[dict]:
    """Identity of main at each N, its share of the way from λ = 0 to what the autoencoder lets through, the gain over
    the previous N and over the smallest (over_first). Share: the same samples at λ = 0 and reconstructed, by person."""
    main, before = results.main, None
    first, floor = scored(results, main.names, main.n_refs[0]), scored(results, main.names, lam=0)
    for n in main.n_refs:
        scores, index = scored(results, main.names, n), {"n_refs": n}
        yield from _values(index, _cell(results, main.names, n), "identity")
        yield _row(index, "share", _share(scores, floor, _ceiling(results.scores)), len(scores), len(main.names))
        if before is not None:
            yield _difference(index, "gain", scores, before[1], f"n_refs={before[0]}")
            yield _difference(index, "over_first", scores, first, f"n_refs={main.n_refs[0]}")
        before = n, scores


def _ceiling(scores: pd.DataFrame) -> pd.Series:
    """Identity of the reconstructed targets by (person, sample); they know no seed."""
    rows = scores[scores["adapter"] == "reconstruction"]
    return rows.set_index(["person", "sample"])["identity"].astype(float).rename("ceiling")


def _share(scores: pd.Series, floor: pd.Series, ceiling: pd.Series) -> intervals.Interval:
    """(scores − floor) / (ceiling − floor) of the means; people are drawn anew for both differences at once."""
    both = pd.concat({"scores": scores, "floor": floor}, axis=1, join="inner")
    both = both.join(ceiling, on=["person", "sample"], how="inner").dropna()
    if both.empty:
        return NOTHING
    gain, room = (both[name].to_numpy() - both["floor"].to_numpy() for name in ("scores", "ceiling"))
    ratio = lambda rows: gain[rows.astype(int)].sum() / room[rows.astype(int)].sum()  # noqa: E731
    return intervals.bootstrap(np.arange(len(gain)), both.index.get_level_values("person"), ratio)


@question("n_refs", "share")
def occlusion(results: Results) -> Iterator[dict]:
    """Identity of main with this share of the prompts (per cent) occluded, its difference to none, and excess: what
    this difference has more than at the smallest N (above 0: occlusion costs less at this N)."""
    names = results.main.names
    counts = [n for n in results.main.n_refs if len(scored(results, names, n, "occluded0"))]
    for n, share in product(counts, OCCLUDED):
        index, lost = {"n_refs": n, "share": share}, _lost(results, names, n, share)
        yield from _values(index, _cell(results, names, n, prompts=f"occluded{share}"), "identity")
        if share:
            yield _difference(index, "difference", lost, 0, "none occluded")
            if n > counts[0]:
                yield _difference(index, "excess", lost, _lost(results, names, counts[0], share), f"n_refs={counts[0]}")


def _lost(results: Results, names: Sequence[str], n: int, share: int) -> pd.Series:
    """Identity with this share of the prompts occluded minus that with none, of each sample."""
    occluded, bare = (scored(results, names, n, f"occluded{each}") for each in (share, 0))
    return occluded - bare


@question("pictures")
def counts(results: Results) -> Iterator[dict]:
    """FID and KID of random parts of the samples of main, and of all."""
    for row in results.counts.itertuples():
        yield _row({"pictures": row.count}, row.metric, (row.value, row.low, row.high), row.count, 1)


# ---- (b) what the weight of the images costs ---------------------------------------------------------------


@question("n_refs", "lam")
def tradeoff(results: Results) -> Iterator[dict]:
    """Identity, KID, FID and text of main at each N and λ, and differences of identity and text to λ = 1."""
    names, rows = results.main.names, usual(results.table)
    rows = rows[rows["adapter"].isin(names)][["n_refs", "lam"]].drop_duplicates().sort_values(["n_refs", "lam"])
    for n, lam in rows.to_numpy(float):
        index = {"n_refs": int(n), "lam": lam}
        yield from _values(index, _cell(results, names, int(n), lam), "identity", "kid", "fid", "text")
        for metric in SAMPLED if lam != 1 else ():
            at, at_one = (scored(results, names, int(n), lam=x, metric=metric) for x in (lam, 1))
            yield _difference(index, f"{metric}_difference", at, at_one, "lam=1")


@question("n_refs", "criterion")
def best_lams(results: Results) -> Iterator[dict]:
    """The λ that is best for identity, KID, FID and text at each N, λ = 0 included, the smaller of two equals; and what
    identity or text gains there over λ = 1."""
    frame = answer(results, "tradeoff")
    for n, criterion in product(frame["n_refs"].unique(), ("identity", "kid", "fid", "text")):
        yield from _best(measured(frame, n_refs=n), criterion, "lam", {"n_refs": n}, (criterion,))


def _best(frame: pd.DataFrame, criterion: str, axis: str, index: dict, gains: Sequence[str]) -> Iterator[dict]:
    """Rows of the best value of an axis by a criterion, KID and FID the lower the better, with differences there."""
    rows = measured(frame, criterion)
    if len(rows):
        values = rows["value"] if criterion in ("kid", "fid") else -rows["value"]
        best = frame[frame[axis] == rows.loc[values.idxmin(), axis]]
        index = index | {"criterion": criterion}
        yield _row(index, axis, (best[axis].iloc[0], np.nan, np.nan), runs=best["runs"].iloc[0])
        for row in measured(best, *(f"{gain}_difference" for gain in gains)).to_dict("records"):
            yield index | {name: row[name] for name in COLUMNS}


@question("w", "lam", beside=["n_refs"])
def guidance(results: Results) -> Iterator[dict]:
    """Identity, KID and text of the runs of main that were judged at several w, at the N with most of these, and
    differences of identity and text to the usual w. A λ that has one w alone is left out."""
    rows = _at_several_w(results)
    usual_w = usual(results.table)["guidance"].dropna().iloc[0]
    for (lam, w, n), judged in rows.groupby(["lam", "guidance", "n_refs"]):
        index, names = {"w": float(w), "lam": float(lam), "n_refs": int(n)}, judged["adapter"].unique()
        yield from _values(index, _cell(results, names, int(n), lam, w=w), "identity", "kid", "text")
        for metric in SAMPLED if w != usual_w else ():
            at, plain = (scored(results, names, int(n), lam=lam, metric=metric, w=x) for x in (w, usual_w))
            yield _difference(index, f"{metric}_difference", at, plain, f"w={usual_w:g}")


def _at_several_w(results: Results) -> pd.DataFrame:
    """Rows of main at one N, of the adapters and λ that have several w there."""
    rows = results.table
    rows = rows[rows["adapter"].isin(results.main.names) & (rows["prompts"] == "own")]
    rows = rows[rows["n_refs"] == rows.groupby("n_refs")["guidance"].nunique().idxmax()]
    for name in ("adapter", "lam"):
        rows = rows[rows.groupby(name)["guidance"].transform("nunique") > 1]
    return rows


@question("criterion")
def best_w(results: Results) -> Iterator[dict]:
    """The w that is best for identity, KID and text at λ = 1, and what identity and text gain over the usual w."""
    frame = answer(results, "guidance")
    frame = frame[np.isclose(frame["lam"].astype(float), 1)]
    for criterion in ("identity", "kid", "text"):
        yield from _best(frame, criterion, "w", {}, SAMPLED)


# ---- (c) G and U -------------------------------------------------------------------------------------------


@question("merge", "prompts", beside=["n_refs"])
def merges(results: Results) -> Iterator[dict]:
    """Variants that differ in the merge alone, at their largest common N, with own and occluded prompts: identity,
    top1, kid, text, the difference of identity to `mean` with the same prompts, and with occluded prompts excess: what
    this difference has more than with none occluded. The largest such group is taken, and the seeds that all have."""
    group = _largest([kin(find_variants(results.table), v, {"merge"}) for v in find_variants(results.table)])
    n, seeds = _common_n(group), set.intersection(*(set(v.seeds) for v in group)) if group else set()
    runs = {v.merge: v.runs(seeds) for v in group} if n and seeds else {}
    for prompts, (merge, names) in product(("own", *(f"occluded{share}" for share in OCCLUDED)), runs.items()):
        index = {"merge": merge, "prompts": prompts, "n_refs": n}
        yield from _values(index, _cell(results, names, n, prompts=prompts), "identity", "top1", "kid", "text")
        if merge != "mean" and "mean" in runs:
            better = scored(results, names, n, prompts) - scored(results, runs["mean"], n, prompts)
            yield _difference(index, "difference", better, 0, "mean")
            if prompts not in ("own", "occluded0"):
                bare = scored(results, names, n, "occluded0") - scored(results, runs["mean"], n, "occluded0")
                yield _difference(index, "excess", better, bare, "none occluded")


@question(*VARIANT, beside=["n_refs"])
def adapters(results: Results) -> Iterator[dict]:
    """Identity of every variant at its largest N, those alike in merge and n below each other."""
    variants = find_variants(results.table)
    alike = [(v.merge, v.n_max, v.random_n) for v in variants]
    for v in sorted(variants, key=lambda v: alike.index((v.merge, v.n_max, v.random_n))):
        yield from _values(v.settings | {"n_refs": v.n_refs[-1]}, _cell(results, v.names, v.n_refs[-1]), "identity")


# ---- (d) own or shared matrices, and the order of the prompts ----------------------------------------------


@question("merge", "slots", "order", beside=["n_refs"])
def slots(results: Results) -> Iterator[dict]:
    """Variants that differ in merge, slots and order alone, at their largest common N.

    own_shared: own slots against the same with shared ones. norm_given: sorted prompts against the order given.
    own_reversed: the same adapters shown the same prompts in reversed order. cosine: of W'_p and W'_q; order_change:
    1 − cosine of what both orders give. A merge without a second variant is left out. A merge that knows no order, with
    shared slots, is the shared twin of both orders, and its own reversal is no question.
    """
    group = _with_twins(results.table)
    n = _common_n(group)
    for v in group if n else ():
        index, scores = {"merge": v.merge, "slots": v.slots, "order": v.order, "n_refs": n}, scored(results, v.names, n)
        yield from _values(index, _cell(results, v.names, n), "identity")
        if v.slots == "own" and (shared := _shared_twin(group, v)):
            yield _difference(index, "own_shared", scores, scored(results, shared.names, n), "shared matrices")
        if v.order == "norm" and (given := _twin(group, v, order="given")):
            yield _difference(index, "norm_given", scores, scored(results, given.names, n), "order given")
        yield _difference(index, "own_reversed", scores, scored(results, v.names, n, "reversed"), "reversed")
        yield from _slot_measures(results.slots, v, index, n)


def _slot_measures(measured_: pd.DataFrame, v: Variant, index: dict, n: int) -> Iterator[dict]:
    """Means over the seeds of what 08_compare_slots has measured."""
    if len(measured_):
        rows = measured_[measured_["adapter"].isin(v.names)]
        at_n = rows.loc[rows["n_refs"] == n, "order_change"]
        for measure, values in (("cosine", rows["cosine"]), ("order_change", at_n)):
            yield _row(index, measure, (values.astype(float).mean(), np.nan, np.nan), runs=len(v.names))


def _with_twins(table: pd.DataFrame) -> list[Variant]:
    """The largest group alike but for merge, slots and order, of merges that have several slots or orders."""
    variants = find_variants(table)
    groups = [kin(variants, v, {"merge", "slots", "order"}) for v in variants]
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


@question("n_refs")
def each_n(results: Results) -> Iterator[dict]:
    """Identity of main (random) and of a model trained for that N alone (fixed), their difference, and the seconds of
    one training of each; both of the seeds that both have."""
    main = results.main
    for v in sorted(find_variants(results.table), key=lambda v: v.n_max):
        n, seeds = v.n_max, set(main.seeds) & set(v.seeds)
        if trained_for_one_n(v, main) and n in set(main.n_refs) & set(v.n_refs) and seeds:
            index, runs = {"n_refs": n}, {"random": main.runs(seeds), "fixed": v.runs(seeds)}
            for measure, names in runs.items():
                yield from _values(index, _cell(results, names, n), "identity", called=measure)
            yield _difference(index, "difference", *(scored(results, names, n) for names in runs.values()), "fixed")
            for measure, names in runs.items():
                seconds = _seconds(results.costs, names)
                yield _row(index, f"{measure}_seconds", (seconds, np.nan, np.nan), runs=len(names))


def trained_for_one_n(v: Variant, main: Variant) -> bool:
    """Tell whether a variant is main's counterpart with a fixed n."""
    return main.random_n and not v.random_n and v.differs(main) <= {"n_max", "random_n"}


def _seconds(costs: pd.DataFrame, names: Sequence[str]) -> float:
    return float(costs.loc[costs["adapter"].isin(names), "seconds"].astype(float).mean()) if len(costs) else np.nan


# ---- (g) the target among the prompts ----------------------------------------------------------------------


@question("n_refs", "target")
def target_shown(results: Results) -> Iterator[dict]:
    """Two variants that differ in the target alone, at each N of both and of the seeds of both: identity (to held-out
    pictures), copying (to the nearest prompt), excess (what copying has more in the same sample), and of target "shown"
    the differences of all three to "left_out"."""
    shown, left_out = _shown_and_left_out(results.table)
    seeds = set(shown.seeds) & set(left_out.seeds) if shown else set()
    for n, v in product(sorted(set(shown.n_refs) & set(left_out.n_refs)) if seeds else (), (left_out, shown)):
        index, names = {"n_refs": n, "target": v.target}, v.runs(seeds)
        yield from _values(index, _cell(results, names, n), "identity", "copying")
        yield _difference(index, "excess", *(scored(results, names, n, metric=m) for m in ("copying", "identity")), "")
        for metric in ("identity", "copying", "excess") if v is shown else ():
            pair = (scored(results, one.names, n, metric=metric) for one in (shown, left_out))
            yield _difference(index, f"{metric}_difference", *pair, "left_out")


def _shown_and_left_out(table: pd.DataFrame) -> tuple[Variant, Variant] | tuple[None, None]:
    variants = find_variants(table)
    pairs = [(a, b) for a in variants for b in variants if a.target == "shown" and a.differs(b) == {"target"}]
    return pairs[0] if pairs else (None, None)


# ---- where identity is lost, and what there was before training: of benchmarks, on the preprint's own people ------


@question("n_refs")
def starts(results: Results) -> Iterator[dict]:
    """The adapter that the trainings start from (benchmarks/training_gain.py): its criteria, the gain by training, its
    gain over the smallest N, and the gain of that."""
    if not set(results.table["profile"].dropna()) - {PUBLISHED}:
        against = {"gain": "start", "over_n": "n_refs=1", "gain_over_n": "start"}
        yield from _of_benchmark(results.bench / "training_gain.csv", ["n_refs"], against)


@question("n_refs", "read_out")
def read_outs(results: Results) -> Iterator[dict]:
    """Identity that read-outs find in the image embeddings of N prompts (benchmarks/encoder_readout.py)."""
    if _of_drawn_people(results):
        yield from _of_benchmark(results.bench / "encoder_readout.csv", ["n_refs", "read_out"], {})


@question("tokens", "state", beside=["token_count", "step"])
def fitted(results: Results) -> Iterator[dict]:
    """Tokens fitted to each person (benchmarks/fitted_tokens.py), the fewest and the most, at start and end."""
    file = results.bench / "fitted_tokens.csv"
    if not (file.is_file() and _of_drawn_people(results)):
        return
    frame = pd.read_csv(file)
    states, tokens = ({frame[name].min(): low, frame[name].max(): high}
                      for name, low, high in (("step", "start", "end"), ("tokens", "few", "most")))
    for row in frame.itertuples():
        index = {"tokens": tokens.get(row.tokens), "state": states.get(row.step)}
        if None not in index.values():
            index |= {"token_count": row.tokens, "step": row.step}
            yield _row(index, row.metric, (row.value, row.low, row.high), row.count)


@question("n_refs")
def mlp(results: Results) -> Iterator[dict]:
    """Gain by a hidden layer in the projection of the starting adapter (benchmarks/start_quality.py)."""
    file = results.bench / "start_quality.csv"
    frame = pd.read_csv(file) if file.is_file() and _of_drawn_people(results) else pd.DataFrame()
    for row in frame.query("projection == 'mlp' and metric == 'gain'").itertuples() if len(frame) else ():
        yield _row({"n_refs": row.n_refs}, "gain", (row.value, row.low, row.high), row.count, against="linear")


def _of_benchmark(file: Path, index: list[str], against: dict[str, str]) -> Iterator[dict]:
    for row in (pd.read_csv(file) if file.is_file() else pd.DataFrame()).to_dict("records"):
        place = {name: row[name] for name in index}
        three = row["value"], row["low"], row["high"]
        yield _row(place, row["metric"], three, row["count"], against=against.get(row["metric"], ""))


def _of_drawn_people(results: Results) -> bool:
    """Were the judges trained on drawn people?"""
    return "people_judges" in results.facts


# ---- cells and differences ---------------------------------------------------------------------------------


def _cell(results: Results, names: Sequence[str], n: int, lam: float = 1, prompts: str = "own", w: float | None = None,
          ) -> pd.DataFrame:  # fmt: skip
    """Rows of the table of one cell of several runs; w: None is the usual one."""
    return _at(results.table, names, n, lam, prompts, w)


def scored(results: Results, names: Sequence[str], n: int | None = None, prompts: str = "own", lam: float = 1,
           metric: str = "identity", w: float | None = None) -> pd.Series:  # fmt: skip
    """Scores of one cell by (seed, person, sample); `excess` is copying − identity.

    At λ = 0 the prompts play no part: where the cell was not judged there, another usual one serves.
    """
    rows = _at(results.scores, names, n, lam, prompts, w)
    if rows.empty and lam == 0:
        rows = usual(results.scores)
        rows = rows[rows["adapter"].isin(names) & np.isclose(rows["lam"].astype(float), 0)]
        rows = rows.drop_duplicates(["seed", "person", "sample"])
    rows = rows.set_index(["seed", "person", "sample"])
    return rows["copying"].astype(float) - rows["identity"] if metric == "excess" else rows[metric].astype(float)


def _at(rows: pd.DataFrame, names: Sequence[str], n: int | None, lam: float, prompts: str, w: float | None,
        ) -> pd.DataFrame:  # fmt: skip
    w = rows["guidance"].dropna().iloc[0] if w is None else w  # a grid begins with its usual cells
    rows = rows[rows["adapter"].isin(names) & (rows["n_refs"] == n) & (rows["prompts"] == prompts)]
    return rows[np.isclose(rows["lam"].astype(float), lam) & (rows["guidance"] == w)]


def _by_metric(rows: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """(value, low, high) of each metric, averaged over the seeds."""
    means = rows.groupby("metric", sort=False)[["value", "low", "high"]].mean()
    return {metric: tuple(values) for metric, values in zip(means.index, means.to_numpy(float), strict=True)}


def _values(index: dict, rows: pd.DataFrame, *metrics: str, called: str = "") -> Iterator[dict]:
    """Rows of an answer: these metrics of a cell, or all of them."""
    for metric, three in _by_metric(rows).items():
        if not metrics or metric in metrics:
            count = rows.loc[rows["metric"] == metric, "count"].max()
            runs = rows.loc[~rows["adapter"].isin(BOUNDS), "adapter"].nunique()
            yield _row(index, called or metric, three, count, runs or np.nan)


def _difference(index: dict, measure: str, a: pd.Series, b: pd.Series | float, against: str) -> dict:
    """Row of an answer: mean a − b over the (seed, person, sample) that both have, with its interval over people."""
    pairs = (a - b).dropna()
    interval = intervals.bootstrap(pairs, pairs.index.get_level_values("person")) if len(pairs) else NOTHING
    runs = pairs.index.get_level_values("seed").nunique() if len(pairs) else 0
    return _row(index, measure, interval, len(pairs), runs, against)


def _row(index: dict, measure: str, three: Sequence[float], count: float = np.nan, runs: float = np.nan,
         against: str = "") -> dict:  # fmt: skip
    value, low, high = map(float, three)
    return index | {"measure": measure, "value": value, "low": low, "high": high, "count": count, "runs": runs,
                    "against": against}  # fmt: skip


def _largest(groups: Sequence[list[Variant]]) -> list[Variant]:
    """The largest group of several variants, the first of equals; none if there is no such group."""
    group = max(groups, key=len, default=[])
    return group if len(group) > 1 else []


def _common_n(group: Sequence[Variant]) -> int | None:
    """The largest N at which all were judged."""
    common = set.intersection(*(set(v.n_refs) for v in group)) if group else set()
    return max(common, default=None)
