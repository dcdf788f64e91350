"""Profiles: what differs from the notebooks' own defaults, and the grid of adapters to train.

`configs/<profile>.yaml` holds what differs from the defaults in the parameters cells of the notebooks:

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

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ..files import ROOT, read_yaml
from .checks import TEXT, Section, at, different, expected, near, pairs, refuse_others
from .grid import AXES, AdapterRun, Cell, Entry, Lams, Sweep, main_run
from .parameters import as_text, check_values, parameters
from .paths import CONFIGS, NOTEBOOKS, paper_dir

DEFAULT = "mini"
NAME = r"[\w-]+"  # of a profile
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
        declared = parameters(self.folder / f"{notebook}.ipynb")
        return {name: parameter.default for name, parameter in declared.items()} | self.values(notebook)

    @property
    def max_refs(self) -> int:
        """The most prompts that a cell takes: so many are set aside for each person."""
        return max(cell.n_refs for cell in self.cells.values())

    def flags(self, notebook: str, **more: object) -> str:
        """The same for a shell: `-p people 8 -p merge mean`."""
        values = self.values(notebook, **more).items()
        return " ".join(f"-p {name} {shlex.quote(as_text(value))}" for name, value in values)


def load_profile(name_or_path: str | Path, folder: Path = NOTEBOOKS) -> Profile:
    """Read `configs/<name>.yaml`, or the file of a path that ends in .yaml."""
    path = find_profile(name_or_path)
    own, default = read_yaml(path), read_yaml(CONFIGS / f"{DEFAULT}.yaml")
    with at(path.name):
        settings = Settings.model_validate(_filled(pairs(own or {}), default))
        notebooks = _notebooks(settings.notebooks, folder)
        adapters = _adapters(settings)
        cells = _cells(settings, adapters)
        profile = Profile(path.stem, notebooks, adapters, settings.lams, cells, folder, settings.launch)
        _can_be_finished(profile)
    return profile


def usual_guidance(profile: str) -> float:
    """w of a profile's usual cells; of results without a profile the default of the notebook."""
    if profile in profile_names():
        return load_profile(profile).settings("05_generate")["guidance"]
    return parameters(NOTEBOOKS / "05_generate.ipynb")["guidance"].default


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
        raise ValueError(f"no profile {str(name_or_path)!r} in configs/{near(path.stem, profile_names())}")
    return path


# --- the keys of a file ---


def _with_floor(lams: tuple[float, ...]) -> tuple[float, ...]:
    if not {0.0, 1.0} <= set(lams):
        raise ValueError(f"0 (the floor) and 1 (as trained) were expected among {list(lams)}")
    return lams


class Settings(Section):
    """The keys of `configs/<profile>.yaml`."""

    notebooks: Annotated[dict, BeforeValidator(pairs)] = {}
    grid: expected("a list of at least one entry", Annotated[list[Entry], Field(min_length=1)])
    lams: Annotated[Lams, AfterValidator(_with_floor)]
    cells: expected("a list", list[Sweep]) = []
    launch: TEXT = ""


def _filled(own: dict, default: dict) -> dict:
    """Keys of a profile, with grid, cells and lams of the default where it has no grid, or no lams."""
    from_default = ["lams"] if "grid" in own else ["lams", "grid", "cells"]
    return {key: default[key] for key in from_default if key in default} | own


def _notebooks(settings: dict, folder: Path) -> dict[str, dict[str, object]]:
    refuse_others("notebook", settings, [path.stem for path in folder.glob("*.ipynb")])
    checked = {name: check_values(folder / f"{name}.ipynb", values) for name, values in settings.items()}
    for notebook, name in ((notebook, name) for notebook, values in checked.items() for name in values):
        if source := _passed(notebook, name):
            raise ValueError(f"{notebook}: {name} would have no effect here: it comes from {source}")
    return checked


def _passed(notebook: str, name: str) -> str:
    """Source of a parameter that the Snakefile passes; empty for one that a profile may set."""
    return "the name of the profile" if name == "profile" else PASSED.get(notebook, {}).get(name, "")


def _adapters(settings: Settings) -> dict[str, AdapterRun]:
    runs = [run for entry in settings.grid for run in entry.adapters(settings.lams)]
    with at("grid"):
        names = different(run.name for run in runs)
    return dict(zip(names, runs, strict=True))


def _cells(settings: Settings, adapters: Mapping[str, AdapterRun]) -> dict[str, Cell]:
    cells = _usual_cells(adapters)
    for i, sweep in enumerate(settings.cells):
        with at(f"cells[{i}]"):
            cells += sweep.cells(adapters, settings.lams)
    with at("cells"):
        names = different(f"{cell.adapter}/{cell.name}" for cell in cells)
    return dict(zip(names, cells, strict=True))


def _usual_cells(adapters: Mapping[str, AdapterRun]) -> list[Cell]:
    """Every adapter with the prompts of the people themselves, and a floor for the main one: another person's."""
    main = main_run(adapters)
    usual = [Cell(run.name, n, run.lams) for run in adapters.values() for n in run.n_refs]
    return [*usual, Cell(main.name, max(main.n_refs), (1.0,), "other")]


def _can_be_finished(profile: Profile) -> None:
    """Refuse what would train for hours and then lack what a later stage needs."""
    main = main_run(profile.adapters)
    if not {0.0, 1.0} <= set(main.lams):
        lacking = "0 (the floor) and 1 (as trained) were expected among its lams"
        raise ValueError(f"grid: {main.name} is the main adapter: {lacking}, got {list(main.lams)}")
    for name, run in profile.adapters.items():
        needed = {"mixed": "windows", "roles": "quarters"}.get(run.views)
        if needed and not profile.settings("03_cache_features")[needed]:
            raise ValueError(f"{name}: views: {run.views} needs `{needed}` of 03_cache_features")
    for name, cell in profile.cells.items():
        with at(f"cells: {name}"):
            if cell.prompts == "reversed":
                _has_its_usual_order(profile.cells, name)
            if cell.prompts.startswith("occluded") and not profile.settings("01_prepare_data")["draw"]:
                prompts = "own, other or reversed was expected where 01_prepare_data has `draw: false`"
                raise ValueError(f"only drawn faces can be occluded; {prompts}")


def _has_its_usual_order(cells: Mapping[str, Cell], name: str) -> None:
    """Refuse a cell of reversed prompts without the same in the usual order, both at λ = 1, for 08_compare_slots."""
    reversed_ = cells[name]
    in_order = f"{reversed_.adapter}/{replace(reversed_, prompts='own').name}"
    if in_order not in cells:
        raise ValueError(f"what it is held against, {in_order}, was expected among the cells too")
    for one in (name, in_order):
        if 1.0 not in cells[one].lams:
            raise ValueError(f"1 was expected among the lams of {one}, got {list(cells[one].lams)}")


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
