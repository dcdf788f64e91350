"""Keys and rows of the paper, from the answer tables of the synthetic results of `tables`."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from tables import ALT, FACTS, MAIN, full_grid, make_scores, make_table, results_of

from ipa_lib.evaluation import intervals
from ipa_lib.files import ROOT
from ipa_lib.report import answers, latex, variants
from ipa_lib.workflow import config, gather

PRETRAIN = config.load_profile("pretrain").notebooks


def numbers_of(table, scores, **more):
    results = results_of(table, scores, **more)
    return latex.numbers(results, answers.answers(results), PRETRAIN)


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
    """Results of the full grid: concatenation better by 0.05, occluders cost 0.06, nothing else matters."""
    runs = full_grid()
    scores = make_scores(runs, (0.0, 1.0), people=8, noise=0, effect=lambda run, cell, n, lam: lam * (
        0.05 * (run["merge"] == "concat") - 0.06 * cell.endswith("occluded100")))  # fmt: skip
    measured = pd.DataFrame({"adapter": ["mean-own-n4r-s0"], "cosine": [0.5], "n_refs": [4], "order_change": [0.125]})
    trained = ["mean-own-n8r-s0", *(f"mean-own-n{n}-s0" for n in (1, 2, 4, 8))]
    costs = pd.DataFrame({"adapter": trained, "seconds": [800, 100, 200, 400, 800], "steps": 10})
    return results_of(make_table(scores, runs), scores, slots=measured, costs=costs)


@pytest.fixture(scope="module")
def tables(full):
    return answers.answers(full)


@pytest.fixture(scope="module")
def of_full(full, tables):
    return latex.numbers(full, tables, PRETRAIN)


def cell(rows, adapter, n, lam):
    return rows[(rows["adapter"] == adapter) & (rows["n_refs"] == n) & (rows["lam"] == lam)]


def value(table, adapter, n, lam, metric):
    rows = cell(table, adapter, n, lam)
    return rows[rows["metric"] == metric]["value"].item()


# ---- keys of usual cells, bounds and contrasts ---------------------------------------------------------------------


def test_a_key_names_question_index_and_measure(numbers, table):
    expected = f"{value(table, MAIN['adapter'], 4, 1.0, 'identity'):.3f}".replace(".", "{,}")
    assert numbers["cells/main/nmax/lam1/identity"] == numbers["cells/main/n4/lam1/identity"] == expected
    assert numbers["cells/main/nmin/lam0.25/fid"] == numbers["cells/main/n1/lam0.25/fid"]
    assert numbers["cells/main/nmax/lambest/identity"] == numbers["cells/main/n4/lam1.25/identity"]
    assert numbers["bounds/text_alone/identity"] == numbers["cells/main/n4/lam0/identity"]
    assert numbers["bounds/real/identity/interval"] == "[0{,}700;~0{,}720]"
    assert numbers["bounds/other/top1"] == "1{,}0"  # per cent
    assert (numbers["over_n/nmin"], numbers["over_n/nmax"], numbers["over_n/runs"]) == ("1", "4", "1")


def test_what_no_judge_gave_has_no_key(table, scores, numbers):
    left = numbers_of(table[~table["metric"].isin(["text", "is"])], scores.assign(text=np.nan))
    assert {key: text for key, text in left.items() if numbers.get(key) != text} == {}
    assert not [key for key in left if re.search(r"/(text|is)(/|$)|/text_diff", key) and not key.startswith("fact/")]


def test_the_contrast_is_the_paired_interval_whatever_the_order_of_the_rows(table, scores, numbers):
    a, b = (cell(scores, MAIN["adapter"], n, 1.0) for n in (4, 1))
    paired = intervals.paired(a["identity"].to_numpy(), b["identity"].to_numpy(), a["person"])
    expected = [f"{x:.3f}".replace(".", "{,}") for x in paired]
    for values in (numbers, numbers_of(table, scores.sample(frac=1, random_state=1))):
        assert [values[f"contrasts/n/identity_difference{end}"] for end in ("", "/low", "/high")] == expected


def test_another_persons_prompts_are_paired_where_their_samples_are_scored(table, scores):
    own = cell(scores, MAIN["adapter"], 4, 1.0)
    other = own.assign(adapter="other", cell="n4-other", seed=np.nan, identity=own["identity"] - 0.125)
    values = numbers_of(table, pd.concat([scores, other]))
    assert values["contrasts/other/identity_difference/interval"] == "[0{,}125;~0{,}125]"


def test_at_lam_zero_the_scores_of_any_n_serve(table, scores):
    once = scores[(scores["lam"] > 0) | (scores["n_refs"] == 1) | (scores["adapter"] == ALT["adapter"])]
    at_zero = answers.scored(results_of(table, once), (MAIN["adapter"],), 4, lam=0)
    pd.testing.assert_series_equal(at_zero, answers.scored(results_of(table, scores), (MAIN["adapter"],), 1, lam=0))


@pytest.mark.parametrize("gain, words", [(0.3, "выше, чем"), (-0.3, "ниже, чем"), (0, "не отличается")])
def test_words_follow_the_sign_of_the_interval(gain, words):
    scores = make_scores(gain=gain)
    values = numbers_of(make_table(scores), scores)
    assert values["contrasts/gain/identity_difference/verdict"].startswith(words)


def test_words_for_whole_sets_need_intervals_that_lie_apart(numbers):
    assert numbers["contrasts/fid/unpaired/verdict"] == "выше, чем"  # 16 ± 1 at λ = 1 against 10 ± 1
    assert numbers["contrasts/is/unpaired/verdict"].startswith("не отличается")  # the same at every λ


def test_main_is_the_adapter_with_random_n_wherever_it_stands(table):
    found = variants.roles(table[::-1])
    assert found["main"].names == (MAIN["adapter"],) and found["alt"].names == (ALT["adapter"],)
    assert found["main"].n_refs == (1, 2, 4)


def test_seeds_of_one_variant_are_averaged():
    runs = ((MAIN, (1, 2)), (MAIN | {"adapter": "mean-own-n4r-s1", "seed": 1}, (1, 2)))
    scores = make_scores(runs)
    table = make_table(scores, runs)
    values = numbers_of(table, scores)
    mean = np.mean([value(table, run["adapter"], 2, 1.0, "identity") for run, _ in runs])
    assert values["cells/main/nmax/lam1/identity"] == f"{mean:.3f}".replace(".", "{,}")
    assert values["grid/seeds"] == "2" and "label/alt" not in values


def test_a_small_grid_with_an_undefined_score_still_gives_the_others():
    runs = ((MAIN, (1, 2)),)
    scores = make_scores(runs, lams=(0.0, 1.0), people=3, samples=1)
    values = numbers_of(make_table(scores, runs, kid=np.nan), scores)
    assert values["cells/main/nmax/lambest/identity"] == values["cells/main/nmax/lam1/identity"]
    assert "cells/main/nmax/lam1/kid" not in values and values["grid/nmax"] == "2"


# ---- side questions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key, expected", {
    "over_n/n1/share/interval": None, "over_n/n2/gain": "0{,}040", "over_n/n2/gain/verdict": "выше, чем",
    "over_n/n4/over_first": "0{,}080", "occlusion/n2/100/difference": r"\ensuremath{-}0{,}060",
    "occlusion/nmax/100/difference/verdict": "ниже, чем", "occlusion/nmax/0/identity": None,
    "occlusion/n8/100/excess": "0{,}000", "best_lams/nmax/identity/lam": "1", "best_lams/n1/kid/lam": "0",
    "best_lams/n4/text/text_difference": None, "merges/n": "4", "merges/higher": "конкатенация",
    "merges/same": "веса по номеру, веса по содержанию, сумма", "merges/occluded": "occluded",
    "merges/gated/occluded100/excess": "0{,}000", "merges/concat/own/difference": "0{,}050",
    "merges/concat/own/difference/verdict": "выше, чем", "merges/sum/own/kid/interval": None,
    "merges/concat/occluded50/difference/verdict": "выше, чем", "merges/weighted/like_mean": "mean",
    "guidance/n": "4", "guidance/w7.5/lam1/text": None, "guidance/w5/lam0/identity/low": None,
    "best_w/kid/w": "3", "best_w/identity/text_difference": None, "slots/n": "4",
    "slots/mean/own/norm/own_shared": "0{,}000", "slots/mean/own/norm/norm_given/verdict": None,
    "slots/concat/own/given/own_shared/verdict": "не отличается значимо от значения",
    "slots/mean/own/given/own_reversed": "0{,}000", "slots/mean/own/given/cosine": "0{,}500",
    "slots/mean/own/given/order_change": "0{,}125", "slots/mean/shared/given/identity": None,
    "each_n/n1/random": None, "each_n/nmax/fixed/interval": None, "each_n/n4/difference": "0{,}000",
    "each_n/seconds_random": "800", "each_n/seconds_fixed": "1500", "target_shown/nmax": "4",
    "target_shown/nmax/shown/copying_difference": None, "target_shown/n4/shown/excess": "0{,}020",
    "target_shown/n4/left_out/excess/interval": "[0{,}020;~0{,}020]",
    "target_shown/n4/shown/identity_difference": "0{,}000",
    "grid/seeds-others": "1--2", "grid/reduced": "mini", "slots/runs": "2", "merges/runs": "1",
}.items())  # fmt: skip
def test_every_question_has_its_keys(key, expected, of_full):
    assert of_full[key] == expected if expected else of_full[key]


def test_a_grid_without_side_cells_has_no_keys_of_them(numbers):
    side = {"occlusion", "merges", "guidance", "best_w", "slots", "each_n", "target_shown"}
    assert not {key.split("/")[0] for key in numbers} & side
    assert numbers["best_lams/nmax/identity/lam"] == numbers["grid/lambest"]


def test_nothing_to_compare_with_and_nothing_undefined_is_written(of_full):
    assert "merges/mean/own/difference" not in of_full
    assert not [key for key, text in of_full.items() if "nan" in text]


ROWS = {"over_n": (5, 4), "best_lam": (7, 4), "merges": (8, 5), "slots": (9, 5), "each_n": (6, 4), "shown": (4, 2)}


def test_rows_of_a_question_have_their_columns(of_full, tables):
    """Table: columns of a row, rows of the full grid."""
    for name, rows in latex.table_rows(of_full, tables).items():
        lines = [line for row in rows for line in row.split("\n")]
        assert ({line.count(" & ") + 1 for line in lines}, len(rows)) == ({ROWS[name][0]}, ROWS[name][1])
        assert not [line for line in lines if re.search(r"nan|(?<!-)--(?!-)", line)]


def test_a_question_without_an_answer_has_no_rows(table, scores, numbers):
    rows = latex.table_rows(numbers, answers.answers(results_of(table, scores)))
    assert [name for name, lines in rows.items() if lines] == ["over_n", "best_lam"]


def test_a_row_shows_the_values_that_the_text_quotes(of_full, tables):
    first, second = latex.table_rows(of_full, tables)["merges"][1].split("\n")
    keys = [*(f"own/{name}" for name in ("identity", "top1", "text", "kid", "difference")),
            "occluded100/identity", "occluded100/difference"]  # fmt: skip
    assert first == " & ".join(["конкатенация", *(of_full[f"merges/concat/{key}"] for key in keys)]) + r" \\[-2pt]"
    assert second.count(r"\scriptsize") == len(keys)


def test_the_best_lam_is_never_zero():
    assert variants.best_lam(make_table(make_scores(gain=-0.3))) == 0.25


def test_a_table_without_adapters_is_refused(table):
    with pytest.raises(ValueError, match="no identity rows of an adapter"):
        variants.roles(table[table["adapter"].isin(variants.BOUNDS)])


# ---- benchmarks and claims -----------------------------------------------------------------------------------------


def bench(folder, **tables):
    for name, (columns, rows) in tables.items():
        pd.DataFrame(rows, columns=columns.split()).to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_what_the_start_can_do_is_told_beside_what_it_became(tmp_path, table, scores):
    rows = [(1, "identity", 0.5, 0.4, 0.6, 9), (1, "gain", 0.01, -0.01, 0.03, 9), (4, "identity", 0.52, 0.4, 0.6, 9),
            (4, "gain", 0.02, 0.01, 0.03, 9), (4, "over_n", 0.02, 0.0004, 0.04, 9)]  # fmt: skip
    folder = bench(tmp_path, training_gain=("n_refs metric value low high count", rows))
    results = results_of(table.assign(profile="full"), scores, bench=folder)
    values = latex.numbers(results, answers.answers(results), PRETRAIN)
    assert not [key for key in numbers_of(table, scores, bench=folder) if key.startswith("starts/nm")]  # another grid's
    assert values["starts/nmin/identity"] == "0{,}500" and values["starts/nmax/gain"] == "0{,}020"
    verdicts = [values[f"starts/{key}/verdict"] for key in ("nmin/gain", "nmax/gain", "nmax/over_n")]
    assert verdicts == ["не отличается значимо от значения", "выше, чем", "не отличается значимо от значения"]
    assert latex.english(values["starts/nmax/identity/interval"]) == "[0.400,~0.600]"
    rows = [row.split(" & ")[0] for row in latex.main_results(values, results)]
    assert [row for row in rows if row.startswith("нач")] == ["начальный адаптер, $N=1$", "начальный адаптер, $N=4$"]


def test_what_is_read_off_the_embeddings_has_keys_and_a_claim(tmp_path, table, scores):
    rows = [("linear", 4, "identity", 0.7228, 0.71, 0.735, 150), ("linear", 4, "top1", 0.82, 0.76, 0.88, 150)]
    folder = bench(tmp_path, encoder_readout=("read_out n_refs metric value low high count", rows))
    values = numbers_of(table, scores, bench=folder)
    assert values["read_outs/n4/linear/identity/interval"] == "[0{,}710;~0{,}735]"
    assert values["read_outs/people"] == "150" and values["read_outs/n4/above"]
    assert "read_outs/n4/above" not in numbers_of(table.assign(high=table["high"] + 0.7), scores, bench=folder)


def test_what_is_lost_behind_the_embeddings_has_keys_and_claims(tmp_path, table, scores):
    rows = [(tokens, step, metric, value, value - 0.02, high, 150) for tokens, step, metric, value, high in (
        (4, 0, "identity", 0.584, 0.607), (4, 500, "identity", 0.685, 0.71), (4, 500, "top1", 0.657, 0.7),
        (16, 0, "identity", 0.58, 0.6), (16, 500, "identity", 0.691, 0.715), (16, 500, "top1", 0.66, 0.71))]
    starts = [("linear", 4, "gain", 0, 0, 0, 9), ("mlp", 4, "gain", 0.0112, 0.0031, 0.0192, 9)]
    columns = "tokens step metric value low high count"
    folder = bench(tmp_path, fitted_tokens=(columns, rows),
                   start_quality=("projection n_refs metric value low high count", starts))  # fmt: skip
    values = numbers_of(table, scores, bench=folder)
    assert values["fitted/few/end/identity"] == "0{,}685" and values["fitted/few/end/top1"] == "65{,}7"
    assert (values["fitted/steps"], values["fitted/most"]) == ("500", "16")
    assert values["fitted/most/end/identity"] == "0{,}691"
    assert values["fitted/above"] and values["fitted/same"] and values["mlp/n4/gain"] == "0{,}011"
    bench(tmp_path, fitted_tokens=(columns, [(*row[:5], 0.68, 150) for row in rows]))
    assert not {"fitted/above", "fitted/same"} & set(numbers_of(table, scores, bench=folder))


def test_a_merge_is_like_the_mean_where_its_whole_interval_is_printed_as_zero():
    columns = ["merge", "prompts", "n_refs", *answers.COLUMNS]
    rows = [("weighted", "own", 4, "difference", 1e-5, -2e-4, 2e-4),
            ("gated", "own", 4, "difference", 4e-3, 38e-4, 42e-4),
            ("sum", "own", 4, "difference", 0.0, -1e-3, 0.0)]  # fmt: skip
    frame = pd.DataFrame([(*row, 9, 1, "mean") for row in rows], columns=columns)
    claims = latex._merge_claims(frame)
    assert [key for key in claims if key.endswith("like_mean")] == ["merges/weighted/like_mean"]
    assert claims["merges/higher"] == "веса по содержанию" and "merges/occluded" not in claims


# ---- what is written -----------------------------------------------------------------------------------------------


def test_only_keys_that_the_text_names_are_written(tmp_path, numbers):
    text = r"\result{grid/nmax} \valued{over_n/n4/share} \englishvalued{over_n/n4/share} \byruns{over_n}" + "\n"
    text += r"\ifresult{slots/n}{\result{slots/n}}{} % \result{grid/nmin}" + "\n" + r"100\,\% \result{grid/people}"
    (tmp_path / "main.tex").write_text(text)
    path = latex.write_numbers(numbers, tmp_path / "main.tex", tmp_path / "numbers.tex")
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = [re.match(r"\\setresult\{(.*?)\}", line)[1] for line in lines]
    assert keys == sorted(["grid/nmax", "grid/people", "over_n/n4/share", "over_n/n4/share/en", "over_n/runs",
                           "over_n/n4/share/interval", "over_n/n4/share/interval/en"])  # fmt: skip
    assert numbers["over_n/n4/share"].replace("{,}", ".") in lines[keys.index("over_n/n4/share/en")]


def test_every_key_of_the_published_numbers_is_named_in_the_text():
    named = latex.named_in((ROOT / "paper/main.tex").read_text(encoding="utf-8"))
    written = re.findall(r"setresult\{(.*?)\}", (ROOT / "paper/numbers.tex").read_text(encoding="utf-8"))
    assert set(written) <= named and len(written) > 200


def test_every_row_of_a_table_has_its_columns(table, scores, numbers):
    rows = latex.main_results(numbers, results_of(table, scores))
    lines = [line for row in rows for line in row.split("\n") if line != r"\midrule"]
    assert {line.count(" & ") for line in lines} == {1 + len(latex.TABLE_METRICS)}
    assert len(lines) == 2 * (2 + 2 + 3 + 1 + 1)  # ceilings, floors, N = 1, 2, 4, best λ, alt; two lines each
    assert {row.count("&") for row in latex.profile_rows(FACTS)} == {3}


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, expected",
    [(10_177, r"10\,177"), (1000, "1000"), (0.05, "0{,}05"), (1e-4, r"\ensuremath{10^{-4}}"), (3.0, "3"),
     (2.5e-5, r"\ensuremath{2{,}5\cdot 10^{-5}}"), ("a_b", r"a\_b"), (0, "0")],
)  # fmt: skip
def test_a_setting_is_written_as_it_was_set(value, expected):
    assert latex.plain(value) == expected


def row(measure, value, low=None, high=None, against=""):
    low, high = (value if end is None else end for end in (low, high))
    return {"measure": measure, "value": value, "low": low, "high": high, "against": against}


@pytest.mark.parametrize(
    "value, measure, expected",
    [(0.12345, "identity", "0{,}123"), (0.5, "top1", "50{,}0"), (-0.4, "kid", r"\ensuremath{-}0{,}400"),
     (123.4, "fid", "123"), (12.34, "fid", "12{,}3"), (-1e-5, "identity", "0{,}000"),
     (0.5, "text_difference", "50{,}0")],
)  # fmt: skip
def test_a_score_is_rounded_as_its_kind_asks(value, measure, expected):
    assert latex.texts(row(measure, value))[""] == expected


def test_a_number_has_the_decimals_that_suit_its_interval():
    assert latex.texts(row("kid", 0.356, -0.716, 1.599))["interval"] == r"[\ensuremath{-}0{,}72;~1{,}60]"
    assert latex.texts(row("kid", 0.527, 0.451, 0.592))[""] == "0{,}527"


@pytest.mark.parametrize("low, high, measure, expected", [
    (0.0004, 0.02, "identity", "same"), (0.0006, 0.02, "identity", "higher"), (-0.02, -0.0006, "identity", "lower"),
    (0.0004, 0.02, "text", "same"), (0.0006, 0.02, "text", "higher"), (0.0004, 0.02, "unpaired", "higher"),
])  # fmt: skip
def test_a_difference_is_told_only_where_its_printed_interval_shows_one(low, high, measure, expected):
    assert latex.verdict(row(measure, 0.01, low, high)) == expected


def test_a_judge_trained_with_its_base_is_told_from_the_usual_ones(table, scores):
    assert "judge/text/own" not in numbers_of(table, scores)
    judged = table.assign(judge=table["judge"].mask(table["metric"] == "text", "attribute judge"))
    assert {"judge/text/own"} == {key for key in numbers_of(judged, scores) if key.endswith("/own")}


@pytest.mark.parametrize(
    "name, expected",
    [("mini identity judge", "судья личности"), ("attribute judge", "судья признаков"),
     ("mobilenet_v2.py:ImageNetFeatures", "MobileNetV2"), ("nets.py:my_face", r"\texttt{nets.py:my\_face}")],
)  # fmt: skip
def test_a_judge_has_the_name_that_the_paper_gives_it(name, expected):
    assert latex.judge_name(name) == expected


@pytest.mark.parametrize("device, expected", [("cpu", "процессор"), ("cuda", "видеокарта"), ("mps", "mps")])
def test_the_device_is_told_in_russian(device, expected):
    assert latex.fact("device", device) == expected
    assert latex.profile_rows(FACTS | {"device": device})[-1].endswith(rf"& {expected} \\")


def test_the_machine_is_told_in_russian():
    assert latex.fact("machine", "Linux x86_64, 2 cores") == r"\texttt{Linux x86\_64}, ядер:~2"


# ---- gathered ------------------------------------------------------------------------------------------------------


def test_parts_are_gathered_in_their_order(tmp_path, scores):
    parts = [tmp_path / name for name in ("b.csv", "a.csv")]
    for part, rows in zip(parts, (scores[:5], scores[5:9]), strict=True):
        rows.to_csv(part, index=False)
    whole = pd.read_csv(gather.gather(parts, tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(whole, scores[:9], check_exact=False)


def test_logs_are_gathered_under_the_names_of_their_adapters(tmp_path):
    for name, first in (("b", 0.123456789), ("a", 0.5)):
        (tmp_path / name).mkdir()
        records = [{"step": 1, "loss": first, "norm": 2.0}, {"step": 2, "loss": 0.25, "val_loss": 0.3}]
        (tmp_path / name / "log.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    path = gather.gather_logs([tmp_path / name / "log.jsonl" for name in "ba"], tmp_path / "logs.csv")
    rows = ["b,1,0.123457,", "b,2,0.25,0.3", "a,1,0.5,", "a,2,0.25,0.3"]
    assert path.read_text().splitlines() == ["adapter,step,loss,val_loss", *rows]
