"""Windows: the part of a picture that stays visible, a square; the rest is mid-grey.

What one picture tells of a person is controlled by it: an experiment with partial prompts asks what N of them tell
together. A place is the upper left corner (top, left) of the square, in pixels. No torch.

Prompt conditions, the words of `choices.PROMPTS` that hide a part (N prompts of a person, S rows of a table of sets):

    window25, window14  a quarter, 14 % of each prompt at a random place
    complementary       14 % of each, at N different places of a grid that covers the picture
    redundant           14 % of each, at the same place of that grid N times
    roles               prompt p shows quarter p of the picture, from the upper left to the lower right
"""
from __future__ import annotations

import numpy as np
import pandas as pd

from ..choices import MOST_PROMPTS

GREY = 128
SHARES = {"window25": 0.25, "window14": 0.140625}  # of a picture's area: 32 × 32 and 24 × 24 of 64 × 64 pixels
GRID = 3  # places a side, of windows of 14 %, which cover the picture
PLACES = 14  # the stream of random numbers of the places
TRAINED_SIDES = (5 / 16, 3 / 4)  # of a picture's side, least and most, of a window in training


def side_of(share: float, size: int) -> int:
    """Side of a square of `share` of the area of a picture of `size` × `size` pixels.

    ValueError unless 0 < share ≤ 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"window: a share of {share} of the picture; more than 0 and at most 1 was expected")
    return max(1, round(size * share**0.5))


def visible(pictures: np.ndarray, sides: np.ndarray, places: np.ndarray) -> np.ndarray:
    """uint8 `pictures` [M,H,W,3] of which only a window is left: `sides` [M] pixels wide, at `places` [M,2].

    ValueError where a window reaches beyond its picture.
    """
    height, width = pictures.shape[1:3]
    sides, places = np.asarray(sides), np.asarray(places)
    if (places < 0).any() or ((places + sides[:, None]) > (height, width)).any():
        raise ValueError(f"window: larger than the picture or outside it, {width} × {height} pixels")
    row, column = np.arange(height), np.arange(width)
    top, left = places[:, :1], places[:, 1:]
    rows = (row >= top) & (row < top + sides[:, None])                                              # [M,H]
    columns = (column >= left) & (column < left + sides[:, None])                                   # [M,W]
    return np.where((rows[:, :, None] & columns[:, None])[..., None], pictures, np.uint8(GREY))


def random_windows(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pictures through a window each, of a random side (`TRAINED_SIDES`) at a random place."""
    size = pictures.shape[1]
    low, high = (round(share * size) for share in TRAINED_SIDES)
    sides = rng.integers(low, high + 1, len(pictures))                                              # [M]
    return visible(pictures, sides, rng.integers(0, (size - sides + 1)[:, None], (len(pictures), 2)))


def grid_places(side: int, size: int, count: int = GRID) -> np.ndarray:
    """The places [count²,2] of a grid of windows, row by row, evenly from edge to edge of a picture of `size`."""
    steps = np.linspace(0, size - side, count).round().astype(int)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)


def quarters(pictures: np.ndarray) -> np.ndarray:
    """uint8 [M,4,H,W,3]: the pictures [M,H,W,3] through each of their four quarters, as `roles` shows them."""
    size = pictures.shape[1]
    side = side_of(0.25, size)
    parts = [visible(pictures, np.full(len(pictures), side), np.tile(place, (len(pictures), 1)))
             for place in grid_places(side, size, 2)]
    return np.stack(parts, 1)


def prompt_windows(sets: pd.DataFrame, prompts: str, n_refs: int, size: int) -> np.ndarray | None:
    """(side, top, left) in pixels of the window of each of the first `n_refs` prompts of each set: int [S,n_refs,3].

    prompts: a word of `choices.PROMPTS`; None for those that hide nothing. Where the window is depends on the person
    and the condition alone: samples of a person share their prompts, and fewer prompts are the first of more.
    `complementary` and `redundant` at N = 1 are the same. ValueError for more prompts than there are places.
    """
    if n_refs > MOST_PROMPTS.get(prompts, n_refs):
        raise ValueError(f"n_refs = {n_refs}: {prompts} has places for {MOST_PROMPTS[prompts]} prompts")
    draw = {"window25": _anywhere, "window14": _anywhere, "complementary": _on_grid, "redundant": _on_grid,
            "roles": _quarter}.get(prompts)  # fmt: skip
    if draw is None:
        return None
    side = side_of({"window25": 0.25, "roles": 0.25}.get(prompts, SHARES["window14"]), size)
    people = sets["person"].to_numpy()
    places = {person: draw(person, prompts, n_refs, side, size) for person in set(people.tolist())}
    return np.stack([np.insert(places[person], 0, side, axis=1) for person in people.tolist()])


def _anywhere(person: int, prompts: str, n: int, side: int, size: int) -> np.ndarray:
    return np.random.default_rng([PLACES, person]).integers(0, size - side + 1, (n, 2))


def _on_grid(person: int, prompts: str, n: int, side: int, size: int) -> np.ndarray:
    order = np.random.default_rng([PLACES, person, GRID]).permutation(GRID**2)
    return grid_places(side, size)[order[:n] if prompts == "complementary" else np.repeat(order[:1], n)]


def _quarter(person: int, prompts: str, n: int, side: int, size: int) -> np.ndarray:
    return grid_places(side, size, 2)[:n]
