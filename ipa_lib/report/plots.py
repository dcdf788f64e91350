"""Figures of numbers, from the tidy table and the training logs; the settings of all figures; no torch.

One function a figure: its name is the stem of the file and of the LaTeX label. A figure is drawn at its final
width and included unscaled, so the font sizes here are those on the page. Colour is N in every figure, line
style and marker tell the rest apart: adapters, kinds of prompts, λ; where nothing but N differs they go with the
colour, so that a print in grey can be read. What is shown of the table are its usual cells
(`variants.usual`), but for the figures of side questions; those say so in a word where the grid has no answer.
Figures that show pictures are in `pictures`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import atomic
from ..workflow import provenance
from . import ablations, variants
from .ablations import SCALES
from .variants import JUDGE_NAMES, MERGE_NAMES, REFERENCES, Variant, usual

CM = 1 / 2.54  # inches in a centimetre
WIDTH = 16.5  # cm, the text width of paper/preprint.sty
HALF = 8.0  # cm, two figures side by side
DPI = 300  # of what is raster in a figure
RC = {
    **sns.axes_style("whitegrid", {"axes.edgecolor": "0.4", "grid.color": "0.9"}),
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 3.0,  # a dashed line shows that it is
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "pdf.compression": 9,
}
N_ORDER = (1, 2, 4, 8, 3, 6, 16, 5, 12, 7)  # which N takes which colour
N_COLORS = dict(zip(N_ORDER, sns.color_palette("colorblind"), strict=True))
STYLES = (
    {"linestyle": "-", "marker": "o"},
    {"linestyle": "--", "marker": "s"},
    {"linestyle": ":", "marker": "^"},
    {"linestyle": "-.", "marker": "D"},
    {"linestyle": (0, (6, 1, 1, 1, 1, 1)), "marker": "v"},
)
N_STYLES = dict(zip(N_ORDER, cycle(STYLES)))  # noqa: B905 styles repeat
DASHES = {"real": (0, (6, 2)), "reconstruction": (0, (3, 2)), "other": (0, (1, 1.5))}  # of `REFERENCES`
CEILINGS = {"real": "*", "reconstruction": "P"}  # markers
REACH = 5  # times the span of the curves
LEGIBLE = 4  # curves of training that can be told apart
LABELS = {
    "identity": "сходство\nличности",
    "copying": "сходство с ближайшей подсказкой",
    "text": "соответствие\nтексту, %",
    "fid": "FID",
    "kid": "KID",
    "is": "IS",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw with the paper's settings and leave the caller's matplotlib alone; a notebook shows the figure returned."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with plt.rc_context(RC):
            fig = draw(*args, **kwargs)
        plt.close(fig)  # pyplot forgets it, so that no notebook shows it twice or piles figures up
        return fig

    return drawn


def save(fig: Figure, path: str | Path, notebook: str = "", commit: str | None = None) -> Path:
    """Write a vector PDF without dates: the same figure gives the same bytes. `commit` defaults to git's."""
    commit = (provenance.commit()["commit"] or "unknown")[:7] if commit is None else commit
    subject = f"notebook={notebook} commit={commit}"
    metadata = {"Title": Path(path).stem, "Subject": subject, "CreationDate": None}
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates in matplotlib's own fonts
    with plt.rc_context(RC), atomic(path) as temporary:
        fig.savefig(temporary, format="pdf", dpi=DPI, metadata=metadata)
    return Path(path)


# ---- figures over lam --------------------------------------------------------------------------------------


@styled
def identity_vs_lam(table: pd.DataFrame) -> Figure:
    """Identity similarity to held-out pictures over λ, with both ceilings and both floors."""
    fig, ax = _panels(1, height=4.7)
    _over_lam(ax, table, "identity", abreast=False)
    _references(ax, table, "identity", ("real", "reconstruction", "other"))
    _floor(ax, table, "identity")
    return _with_legend(fig, columns=2, outside="right")


@styled
def fid_vs_lam(table: pd.DataFrame) -> Figure:
    """KID and FID over λ; the title names the network behind the features and the number of samples."""
    fig, axes = _panels(2, height=5.6)
    for ax, metric in zip(axes, ("kid", "fid"), strict=True):
        _over_lam(ax, table, metric)
        _references(ax, table, metric, ("real", "reconstruction"))
        ax.set_title(_judged(table, metric))
    return _with_legend(fig, columns=2 if _both(table) else 3)


@styled
def is_vs_lam(table: pd.DataFrame) -> Figure:
    """Inception score over λ, half the text width."""
    return _half_over_lam(table, "is")


@styled
def text_vs_lam(table: pd.DataFrame) -> Figure:
    """How well the samples follow their captions, over λ, half the text width."""
    return _half_over_lam(table, "text")


def _half_over_lam(table: pd.DataFrame, metric: str) -> Figure:
    if not _measured(table, metric):
        return _nothing()
    both = bool(_both(table))
    fig, ax = _panels(1, height=7.6 if both else 6.0, width=HALF)
    _over_lam(ax, table, metric)
    _references(ax, table, metric, ("real", "reconstruction"))
    ax.set_title(_judged(table, metric))
    return _with_legend(fig, columns=1 if both else 2)


def _over_lam(ax: Axes, table: pd.DataFrame, metric: str, abreast: bool = True) -> None:
    """A line a series, mean over seeds, with people's intervals and every seed a dot.

    The series stand side by side at each λ, so that their intervals, bars, can be told apart; else in one place with
    bands: where a curve is steep, it would look lower for standing further to the right.
    """
    drawn = list(_series_over_lam(table, metric))
    lams = sorted({lam for *_, cell in drawn for lam in cell["lam"]})
    for shift, (n, name, look, cell) in zip(abreast * _aside(lams, len(drawn)), drawn, strict=True):
        mean = cell.groupby("lam")[["value", "low", "high"]].mean()
        at = mean.index + shift
        ax.plot(at, mean["value"], color=color(n), label=name, linewidth=1.1, **look)
        if abreast:
            ax.vlines(at, mean["low"], mean["high"], color=color(n), linewidth=0.9)
        else:
            ax.fill_between(at, mean["low"], mean["high"], color=color(n), alpha=0.15, linewidth=0)
        _seed_dots(ax, cell["lam"] + shift, cell["value"], cell["seed"])
    ax.set_xticks(lams)
    ax.margins(y=0.1)
    _label(ax, r"вес изображений $\lambda$", axis_name(table, metric))


def _series_over_lam(table: pd.DataFrame, metric: str) -> Iterator[tuple[float, str, dict, pd.DataFrame]]:
    """N, name, style and rows of main for each N; in a small grid also of the other variant, and styles tell the two
    apart."""
    both = _both(table)
    for v, look in zip(both or [variants.roles(table)["main"]], STYLES):  # noqa: B905 more styles than variants
        for n, cell in _scaled(_of(_samples(table, metric), v), metric).groupby("n_refs"):
            name = f"$N = {n:g}$: {variant_name(v)}" if both else f"$N = {n:g}$"
            yield n, name, look if both else style(n), cell


def _both(table: pd.DataFrame) -> list[Variant]:
    """The variants of a grid of two, else none."""
    found = variants.find_variants(table)
    return found if len(found) == 2 else []


def _aside(places: Sequence[float], count: int) -> np.ndarray:
    """How far aside of `places` each of `count` series stands: together they take half of the least distance."""
    room = 0.5 * min(np.diff(places), default=1.0)
    return room * (np.arange(count) - (count - 1) / 2) / count


# ---- figures over N ----------------------------------------------------------------------------------------


@styled
def identity_vs_n_refs(table: pd.DataFrame, lams: Sequence[float] = (1.0,)) -> Figure:
    """Identity similarity over the number of prompts, one panel a value of λ (say 1 and the best one), which several
    panels name.

    Without floors and ceilings, at whose scale the differences could not be seen: `identity_vs_lam` has these.
    """
    lams = list(dict.fromkeys(lams))
    fig, axes = _panels(len(lams), height=5.5, sharey=True)
    for ax, lam in zip(np.atleast_1d(axes), lams, strict=True):
        _over_n(ax, table, "identity", lam)
        ax.set_title(rf"$\lambda = {tex_number(lam)}$" if len(lams) > 1 else "")
        ax.label_outer()
    return _with_legend(fig, columns=3)


@styled
def fid_vs_n_refs(table: pd.DataFrame, lam: float = 1.0) -> Figure:
    """KID and FID over the number of prompts at one λ."""
    fig, axes = _panels(2, height=5.8)
    for ax, metric in zip(axes, ("kid", "fid"), strict=True):
        _over_n(ax, table, metric, lam)
        _references(ax, table, metric, ("real", "reconstruction"))
        ax.set_title(_judged(table, metric))
    return _with_legend(fig, columns=2)


def _over_n(ax: Axes, table: pd.DataFrame, metric: str, lam: float) -> None:
    """One grey line per series through a marker per N in N's colour; bars are the people's intervals."""
    rows = _scaled(at_lam(_samples(table, metric), lam), metric)
    drawn = [(name, cell) for name, cell in _series_over_n(table, rows) if len(cell)]
    step = 0.04 * max(cell["n_refs"].max() for _, cell in drawn)  # aside: intervals of two series at one N stay apart
    for shift, style, (name, cell) in zip(cycle((0, step, -step)), cycle(STYLES), drawn):  # noqa: B905
        mean = cell.groupby("n_refs")[["value", "low", "high"]].mean()
        at = mean.index.to_numpy() + shift
        ax.plot(at, mean["value"], color="0.45", label=name, **style)
        _points(ax, at, mean, [color(n) for n in mean.index], style["marker"])
        _seed_dots(ax, cell["n_refs"] + shift, cell["value"], cell["seed"])
    ax.set_xticks(sorted(pd.concat([cell["n_refs"] for _, cell in drawn]).unique()))
    ax.margins(x=0.12, y=0.1)
    _label(ax, "число подсказок $N$", axis_name(table, metric))


def _series_over_n(table: pd.DataFrame, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Main, its counterparts each trained for one N (one series, each at that N), those with another range of random
    n; in a small grid also the other variant, whatever it is."""
    found, main = variants.find_variants(table), variants.roles(table)["main"]
    fixed = [v for v in found if ablations.trained_for_one_n(v, main)]
    near = [v for v in found if v.differs(main) <= {"n_max", "random_n"} or len(found) <= 2]
    yield variant_name(main), _of(rows, main)
    if fixed:
        own = [cell[cell["n_refs"] == v.n_max] for v in fixed for cell in [_of(rows, v)]]
        name = variant_name(fixed[0]) if len(fixed) == 1 else rf"{main.label}, своя модель для каждого $N$"
        yield name, pd.concat(own)
    yield from ((variant_name(v), _of(rows, v)) for v in near if v not in (main, *fixed))


def _points(
    ax: Axes, at: Sequence[float], mean: pd.DataFrame, tones: Sequence, marker: str, lying: bool = False
) -> None:
    """Markers with intervals, upright or lying; mean: columns value, low, high."""
    for place, (value, low, high), tone in zip(at, mean[["value", "low", "high"]].to_numpy(float), tones, strict=True):
        x, y = (value, place) if lying else (place, value)
        ends = {"xerr" if lying else "yerr": [[max(value - low, 0)], [max(high - value, 0)]]}
        ax.errorbar(x, y, **ends, color=tone, capsize=2.5, elinewidth=1.2)
        ax.plot(x, y, color=tone, marker=marker, markersize=5, linestyle="none")


@styled
def identity_of_adapters(table: pd.DataFrame) -> Figure:
    """Identity of every adapter at its largest N and λ = 1, a row a variant, those alike in their merge and training
    below each other; every seed a dot. Without the floors, for the same reason as in `identity_vs_n_refs`."""
    found, main = _kin_together(variants.find_variants(table)), variants.roles(table)["main"]
    fig, ax = _panels(1, height=2.0 + 0.42 * len(found))
    rows = _scaled(at_lam(_samples(table, "identity"), 1.0), "identity")
    for place, v in enumerate(found):
        n = v.n_refs[-1]
        cell = _of(rows, v)[lambda cell, n=n: cell["n_refs"] == n]
        mean = cell[["value", "low", "high"]].mean().to_frame().T
        _points(ax, [place], mean, [color(n)], style(n)["marker"], lying=True)
        _seed_dots(ax, cell["value"], pd.Series(place, cell.index), cell["seed"])
    for n in sorted({v.n_refs[-1] for v in found}):
        ax.plot([], [], color=color(n), label=f"$N = {n}$", **style(n) | {"linestyle": "none"})
    _label(ax, LABELS["identity"], "")
    _rows_named(ax, [variant_name(v) + " (основной)" * (v == main) for v in found])
    return _with_legend(fig, columns=4)


def _kin_together(found: Sequence[Variant]) -> list[Variant]:
    """Each behind those before it that have its merge and its n: they differ in matrices, order or target."""
    kin = [(v.merge, v.n_max, v.random_n) for v in found]
    return sorted(found, key=lambda v: kin.index((v.merge, v.n_max, v.random_n)))


def _rows_named(ax: Axes, names: Sequence[str]) -> None:
    """A name beside each row, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")


# ---- side questions ----------------------------------------------------------------------------------------


@styled
def identity_vs_occlusion(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Identity of main over N, a line a share of prompts with an occluder; beside it every merge at one N.

    The second panel is left out where fewer than two merges were shown occluded prompts.
    """
    main, merges = variants.roles(table)["main"], ablations.merges(table, scores)
    frame = variants.of_variant(ablations.occlusion(table, scores), main)
    merges = merges[merges["prompts"].str.startswith("occluded")]
    panels = [draw for draw, rows in ((_occlusion_over_n, frame), (_occlusion_of_merges, merges)) if len(rows)]
    if not panels:
        return _nothing()
    both = len(panels) > 1
    fig, axes = _panels(len(panels), height=6.5 if both else 5.6, width=WIDTH if both else HALF)
    for draw, ax in zip(panels, np.atleast_1d(axes), strict=True):
        draw(ax, frame if draw is _occlusion_over_n else merges)
    return _with_legend(fig, columns=3 if both else 1)


def _occlusion_over_n(ax: Axes, frame: pd.DataFrame) -> None:
    step = 0.045 * frame["n_refs"].max()
    for (share, rows), style, shift in zip(frame.groupby("share"), STYLES, (-step, 0, step)):  # noqa: B905
        mean = _as_value(rows, "identity").set_index("n_refs")
        at = mean.index.to_numpy() + shift
        ax.plot(at, mean["value"], color="0.45", label=f"закрыто {share} % подсказок", **style)
        _points(ax, at, mean, [color(n) for n in mean.index], style["marker"])
    ax.set_xticks(sorted(frame["n_refs"].unique()))
    ax.margins(x=0.12)
    ax.set_title("основной адаптер")
    _label(ax, "число подсказок $N$", LABELS["identity"])


def _occlusion_of_merges(ax: Axes, merges: pd.DataFrame) -> None:
    n, names = merges["n_refs"].iloc[0], list(dict.fromkeys(merges["merge"]))
    for (share, rows), style, shift in zip(_by_share(merges), STYLES, (-0.22, 0, 0.22)):  # noqa: B905
        mean = _as_value(rows, "identity")
        at = [names.index(name) + shift for name in mean["merge"]]
        _points(ax, at, mean, [color(n)] * len(mean), style["marker"], lying=True)
        ax.plot([], [], color="0.45", label=f"закрыто {share} % подсказок", **style)
    _label(ax, LABELS["identity"], "")
    _rows_named(ax, [MERGE_NAMES.get(name, name) for name in names])
    ax.set_title(f"агрегирующие функции при $N = {n}$")


def _by_share(merges: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    return iter(merges.groupby(merges["prompts"].str.removeprefix("occluded").astype(int)))


@styled
def tradeoff(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """What the person costs: KID and the text against identity, a curve over λ for each N of main, and the ceilings.

    Intervals stand at the ends of the curves, λ beside the points. A ceiling more than `REACH` times as far as the
    curves go is left out: at its scale they could not be read.
    """
    frame, metrics = ablations.tradeoff(table, scores), _measured(table, "kid", "text")
    fig, axes = _panels(len(metrics), height=5.4)
    for ax, metric in zip(np.atleast_1d(axes), metrics, strict=True):
        mean = _scaled(_as_value(frame, metric), metric)
        for n, rows in mean.groupby("n_refs"):
            ax.plot(rows["identity"], rows["value"], color=color(n), label=f"$N = {n}$", linewidth=1.0, **style(n))
            _crosses(ax, rows.iloc[[0, -1]], color(n))
        _name_lams(ax, mean)
        _ceiling_markers(ax, table, metric, mean["identity"])
        ax.margins(x=0.2, y=0.1)
        ax.set_title(_judged(table, metric))
        _label(ax, LABELS["identity"], axis_name(table, metric))
    return _with_legend(fig, columns=6)


def _crosses(ax: Axes, rows: pd.DataFrame, tone) -> None:
    """Intervals of both quantities, faint."""
    look = {"color": tone, "alpha": 0.35, "linewidth": 0.8, "zorder": 1}
    ax.hlines(rows["value"], rows["identity_low"], rows["identity_high"], **look)
    ax.vlines(rows["identity"], rows["low"], rows["high"], **look)


def _name_lams(ax: Axes, mean: pd.DataFrame) -> None:
    """λ off the curves, in full at both ends: left of the start and of where they come back, right of where they turn
    or end, else above; below a fall."""
    curve = mean.groupby("lam")[["identity", "value"]].mean()  # of all N
    steps = np.diff(curve, axis=0, prepend=curve.iloc[:1], append=curve.iloc[-1:])  # [L + 1, 2]; i comes to point i
    for i, (lam, rows) in enumerate(mean.groupby("lam")):
        end, left = i in (0, len(curve) - 1), i == 0 or steps[i, 0] < 0
        point = rows.sort_values("identity")[["identity", "value"]].iloc[0 if left else -1]
        up = 1 if steps[i, 1] >= 0 else -1
        place = {"xytext": (-6 if left else 6, 2 * up), "ha": "right" if left else "left",
                 "va": "bottom" if up > 0 else "top"}  # fmt: skip
        if min(steps[i : i + 2, 0]) > 0:
            place = {"xytext": (0, 5), "ha": "center", "va": "bottom"}
        name = rf"$\lambda = {tex_number(lam)}$" if end else number(lam)
        ax.annotate(name, tuple(point), textcoords="offset points", color="0.25", fontsize=7.5, **place)


def _ceiling_markers(ax: Axes, table: pd.DataFrame, metric: str, reached: pd.Series) -> None:
    means = usual(table).groupby(["adapter", "metric"])["value"].mean()
    furthest = reached.min() + REACH * np.ptp(reached)
    for name, marker in CEILINGS.items():
        if {(name, "identity"), (name, metric)} <= set(means.index) and means[name, "identity"] <= furthest:
            x, y = means[name, "identity"], means[name, metric] * SCALES.get(metric, 1)
            ax.plot(x, y, color="0.25", marker=marker, markersize=7, linestyle="none", label=REFERENCES[name])


@styled
def guidance(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Identity, KID and text of main over the guidance w at one N, a line a λ, the paler the smaller."""
    frame = ablations.guidance(table, scores)
    if frame.empty:
        return _nothing()
    metrics = _measured(table, "identity", "kid", "text")
    fig, axes = _panels(len(metrics), height=5.8)
    n, lams, ws = frame["n_refs"].iloc[0], sorted(frame["lam"].unique()), sorted(frame["guidance"].unique())
    tones = sns.light_palette(color(n), len(lams) + 2)[2:]
    for ax, metric in zip(axes, metrics, strict=True):
        mean = _scaled(_as_value(frame, metric), metric)
        for (lam, rows), tone, style in zip(mean.groupby("lam"), tones, cycle(STYLES)):  # noqa: B905
            ax.plot(rows["guidance"], rows["value"], color=tone, label=rf"$\lambda = {tex_number(lam)}$", **style)
            ax.fill_between(rows["guidance"], rows["low"], rows["high"], color=tone, alpha=0.15, linewidth=0)
        ax.set_title(_judged(table, metric).replace(", ", ",\n"))
        _label(ax, "коэффициент усиления $w$", axis_name(table, metric))
        ax.set_xticks(ws, [number(w) for w in ws])
    return _with_legend(fig, columns=5)


@styled
def copying_vs_identity(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """What showing the target among the prompts teaches: identity and copying of both trainings, a panel an N."""
    frame = ablations.target_shown(table, scores)
    if frame.empty:
        return _nothing()
    counts = sorted(frame["n_refs"].unique())
    fig, axes = _panels(len(counts), height=5.2, width=WIDTH if len(counts) > 1 else HALF, sharey=True)
    for ax, n in zip(np.atleast_1d(axes), counts, strict=True):
        _copying_at(ax, frame[frame["n_refs"] == n])
        ax.set_title(f"$N = {n}$")
        ax.label_outer()
    return _with_legend(fig, columns=2 if len(counts) > 1 else 1)


def _copying_at(ax: Axes, rows: pd.DataFrame) -> None:
    places = {"left_out": 0, "shown": 1}
    names = {"identity": "сходство с отложенными изображениями", "copying": "сходство с ближайшей подсказкой"}
    for (metric, name), style, shift in zip(names.items(), STYLES, (-0.04, 0.04)):  # noqa: B905
        mean = _as_value(rows, metric)
        at = mean["target"].map(places).to_numpy() + shift
        ax.plot(at, mean["value"], color="0.45", label=name, **style)
        _points(ax, at, mean, [color(n) for n in mean["n_refs"]], style["marker"])
    _label(ax, "цель при обучении", "косинус")
    ax.set_xticks(list(places.values()), ["отложена", "среди подсказок"])
    ax.set_xlim(-0.5, 1.5)


@styled
def fid_vs_count(counts: pd.DataFrame) -> Figure:
    """KID and FID over the number of pictures, the whole set a larger marker; counts: columns metric (fid, kid), count,
    value, low, high."""
    fig, axes = _panels(2, height=4.8)
    for ax, metric in zip(axes, ("kid", "fid"), strict=True):
        rows = _rows(counts, metric).sort_values("count")
        ax.plot(rows["count"], rows["value"], color="0.45", label="случайная часть изображений", **STYLES[0])
        ax.fill_between(rows["count"], rows["low"], rows["high"], color="0.45", alpha=0.2, linewidth=0)
        whole = rows.iloc[-1]
        ax.plot(whole["count"], whole["value"], color="0.1", marker="*", markersize=9, linestyle="none",
                label="все изображения")  # fmt: skip
        ax.set_xscale("log")
        ax.minorticks_off()
        _label(ax, "число изображений", LABELS[metric])
        near = rows["count"].between(whole["count"] / 1.25, whole["count"], inclusive="left")  # no room for its name
        ax.set_xticks(rows["count"], rows["count"].astype(int).astype(str).mask(near, ""), fontsize=7)
    return _with_legend(fig, columns=2)


def axis_name(table: pd.DataFrame, metric: str) -> str:
    """What stands beside an axis; agreement with the text is in the unit of its judge."""
    by_clip = metric == "text" and "clip_t" in set(table["metric"])
    return "CLIP-T, $10^{-2}$" if by_clip else LABELS[metric]


def _measured(table: pd.DataFrame, *metrics: str) -> list[str]:
    """Those of `metrics` that a judge gave: of photographs, not every one has a judge."""
    return [metric for metric in metrics if metric in set(table["metric"])]


def _nothing() -> Figure:
    """In place of a figure for which the grid has no cells, or no judge."""
    fig = plt.figure(figsize=(HALF * CM, 2 * CM))
    fig.text(0.5, 0.5, "в этой сетке не измерялось", ha="center", va="center", color="0.4")
    return fig


def _as_value(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """A quantity of a frame of `ablations` under the names value, low, high."""
    return rows.assign(value=rows[name], low=rows[f"{name}_low"], high=rows[f"{name}_high"])


# ---- training ----------------------------------------------------------------------------------------------


@styled
def training_curves(logs: Mapping[str, pd.DataFrame], window: int = 50, main: Sequence[str] = ()) -> Figure:
    """Loss (4) on training people, smoothed over `window` steps, and on validation people.

    `logs`: name of the adapter -> its log with columns step, loss and (sometimes) val_loss. Of many logs those of
    `main` (else of the first and its other seeds) are drawn over one log of each other variant, thin and grey.
    """
    if not logs:
        raise ValueError("training_curves: no training log was given")
    first = _unseeded(next(iter(logs)))
    chosen = set(main) & set(logs) or {name for name in logs if _unseeded(name) == first}
    named = [name for name in logs if name in chosen or len(logs) <= LEGIBLE]
    others = {_unseeded(name): name for name in reversed(logs) if _unseeded(name) not in map(_unseeded, named)}
    fig, axes = _panels(2, height=4.8)
    tones = sns.color_palette("cividis", len(named) + 2)  # the last two are as pale as the others
    for name, tone, style in zip(named, tones, cycle(STYLES)):  # noqa: B905 styles repeat
        label = f"основной адаптер, запуск {_seed(name)}" if name in main else name
        _training_curve(axes, logs[name], window, color=tone, label=label, **style)
    for name in others.values():
        _training_curve(axes, logs[name], window, color="0.8", label="другие адаптеры", linewidth=0.7, zorder=1)
    axes[0].set_title(f"обучающие люди, среднее по {window} шагам")
    axes[1].set_title("проверочные люди")
    for ax in axes:
        _label(ax, "шаг обучения", "функция\nпотерь (4)")
    axes[1].set_ylabel("")
    return _with_legend(fig, columns=3)


def _unseeded(name: str) -> str:
    """The variant of an adapter's name: mean-own-n4r-s1 -> mean-own-n4r."""
    return re.sub(r"-s\d+$", "", name)


def _seed(name: str) -> str:
    """The seed of an adapter's name: mean-own-n4r-s1 -> 1."""
    return name.rpartition("-s")[2]


def _training_curve(axes: Sequence[Axes], log: pd.DataFrame, window: int, color, label: str, **style) -> None:
    log = log.reindex(columns=["step", "loss", "val_loss"])
    train, val = (log.dropna(subset=[name]) for name in ("loss", "val_loss"))
    smooth = train["loss"].rolling(window, min_periods=1, center=True).mean()
    thin = {"linewidth": min(style.get("linewidth", 1.1), 1.1), "zorder": style.get("zorder", 2)}
    axes[0].plot(train["step"], smooth, color=color, **thin)
    axes[1].plot(val["step"], val["val_loss"], color=color, label=label, **style)


# ---- the table ---------------------------------------------------------------------------------------------


def color(n_refs: float) -> tuple[float, float, float]:
    """The colour of N, the same in every figure."""
    return N_COLORS.get(int(n_refs), (0.3, 0.3, 0.3))


def style(n_refs: float) -> dict:
    """Line style and marker of N, where they tell nothing else."""
    return N_STYLES.get(int(n_refs), STYLES[0])


def variant_name(v: Variant) -> str:
    """What a legend calls an adapter: its label and the n it was trained for."""
    sign = r"\leq" if v.random_n else "="
    return rf"{v.label}, обучен на $n {sign} {v.n_max}$"


def _rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = table[table["metric"] == metric]
    if rows.empty:
        raise ValueError(f"table: no rows of metric {metric!r}, only {sorted(set(table['metric']))}")
    return rows


def _samples(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = usual(_rows(table, metric))
    return rows[~rows["adapter"].isin(REFERENCES)]


def _of(rows: pd.DataFrame, *those: Variant) -> pd.DataFrame:
    return rows[rows["adapter"].isin([name for v in those for name in v.names])]


def at_lam(rows: pd.DataFrame, lam: float) -> pd.DataFrame:
    """The rows at one λ. ValueError, which names the λ there are, where none is at this one."""
    cell = rows[np.isclose(rows["lam"].astype(float), lam)]
    if cell.empty:
        raise ValueError(f"table: no rows at lam = {lam:g}, only {sorted(set(rows['lam'].dropna()))}")
    return cell


def _scaled(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    columns = ["value", "low", "high"]
    return rows.assign(**{name: rows[name].astype(float) * SCALES.get(metric, 1) for name in columns})


def _judged(table: pd.DataFrame, metric: str) -> str:
    """'судья признаков, 200 изображений': no score without its network and count."""
    rows = _of(_samples(table, metric), variants.roles(table)["main"])
    judges = ", ".join(JUDGE_NAMES.get(name, str(name)) for name in rows["judge"].dropna().unique())
    counts = rows["count"].dropna().astype(int)
    count = f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()}–{counts.max()}"
    return f"{judges}, {count} изображений"


# ---- axes --------------------------------------------------------------------------------------------------


def _panels(columns: int, height: float, width: float = WIDTH, sharey: bool = False):
    size = (width * CM, height * CM)
    return plt.subplots(1, columns, figsize=size, layout="constrained", sharey=sharey)


def _label(ax: Axes, x: str, y: str) -> None:
    """Names of both axes, that below in one line; numbers at their ticks, three or more beside a linear axis."""
    ax.set(xlabel=x.replace("\n", " "), ylabel=y)
    for axis in (ax.xaxis, ax.yaxis):
        linear = axis.get_scale() == "linear"
        axis.set_major_formatter(partial(_tick, axis) if linear else lambda value, _: number(value))
    if ax.get_yscale() == "linear":
        ax.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 4, 5, 10], min_n_ticks=3))


def _tick(axis: Axis, value: float, _: int) -> str:
    """The number at a tick, with as many decimals as any tick of its axis needs."""
    decimals = max(len(f"{tick:.6f}".rstrip("0").partition(".")[2]) for tick in axis.get_majorticklocs())
    return number(round(value, decimals) + 0.0, f".{decimals}f")  # + 0.0: of -0.0, 0.0


def number(value: float, spec: str = ".6g") -> str:
    """A number with the decimal comma and a real minus: -0.25 -> −0,25."""
    return f"{value:{spec}}".replace(".", ",").replace("-", "−")


def tex_number(value: float) -> str:
    """A number within a formula: 0.5 -> 0{,}5."""
    return f"{value:.6g}".replace(".", "{,}")


def _references(ax: Axes, table: pd.DataFrame, metric: str, names: Sequence[str]) -> None:
    """A level line at each reference."""
    rows = _scaled(usual(_rows(table, metric)), metric)
    for name in names:
        cell = rows[rows["adapter"] == name]
        if name == "other" and len(cell):  # sampled like an adapter: where the difference should be largest
            cell = at_lam(cell[cell["n_refs"] == cell["n_refs"].max()], 1.0)
        if len(cell):
            look = {"color": "0.25", "linestyle": DASHES[name], "linewidth": 1.0, "label": REFERENCES[name]}
            ax.axhline(cell["value"].mean(), **look)


def _floor(ax: Axes, table: pd.DataFrame, metric: str) -> None:
    rows = at_lam(_scaled(_samples(table, metric), metric), 0.0)
    label = r"$\lambda = 0$: только текст"
    ax.axhline(rows["value"].mean(), color="0.6", linestyle="-", linewidth=1.0, label=label, zorder=1)


def _seed_dots(ax: Axes, x: pd.Series, y: pd.Series, seeds: pd.Series) -> None:
    if seeds.nunique() > 1:
        ax.plot(x, y, color="0.3", marker=".", markersize=3, alpha=0.6, linestyle="none")


def _with_legend(fig: Figure, columns: int, outside: str = "lower") -> Figure:
    """One legend for all panels, outside of them."""
    named = [pair for ax in fig.axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    found = {label: handle for handle, label in named}
    place = {"lower": "outside lower center", "right": "outside right center"}[outside]
    fig.legend(found.values(), found.keys(), loc=place, ncols=1 if outside == "right" else columns)
    return fig


# ---- for the notebooks alone -------------------------------------------------------------------------------


@styled
def loss_curve(log: pd.DataFrame, title: str) -> Figure:
    """Training loss over the steps, on a logarithmic axis; empty for a part that was not trained here."""
    fig, ax = _panels(1, height=4.5, width=HALF)
    if len(log):
        ax.semilogy(log["step"], log["loss"].rolling(5, min_periods=1, center=True).mean(), color="0.2")
    ax.set_title(title)
    _label(ax, "step", "loss")
    return fig


@styled
def similarity_histogram(
    embeds: np.ndarray, persons: np.ndarray, pairs: int = 20_000, seed: int = 0
) -> Figure:
    """Cosines of embeddings [M, E], or [M, patches, E], for random pairs of pictures of one person and of two."""
    rng, embeds = np.random.default_rng(seed), embeds.reshape(len(embeds), -1)
    unit = embeds / np.linalg.norm(embeds, axis=1, keepdims=True)
    order = np.lexsort((rng.random(len(persons)), persons))  # neighbours are mostly of one person
    first, second = order[:-1], order[1:]
    any_first, any_second = rng.integers(len(persons), size=(2, pairs))
    fig, ax = _panels(1, height=4.5, width=HALF)
    kinds = (("one person", first, second, True), ("two people", any_first, any_second, False))
    for name, a, b, same in kinds:
        chosen = (persons[a] == persons[b]) == same
        cosine = (unit[a[chosen]] * unit[b[chosen]]).sum(1)
        ax.hist(cosine, bins=np.linspace(-1, 1, 81), density=True, alpha=0.6, label=name)
    _label(ax, "cosine of two image embeddings", "density")
    ax.legend()
    return fig
