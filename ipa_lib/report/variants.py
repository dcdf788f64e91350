"""Who is who in the tidy table: adapters that differ in the seed alone are one variant, and one of them is `main`.

No torch and no matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .words import words

VARIANT = ["merge", "slots", "order", "target", "views", "n_max", "random_n"]  # all but the seed
BOUNDS = ("real", "reconstruction", "other")  # rows of the table that are not an adapter's
OTHERWISE = [("slots", "shared"), ("slots", "marked"), ("order", "norm"), ("target", "shown"), ("views", "roles")]


@dataclass(frozen=True)
class Variant:
    """Adapters that differ in the seed alone: `names`, one for each of `seeds`, and the N of their usual cells."""

    merge: str
    slots: str
    order: str
    target: str
    views: str
    n_max: int
    random_n: bool
    names: tuple[str, ...]
    seeds: tuple[float, ...]
    n_refs: tuple[int, ...]

    @property
    def settings(self) -> dict[str, object]:
        """Values of `VARIANT` by name."""
        return {name: getattr(self, name) for name in VARIANT}

    def label(self, language: str = "ru") -> str:
        """Name in the paper; n of its training is not part of it."""
        names = words(language)
        more = [names[f"{axis}={value}"] for axis, value in OTHERWISE if getattr(self, axis) == value]
        return ", ".join([names.get(self.merge, self.merge), *more])

    def differs(self, other: Variant) -> set[str]:
        """Names of `VARIANT` in which the two differ."""
        return {name for name in VARIANT if self.settings[name] != other.settings[name]}

    def runs(self, seeds: Iterable[float]) -> tuple[str, ...]:
        """Names of the adapters with one of these seeds."""
        seeds = set(seeds)
        return tuple(name for name, seed in zip(self.names, self.seeds, strict=True) if seed in seeds)


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of usual cells, which are those of the people's own or another person's prompts at the usual w, and of the
    ceilings. The usual w is the one of the first row that has any: a grid begins with its usual cells.

    Of the table, or of scores with its columns prompts and guidance. ValueError without these columns.
    """
    if missing := [name for name in ("prompts", "guidance") if name not in rows]:
        raise ValueError(f"table: there is no column {missing[0]!r}; `make report` writes the table anew")
    known = rows["views"].astype(object).fillna("whole") if "views" in rows else "whole"  # older adapters do not say
    rows = rows.assign(views=known)
    w = rows["guidance"].dropna()
    plain = rows["prompts"].isna() | rows["prompts"].isin(["own", "other"])
    return rows[plain & (rows["guidance"].isna() | rows["guidance"].eq(w.iloc[0] if len(w) else np.nan))]


def find_variants(table: pd.DataFrame) -> list[Variant]:
    """Variants of the usual cells, in the order of the table."""
    rows = usual(table)
    rows = rows[~rows["adapter"].isin(BOUNDS) & (rows["metric"] == "identity")]
    return [_variant(key, own) for key, own in rows.groupby(VARIANT, sort=False)]


def _variant(key: tuple, rows: pd.DataFrame) -> Variant:
    merge, slots, order, target, views, n_max, random_n = key
    seeds = rows.groupby("adapter", sort=False)["seed"].first()
    n_refs = tuple(sorted(int(n) for n in rows["n_refs"].unique()))
    drawn = str(random_n) in ("True", "1", "1.0")
    return Variant(merge, slots, order, target, views, int(n_max), drawn, tuple(seeds.index), tuple(seeds), n_refs)


def roles(table: pd.DataFrame) -> dict[str, Variant]:
    """{"main": the first variant trained with random n} and, where there is one, {"alt": the first one with another
    merge that was judged at main's largest N and λ = 1, of a seed of main}. ValueError: a table without an adapter."""
    variants = find_variants(table)
    if not variants:
        raise ValueError("table: no identity rows of an adapter; expected at least one evaluated adapter")
    main = next((v for v in variants if v.random_n), variants[0])
    rows = usual(table)
    judged = set(rows.loc[(rows["n_refs"] == main.n_refs[-1]) & (rows["lam"] == 1), "adapter"])
    alt = next((v for v in variants if v.merge != main.merge and judged.intersection(v.runs(main.seeds))), None)
    return {name: variant for name, variant in (("main", main), ("alt", alt)) if variant}


def best_lam(table: pd.DataFrame) -> float:
    """The λ > 0 with the highest mean identity of `main` at its largest N, the smaller of two equals."""
    main, rows = roles(table)["main"], usual(table)
    rows = rows[rows["adapter"].isin(main.names) & (rows["n_refs"] == main.n_refs[-1])]
    means = rows[(rows["metric"] == "identity") & (rows["lam"] > 0)].groupby("lam")["value"].mean()
    if means.empty:
        raise ValueError("table: the grid has no λ > 0; expected at least 0 and 1")
    return float(means.idxmax())


def kin(variants: Iterable[Variant], main: Variant, axes: set[str]) -> list[Variant]:
    """Those of `variants` that differ from main in `axes` alone, main among them."""
    return [v for v in variants if v.differs(main) <= axes]
