"""Figures show the numbers of the table in colours that mean the same everywhere."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tables import ALT, LAMS, MAIN, full_grid, make_scores, make_table, run

from ipa_lib import ablations, plots

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


def one_color_pictures(*shape):
    """uint8 [*shape, 16, 16, 3], every picture a colour of its own."""
    colors = np.random.default_rng(0).integers(0, 256, (*shape, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colors, (*shape, 16, 16, 3))


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


def test_a_line_is_the_cells_of_one_adapter_and_n(table):
    ax = plots.identity_vs_lam(table).axes[0]
    rows = of_main(table, "identity", n_refs=2)
    (line,) = lines(ax, 2)
    np.testing.assert_array_equal(line.get_xdata(), LAMS)
    np.testing.assert_allclose(line.get_ydata(), rows.sort_values("lam")["value"])
    assert len(lines(ax, 4)) == 2  # both adapters
    assert len(ax.collections) == 4  # a band for every line


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
    assert kid.get_title() == fid.get_title() == "mini attribute judge, 40 изображений"


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
    assert len(fig.axes) == 1


def test_seeds_are_dots_and_their_mean_is_the_line():
    runs = ((MAIN, (4,)), (MAIN | {"adapter": "mean-own-n4r-s1", "seed": 1}, (4,)))
    table = make_table(make_scores(runs), runs)
    ax = plots.identity_vs_lam(table).axes[0]
    line, dots = lines(ax, 4)
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
    named = [label for label in labels(fig) if label.startswith("$N")]
    assert named == [rf"$N = {n}$: среднее, обучен на $n \leq 8$" for n in (1, 2, 4, 8)]
    assert within(fig)
    for ax in fig.axes:
        assert [len(lines(ax, n)) for n in (1, 2, 4, 8)] == [2] * 4  # the mean, and the dots of two seeds


def test_side_cells_are_not_shown_among_the_usual_ones(full):
    ax = plots.identity_vs_lam(full[0]).axes[0]
    rows = ablations.usual(full[0])
    rows = rows[rows["adapter"].str.startswith("mean-own-n8r") & (rows["metric"] == "identity") & (rows["n_refs"] == 4)]
    np.testing.assert_allclose(lines(ax, 4)[0].get_ydata(), rows.groupby("lam")["value"].mean())
    worst = plots.worst_cases(full[1], "mean-own-n8r-s0", 4, count=1000)
    assert set(worst["cell"]) == {"n4"}


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


def test_every_adapter_has_a_row_at_its_largest_n(full):
    fig = plots.identity_of_adapters(full[0])
    (ax,) = fig.axes
    found = ablations.variants(full[0])
    assert [text.get_text() for text in ax.get_yticklabels()] == [plots.variant_name(v) for v in found]
    points = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() == "o"]
    assert [line.get_color() for line in points] == [plots.color(v.n_refs[-1]) for v in found]
    rows = full[0][full[0]["adapter"].str.startswith("mean-own-n8r") & (full[0]["cell"] == "n8")]
    rows = rows[(rows["metric"] == "identity") & (rows["lam"] == 1)]
    assert points[0].get_xdata()[0] == pytest.approx(rows["value"].mean()) and len(rows) == 2
    assert labels(fig) == ["$N = 1$", "$N = 2$", "$N = 4$", "$N = 8$", "подсказки другого человека",
                           r"$\lambda = 0$: только текст"]  # fmt: skip
    assert within(fig)


def test_a_legend_says_what_is_unusual_of_an_adapter():
    runs = tuple((run(name), (4,)) for name in ("mean-own-norm-n4r-s0", "mean-shared-shown-n4-s0"))
    found = ablations.variants(make_table(make_scores(runs, (1.0,), people=2), runs))
    assert [plots.variant_name(v) for v in found] == [
        r"среднее, по убыванию нормы, обучен на $n \leq 4$",
        r"среднее, общие матрицы, цель среди подсказок, обучен на $n = 4$"]  # fmt: skip


# ---- side questions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", FROM_SCORES)
def test_a_side_figure_fits_the_page_and_says_where_nothing_was_measured(stem, full, table, scores):
    fig = getattr(plots, stem)(*full)
    assert fig.get_size_inches()[0] * 2.54 == pytest.approx(plots.WIDTH) and within(fig)
    assert len(fig.axes) == 2 and len(set(labels(fig))) == len(labels(fig)) >= 2
    small = getattr(plots, stem)(table, scores)
    assert within(small) and bool(small.axes) == (stem == "tradeoff")
    assert small.axes or small.texts[0].get_text() == "в этой сетке не измерялось"


def test_occlusion_has_a_line_a_share_and_a_row_a_merge(full):
    over_n, of_merges = plots.identity_vs_occlusion(*full).axes
    frame = ablations.of_variant(ablations.occlusion(*full), ablations.roles(full[0])["main"])
    for share in (0, 50, 100):
        line = plotted(over_n, f"закрыто {share} % подсказок")
        np.testing.assert_allclose(line.get_ydata(), frame[frame["share"] == share]["identity"])
    merges = ablations.merges(*full)
    worst = merges[merges["prompts"] == "occluded100"]
    found = [line.get_xdata()[0] for line in of_merges.lines if line.get_marker() == "^" and len(line.get_xdata()) == 1]
    np.testing.assert_allclose(found, worst["identity"])
    names = [text.get_text() for text in of_merges.get_yticklabels()]
    assert names == ["среднее", "конкатенация", "веса по номеру", "веса по содержанию", "сумма"]
    assert of_merges.get_title().endswith("$N = 4$")


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
    assert [note.get_text() for note in kid.texts] == [r"$\lambda = 0$", r"$\lambda = 1$"]
    ceiling = plotted(text, "автокодировщик")
    assert (ceiling.get_xdata()[0], ceiling.get_ydata()[0]) == pytest.approx((0.71, 97))


def test_a_ceiling_out_of_reach_is_left_out(table, scores):
    weak = table.assign(value=np.where(table["adapter"].isin(plots.REFERENCES), table["value"], table["value"] / 10))
    assert "автокодировщик" in labels(plots.tradeoff(table, scores))
    assert labels(plots.tradeoff(weak, scores)) == ["$N = 1$", "$N = 2$", "$N = 4$"]


def test_guidance_is_a_line_a_lam(full):
    identity, kid = plots.guidance(*full).axes
    rows = ablations.guidance(*full)
    rows = rows[rows["lam"] == 0.5]
    for ax, metric in ((identity, "identity"), (kid, "kid")):
        line = plotted(ax, r"$\lambda = 0{,}5$")
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 5, 7.5])
        np.testing.assert_allclose(line.get_ydata(), rows[metric])
    assert len(identity.lines) == 3 and identity.get_title().startswith("$N = 4$")


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


def test_fid_over_the_number_of_samples_marks_the_whole_set():
    counts = pd.DataFrame([{"metric": metric, "count": count, "value": 10 + 100 / count, "low": 9, "high": 30}
                           for metric in ("fid", "kid") for count in (390, 25, 100)])  # fmt: skip
    fig = plots.fid_vs_count(counts)
    for ax in fig.axes:
        np.testing.assert_array_equal(plotted(ax, "случайная часть образцов").get_xdata(), [25, 100, 390])
        assert plotted(ax, "все образцы").get_xdata()[0] == 390 and ax.get_xscale() == "log"
        assert [text.get_text() for text in ax.get_xticklabels()] == ["25", "100", "390"]
    assert [ax.get_ylabel() for ax in fig.axes] == ["FID", "KID"] and within(fig)


# ---- training ----------------------------------------------------------------------------------------------


def test_of_many_logs_those_of_main_stand_out():
    log = pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "val_loss": [2.0, 1.0]})
    logs = {run["adapter"]: log for run, *_ in full_grid()}
    fig = plots.training_curves(logs)
    assert labels(fig) == ["mean-own-n8r-s0", "mean-own-n8r-s1", "другие адаптеры"]
    assert len(fig.axes[0].lines) == len(fig.axes[1].lines) == 2 + 13  # one log of each other variant
    chosen = plots.training_curves(logs, main=["sum-own-n4r-s0"])
    assert labels(chosen) == ["sum-own-n4r-s0", "другие адаптеры"]


def test_training_curves_take_logs_with_few_validation_losses():
    steps = np.arange(30)
    log = pd.DataFrame({"step": steps, "loss": 1.0, "val_loss": np.where(steps % 10 == 0, 0.5, np.nan)})
    train, val = plots.training_curves({"a": log, "b": log.drop(columns="val_loss")}).axes
    np.testing.assert_allclose(train.lines[0].get_ydata(), 1)
    assert [len(line.get_xdata()) for line in val.lines] == [3, 0]


# ---- pictures ----------------------------------------------------------------------------------------------


def test_the_grid_shows_prompts_target_and_samples_in_this_order():
    prompts, truths, samples = (one_color_pictures(*shape) for shape in ((2, 3), (2,), (2, 4)))
    fig = plots.sample_grid(prompts, truths, samples, (0, 0.5, 1, 1.5))
    shown = [ax.images[0].get_array()[0, 0] for ax in fig.axes]
    expected = [*prompts[0, :, 0, 0], truths[0, 0, 0], *samples[0, :, 0, 0],
                *prompts[1, :, 0, 0], truths[1, 0, 0], *samples[1, :, 0, 0]]  # fmt: skip
    np.testing.assert_array_equal(shown, expected)
    headings = [text.get_text() for text in fig.texts]
    lams = [rf"$\lambda = {x}$" for x in ("0", "0{,}5", "1", "1{,}5")]
    assert headings == ["подсказки", "цель $x_0$", *lams]


def test_the_grid_stays_within_the_text_and_apart():
    fig = plots.sample_grid(one_color_pictures(2, 8), one_color_pictures(2), one_color_pictures(2, 6), LAMS)
    boxes = [ax.get_position() for ax in fig.axes[: 8 + 1 + 6]]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False)) and boxes[-1].x1 <= 1
    assert boxes[8].x0 - boxes[7].x1 > 2 * (boxes[1].x0 - boxes[0].x1)  # prompts set apart
    assert fig.get_size_inches()[0] * 2.54 <= plots.WIDTH + 1e-9


def test_worst_cases_are_the_lowest_of_one_cell(scores):
    worst = plots.worst_cases(scores, ALT["adapter"], n_refs=4, count=5)
    cell = scores[(scores["adapter"] == ALT["adapter"]) & (scores["lam"] == 1)]
    np.testing.assert_array_equal(worst["identity"], np.sort(cell["identity"])[:5])


def test_failure_cases_show_each_score_below_its_sample(scores):
    worst = plots.worst_cases(scores, MAIN["adapter"], n_refs=2, count=3)
    samples = one_color_pictures(3)
    fig = plots.failure_cases(worst, one_color_pictures(3, 2), one_color_pictures(3), samples)
    texts = [text.get_text() for text in fig.texts]
    assert texts[0] == r"наименьшие значения сходства личности при $N = 2$, $\lambda = 1$"
    assert texts[-3:] == [f"{x:.3f}".replace(".", ",").replace("-", "−") for x in worst["identity"]]
    np.testing.assert_array_equal([ax.images[0].get_array()[0, 0] for ax in fig.axes[::4]], samples[:, 0, 0])
    title = fig.texts[0].get_window_extent()
    assert 0 <= title.x0 and title.x1 <= fig.bbox.width  # three pictures are narrower than the title


def regions(n=3, side=4):
    """A picture, maps in which prompt p has the p-th column (and 0.1 of it the next), prompts."""
    shares = np.zeros((n, side, side))
    for column in range(side):
        shares[column % n, :, column], shares[(column + 1) % n, :, column] = 0.9, 0.1
    return one_color_pictures(), shares, one_color_pictures(n)


def overlays(fig):
    """The images that lie over a panel's picture: N maps, then the painted panel."""
    return [ax.images[1] for ax in fig.axes if len(ax.images) == 2]


def test_prompt_regions_show_each_prompt_above_its_map_on_one_scale():
    picture, shares, prompts = regions()
    fig = plots.prompt_regions(picture, shares, prompts)
    generated, *panels = [ax for ax in fig.axes if ax.images]
    np.testing.assert_array_equal(generated.images[0].get_array()[0, 0], picture[0, 0])
    for shown, prompt, below, map_ in zip(panels[:6:2], prompts, panels[1:6:2], shares, strict=True):
        np.testing.assert_array_equal(shown.images[0].get_array()[0, 0], prompt[0, 0])
        np.testing.assert_array_equal(below.images[1].get_array(), map_)
        assert shown.get_position().x0 == below.get_position().x0 > generated.get_position().x1
        assert shown.get_position().y0 > below.get_position().y1
    assert {image.get_clim() for image in overlays(fig)[:3]} == {(0, 0.9)}
    heads = ["образец", "подсказка 1", "подсказка 2", "подсказка 3", "главная"]
    assert [text.get_text() for text in fig.texts] == heads


def test_the_last_panel_is_painted_with_the_prompt_of_each_place_as_the_legend_says():
    fig = plots.prompt_regions(*regions(n=3, side=3))
    painted = overlays(fig)[-1].get_array()
    legend = {text.get_text(): patch for text, patch in zip(*legend_of(fig), strict=True)}
    middles = painted[128, [43, 128, 213]]  # the middles of three columns
    np.testing.assert_allclose(middles, [legend[name].get_facecolor() for name in "123"], atol=1e-6)
    frames = [ax.patches[0].get_edgecolor() for ax in fig.axes if ax.patches]
    np.testing.assert_allclose(frames[:3], middles)


def legend_of(fig):
    return fig.legends[0].get_texts(), fig.legends[0].get_patches()


def test_prompts_listened_to_alike_paint_nothing_and_their_rounding_is_not_a_pattern():
    picture, shares, prompts = regions(2)
    fig = plots.prompt_regions(picture, 0.5 + 1e-5 * shares, prompts)
    assert (overlays(fig)[-1].get_array()[..., 3] == 0).all()
    np.testing.assert_allclose(overlays(fig)[0].get_clim(), (0.49, 0.51), atol=1e-4)


@pytest.mark.parametrize("n", [1, 8])
def test_prompt_regions_stay_within_the_text_with_all_that_is_written(n):
    fig = plots.prompt_regions(*regions(n))
    fig.canvas.draw()
    assert fig.get_size_inches()[0] * 2.54 <= plots.WIDTH + 1e-9
    drawn = fig.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and (drawn.max <= fig.get_size_inches()).all()


# ---- what is refused ---------------------------------------------------------------------------------------


def test_a_metric_or_a_lam_that_the_table_lacks_is_named(table):
    with pytest.raises(ValueError, match="no rows of metric 'is'"):
        plots.is_vs_lam(table[table["metric"] != "is"])
    with pytest.raises(ValueError, match="lam = 3"):
        plots.fid_vs_n_refs(table, lam=3)


def test_pictures_of_another_shape_or_kind_are_refused():
    with pytest.raises(ValueError, match="prompts: expected uint8 pictures with 5 dimensions"):
        plots.sample_grid(one_color_pictures(2), one_color_pictures(2), one_color_pictures(2, 1), (1,))
    with pytest.raises(ValueError, match="samples: expected"):
        plots.sample_grid(one_color_pictures(2, 1), one_color_pictures(2), one_color_pictures(2, 3), (0, 1))


def test_maps_that_do_not_go_with_the_prompts_are_refused():
    picture, shares, prompts = regions(3)
    with pytest.raises(ValueError, match=r"shares: expected a finite map \[h, w\] for each of 3 prompts"):
        plots.prompt_regions(picture, shares[:2], prompts)
    with pytest.raises(ValueError, match="shares: expected a finite map"):
        plots.prompt_regions(picture, np.full_like(shares, np.nan), prompts)
    with pytest.raises(ValueError, match="picture: expected uint8 pictures with 3 dimensions"):
        plots.prompt_regions(picture[None], shares, prompts)


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


def test_the_raster_in_a_figure_has_three_hundred_dots_an_inch(tmp_path):
    fig = plots.sample_grid(one_color_pictures(1, 1), one_color_pictures(1), one_color_pictures(1, 1), (1,))
    ax = fig.axes[0]
    inches = ax.get_position().width * fig.get_size_inches()[0]
    assert ax.images[0].get_array().shape[0] / inches == pytest.approx(300, rel=0.01)


def test_drawing_leaves_the_callers_settings_alone(table):
    before = dict(plt.rcParams)
    plots.text_vs_lam(table)
    assert dict(plt.rcParams) == before
