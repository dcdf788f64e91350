"""Data flows one way: a package imports only from packages to its left, and the paper's side knows no torch."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ipa_lib
from ipa_lib.files import ROOT

LIB = ROOT / "ipa_lib"
ORDER = "bars choices files hub data model diffusion drawn evaluation workflow report explore".split()
WITHOUT_TORCH = """
    bars choices files
    data.celeba data.captions data.folders data.near_duplicates data.picture_table
    drawn.faces drawn.phrases diffusion.galleries evaluation.intervals
    workflow.paths workflow.checks workflow.parameters workflow.grid workflow.config workflow.runs workflow.progress
    workflow.provenance workflow.code workflow.gather
    report.words report.variants report.answers report.plots report.grids report.latex explore.table_browser
""".split()
MODULES = sorted(path.relative_to(LIB) for path in LIB.rglob("*.py"))
WAYS = """
    from .plots import save
    from . import plots
    from ..report import plots
    from ..report.plots import save
    from ipa_lib.report import plots
    from ipa_lib.report.plots import save
    import ipa_lib.report.plots as p
    if True: from .plots import save
""".strip().splitlines()
LOAD = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"ipa_lib.{name}")
    if "torch" in sys.modules:
        sys.exit(name)
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def imported(source: str, module: Path) -> Iterator[str]:
    """Packages, and modules beside them, of ipa_lib that the source of `module` imports, in whatever way."""
    package = ["ipa_lib", *module.parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            whole = ".".join([*start, *filter(None, [node.module])])
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("ipa_lib."))


def test_every_way_to_import_is_seen():
    assert [list(imported(source.strip(), Path("report/grids.py"))) for source in WAYS] == [["report"]] * len(WAYS)
    assert list(imported("from .files import ROOT", Path("hub.py"))) == ["files"]
    assert list(imported("import os, torch\nfrom torch import nn", Path("hub.py"))) == []


def test_every_package_has_its_place():
    assert {module.parts[0].removesuffix(".py") for module in MODULES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_to_the_left(module):
    own = module.parts[0].removesuffix(".py")
    left = ORDER if own == "__init__" else ORDER[: ORDER.index(own) + 1]
    wrong = set(imported((LIB / module).read_text(), module)) - set(left)
    assert not wrong, f"{module} may import from {', '.join(left)}, and imports {', '.join(sorted(wrong))}"


def test_the_papers_side_loads_no_torch():
    """In one fresh process, the modules one after another: the first that loads torch is named."""
    result = python(LOAD, *WITHOUT_TORCH)
    assert result.returncode == 0, f"{result.stderr.strip()} loads torch"


def test_the_public_names_are_there_for_people_and_for_type_checkers():
    stub = ast.parse((LIB / "__init__.pyi").read_text()).body
    assert {(node.module, alias.asname) for node in stub for alias in node.names} == {
        (module, name) for module, names in ipa_lib.PUBLIC.items() for name in names}
    for module, names in ipa_lib.PUBLIC.items():
        for name in names:
            assert getattr(ipa_lib, name) is getattr(importlib.import_module(f"ipa_lib.{module}"), name)
    with pytest.raises(AttributeError, match="module 'ipa_lib' has no attribute 'adapter'"):
        ipa_lib.adapter  # noqa: B018


def test_the_package_alone_is_light():
    loaded = python("import sys, ipa_lib; assert 'attach' in dir(ipa_lib); print(*sys.modules)").stdout.split()
    assert "ipa_lib" in loaded and not [name for name in loaded if name.startswith("ipa_lib.")]
    assert not {"torch", "numpy", "diffusers"} & set(loaded)


def test_config_is_light():
    """It is read before every run, by the Snakefile and by the command line of `runs`."""
    loaded = set(python("import sys, ipa_lib.workflow.config; print(*sys.modules)").stdout.split())
    assert "ipa_lib.workflow.config" in loaded
    assert not {"torch", "papermill", "nbformat", "pandas", "numpy"} & loaded
