"""Numbers and table rows of the paper: rounded once, here, and named by role, not by run.

`main` is the adapter trained with random n (the first one in the table, all its seeds), `alt` the next
other one that was evaluated at the same largest N. The text is LaTeX in Russian: a decimal comma and
[low; high] for an interval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from . import intervals
from .paths import atomic

REFERENCES = ("real", "reconstruction", "other")  # rows of the table that are not an adapter's
VARIANT = ["merge", "slots", "n_max", "random_n"]  # the seeds of one variant are averaged
SCALES = {"text": 100, "top1": 100}
DECIMALS = {"identity": 3, "copying": 3, "top1": 1, "text": 1, "is": 2}  # others: three significant digits
TABLE_METRICS = ("identity", "top1", "text", "kid", "fid", "is")
MERGE_NAMES = {
    "mean": "среднее",
    "concat": "конкатенация",
    "weighted": "веса по номеру",
    "gated": "веса по содержанию",
    "sum": "сумма",
}
REFERENCE_NAMES = {
    "real": "реальные изображения",
    "reconstruction": "автокодировщик",
    "other": "подсказки другого человека",
}
FACTS = {  # what the text says of data and settings besides the table; labels of tables/profile.tex
    "people_train": "людей в обучающей части",
    "people_val": "людей в проверочной части",
    "people_test": "людей в тестовой части",
    "pictures": "изображений всего",
    "picture_size": "сторона изображения, пикселей",
    "latent_size": "сторона скрытого представления",
    "latent_channels": "каналов скрытого представления",
    "vae_params": "параметров автокодировщика",
    "unet_params": "параметров U-Net",
    "text_params": "параметров кодировщика текста",
    "image_params": "параметров кодировщика изображений",
    "attention_layers": "слоёв перекрёстного внимания",
    "text_dim": "ширина признаков текста",
    "embed_dim": "ширина признаков изображения",
    "tokens": "токенов на подсказку",
    "adapter_params": "обучаемых параметров адаптера",
    "train_steps": "шагов обучения адаптера",
    "batch_size": "размер пакета",
    "learning_rate": "скорость обучения",
    "weight_decay": "коэффициент регуляризации AdamW",
    "drop": "вероятность отбрасывания условия",
    "diffusion_steps": "шагов диффузии $T$",
    "sampling_steps": "шагов DDIM при генерации",
    "people_judges": "людей в обучении сетей-судей",
    "feature_dim": "ширина признаков для FID и KID",
    "is_classes": "классов для IS",
}


@dataclass(frozen=True)
class Role:
    """The runs behind `main` or `alt`: a name a seed, what the text calls them, their numbers of prompts."""

    names: tuple[str, ...]
    label: str
    n_refs: tuple[int, ...]


# ---- what the paper asks for -------------------------------------------------------------------------------


def numbers(table: pd.DataFrame, scores: pd.DataFrame, facts: Mapping[str, object]) -> dict[str, str]:
    """Every \\result{key} of the paper. `facts` has a value for each name of `FACTS`.

    Keys of the table: main|alt/n<N>|nmin|nmax/lam<λ>|lambest/<metric>, <metric>/<adapter>/n<N>/lam<λ>,
    ceiling/real|reconstruction/<metric>, floor/<metric>, floor/other/<metric>; paired differences:
    contrast/<name>. Each of these also with /low, /high, /interval. Words: verdict/<name>, main|alt/label.
    Settings: grid/<name>, judge/<metric>, count/<metric>, fact/<name>.
    Raises ValueError: a missing fact, no adapter in the table, a grid without λ = 0 or λ = 1.
    """
    missing = [name for name in FACTS if name not in facts]
    if missing:
        raise ValueError(f"facts: {missing[0]!r} is missing; expected a value for each of {', '.join(FACTS)}")
    found = roles(table)
    return {
        **_runs(table),
        **_roles(table, found),
        **_references(table, found["main"]),
        **_contrasts(table, scores, found),
        **_grid(table, scores, found),
        **{f"fact/{name}": _fact(value) for name, value in facts.items()},
    }


def write_numbers(values: Mapping[str, str], path: str | Path) -> Path:
    """Write `\\setresult{key}{value}` lines for paper/results.sty, sorted by key."""
    bad = [key for key in values if not re.fullmatch(r"[\w./+=-]+", key, re.ASCII)]
    if bad:
        raise ValueError(f"numbers: {bad[0]!r} can't be a key; expected letters, digits and . / + = - _")
    return _write([rf"\setresult{{{key}}}{{{values[key]}}}" for key in sorted(values)], path)


def write_table(rows: list[str], path: str | Path) -> Path:
    """Write generated rows alone: rules, caption and label stay in main.tex."""
    return _write(rows, path)


def main_results(table: pd.DataFrame) -> list[str]:
    """Rows of tables/main_results.tex: both ceilings, both floors, main over N, main at the best λ, alt.

    Columns: what, λ, then `TABLE_METRICS`; a second line has the intervals.
    """
    found = roles(table)
    main, best = found["main"], best_lam(table)
    n = main.n_refs[-1]
    rows = [_table_row(REFERENCE_NAMES[name], None, _reference(table, name)) for name in REFERENCES[:2]]
    rows += [_table_row("только текст", 0, _cell(table, main, n, 0))]
    rows += [_table_row(REFERENCE_NAMES["other"], 1, _reference(table, "other"))]
    rows += [r"\midrule"]
    rows += [_table_row(f"{main.label}, $N={k}$", 1, _cell(table, main, k, 1)) for k in main.n_refs]
    if best != 1:
        rows += [_table_row(f"{main.label}, $N={n}$", best, _cell(table, main, n, best))]
    if "alt" in found:
        rows += [_table_row(f"{found['alt'].label}, $N={n}$", 1, _cell(table, found["alt"], n, 1))]
    return [row for row in rows if row]


def profile_rows(facts: Mapping[str, object]) -> list[str]:
    """Rows of tables/profile.tex: name & value & name & value, read down the left half first."""
    entries = [f"{label} & {_fact(facts[name])}" for name, label in FACTS.items()]
    half = math.ceil(len(entries) / 2)
    left, right = entries[:half], entries[half:] + ["&"] * (2 * half - len(entries))
    return [rf"{a} & {b} \\" for a, b in zip(left, right, strict=True)]


def gather(parts: Sequence[str | Path], path: str | Path) -> Path:
    """One CSV of several with the same columns, in their order: the tidy table, and the scores."""
    whole = pd.concat([pd.read_csv(part) for part in parts], ignore_index=True)
    with atomic(path) as temporary:
        whole.to_csv(temporary, index=False)
    return Path(path)


# ---- roles -------------------------------------------------------------------------------------------------


def roles(table: pd.DataFrame) -> dict[str, Role]:
    """{"main": …} and, where there is one, {"alt": …}; see the top of this module."""
    rows = table[~table["adapter"].isin(REFERENCES) & (table["metric"] == "identity")]
    if rows.empty:
        raise ValueError("table: no identity rows of an adapter; expected at least one evaluated adapter")
    variants = [(key, cell) for key, cell in rows.groupby(VARIANT, sort=False)]
    main = next((v for v in variants if _true(v[0][3])), variants[0])
    n = main[1]["n_refs"].max()
    alt = next((v for v in variants if v[0] != main[0] and n in set(v[1]["n_refs"])), None)
    return {name: _role(*v) for name, v in (("main", main), ("alt", alt)) if v}


def _role(key: tuple, rows: pd.DataFrame) -> Role:
    merge, slots, _, _ = key
    label = MERGE_NAMES.get(merge, tex(merge)) + (", общие матрицы" if slots == "shared" else "")
    n_refs = tuple(sorted(int(n) for n in rows["n_refs"].unique()))
    return Role(tuple(rows["adapter"].unique()), label, n_refs)


def best_lam(table: pd.DataFrame) -> float:
    """The λ > 0 with the highest mean identity of `main` at its largest N, the smaller of two equals."""
    main = roles(table)["main"]
    rows = table[table["adapter"].isin(main.names) & (table["n_refs"] == main.n_refs[-1])]
    means = rows[(rows["metric"] == "identity") & (rows["lam"] > 0)].groupby("lam")["value"].mean()
    if means.empty:
        raise ValueError("table: the grid has no λ > 0; expected at least 0 and 1")
    return float(means.idxmax())


def _true(value) -> bool:
    return str(value) in ("True", "1", "1.0")


# ---- cells of the table: {metric: (value, low, high)} ------------------------------------------------------


def _cell(table: pd.DataFrame, role: Role, n_refs: int, lam: float) -> dict[str, tuple]:
    """Mean over the seeds of one cell."""
    rows = table[table["adapter"].isin(role.names) & (table["n_refs"] == n_refs)]
    rows = rows[np.isclose(rows["lam"].astype(float), lam)]
    if rows.empty:
        raise ValueError(f"table: no rows of {role.names[0]} at n_refs = {n_refs}, lam = {lam:g}")
    return _values(rows)


def _reference(table: pd.DataFrame, name: str) -> dict[str, tuple]:
    rows = table[table["adapter"] == name]
    if name == "other" and len(rows):  # the most prompts, λ = 1
        rows = rows[rows["n_refs"] == rows["n_refs"].max()]
        rows = rows[np.isclose(rows["lam"].astype(float), 1)]
    return _values(rows)


def _values(rows: pd.DataFrame) -> dict[str, tuple]:
    means = rows.groupby("metric")[["value", "low", "high"]].mean()
    return {metric: tuple(values) for metric, values in zip(means.index, means.to_numpy(float), strict=True)}


def _runs(table: pd.DataFrame) -> dict[str, str]:
    """<metric>/<adapter>/n<N>/lam<λ> of every run in the table."""
    rows = table[~table["adapter"].isin(REFERENCES)]
    found = {}
    for (adapter, n, lam), cell in rows.groupby(["adapter", "n_refs", "lam"]):
        for metric, values in _values(cell).items():
            found |= _keys(f"{metric}/{adapter}/n{n:g}/lam{lam:g}", metric, *values)
    return found


def _roles(table: pd.DataFrame, found: Mapping[str, Role]) -> dict[str, str]:
    best, values = best_lam(table), {}
    n_min, n_max = found["main"].n_refs[0], found["main"].n_refs[-1]
    for role_name, role in found.items():
        values[f"{role_name}/label"] = role.label
        rows = table[table["adapter"].isin(role.names)]
        for n, lam in {(int(n), float(lam)) for n, lam in zip(rows["n_refs"], rows["lam"], strict=True)}:
            n_names = [f"n{n}"] + ["nmin"] * (n == n_min) + ["nmax"] * (n == n_max)
            lam_names = [f"lam{lam:g}"] + ["lambest"] * (lam == best)
            for metric, cell in _cell(table, role, n, lam).items():
                for place in (f"{a}/{b}" for a in n_names for b in lam_names):
                    values |= _keys(f"{role_name}/{place}/{metric}", metric, *cell)
    return values


def _references(table: pd.DataFrame, main: Role) -> dict[str, str]:
    cells = {
        "ceiling/real": _reference(table, "real"),
        "ceiling/reconstruction": _reference(table, "reconstruction"),
        "floor/other": _reference(table, "other"),
        "floor": _cell(table, main, main.n_refs[-1], 0),
    }
    found = {}
    for name, cell in cells.items():
        for metric, values in cell.items():
            found |= _keys(f"{name}/{metric}", metric, *values)
    return found


# ---- contrasts and verdicts --------------------------------------------------------------------------------


def _contrasts(table: pd.DataFrame, scores: pd.DataFrame, found: Mapping[str, Role]) -> dict[str, str]:
    """Paired differences of the same samples, and what the text may say of them."""
    main, best = found["main"], best_lam(table)
    n_min, n_max = main.n_refs[0], main.n_refs[-1]
    at = lambda role, n, lam, metric="identity": _scores(scores, role, n, lam, metric)  # noqa: E731
    pairs = {
        "gain": (at(main, n_max, 1), at(main, n_max, 0)),
        "gain-nmin": (at(main, n_min, 1), at(main, n_min, 0)),
        "gain-best": (at(main, n_max, best), at(main, n_max, 0)),
        "n": (at(main, n_max, 1), at(main, n_min, 1)),
        "n-best": (at(main, n_max, best), at(main, n_min, best)),
        "text": (at(main, n_max, 1, "text"), at(main, n_max, 0, "text")),
    }
    if "alt" in found:
        pairs["merge"] = (at(found["alt"], n_max, 1), at(main, n_max, 1))
    if (foreign := _foreign_scores(scores, main)) is not None:
        pairs["other"] = (at(main, n_max, 1), foreign)
    values = {}
    for name, (a, b) in pairs.items():
        estimate, low, high = _paired(a, b)
        values |= _keys(f"contrast/{name}", "text" if name == "text" else "identity", estimate, low, high)
        values[f"verdict/{name}"] = verdict(low, high)
    return _unpaired_verdicts(table, main) | values


def _scores(scores: pd.DataFrame, role: Role, n_refs: int, lam: float, metric: str) -> pd.Series:
    """Scores of one cell by (seed, person, sample). At λ = 0 the prompts play no part: any n_refs will do."""
    rows = scores[scores["adapter"].isin(role.names) & np.isclose(scores["lam"].astype(float), lam)]
    here = rows[rows["n_refs"] == n_refs]
    rows = here if len(here) or lam else rows.drop_duplicates(["seed", "person", "sample"])
    if rows.empty:
        raise ValueError(f"scores: no rows of {role.names[0]} at n_refs = {n_refs}, lam = {lam:g}")
    return rows.set_index(["seed", "person", "sample"])[metric].astype(float)


def _foreign_scores(scores: pd.DataFrame, main: Role) -> pd.Series | None:
    """Identity of the same people when the first run of `main` is shown another person's pictures, λ = 1."""
    rows = scores[(scores["adapter"] == "other") & np.isclose(scores["lam"].astype(float), 1)]
    rows = rows[rows["n_refs"] == main.n_refs[-1]]
    seeds = scores.loc[scores["adapter"] == main.names[0], "seed"]
    if rows.empty:
        return None
    return rows.assign(seed=seeds.iloc[0]).set_index(["seed", "person", "sample"])["identity"].astype(float)


def _paired(a: pd.Series, b: pd.Series) -> tuple[float, float, float]:
    both = pd.concat({"a": a, "b": b}, axis=1, join="inner").dropna()
    if both.empty:
        raise ValueError("scores: two cells to compare have no (seed, person, sample) in common")
    return intervals.paired(both["a"], both["b"], both.index.get_level_values("person"))


def _unpaired_verdicts(table: pd.DataFrame, main: Role) -> dict[str, str]:
    """For scores of whole sets, and for others without scores to pair: do the two intervals lie apart?"""
    n = main.n_refs[-1]
    one, zero, other = _cell(table, main, n, 1), _cell(table, main, n, 0), _reference(table, "other")
    pairs = {metric: (one[metric], zero[metric]) for metric in ("fid", "kid", "is") if metric in one}
    if "identity" in other:
        pairs["other"] = (one["identity"], other["identity"])
    return {f"verdict/{k}": verdict(a[1] - b[2], a[2] - b[1]) for k, (a, b) in pairs.items()}


def verdict(low: float, high: float) -> str:
    """Words for a difference by its interval: «… при N = 4 {verdict} при N = 1» is a sentence with each."""
    if low > 0:
        return "выше, чем"
    return "ниже, чем" if high < 0 else "не отличается значимо от значения"


# ---- grid and facts ----------------------------------------------------------------------------------------


def _grid(table: pd.DataFrame, scores: pd.DataFrame, found: Mapping[str, Role]) -> dict[str, str]:
    main = found["main"]
    rows = table[~table["adapter"].isin(REFERENCES)]
    lams = sorted({float(lam) for lam in rows["lam"].dropna()})
    cell = scores[scores["adapter"].eq(main.names[0]) & scores["n_refs"].eq(main.n_refs[-1])]
    cell = cell[np.isclose(cell["lam"].astype(float), 1)]
    values = {
        "grid/n_refs": ", ".join(map(str, main.n_refs)),
        "grid/nmin": str(main.n_refs[0]),
        "grid/nmax": str(main.n_refs[-1]),
        "grid/lams": "; ".join(map(_fact, lams)),
        "grid/lammax": _fact(lams[-1]),
        "grid/lambest": _fact(best_lam(table)),
        "grid/guidance": ", ".join(_fact(w) for w in sorted(rows["guidance"].dropna().unique())),
        "grid/seeds": str(len(main.names)),
        "grid/adapters": str(rows["adapter"].nunique()),
        "grid/people": _fact(cell["person"].nunique()),
        "grid/samples": _fact(len(cell)),
        "grid/cells": _fact(len(rows[["adapter", "n_refs", "lam"]].drop_duplicates())),
    }
    for metric, named in rows.groupby("metric"):
        values[f"judge/{metric}"] = ", ".join(tex(str(name)) for name in named["judge"].dropna().unique())
        counts = named["count"].dropna().astype(int)
        values[f"count/{metric}"] = "--".join(map(_fact, dict.fromkeys([counts.min(), counts.max()])))
    return values


def _fact(value) -> str:
    """A setting as it was set, not rounded: 10177 -> 10 177, 0.05 -> 0,05, 1e-4 -> 10^-4."""
    if isinstance(value, str):
        return tex(value)
    if float(value) == int(value):
        grouped = f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
        return grouped.replace(",", r"\,")
    if abs(value) < 1e-3:
        return _power(f"{value:e}")
    return _comma(f"{value:g}")


def _power(scientific: str) -> str:
    digits, power = scientific.split("e")
    factor = "" if float(digits) == 1 else _comma(f"{float(digits):g}") + r"\cdot "
    return rf"\ensuremath{{{factor}10^{{{int(power)}}}}}"


# ---- LaTeX -------------------------------------------------------------------------------------------------


def _keys(key: str, metric: str, value: float, low: float, high: float) -> dict[str, str]:
    """A number, the ends of its interval, and the interval, all with the decimals that suit the number."""
    scale = SCALES.get(metric, 1)
    digits = DECIMALS.get(metric, _decimals(value * scale))
    value, low, high = (_rounded(number * scale, digits) for number in (value, low, high))
    interval = f"[{low};~{high}]"
    return {key: value, f"{key}/low": low, f"{key}/high": high, f"{key}/interval": interval}


def _decimals(value: float) -> int:
    """As many decimals as show three significant digits, at most three."""
    if not math.isfinite(value) or value == 0:
        return 2
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 3)


def _rounded(value: float, digits: int) -> str:
    return _comma(f"{value:.{digits}f}") if math.isfinite(value) else "--"


def _comma(number: str) -> str:
    """Decimal comma without the space that mathematics puts after it; a real minus, none before a zero."""
    if number.startswith("-") and not number.strip("-0."):
        number = number[1:]
    return number.replace(".", "{,}").replace("-", r"\ensuremath{-}")


def tex(text: str) -> str:
    """Text of the table with LaTeX's special characters escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def _table_row(label: str, lam: float | None, cell: Mapping[str, tuple]) -> str:
    """A line of values and below it a small line of intervals; empty where the table has no such rows."""
    if not cell:
        return ""
    keys = [_keys("x", metric, *cell[metric]) if metric in cell else {} for metric in TABLE_METRICS]
    first = [label, "" if lam is None else _fact(lam), *(key.get("x", "") for key in keys)]
    second = ["", "", *(_small(key.get("x/interval", "")) for key in keys)]
    return rf"{' & '.join(first)} \\[-2pt]" + "\n" + rf"{' & '.join(second)} \\[2pt]"


def _small(interval: str) -> str:
    return "" if not interval or "--" in interval else rf"\scriptsize {interval}"


def _write(lines: Sequence[str], path: str | Path) -> Path:
    with atomic(path) as temporary:
        Path(temporary).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Path(path)
