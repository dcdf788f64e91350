"""Who is who in the tidy table: adapters that differ in the seed alone are one variant, and one of them is `main`.

No torch and no matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

VARIANT = ["merge", "slots", "order", "target", "n_max", "random_n"]  # adapters alike in these differ in the seed
REFERENCES = {  # rows of the table that are not an adapter's, and what the paper calls them
    "real": "реальные изображения",
    "reconstruction": "автокодировщик",
    "other": "подсказки другого человека",
}
MERGE_NAMES = {
    "mean": "среднее",
    "concat": "конкатенация",
    "weighted": "веса по номеру",
    "gated": "веса по содержанию",
    "sum": "сумма",
    "average": "среднее вниманий",
}
JUDGE_NAMES = {  # networks behind the scores, as their files name them, and what the paper calls them
    "mini identity judge": "судья личности",
    "mini attribute judge": "судья признаков",
    "attribute judge": "судья признаков",
    "mobilenet_v2.py:ImageNetFeatures": "MobileNetV2",
    "MobileFaceNet": "MobileFaceNet",
}
OTHERWISE = {  # what a label says of a variant besides its merge
    ("slots", "shared"): "общие матрицы",
    ("order", "norm"): "по убыванию нормы",
    ("target", "shown"): "цель среди подсказок",
}


@dataclass(frozen=True)
class Variant:
    """Adapters that differ in the seed alone: `names`, one for each of `seeds`, and the N of their usual cells."""

    merge: str
    slots: str
    order: str
    target: str
    n_max: int
    random_n: bool
    names: tuple[str, ...]
    seeds: tuple[float, ...]
    n_refs: tuple[int, ...]

    @property
    def settings(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in VARIANT}

    @property
    def label(self) -> str:
        """What the paper calls it; n of its training is not among it."""
        more = [text for (name, value), text in OTHERWISE.items() if getattr(self, name) == value]
        return ", ".join([MERGE_NAMES.get(self.merge, self.merge), *more])

    def differs(self, other: Variant) -> set[str]:
        """In which of `VARIANT` the two differ."""
        return {name for name in VARIANT if self.settings[name] != other.settings[name]}

    def runs(self, seeds: Iterable[float]) -> tuple[str, ...]:
        """Names of the adapters with one of these seeds."""
        seeds = set(seeds)
        return tuple(name for name, seed in zip(self.names, self.seeds, strict=True) if seed in seeds)


def of_variant(frame: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    """Rows of a frame, or of the table, that have its settings."""
    return frame[np.logical_and.reduce([frame[name] == value for name, value in variant.settings.items()])]


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows, of the table or of the scores, of usual cells (n<N>, n<N>-other) and of the ceilings."""
    if "cell" not in rows:
        raise ValueError("table: there is no column 'cell'; an earlier version wrote it, `make report` writes it anew")
    cells = rows["cell"].astype("string").fillna("")
    return rows[cells.str.fullmatch(r"(n\d+(-other)?)?").astype(bool)]


def find_variants(table: pd.DataFrame) -> list[Variant]:
    """Of the usual cells, in the order of the table."""
    rows = usual(table)
    rows = rows[~rows["adapter"].isin(REFERENCES) & (rows["metric"] == "identity")]
    return [_variant(key, own) for key, own in rows.groupby(VARIANT, sort=False)]


def _variant(key: tuple, rows: pd.DataFrame) -> Variant:
    merge, slots, order, target, n_max, random_n = key
    seeds = rows.groupby("adapter", sort=False)["seed"].first()
    n_refs = tuple(sorted(int(n) for n in rows["n_refs"].unique()))
    drawn = str(random_n) in ("True", "1", "1.0")
    return Variant(merge, slots, order, target, int(n_max), drawn, tuple(seeds.index), tuple(seeds), n_refs)


def roles(table: pd.DataFrame) -> dict[str, Variant]:
    """{"main": the first variant trained with random n} and, where there is one, {"alt": the first one with another
    merge that was judged at main's largest N and λ = 1, of a seed of main}. ValueError: a table without an adapter."""
    found = find_variants(table)
    if not found:
        raise ValueError("table: no identity rows of an adapter; expected at least one evaluated adapter")
    main = next((v for v in found if v.random_n), found[0])
    rows = usual(table)
    judged = set(rows.loc[(rows["n_refs"] == main.n_refs[-1]) & (rows["lam"] == 1), "adapter"])
    alt = next((v for v in found if v.merge != main.merge and judged.intersection(v.runs(main.seeds))), None)
    return {name: variant for name, variant in (("main", main), ("alt", alt)) if variant}


def best_lam(table: pd.DataFrame) -> float:
    """The λ > 0 with the highest mean identity of `main` at its largest N, the smaller of two equals."""
    main, rows = roles(table)["main"], usual(table)
    rows = rows[rows["adapter"].isin(main.names) & (rows["n_refs"] == main.n_refs[-1])]
    means = rows[(rows["metric"] == "identity") & (rows["lam"] > 0)].groupby("lam")["value"].mean()
    if means.empty:
        raise ValueError("table: the grid has no λ > 0; expected at least 0 and 1")
    return float(means.idxmax())
