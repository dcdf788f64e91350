"""The code of a stage: its notebook, the modules that this imports, and theirs; and a digest of it. No torch.

A cache, a checkpoint or a gallery that other code has made is never used. Snakemake runs a stage again when its code
has changed. Both take the digest from here. Comments, docstrings and a notebook's prose are not code and do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..files import ROOT, atomic
from .paths import NOTEBOOKS

PACKAGE = Path(__file__).resolve().parent.parent  # ipa_lib
SHOWS = ("bars.py", "report/plots.py", "report/grids.py", "explore/")  # they show what was computed, and change none
STAMPS = ROOT / ".run" / "code"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources(notebook: str, shows: bool = False, folder: Path = NOTEBOOKS, package: Path = PACKAGE) -> list[Path]:
    """Files of the code of a stage: the notebook, and every module of `package` that it imports in any way.

    `shows`: with the modules that only show (`SHOWS`), for stages whose results are figures.
    """
    path = folder / f"{notebook}.ipynb"
    modules: set[Path] = set()
    waiting = list(_imported(_source(path), [], package))
    while waiting:
        module = waiting.pop()
        name = module.relative_to(package)
        if module not in modules and (shows or not name.as_posix().startswith(SHOWS)):
            modules.add(module)
            waiting += _imported(_source(module), [package.name, *name.parent.parts], package)
    return [path, *sorted(modules)]


def digest(notebook: str, **options) -> str:
    """sha256 over the code of `sources(notebook, **options)`: statements, without comments, docstrings and prose."""
    code = hashlib.sha256()
    for path in sources(notebook, **options):
        code.update(f"{path.name} {_statements(_source(path))}\n".encode())
    return code.hexdigest()


def stamp(notebook: str, shows: bool = False) -> Path:
    """A file with the digest of a stage's code, for Snakemake: it is written anew only where the digest has changed."""
    path, text = STAMPS / notebook, digest(notebook, shows=shows) + "\n"
    if not path.is_file() or path.read_text() != text:
        with atomic(path) as file:
            file.write_text(text)
    return path.relative_to(ROOT)


def _source(path: Path) -> str:
    """The Python of a module, or of a notebook's code cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def _statements(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)


def _imported(source: str, inside: list[str], package: Path) -> Iterator[Path]:
    """Files of the modules that a source imports; `inside`: the packages around it, such as ["ipa_lib", "data"]."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) + 1 - node.level] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            yield from _files(name.split("."), package)


def _files(name: list[str], package: Path) -> Iterator[Path]:
    """The file of a module's dotted name, where it is one of `package`, and of the packages around it."""
    if name[0] == package.name:
        folders = [package.joinpath(*name[1:i]) for i in range(1, len(name) + 1)]
        files = [*(folder / "__init__.py" for folder in folders), package.joinpath(*name[1:]).with_suffix(".py")]
        yield from (file for file in files if file.is_file())
