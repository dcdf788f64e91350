"""What the figures of the notebooks are drawn with: style, intervals, legend and saving."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from tables import full_grid, make_scores, make_table, results_of

from ipa_lib.report import answers, plots, variants
from ipa_lib.report.words import ENGLISH, RUSSIAN, number, words
from ipa_lib.workflow import provenance


@pytest.fixture(scope="module")
def full():
    runs = full_grid()
    scores = make_scores(runs, (0.0, 1.0), people=6)
    return results_of(make_table(scores, runs), scores)


@pytest.fixture(scope="module")
def cells(full):
    return answers.answer(full, "cells")


@pytest.fixture(autouse=True)
def closed():
    with plt.rc_context():
        yield
    assert not plt.get_fignums(), "a figure was left with pyplot, which would show it twice"


def segments(ax):
    """[x0, y0, x1, y1] of every interval drawn on an axis."""
    return np.array([part.ravel() for lines in ax.collections for part in lines.get_segments()])


# ---- words -----------------------------------------------------------------------------------------------------


def test_both_languages_name_the_same_things():
    assert RUSSIAN.keys() == ENGLISH.keys() and not any("а" <= letter <= "я" for letter in "".join(ENGLISH.values()))
    with pytest.raises(ValueError, match="language: one of ru, en was expected, got 'de'"):
        words("de")


def test_numbers_follow_the_language():
    assert (number(-0.25), number(-0.25, "en"), number(3.0, "ru", ".2f")) == ("−0,25", "−0.25", "3,00")


# ---- answer tables on axes ---------------------------------------------------------------------------------------


def test_rows_are_shown_in_per_cent_and_with_the_name_of_their_n(cells):
    text = answers.measured(cells, "text", role="main", lam=1)
    shown = plots.ready(text)
    np.testing.assert_allclose(shown["value"], 100 * text["value"])
    assert shown["N"].tolist() == [f"$N = {n}$" for n in text["n_refs"]] and set(shown["N"]) <= set(plots.COLORS)
    identity = answers.measured(cells, "identity", role="main", lam=1)
    pd.testing.assert_series_equal(plots.ready(identity)["value"], identity["value"])


def test_different_n_stand_beside_each_other_around_their_place(cells):
    rows = answers.measured(cells, "kid", role="main")
    aside = plots.ready(rows, x="lam", aside=True)
    for lam, places in aside.groupby("lam")["at"]:
        assert places.is_unique and places.mean() == pytest.approx(lam) and np.ptp(places) < 0.5
    assert plots.ready(rows, x="lam")["at"].equals(rows["lam"])


@pytest.mark.parametrize("lying", [False, True])
def test_bars_reach_from_one_end_of_the_interval_to_the_other(cells, lying):
    rows = plots.ready(answers.measured(cells, "identity", role="main", lam=1))
    _, (ax,) = plots.panels(1, height=4)
    plots.bars(ax, rows, "n_refs", lying=lying)
    drawn = segments(ax)[:, [1, 0, 3, 2]] if lying else segments(ax)
    np.testing.assert_allclose(sorted(drawn[:, 0]), rows["n_refs"])
    np.testing.assert_allclose(sorted(drawn[:, 1]), sorted(rows["low"]))
    np.testing.assert_allclose(sorted(drawn[:, 3]), sorted(rows["high"]))


@pytest.mark.parametrize("lying", [False, True])
def test_whiskers_stand_at_the_points_that_seaborn_has_set_aside(full, lying):
    rows = answers.measured(answers.answer(full, "merges"), "identity")
    along = {"x": "value", "y": "merge", "linestyle": "none"} if lying else {"x": "merge", "y": "value"}
    _, (ax,) = plots.panels(1, height=4)
    look = plots.POINTS | {"markers": ["o", "s", "^", "D"]}
    sns.pointplot(rows, hue="prompts", dodge=0.3, **along, **look, ax=ax)
    plots.whiskers(ax, rows, "prompts")
    drawn, points = segments(ax), [np.column_stack([line.get_xdata(), line.get_ydata()]) for line in ax.get_lines()]
    points = np.concatenate(points[:4]).astype(float)
    assert len(drawn) == len(rows) == len(points)
    place, value = (1, 0) if lying else (0, 1)
    for x0, y0, x1, y1 in drawn:
        ends = sorted([(x0, y0)[value], (x1, y1)[value]])
        near = points[np.isclose(points[:, place], (x0, y0)[place])]
        assert len(near) and any(ends[0] <= point[value] <= ends[1] for point in near)


def test_bounds_are_level_lines_with_a_name(full):
    bounds, word = answers.answer(full, "bounds"), words("en")
    _, (ax,) = plots.panels(1, height=4)
    plots.bounds(ax, bounds, "text", ("real", "reconstruction", "no_such"), word)
    heights = {line.get_label(): line.get_ydata()[0] for line in ax.get_lines()}
    assert heights == {"real pictures": pytest.approx(97), "autoencoder": pytest.approx(97)}


def test_every_seed_is_a_dot_where_there_are_several(full):
    assert len(plots.runs(full, "identity", lam=1)) == 2 * 4
    one = results_of(full.table[full.table["seed"] != 1], full.scores.drop(columns=["prompts", "guidance"]))
    assert plots.runs(one, "identity").empty


def test_one_legend_stands_outside_in_place_of_those_of_the_panels(cells):
    rows = plots.ready(answers.measured(cells, "identity", role="main"), x="lam")
    fig, axes = plots.panels(2, height=5)
    for ax in axes:
        sns.lineplot(rows, x="at", y="value", **plots.OF_N, errorbar=None, ax=ax)
        ax.axhline(0.5, label="a bound")
    plots.legend(fig)
    assert all(ax.get_legend() is None for ax in axes)
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert names == [f"$N = {n}$" for n in (1, 2, 4, 8)] + ["a bound"]


def test_no_score_without_its_network_and_count(full):
    assert plots.judged(full, "identity") == "судья личности, 12 изображений"
    assert plots.judged(full, "kid", "en") == "attribute judge, 12 pictures"


def test_a_legend_says_what_is_unusual_of_an_adapter(full):
    adapters = answers.answer(full, "adapters")
    names = plots.names_of(adapters, full, "en")
    assert len(names) == len(variants.find_variants(full.table)) == len(set(names))
    assert names[0] == r"mean, trained for $n \leq 8$ (main)"
    assert r"mean, target among the prompts, trained for $n \leq 4$" in names and "mean, trained for $n = 2$" in names


# ---- axes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low, high", [(0, 1), (0.57, 0.6), (-3, 40), (96.1, 98.3)])
def test_ticks_of_an_axis_have_equally_many_decimals_and_are_three_or_more(low, high):
    fig, (ax,) = plots.panels(1, height=4)
    ax.plot([0, 1], [low, high])
    plots.label(ax, "x", "y")
    fig.canvas.draw()
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(names) >= 3 and len({len(name.partition(",")[2]) for name in names}) == 1


def test_an_axis_of_names_keeps_them():
    fig, (ax,) = plots.panels(1, height=4)
    sns.pointplot(pd.DataFrame({"a": ["one", "two"], "b": [1.0, 2.0]}), x="a", y="b", errorbar=None, ax=ax)
    plots.label(ax, "x", "y")
    fig.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["one", "two"]


def test_a_logarithmic_axis_has_the_numbers_of_its_places_and_none_that_is_too_close():
    _, (ax,) = plots.panels(1, height=4)
    plots.log_ticks(ax, [25, 100, 400, 460])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["25", "100", "", "460"]


# ---- training ------------------------------------------------------------------------------------------------------


def logs(*names, steps=60):
    parts = [pd.DataFrame({"adapter": name, "step": range(1, steps + 1), "loss": np.linspace(1, 0.5, steps)})
             for name in names]  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(val_loss=np.where(frame["step"] % 30 == 0, 0.7, np.nan))


def test_of_many_logs_those_of_main_stand_out():
    names = [f"mean-own-n{n}-s0" for n in range(1, 9)]
    fig = plots.training_curves(logs(*names), main=names[:2])
    shown = {text.get_text() for text in fig.legends[0].get_texts()}
    assert shown == {"основной адаптер, запуск 0", "основной адаптер, запуск 1", "другие адаптеры"}
    few = plots.training_curves(logs("a", "b"), language="en")
    assert {text.get_text() for text in few.legends[0].get_texts()} == {"a", "b"}


def test_training_curves_take_logs_without_a_validation_loss():
    fig = plots.training_curves(logs("a").drop(columns="val_loss"))
    assert len(fig.axes[0].get_lines()) == 1 and not len(fig.axes[1].get_lines()[0].get_xdata())
    with pytest.raises(ValueError, match="no training log was given"):
        plots.training_curves(logs("a")[:0])


# ---- saving --------------------------------------------------------------------------------------------------------


def test_a_saved_figure_is_the_same_bytes_twice_undated_and_traceable(tmp_path):
    saved = []
    for name in ("a", "b"):
        fig, (ax,) = plots.panels(1, height=4)
        ax.plot([0, 1], [0, 1])
        path = plots.save(fig, tmp_path / name / "line.pdf", notebook="10_ablate_n_refs", commit="abc1234")
        saved.append(path.read_bytes())
    assert saved[0] == saved[1] and b"notebook=10_ablate_n_refs commit=abc1234" in saved[0]
    assert b"CreationDate" not in saved[0] and b"/Type3" not in saved[0]


def test_without_git_a_figure_is_saved_of_an_unknown_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: {"commit": None, "dirty": None})
    fig, _ = plots.panels(1, height=3)
    assert b"commit=unknown" in plots.save(fig, tmp_path / "empty.pdf").read_bytes()


def test_drawing_leaves_the_callers_settings_alone():
    before = dict(plt.rcParams)
    plots.loss_curve(pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]}), "U-Net")
    assert dict(plt.rcParams) == before
