"""Every number of the paper has a key, every figure a function and a command, and LaTeX builds it, also for arXiv."""

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tables import FACTS, LAMS, MAIN, RUNS, full_grid, make_scores, make_table, results_of, run
from test_grids import one_color_pictures

from ipa_lib.report import answers, grids, latex, plots
from ipa_lib.workflow import config
from ipa_lib.workflow.paths import NOTEBOOKS

matplotlib.use("Agg")
PAPER = Path(__file__).parents[1] / "paper"
TEXT = re.sub(r"(?<!\\)%.*", "", (PAPER / "main.tex").read_text(encoding="utf-8"))
BODY = TEXT.split(r"\maketitle")[1].split(r"\bibliographystyle")[0]
COPIED = {"generated_grid": "real_grid"}  # of the profile of photographs: `make publish` puts it in the paper
DRAWN = ("10_ablate_n_refs", "11_ablate_lambda", "12_compare_adapters")
BENCH = PAPER.parent / "results/bench"
OTHER_JUDGES = FACTS | {"people_judges": latex.UNKNOWN}
START = "models/published.safetensors 0f3c"
needs_latex = pytest.mark.skipif(not shutil.which("latexmk"), reason="latexmk is not installed")


# ---- keys --------------------------------------------------------------------------------------------------


def measured(runs):
    """slots, costs, counts and logs of synthetic runs."""
    names = [run["adapter"] for run, *_ in runs]
    logs = pd.DataFrame({"step": np.arange(20), "loss": 0.3, "val_loss": 0.2})
    return {
        "slots": pd.DataFrame({"adapter": names, "cosine": 0.97, "n_refs": 4, "order_change": 0.01}),
        "costs": pd.DataFrame({"adapter": names, "seconds": 300.0, "steps": 300}),
        "counts": pd.DataFrame({"metric": ["fid", "kid"] * 2, "count": [50, 50, 100, 100], "value": 2.0, "low": 1.5,
                                "high": 2.5}),
        "logs": pd.concat([logs.assign(adapter=name) for name in names]),
    }  # fmt: skip


def used_keys(text):
    """Keys of \\result{…}, of \\valued{…}, which also asks for the interval, and of \\englishvalued{…}."""
    valued = re.findall(r"\\valued\{([^#}]+)\}", text)
    named = re.findall(r"\\englishvalued\{([^#}]+)\}", text)
    english = [f"{key}{end}/en" for key in named for end in ("", "/interval")]
    return {*re.findall(r"\\result\{([^#}]+)\}", text), *valued, *(f"{key}/interval" for key in valued), *english}


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


def with_others(scores, main):
    """Scores also of another person's prompts, at the most of them and λ = 1."""
    own = scores[(scores["adapter"] == main["adapter"]) & (scores["lam"] == 1)]
    own = own[own["n_refs"] == own["n_refs"].max()]
    other = own.assign(adapter="other", seed=np.nan, cell=own["cell"] + "-other", identity=own["identity"] - 0.1)
    return pd.concat([scores, other])


@pytest.fixture(scope="module")
def real_tables(tmp_path_factory):
    """A folder of results with the tables of a profile of photographs, `snapshots`."""
    folder = tmp_path_factory.mktemp("results") / "snapshots"
    folder.mkdir()
    runs = (*RUNS, (run("concat-own-n4r-s0"), (4,)), (run("mean-shared-n4r-s0"), (4,)))
    scores = make_scores(runs, people=6)
    of_photographs(make_table(scores, runs)).to_csv(folder / "table.csv", index=False)
    with_others(scores, MAIN).to_csv(folder / "scores.csv", index=False)
    (folder / "facts.json").write_text(json.dumps(FACTS | {"machine": "Linux x86_64, 2 cores", "train_seconds": 207.7}))
    return folder.parent


def of_profile(results, profile="snapshots"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latex, "results_dir", lambda name: results / name)
        return latex.of_photographs(profile, config.load_profile("pretrain").notebooks)


@pytest.fixture(scope="module")
def known(real_tables):
    """Keys of the report of the reduced grid, of the full one, and of a grid with one adapter alone."""
    def keys(runs, judged=lambda table: table, facts=FACTS, profile="mini", bench=Path("nowhere"), **settings):
        scores = make_scores(runs, people=3, samples=1, **settings)
        table, scores = judged(make_table(scores, runs)).assign(profile=profile), with_others(scores, runs[0][0])
        results = results_of(table, scores, facts=facts, bench=bench, **measured(runs))
        tables = answers.answers(results)
        return set(latex.numbers(results, tables, config.load_profile("pretrain").notebooks))

    def of_merge(run, cell, n, lam):
        return {"concat": 0.3, "sum": -0.3}.get(run["merge"], 0) * lam

    alone, started = ((MAIN, (1, 2)),), FACTS | {"start": START}
    return {"reduced": keys(RUNS), "alone": keys(alone, lams=(0.0, 1.0)),
            "full": keys(full_grid(), facts=started, profile="full", bench=BENCH, effect=of_merge),
            "photographs": keys(RUNS, of_photographs, OTHER_JUDGES), "real": set(of_profile(real_tables))}


def with_english(keys):
    return {f"{key}{end}" for key in keys for end in ("", "/en")}


def test_every_key_of_the_text_is_a_number_of_the_report(known):
    assert used_keys(TEXT) <= with_english(set().union(*known.values()))
    assert len(used_keys(TEXT)) > 50


def test_a_paper_of_photographs_says_so_before_all_else(known):
    assert "grid/photographs" in known["photographs"] - known["reduced"] - known["full"]
    assert TEXT.index(r"\ifresult{grid/photographs}") < TEXT.index(r"\begin{abstract}")


def test_a_grid_with_one_adapter_has_all_that_is_not_optional(known):
    assert used_keys(without_optional(TEXT)) <= with_english(known["alone"])
    assert used_keys(TEXT) - with_english(known["alone"])  # so the optional parts are needed


def test_no_result_is_typed_by_hand():
    experiments = BODY.split(r"\section{Протокол эксперимента}")[1]
    prose = re.sub(r"\\begin\{(tabular)\}.*?\\end\{\1\}", "", experiments, flags=re.S)
    prose = re.sub(r"\\\w+(\[[^]]*\])?(\{[^}]*\})*", "", prose)
    assert set(re.findall(r"\d+[.,]\d+|\d{2,}", prose)) == {"95"}  # the level of the intervals


# ---- one stem ----------------------------------------------------------------------------------------------


def test_a_figure_has_one_name_in_file_and_label():
    used = re.findall(r"\\figurefile\{(\w+)\}", TEXT)
    assert len(used) == len(set(used)) == len(figures_of_notebooks())
    assert all(rf"\label{{fig:{stem}}}" in TEXT and rf"\ref{{fig:{stem}}}" in TEXT for stem in used)


def figures_of_notebooks():
    """Stem of a figure -> the notebook that draws it, from the Snakefile."""
    text = (PAPER.parent / "Snakefile").read_text()
    drawn = re.findall(r'"(\d\d_\w+)": (\[.*?\])|FIGURES\["(\d\d_\w+)"\] \+= (\[.*?\])', text)
    return {COPIED.get(stem, stem): a or c for a, b, c, d in drawn for stem in re.findall(r'"(\w+)"', b or d)}


def test_a_caption_names_the_notebook_that_draws_the_figure_and_the_appendix_too():
    drawn, floats = figures_of_notebooks(), re.findall(r"\\figurefile\{(\w+)\}(.*?)\\label", TEXT, re.S)
    assert {stem: re.search(r"\\notebook\{(\w+)\}", caption)[1] for stem, caption in floats} == drawn
    rows = re.findall(r"\\file\{(\d\d_\w+)\} & (.*?)\\\\\n", TEXT.split(r"\label{tab:commands}")[1], re.S)
    assert {stem: name for name, row in rows for stem in re.findall(r"fig:(\w+)", row)} == drawn
    tables = re.findall(r"\\notebook\{(\w+)\}\}\\label\{tab:(\w+)\}\s+\\loadtable\{(\w+)\}", TEXT)
    assert len(tables) == TEXT.count(r"\loadtable") and all(name == "14_write_paper" for name, *_ in tables)
    listed = set(re.findall(r"tab:(\w+)", next(row for name, row in rows if name == "14_write_paper")))
    assert {label for _, label, _ in tables} == listed and all(label == stem for _, label, stem in tables)


def test_the_text_width_is_that_of_the_figures():
    assert f"textwidth={plots.WIDTH}cm" in (PAPER / "preprint.sty").read_text()


# ---- the build ---------------------------------------------------------------------------------------------


def of_photographs(table):
    """The table as other judges give it: faces are counted, texts read by CLIP, and there are no classes for IS."""
    seen = [table[table["metric"] == "text"].assign(metric=metric) for metric in ("faces", "clip_t")]
    return pd.concat([table[table["metric"] != "is"], *seen], ignore_index=True)


def run_notebook(name, **values):
    """The code of a notebook in this process, with other parameters."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    names = {"display": lambda shown: None}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec("".join(cell["source"]), names)
        names |= values if "parameters" in cell["metadata"].get("tags", []) else {}


def write_results(results, runs, judged=lambda table: table, facts=FACTS, profile="mini"):
    """Tables of synthetic results."""
    scores = make_scores(runs, people=10)
    tables = {"table": judged(make_table(scores, runs)).assign(profile=profile), "scores": scores, **measured(runs)}
    for name, table in tables.items():
        table.to_csv(results / f"{name}.csv", index=False)
    (results / "facts.json").write_text(json.dumps(facts))


def draw(results, real):
    """Numbers, rows and figures of results into the paper beside them."""
    for name in DRAWN:
        run_notebook(name, profile=str(results))
    run_notebook("14_write_paper", profile=str(results), real=real)
    figures, scores = results / "paper/figures", answers.read_results(results).scores
    shown, main = one_color_pictures(8, 6), answers.read_results(results).main
    worst = grids.worst_cases(scores, main.names[0], main.n_refs[-1], count=8)
    pictures = {"sample_grid": grids.sample_grid(shown[:, :4], shown[:, 4], shown, LAMS),
                "real_grid": grids.generated_grid(shown[:, :3], (1, 2)),
                "failure_cases": grids.failure_cases(worst, shown[:, :4], shown[:, 4], shown[:, 5])}  # fmt: skip
    for stem, fig in pictures.items():
        plots.save(fig, figures / f"{stem}.pdf", commit="test")


def copied_paper(folder):
    names = ("main.tex", "preprint.sty", "results.sty", "refs.bib")
    folder.mkdir()
    for name in names:
        shutil.copy(PAPER / name, folder)
    return folder


def latexmk(paper):
    options = ["-cd", "-pdf", "-interaction=nonstopmode", "-halt-on-error"]
    return subprocess.run(["latexmk", *options, str(paper / "main.tex")], capture_output=True)


@pytest.fixture(scope="module", params=[
    "reduced", *(pytest.param(grid, marks=pytest.mark.thorough) for grid in ("photographs", "full"))])
def built(request, tmp_path_factory, real_tables):
    """The paper of the default report, the same of photographs, and that with every side question answered, real faces
    and a published start among them."""
    results = tmp_path_factory.mktemp("build")
    paper = copied_paper(results / "paper")
    kinds = {"reduced": {"runs": RUNS}, "photographs": {"runs": RUNS, "judged": of_photographs, "facts": OTHER_JUDGES},
             "full": {"runs": full_grid(), "facts": FACTS | {"start": START}, "profile": "full"}}  # fmt: skip
    write_results(results, **kinds[request.param])
    with pytest.MonkeyPatch.context() as patch, plt.rc_context():
        patch.setattr(latex, "results_dir", lambda name: real_tables / name)
        draw(results, "snapshots" if request.param == "full" else "")
    run = latexmk(paper)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-3000:]
    return paper


of_the_full_grid = pytest.mark.parametrize("built", ["full"], indirect=True)


@needs_latex
def test_the_paper_builds_without_complaints_and_has_its_pages(built):
    log = (built / "main.log").read_text(encoding="utf-8", errors="replace")
    assert not re.findall(r"undefined|multiply defined|LaTeX Font Warning|Package hyperref Warning", log)
    assert [float(x) for x in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log) if float(x) > 2] == []
    assert int(re.search(r"Output written on main\.pdf \((\d+) pages", log)[1]) >= 8


@needs_latex
@pytest.mark.thorough
def test_the_same_sources_give_the_same_pdf(built, tmp_path):
    paper = copied_paper(tmp_path / "other")
    for name in ("numbers.tex", "figures", "tables", "main.bbl", "main.aux", "main.out"):
        (shutil.copytree if (built / name).is_dir() else shutil.copy)(built / name, paper / name)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    assert subprocess.run(command, cwd=paper, capture_output=True).returncode == 0
    assert (paper / "main.pdf").read_bytes() == (built / "main.pdf").read_bytes()


@needs_latex
def test_real_faces_have_their_section_where_there_are_tables_of_them(built):
    text = (built / "main.toc").read_text(encoding="utf-8") if (built / "main.toc").is_file() else ""
    text += (built / "main.aux").read_text(encoding="utf-8")
    assert ("sec:real" in text) == ("real/cells/main" in (built / "numbers.tex").read_text(encoding="utf-8"))


def test_a_profile_without_tables_says_nothing(real_tables):
    assert of_profile(real_tables, "") == of_profile(real_tables, "elsewhere") == {}
    numbers = of_profile(real_tables)
    assert numbers["real/grid/profile"] == "snapshots" and all(key.startswith("real/") for key in numbers)
    assert numbers["real/fact/machine"] == r"\texttt{Linux x86\_64}, ядер:~2"


def test_a_run_that_is_not_at_its_end_gives_way_to_the_published_one(real_tables, tmp_path):
    shutil.copytree(real_tables / "snapshots", tmp_path / "published" / "snapshots")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "table.csv").touch()  # and no facts yet
    assert of_profile(tmp_path) == of_profile(real_tables)


@needs_latex
@of_the_full_grid
def test_the_pdf_has_bookmarks_and_metadata(built):
    assert "section.1" in (built / "main.out").read_text(encoding="utf-8")
    info = subprocess.run(["pdfinfo", built / "main.pdf"], capture_output=True, text=True).stdout
    for name in ("Title", "Subject", "Keywords", "Author"):
        assert re.search(rf"^{name}: +\S", info, re.M)


@needs_latex
@of_the_full_grid
def test_the_archive_for_arxiv_compiles_in_an_empty_folder_with_plain_pdflatex(built, tmp_path):
    made = subprocess.run(["scripts/arxiv.sh", built], cwd=PAPER.parent, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    archive = built / "arxiv.tar.gz"
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path, filter="data")
    assert {"main.tex", "main.bbl", "numbers.tex"} < set(names) and "refs.bib" not in names
    for _ in range(2):
        run = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"], cwd=tmp_path,
                             capture_output=True)  # fmt: skip
        assert run.returncode == 0
    assert "undefined" not in (tmp_path / "main.log").read_text(errors="replace")


@needs_latex
@of_the_full_grid
def test_an_archive_that_lacks_something_is_refused(built, tmp_path):
    paper = shutil.copytree(built, tmp_path / "paper")
    (paper / "figures" / "sample_grid.pdf").unlink()
    (paper / "arxiv.tar.gz").unlink(missing_ok=True)
    made = subprocess.run(["scripts/arxiv.sh", paper], cwd=PAPER.parent, capture_output=True, text=True)
    assert made.returncode == 1 and "sample_grid" in made.stderr and not (paper / "arxiv.tar.gz").exists()
    (paper / "main.bbl").unlink()
    made = subprocess.run(["scripts/arxiv.sh", paper], cwd=PAPER.parent, capture_output=True, text=True)
    assert made.returncode == 1 and "main.bbl is missing" in made.stderr


def latex_error(paper):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    run = subprocess.run(command, cwd=paper, capture_output=True)
    assert run.returncode != 0 and not (paper / "main.pdf").exists()
    return re.sub(r"\n(?!!)", "", run.stdout.decode(errors="replace"))


@needs_latex
@pytest.mark.thorough
def test_without_results_the_build_says_what_is_missing(tmp_path):
    assert "The file numbers.tex is missing" in latex_error(copied_paper(tmp_path / "paper"))


@needs_latex
@pytest.mark.thorough
def test_an_unknown_key_stops_the_build(built, tmp_path):
    paper = copied_paper(tmp_path / "paper")
    lines = (built / "numbers.tex").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(r"\setresult{cells/main/nmax/lam1/identity}")]
    (paper / "numbers.tex").write_text("".join(kept), encoding="utf-8")
    assert "No result `cells/main/nmax/lam1/identity' in numbers.tex" in latex_error(paper)


@needs_latex
@pytest.mark.thorough
def test_a_missing_figure_or_table_stops_the_build(built, tmp_path):
    for gone in ("figures/sample_grid.pdf", "tables/profile.tex"):
        paper = shutil.copytree(built, tmp_path / Path(gone).stem)
        (paper / gone).unlink()
        (paper / "main.pdf").unlink()
        assert f"The file {gone} is missing" in latex_error(paper)
