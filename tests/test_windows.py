"""Windows of partial prompts: what is left of a picture, and where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipa_lib.data import windows


def pictures(count=3, size=8):
    return np.random.default_rng(0).integers(129, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_window_is_left_and_the_rest_is_grey():
    seen = windows.visible(pictures(1), [3], [(2, 4)])[0]
    expected = np.full((8, 8, 3), 128, np.uint8)
    expected[2:5, 4:7] = pictures(1)[0, 2:5, 4:7]
    assert np.array_equal(seen, expected)


@given(size=st.integers(4, 96))
def test_the_shares_are_those_of_the_area(size):
    for share in windows.SHARES.values():
        assert abs(windows.side_of(share, size) - size * share**0.5) <= 0.5


def test_sides_at_64_pixels():
    assert {name: windows.side_of(share, 64) for name, share in windows.SHARES.items()} == {
        "window25": 32, "window14": 24}  # fmt: skip


def test_random_windows_are_inside_and_of_random_size():
    seen = windows.random_windows(pictures(500, 64), np.random.default_rng(1))
    area = (seen != 128).all(-1).sum((1, 2)) ** 0.5
    assert area.min() == 20 and area.max() == 48 and len(np.unique(area)) == 29


def test_a_grid_covers_the_picture():
    side = windows.side_of(windows.SHARES["window14"], 64)
    covered = np.zeros((64, 64), bool)
    for top, left in windows.grid_places(side, 64):
        covered[top : top + side, left : left + side] = True
    assert covered.all() and len(windows.grid_places(side, 64)) == 9


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="more than 0 and at most 1 was expected"):
        windows.side_of(share, 64)


@pytest.mark.parametrize(("side", "place"), [(9, (0, 0)), (3, (6, 0)), (3, (0, -1))])
def test_a_window_beyond_the_picture_is_refused(side, place):
    with pytest.raises(ValueError, match="larger than the picture or outside it, 8 × 8 pixels"):
        windows.visible(pictures(1), [side], [place])
