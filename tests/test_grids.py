"""Figures that show pictures: what lies where, how large it is on the page, and what is written beside it."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tables import ALT, LAMS, MAIN, full_grid, make_scores, make_table, results_of

from ipa_lib.report import grids, plots

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def scores():
    scores = make_scores()
    return results_of(make_table(scores), scores).scores


def one_color_pictures(*shape, side=16):
    """uint8 [*shape, side, side, 3], every picture a colour of its own."""
    colors = np.random.default_rng(0).integers(0, 256, (*shape, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colors, (*shape, side, side, 3))


# ---- samples -----------------------------------------------------------------------------------------------


def test_the_grid_shows_prompts_target_and_samples_in_this_order():
    prompts, truths, samples = (one_color_pictures(*shape) for shape in ((2, 3), (2,), (2, 4)))
    fig = grids.sample_grid(prompts, truths, samples, (0, 0.5, 1, 1.5))
    shown = [ax.images[0].get_array()[0, 0] for ax in fig.axes]
    expected = [*prompts[0, :, 0, 0], truths[0, 0, 0], *samples[0, :, 0, 0],
                *prompts[1, :, 0, 0], truths[1, 0, 0], *samples[1, :, 0, 0]]  # fmt: skip
    np.testing.assert_array_equal(shown, expected)
    headings = [text.get_text() for text in fig.texts]
    lams = [rf"$\lambda = {x}$" for x in ("0", "0{,}5", "1", "1{,}5")]
    assert headings == ["подсказки", "цель $x_0$", *lams]


def test_the_grid_stays_within_the_text_and_apart():
    fig = grids.sample_grid(one_color_pictures(2, 8), one_color_pictures(2), one_color_pictures(2, 6), LAMS)
    boxes = [ax.get_position() for ax in fig.axes[: 8 + 1 + 6]]
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False)) and boxes[-1].x1 <= 1
    assert boxes[8].x0 - boxes[7].x1 > 2 * (boxes[1].x0 - boxes[0].x1)  # prompts set apart
    assert fig.get_size_inches()[0] * 2.54 <= plots.WIDTH + 1e-9


# ---- failures ----------------------------------------------------------------------------------------------


def test_worst_cases_are_the_lowest_of_one_cell(scores):
    worst = grids.worst_cases(scores, ALT["adapter"], n_refs=4, count=5)
    cell = scores[(scores["adapter"] == ALT["adapter"]) & (scores["lam"] == 1)]
    np.testing.assert_array_equal(worst["identity"], np.sort(cell["identity"])[:5])


def test_worst_cases_are_of_the_usual_cells():
    runs = full_grid()
    scores = make_scores(runs, (0.0, 1.0), people=2)
    worst = grids.worst_cases(results_of(make_table(scores, runs), scores).scores, "mean-own-n8r-s0", 4, count=1000)
    assert set(worst["cell"]) == {"n4"} and len(worst) == 4


def test_failure_cases_are_rows_of_score_sample_target_and_prompts(scores):
    worst = grids.worst_cases(scores, MAIN["adapter"], n_refs=2, count=3)
    prompts, truths, samples = (one_color_pictures(*shape) for shape in ((3, 2), (3,), (3,)))
    fig = grids.failure_cases(worst, prompts, truths, samples)
    texts = [text.get_text() for text in fig.texts]
    assert texts[:4] == ["сходство", "результат", "цель $x_0$", "подсказки"]
    assert texts[4:] == [f"{x:.3f}".replace(".", ",").replace("-", "−") for x in worst["identity"]]
    shown = np.reshape([ax.images[0].get_array()[0, 0] for ax in fig.axes], (3, 4, 3))
    np.testing.assert_array_equal(shown[:, 0], samples[:, 0, 0])
    np.testing.assert_array_equal(shown[:, 1], truths[:, 0, 0])
    np.testing.assert_array_equal(shown[:, 2:], prompts[:, :, 0, 0])
    middles = [sum(ax.get_position().intervaly) / 2 for ax in fig.axes[::4]]
    assert [text.get_position()[1] for text in fig.texts[4:]] == pytest.approx(middles)


def test_what_is_written_over_and_beside_failure_cases_stays_apart(scores):
    worst = grids.worst_cases(scores, MAIN["adapter"], n_refs=2, count=7)
    fig = grids.failure_cases(worst, one_color_pictures(7, 8), one_color_pictures(7), one_color_pictures(7))
    width, height = fig.get_size_inches() * 2.54
    assert width <= plots.WIDTH and height < 9
    fig.draw_without_rendering()
    heads = [text.get_window_extent() for text in fig.texts[:4]]
    assert all(a.x1 + 2 < b.x0 for a, b in zip(heads, heads[1:], strict=False)) and heads[0].x0 > 0
    assert all(text.get_window_extent().x1 < fig.axes[0].get_window_extent().x0 for text in fig.texts[4:])


def test_headings_stand_on_one_baseline_with_and_without_a_formula():
    """Where the PDF has them: matplotlib rounds the height of a formula up to whole points."""
    fig = grids.sample_grid(one_color_pictures(1, 2), one_color_pictures(1), one_color_pictures(1, 1), (1,))
    assert all(text.get_va() == "baseline" for text in fig.texts)
    at = [text.get_position()[1] * fig.get_size_inches()[1] * 72 for text in fig.texts]
    with plt.rc_context(plots.RC):
        raised = [grids._raised(text.get_text()) for text in fig.texts]
    np.testing.assert_allclose(np.add(at, raised), at[0])
    assert raised[0] == 0 and max(raised) == pytest.approx(0.92, abs=0.01)  # of points, in a formula with an index


# ---- what each prompt was listened to for ------------------------------------------------------------------


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
    fig = grids.prompt_regions(picture, shares, prompts)
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
    fig = grids.prompt_regions(*regions(n=3, side=3))
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
    fig = grids.prompt_regions(picture, 0.5 + 1e-5 * shares, prompts)
    assert (overlays(fig)[-1].get_array()[..., 3] == 0).all()
    np.testing.assert_allclose(overlays(fig)[0].get_clim(), (0.49, 0.51), atol=1e-4)


@pytest.mark.parametrize("n", [1, 8])
def test_prompt_regions_stay_within_the_text_with_all_that_is_written(n):
    fig = grids.prompt_regions(*regions(n))
    fig.canvas.draw()
    assert fig.get_size_inches()[0] * 2.54 <= plots.WIDTH + 1e-9
    drawn = fig.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and (drawn.max <= fig.get_size_inches()).all()


# ---- what is refused ---------------------------------------------------------------------------------------


def test_pictures_of_another_shape_or_kind_are_refused():
    with pytest.raises(ValueError, match="prompts: expected uint8 pictures with 5 dimensions"):
        grids.sample_grid(one_color_pictures(2), one_color_pictures(2), one_color_pictures(2, 1), (1,))
    with pytest.raises(ValueError, match="samples: expected"):
        grids.sample_grid(one_color_pictures(2, 1), one_color_pictures(2), one_color_pictures(2, 3), (0, 1))


def test_maps_that_do_not_go_with_the_prompts_are_refused():
    picture, shares, prompts = regions(3)
    with pytest.raises(ValueError, match=r"shares: expected a finite map \[h, w\] for each of 3 prompts"):
        grids.prompt_regions(picture, shares[:2], prompts)
    with pytest.raises(ValueError, match="shares: expected a finite map"):
        grids.prompt_regions(picture, np.full_like(shares, np.nan), prompts)
    with pytest.raises(ValueError, match="picture: expected uint8 pictures with 3 dimensions"):
        grids.prompt_regions(picture[None], shares, prompts)
