"""Numbers and rows of the paper, from the synthetic results of `tables`."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from tables import ALT, FACTS, LAMS, MAIN, full_grid, make_scores, make_table

from ipa_lib.evaluation import intervals
from ipa_lib.report import ablations, latex, variants

QUESTIONS = ("range", "occlusion", "best", "merge", "slots", "each", "guidance", "shown")


def numbers_of(table, scores, *measures):
    return latex.numbers(table, scores, FACTS, ablations.answers(table, scores, *measures))


@pytest.fixture(scope="module")
def scores():
    return make_scores()


@pytest.fixture(scope="module")
def table(scores):
    return make_table(scores)


@pytest.fixture(scope="module")
def numbers(table, scores):
    return numbers_of(table, scores)


@pytest.fixture(scope="module")
def full():
    """(table, scores) of the full grid: concatenation better by 0.05, occluders cost 0.06, nothing else matters."""
    runs = full_grid()
    scores = make_scores(runs, (0.0, 1.0), people=8, noise=0, effect=lambda run, cell, n, lam: lam * (
        0.05 * (run["merge"] == "concat") - 0.06 * cell.endswith("occluded100")))  # fmt: skip
    return make_table(scores, runs), scores


@pytest.fixture(scope="module")
def answers(full):
    measured = pd.DataFrame({"adapter": ["mean-own-n4r-s0"], "cosine": [0.5], "n_refs": [4],
                             "order_change": [0.125]})
    trained = ["mean-own-n8r-s0", *(f"mean-own-n{n}-s0" for n in (1, 2, 4, 8))]
    costs = pd.DataFrame({"adapter": trained, "seconds": [800, 100, 200, 400, 800], "steps": 10})
    return numbers_of(*full, measured, costs)


def cell(rows, adapter, n, lam):
    return rows[(rows["adapter"] == adapter) & (rows["n_refs"] == n) & (rows["lam"] == lam)]


def value(table, adapter, n, lam, metric):
    rows = cell(table, adapter, n, lam)
    return rows[rows["metric"] == metric]["value"].item()


# ---- numbers by role ---------------------------------------------------------------------------------------


def test_a_role_names_the_cell_of_its_run(numbers, table):
    expected = f"{value(table, MAIN['adapter'], 4, 1.0, 'identity'):.3f}".replace(".", "{,}")
    assert numbers["main/nmax/lam1/identity"] == expected
    assert numbers["main/n4/lam1/identity"] == expected
    assert numbers[f"identity/{MAIN['adapter']}/n4/lam1"] == expected


def test_where_no_judge_reads_texts_the_rest_is_told(numbers, table, scores):
    silent = table[~table["metric"].isin(["text", "is"])]
    left = numbers_of(silent, scores.assign(text=np.nan))
    assert {key: value for key, value in left.items() if numbers.get(key) != value} == {}
    told = [key for key in left if not key.startswith("fact/")]
    assert set(numbers) - set(left) and not [key for key in told if re.search(r"\b(text|is)\b", key)]


def test_the_smallest_n_the_best_lam_and_the_references_have_their_own_keys(numbers, table):
    assert numbers["main/nmin/lam0.25/fid"] == numbers["main/n1/lam0.25/fid"]
    assert numbers["main/nmax/lambest/identity"] == numbers["main/n4/lam1.25/identity"]
    assert numbers["floor/identity"] == numbers["main/n4/lam0/identity"]
    assert numbers["ceiling/real/identity/interval"] == "[0{,}700;~0{,}720]"
    assert numbers["floor/other/top1"] == "1{,}0"  # per cent


def test_the_contrast_is_the_paired_interval_whatever_the_order_of_the_rows(table, scores, numbers):
    a, b = (cell(scores, MAIN["adapter"], n, 1.0) for n in (4, 1))
    paired = intervals.paired(a["identity"].to_numpy(), b["identity"].to_numpy(), a["person"])
    expected = [f"{x:.3f}".replace(".", "{,}") for x in paired]
    shuffled = numbers_of(table, scores.sample(frac=1, random_state=1))
    for found in (numbers, shuffled):
        assert [found["contrast/n"], found["contrast/n/low"], found["contrast/n/high"]] == expected


def test_another_persons_prompts_are_paired_where_their_samples_are_scored(table, scores):
    own = cell(scores, MAIN["adapter"], 4, 1.0)
    other = own.assign(adapter="other", seed=np.nan, identity=own["identity"] - 0.125)
    found = numbers_of(table, pd.concat([scores, other]))
    assert found["contrast/other/interval"] == "[0{,}125;~0{,}125]"


def test_at_lam_zero_the_scores_of_any_n_serve(table, scores):
    once = scores[(scores["lam"] > 0) | (scores["n_refs"] == 1) | (scores["adapter"] == ALT["adapter"])]
    main = latex.roles(table)["main"]
    at_zero = latex._scores(once, main, 4, 0, "identity")
    pd.testing.assert_series_equal(at_zero, latex._scores(scores, main, 1, 0, "identity"))


@pytest.mark.parametrize("gain, words", [(0.3, "выше, чем"), (-0.3, "ниже, чем"), (0, "не отличается")])
def test_words_follow_the_sign_of_the_interval(gain, words):
    scores = make_scores(gain=gain)
    found = numbers_of(make_table(scores), scores)
    assert found["verdict/gain"].startswith(words)


def test_words_for_whole_sets_need_intervals_that_lie_apart(numbers):
    assert numbers["verdict/fid"] == "выше, чем"  # 16 ± 1 at λ = 1 against 10 ± 1
    assert numbers["verdict/is"].startswith("не отличается")  # the same at every λ


def test_main_is_the_adapter_with_random_n_wherever_it_stands(table):
    found = latex.roles(table[::-1])
    assert found["main"].names == (MAIN["adapter"],) and found["alt"].names == (ALT["adapter"],)
    assert found["main"].n_refs == (1, 2, 4)


def test_seeds_of_one_variant_are_averaged():
    runs = ((MAIN, (1, 2)), (MAIN | {"adapter": "mean-own-n4r-s1", "seed": 1}, (1, 2)))
    scores = make_scores(runs)
    table = make_table(scores, runs)
    found = numbers_of(table, scores)
    assert found["grid/lammax"] == str(LAMS[-1]).replace(".", "{,}")
    mean = np.mean([value(table, run["adapter"], 2, 1.0, "identity") for run, _ in runs])
    assert found["main/nmax/lam1/identity"] == f"{mean:.3f}".replace(".", "{,}")
    assert found["grid/seeds"] == "2" and "alt/label" not in found


def test_a_small_grid_with_an_undefined_score_still_gives_every_number():
    runs = ((MAIN, (1, 2)),)
    scores = make_scores(runs, lams=(0.0, 1.0), people=3, samples=1)
    found = numbers_of(make_table(scores, runs, kid=np.nan), scores)
    assert found["main/nmax/lambest/identity"] == found["main/nmax/lam1/identity"]
    assert found["main/nmax/lam1/kid"] == "--" and found["grid/nmax"] == "2"


# ---- side questions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key, expected", {
    "range/n1/share/interval": None, "range/n2/gain-over-previous": "0{,}040", "range/n2/verdict": "выше, чем",
    "occlusion/n2/100/difference": r"\ensuremath{-}0{,}060", "occlusion/nmax/100/verdict": "ниже, чем",
    "occlusion/nmax/0/identity": None, "best/nmax/lam-identity": "1", "best/n1/lam-kid": "0", "best/n4/lam-text": "0",
    "merge/n": "4", "merge/higher": "конкатенация", "merge/gated/label": "веса по содержанию",
    "merge/same": "веса по номеру, веса по содержанию, сумма", "merge/gated/occluded100/excess/difference": "0{,}000",
    "range/n4/over-first/difference": "0{,}080", "range/n4/over-first/verdict": "выше, чем", "best/n4/lam-fid": "0",
    "best/n4/text/difference": None, "occlusion/n8/100/excess/difference": "0{,}000",
    "guidance/best-identity/text/difference": None, "guidance/best-text/identity/verdict": None,
    "slots/mean/sorted-shared/difference": "0{,}000", "grid/seeds-others": "1--2", "grid/reduced": "mini",
    "merge/concat/difference": "0{,}050", "merge/concat/verdict": "выше, чем", "merge/sum/kid/interval": None,
    "merge/mean/top1": None, "merge/concat/occluded100/difference": "0{,}050",
    "merge/concat/occluded50/verdict": "выше, чем", "slots/n": "4", "slots/concat/own-shared/difference": "0{,}000",
    "slots/concat/own-shared/verdict": "не отличается значимо от значения",
    "slots/mean/norm-given/difference": "0{,}000", "slots/mean/norm-given/verdict": None,
    "slots/mean/own-given/reversed/difference": "0{,}000", "slots/mean/shared-given/identity": None,
    "slots/mean/own-given/cosine": "0{,}500", "slots/mean/own-given/order-change": "0{,}125",
    "occlusion/nmin/50/identity": None, "range/nmax/share": None, "shown/n": "4", "shown/nmax/copying/difference": None,
    "each/n1/random": None, "each/nmax/fixed/interval": None, "each/n4/difference": "0{,}000", "each/n4/verdict": None,
    "each/seconds-random": "800", "each/seconds-fixed": "1500", "guidance/n": "4", "guidance/w7.5/lam1/text": None,
    "guidance/best-kid": "3", "guidance/w5/lam0/identity/low": None, "shown/n1/copying": None,
    "shown/n4/excess": "0{,}020", "shown/n4/left-out/excess/interval": "[0{,}020;~0{,}020]",
    "shown/n4/identity/difference": "0{,}000", "shown/n1/copying/verdict": None,
}.items())  # fmt: skip
def test_every_question_has_its_keys(key, expected, answers):
    assert answers[key] == expected if expected else answers[key]


def test_keys_of_the_questions_are_keys(answers, tmp_path):
    assert {key.split("/")[0] for key in answers} >= set(QUESTIONS)
    assert latex.write_numbers(answers, tmp_path / "numbers.tex").is_file()
    assert "merge/mean/difference" not in answers  # nothing to compare it with
    assert not [key for key, value in answers.items() if "nan" in value]


def test_a_grid_without_side_cells_has_no_keys_of_them(numbers):
    assert {key.split("/")[0] for key in numbers} & set(QUESTIONS) == {"range", "best"}
    assert numbers["best/nmax/lam-identity"] == numbers["grid/lambest"]


def test_side_cells_change_no_number_of_the_usual_ones(full, answers):
    without = [variants.usual(rows) for rows in full]
    found = numbers_of(*without)
    usual = {key for key in found if key.split("/")[0] not in QUESTIONS}
    assert {key: answers[key] for key in usual} == {key: found[key] for key in usual}
    assert found["grid/guidance"] == "3" and len(usual) > 100
    assert latex.main_results(full[0]) == latex.main_results(without[0])


ROWS = {  # function: question, columns of a row, rows of the full grid
    "over_n_rows": ("over_n", 5, 4),
    "best_lam_rows": ("tradeoff", 7, 4),
    "merge_rows": ("merges", 8, 5),
    "slot_rows": ("slots", 9, 5),
    "each_n_rows": ("each_n", 6, 4),
    "shown_rows": ("target_shown", 4, 2),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_a_question_have_their_columns_and_an_empty_frame_has_none(name, full):
    question, columns, count = ROWS[name]
    frame = getattr(ablations, question)(*full)
    rows = getattr(latex, name)(frame)
    lines = [line for row in rows for line in row.split("\n")]
    assert len(rows) == count and {line.count(" & ") for line in lines} == {columns - 1}
    assert not [line for line in lines if re.search(r"nan|(?<!-)--(?!-)", line)]
    assert getattr(latex, name)(frame[:0]) == []


def test_an_n_without_a_counterpart_is_not_the_largest_of_the_question(full):
    table, scores = (rows[~((rows["adapter"].str.match("mean-own-n4r")) & (rows["n_refs"] == 4))] for rows in full)
    found = numbers_of(table, scores)
    assert found["shown/n"] == "1" and found["shown/nmax/copying"] == found["shown/n1/copying"]
    assert "shown/n4/copying" in found and "shown/n4/copying/difference" not in found


def test_the_tables_of_the_questions_have_rows_where_they_are_answered(full, table, scores):
    found = latex.question_rows(ablations.answers(*full))
    assert {name: len(rows) for name, rows in found.items()} == {
        name: count for name, count in zip(("over_n", "best_lam", "merges", "slots", "each_n", "shown"),
                                           (count for *_, count in ROWS.values()), strict=True)}  # fmt: skip
    found = latex.question_rows(ablations.answers(table, scores))
    assert [name for name, rows in found.items() if rows] == ["over_n", "best_lam"]


def test_a_row_shows_the_values_that_the_text_quotes(full, answers):
    first, second = latex.merge_rows(ablations.merges(*full))[1].split("\n")
    keys = ["identity", "top1", "text", "kid", "difference", "occluded100/identity", "occluded100/difference"]
    assert first == " & ".join(["конкатенация", *(answers[f"merge/concat/{key}"] for key in keys)]) + r" \\[-2pt]"
    assert second.count(r"\scriptsize") == len(keys)


def test_the_best_lam_is_never_zero():
    scores = make_scores(gain=-0.3)
    assert latex.best_lam(make_table(scores)) == 0.25


# ---- what is refused ---------------------------------------------------------------------------------------


def test_a_missing_fact_is_named(table, scores):
    facts = {name: value for name, value in FACTS.items() if name != "tokens"}
    with pytest.raises(ValueError, match="facts: 'tokens' is missing"):
        latex.numbers(table, scores, facts, ablations.answers(table, scores))


def test_a_grid_without_lam_one_is_refused(table, scores):
    with pytest.raises(ValueError, match="lam = 1"):
        numbers_of(table[table["lam"] != 1], scores)


def test_a_table_without_adapters_is_refused(table):
    with pytest.raises(ValueError, match="no identity rows of an adapter"):
        latex.roles(table[table["adapter"].isin(latex.REFERENCES)])


def test_a_key_that_latex_would_stumble_over_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fid/n 4"):
        latex.write_numbers({"fid/n 4": "1"}, tmp_path / "numbers.tex")
    assert not list(tmp_path.iterdir())


# ---- formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, expected",
    [(10_177, r"10\,177"), (1000, "1000"), (0.05, "0{,}05"), (1e-4, r"\ensuremath{10^{-4}}"), (3.0, "3"),
     (2.5e-5, r"\ensuremath{2{,}5\cdot 10^{-5}}"), ("a_b", r"a\_b"), (0, "0")],
)  # fmt: skip
def test_a_setting_is_written_as_it_was_set(value, expected):
    assert latex._fact(value) == expected


@pytest.mark.parametrize(
    "value, metric, expected",
    [(0.12345, "identity", "0{,}123"), (0.5, "top1", "50{,}0"), (-0.4, "kid", r"\ensuremath{-}0{,}400"),
     (123.4, "fid", "123"), (12.34, "fid", "12{,}3"), (-1e-5, "identity", "0{,}000"), (np.nan, "fid", "--")],
)  # fmt: skip
def test_a_score_is_rounded_as_its_kind_asks(value, metric, expected):
    assert latex._keys("x", metric, value, value, value)["x"] == expected


def test_a_number_has_the_decimals_that_suit_its_interval():
    assert latex._keys("x", "kid", 0.356, -0.716, 1.599)["x/interval"] == r"[\ensuremath{-}0{,}72;~1{,}60]"
    assert latex._keys("x", "kid", 0.527, 0.451, 0.592)["x"] == "0{,}527"


def test_numbers_are_written_one_a_line_and_sorted(tmp_path, numbers):
    path = latex.write_numbers(numbers, tmp_path / "numbers.tex")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == [f"\\setresult{{{key}}}{{{numbers[key]}}}" for key in sorted(numbers)]
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.tex"]


def test_every_row_of_a_table_has_its_columns(table):
    lines = [line for row in latex.main_results(table) for line in row.split("\n") if line != r"\midrule"]
    assert {line.count(" & ") for line in lines} == {1 + len(latex.TABLE_METRICS)}
    assert len(lines) == 2 * (2 + 2 + 3 + 1 + 1)  # ceilings, floors, N = 1, 2, 4, best λ, alt; two lines each
    assert {row.count("&") for row in latex.profile_rows(FACTS)} == {3}


def test_parts_are_gathered_in_their_order(tmp_path, scores):
    parts = [tmp_path / name for name in ("b.csv", "a.csv")]
    for part, rows in zip(parts, (scores[:5], scores[5:9]), strict=True):
        rows.to_csv(part, index=False)
    whole = pd.read_csv(gather.gather(parts, tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(whole, scores[:9], check_exact=False)


def test_what_the_start_can_do_is_told_beside_what_it_became(tmp_path, table, scores):
    ends, file = ["n_refs", "metric", "value", "low", "high"], tmp_path / "training_gain.csv"
    rows = [(1, "identity", 0.5, 0.4, 0.6), (1, "gain", 0.01, -0.01, 0.03), (8, "identity", 0.52, 0.4, 0.6),
            (8, "gain", 0.02, 0.01, 0.03), (8, "over_n", 0.02, 0.0004, 0.04)]
    pd.DataFrame(rows, columns=ends).to_csv(file)
    cells = latex.start_cells(file, table.assign(profile="full"))
    assert latex.start_cells(file, table) == latex.start_cells(tmp_path / "none.csv", table) == {}  # another grid's
    found = latex.start_results(cells)
    assert found["start/nmin/identity"] == "0{,}500" and found["start/n8/gain"] == found["start/nmax/gain"] == "0{,}020"
    verdicts = [found[f"start/{key}/verdict"] for key in ("nmin/gain", "nmax/gain", "nmax/over_n")]
    assert verdicts == [latex.VERDICTS[0], latex.VERDICTS[1], latex.VERDICTS[0]]  # an end that is printed as zero
    assert found["start/nmax/identity/interval/en"] == "[0.400,~0.600]"
    more = [row for row in latex.main_results(table, cells) if row not in latex.main_results(table)]
    assert [row.split(" & ")[0] for row in more] == ["начальный адаптер, $N=1$", "начальный адаптер, $N=8$"]


def test_a_question_says_of_how_many_trainings_its_values_are(full):
    found = numbers_of(*full)
    assert found["runs/over_n"] == found["runs/slots"] == "2" and found["runs/merges"] == found["runs/guidance"] == "1"


def test_a_merge_is_like_the_mean_where_its_whole_interval_is_printed_as_zero():
    columns = ["merge", "prompts", "n_refs", "difference", "difference_low", "difference_high"]
    rows = [("weighted", "own", 4, 1e-5, -2e-4, 2e-4), ("gated", "own", 4, 0.004, 0.0038, 0.0042),
            ("sum", "own", 4, 0.0, -0.001, 0.0), ("sum", "occluded100", 4, 0.0, 0.0, 0.0)]
    frame = pd.DataFrame(rows, columns=columns)
    others = ("identity", "top1", "kid", "text", "excess")
    absent = {f"{name}{end}": np.nan for name in others for end in ("", "_low", "_high")}
    found = latex._of_merges(frame.assign(**absent))
    assert [key for key in found if key.endswith("/like-mean")] == ["merge/weighted/like-mean"]
    assert "merge/occluded" in found and "merge/occluded" not in latex._of_merges(frame[:3].assign(**absent))


def test_a_judge_trained_with_its_base_is_told_from_the_usual_ones(table, scores):
    assert "judge/text/own" not in numbers_of(table, scores)
    judged = table.assign(judge=table["judge"].mask(table["metric"] == "text", "attribute judge"))
    assert {"judge/text/own"} == {key for key in numbers_of(judged, scores) if key.endswith("/own")}


def test_without_lam_one_at_several_w_there_is_no_best_w(full):
    table, scores = full
    found = numbers_of(table[(table["cell"].str.contains("-w") == False) | (table["lam"] != 1)], scores)  # noqa: E712
    assert not [key for key in found if key.startswith(("guidance/n", "guidance/best"))]


def test_logs_are_gathered_under_the_names_of_their_adapters(tmp_path):
    for name, first in (("b", 0.123456789), ("a", 0.5)):
        (tmp_path / name).mkdir()
        records = [{"step": 1, "loss": first, "norm": 2.0}, {"step": 2, "loss": 0.25, "val_loss": 0.3}]
        (tmp_path / name / "log.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    path = gather.gather_logs([tmp_path / name / "log.jsonl" for name in "ba"], tmp_path / "logs.csv")
    rows = ["b,1,0.123457,", "b,2,0.25,0.3", "a,1,0.5,", "a,2,0.25,0.3"]
    assert path.read_text().splitlines() == ["adapter,step,loss,val_loss", *rows]


@pytest.mark.parametrize(
    "name, expected",
    [("mini identity judge", "судья личности"), ("attribute judge", "судья признаков"),
     ("mobilenet_v2.py:ImageNetFeatures", "MobileNetV2"), ("nets.py:my_face", r"\texttt{nets.py:my\_face}")],
)  # fmt: skip
def test_a_judge_has_the_name_that_the_paper_gives_it(name, expected, table, scores):
    judged = table.assign(judge=table["judge"].mask(table["metric"] == "fid", name))
    assert numbers_of(judged, scores)["judge/fid"] == expected


@pytest.mark.parametrize("device, expected", [("cpu", "процессор"), ("cuda", "видеокарта"), ("mps", "mps")])
def test_the_device_is_told_in_russian(device, expected, table, scores):
    facts = FACTS | {"device": device}
    assert latex.numbers(table, scores, facts, ablations.answers(table, scores))["fact/device"] == expected
    assert latex.profile_rows(facts)[-1].endswith(rf"& {expected} \\")


@pytest.mark.parametrize("low, high, metric, words", [
    (0.0004, 0.02, "identity", "не отличается"), (0.0006, 0.02, "identity", "выше"),
    (-0.02, -0.0006, "identity", "ниже"),
    (0.0004, 0.02, "text", "не отличается"), (0.0006, 0.02, "text", "выше"), (0.0004, 0.02, "", "выше"),
])  # fmt: skip
def test_a_difference_is_told_only_where_its_printed_interval_shows_one(low, high, metric, words):
    assert latex.verdict(low, high, metric).startswith(words)


def test_what_is_read_off_the_embeddings_has_keys_with_intervals(tmp_path, table):
    file = tmp_path / "readout.csv"
    rows = [("linear", 4, "identity", 0.7228, 0.71, 0.735, 150), ("linear", 4, "top1", 0.82, 0.76, 0.88, 150)]
    columns = ["read_out", "n_refs", "metric", "value", "low", "high", "count"]
    pd.DataFrame(rows, columns=columns).to_csv(file, index=False)
    found = latex.readout_numbers(file, table)
    assert found["readout/n4/linear"] == "0{,}723" and found["readout/n4/linear/interval"] == "[0{,}710;~0{,}735]"
    assert found["readout/people"] == "150" and found["readout/n4/above"] and len(found) == 6
    better = table.assign(high=table["high"] + 0.7)
    assert "readout/n4/above" not in latex.readout_numbers(file, better)
    assert latex.readout_numbers(tmp_path / "none.csv", table) == {}


def test_what_is_lost_behind_the_embeddings_has_keys(tmp_path):
    assert latex.lost_numbers(tmp_path) == {}
    end = [(4, 500, "identity", 0.685, 0.664, 0.71), (4, 500, "top1", 0.657, 0.6, 0.7)]
    most = [(16, 500, "identity", 0.691, 0.67, 0.715), (16, 500, "top1", 0.66, 0.61, 0.71)]
    fitted = [(4, 0, "identity", 0.584, 0.559, 0.607), *end, (16, 0, "identity", 0.58, 0.55, 0.6), *most]
    starts = [("linear", 4, "gain", 0, 0, 0), ("mlp", 4, "gain", 0.0112, 0.0031, 0.0192), ("mlp", 1, "gain", 1, 1, 1)]
    ends = ["value", "low", "high"]
    fitted = pd.DataFrame(fitted, columns=["tokens", "step", "metric", *ends])
    fitted.to_csv(tmp_path / "fitted_tokens.csv")
    pd.DataFrame(starts, columns=["projection", "n_refs", "metric", *ends]).to_csv(tmp_path / "start_quality.csv")
    found = latex.lost_numbers(tmp_path)
    assert found["fitted/end"] == "0{,}685" and found["fitted/top1"] == "65{,}7" and found["fitted/steps"] == "500"
    assert found["fitted/start"] == "0{,}584" and found["fitted/above"] and found["mlp/difference"] == "0{,}011"
    assert (found["fitted/most"], found["fitted/most/end"], found["fitted/most/top1"]) == ("16", "0{,}691", "66{,}0")
    assert "fitted/same" in found
    fitted.assign(high=0.68).to_csv(tmp_path / "fitted_tokens.csv")
    assert not {"fitted/above", "fitted/same"} & latex.lost_numbers(tmp_path).keys()
