"""The tidy table to look around in: rows chosen by what they differ in, a figure of them, and what lies behind a row.

A point is a row a cell (adapter, N, λ …) with a metric's value and interval. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..diffusion.galleries import read_index, read_pictures
from ..files import short
from ..report.plots import STYLES, color, styled
from ..report.variants import BOUNDS, roles, usual
from ..workflow.config import DEFAULT
from ..workflow.paths import PUBLISHED, results_dir

FILTERS = ("n_refs", "lam", "merge", "slots", "seed", "prompts", "guidance")
COLUMNS = (*FILTERS, "adapter", "cell", "metric", "value", "low", "high", "count")
METRICS = {"identity": "identity", "fid": "FID", "is": "IS", "kid": "KID", "text": "text agreement",
           "top1": "top-1 of people", "copying": "copying of prompts"}  # fmt: skip
AXES = {"lam": "λ", "n_refs": "N"}
CEILINGS = {"real": (0, (6, 2)), "reconstruction": (0, (3, 2))}
INCHES = (8.4, 3.6)
CEILING_NAMES = {"real": "real pictures", "reconstruction": "autoencoder"}
NAMED = 8  # curves that a legend can tell apart


@dataclass(frozen=True)
class Table:
    """The tidy table of a profile, and a sentence of what is missing, empty where nothing is."""

    rows: pd.DataFrame
    results: Path
    missing: str = ""


def command(profile: str) -> str:
    """Command that makes the results of a profile."""
    return "make report" if profile == DEFAULT else f"make report PROFILE={profile}"


def read_table(profile: str) -> Table:
    """The profile's own table, else the published one, without samples. ValueError for a column that it lacks."""
    if (file := results_dir(profile) / "table.csv").is_file():
        rows = pd.read_csv(file)
        if lacking := [name for name in COLUMNS if name not in rows]:
            raise ValueError(f"{short(file)}: the column {lacking[0]} is missing: `{command(profile)}` writes it anew")
        return Table(rows, file.parent)
    published = results_dir("published") / PUBLISHED
    missing = f"results/{profile} has no table yet: these are the published results; `{command(profile)}` makes its own"
    return Table(pd.read_csv(published / "table.csv"), results_dir(PUBLISHED), missing)


def values(table: pd.DataFrame, name: str) -> list:
    """The different values of a column of `FILTERS` among the adapters' rows, in order."""
    return sorted(of_adapters(table)[name].dropna().unique().tolist())


def of_adapters(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of adapters, without ceilings and other people's prompts."""
    return table[~table["adapter"].isin(BOUNDS)]


def chosen(table: pd.DataFrame, metric: str, wanted: Mapping[str, object]) -> pd.DataFrame:
    """The adapters' rows of a metric whose columns have the values of `wanted`, in the order of the table."""
    rows = of_adapters(table)
    rows = rows[rows["metric"] == metric]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows.reset_index(drop=True)


def usual_filters(table: pd.DataFrame) -> dict[str, object]:
    """First values of the filters: the main adapter's merge, slots and first seed, own prompts and usual w."""
    main = roles(table)["main"]
    rows = usual(of_adapters(table))
    w = rows.loc[rows["adapter"].isin(main.names), "guidance"].iloc[0]
    return {"merge": main.merge, "slots": main.slots, "seed": main.seeds[0], "prompts": "own", "guidance": w}


HEAD = f"{'adapter':<24} {'cell':<15} {'N':<4} {'λ':<7} {'value':>8}  [95 % interval]  count"


def line(row: Mapping) -> str:
    """A row in a list: what it is of, its value and interval."""
    cell = f"{row['adapter']:<24} {row['cell']:<15} N {row['n_refs']:<2.0f} λ {row['lam']:<5g}"
    return f"{cell} {row['value']:8.3f}  [{row['low']:.3f}; {row['high']:.3f}]  {row['count']:.0f}"


# ---- a figure of the rows ----------------------------------------------------------------------------------


@styled
def figure(table: pd.DataFrame, rows: pd.DataFrame, metric: str, x: str) -> Figure:
    """The rows of a metric over λ or N with their intervals.

    x: "lam" or "n_refs". Colours are those of N in the paper; a line joins what differs in `x` alone.
    """
    fig, ax = plt.subplots(figsize=INCHES, layout="constrained", dpi=100)
    joined = [name for name in ("adapter", "cell", "n_refs", "lam") if name not in (x, *["cell"] * (x == "n_refs"))]
    curves = rows.groupby(joined, sort=False)
    for i, (_, curve) in enumerate(curves):
        _draw(ax, curve.sort_values(x), x, i)
    _references(ax, table, metric)
    ax.set(xlabel=AXES[x], ylabel=METRICS[metric], xticks=np.unique(rows[x]))
    if handles := ax.get_legend_handles_labels()[0]:
        title = f"the first {NAMED} of {len(curves)} lines" if len(curves) > NAMED else None
        fig.legend(handles=handles, loc="outside right upper", title=title)
    fig.canvas.draw()  # settles the layout
    return fig


def places(fig: Figure, rows: pd.DataFrame, x: str) -> np.ndarray:
    """Place of each row in its `figure`: [R,2], fractions from the left and from the top."""
    points = fig.axes[0].transData.transform(rows[[x, "value"]].to_numpy(float)) / fig.bbox.size
    return np.column_stack([points[:, 0], 1 - points[:, 1]])


def _draw(ax: Axes, curve: pd.DataFrame, x: str, number: int) -> None:
    first = curve.iloc[0]
    name = f"{first['adapter']}, " + (f"N = {first['n_refs']:g}" if x == "lam" else f"λ = {first['lam']:g}")
    prompts = "" if first["prompts"] == "own" else f", {first['prompts']}"
    tone = color(first["n_refs"]) if x == "lam" else f"C{number % 10}"
    ends = np.abs(curve[["low", "high"]].sub(curve["value"], axis=0)).T.to_numpy()
    label = name + prompts if number < NAMED else None
    ax.errorbar(curve[x], curve["value"], ends, color=tone, capsize=2, elinewidth=0.8, label=label,
                **STYLES[number % len(STYLES)])  # fmt: skip


def _references(ax: Axes, table: pd.DataFrame, metric: str) -> None:
    """Lines at what real pictures and the autoencoder's reconstructions reach, for identity."""
    rows = table[table["metric"] == metric] if metric == "identity" else table[:0]
    for name, dashes in CEILINGS.items():
        for value in rows.loc[rows["adapter"] == name, "value"].head(1):
            ax.axhline(value, color="0.3", linestyle=dashes, linewidth=1, label=CEILING_NAMES[name])


# ---- what lies behind a row --------------------------------------------------------------------------------


def behind(table: Table, row: Mapping) -> list[tuple[str, str]]:
    """Files of a row's run on disk: ("run folder" or "executed notebook", path from the root of the repository)."""
    cell = f"{row['adapter']}/{row['cell']}"
    folder = table.results / "samples" / cell
    notebooks = [folder / "05_generate.ipynb", table.results / "metrics" / cell / "06_evaluate.ipynb",
                 table.results / "adapters" / row["adapter"] / "04_train_adapter.ipynb"]  # fmt: skip
    named = [("run folder", folder), *(("executed notebook", file) for file in notebooks)]
    return [(what, short(path)) for what, path in named if path.exists()]


def samples(table: Table, row: Mapping, count: int = 8) -> tuple[np.ndarray, list[str]]:
    """The first samples of a row, uint8 [S,H,W,3], and whose they are.

    FileNotFoundError of one line that names the command where they are not kept.
    """
    folder = table.results / "samples" / row["adapter"] / row["cell"]
    if not (folder / "index.csv").is_file():
        raise FileNotFoundError(f"{short(folder)}: no samples here; `{command(table.results.name)}` makes them")
    index, _ = read_index(folder)
    index = index[np.isclose(index["lam"], row["lam"])].head(count)
    return read_pictures(folder, index), [f"person {person}" for person in index["person"]]
