"""Windows: the part of a picture that stays visible, a square; the rest is mid-grey.

What one picture tells of a person is controlled by it: an experiment with partial prompts asks what N of them tell
together. A place is the upper left corner (top, left) of the square, in pixels. No torch.
"""
from __future__ import annotations

import numpy as np

GREY = 128
SHARES = {"window25": 0.25, "window14": 0.140625}  # of a picture's area: 32 × 32 and 24 × 24 of 64 × 64 pixels
GRID = 3  # places a side of a fixed grid, which cover the picture
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


def grid_places(side: int, size: int) -> np.ndarray:
    """The places [GRID²,2] of a grid of windows, row by row, evenly from edge to edge of a picture of `size`."""
    steps = np.linspace(0, size - side, GRID).round().astype(int)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
