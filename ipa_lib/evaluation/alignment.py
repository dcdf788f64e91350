"""Faces brought to one place: from five points of a picture to the square crop that identity networks are trained on.

The points are eyes, nose and corners of the mouth, left to right as seen, (x, y) in pixels; a pixel's centre has whole
coordinates. Of pictures in CelebA's frame, and of generated ones, which are in its window, they are known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..data.celeba import FRAME, WINDOW

SIDE = 112  # pixels of a crop
# https://github.com/deepinsight/insightface/blob/master/python-package/insightface/utils/face_align.py
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
# In the 178 x 218 frame, whose pictures are aligned to a pixel or two. They are read as taken in 64 x 64 windows, where
# the centre of a pixel lies further by half of what it is wider: people are told apart better so, in both sizes.
CELEBA = np.array([[69.15, 110.57], [108.47, 111.52], [88.53, 135.18], [70.32, 151.88], [105.26, 152.76]])
CELEBA = CELEBA + (148 / 64 - 1) / 2


def known_points(points: str | Sequence, width: int, height: int) -> np.ndarray:
    """float [5,2] in pixels of a width × height picture.

    points: "celeba" for pictures of 178 × 218 and for squares, which show the window of `celeba.load_picture`; else
    five (x, y) as shares 0…1 of width and height. ValueError for another word or shape, or another size of "celeba".
    """
    if isinstance(points, str):
        return _in_celebas_frame(points, width, height)
    shares = np.asarray(points, dtype=float)
    if shares.shape != (5, 2) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError('points: "celeba" or five [x, y] from 0 to 1 were expected, eyes, nose, corners of the mouth')
    return shares * [width, height] - 0.5


def _in_celebas_frame(points: str, width: int, height: int) -> np.ndarray:
    if points != "celeba":
        raise ValueError(f'points: "celeba" or five [x, y] from 0 to 1 were expected, got {points!r}')
    if (width, height) == FRAME:
        return CELEBA
    if width != height:
        raise ValueError(f"points: celeba is for squares and {FRAME[0]} x {FRAME[1]} pixels, not {width} x {height}")
    left, top, right, _ = WINDOW
    return (CELEBA + 0.5 - [left, top]) * width / (right - left) - 0.5


# Umeyama 1991, https://doi.org/10.1109/34.88573; in the plane a similarity is z → a z + b of complex numbers
def similarity(points: np.ndarray, onto: np.ndarray) -> tuple[complex, complex]:
    """(a, b) that take `points` [5,2] nearest to `onto` [5,2] in the least squares; |a| is the scale."""
    z, w = points @ [1, 1j], onto @ [1, 1j]
    centred = z - z.mean()
    a = (centred.conj() * (w - w.mean())).sum() / (abs(centred) ** 2).sum()
    return a, w.mean() - a * z.mean()


def crop(picture: np.ndarray, points: np.ndarray) -> torch.Tensor:
    """float [3,112,112] in 0…255 of a uint8 picture [H,W,3] with its face at `points` [5,2]; black beyond the edges.

    Bilinear; a picture that has to become smaller is shrunk before, so that no pixel is passed over.
    """
    x = torch.as_tensor(picture).permute(2, 0, 1)[None].float()                # [1,3,H,W]
    x, points = _shrunk(x, points, abs(similarity(points, TEMPLATE)[0]))
    a, b = similarity(points, TEMPLATE)
    v, u = np.mgrid[:SIDE, :SIDE]
    z = (u + 1j * v - b) / a                                                   # [112,112] where each pixel comes from
    h, w = x.shape[-2:]
    grid = np.stack([(2 * z.real + 1) / w - 1, (2 * z.imag + 1) / h - 1], -1)  # [112,112,2] edges at −1 and 1
    return F.grid_sample(x, torch.as_tensor(grid[None], dtype=x.dtype), align_corners=False)[0]


def _shrunk(x: torch.Tensor, points: np.ndarray, scale: float) -> tuple[torch.Tensor, np.ndarray]:
    if scale >= 1:
        return x, points
    h, w = x.shape[-2:]
    size = max(1, round(h * scale)), max(1, round(w * scale))
    x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    return x, (points + 0.5) * [size[1] / w, size[0] / h] - 0.5
