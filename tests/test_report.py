"""Numbers and rows of the paper, from synthetic results that the tests of plots and of the paper use too."""

import numpy as np
import pandas as pd
import pytest

from ipa_lib import intervals, report

LAMS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
MAIN = dict(adapter="mean-own-n4r-s0", merge="mean", slots="own", n_max=4, random_n=True, seed=0)
ALT = dict(adapter="concat-own-n4-s0", merge="concat", slots="own", n_max=4, random_n=False, seed=0)
RUNS = ((MAIN, (1, 2, 4)), (ALT, (4,)))
IDENTITY_JUDGED = ("identity", "top1", "copying")
FACTS = {
    "people_train": 800, "people_val": 100, "people_test": 100, "pictures": 12_000, "picture_size": 64,
    "latent_size": 8, "latent_channels": 8, "vae_params": 1_034_567, "unet_params": 3_012_345,
    "text_params": 512_345, "image_params": 1_412_345, "attention_layers": 7, "text_dim": 128,
    "embed_dim": 128, "tokens": 4, "adapter_params": 912_345, "train_steps": 1500, "batch_size": 32,
    "learning_rate": 1e-4, "weight_decay": 0.01, "drop": 0.05, "diffusion_steps": 1000,
    "sampling_steps": 20, "people_judges": 600, "feature_dim": 128, "is_classes": 24,
}  # fmt: skip


def make_scores(runs=RUNS, lams=LAMS, people=20, samples=2, gain=0.2) -> pd.DataFrame:
    """One row a sample; identity grows by `gain` · λ and with log N, people differ."""
    rng, rows = np.random.default_rng(0), []
    skill = rng.normal(0, 0.05, people)
    for run, counts in runs:
        for n, lam, person, sample in np.ndindex(len(counts), len(lams), people, samples):
            grown = gain * lams[lam] * (1 + 0.2 * np.log2(counts[n]))
            identity = 0.05 + grown + skill[person] + rng.normal(0, 0.02)
            rows.append(
                {"adapter": run["adapter"], "seed": run["seed"], "n_refs": counts[n], "lam": lams[lam],
                 "person": person, "sample": sample, "identity": identity, "top1": int(identity > 0.3),
                 "text": 0.8 - 0.1 * lams[lam] + rng.normal(0, 0.05), "copying": identity + 0.02}
            )  # fmt: skip
    return pd.DataFrame(rows)


def make_table(scores: pd.DataFrame, runs=RUNS, **overrides) -> pd.DataFrame:
    """The tidy table that goes with `scores`; overrides: metric -> value in all cells."""
    rows = []
    for run, _ in runs:
        own = scores[scores["adapter"] == run["adapter"]]
        for (n, lam), cell in own.groupby(["n_refs", "lam"]):
            means = {m: intervals.bootstrap(cell[m], cell["person"], resamples=50)
                     for m in ("identity", "top1", "text", "copying")}  # fmt: skip
            fid = 14 + 6 * lam**2 - n
            kid = (fid / 1.5, fid / 1.6, fid / 1.4)
            sets = {"fid": (fid, fid - 1, fid + 1), "kid": kid, "is": (4.1, 4, 4.2)}
            values = means | sets | {name: (value,) * 3 for name, value in overrides.items()}
            rows += [_row(run, metric, interval, len(cell), n, lam) for metric, interval in values.items()]
    real = {"identity": 0.71, "top1": 0.91, "text": 0.97, "fid": 3.1, "kid": -0.1, "is": 4.9}
    other = {"identity": 0.03, "top1": 0.01, "text": 0.8, "copying": 0.2}
    rows += [_row({"adapter": "real"}, m, (v, v - 0.01, v + 0.01), 40, 0, np.nan) for m, v in real.items()]
    rows += [_row({"adapter": "reconstruction"}, m, (v, v, v), 40, 0, np.nan) for m, v in real.items()]
    n_max = scores["n_refs"].max()
    rows += [_row({"adapter": "other"}, m, (v, v - 0.01, v + 0.01), 40, n_max, 1.0) for m, v in other.items()]
    return pd.DataFrame(rows)


def _row(run, metric, interval, count, n, lam) -> dict:
    judge = "mini identity judge" if metric in IDENTITY_JUDGED else "mini attribute judge"
    value, low, high = interval
    return {"profile": "mini", **run, "n_refs": n, "lam": lam, "guidance": 3.0, "metric": metric,
            "value": value, "low": low, "high": high, "count": count, "judge": judge}  # fmt: skip


@pytest.fixture(scope="module")
def scores():
    return make_scores()


@pytest.fixture(scope="module")
def table(scores):
    return make_table(scores)


@pytest.fixture(scope="module")
def numbers(table, scores):
    return report.numbers(table, scores, FACTS)


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
    shuffled = report.numbers(table, scores.sample(frac=1, random_state=1), FACTS)
    for found in (numbers, shuffled):
        assert [found["contrast/n"], found["contrast/n/low"], found["contrast/n/high"]] == expected


def test_another_persons_prompts_are_paired_where_their_samples_are_scored(table, scores):
    own = cell(scores, MAIN["adapter"], 4, 1.0)
    other = own.assign(adapter="other", seed=np.nan, identity=own["identity"] - 0.125)
    found = report.numbers(table, pd.concat([scores, other]), FACTS)
    assert found["contrast/other/interval"] == "[0{,}125;~0{,}125]"


def test_at_lam_zero_the_scores_of_any_n_serve(table, scores):
    once = scores[(scores["lam"] > 0) | (scores["n_refs"] == 1) | (scores["adapter"] == ALT["adapter"])]
    main = report.roles(table)["main"]
    at_zero = report._scores(once, main, 4, 0, "identity")
    pd.testing.assert_series_equal(at_zero, report._scores(scores, main, 1, 0, "identity"))


@pytest.mark.parametrize("gain, words", [(0.3, "выше, чем"), (-0.3, "ниже, чем"), (0, "не отличается")])
def test_words_follow_the_sign_of_the_interval(gain, words):
    scores = make_scores(gain=gain)
    found = report.numbers(make_table(scores), scores, FACTS)
    assert found["verdict/gain"].startswith(words)


def test_words_for_whole_sets_need_intervals_that_lie_apart(numbers):
    assert numbers["verdict/fid"] == "выше, чем"  # 16 ± 1 at λ = 1 against 10 ± 1
    assert numbers["verdict/is"].startswith("не отличается")  # the same at every λ


def test_main_is_the_adapter_with_random_n_wherever_it_stands(table):
    found = report.roles(table[::-1])
    assert found["main"].names == (MAIN["adapter"],) and found["alt"].names == (ALT["adapter"],)
    assert found["main"].n_refs == (1, 2, 4)


def test_seeds_of_one_variant_are_averaged():
    runs = ((MAIN, (1, 2)), (MAIN | {"adapter": "mean-own-n4r-s1", "seed": 1}, (1, 2)))
    scores = make_scores(runs)
    table = make_table(scores, runs)
    found = report.numbers(table, scores, FACTS)
    mean = np.mean([value(table, run["adapter"], 2, 1.0, "identity") for run, _ in runs])
    assert found["main/nmax/lam1/identity"] == f"{mean:.3f}".replace(".", "{,}")
    assert found["grid/seeds"] == "2" and "alt/label" not in found


def test_a_small_grid_with_an_undefined_score_still_gives_every_number():
    runs = ((MAIN, (1, 2)),)
    scores = make_scores(runs, lams=(0.0, 1.0), people=3, samples=1)
    found = report.numbers(make_table(scores, runs, kid=np.nan), scores, FACTS)
    assert found["main/nmax/lambest/identity"] == found["main/nmax/lam1/identity"]
    assert found["main/nmax/lam1/kid"] == "--" and found["grid/nmax"] == "2"


def test_the_best_lam_is_never_zero():
    scores = make_scores(gain=-0.3)
    assert report.best_lam(make_table(scores)) == 0.25


# ---- what is refused ---------------------------------------------------------------------------------------


def test_a_missing_fact_is_named(table, scores):
    facts = {name: value for name, value in FACTS.items() if name != "tokens"}
    with pytest.raises(ValueError, match="facts: 'tokens' is missing"):
        report.numbers(table, scores, facts)


def test_a_grid_without_lam_one_is_refused(table, scores):
    with pytest.raises(ValueError, match="lam = 1"):
        report.numbers(table[table["lam"] != 1], scores, FACTS)


def test_a_table_without_adapters_is_refused(table):
    with pytest.raises(ValueError, match="no identity rows of an adapter"):
        report.roles(table[table["adapter"].isin(report.REFERENCES)])


def test_a_key_that_latex_would_stumble_over_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fid/n 4"):
        report.write_numbers({"fid/n 4": "1"}, tmp_path / "numbers.tex")
    assert not list(tmp_path.iterdir())


# ---- formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, expected",
    [(10_177, r"10\,177"), (1000, "1000"), (0.05, "0{,}05"), (1e-4, r"\ensuremath{10^{-4}}"), (3.0, "3"),
     (2.5e-5, r"\ensuremath{2{,}5\cdot 10^{-5}}"), ("a_b", r"a\_b"), (0, "0")],
)  # fmt: skip
def test_a_setting_is_written_as_it_was_set(value, expected):
    assert report._fact(value) == expected


@pytest.mark.parametrize(
    "value, metric, expected",
    [(0.12345, "identity", "0{,}123"), (0.5, "top1", "50{,}0"), (-0.4, "kid", r"\ensuremath{-}0{,}400"),
     (123.4, "fid", "123"), (12.34, "fid", "12{,}3"), (-1e-5, "identity", "0{,}000"), (np.nan, "fid", "--")],
)  # fmt: skip
def test_a_score_is_rounded_as_its_kind_asks(value, metric, expected):
    assert report._keys("x", metric, value, value, value)["x"] == expected


def test_numbers_are_written_one_a_line_and_sorted(tmp_path, numbers):
    path = report.write_numbers(numbers, tmp_path / "numbers.tex")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == [f"\\setresult{{{key}}}{{{numbers[key]}}}" for key in sorted(numbers)]
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.tex"]


def test_every_row_of_a_table_has_its_columns(table):
    lines = [line for row in report.main_results(table) for line in row.split("\n") if line != r"\midrule"]
    assert {line.count(" & ") for line in lines} == {1 + len(report.TABLE_METRICS)}
    assert len(lines) == 2 * (2 + 2 + 3 + 1 + 1)  # ceilings, floors, N = 1, 2, 4, best λ, alt; two lines each
    assert {row.count("&") for row in report.profile_rows(FACTS)} == {3}


def test_parts_are_gathered_in_their_order(tmp_path, scores):
    parts = [tmp_path / name for name in ("b.csv", "a.csv")]
    for part, rows in zip(parts, (scores[:5], scores[5:9]), strict=True):
        rows.to_csv(part, index=False)
    whole = pd.read_csv(report.gather(parts, tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(whole, scores[:9], check_exact=False)
