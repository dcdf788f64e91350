"""Types for pydantic whose errors are one line: the place of a value, what was expected, what was got."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    model_validator,
)

T = TypeVar("T")


def expected(words: str, kind: Any, refused: type | tuple = ()) -> Any:
    """A type: `kind`, without values of the types `refused`. Its errors say `expected <words>, got <value>`."""

    def check(value: object, validate: Callable) -> object:
        try:
            if not isinstance(value, refused):
                return validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            if first["loc"] or first["type"] == "value_error":  # of a part of the value, or a line already
                raise
        raise ValueError(f"expected {words}, got {value!r}")

    return Annotated[kind, WrapValidator(check)]


def one_of(words: tuple[str, ...]) -> Any:
    """A type: one of some words."""
    return expected(f"one of {', '.join(words)}", Literal[words])


def whole(low: int, high: int) -> Any:
    """A type: a whole number from `low` to `high`."""
    return expected(f"a whole number from {low} to {high}", Annotated[int, Field(strict=True, ge=low, le=high)])


def different(values: Iterable) -> tuple:
    """The values; ValueError where there is none, or one stands there twice."""
    values = tuple(values)
    if not values:
        raise ValueError("expected at least one")
    if repeated := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"{repeated[0]} stands there twice")
    return values


def _unplaced(value: object, validate: Callable) -> object:
    try:
        return validate(value)
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None


def _as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


UNPLACED = WrapValidator(_unplaced)  # of a list of values: the line shows the wrong one, its place is left out
WHOLE = expected("a whole number", int, refused=(bool, float))
FINITE = expected("a finite number", Annotated[float, Field(allow_inf_nan=False)], refused=bool)
TEXT = expected("text", str)
TRUTH = expected("true or false", bool)
Several = Annotated[tuple[T, ...], BeforeValidator(_as_list), AfterValidator(different), UNPLACED]  # a value, or a list


def pairs(value: object) -> dict:
    """The value; ValueError where it is no mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"expected `name: value` pairs, got {value!r}")
    return value


def refuse_others(what: str, names: Iterable, allowed: Iterable[str]) -> None:
    """Raise a ValueError for the first name that is not allowed; it gives the near matches."""
    allowed = sorted(allowed)
    for name in names:
        if name not in allowed:
            raise ValueError(f"unknown {what} {name!r}{near(name, allowed)}")


def near(name: object, names: list[str]) -> str:
    """The near matches, else all names, as the end of a message."""
    close = difflib.get_close_matches(str(name), names)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(names) or 'none'}"


class Section(BaseModel):
    """Part of a YAML file. Its fields are the keys: those without a default are needed, others are errors."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, values: object) -> dict:
        refuse_others("key", pairs(values), cls.model_fields)
        missing = [name for name, field in cls.model_fields.items() if field.is_required() and name not in values]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return values


@contextmanager
def at(place: str) -> Iterator[None]:
    """Context in which a ValueError, or pydantic's ValidationError, becomes a line that begins with `place`."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{place}: {_line(error)}") from None
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _line(error: ValidationError) -> str:
    """Such as `grid[1]: merge: expected one of …`: the first of the errors."""
    first = error.errors()[0]
    parts = (f"[{part}]" if isinstance(part, int) else f": {part}" for part in (*first["loc"], first["ctx"]["error"]))
    return "".join(parts).removeprefix(": ")
