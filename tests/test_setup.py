"""The set-up: pins that agree, scripts that say in one line what is missing, one command for tests and CI.

The scripts run in a copy of the repository, on a PATH that holds stand-ins for what they call.
"""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from ipa_lib.files import ROOT
from ipa_lib.workflow import code
from ipa_lib.workflow.paths import PUBLISHED

pytestmark = pytest.mark.thorough
PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)
CONDA = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake",
         "huggingface_hub": "huggingface-hub", "jupyter_client": "jupyter-client"}  # fmt: skip
NOT_PYTHON = {"python", "make", "pip", "tectonic"}
EXTRAS = ("report.in", "explore.in", "faces.in", "test.in")


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / name).read_text()))


def asked(*names: str) -> set[str]:
    return set().union(*map(reasons, names))


def reasons(name: str) -> dict[str, str]:
    """Packages of a list -> the reasons written beside them."""
    lines = (line.partition("#") for line in (ROOT / "requirements" / name).read_text().splitlines())
    return {Requirement(package).name: reason for package, _, reason in lines if package}


# --- the pins ---


def test_everything_asked_for_is_pinned_once():
    assert asked("base.in", "report.in", "explore.in") <= pins("base.txt").keys() | {"torch"}
    assert asked("faces.in", "test.in") <= pins("test.txt").keys()
    assert pins("torch.txt").keys() == {"torch"}
    both = pins("base.txt").keys() & pins("test.txt").keys()
    assert {name: pins("base.txt")[name] for name in both} == {name: pins("test.txt")[name] for name in both}


@pytest.mark.parametrize("name", ["base.txt", "test.txt"])
def test_a_list_of_pins_is_hashed_and_names_no_place(name):
    text = (ROOT / "requirements" / name).read_text()
    assert text.count(" \\\n    --hash=sha256:") >= len(PIN.findall(text)) > 0
    assert not re.search(r"://|--index|--find-links|file:|nvidia|cuda|triton|^torch==", text, re.MULTILINE)


def test_what_torch_requires_is_pinned_with_the_rest():
    needs = [Requirement(line) for line in requires("torch")]
    needs = {need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})}
    needs = {name for name in needs if not re.match("nvidia|cuda|triton", name)}  # the GPU's
    assert needs <= asked("torch.in") <= pins("base.txt").keys()


def test_conda_has_the_same_versions():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    *by_pip, editable = dependencies[-1]["pip"]
    conda = dict(line.partition("=")[::2] for line in dependencies if isinstance(line, str))
    assert conda.pop("python") == "3.11"
    conda = {CONDA.get(name, name): version for name, version in conda.items() if name not in NOT_PYTHON}
    pinned = pins("base.txt") | pins("test.txt") | pins("torch.txt")
    conda |= dict(line.split("==") for line in by_pip)
    assert conda == {name: pinned[name] for name in asked("base.in", *EXTRAS)}
    assert editable == "--editable ."


DISTRIBUTIONS = packages_distributions()
LIBRARY = ("*.py", "data/*.py", "model/*.py", "diffusion/*.py", "evaluation/*.py")


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in names}


def distributions(paths: Iterable[Path]) -> set[str]:
    """What is to be installed for the imports of some modules."""
    names = set().union(*map(imports, paths)) & DISTRIBUTIONS.keys() - {"ipa_lib"}
    return {re.sub("[._]", "-", DISTRIBUTIONS[name][0].lower()) for name in names}


def test_every_import_is_asked_for():
    """The library's by base.in, what it can do without by faces.in, and of the rest by the extra that it belongs to."""
    library = distributions(path for pattern in LIBRARY for path in (ROOT / "ipa_lib").glob(pattern))
    assert asked("base.in") <= library <= asked("base.in", "faces.in")
    everything = distributions((ROOT / "ipa_lib").rglob("*.py"))
    assert everything <= asked("base.in", "faces.in", "report.in", "explore.in")
    explorer = distributions(code.sources("explore", shows=True)[1:])
    brought = {"tokenizers", "nbclient", "jupyter-client"}  # by transformers, papermill
    assert explorer - brought <= asked("base.in", "faces.in", "explore.in")


def test_what_is_asked_for_is_imported_or_has_a_reason():
    modules = [path for folder in ("ipa_lib", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    idle = {name for file in ("base.in", *EXTRAS) for name, reason in reasons(file).items() if not reason}
    assert not idle - distributions(modules)


# --- the scripts ---


@pytest.fixture
def repository(tmp_path):
    for name in ("scripts", "requirements", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name in "bash env dirname realpath cat cp du ls rm mkdir mktemp tail grep true sleep flock chmod touch".split():
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    stand_in(tmp_path, "id", "echo 0")
    stand_in(tmp_path, "python", f'PYTHONPATH={ROOT} exec {sys.executable} "$@"')
    return tmp_path


def stand_in(repository, name, script):
    path = repository / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


def run(repository, *command, **environment):
    """`command` in `repository`, where nothing is to be found but what lies in its bin/."""
    environment = {"PATH": str(repository / "bin"), "HOME": str(repository), **environment}
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_can_be_run(path):
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    assert path.name == "lib.sh" or os.access(path, os.X_OK)


@pytest.mark.parametrize("script", [None, "exit 1"], ids=["none", "old"])
def test_no_python_is_one_line(repository, script):
    if script:
        stand_in(repository, "python3", script)
    result = run(repository, "scripts/environment.sh", ".venv")
    assert result.returncode == 1 and not (repository / ".venv").exists()
    assert result.stderr.startswith("Python 3.11 or newer is needed") and result.stderr.count("\n") == 1


def test_no_ensurepip_names_the_package(repository):
    real = f'exec {sys.executable} "$@"'
    stand_in(repository, "python3.11", f'case "$*" in *ensurepip*) exit 1;; *) {real};; esac')
    result = run(repository, "scripts/environment.sh", ".venv")
    assert result.returncode == 1 and not (repository / ".venv").exists()
    assert re.fullmatch(r"python3.11 lacks a part: sudo apt-get install python3\.\d+-venv\n", result.stderr)


LOG = 'echo "$*" >>log'
INSTALLS = f'{LOG}; case "$*" in *"install -y"*) echo "#!/bin/sh" >bin/latexmk; chmod +x bin/latexmk;; esac'


def test_tex_is_installed_where_apt_can(repository):
    stand_in(repository, "kpsewhich", "")
    stand_in(repository, "apt-get", INSTALLS)
    result = run(repository, "scripts/install_tex.sh")
    assert result.returncode == 0 and result.stderr.startswith("installing TeX")
    update, install = (repository / "log").read_text().splitlines()
    assert update.endswith(" update") and "latexmk" in install and "cm-super" in install
    assert run(repository, "scripts/install_tex.sh").stderr == ""


def test_chromium_is_installed_where_apt_can(repository):
    stand_in(repository, "apt-get", INSTALLS.replace("bin/latexmk", "bin/chromium"))
    result = run(repository, "scripts/install_tex.sh", "browser")
    assert result.returncode == 0 and result.stderr.startswith("installing Chromium")
    assert (repository / "log").read_text().splitlines()[-1].endswith(" chromium")
    assert run(repository, "scripts/install_tex.sh", "browser").stderr == ""


def test_without_apt_chromium_is_no_failure(repository):
    result = run(repository, "scripts/install_tex.sh", "browser")
    assert result.returncode == 0 and result.stderr.count("\n") == 1


@pytest.mark.parametrize("apt", ["none", "fails", "no rights"])
def test_tex_missing_is_one_line_and_no_failure(repository, apt):
    if apt != "none":
        stand_in(repository, "apt-get", "exit 100")
    if apt == "no rights":
        stand_in(repository, "id", "echo 1000")
    result = run(repository, "scripts/install_tex.sh")
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("TeX is missing") and "sudo apt-get install latexmk" in lines[-1]
    assert len(lines) == 2 and lines[0].startswith("installing TeX")
    result = run(repository, "scripts/typeset.sh", "paper/main.tex")
    assert result.returncode == 1 and result.stderr.startswith("TeX is missing")


def test_typesetting_says_why_it_failed(repository):
    stand_in(repository, "kpsewhich", "")
    error = "main.tex:12: Undefined result fid/n9"
    stand_in(repository, "latexmk", f"echo chatter; echo '{error}'; echo l.12; exit 12")
    result = run(repository, "scripts/typeset.sh", "paper/main.tex")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [error, "l.12", "TeX failed on paper/main.tex"]


def test_snakemake_recovers_from_a_kill(repository):
    stand_in(repository, "snakemake", f'{LOG}; case "$1" in --unlock) rm -r .snakemake/locks;; esac')
    (repository / ".snakemake" / "locks").mkdir(parents=True)
    (repository / ".snakemake" / "locks" / "0.input.lock").touch()
    assert run(repository, "scripts/snakemake.sh", "all", CORES="2").returncode == 0
    assert run(repository, "scripts/snakemake.sh", "all", CORES="2").returncode == 0
    ordinary = "--cores 2 --rerun-incomplete --keep-going all"
    assert (repository / "log").read_text().splitlines() == ["--unlock all", ordinary, ordinary]


def test_without_flock_a_lock_of_snakemake_stays(repository):
    """It may be that of a run that is going on."""
    (repository / "bin" / "flock").unlink()
    stand_in(repository, "snakemake", LOG)
    (repository / ".snakemake" / "locks").mkdir(parents=True)
    (repository / ".snakemake" / "locks" / "0.input.lock").touch()
    assert run(repository, "scripts/snakemake.sh", "all", CORES="2").returncode == 0
    assert (repository / "log").read_text().splitlines() == ["--cores 2 --rerun-incomplete --keep-going all"]


def test_a_second_run_at_the_same_time_is_refused(repository):
    stand_in(repository, "snakemake", "touch started; sleep 60")
    how = {"cwd": repository, "env": {"PATH": str(repository / "bin")}, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["scripts/snakemake.sh"], process_group=0, **how) as first:
        while not (repository / "started").exists():
            time.sleep(0.05)
        second = run(repository, "scripts/snakemake.sh")
        os.killpg(first.pid, signal.SIGKILL)
    assert (second.returncode, second.stdout) == (75, "")
    assert second.stderr.startswith("another run is using this folder") and second.stderr.count("\n") == 1
    stand_in(repository, "snakemake", "")
    while (status := run(repository, "scripts/snakemake.sh").returncode) == 75:
        time.sleep(0.1)  # what was killed has not let go of the lock yet
    assert status == 0


def test_the_line_of_a_failed_notebook_is_said_last(repository):
    line = "notebooks/04_train_adapter.ipynb: cell 7: ValueError: N"
    stand_in(repository, "snakemake", f'echo "{line}" >>"$IPA_FAILURES"; echo chatter >&2; exit 1')
    result = run(repository, "scripts/snakemake.sh")
    assert result.returncode == 1 and result.stderr.splitlines()[-1] == line
    assert "chatter" not in result.stderr and (repository / ".run/report.log").read_text() == "chatter\n"
    assert "log: .run/report.log" in result.stderr


def test_what_no_notebook_says_is_the_end_of_the_log(repository):
    stand_in(repository, "snakemake", "echo Building DAG of jobs...; echo MissingInputException: x; exit 1")
    result = run(repository, "scripts/snakemake.sh", "--config", "profile=mine")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["MissingInputException: x", "the workflow has not begun; log: .run/mine.log"]


@pytest.mark.parametrize("tex", [True, False])
def test_the_report_ends_with_its_path_or_with_what_is_missing(repository, tex):
    stand_in(repository, "python", "echo mean-own-n1-s0; echo results/mine/paper/main.pdf")
    stand_in(repository, "snakemake", LOG)
    if tex:
        stand_in(repository, "kpsewhich", "")
        stand_in(repository, "latexmk", "")
    result = run(repository, "scripts/report.sh", "mine")
    assert result.returncode == 0, result.stderr
    called = (repository / "log").read_text()
    assert "--config profile=mine" in called and called.endswith("-- all\n" if tex else "-- paper_inputs\n")
    last = result.stdout.splitlines()[-1]
    assert last == "results/mine/paper/main.pdf" if tex else last.startswith("TeX is missing")


def test_the_report_stops_at_a_mistake_in_the_profile(repository):
    stand_in(repository, "python", "echo 'no profile' >&2; exit 1")
    stand_in(repository, "snakemake", LOG)
    result = run(repository, "scripts/report.sh", "mni")
    assert (result.returncode, result.stderr) == (1, "no profile\n") and not (repository / "log").exists()


TABLES = ("table.csv", "scores.csv", "slots.csv", "counts.csv", "costs.csv", "logs.csv", "facts.json")


def write_tables(folder, text, names=TABLES):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(text)


def test_without_a_run_the_paper_is_of_the_published_tables(repository):
    stand_in(repository, "python", "echo paper/main.pdf")
    stand_in(repository, "snakemake", LOG)
    write_tables(repository / "results/published/mine", "new")
    write_tables(repository / "results/mine", "of an earlier call", TABLES[:2])
    result = run(repository, "scripts/paper.sh", "mine")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "paper/main.pdf"), result.stderr
    assert {name: (repository / "results/mine" / name).read_text() for name in TABLES} == dict.fromkeys(TABLES, "new")
    assert "--allowed-rules over_n_refs" in (repository / "log").read_text()


def test_a_run_of_ones_own_comes_first_and_must_be_whole(repository):
    stand_in(repository, "snakemake", LOG)
    write_tables(repository / "results/published/mine", "published")
    write_tables(repository / "results/mine", "own", ("data.json", *TABLES[:2]))
    result = run(repository, "scripts/paper.sh", "mine")
    assert result.returncode == 1
    assert result.stderr == "results/mine/slots.csv is missing: make report PROFILE=mine\n"
    assert not (repository / "log").exists() and not (repository / "results/mine/slots.csv").exists()


def test_only_a_finished_run_is_published(repository):
    stand_in(repository, "python", "echo paper/main.pdf\n" + LOG)
    write_tables(repository / "results/mine", "own", (*TABLES, *(f"{n:02d}_x.ipynb" for n in (1, *range(8, 15)))))
    assert run(repository, "scripts/publish.sh", "mine").stderr.startswith("paper/main.pdf is missing")
    (repository / "paper").mkdir()
    (repository / "paper/main.pdf").touch()
    result = run(repository, "scripts/publish.sh", "mine")
    assert result.returncode == 0, result.stderr
    assert len(list((repository / "results/published/mine").iterdir())) == len(TABLES) + 8
    assert "results/mine/13_show_samples.en.ipynb docs/sample_grid.png" in (repository / "log").read_text()


SETTINGS = 'case "$*" in *draw) echo {draw};; *" real") echo mine;; *) echo paper/main.pdf;; esac'  # of any profile


@pytest.mark.parametrize("profile", ["mine", "another"])
def test_of_photographs_none_is_published(repository, profile):
    stand_in(repository, "python", SETTINGS.format(draw=False))
    figures = [f"{stem}.pdf" for stem in ("generated_grid", "identity_vs_n_refs", "identity_vs_lam", "text_vs_lam")]
    notebooks = [f"{n:02d}_x.ipynb" for n in (1, *range(8, 15))]
    write_tables(repository / f"results/{profile}", "own", (*TABLES, *notebooks))
    write_tables(repository / "paper/figures", profile, (*figures, "sample_grid.pdf"))
    (repository / "paper/main.pdf").touch()
    result = run(repository, "scripts/publish.sh", profile)
    assert result.returncode == 0, result.stderr
    published = {file.name for file in (repository / "results/published" / profile).iterdir()}
    assert published == {*TABLES, *figures, *notebooks} - {"01_x.ipynb", "13_x.ipynb"}
    assert (repository / "paper/figures/real_grid.pdf").exists() == (profile == "mine")  # what the paper shows


def test_of_drawn_faces_the_grid_is_not_that_of_the_paper(repository):
    stand_in(repository, "python", SETTINGS.format(draw=True))
    write_tables(repository / "results/full", "own", (*TABLES, *(f"{n:02d}_x.ipynb" for n in (1, *range(8, 15)))))
    write_tables(repository / "paper/figures", "drawn", ("generated_grid.pdf",))  # 13_show_samples always draws one
    (repository / "paper/figures/real_grid.pdf").write_text("photographs")
    (repository / "paper/main.pdf").touch()
    result = run(repository, "scripts/publish.sh", "full")
    assert result.returncode == 0, result.stderr
    assert (repository / "results/published/full/13_x.ipynb").is_file()
    assert (repository / "paper/figures/real_grid.pdf").read_text() == "photographs"


def test_of_another_profile_no_picture_is_that_of_the_readme(repository):
    stand_in(repository, "python", f"echo results/mine/paper/main.pdf\n{LOG}")
    write_tables(repository / "results/mine", "own", (*TABLES, *(f"{n:02d}_x.ipynb" for n in (1, *range(8, 15)))))
    write_tables(repository / "results/mine/paper", "own", ("main.pdf",))
    result = run(repository, "scripts/publish.sh", "mine")
    assert result.returncode == 0, result.stderr
    assert (repository / "results/published/mine/13_x.ipynb").is_file()
    assert "sample_grid.png" not in (repository / "log").read_text()


def test_what_the_paper_is_made_of_is_published():
    asked = re.search(r"^files=\((.*)\)$", (ROOT / "scripts/paper.sh").read_text(), re.MULTILINE)[1].split()
    assert asked == list(TABLES)
    assert not [name for name in asked if not (ROOT / "results/published" / PUBLISHED / name).is_file()]


# --- make ---


def test_help_lists_every_target():
    phony = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    command = ["make", "--no-print-directory", "help"]  # within `make test`, make would name its folders too
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in said.splitlines()} == phony - {"tex", "spelling", "browser"}


def test_ci_runs_all_tests():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test-all"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert {"make report", "make test"} <= set(re.findall(r"make [a-z-]+", (ROOT / "README.md").read_text()))


def test_clean_removes_what_was_made_and_nothing_else(repository):
    made = ["results/mini/table.csv", "paper/main.aux", "paper/figures/generated_grid.pdf", ".run/lock"]
    made += [f"data/{name}/mini_celeba.json" for name in ("mini", "a name")]
    kept = ["models/mini/unet.bin", "data/celeba/a.jpg", "paper/main.pdf", "paper/figures/a.pdf", ".venv/bin/python"]
    for name in made + kept:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    for _ in range(2):  # the second time there is nothing to remove
        subprocess.run(["make", "clean"], cwd=repository, check=True)
    assert not [name for name in made if (repository / name).exists()]
    assert all((repository / name).exists() for name in kept)


def test_the_licence_and_the_citation():
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["authors"][0]["family-names"] == "Stepanov" and citation["license"] == "Apache-2.0"


def test_the_linters_are_content():
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(["scripts/lint.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
