"""Notebooks: short, stripped, without logic, parametrised; and what the workflow passes is what they declare."""

import ast
import re
import subprocess
import sys

import nbformat
import papermill
import pytest

from ipa_lib import config
from ipa_lib.paths import NOTEBOOKS, ROOT

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
MAX_LINES, MAX_PARAMETERS = 12, 12
KEYS = "metadata.papermill cell.metadata.papermill"

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def nodes(path):
    return [node for source in code(path) for node in ast.walk(ast.parse(source))]


def test_they_are_numbered_verbs_in_the_order_of_the_work():
    numbered = [path.stem for path in PATHS if path.stem != "explore"]
    assert [stem.split("_")[0] for stem in numbered] == [f"{i:02d}" for i in range(1, len(numbered) + 1)]
    assert all(re.fullmatch(r"\d\d(_[a-z]+){1,4}", stem) for stem in numbered)


@each_notebook
def test_the_first_cell_says_what_it_is_reads_writes_and_costs(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# [A-Z]", first.source)
    said = first.source.lower()
    assert all(word in said for word in ("read", "write")) and re.search(r"cost|minute|second", said)


@each_notebook
def test_cells_are_short_and_hold_no_logic(path):
    assert max(len(source.splitlines()) for source in code(path)) <= MAX_LINES
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.While)
    assert not [type(node).__name__ for node in nodes(path) if isinstance(node, forbidden)]


@each_notebook
def test_prose_leads(path):
    cells = read(path).cells
    assert sum(cell.cell_type == "markdown" for cell in cells) / len(cells) >= 0.4
    assert cells[-1].cell_type == "markdown", "the last cell says what this shows"


@each_notebook
def test_parameters_are_typed_literals_with_a_reason(path):
    parameters = config.parameters(path)
    assert 1 <= len(parameters) <= MAX_PARAMETERS
    for name, parameter in parameters.items():
        assert parameter.help, f"{name} has no reason"
        assert config.convert(parameter.default, parameter.kind, name) == parameter.default


@each_notebook
def test_papermill_sees_the_same_parameters(path):
    seen = papermill.inspect_notebook(path)
    ours = config.parameters(path)
    assert {name: (p.kind, p.help) for name, p in ours.items()} == {
        name: (p["inferred_type_name"], p["help"]) for name, p in seen.items()
    }
    assert all(ast.literal_eval(p["default"]) == ours[name].default for name, p in seen.items())


@each_notebook
def test_no_parameter_is_assigned_again_or_left_unused(path):
    (tagged,) = [i for i, cell in enumerate(read(path).cells) if "parameters" in cell.metadata.get("tags", [])]
    later = [node for cell in read(path).cells[tagged + 1 :] if cell.cell_type == "code"
             for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]  # fmt: skip
    names = set(config.parameters(path))
    assert not names & {node.id for node in later if isinstance(node.ctx, ast.Store)}
    assert names <= {node.id for node in later if isinstance(node.ctx, ast.Load)}


@each_notebook
def test_the_kernel_is_that_of_the_environment(path):
    assert read(path).metadata.kernelspec.name == "python3"


@each_notebook
def test_notebooks_do_not_call_one_another(path):
    assert not re.search(r"%run|execute_notebook|\.ipynb", "\n".join(code(path)))


def test_sources_are_stripped():
    command = [sys.executable, "-m", "nbstripout", "--verify", "--extra-keys", KEYS, *PATHS]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_linter_and_the_guide_strip_the_same_keys():
    for name in ("scripts/lint.sh", "CONTRIBUTING.md"):
        assert f'--extra-keys "{KEYS}"' in (ROOT / name).read_text()


def test_the_workflow_passes_what_the_notebooks_declare():
    """Every `flags("05_generate", people=…)` of the Snakefile, keyword by keyword, and every notebook by its name."""
    passed = {}
    for call in re.finditer(r"flags\(\"(\w+)\"(.*?)\)", (ROOT / "Snakefile").read_text(), re.DOTALL):
        passed.setdefault(call[1], set()).update(re.findall(r"\b(\w+)=", call[2]))
    assert passed.keys() == {path.stem for path in PATHS} - {"explore"}
    for notebook, names in passed.items():
        assert names <= config.parameters(NOTEBOOKS / f"{notebook}.ipynb").keys(), notebook
