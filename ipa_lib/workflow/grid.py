"""The grid of a profile: adapters to train, cells to generate, and the entries of a YAML file that name them.

A cell is the pictures of one adapter under one condition. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from ..choices import FOREIGN, MERGES, MOST_PROMPTS, ORDERS, PROJECTIONS, PROMPTS, SLOTS, TARGETS, VIEWS
from .checks import (
    FINITE,
    TEXT,
    TRUTH,
    UNPLACED,
    WHOLE,
    Section,
    Several,
    different,
    expected,
    one_of,
    refuse_others,
    whole,
)

MAX_PROMPTS = 32  # CelebA has at most 35 pictures of a person
AXES = ("merge", "slots", "order", "target", "views", "n_max", "seed")  # of a grid: an adapter for each combination


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
    views: str = "whole"

    @property
    def name(self) -> str:
        """Such as `mean-own-n4r-s0`; `r` says that the number of prompts was random in training.

        An order, a projection, a target or views other than the default stand in it too: `mean-own-norm-n4r-s0`.
        """
        settings = (self.order, self.projection, self.target, self.views)
        others = [value for value in settings if value in ("norm", *PROJECTIONS[1:], "shown", *VIEWS[1:])]
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


def main_run(adapters: Mapping[str, AdapterRun]) -> AdapterRun:
    """The one that the paper calls the main adapter: the first of a grid that serves every N, else the first."""
    return next((run for run in adapters.values() if run.random_n), next(iter(adapters.values())))


# --- the entries of a file ---


def _up_to(n_max: int, n_refs: Sequence[int]) -> None:
    for n in n_refs:
        if not 1 <= n <= n_max:
            raise ValueError(f"n_refs: expected a whole number from 1 to {n_max}, got {n}")


def refuse_prompts(n: int, prompts: str) -> None:
    """ValueError where a condition cannot be had of `n` prompts."""
    least = int(prompts.removeprefix("foreign")) if prompts in FOREIGN else 1
    most = MOST_PROMPTS.get(prompts, n)
    if not least <= n <= most:
        expected = f"at least {least}" if n < least else f"at most {most}"
        raise ValueError(f"n_refs: expected {expected} for {prompts}, got {n}")


def _ascending(lams: tuple[float, ...]) -> tuple[float, ...]:
    return different(sorted(lams))


LAM = expected("λ ≥ 0", Annotated[FINITE, Field(ge=0)])
Lams = Annotated[expected("list[float]", tuple[LAM, ...]), AfterValidator(_ascending), UNPLACED]


class Entry(Section):
    """An entry of `grid`: an adapter for each combination of the lists of its axes."""

    merge: Several[one_of(MERGES)]
    slots: Several[one_of(SLOTS)] = ("own",)
    order: Several[one_of(ORDERS)] = ("given",)
    target: Several[one_of(TARGETS)] = ("left_out",)
    views: Several[one_of(VIEWS)] = ("whole",)
    n_max: Several[whole(1, MAX_PROMPTS)]
    seed: Several[whole(0, 2**31 - 1)] = (0,)
    random_n: TRUTH = False
    n_refs: Several[WHOLE] = ()  # without it n_max
    lams: Lams = ()  # without it the profile's

    @model_validator(mode="after")
    def _trained(self) -> Entry:
        _up_to(min(self.n_max), self.n_refs)
        if "pool" in self.merge and "own" in self.slots:
            raise ValueError("slots: expected shared or marked for merge: pool, got own")
        if "roles" in self.views and max(self.n_max) > (most := MOST_PROMPTS["roles"]):
            raise ValueError(f"n_max: expected at most {most} for views: roles, got {max(self.n_max)}")
        return self

    def adapters(self, lams: tuple[float, ...]) -> list[AdapterRun]:
        """The product of the lists; `lams` are those of the profile."""
        points = [dict(zip(AXES, p, strict=True)) for p in product(*(getattr(self, axis) for axis in AXES))]
        same = {"random_n": self.random_n, "lams": self.lams or lams}
        return [AdapterRun(**point, **same, n_refs=self.n_refs or (point["n_max"],)) for point in points]


class Sweep(Section):
    """An entry of `cells`: a cell for each combination of its lists."""

    adapters: Several[TEXT]
    n_refs: Several[WHOLE]
    prompts: Several[one_of(PROMPTS)] = ("own",)
    guidance: Several[FINITE | None] = (None,)
    lams: Lams = ()  # without it the profile's

    def cells(self, adapters: Mapping[str, AdapterRun], lams: tuple[float, ...]) -> list[Cell]:
        """The product of the lists; `adapters` and `lams` are those of the profile."""
        refuse_others("adapter", self.adapters, adapters)
        _up_to(min(adapters[name].n_max for name in self.adapters), self.n_refs)
        for n, prompts in product(self.n_refs, self.prompts):
            refuse_prompts(n, prompts)
        points = product(self.adapters, self.n_refs, self.prompts, self.guidance)
        return [Cell(adapter, n, self.lams or lams, prompts, w) for adapter, n, prompts, w in points]
