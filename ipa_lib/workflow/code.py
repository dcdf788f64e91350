"""The code of a stage: its notebook, the modules that this imports, and theirs; and a digest of it. No torch.

A cache, a checkpoint or a gallery that other code has made is never used. Snakemake runs a stage again when its code
has changed: the digest is a parameter of its rule, taken once, as the workflow starts, so that a module edited while a
stage runs makes that stage stale. Comments, docstrings and a notebook's prose are not code and do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .paths import NOTEBOOKS

PACKAGE = Path(__file__).resolve().parent.parent  # ipa_lib
SHOWS = ("bars.py", "report/plots.py", "report/grids.py", "explore/")  # they show what was computed, and change none
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(stage: str, shows: bool = False, folder: Path = NOTEBOOKS, package: Path = PACKAGE) -> list[Path]:
    """Files of the code of a stage: its notebook, and every module of `package` that it imports in any way.

    `stage`: the notebook's name, or a module that a rule of the Snakefile calls itself, such as "workflow/gather.py".
    `shows`: with the modules that only show (`SHOWS`), for stages whose results are figures.
    """
    path = package / stage if stage.endswith(".py") else folder / f"{stage}.ipynb"
    modules: set[Path] = set()
    waiting = list(_imported(path, package))
    while waiting:
        module = waiting.pop()
        if module not in modules and (shows or not module.relative_to(package).as_posix().startswith(SHOWS)):
            modules.add(module)
            waiting += _imported(module, package)
    return [path, *sorted(modules)]


def digest(stage: str, **options) -> str:
    """sha256 over the code of `sources(stage, **options)`: statements, without comments, docstrings and prose."""
    code = hashlib.sha256()
    for path in sources(stage, **options):
        code.update(f"{path.name} {_statements(_source(path))}\n".encode())
    return code.hexdigest()


def _source(path: Path) -> str:
    """The Python of a module, or of a notebook's code cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@cache
def _statements(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)


@cache
def _imports(source: str) -> list[tuple[int, str]]:
    """(level, dotted name) of all that a source imports; of `from .a import b` (1, "a") and (1, "a.b")."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names += [(node.level, f"{module}.{name}".strip(".")) for name in ("", *(a.name for a in node.names))]
    return names


def _imported(path: Path, package: Path) -> Iterator[Path]:
    """Files of the modules of `package` that the source of a module, or of a notebook, imports."""
    inside = path.relative_to(package.parent).parent.parts if path.is_relative_to(package) else ()
    for level, name in _imports(_source(path)):
        start = inside[: len(inside) + 1 - level] if level else ()
        yield from _files([*start, *filter(None, name.split("."))], package)


def _files(name: list[str], package: Path) -> Iterator[Path]:
    """The file of a module's dotted name, where it is one of `package`, and of the packages around it.

    A name that the package loads when it is asked for stands for its module.
    """
    if name[:1] != [package.name]:
        return
    name = [package.name, *_lazy(package).get(".".join(name[1:]), name[1:])]
    folders = [package.joinpath(*name[1:i]) for i in range(1, len(name) + 1)]
    files = [*(folder / "__init__.py" for folder in folders), package.joinpath(*name[1:]).with_suffix(".py")]
    yield from (file for file in files if file.is_file())


def _lazy(package: Path) -> dict[str, list[str]]:
    """Names that `from ipa_lib import …` loads when they are asked for => their modules, by `__init__.pyi`."""
    stub = package / "__init__.pyi"
    nodes = ast.parse(stub.read_text(encoding="utf-8")).body if stub.is_file() else []
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: node.module.split(".") for node in imports for alias in node.names}
