"""What counts as the code of a stage: a change of a module, and which stages it makes stale."""

import json
import shutil

import pytest

from ipa_lib.files import ROOT
from ipa_lib.workflow import code

COSTLY = ("03_cache_features", "04_train_adapter", "05_generate", "06_evaluate")
FIGURES = ("10_ablate_n_refs", "13_show_samples")


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


def test_a_stamp_is_written_anew_only_where_the_code_has_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(code, "STAMPS", tmp_path)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    digest = "1"
    monkeypatch.setattr(code, "digest", lambda notebook, shows: digest)
    file = tmp_path / code.stamp("05_generate")
    first = file.stat().st_mtime_ns
    code.stamp("05_generate")
    assert file.stat().st_mtime_ns == first
    digest = "2"
    code.stamp("05_generate")
    assert file.read_text() == "2\n"
