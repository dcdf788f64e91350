"""Profiles: what differs from the notebooks' own defaults, and the grid of adapters to train.

The parameters cell of a notebook is the one place where a default stands.
`configs/<profile>.yaml` holds what differs:

    notebooks:                # by notebook and parameter; checked against the parameters cell
      05_generate: {people: 8}
    grid:                     # an adapter for each combination of the lists of merge, slots, order, target, n_max, seed
      - {merge: mean, slots: own, n_max: 4, random_n: true, seed: [0, 1], n_refs: [1, 2, 4]}
    lams: [0.0, 0.5, 1.0]     # the values of λ at which an adapter generates, unless its entry has `lams` of its own
    launch: torchrun --standalone --nproc-per-node 2  # what starts the processes of a training; without it there is one
    cells:                    # more pictures of adapters of the grid, for side questions: again a product of lists
      - {adapters: [mean-own-n4r-s0], n_refs: 4, prompts: [own, reversed], guidance: [1.0, 5.0], lams: [1.0]}

A profile without `grid` has grid and cells of `mini`, one without `lams` the values of λ there. What the workflow
passes from elsewhere (`PASSED`) can't be set under `notebooks`. Every mistake is a ValueError of one line.
The Snakefile imports this module: no torch and no papermill here.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import math
import re
import shlex
import sys
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from numbers import Integral, Real
from pathlib import Path

import yaml

from ..choices import MERGES, ORDERS, PROJECTIONS, PROMPTS, SLOTS, TARGETS
from ..files import ROOT
from .paths import CONFIGS, NOTEBOOKS, paper_dir

MAX_PROMPTS = 32  # CelebA has at most 35 pictures of a person
DEFAULT = "mini"
NAME = r"[\w-]+"  # of a profile
AXES = {"merge": None, "slots": "own", "order": "given", "target": "left_out", "n_max": None, "seed": 0}  # of a grid
CHOICES = {"merge": MERGES, "slots": SLOTS, "order": ORDERS, "target": TARGETS}
PASSED = {  # notebook -> parameter that the Snakefile passes -> where it comes from
    "01_prepare_data": {"max_refs": "n_refs of grid and cells"},
    "04_train_adapter": dict.fromkeys((*AXES, "random_n"), "grid"),
    "05_generate": {"max_refs": "n_refs of grid and cells"}
    | dict.fromkeys(("adapter", "cell", "n_refs", "prompts", "lams"), "grid and cells"),
    "06_evaluate": dict.fromkeys(("adapter", "cell"), "grid and cells"),
    "07_measure_ceilings": {"max_refs": "n_refs of grid and cells"}
    | dict.fromkeys(("people", "samples", "seed"), "05_generate"),
    "09_count_samples": dict.fromkeys(("adapter", "cell"), "grid"),
}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name: kind = default  # help`."""

    name: str
    kind: str
    default: object
    help: str


@dataclass(frozen=True)
class AdapterRun:
    """One adapter to train for up to `n_max` prompts, and the numbers of prompts and the λ at which to judge it."""

    merge: str
    slots: str
    n_max: int
    random_n: bool
    seed: int
    n_refs: tuple[int, ...]
    order: str = "given"
    projection: str = "linear"  # or a published file, which has no place in the name
    target: str = "left_out"
    lams: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Such as `mean-own-n4r-s0`; `r` says that the number of prompts was random in training.

        An order, a projection or a target other than the default stands in it too: `mean-own-norm-n4r-s0`.
        """
        settings = (self.order, self.projection, self.target)
        others = [value for value in settings if value in ("norm", *PROJECTIONS[1:], "shown")]
        return "-".join([self.merge, self.slots, *others, f"n{self.n_max}{'r' * self.random_n}", f"s{self.seed}"])


@dataclass(frozen=True)
class Cell:
    """Pictures of one adapter, over a sweep of λ."""

    adapter: str
    n_refs: int
    lams: tuple[float, ...]
    prompts: str = "own"
    guidance: float | None = None  # None: what the profile says

    @property
    def name(self) -> str:
        """Such as `n4`, `n4-occluded50` or `n4-w5`: what differs from the usual stands in it."""
        prompts = f"-{self.prompts}" * (self.prompts != "own")
        return f"n{self.n_refs}{prompts}" + ("" if self.guidance is None else f"-w{self.guidance:g}")

    def values(self) -> dict[str, object]:
        """The parameters of 05_generate."""
        guidance = {} if self.guidance is None else {"guidance": self.guidance}
        chosen = {"n_refs": self.n_refs, "prompts": self.prompts, "lams": list(self.lams), **guidance}
        return {"adapter": self.adapter, "cell": self.name, **chosen}


@dataclass(frozen=True)
class Profile:
    """Settings of a profile, checked: parameters of notebooks, adapters to train, cells to generate."""
    name: str
    notebooks: Mapping[str, Mapping[str, object]]  # notebook stem -> parameter -> value
    adapters: Mapping[str, AdapterRun]  # by AdapterRun.name, in the order of the grid
    lams: tuple[float, ...]
    cells: Mapping[str, Cell]  # by "adapter/cell", the usual ones first
    folder: Path = NOTEBOOKS
    launch: str = ""  # the command that starts the processes of a training

    def values(self, notebook: str, **more: object) -> dict[str, object]:
        """The parameters of a notebook that differ from its defaults: the profile's, then `more`."""
        return check_values(self.folder / f"{notebook}.ipynb", {**self.notebooks.get(notebook, {}), **more})

    def settings(self, notebook: str) -> dict[str, object]:
        """All parameters of a notebook: its defaults and what the profile changes."""
        known = parameters(self.folder / f"{notebook}.ipynb")
        return {name: parameter.default for name, parameter in known.items()} | self.values(notebook)

    @property
    def max_refs(self) -> int:
        """The most prompts that a cell takes: so many are set aside for each person."""
        return max(cell.n_refs for cell in self.cells.values())

    def flags(self, notebook: str, **more: object) -> str:
        """The same for a shell: `-p people 8 -p merge mean`."""
        values = self.values(notebook, **more).items()
        return " ".join(f"-p {name} {shlex.quote(_text(value))}" for name, value in values)


def load_profile(name_or_path: str | Path, folder: Path = NOTEBOOKS) -> Profile:
    """Read `configs/<name>.yaml`, or the file of a path that ends in .yaml."""
    path = find_profile(name_or_path)
    settings = _read_yaml(path)
    where = path.name
    _known("key", settings, ("notebooks", "grid", "lams", "cells", "launch"), where)
    notebooks = _notebooks(settings.get("notebooks", {}), where, folder)
    default = _read_yaml(CONFIGS / f"{DEFAULT}.yaml")
    if "grid" not in settings:
        settings = {key: default[key] for key in ("grid", "cells") if key in default} | settings
    lams = _all_lams(settings.get("lams", default["lams"]), where)
    adapters = _grid(settings["grid"], lams, where)
    cells = [*_usual_cells(adapters), *_more_cells(settings.get("cells", []), adapters, lams, f"{where}: cells")]
    names = _different([f"{cell.adapter}/{cell.name}" for cell in cells], f"{where}: cells")
    launch = convert(settings.get("launch", ""), "str", f"{where}: launch")
    profile = Profile(path.stem, notebooks, adapters, lams, dict(zip(names, cells, strict=True)), folder, launch)
    _can_be_finished(profile, where)
    return profile


def usual_guidance(profile: str) -> float:
    """w of a profile's usual cells; of results without a profile the default of the notebook."""
    if profile in profile_names():
        return load_profile(profile).settings("05_generate")["guidance"]
    return parameters(NOTEBOOKS / "05_generate.ipynb")["guidance"].default


def main_run(adapters: Mapping[str, AdapterRun]) -> AdapterRun:
    """The one that the paper calls the main adapter: the first of a grid that serves every N, else the first."""
    return next((run for run in adapters.values() if run.random_n), next(iter(adapters.values())))


def profile_names() -> list[str]:
    """Names of the profiles in configs/."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_profile(name_or_path: str | Path) -> Path:
    """The file of a profile; a name that is not in configs/ raises a ValueError that names those that are."""
    path = Path(name_or_path)
    if re.fullmatch(NAME, str(name_or_path)):
        path = CONFIGS / f"{name_or_path}.yaml"
    if path.is_file() and not re.fullmatch(NAME, path.stem):  # it becomes folders, and part of commands
        raise ValueError(f"{path.name}: letters, digits, - and _ were expected in the name of a profile")
    if path.suffix != ".yaml" or not path.is_file():
        raise ValueError(f"no profile {str(name_or_path)!r} in configs/{_near(path.stem, profile_names())}")
    return path


def _read_yaml(path: Path) -> dict:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path.name}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    return _mapping(settings, path.name)


# --- the parameters of a notebook ---


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
        known = sorted(other.stem for other in path.parent.glob("*.ipynb"))
        raise FileNotFoundError(f"no notebook {path.stem} in {path.parent.name}/{_near(path.stem, known)}")
    return path


def _comments(source: str) -> dict[int, str]:
    """Line number -> comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: Mapping[int, str], where: str) -> Parameter:
    try:
        name, kind, default = node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value)
    except (AttributeError, ValueError):
        expected = "`name: type = literal  # reason` in the parameters cell"
        raise ValueError(f"{where}: expected {expected}, got `{ast.unparse(node)}`") from None
    return Parameter(name, kind, default, comments.get(node.end_lineno, ""))


def check_values(notebook: Path, values: Mapping[str, object], where: str = "") -> dict[str, object]:
    """`values` in the types of the parameters cell; an unknown name or a wrong type raises a ValueError."""
    known = parameters(notebook)
    where = f"{where}{notebook.stem}"
    _known("parameter", values, known, where)
    return {name: convert(value, known[name].kind, f"{where}: {name}") for name, value in values.items()}


def convert(value: object, kind: str, where: str) -> object:
    """A value of YAML or of the command line as `kind`: int, float, str, bool, or list[…] of one of these."""
    if kind.startswith("list["):
        items = _items(value, kind, where)
        return [convert(item, kind[5:-1], where) for item in items]
    if kind not in CONVERT:
        raise ValueError(f"{where}: the type {kind} can't be set; use {', '.join(CONVERT)} or list[…]")
    try:
        return CONVERT[kind](value)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{where}: expected {EXPECTED[kind]}, got {value!r}") from None


def _items(value: object, kind: str, where: str) -> list:
    try:
        value = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        raise ValueError(f"{where}: expected {kind}, got {value!r}") from None
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: expected {kind}, got {value!r}")
    return list(value)


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        raise TypeError
    return int(value)


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real | str) or not math.isfinite(float(value)):
        raise TypeError
    return float(value)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bool(value: object) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]


CONVERT = {"int": _int, "float": _float, "str": _str, "bool": _bool}
EXPECTED = {"int": "a whole number", "float": "a finite number", "str": "text", "bool": "true or false"}


def _text(value: object) -> str:
    """A value as the command line takes it, so that `convert` gives it back."""
    return value if isinstance(value, str) else json.dumps(value)


# --- the parts of a profile ---


def _notebooks(settings: object, where: str, folder: Path) -> dict[str, dict[str, object]]:
    chosen = _mapping(settings, f"{where}: notebooks")
    _known("notebook", chosen, [path.stem for path in folder.glob("*.ipynb")], where)
    checked = {
        name: check_values(folder / f"{name}.ipynb", _mapping(values, f"{where}: {name}"), f"{where}: ")
        for name, values in chosen.items()
    }
    for notebook, name in ((notebook, name) for notebook, values in checked.items() for name in values):
        if source := _passed(notebook, name):
            raise ValueError(f"{where}: {notebook}: {name} would have no effect here: it comes from {source}")
    return checked


def _passed(notebook: str, name: str) -> str:
    """Source of a parameter that the Snakefile passes; empty for one that a profile may set."""
    return "the name of the profile" if name == "profile" else PASSED.get(notebook, {}).get(name, "")


def _lams(values: object, where: str) -> tuple[float, ...]:
    lams = convert(values, "list[float]", f"{where}: lams")
    for lam in lams:
        if lam < 0:
            raise ValueError(f"{where}: lams: expected λ ≥ 0, got {lam}")
    return _different(sorted(lams), f"{where}: lams")


def _all_lams(values: object, where: str) -> tuple[float, ...]:
    lams = _lams(values, where)
    if not {0.0, 1.0} <= set(lams):
        raise ValueError(f"{where}: lams: 0 (the floor) and 1 (as trained) were expected among {list(lams)}")
    return lams


def _grid(entries: object, lams: tuple[float, ...], where: str) -> dict[str, AdapterRun]:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{where}: grid: expected a list of at least one entry, got {entries!r}")
    runs = [run for i, entry in enumerate(entries) for run in _entry(entry, lams, f"{where}: grid[{i}]")]
    _different([run.name for run in runs], f"{where}: grid")
    return {run.name: run for run in runs}


def _entry(entry: object, lams: tuple[float, ...], where: str) -> list[AdapterRun]:
    """One entry of the grid => the product of its lists."""
    entry = _mapping(entry, where)
    _known("key", entry, (*AXES, "random_n", "n_refs", "lams"), where)
    if missing := [key for key in ("merge", "n_max") if key not in entry]:
        raise ValueError(f"{where}: {missing[0]} is missing")
    lams = _lams(entry["lams"], where) if "lams" in entry else lams
    random_n = convert(entry.get("random_n", False), "bool", f"{where}: random_n")
    axes = [_list(entry.get(key, default), f"{where}: {key}") for key, default in AXES.items()]
    points = [dict(zip(AXES, values, strict=True)) for values in product(*axes)]
    return [_run(point, random_n, entry.get("n_refs"), lams, where) for point in points]


def _list(value: object, where: str) -> tuple:
    return _different(value if isinstance(value, list) else [value], where)


def _run(point: dict, random_n: bool, n_refs: object, lams: tuple[float, ...], where: str) -> AdapterRun:
    for key, known in CHOICES.items():
        _one_of(point[key], known, f"{where}: {key}")
    _within(point["n_max"], 1, MAX_PROMPTS, f"{where}: n_max")
    _within(point["seed"], 0, 2**31 - 1, f"{where}: seed")
    counts = _counts([point["n_max"]] if n_refs is None else n_refs, point["n_max"], where)
    return AdapterRun(**point, random_n=random_n, n_refs=counts, lams=lams)


def _counts(values: object, most: int, where: str) -> tuple[int, ...]:
    counts = convert(values if isinstance(values, list) else [values], "list[int]", f"{where}: n_refs")
    for count in counts:
        _within(count, 1, most, f"{where}: n_refs")
    return _different(counts, f"{where}: n_refs")


def _usual_cells(adapters: Mapping[str, AdapterRun]) -> list[Cell]:
    """Every adapter with the prompts of the people themselves, and a floor for the main one: another person's."""
    main = main_run(adapters)
    usual = [Cell(run.name, n, run.lams) for run in adapters.values() for n in run.n_refs]
    return [*usual, Cell(main.name, max(main.n_refs), (1.0,), "other")]


def _more_cells(entries: object, adapters: Mapping[str, AdapterRun], lams: tuple[float, ...], where: str) -> list[Cell]:
    if not isinstance(entries, list):
        raise ValueError(f"{where}: expected a list, got {entries!r}")
    return [cell for i, entry in enumerate(entries) for cell in _cells(entry, adapters, lams, f"{where}[{i}]")]


def _cells(entry: object, adapters: Mapping[str, AdapterRun], lams: tuple[float, ...], where: str) -> list[Cell]:
    """One entry of `cells` => the product of its lists."""
    entry = _mapping(entry, where)
    _known("key", entry, ("adapters", "n_refs", "prompts", "guidance", "lams"), where)
    if missing := [key for key in ("adapters", "n_refs") if key not in entry]:
        raise ValueError(f"{where}: {missing[0]} is missing")
    names = _list(entry["adapters"], f"{where}: adapters")
    _known("adapter", names, adapters, where)
    counts = _counts(entry["n_refs"], min(adapters[name].n_max for name in names), where)
    kinds = _list(entry.get("prompts", "own"), f"{where}: prompts")
    for kind in kinds:
        _one_of(kind, PROMPTS, f"{where}: prompts")
    weights = [None] if "guidance" not in entry else _list(entry["guidance"], f"{where}: guidance")
    weights = [w if w is None else convert(w, "float", f"{where}: guidance") for w in weights]
    lams = _lams(entry["lams"], where) if "lams" in entry else lams
    return [Cell(name, n, lams, kind, w) for name, n, kind, w in product(names, counts, kinds, weights)]


def _can_be_finished(profile: Profile, where: str) -> None:
    """Refuses what would train for hours and then lack what a later stage needs."""
    main = main_run(profile.adapters)
    if not {0.0, 1.0} <= set(main.lams):
        expected = "0 (the floor) and 1 (as trained) were expected among its lams"
        raise ValueError(f"{where}: grid: {main.name} is the main adapter: {expected}, got {list(main.lams)}")
    for name, cell in profile.cells.items():
        if cell.prompts == "reversed":
            _has_its_usual_order(profile.cells, name, f"{where}: cells: {name}")
        if cell.prompts.startswith("occluded") and not profile.settings("01_prepare_data")["draw"]:
            expected = "own, other or reversed was expected where 01_prepare_data has `draw: false`"
            raise ValueError(f"{where}: cells: {name}: only drawn faces can be occluded; {expected}")


def _has_its_usual_order(cells: Mapping[str, Cell], name: str, where: str) -> None:
    """Refuse a cell of reversed prompts without the same in the usual order, both at λ = 1, for 08_compare_slots."""
    reversed_ = cells[name]
    in_order = f"{reversed_.adapter}/{replace(reversed_, prompts='own').name}"
    if in_order not in cells:
        raise ValueError(f"{where}: what it is held against, {in_order}, was expected among the cells too")
    for one in (name, in_order):
        if 1.0 not in cells[one].lams:
            raise ValueError(f"{where}: 1 was expected among the lams of {one}, got {list(cells[one].lams)}")


# --- the checks ---


def _mapping(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected `name: value` pairs, got {value!r}")
    return value


def _known(what: str, names: Iterable, known: Iterable[str], where: str) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: unknown {what} {name!r}{_near(name, known)}")


def _near(name: object, known: list[str]) -> str:
    """The near matches, else all that there are, as the end of a message."""
    close = difflib.get_close_matches(str(name), known)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(known) or 'none'}"


def _one_of(value: object, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise ValueError(f"{where}: expected one of {', '.join(known)}, got {value!r}")


def _within(value: object, low: int, high: int, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{where}: expected a whole number from {low} to {high}, got {value!r}")


def _different(values: Iterable, where: str) -> tuple:
    values = tuple(values)
    if not values:
        raise ValueError(f"{where}: expected at least one")
    if repeated := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"{where}: {repeated[0]} stands there twice")
    return values


def main(arguments: list[str]) -> int:
    """`python -m ipa_lib.workflow.config mini` checks a profile, says what it trains and, last, where its PDF goes."""
    try:
        profile = load_profile(*arguments)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, cell in profile.cells.items():
        print(f"{name}: λ = {', '.join(map(str, cell.lams))}")
    print((paper_dir(profile.name) / "main.pdf").relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:2] or [DEFAULT]))
