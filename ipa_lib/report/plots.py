"""Style, intervals and saving of all figures; the figures themselves are drawn in notebooks 10 to 13. No torch.

A notebook draws answer tables with seaborn: `use` sets the style and gives the words of a language, `panels` the page,
`ready` the rows as they are shown, and `bars`, `bands`, `bounds`, `label`, `legend` and `save` the rest. A figure is
drawn at its final width and included unscaled, so the font sizes here are those on the page. Colour is N in every
figure; where nothing but N differs, line style and marker are N too, so that a print in grey can be read.
Figures that show pictures are in `grids`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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
from matplotlib.ticker import AutoLocator, MaxNLocator, ScalarFormatter

from ..files import atomic
from ..workflow import provenance
from .answers import Results
from .latex import SCALES
from .variants import VARIANT, Variant, find_variants, usual
from .words import number, words

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
BY_N = {f"$N = {n}$": n for n in N_ORDER}  # what a legend calls N
COLORS = {name: N_COLORS[n] for name, n in BY_N.items()}
MARKERS = dict(zip(BY_N, cycle("os^Dv")))  # noqa: B905 they repeat
DASHES = dict(zip(BY_N, cycle(["", (4, 1.5), (1, 1), (3, 1, 1, 1), (6, 1, 1, 1, 1, 1)])))  # noqa: B905
OF_N = {"hue": "N", "style": "N", "palette": COLORS, "markers": MARKERS, "dashes": DASHES}  # for seaborn
POINTS = {"errorbar": None, "markers": ["o", "s"], "markersize": 5, "linewidth": 1.2}  # of a pointplot
POINTS_OF_N = {name: value for name, value in OF_N.items() if name != "dashes"}
BOUND_DASHES = {"real": (0, (6, 2)), "reconstruction": (0, (3, 2)), "other": (0, (1, 1.5)), "text_alone": (0, (1, 4))}


def use(language: str = "ru") -> dict[str, str]:
    """Take the style of the figures for this notebook, and return the words of a language. ValueError as `words`."""
    plt.rcParams.update(RC)
    return words(language)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw with this style and leave the caller's matplotlib alone; a notebook shows the figure returned."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with plt.rc_context(RC):
            fig = draw(*args, **kwargs)
        plt.close(fig)  # pyplot forgets it, so that no notebook shows it twice or piles figures up
        return fig

    return drawn


def panels(columns: int, height: float, width: float = WIDTH, **options) -> tuple[Figure, list[Axes]]:
    """A figure of that many panels side by side, and these; cm. Other options as of `plt.subplots`."""
    options = {"layout": "constrained", "squeeze": False, **options}
    fig, axes = plt.subplots(1, columns, figsize=(width * CM, height * CM), **options)
    plt.close(fig)  # shown once, where a cell ends with it
    return fig, list(axes[0])


def save(fig: Figure, path: str | Path, notebook: str = "", commit: str | None = None) -> Path:
    """Write a vector PDF without dates: the same figure gives the same bytes. `commit` defaults to git's."""
    commit = (provenance.commit()["commit"] or "unknown")[:7] if commit is None else commit
    subject = f"notebook={notebook} commit={commit}"
    metadata = {"Title": Path(path).stem, "Subject": subject, "CreationDate": None}
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates in matplotlib's own fonts
    with plt.rc_context(RC), atomic(path) as temporary:
        fig.savefig(temporary, format="pdf", dpi=DPI, metadata=metadata)
    return Path(path)


# ---- answer tables on axes ---------------------------------------------------------------------------------------


def ready(frame: pd.DataFrame, x: str = "", aside: bool = False) -> pd.DataFrame:
    """Rows of an answer table as they are shown: shares in per cent, the column N for a legend, and the column `at`,
    the place on the axis of `x`. With `aside` different N stand beside each other there, so that their bars can be told
    apart."""
    scale = [SCALES.get(measure.removesuffix("_difference"), 1) for measure in frame["measure"]]
    frame = frame.assign(**{name: frame[name] * scale for name in ("value", "low", "high")})
    if "n_refs" in frame:
        frame = frame.assign(N=[f"$N = {n}$" for n in frame["n_refs"]])
    if not x or frame.empty:
        return frame.assign(at=frame[x] if x else np.nan)
    series, places = pd.factorize(frame["N"])[0], sorted(frame[x].unique())
    step = 0.5 * min(np.diff(places), default=1.0) / (series.max() + 1)
    return frame.assign(at=frame[x] + aside * step * (series - series.max() / 2))


def bars(ax: Axes, frame: pd.DataFrame, at: str, by: str = "N", lying: bool = False) -> None:
    """The intervals of `ready` rows as bars, upright or lying, in the colours of N, else in grey."""
    draw = ax.hlines if lying else ax.vlines
    for name, rows in frame.groupby(by):
        draw(rows[at], rows["low"], rows["high"], color=COLORS.get(name, "0.45"), linewidth=1.1, zorder=1.5)


def whiskers(ax: Axes, frame: pd.DataFrame, by: str) -> None:
    """The intervals of the rows at the points that seaborn has drawn of them, a line for each value of `by`: upright,
    or lying where the values are along x."""
    for line, (_, rows) in zip(ax.get_lines(), frame.groupby(by, sort=False), strict=False):
        points = [np.asarray(data, float) for data in (line.get_xdata(), line.get_ydata())]
        lying = np.isin(points[0].round(9), rows["value"].round(9)).all()
        draw, (place, value) = (ax.hlines, points[::-1]) if lying else (ax.vlines, points)
        for row in rows.itertuples():
            at = place[np.isclose(value, row.value)][:1]
            draw(at, [row.low] * len(at), [row.high] * len(at), color=line.get_color(), linewidth=1.1)


def bands(ax: Axes, frame: pd.DataFrame, at: str) -> None:
    """The same as bands along the axis."""
    for name, rows in frame.groupby("N"):
        ax.fill_between(rows[at], rows["low"], rows["high"], color=COLORS[name], alpha=0.15, linewidth=0)


def bounds(ax: Axes, frame: pd.DataFrame, metric: str, names: Sequence[str], word: dict[str, str]) -> None:
    """A level line at each of these bounds of the answer table `bounds`."""
    rows = ready(frame[frame["measure"] == metric]).set_index("bound")["value"]
    for name in names:
        if name in rows:
            look = {"color": "0.25", "linestyle": BOUND_DASHES[name], "linewidth": 1.0}
            ax.axhline(rows[name], **look, label=word[name], zorder=1)


def runs(results: Results, metric: str, **where: object) -> pd.DataFrame:
    """Single trainings of the main adapter in usual cells, as rows of an answer: every seed a dot. None of one run."""
    rows, names = usual(results.table), results.main.names
    rows = rows[rows["adapter"].isin(names) & (len(names) > 1)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return ready(rows[rows["metric"] == metric].rename(columns={"metric": "measure"}).astype({"n_refs": int}))


def label(ax: Axes, x: str, y: str, language: str = "ru") -> None:
    """Names of both axes, that below in one line; numbers at their ticks, three or more beside a linear axis."""
    ax.set(xlabel=x.replace("\n", " "), ylabel=y)
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_formatter(), ScalarFormatter):  # not an axis of names, nor a logarithmic one
            axis.set_major_formatter(partial(_tick, axis, language))
    if isinstance(ax.yaxis.get_major_locator(), AutoLocator):
        ax.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 4, 5, 10], min_n_ticks=3))


def log_ticks(ax: Axes, places: Sequence[float]) -> None:
    """Ticks of a logarithmic axis at these places; one that is close before the last has no number."""
    near = [max(places) / 1.25 <= place < max(places) for place in places]
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_xticks(list(places), ["" if close else f"{place:.0f}" for place, close in zip(places, near, strict=True)])


def name_points(ax: Axes, rows: pd.DataFrame, x: str, y: str, language: str = "ru") -> None:
    """λ beside the points of a curve over it, in full at both ends."""
    for i, row in enumerate(rows.sort_values("lam").to_dict("records")):
        end = i in (0, len(rows) - 1)
        name = rf"$\lambda = {tex_number(row['lam'], language)}$" if end else number(row["lam"], language)
        ax.annotate(name, (row[x], row[y]), (5, 4), textcoords="offset points", color="0.25", fontsize=7)


def lam_names(rows: pd.DataFrame, language: str = "ru") -> list[str]:
    """Names of the λ of each row in a legend."""
    return [rf"$\lambda = {tex_number(lam, language)}$" for lam in rows["lam"]]


def names_of(adapters: pd.DataFrame, results: Results, language: str = "ru") -> list[str]:
    """Names of the rows of the answer table `adapters`; the main one is marked."""
    by_settings = {tuple(v.settings.values()): v for v in find_variants(results.table)}
    variants = [by_settings[tuple(row)] for row in adapters[VARIANT].itertuples(index=False)]
    mark = f" ({words(language)['main_adapter']})"
    return [variant_name(v, language) + mark * (v == results.main) for v in variants]


def rows_named(ax: Axes, names: Sequence[str]) -> None:
    """A name beside each row, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")


def legend(fig: Figure, columns: int = 5, right: bool = False) -> Figure:
    """One legend for all panels, outside of them, in place of seaborn's; returns the figure."""
    entries = {}
    for ax in fig.axes:
        if own := ax.get_legend():
            entries |= dict(zip((text.get_text() for text in own.get_texts()), own.legend_handles, strict=True))
            own.remove()
        entries |= {name: handle for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    place = "outside right center" if right else "outside lower center"
    fig.legend(entries.values(), entries.keys(), loc=place, ncols=1 if right else columns)
    return fig


def judged(results: Results, metric: str, language: str = "ru") -> str:
    """'судья признаков, 200 изображений': no score without its network and count."""
    word, rows = words(language), usual(results.table)
    rows = rows[rows["adapter"].isin(results.main.names) & (rows["metric"] == metric)]
    if rows.empty:
        return word["not_measured"]
    judges = ", ".join(word.get(name, str(name)) for name in rows["judge"].dropna().unique())
    counts = rows["count"].dropna().astype(int)
    count = f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()}–{counts.max()}"
    return f"{judges}, {count} {word['images']}"


def text_measure(results: Results) -> str:
    """Name of the measure of agreement with the text: text, or clip_t where no judge looks for attributes."""
    return "clip_t" if "clip_t" in set(results.table["metric"]) else "text"


def variant_name(v: Variant, language: str = "ru") -> str:
    """Name of an adapter in a legend: its label and the n it was trained for."""
    sign = r"\leq" if v.random_n else "="
    return rf"{v.label(language)}, {words(language)['trained_for']} $n {sign} {v.n_max}$"


def color(n_refs: float) -> tuple[float, float, float]:
    """The colour of N, the same in every figure."""
    return N_COLORS.get(int(n_refs), (0.3, 0.3, 0.3))


def tex_number(value: float, language: str = "ru") -> str:
    """A number within a formula: 0.5 -> 0{,}5."""
    text = f"{value:.6g}"
    return text.replace(".", "{,}") if language == "ru" else text


def _tick(axis: Axis, language: str, value: float, _: int) -> str:
    """The number at a tick, with as many decimals as any tick of its axis needs."""
    decimals = max(len(f"{tick:.6f}".rstrip("0").partition(".")[2]) for tick in axis.get_majorticklocs())
    return number(round(value, decimals) + 0.0, language, f".{decimals}f")  # + 0.0: of -0.0, 0.0


# ---- for the notebooks of training -------------------------------------------------------------------------------


@styled
def training_curves(logs: pd.DataFrame, main: Sequence[str] = (), window: int = 50, language: str = "ru") -> Figure:
    """Loss (4) on training people, smoothed over `window` steps, and on validation people.

    logs: columns adapter, step, loss and (sometimes) val_loss. Runs of `main`, of a few adapters all of them, are drawn
    over the others, thin and grey. ValueError without a row.
    """
    if logs.empty:
        raise ValueError("training_curves: no training log was given")
    word, names = words(language), list(dict.fromkeys(logs["adapter"]))
    chosen = [name for name in names if name in main or len(names) <= len(STYLES)]
    fig, (train, val) = panels(2, height=4.8)
    tones = dict(zip(chosen, sns.color_palette("cividis", len(chosen) + 2), strict=False))  # without the palest
    for name, log in logs.groupby("adapter", sort=False):
        look = {"color": tones[name]} if name in tones else {"color": "0.8", "linewidth": 0.7, "zorder": 1}
        title = name if name in tones else word["other_adapters"]
        title = word["run"].format(chosen.index(name)) if name in main else title
        smooth = log["loss"].rolling(window, min_periods=1, center=True).mean()
        train.plot(log["step"], smooth, **look | {"linewidth": min(look.get("linewidth", 1.1), 1.1)})
        validated = log.reindex(columns=["step", "val_loss"]).dropna()
        val.plot(validated["step"], validated["val_loss"], label=title, **look)
    train.set_title(word["loss_train"].format(window))
    val.set_title(word["loss_val"])
    label(train, word["step"], word["loss"], language)
    label(val, word["step"], "", language)
    return legend(fig, columns=3)


@styled
def loss_curve(log: pd.DataFrame, title: str) -> Figure:
    """Training loss over the steps, on a logarithmic axis; empty for a part that was not trained here."""
    fig, (ax,) = panels(1, height=4.5, width=HALF)
    if len(log):
        ax.semilogy(log["step"], log["loss"].rolling(5, min_periods=1, center=True).mean(), color="0.2")
    ax.set_title(title)
    label(ax, "step", "loss", "en")
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
    fig, (ax,) = panels(1, height=4.5, width=HALF)
    kinds = (("one person", first, second, True), ("two people", any_first, any_second, False))
    for name, a, b, same in kinds:
        chosen = (persons[a] == persons[b]) == same
        cosine = (unit[a[chosen]] * unit[b[chosen]]).sum(1)
        ax.hist(cosine, bins=np.linspace(-1, 1, 81), density=True, alpha=0.6, label=name)
    label(ax, "cosine of two image embeddings", "density", "en")
    ax.legend()
    return fig
