"""The parameters cell of a notebook, the one place where a default stands, and values for its parameters.

The command line of `runs` reads it before papermill is loaded: no papermill and no nbformat here.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BeforeValidator, TypeAdapter

from .checks import FINITE, TEXT, TRUTH, UNPLACED, WHOLE, at, expected, near, pairs, refuse_others


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name: kind = default  # help`."""

    name: str
    kind: str
    default: object
    help: str


def parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters cell of a notebook, as papermill.inspect_notebook reads it, with typed defaults."""
    try:
        cells = json.loads(find_notebook(notebook).read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook.name}: not a notebook ({error})") from None
    if len(tagged) != 1:
        raise ValueError(f"{notebook.name}: expected one cell tagged 'parameters', got {len(tagged)}")
    source = "".join(tagged[0]["source"])
    comments = _comments(source)
    return {p.name: p for p in (_parameter(node, comments, notebook.name) for node in ast.parse(source).body)}


def find_notebook(path: Path) -> Path:
    """The path itself; FileNotFoundError that names near ones where there is no such notebook."""
    if not path.is_file():
        stems = [other.stem for other in path.parent.glob("*.ipynb")]
        raise FileNotFoundError(f"no notebook {path.stem} in {path.parent.name}/{near(path.stem, stems)}")
    return path


def _comments(source: str) -> dict[int, str]:
    """Line number -> comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: Mapping[int, str], where: str) -> Parameter:
    try:
        name, kind, default = node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value)
    except (AttributeError, ValueError):
        syntax = "`name: type = literal  # reason` in the parameters cell"
        raise ValueError(f"{where}: expected {syntax}, got `{ast.unparse(node)}`") from None
    return Parameter(name, kind, default, comments.get(node.end_lineno, ""))


# --- values ---


def check_values(notebook: Path, values: Mapping[str, object]) -> dict[str, object]:
    """`values` in the types of the parameters cell; an unknown name or a wrong type raises a ValueError."""
    declared = parameters(notebook)
    with at(notebook.stem):
        refuse_others("parameter", pairs(values), declared)
        return {name: convert(value, declared[name].kind, name) for name, value in values.items()}


def convert(value: object, kind: str, name: str) -> object:
    """A value of YAML, or text of the command line, as `kind`: int, float, str, bool, or list[…] of one of these."""
    with at(name):
        if kind not in KINDS:
            raise ValueError(f"the type {kind} can't be set; use {', '.join(SCALARS)} or list[…]")
        return KINDS[kind].validate_python(value)


def as_text(value: object) -> str:
    """A value as the command line takes it, so that `convert` gives it back."""
    return value if isinstance(value, str) else json.dumps(value)


def _from_text(value: object) -> object:
    with suppress(yaml.YAMLError):
        return yaml.safe_load(value) if isinstance(value, str) else value
    return value


SCALARS = {"int": WHOLE, "float": FINITE, "str": TEXT, "bool": TRUTH}
LISTS = {
    f"list[{name}]": Annotated[expected(f"list[{name}]", list[kind]), BeforeValidator(_from_text), UNPLACED]
    for name, kind in SCALARS.items()
}
KINDS = {name: TypeAdapter(kind) for name, kind in (SCALARS | LISTS).items()}
