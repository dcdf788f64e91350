"""Windows of partial prompts: what is left of a picture, and where."""

import numpy as np
import pandas as pd
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


SETS = pd.DataFrame({"person": np.repeat(np.arange(1, 201), 2)})


def test_windows_are_a_matter_of_the_person_and_the_slot_alone():
    for prompts in ("window25", "window14", "complementary", "redundant"):
        eight, four = (windows.prompt_windows(SETS, prompts, n, 64) for n in (8, 4))
        assert np.array_equal(eight[:, :4], four) and np.array_equal(eight[::2], eight[1::2])
        assert np.array_equal(windows.prompt_windows(SETS[100:], prompts, 4, 64), four[100:])
        assert (eight[..., 0] == {"window25": 32}.get(prompts, 24)).all()
        assert (eight[..., 1:] >= 0).all() and (eight[..., 1:].max(-1) + eight[..., 0] <= 64).all()
        assert len(np.unique(four[::2].reshape(-1, 12), axis=0)) >= {"redundant": 9}.get(prompts, 190)
    assert len(np.unique(windows.prompt_windows(SETS, "window14", 1, 64)[..., 1])) > 35  # anywhere


def test_complementary_places_differ_and_redundant_ones_do_not():
    apart, same = (windows.prompt_windows(SETS, prompts, 9, 64) for prompts in ("complementary", "redundant"))
    assert all(len(np.unique(row, axis=0)) == 9 for row in apart)
    assert all(len(np.unique(row, axis=0)) == 1 for row in same)
    assert np.array_equal(apart[:, 0], same[:, 0])  # N = 1 is the same
    with pytest.raises(ValueError, match="^n_refs = 10: complementary has places for 9 prompts$"):
        windows.prompt_windows(SETS, "complementary", 10, 64)


def test_roles_are_the_quarters_in_order():
    assert windows.prompt_windows(SETS[:1], "roles", 4, 64)[0].tolist() == [
        [32, 0, 0], [32, 0, 32], [32, 32, 0], [32, 32, 32]]  # fmt: skip
    whole = pictures(2, 64)
    parts = windows.quarters(whole)
    assert np.array_equal(np.where(parts == 128, 0, parts).sum(1), whole)
    with pytest.raises(ValueError, match="^n_refs = 5: roles has places for 4 prompts$"):
        windows.prompt_windows(SETS, "roles", 5, 64)


@pytest.mark.parametrize("prompts", ["own", "other", "reversed", "foreign1", "occluded50"])
def test_other_conditions_hide_nothing(prompts):
    assert windows.prompt_windows(SETS, prompts, 4, 64) is None
