"""The tidy table to look around in: rows, their figure, and what lies behind them."""

import numpy as np
import pandas as pd
import pytest

from ipa_lib.explore import table_browser
from ipa_lib.workflow import paths


@pytest.fixture(scope="module")
def published():
    return table_browser.read_table("none")


def test_without_a_table_the_published_one_is_shown_and_the_command_named(published):
    assert "make report PROFILE=none" in published.missing and "published" in published.missing
    assert len(published.rows) == len(pd.read_csv(paths.results_dir("published") / "full" / "table.csv"))


def test_an_own_table_comes_first(small_results):
    found = table_browser.read_table(str(small_results))
    assert not found.missing and set(found.rows["profile"]) == {"small"}


def test_filters_leave_what_they_say(published):
    wanted = {"n_refs": 4, "lam": 1.0, "merge": "mean", "slots": "own", "seed": 0, "prompts": "own"}
    rows = table_browser.chosen(published.rows, "fid", wanted)
    assert len(rows) > 1 and (rows["metric"] == "fid").all()
    assert all((rows[name] == value).all() for name, value in wanted.items())
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    assert len(table_browser.chosen(published.rows, "identity", {})) > 100


def test_the_filters_offer_what_the_table_holds(published):
    assert table_browser.values(published.rows, "merge") == ["concat", "gated", "mean", "sum", "weighted"]
    assert table_browser.values(published.rows, "n_refs") == [1, 2, 4, 8]
    assert table_browser.usual_filters(published.rows) == {
        "merge": "mean", "slots": "own", "seed": 0, "prompts": "own", "guidance": 3.0}  # fmt: skip


@pytest.mark.parametrize("metric", ["identity", "fid", "is"])
@pytest.mark.parametrize("x", ["lam", "n_refs"])
def test_a_point_lies_where_it_is_said_to(published, metric, x):
    rows = table_browser.chosen(published.rows, metric, table_browser.usual_filters(published.rows))
    figure = table_browser.figure(published.rows, rows, metric, x)
    places = table_browser.places(figure, rows, x)
    assert len(places) == len(rows) and ((0 < places) & (places < 1)).all()
    ax = figure.axes[0]
    highest = rows["value"].argmax()
    assert places[highest, 1] == places[:, 1].min()
    back = ax.transData.inverted().transform((places[0] * [1, -1] + [0, 1]) * figure.bbox.size)
    np.testing.assert_allclose(back, rows.loc[0, [x, "value"]].to_numpy(float), atol=1e-6)


def test_no_rows_are_an_empty_figure(published):
    rows = table_browser.chosen(published.rows, "fid", {"merge": "concat", "slots": "none"})
    assert table_browser.places(table_browser.figure(published.rows, rows, "fid", "lam"), rows, "lam").shape == (0, 2)


def test_a_row_leads_to_its_samples_run_folder_and_notebook(small_results):
    found = table_browser.read_table(str(small_results))
    row = table_browser.chosen(found.rows, "identity", {"n_refs": 4, "lam": 1.0, "merge": "mean"}).iloc[0]
    pictures, names = table_browser.samples(found, row)
    assert pictures.shape == (4, 64, 64, 3) and names[0].startswith("person ")
    folder = small_results / "samples/mean-own-n4r-s0/n4"
    assert table_browser.behind(found, row) == [
        ("run folder", str(folder)), ("executed notebook", str(folder / "05_generate.ipynb"))]  # fmt: skip
    text = table_browser.line(row)
    assert "mean-own-n4r-s0" in text and f"{row['value']:.3f}" in text and f"{row['low']:.3f}" in text


def test_samples_that_are_not_kept_name_the_command(published, tmp_path):
    row = table_browser.chosen(published.rows, "identity", {}).iloc[0]
    with pytest.raises(FileNotFoundError, match="make report PROFILE=full"):
        table_browser.samples(table_browser.Table(published.rows, tmp_path / "full"), row)
