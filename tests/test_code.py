"""What counts as the code of a stage: a change of a module, and which stages it makes stale."""

import json
import re
import shutil

import pytest

from ipa_lib.files import ROOT
from ipa_lib.workflow import code
from ipa_lib.workflow.paths import NOTEBOOKS

COSTLY = ("03_cache_features", "04_train_adapter", "05_generate", "06_evaluate")
FIGURES = ("10_ablate_n_refs", "13_show_samples")
FIGURED = ("10", "11", "12", "13")


@pytest.fixture
def copy(tmp_path):
    """A copy of package and notebooks: code.digest of a stage in it."""
    shutil.copytree(ROOT / "ipa_lib", tmp_path / "ipa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def digests(folder):
    where = {"folder": folder / "notebooks", "package": folder / "ipa_lib"}
    costly = {stage: code.digest(stage, **where) for stage in COSTLY}
    return costly | {stage: code.digest(stage, shows=True, **where) for stage in FIGURES}


def changed(folder, module, old, new):
    """The stages whose digest changes when `old` in a module becomes `new`."""
    before, path = digests(folder), folder / "ipa_lib" / module
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return {stage for stage, digest in digests(folder).items() if digest != before[stage]}


@pytest.mark.parametrize(
    "module, old, new, stale",
    [
        ("data/celeba.py", "def load_picture(", "LOADED = 1\n\n\ndef load_picture(", {*COSTLY, "13_show_samples"}),
        ("model/merge.py", "def share(", "ADDED = 1\n\n\ndef share(", {"04_train_adapter", "05_generate"}),
        ("diffusion/sampling.py", "def initial_noise(", "ADDED = 1\n\n\ndef initial_noise(", {"05_generate"}),
        ("evaluation/metrics.py", "def fid(", "ADDED = 1\n\n\ndef fid(", {"06_evaluate"}),
        ("report/plots.py", "def save(", "ADDED = 1\n\n\ndef save(", set(FIGURES)),
        ("explore/widgets.py", "class Page", "ADDED = 1\n\n\nclass Page", set()),
        ("data/celeba.py", "def load_picture(", "# a remark\ndef load_picture(", set()),
        ("data/celeba.py", '"""Reader of', '"""A reader of', set()),
    ],
    ids=["reader", "merge", "sampling", "metrics", "plots", "page", "comment", "docstring"],
)
def test_a_change_makes_stale_what_depends_on_it_and_nothing_else(copy, module, old, new, stale):
    assert changed(copy, module, old, new) == stale


def test_code_of_a_notebook_counts_and_prose_does_not(copy):
    path, before = copy / "notebooks/05_generate.ipynb", digests(copy)
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["source"] = ["# Another title"]
    path.write_text(json.dumps(notebook))
    assert digests(copy) == before
    notebook["cells"][-2]["source"].append("\nprint()")
    path.write_text(json.dumps(notebook))
    assert {stage for stage, digest in digests(copy).items() if digest != before[stage]} == {"05_generate"}


def test_imports_of_any_form_are_followed(tmp_path):
    package = tmp_path / "ipa_lib"
    sources = {
        "__init__": "", "a/__init__": "", "a/three": "", "b/five": "X = 1", "c/__init__": "", "c/six": "",
        "c/unused": "",
        "a/one": "from . import two\nfrom ..b import four", "a/two": "import ipa_lib.a.three",
        "b/__init__": "from .five import X", "b/four": "def f():\n    from ..c import six",
    }  # fmt: skip
    for name, text in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    cell = {"cell_type": "code", "source": ["from ipa_lib.a.one import x"]}
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [cell]}))
    files = code.sources("n", folder=tmp_path, package=package)[1:]
    assert {str(file.relative_to(package).with_suffix("")) for file in files} == set(sources) - {"c/unused"}


def test_a_name_that_is_loaded_when_it_is_asked_for_stands_for_its_module(tmp_path):
    cell = {"cell_type": "code", "source": ["from ipa_lib import attach, files"]}
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [cell]}))
    files = {str(file.relative_to(code.PACKAGE)) for file in code.sources("n", folder=tmp_path)[1:]}
    assert {"model/attention.py", "files.py"} <= files and "model/exchange.py" not in files


def test_a_module_has_code_as_a_notebook_has():
    files = {str(file.relative_to(code.PACKAGE)) for file in code.sources("workflow/gather.py")}
    assert files == {"__init__.py", "files.py", "workflow/__init__.py", "workflow/gather.py", "workflow/provenance.py"}
    assert code.digest("workflow/gather.py") != code.digest("workflow/provenance.py")


def test_every_stage_of_the_workflow_has_the_digest_of_its_code():
    """And those whose results are figures also of what only shows."""
    rules = re.split(r"\nrule ", (ROOT / "Snakefile").read_text())[1:]
    notebooks = [rule for rule in rules if "log: nb=" in rule]
    found = [re.search(r'params: \*\*stage\("(\w+)"(, shows=True)?\)', rule) for rule in notebooks]
    assert all(found) and all('code.digest("workflow/gather.py")' in rule for rule in rules if "gather." in rule)
    asked = {match[1]: bool(match[2]) for match in found}
    assert set(asked) == {path.stem for path in NOTEBOOKS.glob("[01]*.ipynb")}
    assert {stage for stage, shows in asked.items() if shows} == {stage for stage in asked if stage[:2] in FIGURED}
