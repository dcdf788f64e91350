"""Effects put into synthetic results come out of the answer table of their question, to the last digit."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tables import MAIN, USUAL_W, full_grid, make_scores, make_table, results_of, run

from ipa_lib.evaluation import intervals
from ipa_lib.files import ROOT
from ipa_lib.model import merge
from ipa_lib.report import answers, latex, variants
from ipa_lib.workflow import config, grid

QUESTIONS = ("over_n", "occlusion", "tradeoff", "merges", "slots", "each_n", "guidance", "target_shown")
SIDE = QUESTIONS[1:2] + QUESTIONS[3:]  # those that the reduced grid can't answer
LAMS = (0.0, 1.0, 1.25)


def effect(run, cell, n, lam):
    """What each choice adds to identity where the pictures play a part; past λ = 1 it falls."""
    choices = {"concat": 0.05, "shared": -0.02, "norm": 0.01, "shown": -0.04}
    states = {"occluded0": 0.005, "occluded50": -0.02, "occluded100": -0.06, "reversed": -0.015, "w5": 0.01}
    found = sum(value for name, value in choices.items() if name in run.values())
    found += sum(value for name, value in states.items() if cell.endswith(f"-{name}"))
    return (lam > 0) * (found + 0.03 * (not run["random_n"]) - 0.3 * (lam > 1))


@pytest.fixture(scope="module")
def full():
    """(table, scores) of the full grid, as read from its files; showing the target adds 0.1 to copying."""
    runs = full_grid()
    scores = make_scores(runs, LAMS, people=8, effect=effect, noise=0)
    scores.loc[scores["adapter"].str.contains("shown"), "copying"] += 0.1
    return make_table(scores, runs), scores


@pytest.fixture(scope="module")
def reduced():
    scores = make_scores()
    return make_table(scores), scores


def ask(question, grid, **more):
    """The answer with a row an index: columns x, x_low, x_high of every measure x."""
    frame, asked = answers.answer(results_of(*grid, **more), question), answers.QUESTIONS[question]
    assert list(frame.columns) == [*asked.index, *asked.beside, *answers.COLUMNS]
    index = [*asked.index, *asked.beside]
    wide = frame.pivot(index=index, columns="measure", values=["value", "low", "high"])
    wide.columns = [name if kind == "value" else f"{name}_{kind}" for kind, name in wide.columns]
    order = frame[index].drop_duplicates()
    return wide.loc[order[index].apply(tuple, axis=1) if len(index) > 1 else order[index[0]]].reset_index()


def row(frame, **at):
    found = frame[np.logical_and.reduce([frame[name] == value for name, value in at.items()])]
    assert len(found) == 1
    return found.iloc[0]


def three(row, name):
    return [row.get(name, np.nan), row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)]


def exactly(value):
    return pytest.approx([value] * 3)


def value(table, adapter, cell, metric="identity", lam=1.0):
    return row(table, adapter=adapter, cell=cell, metric=metric, lam=lam)["value"]


# ---- each question -----------------------------------------------------------------------------------------


def test_a_gain_is_over_the_n_before_and_the_share_is_of_floor_to_ceiling(full):
    table, scores = full
    frame = ask("over_n", full)
    assert list(frame["n_refs"]) == [1, 2, 4, 8]
    assert np.isnan(three(frame.iloc[0], "gain")).all()
    for _, more in frame.iloc[1:].iterrows():
        assert three(more, "gain") == exactly(0.2 * 0.2)  # of gain · λ · 0.2 · log₂ N
        assert three(more, "over_first") == exactly(0.2 * 0.2 * np.log2(more["n_refs"]))
    floor = value(table, "mean-own-n8r-s0", "n4", lam=0)
    ceiling = scores[scores["adapter"] == "reconstruction"]["identity"].mean()
    four = row(frame, n_refs=4)
    assert four["share"] == pytest.approx((four["identity"] - floor) / (ceiling - floor))
    assert four["share_low"] < four["share"] < four["share_high"]


def test_the_share_is_bootstrapped_as_a_ratio(full):
    """One person far from the ceiling, the others at it: a resample without them has the share 1."""
    table, scores = full
    people = scores["person"] == 0
    known = scores["adapter"].isin(["mean-own-n8r-s0", "mean-own-n8r-s1"]) & (scores["lam"] == 1)
    zero, ceiling = scores["lam"] == 0, scores["adapter"] == "reconstruction"
    identity = np.select([zero, ceiling, known & people, known], [0.0, 1.0, 0.2, 1.0], scores["identity"])
    four = row(ask("over_n", (table, scores.assign(identity=identity))), n_refs=4)
    assert four["share"] == pytest.approx((7 + 0.2) / 8) and four["share_high"] == pytest.approx(1)
    weights = intervals.people_weights(np.arange(8), 2000)
    assert four["share_low"] == pytest.approx(np.quantile(1 - 0.1 * weights[:, 0], 0.025))


def test_without_scores_of_the_ceiling_the_gain_remains(reduced):
    table, scores = reduced
    frame = ask("over_n", (table, scores[scores["adapter"] != "reconstruction"]))
    assert "share" not in frame and frame["gain"].notna().sum() == 2


def test_occluded_prompts_cost_what_they_cost(full):
    main = ask("occlusion", full)
    assert list(main["n_refs"]) == [n for n in (1, 2, 4, 8) for _ in range(3)]
    for n in (1, 2, 4, 8):
        assert np.isnan(row(main, n_refs=n, share=0)["difference"])
        assert three(row(main, n_refs=n, share=50), "difference") == exactly(-0.02 - 0.005)
        worst = row(main, n_refs=n, share=100)
        assert three(worst, "difference") == exactly(-0.06 - 0.005)
        assert worst["identity"] == value(full[0], "mean-own-n8r-s0", f"n{n}-occluded100")
        assert three(worst, "excess") == (exactly(0) if n > 1 else pytest.approx([np.nan] * 3, nan_ok=True))


def test_occlusion_that_costs_less_with_more_prompts_and_under_one_merge():
    runs = [(r, counts, *others) for r, counts, *others in full_grid() if others]
    scores = make_scores(runs, (0.0, 1.0), people=6, noise=0, effect=lambda r, cell, n, lam: cell.endswith(
        "occluded100") * (0.02 * (r["merge"] == "gated") - 0.08 / n))  # fmt: skip
    grid = make_table(scores, runs), scores
    main = ask("occlusion", grid)
    assert [three(row(main, n_refs=n, share=100), "excess") for n in (2, 4, 8)] == [
        exactly(0.08 - 0.08 / n) for n in (2, 4, 8)]  # fmt: skip
    merges = ask("merges", grid)
    assert three(row(merges, merge="gated", prompts="occluded100"), "excess") == exactly(0.02)
    assert three(row(merges, merge="gated", prompts="occluded50"), "excess") == exactly(0)
    assert np.isnan(row(merges, merge="gated", prompts="own")["excess"])


def test_the_best_lam_by_each_criterion(full):
    frame = ask("tradeoff", full)
    assert len(frame) == 4 * len(LAMS)
    best = ask("best_lams", full)
    for name, lam in (("identity", 1), ("kid", 0), ("fid", 0), ("text", 0)):
        rows = best[best["criterion"] == name]
        assert list(rows["n_refs"]) == [1, 2, 4, 8] and set(rows["lam"]) == {lam}
    gain = row(best, n_refs=2, criterion="text")["text_difference"]
    assert gain == row(frame, n_refs=2, lam=0)["text_difference"] > 0
    seeds = [value(full[0], f"mean-own-n8r-s{seed}", "n2", "text") for seed in (0, 1)]
    assert row(frame, n_refs=2, lam=1)["text"] == pytest.approx(np.mean(seeds))
    past = row(frame, n_refs=1, lam=1.25)
    assert three(past, "identity_difference") == exactly(0.2 * 0.25 - 0.3)
    assert past["text_difference"] < 0 and np.isnan(row(frame, n_refs=1, lam=1)["identity_difference"])


def test_an_unjudged_metric_is_no_best(reduced):
    table, scores = reduced
    grid = table[table["metric"] != "kid"], scores
    assert "kid" not in ask("tradeoff", grid)
    assert ask("best_lams", grid)["criterion"].tolist() == ["identity", "fid", "text"] * 3


def test_a_merge_that_is_better_by_exactly_this_much(full):
    frame = ask("merges", full)
    assert list(frame["merge"][:5]) == ["mean", "concat", "weighted", "gated", "sum"]
    assert set(frame["n_refs"]) == {4}
    for prompts in ("own", "occluded0", "occluded50", "occluded100"):
        rows = frame[frame["prompts"] == prompts].set_index("merge")
        assert three(rows.loc["concat"], "difference") == exactly(0.05)
        assert three(rows.loc["gated"], "difference") == exactly(0)
        assert np.isnan(rows.loc["mean", "difference"])
    concat = row(frame, merge="concat", prompts="own")
    seeds = [value(full[0], f"concat-own-n4r-s{seed}", "n4", "kid") for seed in (0, 1)]
    assert concat["kid"] == pytest.approx(np.mean(seeds))


def test_merges_are_compared_where_nothing_else_differs():
    runs = ((MAIN, (1, 4)), (run("concat-own-n4-s0"), (4,)), (run("concat-shared-n4r-s0"), (4,)),
            (run("sum-shared-n4r-s0"), (4,)), (run("gated-shared-n2r-s0"), (2,)))  # fmt: skip
    scores = make_scores(runs, (0.0, 1.0), people=4)
    frame = ask("merges", (make_table(scores, runs), scores))
    assert list(frame["merge"]) == ["concat", "sum"] and "difference" not in frame


def test_own_slots_sorted_prompts_and_their_order(full):
    measured = pd.DataFrame({"adapter": [f"mean-own-n4r-s{seed}" for seed in (0, 1)], "cosine": [0.9, 0.7],
                             "n_refs": 4, "order_change": [0.1, 0.2]})  # fmt: skip
    frame = ask("slots", full, slots=measured)
    assert list(zip(frame["merge"], frame["slots"], frame["order"], strict=True)) == [
        ("mean", "own", "given"), ("mean", "own", "norm"), ("mean", "shared", "given"),
        ("concat", "own", "given"), ("concat", "shared", "given")]  # fmt: skip
    for name in ("mean", "concat"):
        own = row(frame, merge=name, slots="own", order="given")
        assert three(own, "own_shared") == exactly(0.02)
        assert three(own, "own_reversed") == exactly(0.015)
        assert np.isnan([own["norm_given"], row(frame, merge=name, slots="shared")["own_shared"]]).all()
    sorted_ = row(frame, order="norm")
    assert three(sorted_, "norm_given") == exactly(0.01)
    assert three(sorted_, "own_shared") == exactly(0.03)  # shared slots know no order: their one training is both twins
    mean = row(frame, merge="mean", slots="own", order="given")
    assert (mean["cosine"], mean["order_change"]) == pytest.approx((0.8, 0.15))
    assert frame["cosine"].notna().sum() == 1


def test_one_model_for_all_n_against_one_for_each(full):
    table, scores = (rows.copy() for rows in full)
    second = "mean-own-n8r-s1"  # has no counterpart: its seed is no part of the comparison
    table.loc[table["adapter"] == second, "value"] = scores.loc[scores["adapter"] == second, "identity"] = 1.0
    names = ["mean-own-n8r-s0", second, *(f"mean-own-n{n}-s0" for n in (1, 2, 4))]
    costs = pd.DataFrame({"adapter": names, "seconds": [800, 9999, 100, 200, 400], "steps": 10})
    frame = ask("each_n", (table, scores), costs=costs)
    assert list(frame["n_refs"]) == [1, 2, 4, 8]
    for _, both in frame.iterrows():
        assert three(both, "difference") == exactly(-0.03)
        assert both["random"] == value(full[0], "mean-own-n8r-s0", f"n{both['n_refs']:g}")
        assert both["fixed"] == value(full[0], f"mean-own-n{both['n_refs']:g}-s0", f"n{both['n_refs']:g}")
    assert set(frame["random_seconds"]) == {800}
    np.testing.assert_equal(frame["fixed_seconds"].to_numpy(), [100, 200, 400, np.nan])


def test_guidance_has_the_usual_w_too_and_only_runs_with_several(full):
    table = full[0].copy()
    table.loc[table["adapter"] == "mean-own-n8r-s1", "value"] = 1.0
    frame = ask("guidance", (table, full[1]))
    assert set(frame["n_refs"]) == {4} and len(frame) == 5 * len(LAMS)
    assert list(frame["w"][:5]) == [1, 2, USUAL_W, 5, 7.5]
    at_one = frame[frame["lam"] == 1].set_index("w")
    assert at_one["identity"][5] - at_one["identity"][USUAL_W] == pytest.approx(0.01)
    assert three(at_one.loc[5], "identity_difference") == exactly(0.01)
    assert np.isnan(at_one.loc[USUAL_W, "identity_difference"]) and np.isfinite(at_one.loc[5, "text_difference"])
    assert at_one["kid"].idxmin() == USUAL_W


def test_a_target_among_the_prompts(full):
    frame = ask("target_shown", full)
    assert list(zip(frame["n_refs"], frame["target"], strict=True)) == [
        (1, "left_out"), (1, "shown"), (4, "left_out"), (4, "shown")]  # fmt: skip
    for n in (1, 4):
        left_out, shown = (row(frame, n_refs=n, target=target) for target in ("left_out", "shown"))
        assert three(left_out, "excess") == exactly(0.02) and three(shown, "excess") == exactly(0.12)
        assert np.isnan(left_out["copying_difference"])
        assert three(shown, "identity_difference") == exactly(-0.04)
        assert three(shown, "copying_difference") == exactly(0.06)
        assert three(shown, "excess_difference") == exactly(0.1)


def test_an_n_at_which_only_one_of_the_two_was_judged_is_left_out(full):
    table, scores = (rows[~((rows["adapter"] == "mean-own-n4r-s0") & (rows["n_refs"] == 1))] for rows in full)
    assert set(ask("target_shown", (table, scores))["n_refs"]) == {4}


# ---- all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_grid_without_the_cells_gives_an_empty_table_with_the_same_columns(question, full, reduced):
    answered, frame = (answers.answer(results_of(*grid), question) for grid in (full, reduced))
    assert len(answered) and list(frame.columns) == list(answered.columns)
    assert frame.empty == (question in SIDE)


@pytest.mark.parametrize("question", QUESTIONS)
def test_neither_the_order_of_the_scores_nor_a_file_makes_a_difference(question, full, tmp_path):
    read = []
    for name, rows in zip(("table", "scores"), (full[0], full[1].sample(frac=1, random_state=1)), strict=True):
        rows.to_csv(tmp_path / name, index=False)
        read.append(pd.read_csv(tmp_path / name))
    pd.testing.assert_frame_equal(ask(question, read), ask(question, full), check_dtype=False)


def test_the_seeds_that_all_merges_have_are_pooled():
    runs = tuple((run(f"{merge}-own-n4r-s{seed}"), (4,)) for merge in ("mean", "concat") for seed in (0, 1))
    scores = make_scores((*runs, (run("concat-own-n4r-s2"), (4,))), (1.0,), people=5)
    table = make_table(scores, (*runs, (run("concat-own-n4r-s2"), (4,))))
    sets = [pd.concat([scores[scores["adapter"] == f"{merge}-own-n4r-s{seed}"] for seed in (0, 1)])
            for merge in ("concat", "mean")]  # fmt: skip
    expected = intervals.paired(*(part["identity"] for part in sets), sets[0]["person"])
    concat = row(ask("merges", (table, scores)), merge="concat")
    assert three(concat, "difference") == pytest.approx(expected)
    three_seeds = table[(table["merge"] == "concat") & (table["metric"] == "identity")]["value"]
    assert concat["identity"] == pytest.approx(three_seeds[:2].mean()) and len(three_seeds) == 3


# ---- who is who --------------------------------------------------------------------------------------------


def test_usual_are_the_cells_without_a_suffix_another_persons_and_the_ceilings(full):
    table, scores = full
    found, scores = variants.usual(table), results_of(table, scores).scores
    assert set(found["cell"].dropna()) == {"n1", "n2", "n4", "n8", "n8-other"}
    assert set(found[found["cell"].isna()]["adapter"]) == {"real", "reconstruction"}
    assert set(found["guidance"].dropna()) == {USUAL_W}
    assert set(variants.usual(scores)["cell"].dropna()) == {"n1", "n2", "n4", "n8"}


def test_a_table_of_an_earlier_version_is_named_as_such(reduced):
    with pytest.raises(ValueError, match="no column 'prompts'.*make report"):
        variants.roles(reduced[0].drop(columns="prompts"))


def test_alt_has_another_merge_at_mains_largest_n(full):
    main = variants.roles(full[0])["main"]
    assert main.names == ("mean-own-n8r-s0", "mean-own-n8r-s1") and main.n_refs == (1, 2, 4, 8)
    assert "alt" not in variants.roles(full[0])  # other merges were judged at N = 4
    runs = ((MAIN, (1, 4)), (run("mean-shared-n4r-s0"), (4,)), (run("concat-own-n4r-s0"), (2,)),
            (run("gated-own-n4r-s0"), (4,)))  # fmt: skip
    scores = make_scores(runs, (0.0, 1.0), people=4)
    table = make_table(scores, runs)
    assert variants.roles(table)["alt"].names == ("gated-own-n4r-s0",)
    gated = table["adapter"] == "gated-own-n4r-s0"
    for lacking in (table[~gated | (table["lam"] != 1)], table.assign(seed=table["seed"].mask(gated, 7))):
        assert "alt" not in variants.roles(lacking)  # no λ = 1, no seed of main: nothing to pair


@pytest.mark.parametrize("name", config.profile_names())
def test_the_grid_and_the_table_agree_on_main(name):
    """The workflow asks the profile, the paper the table."""
    adapters = config.load_profile(name).adapters.values()
    runs = [(run(adapter.name), adapter.n_refs) for adapter in adapters]
    table = make_table(make_scores(runs, (1.0,), people=2), runs)
    assert variants.roles(table)["main"].names[0] == grid.main_run({a.name: a for a in adapters}).name


def test_merges_without_an_order_are_those_whose_scores_know_no_slot():
    assert set(answers.SYMMETRIC) == {name for name, row in merge.MERGES.items() if row.score is not merge.BySlot}


def test_a_label_says_what_is_unusual():
    names = ("gated-own-n4r-s0", "mean-shared-n4r-s0", "mean-own-norm-n4r-s0", "concat-own-shown-n4-s0")
    runs = tuple((run(name), (4,)) for name in names)
    found = variants.find_variants(make_table(make_scores(runs, (1.0,), people=2), runs))
    labels = ["веса по содержанию", "среднее, общие матрицы", "среднее, по убыванию нормы",
              "конкатенация, цель среди подсказок"]  # fmt: skip
    assert [v.label() for v in found] == labels
    assert found[1].label("en") == "mean, shared matrices"


# ---- kept ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_and_read_back_as_it_was(full, tmp_path):
    results = replace(results_of(*full), folder=tmp_path)
    frame = answers.ask(results, "over_n")
    kept = pd.read_csv(tmp_path / "answers/over_n.csv", keep_default_na=False, na_values={"low": "", "high": ""})
    pd.testing.assert_frame_equal(kept, frame, check_dtype=False)
    differences = answers.measured(frame, "over_first")
    assert set(differences["against"]) == {"n_refs=1"} and set(differences["runs"]) == {2}
    assert set(differences["count"]) == {2 * 8 * 2} and set(answers.measured(frame, "identity")["against"]) == {""}


def test_a_sentence_says_what_a_row_says(full):
    frame = answers.answer(results_of(*full), "over_n")
    assert answers.sentence(frame.iloc[-1]) == "over_first at n_refs 8: above n_refs=1, 0.120 [0.120, 0.120], 32 pairs."
    assert re.fullmatch(r"identity at n_refs 1: 0\.\d+ \[0\.\d+, 0\.\d+\]\.", answers.sentence(frame.iloc[0]))


PUBLISHED = ROOT / "results/published"


@pytest.mark.parametrize("name", ["full", "faces64-cpu"])
def test_published_results_give_the_published_numbers(name):
    """Keys of the two runs in paper/numbers.tex, made from their tables."""
    results = answers.read_results(PUBLISHED / name)
    values = latex.keys(answers.answers(results), variants.best_lam(results.table))
    lines = (ROOT / "paper/numbers.tex").read_text(encoding="utf-8").splitlines()
    numbers = dict(re.fullmatch(r"\\setresult\{(.*?)\}\{(.*)\}", line).groups() for line in lines)
    of_run = {key: text for key, text in numbers.items() if key.startswith("real/") == (name != "full")}
    own = {key.removeprefix("real/"): text for key, text in of_run.items()}
    common = set(own) & set(values)
    assert len(common) > 20 and {key: values[key] for key in common} == {key: own[key] for key in common}
