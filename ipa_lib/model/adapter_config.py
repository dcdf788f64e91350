"""What an adapter is built from: a dataclass, and the metadata of a file, where all values are strings."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any, TypedDict

from ..choices import SLOTS
from .merge import MERGES, ORDERS
from .projection import PROJECTIONS

READERS: dict[str, Callable[[str], Any]] = {
    "layers": json.loads, "embed_dim": int, "text_dim": int, "n_slots": int, "tokens": int}  # fmt: skip
EARLIER = {"projection": "linear", "order": "given"}  # what files were before there was a choice


class Choices(TypedDict, total=False):
    """How prompts become keys and values: arguments of `AdapterConfig` that no base and no published file tells."""

    merge: str
    slots: str
    order: str


class Tokens(TypedDict, total=False):
    """How an embedding becomes tokens: arguments of `AdapterConfig` that a published file tells."""

    projection: str
    tokens: int


class Options(Choices, Tokens, total=False):
    """All arguments of `AdapterConfig` that have a default."""


@dataclass(frozen=True)
class AdapterConfig:
    """What a `MultiImageAdapter` is built from. ValueError that names the argument whose value is invalid.

    `layers`: name -> inner width of each cross-attention layer.  `embed_dim`, `text_dim`: E, D.  `n_slots`: N.
    `merge`: a key of `merge.MERGES`.  `slots`: "own" has 2N matrices a layer, "shared" two,
    "marked" two and a vector for each slot, which is added to its tokens. `pool` has no own ones: the tokens that it
    makes belong to no slot.
    `tokens`: T; left out or None: as many as the published projection has.  `projection`: a key of `PROJECTIONS`.
    `order`: a key of `merge.ORDERS`, which prompt goes to which slot.
    """

    layers: dict[str, int]
    embed_dim: int
    text_dim: int
    n_slots: int
    merge: str = "mean"
    slots: str = "own"
    tokens: int = None  # type: ignore[assignment]  # a number once the object is made
    projection: str = "linear"
    order: str = "given"

    def __post_init__(self) -> None:
        refuse_choices(merge=(self.merge, MERGES), slots=(self.slots, SLOTS),
                       projection=(self.projection, PROJECTIONS), order=(self.order, ORDERS))  # fmt: skip
        if MERGES[self.merge].encoder and self.slots == "own":
            raise ValueError(f"slots: shared or marked was expected for the merge {self.merge}; got 'own'")
        if self.tokens is None:
            object.__setattr__(self, "tokens", PROJECTIONS[self.projection].tokens)
        refuse_sizes(self.layers, embed_dim=self.embed_dim, text_dim=self.text_dim, n_slots=self.n_slots,
                     tokens=self.tokens)  # fmt: skip

    def metadata(self) -> dict[str, str]:
        """All values as the strings of a file's metadata; the layers as JSON."""
        return {name: json.dumps(x) if name == "layers" else str(x) for name, x in asdict(self).items()}

    @classmethod
    def pop(cls, notes: dict[str, str]) -> AdapterConfig:
        """Take the strings of `metadata` out of a file's `notes`, where remarks stay. ValueError that names a key."""
        notes |= {name: x for name, x in EARLIER.items() if name not in notes}
        names = [field.name for field in fields(cls)]
        if missing := sorted(set(names) - notes.keys()):
            raise ValueError(f"not an adapter of this package, the metadata lack {', '.join(missing)}")
        return cls(**{name: read(name, notes.pop(name)) for name in names})


def read(name: str, text: str) -> Any:
    """A value of `AdapterConfig` from its string in a file; ValueError that names it."""
    try:
        return READERS.get(name, str)(text)
    except ValueError:
        raise ValueError(f"{name} cannot be read from {text!r}") from None


def refuse_choices(**choices: tuple[str, Collection[str]]) -> None:
    """ValueError that names the argument whose value is not among those known."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name}: one of {', '.join(known)}; got {value!r}")


def refuse_sizes(layers: dict[str, int], **sizes: int) -> None:
    """ValueError that names the size which is no whole number from 1."""
    if not isinstance(layers, dict) or not layers:
        raise ValueError(f"layers: a width for the name of each cross-attention layer; got {layers!r}")
    for name, size in {**sizes, **layers}.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name}: a whole number, at least 1; got {size!r}")
