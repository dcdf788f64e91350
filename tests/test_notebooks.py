"""Notebooks: short, stripped, without logic, parametrised; the workflow passes what they declare."""

import ast
import re
from unittest.mock import ANY

import nbformat
import papermill
import pytest

from ipa_lib.files import ROOT
from ipa_lib.workflow import config, grid
from ipa_lib.workflow.parameters import convert, parameters
from ipa_lib.workflow.paths import NOTEBOOKS

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
MAX_LINES, MAX_PARAMETERS = 12, 13
PLACES = {"profile", "out", "publish", "judge_data", "encoder_data"}  # parameters that only say where things lie
KEYS = "metadata.papermill cell.metadata.papermill"

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def nodes(path):
    return [node for source in code(path) for node in ast.walk(ast.parse(source))]


def test_they_are_numbered_verbs_in_the_order_of_the_work():
    numbered = [path.stem for path in PATHS if path.stem[0].isdigit()]  # the others are opened by hand
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
    longest = {source: MAX_LINES + 2 * ("profile: str" in source or "out: str" in source) for source in code(path)}
    assert all(len(statements(source)) <= longest[source] for source in code(path))
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.While)
    assert not [type(node).__name__ for node in nodes(path) if isinstance(node, forbidden)]


def statements(source: str) -> list[str]:
    """The lines of a cell but for its imports, which are a table of contents."""
    return [line for line in source.splitlines() if not line.startswith(("import ", "from "))]


@each_notebook
def test_prose_leads(path):
    cells = read(path).cells
    assert sum(cell.cell_type == "markdown" for cell in cells) / len(cells) >= 0.4
    assert cells[-1].cell_type == "markdown", "the last cell says what this shows"


@each_notebook
def test_parameters_are_typed_literals_with_a_reason(path):
    ours = parameters(path)
    assert ours and len(ours.keys() - PLACES) <= MAX_PARAMETERS
    for name, parameter in ours.items():
        assert parameter.help, f"{name} has no reason"
        assert convert(parameter.default, parameter.kind, name) == parameter.default


@each_notebook
def test_papermill_sees_the_same_parameters(path):
    seen = papermill.inspect_notebook(path)
    ours = parameters(path)
    assert {name: (p.kind, p.help) for name, p in ours.items()} == {
        name: (p["inferred_type_name"], p["help"]) for name, p in seen.items()
    }
    assert all(ast.literal_eval(p["default"]) == ours[name].default for name, p in seen.items())


@each_notebook
def test_every_parameter_is_used(path):
    used = {node.id for node in nodes(path) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert not parameters(path).keys() - used


@each_notebook
def test_the_kernel_is_that_of_the_environment(path):
    assert read(path).metadata.kernelspec.name == "python3"


@each_notebook
def test_notebooks_do_not_call_one_another(path):
    assert not re.search(r"%run|execute_notebook|\.ipynb", "\n".join(code(path)))


def test_the_linter_and_the_guide_strip_the_same_keys():
    for name in ("scripts/lint.sh", "CONTRIBUTING.md"):
        assert f'--extra-keys "{KEYS}"' in (ROOT / name).read_text()


def flags_calls(text):
    """The calls `flags("05_generate", people=…)` of a Snakefile, as syntax trees."""
    for start in (match.start() for match in re.finditer(r"\bflags\(\"", text)):
        ends = (match.end() for match in re.finditer(r"\)", text) if match.start() > start)
        yield next(call for call in (parsed(text[start:end]) for end in ends) if call)


def parsed(expression):
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError:
        return None


def test_the_workflow_passes_what_the_notebooks_declare():
    passed = {}
    for call in flags_calls((ROOT / "Snakefile").read_text()):
        passed.setdefault(call.args[0].value, set()).update(keyword.arg for keyword in call.keywords if keyword.arg)
    assert passed.keys() == {path.stem for path in PATHS if path.stem[0].isdigit()}
    passed["04_train_adapter"] |= set(grid.AXES)  # handed over as a whole
    passed["05_generate"] |= grid.Cell("a", 1, (1.0,), guidance=3.0).values().keys()
    for notebook, names in passed.items():
        assert names <= parameters(NOTEBOOKS / f"{notebook}.ipynb").keys(), notebook
    passed["05_generate"].remove("guidance")  # a cell has it where it differs from the profile's
    passed["07_measure_ceilings"] |= {"people", "samples", "seed"}  # those of 05_generate
    assert config.PASSED == {notebook: dict.fromkeys(names, ANY) for notebook, names in passed.items() if names}
