"""Figures that show pictures: samples over λ, failures, rows of pictures, what each prompt was listened to for.

Everything is given as arrays; no torch. The settings of the page and the way to save a figure are those of `plots`.
Letters: R rows (people shown), K failure cases, N prompts, L values of lam; pictures are uint8 RGB [..., H, W, 3].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .plots import CM, WIDTH, styled, tex_number
from .variants import usual
from .words import number, words

REGIONS = ("образец", "подсказка", "главная", "внимание", ",")  # what `prompt_regions` says
PICTURE_DPI = 200  # of generated faces in a figure
TIE = 0.001  # shares of attention that differ by less count as equal


# ---- of the paper ------------------------------------------------------------------------------------------


@styled
def sample_grid(
    prompts: np.ndarray, truths: np.ndarray, samples: np.ndarray, lams: Sequence[float], size: float = 1.9,
    language: str = "ru",
) -> Figure:
    """A row a person: the N prompts on grey | the held-out target x_0 | the samples over λ.

    prompts [R, N, H, W, 3], truths [R, H, W, 3], samples [R, L, H, W, 3] uint8; lams: L numbers;
    size: the largest side of a picture on the page in cm.
    """
    people, n = _stacked("prompts", prompts, 5)[:2]
    _same("truths", _stacked("truths", truths, 4)[:1], (people,))
    _same("samples", _stacked("samples", samples, 5)[:2], (people, len(lams)))
    grid = Grid(columns=n + 1 + len(lams), rows=people, gaps={n: 0.3, n + 1: 0.3}, size=size)
    grid.shade(0, n)
    grid.head(0, n, words(language)["prompts"])
    grid.head(n, n + 1, words(language)["truth"])
    for column, lam in enumerate(lams, start=n + 1):
        grid.head(column, column + 1, rf"$\lambda = {tex_number(lam, language)}$")
    for row in range(people):
        for column, picture in enumerate([*prompts[row], truths[row], *samples[row]]):
            grid.show(row, column, picture)
    return grid.fig


@styled
def generated_grid(samples: np.ndarray, n_refs: Sequence[int], size: float = 1.9, language: str = "ru") -> Figure:
    """A row a person, samples alone: of the text | of N prompts besides, λ = 1. No picture of the data is in it.

    samples [R, 1 + K, H, W, 3] uint8 as `galleries.over_n` gives them; n_refs: K numbers.
    """
    people, columns = _stacked("samples", samples, 5)[:2]
    _same("samples", (columns,), (1 + len(n_refs),))
    grid = Grid(columns=columns, rows=people, gaps={1: 0.3}, size=size)
    for column, head in enumerate([words(language)["text_alone"], *(f"$N = {n}$" for n in n_refs)]):
        grid.head(column, column + 1, head)
    for row, column in np.ndindex(people, columns):
        grid.show(row, column, samples[row, column])
    return grid.fig


def worst_cases(
    scores: pd.DataFrame, adapter: str, n_refs: int, lam: float = 1.0, count: int = 8
) -> pd.DataFrame:
    """The rule behind `failure_cases`: the `count` lowest identity scores of one cell, lowest first."""
    cell = usual(scores)
    cell = cell[(cell["adapter"] == adapter) & (cell["n_refs"] == n_refs) & np.isclose(cell["lam"].astype(float), lam)]
    return cell.sort_values(["identity", "person", "sample"]).head(count).reset_index(drop=True)


@styled
def failure_cases(
    cases: pd.DataFrame, prompts: np.ndarray, truths: np.ndarray, samples: np.ndarray, size: float = 1.15,
    language: str = "ru",
) -> Figure:
    """A row a case of `worst_cases`: its score | sample | target x_0 | the N prompts on grey.

    cases: K rows with identity; prompts [K, N, H, W, 3], truths and samples [K, H, W, 3] uint8.
    """
    count, n = _stacked("prompts", prompts, 5)[:2]
    _same("cases", (len(cases),), (count,))
    _same("truths", _stacked("truths", truths, 4)[:1], (count,))
    _same("samples", _stacked("samples", samples, 4)[:1], (count,))
    grid = Grid(columns=n + 2, rows=count, gaps={1: 0.35, 2: 0.35}, size=size, margin=2.0)
    grid.shade(2, n + 2)
    word = words(language)
    grid.head_margin(word["identity"].partition("\n")[0])
    for start, stop, name in ((0, 1, "sample"), (1, 2, "truth"), (2, n + 2, "prompts")):
        grid.head(start, stop, word[name])
    for row, score in enumerate(cases["identity"]):
        grid.beside(row, number(score, language, ".3f"))
        for column, picture in enumerate([samples[row], truths[row], *prompts[row]]):
            grid.show(row, column, picture)
    return grid.fig


# ---- beside the paper --------------------------------------------------------------------------------------


@styled
def picture_rows(rows: Sequence[np.ndarray], names: Sequence[str] = (), size: float = 1.9,
                 heads: Sequence[str] = ()) -> Figure:
    """Rows of uint8 pictures [R, C, H, W, 3], with a name beside each row and a head above each column where given."""
    columns = max(len(row) for row in rows)
    room = {0: 0.0} if heads else None
    grid = Grid(columns=columns, rows=len(rows), gaps=room, size=size, margin=0.6 if names else 0.0)
    for column, head in enumerate(heads):
        grid.head(column, column + 1, head)
    for row, name in enumerate(names):
        grid.beside(row, name, rotation=90)
    for row, shown in enumerate(rows):
        for column, picture in enumerate(shown):
            grid.show(row, column, picture)
    return grid.fig


@styled
def strip(shown: np.ndarray, labels: Sequence[str], size: float = 2.2, columns: int = 7) -> Figure:
    """uint8 pictures [C, H, W, 3] side by side, `columns` in a row, with a label of one or two lines below each."""
    _same("labels", (len(labels),), _stacked("shown", shown, 4)[:1])
    rows, room = -(-len(shown) // columns), 0.35 * (1 + max(label.count("\n") for label in labels))
    gaps = {row: room for row in range(1, rows + 1)}  # also below the last
    grid = Grid(columns=min(columns, len(shown)), rows=rows, row_gaps=gaps, size=size)
    for i, (picture, label) in enumerate(zip(shown, labels, strict=True)):
        grid.show(i // columns, i % columns, picture)
        grid.under(i // columns, i % columns, label)
    return grid.fig


@styled
def prompt_regions(
    picture: np.ndarray, shares: np.ndarray, prompts: np.ndarray, size: float = 2.2, words: Sequence[str] = REGIONS
) -> Figure:
    """A picture | its prompts, and under each where it was listened to | the prompt listened to most in each place.

    picture [H, W, 3], prompts [N, H, W, 3] uint8; shares [N, h, w], one picture of `attention_maps.average`;
    size: the largest side of a picture in cm; words: for sample, prompt, the panel of the leading one, attention; the
    decimal mark.  All maps have one scale, and 1/N lies in it.  The last panel stays bare where the two that lead are
    within `TIE` of each other.  ValueError for other shapes or kinds.
    """
    n, shares = _stacked("prompts", prompts, 4)[0], _maps(shares, len(prompts))
    _stacked("picture", picture, 3)
    tones = sns.color_palette("Set2" if n <= 8 else "husl", n)  # not those of N
    grid = Grid(columns=n + 2, rows=2, gaps={1: 0.3, n + 1: 0.3}, size=size)
    for column, name in enumerate([words[0], *(f"{words[1]} {p + 1}" for p in range(n)), words[2]]):
        grid.head(column, column + 1, name)
    grid.show(0, 0, picture)
    for p in range(n):
        _frame(grid.show(0, p + 1, prompts[p]), tones[p])
        heat = _over(grid.show(1, p + 1, _faint(picture)), shares[p], "bilinear", **_scale(shares))
    _over(grid.show(0, n + 1, _faint(picture)), _painted(shares, tones), "none")
    _bar(grid, heat, 1 / n, *words[3:])
    _numbers(grid, tones, words[1])
    return grid.fig


def _maps(shares: np.ndarray, n: int) -> np.ndarray:
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 3 or len(shares) != n or not shares.size or not np.isfinite(shares).all():
        raise ValueError(f"shares: expected a finite map [h, w] for each of {n} prompts, got {list(shares.shape)}")
    return shares


def _faint(picture: np.ndarray) -> np.ndarray:
    # uint8 RGB => uint8 grey with less contrast, so that colours over it can be told apart
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    return np.repeat((64 + 0.75 * grey).astype(np.uint8)[..., None], 3, axis=-1)


def _scale(shares: np.ndarray) -> dict:
    """One scale for all maps: what there is, and 1/N with a margin, so that rounding is not blown up to a pattern."""
    low, high = 1 / len(shares) - 0.01, min(1, 1 / len(shares) + 0.01)
    return {"cmap": "viridis", "vmin": min(low, shares.min()), "vmax": max(high, shares.max())}


def _over(ax: Axes, image: np.ndarray, interpolation: str, **scale) -> AxesImage:
    """An image over the picture of a panel, half transparent."""
    place = {"extent": ax.images[0].get_extent(), "aspect": "auto"}
    return ax.imshow(image, alpha=0.6, interpolation=interpolation, **place, **scale)


def _painted(shares: np.ndarray, tones: Sequence) -> np.ndarray:
    """RGBA [s, s, 4]: the colour of the largest of shares [N, h, w], transparent in a tie."""
    resize = partial(Image.Image.resize, size=(256, 256), resample=Image.Resampling.BILINEAR)
    fine = np.stack([np.asarray(resize(Image.fromarray(x.astype(np.float32)))) for x in shares])
    alone = (fine > fine.max(0) - TIE).sum(0) == 1
    return np.dstack([np.asarray(tones)[fine.argmax(0)], alone])


def _frame(ax: Axes, tone: tuple[float, float, float]) -> None:
    ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, edgecolor=tone, linewidth=4))


def _bar(grid: Grid, heat: AxesImage, equal: float, name: str, mark: str) -> None:
    """The colour bar beside the maps, with a line at 1/N."""
    x, y, side = grid.left(1) - 0.55, grid.upper(1) + 0.1, grid.side_cm - 0.2
    language = "en" if mark == "." else "ru"
    ticks = {"ticks": MaxNLocator(4, steps=[1, 2, 5, 10]), "format": lambda value, _: number(value, language)}
    bar = grid.fig.colorbar(heat, grid.fig.add_axes(grid.box(x, y, 0.2, side)), ticklocation="left", **ticks)
    bar.set_label(name, fontsize=7)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.grid(False)
    bar.ax.axhline(equal, color="0.1", linewidth=1)


def _numbers(grid: Grid, tones: Sequence, name: str) -> None:
    """Legend of the prompts' colours, in the cell below the last panel; four in a column."""
    patches = {str(p): Patch(color=tone) for p, tone in enumerate(tones, start=1)}
    cell = grid.box(grid.left(len(tones) + 1), grid.upper(1), grid.side_cm, grid.side_cm)
    look = {"ncols": -(-len(tones) // 4), "handlelength": 1, "columnspacing": 1, "labelspacing": 0.2, "borderpad": 0}
    place = {"loc": "upper left", "bbox_to_anchor": cell, "alignment": "left", "borderaxespad": 0}
    grid.fig.legend(patches.values(), patches, title=name, title_fontsize=6.5, fontsize=6.5, **look, **place)


# ---- the grid ----------------------------------------------------------------------------------------------


class Grid:
    """Pictures of one side length within the text's width, with gaps, headings, grey grounds; in cm."""

    def __init__(self, columns, rows, gaps=None, row_gaps=None, size=1.9, margin=0.0):
        self.gaps, self.row_gaps, self.margin = gaps or {}, row_gaps or {}, margin
        self.pad = 0.06
        self.side_cm = min(size, (WIDTH - margin - sum(self.gaps.values()) - 2 * self.pad) / columns)
        self.top = 0.5 if gaps else 0.1
        self.width = margin + columns * self.side_cm + sum(self.gaps.values()) + 2 * self.pad
        self.height = self.top + rows * self.side_cm + sum(self.row_gaps.values()) + 2 * self.pad
        self.columns, self.rows = columns, rows
        self.fig = plt.figure(figsize=(self.width * CM, self.height * CM))

    def left(self, column: int) -> float:
        """Left edge of a column in cm."""
        gaps = sum(gap for before, gap in self.gaps.items() if before <= column)
        return self.margin + self.pad + column * self.side_cm + gaps

    def upper(self, row: int) -> float:
        """Upper edge of a row in cm."""
        gaps = sum(gap for before, gap in self.row_gaps.items() if before <= row)
        return self.top + self.pad + row * self.side_cm + gaps

    def show(self, row: int, column: int, picture: np.ndarray) -> Axes:
        """Show a uint8 picture [H, W, 3] in a cell; returns its axes."""
        inner = self.side_cm - 2 * self.pad
        x, y = self.left(column) + self.pad, self.upper(row) + self.pad
        ax = self.fig.add_axes(self.box(x, y, inner, inner))
        side = min(round(inner * CM * PICTURE_DPI), 2 * len(picture))  # more would fill the file and show nothing
        ax.imshow(_resized(picture, side), interpolation="none", aspect="auto")
        ax.set_axis_off()
        return ax

    def head(self, start: int, stop: int, text: str) -> None:
        """Write a heading above columns start … stop - 1."""
        self._head((self.left(start) + self.left(stop - 1) + self.side_cm) / 2, text)

    def head_margin(self, text: str) -> None:
        """Write a heading above what stands beside the rows."""
        self._head(self.margin / 2, text)

    def _head(self, middle: float, text: str) -> None:
        y = self.top - 0.15 + _raised(text) / 72 / CM
        self.fig.text(middle / self.width, self._y(y), text, ha="center", va="baseline")

    def beside(self, row: int, text: str, **look) -> None:
        """Write a text beside a row."""
        middle = self.upper(row) + self.side_cm / 2
        self.fig.text(self.margin / 2 / self.width, self._y(middle), text, ha="center", va="center", **look)

    def under(self, row: int, column: int, text: str) -> None:
        """Write a text of one or two lines below a cell."""
        middle = self.left(column) + self.side_cm / 2
        y = self.upper(row) + self.side_cm + 0.03 + 0.17 * (1 + text.count("\n"))
        self.fig.text(middle / self.width, self._y(y), text, ha="center", va="center", fontsize=7.5)

    def shade(self, start: int, stop: int) -> None:
        """Grey ground behind columns start … stop - 1."""
        x, y, rows = self.left(start), self.upper(0), self.rows
        wide, tall = self.left(stop - 1) + self.side_cm - x, self.upper(rows - 1) + self.side_cm - y
        left, low, *size = self.box(x, y, wide, tall)
        place = {"transform": self.fig.transFigure, "zorder": -1}  # behind the pictures
        self.fig.add_artist(Rectangle((left, low), *size, facecolor="0.86", edgecolor="none", **place))

    def box(self, x: float, y: float, wide: float, tall: float) -> tuple[float, float, float, float]:
        """Centimetres from the left and from the top, width, height -> fractions from the left and from the bottom."""
        return x / self.width, self._y(y + tall), wide / self.width, tall / self.height

    def _y(self, cm: float) -> float:
        """Centimetres from the top -> figure fraction from the bottom."""
        return 1 - cm / self.height


def _raised(text: str) -> float:
    """Points above its baseline at which matplotlib sets a heading with a formula: it rounds the height up to whole
    ones."""
    if "$" not in text:
        return 0.0
    font = FontProperties(size=plt.rcParams["font.size"])
    return MathTextParser("path").parse(text, 72, font).glyphs[0][-1]  # y of the first letter


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    # uint8 [H, W, 3] => uint8 [side, side, 3]
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def _stacked(name: str, pictures: np.ndarray, dimensions: int) -> tuple[int, ...]:
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.ndim != dimensions or pictures.shape[-1] != 3:
        expected = f"uint8 pictures with {dimensions} dimensions, the last of 3"
        raise ValueError(f"{name}: expected {expected}, got {pictures.dtype} {list(pictures.shape)}")
    return pictures.shape


def _same(name: str, got, expected) -> None:
    if got != expected:
        raise ValueError(f"{name}: expected {expected} of them to go with the others, got {got}")
