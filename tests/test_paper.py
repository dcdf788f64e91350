"""Every number of the paper has a key, every figure a function; the remarks hold, and LaTeX builds it."""

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tables import FACTS, LAMS, MAIN, RUNS, full_grid, make_scores, make_table
from test_pictures import one_color_pictures
from test_plots import FROM_SCORES, FROM_TABLE

from ipa_lib import ablations, pictures, plots, report

matplotlib.use("Agg")
PAPER = Path(__file__).parents[1] / "paper"
TEXT = re.sub(r"(?<!\\)%.*", "", (PAPER / "main.tex").read_text(encoding="utf-8"))
BODY = TEXT.split(r"\maketitle")[1].split(r"\bibliographystyle")[0]
STEMS = (*FROM_TABLE, *FROM_SCORES, "fid_vs_count", "training_curves", "sample_grid", "failure_cases")
needs_latex = pytest.mark.skipif(not shutil.which("latexmk"), reason="latexmk is not installed")


# ---- keys --------------------------------------------------------------------------------------------------


def measured(runs):
    """slots.csv and costs.csv of synthetic runs."""
    names = [run["adapter"] for run, *_ in runs]
    slots = pd.DataFrame({"adapter": names, "cosine": 0.97, "n_refs": 4, "order_change": 0.01})
    return slots, pd.DataFrame({"adapter": names, "seconds": 300.0, "steps": 300})


def used_keys(text):
    """Keys of \\result{…} and of \\valued{…}, which also asks for the interval."""
    valued = re.findall(r"\\valued\{([^#}]+)\}", text)
    return {*re.findall(r"\\result\{([^#}]+)\}", text), *valued, *(f"{key}/interval" for key in valued)}


def without_optional(text):
    """The text without its \\ifresult{key}{…}{…} parts."""
    before, found, after = text.partition(r"\ifresult")
    if not found:
        return text
    for _ in range(3):
        after = after_braces(after)
    return before + without_optional(after)


def after_braces(text):
    """What follows a {…} with braces of any depth in it."""
    depth = 0
    for match in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[match.end():]
    raise AssertionError(f"no closing brace: {text[:60]}")


@pytest.fixture(scope="module")
def known():
    """Keys of the report of the reduced grid, of the full one, and of a grid with one adapter alone."""
    def keys(runs, judged=lambda table: table, **settings):
        scores = make_scores(runs, people=3, samples=1, **settings)
        table = judged(make_table(scores, runs))
        return set(report.numbers(table, scores, FACTS, ablations.answers(table, scores, *measured(runs))))

    def of_merge(run, cell, n, lam):
        return {"concat": 0.3, "sum": -0.3}.get(run["merge"], 0) * lam

    alone = ((MAIN, (1, 2)),)
    return {"reduced": keys(RUNS), "full": keys(full_grid(), effect=of_merge), "alone": keys(alone, lams=(0.0, 1.0)),
            "photographs": keys(RUNS, of_photographs)}


def test_every_key_of_the_text_is_a_number_of_the_report(known):
    assert used_keys(TEXT) <= known["reduced"] | known["full"] | known["photographs"]
    assert len(used_keys(TEXT)) > 50


def test_a_grid_with_one_adapter_has_all_that_is_not_optional(known):
    assert used_keys(without_optional(TEXT)) <= known["alone"]
    assert used_keys(TEXT) - known["alone"]  # so the optional parts are needed


def test_no_result_is_typed_by_hand():
    experiments = BODY.split(r"\section{Эксперименты}")[1]
    prose = re.sub(r"\\begin\{(picture|tabular)\}.*?\\end\{\1\}", "", experiments, flags=re.S)
    prose = re.sub(r"\\\w+(\[[^]]*\])?(\{[^}]*\})*", "", prose)
    assert set(re.findall(r"\d+[.,]\d+|\d{2,}", prose)) == {"95"}  # the level of the intervals


# ---- one stem ----------------------------------------------------------------------------------------------


def test_a_figure_has_one_name_in_code_file_and_label():
    used = re.findall(r"\\figurefile\{(\w+)\}", TEXT)
    assert sorted(used) == sorted(STEMS)
    for stem in STEMS:
        assert callable(getattr(plots, stem, None) or getattr(pictures, stem))
        assert rf"\label{{fig:{stem}}}" in TEXT and rf"\ref{{fig:{stem}}}" in TEXT


def test_the_text_width_is_that_of_the_figures():
    assert f"textwidth={plots.WIDTH}cm" in (PAPER / "preprint.sty").read_text()


# ---- the reviewer's remarks --------------------------------------------------------------------------------


def prose_paragraphs():
    """Paragraphs of the body without floats, displays, headings and commands."""
    text = without_optional(BODY)
    text = re.sub(r"\\begin\{(figure|table)\}.*?\\end\{\1\}", "\n\n", text, flags=re.S)
    text = re.sub(r"\\begin\{equation\}.*?\\end\{equation\}|\\\[.*?\\\]", " FORMULA. ", text, flags=re.S)
    text = re.sub(r"\\(sub)?section\{[^}]*\}(\\label\{[^}]*\})?|\\(begin|end)\{abstract\}", "\n\n", text)
    text = re.sub(r"\\keywords\{.*?\n\n", "\n\n", text, flags=re.S)
    return [p for p in re.split(r"\n\s*\n", text) if p.strip()]


def test_no_paragraph_is_a_single_sentence():
    short = [p for p in prose_paragraphs() if len(re.findall(r"[.!?](?=\s|$)", p.strip())) < 2]
    assert short == []
    assert len(prose_paragraphs()) > 25


def test_keywords_carry_no_citations():
    keywords = TEXT.split(r"\keywords{")[1].split("\n\n")[0]
    assert r"\cite" not in keywords and re.search(r"\d", keywords) is None


def test_the_four_works_that_the_remarks_ask_for_are_cited_in_the_introduction():
    introduction = BODY.split(r"\section{Введение}")[1].split(r"\section{")[0]
    for key in ("rombach2022ldm", "zhang2023controlnet", "chefer2023attend", "ye2023ipadapter"):
        assert key in introduction


@pytest.mark.parametrize("word", ["метрик", "оригинальн", "проблем", "Моя", "мои", "моей", "моего"])
def test_words_that_the_remarks_replace_are_gone(word):
    assert not re.search(rf"\b{word}", BODY, re.I)


def test_nobody_speaks_in_the_first_person_singular():
    assert not re.search(r"\b(я|меня|мне|мной)\b", BODY, re.I)


def test_the_criteria_are_introduced_by_a_sentence():
    section = BODY.split(r"\subsection{Критерии качества}")[1].split("\n\n")[1]
    assert section.startswith("Ниже представлены критерии качества")


def test_equations_one_to_eight_carry_labels_and_punctuation():
    labels = ["simple", "guidance", "attention", "adapter", "guidance-images", "decoupled", "fid", "is"]
    assert re.findall(r"\\begin\{equation\}\\label\{eq:([\w-]+)\}", BODY) == labels
    displays = re.findall(r"\\begin\{equation\}(.*?)\\end\{equation\}|\\\[(.*?)\\\]", BODY, flags=re.S)
    assert len(displays) > len(labels)
    for display in map("".join, displays):
        assert re.sub(r"\\end\{gathered\}", "", display).strip()[-1] in ".,"


def test_a_dash_is_a_dash():
    assert not re.search(r"\s--?\s", BODY) and "—" not in BODY and " --- " in BODY


def test_every_citation_is_in_the_list_and_every_entry_is_cited():
    cited = {key.strip() for group in re.findall(r"\\cite\{([^}]+)\}", TEXT) for key in group.split(",")}
    assert cited == set(re.findall(r"^@\w+\{(\w+),", (PAPER / "refs.bib").read_text(encoding="utf-8"), re.M))


# ---- the build ---------------------------------------------------------------------------------------------


def of_photographs(table):
    """The table as other judges give it: faces are counted, texts read by CLIP, and there are no classes for IS."""
    seen = [table[table["metric"] == "text"].assign(metric=metric) for metric in ("faces", "clip_t")]
    return pd.concat([table[table["metric"] != "is"], *seen], ignore_index=True)


def write_results(paper, runs, judged=lambda table: table):
    """Numbers, rows and figures of synthetic results into a copy of the paper."""
    scores = make_scores(runs, people=10)
    table = judged(make_table(scores, runs))
    answers = ablations.answers(table, scores, *measured(runs))
    report.write_numbers(report.numbers(table, scores, FACTS, answers), paper / "numbers.tex")
    rows = {"main_results": report.main_results(table), "profile": report.profile_rows(FACTS)}
    for stem, lines in (rows | report.question_rows(answers)).items():
        report.write_table(lines, paper / "tables" / f"{stem}.tex")
    main, n = runs[0][0]["adapter"], max(runs[0][1])
    figures = {stem: getattr(plots, stem)(table) for stem in FROM_TABLE}
    figures |= {stem: getattr(plots, stem)(table, scores) for stem in FROM_SCORES}
    counts = pd.DataFrame({"metric": ["fid", "kid"] * 2, "count": [50, 50, 100, 100], "value": 2.0})
    figures["fid_vs_count"] = plots.fid_vs_count(counts.assign(low=1.5, high=2.5))
    log = pd.DataFrame({"step": np.arange(20), "loss": 0.3, "val_loss": 0.2})
    figures["training_curves"] = plots.training_curves({run["adapter"]: log for run, *_ in runs}, main=[main])
    shown, worst = one_color_pictures(8, 6), pictures.worst_cases(scores, main, n, count=8)
    figures["sample_grid"] = pictures.sample_grid(shown[:, :4], shown[:, 4], shown, LAMS)
    figures["failure_cases"] = pictures.failure_cases(worst, shown[:, :4], shown[:, 4], shown[:, 5])
    for stem, fig in figures.items():
        plots.save(fig, paper / "figures" / f"{stem}.pdf", commit="test")
    plt.close("all")


def copied_paper(folder):
    names = ("main.tex", "preprint.sty", "results.sty", "refs.bib")
    folder.mkdir()
    for name in names:
        shutil.copy(PAPER / name, folder)
    return folder


def latexmk(paper):
    options = ["-cd", "-pdf", "-interaction=nonstopmode", "-halt-on-error"]
    return subprocess.run(["latexmk", *options, str(paper / "main.tex")], capture_output=True)


@pytest.fixture(scope="module", params=["reduced", "photographs", "full"])
def built(request, tmp_path_factory):
    """The paper of the default report, the same of photographs, and that with every side question answered."""
    paper = copied_paper(tmp_path_factory.mktemp("build") / "paper")
    grids = {"reduced": (RUNS,), "photographs": (RUNS, of_photographs), "full": (full_grid(),)}
    write_results(paper, *grids[request.param])
    run = latexmk(paper)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-3000:]
    return paper


@needs_latex
def test_the_paper_builds_without_complaints_and_has_its_pages(built):
    log = (built / "main.log").read_text(encoding="utf-8", errors="replace")
    assert not re.findall(r"undefined|multiply defined|LaTeX Font Warning", log)
    assert [float(x) for x in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log) if float(x) > 2] == []
    assert int(re.search(r"Output written on main\.pdf \((\d+) pages", log)[1]) >= 6


@needs_latex
def test_the_same_sources_give_the_same_pdf(built, tmp_path):
    paper = copied_paper(tmp_path / "other")
    for name in ("numbers.tex", "figures", "tables", "main.bbl", "main.aux", "main.out"):
        (shutil.copytree if (built / name).is_dir() else shutil.copy)(built / name, paper / name)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    assert subprocess.run(command, cwd=paper, capture_output=True).returncode == 0
    assert (paper / "main.pdf").read_bytes() == (built / "main.pdf").read_bytes()


def latex_error(paper):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    run = subprocess.run(command, cwd=paper, capture_output=True)
    assert run.returncode != 0 and not (paper / "main.pdf").exists()
    return re.sub(r"\n(?!!)", "", run.stdout.decode(errors="replace"))


@needs_latex
def test_without_results_the_build_says_what_is_missing(tmp_path):
    assert "The file numbers.tex is missing" in latex_error(copied_paper(tmp_path / "paper"))


@needs_latex
def test_an_unknown_key_stops_the_build(built, tmp_path):
    paper = copied_paper(tmp_path / "paper")
    lines = (built / "numbers.tex").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(r"\setresult{main/nmax/lam1/identity}")]
    (paper / "numbers.tex").write_text("".join(kept), encoding="utf-8")
    assert "No result `main/nmax/lam1/identity' in numbers.tex" in latex_error(paper)


@needs_latex
def test_a_missing_figure_or_table_stops_the_build(built, tmp_path):
    for gone in ("figures/sample_grid.pdf", "tables/profile.tex"):
        paper = shutil.copytree(built, tmp_path / Path(gone).stem)
        (paper / gone).unlink()
        (paper / "main.pdf").unlink()
        assert f"The file {gone} is missing" in latex_error(paper)
