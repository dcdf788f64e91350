"""Figures show the numbers of the table in colours that mean the same everywhere."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tables import LAMS, MAIN, full_grid, make_scores, make_table, run

from ipa_lib.report import ablations, plots, variants

matplotlib.use("Agg")
OVER_LAM = ("identity_vs_lam", "fid_vs_lam", "is_vs_lam", "text_vs_lam")
FROM_TABLE = (*OVER_LAM, "identity_vs_n_refs", "fid_vs_n_refs", "identity_of_adapters")
FROM_SCORES = ("identity_vs_occlusion", "tradeoff", "guidance", "copying_vs_identity")  # of table and scores


@pytest.fixture(scope="module")
def scores():
    return make_scores()


@pytest.fixture(scope="module")
def table(scores):
    return make_table(scores)


@pytest.fixture(scope="module")
def full():
    """(table, scores) of the full grid."""
    runs = full_grid()
    harm = lambda run, cell, n, lam: -0.1 * lam * cell.endswith("occluded100") - 0.05 * (run["target"] == "shown")  # noqa: E731
    scores = make_scores(runs, (0.0, 0.5, 1.0), people=8, effect=harm)
    return make_table(scores, runs), scores


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def of_main(table, metric, **at):
    rows = table[(table["adapter"] == MAIN["adapter"]) & (table["metric"] == metric)]
    for column, value in at.items():
        rows = rows[rows[column] == value]
    return rows


def lines(ax, n):
    return [line for line in ax.lines if line.get_color() == plots.color(n) and len(line.get_xdata()) > 1]


# ---- what is drawn -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", FROM_TABLE)
def test_a_figure_has_the_width_it_will_have_on_the_page(stem, table):
    fig = getattr(plots, stem)(table)
    width = plots.HALF if stem in ("is_vs_lam", "text_vs_lam") else plots.WIDTH
    assert fig.get_size_inches()[0] * 2.54 == pytest.approx(width)


def test_what_no_judge_gave_is_left_out_of_its_figures(table, full):
    """As of photographs, where a judge of texts and one of classes may be missing."""
    silent, scores = full[0][~full[0]["metric"].isin(["text", "is"])], full[1]
    assert len(plots.tradeoff(silent, scores).axes) == 1 and len(plots.guidance(silent, scores).axes) == 2
    for draw in (plots.text_vs_lam, plots.is_vs_lam):
        assert draw(silent).texts[0].get_text() == "в этой сетке не измерялось"


def test_a_line_is_the_cells_of_one_adapter_and_n(table):
    ax = plots.identity_vs_lam(table).axes[0]
    rows = of_main(table, "identity", n_refs=2)
    (line,) = lines(ax, 2)
    np.testing.assert_array_equal(line.get_xdata(), LAMS)
    np.testing.assert_allclose(line.get_ydata(), rows.sort_values("lam")["value"])
    assert len(lines(ax, 4)) == 2  # both adapters
    assert len(ax.collections) == 4  # a band for every line


@pytest.mark.parametrize("stem", ["fid_vs_lam", "is_vs_lam", "text_vs_lam"])
def test_intervals_of_several_n_stand_apart(stem, full):
    """At each λ, nearer to it than to the next; of one N alone at λ itself."""
    ax, lams = getattr(plots, stem)(full[0]).axes[0], np.array([0, 0.5, 1])
    places = np.array([lines(ax, n)[0].get_xdata() for n in (1, 2, 4, 8)])
    assert (np.diff(places, axis=0) > 0.05).all() and np.abs(places - lams).max() < 0.25
    np.testing.assert_allclose(places.mean(0), lams)
    bars = [np.array(bar.get_segments())[:, :, 0] for bar in ax.collections]
    np.testing.assert_allclose(bars, np.repeat(places[..., None], 2, -1))
    alone = full[0][(full[0]["n_refs"] == 4) | (full[0]["n_refs"] == 0)]
    np.testing.assert_array_equal(lines(getattr(plots, stem)(alone).axes[0], 4)[0].get_xdata(), lams)


def test_ceilings_and_floors_stand_at_their_values_with_a_label(table):
    weaker = table[table["adapter"] == "other"].assign(lam=0.0, value=0.5)  # the floor is that at λ = 1
    ax = plots.identity_vs_lam(pd.concat([table, weaker])).axes[0]
    found = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
    assert found["реальные изображения"] == found["автокодировщик"] == 0.71
    assert found["подсказки другого человека"] == 0.03
    zero = table[(table["lam"] == 0) & (table["metric"] == "identity")]["value"].mean()
    assert found[r"$\lambda = 0$: только текст"] == pytest.approx(zero)


def test_kid_is_drawn_and_the_network_and_count_are_named(table):
    kid, fid = plots.fid_vs_lam(table).axes
    value = of_main(table, "kid", n_refs=1, lam=0)["value"].item()
    assert lines(kid, 1)[0].get_ydata()[0] == pytest.approx(value)
    assert kid.get_title() == fid.get_title() == "судья признаков, 40 изображений"


def test_n_has_one_colour_in_every_figure_and_no_other_n_shares_it(table):
    assert len(set(plots.N_COLORS.values())) == len(plots.N_COLORS)
    for ax in [*plots.fid_vs_lam(table).axes, *plots.text_vs_lam(table).axes, *plots.is_vs_lam(table).axes]:
        assert lines(ax, 1) and lines(ax, 2) and lines(ax, 4)
    points = [line for line in plots.identity_vs_n_refs(table).axes[0].lines if len(line.get_xdata()) == 1]
    assert {plots.color(n) for n in (1, 2, 4)} <= {line.get_color() for line in points}


def test_over_n_has_a_panel_for_each_lam_once(table):
    assert len(plots.identity_vs_n_refs(table, (1.0, 1.25)).axes) == 2
    fig = plots.identity_vs_n_refs(table, (1.0, 1.0))
    rows = of_main(table, "identity", lam=1)
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), rows.sort_values("n_refs")["value"])
    assert len(fig.axes) == 1 and fig.axes[0].get_title() == ""  # the caption says it


def test_seeds_are_dots_and_their_mean_is_the_line():
    runs = ((MAIN, (4,)), (MAIN | {"adapter": "mean-own-n4r-s1", "seed": 1}, (4,)))
    table = make_table(make_scores(runs), runs)
    ax = plots.identity_vs_lam(table).axes[0]
    (line,), (dots,) = lines(ax, 4), [line for line in ax.lines if line.get_marker() == "."]
    rows = table[(table["metric"] == "identity") & table["adapter"].str.startswith("mean")]
    np.testing.assert_allclose(line.get_ydata(), rows.groupby("lam")["value"].mean())
    assert dots.get_linestyle() == "None" and len(dots.get_xdata()) == 2 * len(LAMS)


def labels(fig):
    return [text.get_text() for text in fig.legends[0].get_texts()]


def plotted(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line


def within(fig):
    """Nothing that is drawn or written reaches over the edge of the figure."""
    fig.draw_without_rendering()
    box = fig.get_tightbbox()
    return box.x0 >= 0 and box.y0 >= 0 and (box.max <= fig.get_size_inches() + 1e-6).all()


@pytest.mark.parametrize("stem", OVER_LAM)
def test_of_many_adapters_the_main_one_alone_is_shown_over_lam(stem, full):
    fig = getattr(plots, stem)(full[0])
    assert [label for label in labels(fig) if label.startswith("$N")] == [f"$N = {n}$" for n in (1, 2, 4, 8)]
    assert within(fig)
    for ax in fig.axes:
        assert [len(lines(ax, n)) for n in (1, 2, 4, 8)] == [1] * 4
        assert len([line for line in ax.lines if line.get_marker() == "."]) == 4  # the dots of two seeds


@pytest.mark.parametrize("stem", [*OVER_LAM, "tradeoff"])
def test_without_colours_line_and_marker_tell_one_n_from_another(stem, full):
    for ax in getattr(plots, stem)(*full[: 1 + (stem == "tradeoff")]).axes:
        looks = [(line.get_linestyle(), line.get_marker()) for n in (1, 2, 4, 8) for line in lines(ax, n)]
        assert len(looks) == len({style for style, _ in looks}) == len({marker for _, marker in looks}) == 4


def test_side_cells_are_not_shown_among_the_usual_ones(full):
    ax = plots.identity_vs_lam(full[0]).axes[0]
    rows = variants.usual(full[0])
    rows = rows[rows["adapter"].str.startswith("mean-own-n8r") & (rows["metric"] == "identity") & (rows["n_refs"] == 4)]
    np.testing.assert_allclose(lines(ax, 4)[0].get_ydata(), rows.groupby("lam")["value"].mean())


def test_over_n_main_stands_beside_the_models_trained_for_one_n(full):
    fig = plots.identity_vs_n_refs(full[0])
    ax, own = fig.axes[0], "среднее, своя модель для каждого $N$"
    assert labels(fig)[:3] == [r"среднее, обучен на $n \leq 8$", own, r"среднее, обучен на $n \leq 4$"]
    rows = full[0][(full[0]["metric"] == "identity") & (full[0]["lam"] == 1)].set_index(["adapter", "cell"])["value"]
    line = plotted(ax, own)
    np.testing.assert_allclose(line.get_ydata(), [rows[f"mean-own-n{n}-s0", f"n{n}"] for n in (1, 2, 4, 8)])
    assert np.abs(line.get_xdata() - [1, 2, 4, 8]).max() < 0.5
    np.testing.assert_array_equal(plotted(ax, r"среднее, обучен на $n \leq 8$").get_xdata(), [1, 2, 4, 8])
    assert within(fig)


def test_a_small_grid_shows_both_adapters_over_lam_and_over_n(table):
    for fig in (plots.identity_vs_lam(table), plots.fid_vs_n_refs(table)):
        assert {"среднее, обучен на $n \\leq 4$", "конкатенация, обучен на $n = 4$"} <= {
            label.split("$: ")[-1] for label in labels(fig)}  # fmt: skip
    assert all(within(getattr(plots, stem)(table)) for stem in OVER_LAM)


def test_every_adapter_has_a_row_at_its_largest_n(full):
    fig = plots.identity_of_adapters(full[0])
    (ax,) = fig.axes
    found = variants.find_variants(full[0])
    found = [found[i] for i in (0, 1, 6, 7, 13, 2, 8, 3, 4, 5, 9, 10, 11, 12)]  # means for n ≤ 4, concatenations …
    names = [plots.variant_name(v) for v in found]
    assert [text.get_text() for text in ax.get_yticklabels()] == [f"{names[0]} (основной)", *names[1:]]
    assert names[5:7] == [r"конкатенация, обучен на $n \leq 4$", r"конкатенация, общие матрицы, обучен на $n \leq 4$"]
    points = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() in "os^D"]
    assert [line.get_color() for line in points] == [plots.color(v.n_refs[-1]) for v in found]
    assert [line.get_marker() for line in points] == [plots.style(v.n_refs[-1])["marker"] for v in found]
    rows = full[0][full[0]["adapter"].str.startswith("mean-own-n8r") & (full[0]["cell"] == "n8")]
    rows = rows[(rows["metric"] == "identity") & (rows["lam"] == 1)]
    assert points[0].get_xdata()[0] == pytest.approx(rows["value"].mean()) and len(rows) == 2
    assert labels(fig) == ["$N = 1$", "$N = 2$", "$N = 4$", "$N = 8$"]
    assert ax.get_xlim()[0] > full[0][full[0]["adapter"] == "other"]["value"].min() and within(fig)  # no floor


def test_a_legend_says_what_is_unusual_of_an_adapter():
    runs = tuple((run(name), (4,)) for name in ("mean-own-norm-n4r-s0", "mean-shared-shown-n4-s0"))
    found = variants.find_variants(make_table(make_scores(runs, (1.0,), people=2), runs))
    assert [plots.variant_name(v) for v in found] == [
        r"среднее, по убыванию нормы, обучен на $n \leq 4$",
        r"среднее, общие матрицы, цель среди подсказок, обучен на $n = 4$"]  # fmt: skip


# ---- side questions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", FROM_SCORES)
def test_a_side_figure_fits_the_page_and_says_where_nothing_was_measured(stem, full, table, scores):
    fig = getattr(plots, stem)(*full)
    assert fig.get_size_inches()[0] * 2.54 == pytest.approx(plots.WIDTH) and within(fig)
    assert len(fig.axes) == (3 if stem == "guidance" else 2) and len(set(labels(fig))) == len(labels(fig)) >= 2
    small = getattr(plots, stem)(table, scores)
    assert within(small) and bool(small.axes) == (stem == "tradeoff")
    assert small.axes or small.texts[0].get_text() == "в этой сетке не измерялось"


def test_occlusion_has_a_line_a_share_and_a_row_a_merge(full):
    over_n, of_merges = plots.identity_vs_occlusion(*full).axes
    frame = variants.of_variant(ablations.occlusion(*full), variants.roles(full[0])["main"])
    for share in (0, 50, 100):
        line = plotted(over_n, f"закрыто {share} % подсказок")
        np.testing.assert_allclose(line.get_ydata(), frame[frame["share"] == share]["identity"])
    merges = ablations.merges(*full)
    worst = merges[merges["prompts"] == "occluded100"]
    found = [line.get_xdata()[0] for line in of_merges.lines if line.get_marker() == "^" and len(line.get_xdata()) == 1]
    np.testing.assert_allclose(found, worst["identity"])
    names = [text.get_text() for text in of_merges.get_yticklabels()]
    assert names == ["среднее", "конкатенация", "веса по номеру", "веса по содержанию", "сумма"]
    assert (over_n.get_title(), of_merges.get_title()) == ("основной адаптер", "агрегирующие функции при $N = 4$")
    places = [line.get_ydata()[0] for line in of_merges.lines if len(line.get_xdata()) == 1]
    low, high = sorted(of_merges.get_ylim())
    assert low + 0.3 < min(places) and max(places) < high - 0.1


def test_occlusion_of_one_merge_is_one_panel(full):
    table, scores = (rows[~rows["adapter"].str.contains("weighted|gated|sum|concat")] for rows in full)
    fig = plots.identity_vs_occlusion(table, scores)
    assert len(fig.axes) == 1 and fig.get_size_inches()[0] * 2.54 == pytest.approx(plots.HALF) and within(fig)


def test_the_tradeoff_is_a_curve_over_lam_for_each_n_with_its_ends_named(full):
    frame = ablations.tradeoff(*full)
    kid, text = plots.tradeoff(*full).axes
    for n in (1, 2, 4, 8):
        rows = frame[frame["n_refs"] == n]
        for ax, column, scale in ((kid, "kid", 1), (text, "text", 100)):
            line = plotted(ax, f"$N = {n}$")
            assert line.get_color() == plots.color(n)
            np.testing.assert_allclose(line.get_xdata(), rows["identity"])
            np.testing.assert_allclose(line.get_ydata(), scale * rows[column])
    for ax in (kid, text):
        assert [note.get_text() for note in ax.texts] == [r"$\lambda = 0$", "0,5", r"$\lambda = 1$"]
    ceiling = plotted(text, "автокодировщик")
    assert (ceiling.get_xdata()[0], ceiling.get_ydata()[0]) == pytest.approx((0.71, 97))


@pytest.mark.parametrize("fall", [1, -1])
def test_lam_stands_off_its_curve(fall):
    """A curve that goes right, turns and comes back, up or down."""
    x, y = np.array([0.2, 0.5, 0.6, 0.58, 0.55]), fall * np.array([0, 0.1, 0.5, 1, 2])
    mean = pd.concat([pd.DataFrame({"lam": LAMS[:5], "identity": x + 0.01 * n, "value": y}) for n in (0, 1)])
    mean = mean.sample(frac=1, random_state=0)
    fig, ax = plt.subplots()
    plots._name_lams(ax, mean)
    start, over, tip, back, end = ax.texts
    assert [note.xy[0] for note in ax.texts] == pytest.approx([0.2, 0.51, 0.61, 0.58, 0.55])
    assert [note.get_ha() for note in ax.texts] == ["right", "center", "left", "right", "right"]
    assert start.get_va() == over.get_va() == "bottom"
    assert {note.get_va() for note in (tip, back, end)} == {"bottom" if fall > 0 else "top"}
    assert [note.get_text() for note in ax.texts] == [r"$\lambda = 0$", "0,25", "0,5", "0,75", r"$\lambda = 1$"]


def test_a_ceiling_out_of_reach_is_left_out(table, scores):
    weak = table.assign(value=np.where(table["adapter"].isin(plots.REFERENCES), table["value"], table["value"] / 10))
    assert "автокодировщик" in labels(plots.tradeoff(table, scores))
    assert labels(plots.tradeoff(weak, scores)) == ["$N = 1$", "$N = 2$", "$N = 4$"]


def test_guidance_is_a_line_a_lam(full):
    identity, kid, text = plots.guidance(*full).axes
    rows = ablations.guidance(*full)
    rows = rows[rows["lam"] == 0.5]
    for ax, metric, scale in ((identity, "identity", 1), (kid, "kid", 1), (text, "text", 100)):
        line = plotted(ax, r"$\lambda = 0{,}5$")
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 5, 7.5])
        np.testing.assert_allclose(line.get_ydata(), rows[metric] * scale)
    assert [tick.get_text() for tick in identity.get_xticklabels()] == ["1", "2", "3", "5", "7,5"]
    assert len(identity.lines) == 3 and identity.get_title().startswith("судья личности,")


def test_copying_stands_beside_identity_for_both_targets(full):
    fig = plots.copying_vs_identity(*full)
    frame = ablations.target_shown(*full)
    for ax, n in zip(fig.axes, (1, 4), strict=True):
        rows = frame[frame["n_refs"] == n]
        held_out, nearest = (plotted(ax, f"сходство с {name}") for name in
                             ("отложенными изображениями", "ближайшей подсказкой"))  # fmt: skip
        np.testing.assert_allclose(held_out.get_ydata(), rows["identity"])
        np.testing.assert_allclose(nearest.get_ydata(), rows["copying"])
        assert [text.get_text() for text in ax.get_xticklabels()] == ["отложена", "среди подсказок"]
        assert ax.get_title() == f"$N = {n}$"


def test_fid_over_the_number_of_pictures_marks_the_whole_set():
    counts = pd.DataFrame([{"metric": metric, "count": count, "value": 10 + 100 / count, "low": 9, "high": 30}
                           for metric in ("fid", "kid") for count in (390, 25, 350, 300, 100)])  # fmt: skip
    fig, counts_shown = plots.fid_vs_count(counts), [25, 100, 300, 350, 390]
    for ax in fig.axes:
        np.testing.assert_array_equal(plotted(ax, "случайная часть изображений").get_xdata(), counts_shown)
        assert plotted(ax, "все изображения").get_xdata()[0] == 390 and ax.get_xscale() == "log"
        np.testing.assert_array_equal(ax.get_xticks(), counts_shown)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["25", "100", "300", "", "390"]  # 350 too near
    assert [ax.get_ylabel() for ax in fig.axes] == ["KID", "FID"] and within(fig)


# ---- training ----------------------------------------------------------------------------------------------


def test_of_many_logs_those_of_main_stand_out():
    log = pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "val_loss": [2.0, 1.0]})
    logs = {run["adapter"]: log for run, *_ in full_grid()}
    fig = plots.training_curves(logs)
    assert labels(fig) == ["mean-own-n8r-s0", "mean-own-n8r-s1", "другие адаптеры"]
    assert len(fig.axes[0].lines) == len(fig.axes[1].lines) == 2 + 13  # one log of each other variant
    chosen = plots.training_curves(logs, main=["sum-own-n4r-s0"])
    assert labels(chosen) == ["основной адаптер, запуск 0", "другие адаптеры"]


def test_training_curves_take_logs_with_few_validation_losses():
    steps = np.arange(30)
    log = pd.DataFrame({"step": steps, "loss": 1.0, "val_loss": np.where(steps % 10 == 0, 0.5, np.nan)})
    train, val = plots.training_curves({"a": log, "b": log.drop(columns="val_loss")}).axes
    np.testing.assert_allclose(train.lines[0].get_ydata(), 1)
    assert [len(line.get_xdata()) for line in val.lines] == [3, 0]


# ---- axes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0.53, 0.63, ["0,54", "0,56", "0,58", "0,60", "0,62"]), (-1.2, 1.2, ["−1", "0", "1"]),
    (-0.3, 0.3, ["−0,2", "0,0", "0,2"]), (87, 99.5, ["88", "92", "96"])])  # fmt: skip
def test_ticks_of_an_axis_have_equally_many_decimals_and_are_three_or_more(low, high, expected):
    with plt.rc_context(plots.RC):
        fig, ax = plots._panels(1, height=4.5, width=plots.HALF)
        ax.set_ylim(low, high)
        plots._label(ax, "сходство\nличности", "сходство\nличности")
        fig.draw_without_rendering()
    shown = [text.get_text() for text in ax.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert shown == expected
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("сходство личности", "сходство\nличности")


def test_ticks_of_a_logarithmic_axis_are_numbers_each_by_itself():
    ax = plots.loss_curve(pd.DataFrame({"step": [0, 1], "loss": [1.0, 0.01]}), "").axes[0]
    assert [ax.yaxis.get_major_formatter()(value) for value in (1, 0.1, 0.01)] == ["1", "0,1", "0,01"]


@pytest.mark.parametrize("stem", FROM_TABLE)
def test_what_stands_beside_an_axis_is_no_longer_than_the_axis(stem, full):
    fig = getattr(plots, stem)(full[0])
    fig.draw_without_rendering()
    for ax in fig.axes:
        assert ax.yaxis.label.get_window_extent().height <= ax.get_window_extent().height


@pytest.mark.parametrize("stem", ["fid_vs_lam", "fid_vs_n_refs"])
def test_no_reference_lies_on_the_frame(stem, full):
    for ax in getattr(plots, stem)(full[0]).axes:
        low, high = ax.get_ylim()
        levels = [plotted(ax, label).get_ydata()[0] for label in ("реальные изображения", "автокодировщик")]
        assert all(0.05 < (level - low) / (high - low) < 0.95 for level in levels)


# ---- what is refused ---------------------------------------------------------------------------------------


def test_a_metric_or_a_lam_that_the_table_lacks_is_named(table):
    with pytest.raises(ValueError, match="no rows of metric 'fid'"):
        plots.fid_vs_lam(table[table["metric"] != "fid"])
    with pytest.raises(ValueError, match="lam = 3"):
        plots.fid_vs_n_refs(table, lam=3)


# ---- files -------------------------------------------------------------------------------------------------


def test_a_saved_figure_is_the_same_bytes_twice_undated_and_traceable(tmp_path, table):
    first, second = (
        plots.save(plots.is_vs_lam(table), tmp_path / name / "is_vs_lam.pdf", "08_ablate_lambda", "abc1234")
        for name in ("a", "b")
    )
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert b"CreationDate" not in content and b"notebook=08_ablate_lambda commit=abc1234" in content
    assert b"/Type3" not in content and b"/FontFile2" in content  # TrueType, embedded


def test_without_git_a_figure_is_saved_of_an_unknown_commit(tmp_path, monkeypatch, table):
    monkeypatch.setenv("PATH", str(tmp_path))
    saved = plots.save(plots.is_vs_lam(table), tmp_path / "is_vs_lam.pdf", "08_ablate_lambda")
    assert b"commit=unknown" in saved.read_bytes()


def test_drawing_leaves_the_callers_settings_alone(table):
    before = dict(plt.rcParams)
    plots.text_vs_lam(table)
    assert dict(plt.rcParams) == before
