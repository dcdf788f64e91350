"""Data flows one way: a module imports only from modules to its left, and the paper's side knows no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ipa_lib.paths import ROOT

LIB = ROOT / "ipa_lib"
ORDER = """
    paths config
    celeba mini_celeba captions descriptions folders hub_data near_duplicates data identity_sets galleries
    backbone features
    merge projection attention adapter attention_maps exchange
    training mini_base sampling
    intervals fidelity metrics faces photo_judges judges evaluation check
    runs variants ablations plots pictures report
    findings explorer panels widgets
""".split()
WITHOUT_TORCH = """
    paths config celeba mini_celeba captions descriptions folders hub_data near_duplicates data galleries intervals
    runs variants ablations plots pictures report findings
""".split()
WAYS = """
    from . import plots
    from .plots import save
    from ipa_lib import plots
    from ipa_lib.plots import save
    import ipa_lib.plots as p
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


def imported(source: str) -> Iterator[str]:
    """Names of the ipa_lib modules that a source imports, in whatever way."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            whole = ".".join(filter(None, ["ipa_lib" if node.level else "", node.module]))
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("ipa_lib."))


def test_every_way_to_import_is_seen():
    assert [list(imported(source.strip())) for source in WAYS] == [["plots"]] * len(WAYS)
    assert list(imported("import os, torch\nfrom torch import nn")) == []


def test_every_module_has_its_place():
    assert {path.stem for path in LIB.glob("*.py")} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_to_the_left(name):
    left = ORDER[: ORDER.index(name)]
    wrong = set(imported((LIB / f"{name}.py").read_text())) - set(left)
    assert not wrong, f"{name} may import from {', '.join(left)}, and imports {', '.join(sorted(wrong))}"


def test_the_papers_side_loads_no_torch():
    """In one fresh process, the modules one after another: the first that loads torch is named."""
    result = python(LOAD, *WITHOUT_TORCH)
    assert result.returncode == 0, f"{result.stderr.strip()} loads torch"


def test_config_is_light():
    """It is read before every run, by the Snakefile and by the command line of `runs`."""
    loaded = set(python("import sys, ipa_lib.config; print(*sys.modules)").stdout.split())
    assert "ipa_lib.config" in loaded
    assert not {"torch", "papermill", "nbformat", "pandas", "numpy"} & loaded
