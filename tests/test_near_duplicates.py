"""The search against a plain loop, on noise and on its resized, recompressed and brightened copies."""

import imagehash
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipa_lib.data.celeba import load_picture
from ipa_lib.data.near_duplicates import (
    BLOCK,
    NONE,
    _close_pairs,
    copies,
    drop,
    find,
    hashes,
    named,
    read_pairs,
    write_pairs,
)


def blobs(seed, side=128):
    """A picture with structure at every scale: no two seeds look alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(tmp_path):
    """Person 1: a picture, its small JPEG, another one; person 2: a brighter copy of the first; person 3: his own."""
    first = blobs(0)
    copies = {
        "1/a.png": first,
        "1/b.jpg": first.resize((50, 50)),
        "1/c.png": blobs(1),
        "2/a.png": first.point(lambda value: value * 0.8 + 30),
        "3/a.png": blobs(2),
    }
    for file, image in copies.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        image.save(tmp_path / file)
    table = pd.DataFrame({"file": list(copies), "path": [str(tmp_path / file) for file in copies]})
    table.attrs = {"missing": 3}
    return table.assign(person=[int(file[0]) for file in copies])


def test_copies_are_found_and_others_are_not(pictures):
    pairs = find(pictures)
    assert pairs.columns.tolist() == ["first", "second", "distance", "same_person"]
    assert pairs[["first", "second"]].values.tolist() == [[0, 1], [0, 3], [1, 3]]
    assert pairs["same_person"].tolist() == [True, False, False]
    assert pairs["distance"].max() <= 2


def test_byte_identical_pictures_of_a_person_are_pairs_of_distance_0(tmp_path):
    contents = {"b.jpg": (1, "x"), "a.jpg": (1, "x"), "c.jpg": (2, "x"), "d.jpg": (1, "y"), "e.jpg": (1, "x")}
    people, hashed = zip(*contents.values(), strict=True)
    table = pd.DataFrame({"file": list(contents), "person": people, "sha256": hashed})
    pairs = copies(table)
    assert pairs.values.tolist() == [["b.jpg", "a.jpg", 0, True], ["b.jpg", "e.jpg", 0, True]]
    write_pairs(pd.concat([pairs, NONE]), tmp_path / "pairs.csv")
    assert read_pairs(tmp_path / "pairs.csv").equals(pairs)
    assert copies(table.iloc[1:4]).equals(NONE)


def test_within_a_person_the_first_is_kept_across_people_both(pictures):
    kept = drop(pictures, find(pictures))
    assert kept["file"].tolist() == ["1/a.png", "1/c.png", "2/a.png", "3/a.png"]
    assert kept.index.tolist() == [0, 1, 2, 3]
    assert kept.attrs == {"missing": 3, "near_duplicates": 1, "across_people": 2}
    assert not find(kept)["same_person"].any()


def test_rows_are_places_whatever_the_index_says(pictures):
    moved = pictures.set_index(pd.Index([40, 30, 20, 10, 0]))
    assert find(moved).equals(find(pictures))
    assert drop(moved, find(moved)).equals(drop(pictures, find(pictures)))


def test_without_pairs_everything_is_kept(pictures):
    others = pictures.iloc[[0, 2, 4]].reset_index(drop=True)
    pairs = find(others)
    assert len(pairs) == 0 and pairs.columns.tolist() == ["first", "second", "distance", "same_person"]
    assert drop(others, pairs).equals(others)
    assert len(find(others[:0])) == 0


def test_pairs_are_kept_by_the_names_of_their_files(pictures, tmp_path):
    table = pictures.assign(file=["NA", "null", "007", "1.0", "a,b"])  # names that a reader could take for others
    for pairs in (named(table, find(table)), NONE):
        write_pairs(pairs, tmp_path / "pairs.csv")
        assert read_pairs(tmp_path / "pairs.csv").astype(pairs.dtypes).equals(pairs)
    names = named(table, find(table))[["first", "second"]].values.tolist()
    assert names == [["NA", "null"], ["NA", "1.0"], ["null", "1.0"]]


def test_a_chain_keeps_its_first_picture_alone():
    table = pd.DataFrame({"file": list("abcd"), "person": 1})
    chain = pd.DataFrame({"first": [0, 1], "second": [1, 2], "distance": 2, "same_person": True})
    assert drop(table, chain)["file"].tolist() == ["a", "d"]


def test_hashes_hold_the_bits_of_imagehash(pictures):
    codes = hashes(pictures["path"])
    assert codes.dtype == np.uint64 and codes.shape == (5,)
    images = [imagehash.phash(Image.fromarray(load_picture(path, 32))) for path in pictures["path"]]
    distances = np.bitwise_count(codes[:, None] ^ codes)  # [M, M]
    assert distances.tolist() == [[one - other for other in images] for one in images]
    assert distances[0, 2] > 16


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 2 * BLOCK + 9), st.integers(0, 30), st.integers(0, 30))
def test_blocks_find_what_a_plain_loop_finds(seed, count, limit, other):
    rng = np.random.default_rng(seed)
    codes, people = rng.integers(0, 2**64, count, np.uint64), rng.integers(0, 9, count)
    found = np.concatenate(list(_close_pairs(codes, people, limit, other)), axis=1).T.tolist()
    numbers = codes.tolist()
    expected = [
        [i, j, distance]
        for i in range(count)
        for j in range(i + 1, count)
        if (distance := (numbers[i] ^ numbers[j]).bit_count()) <= (limit if people[i] == people[j] else other)
    ]
    assert found == expected


@pytest.mark.parametrize("limits", [{"limit": -1}, {"limit": 65}, {"limit_across": 65}])
def test_a_limit_out_of_range_is_named(pictures, limits):
    (name, value), = limits.items()
    with pytest.raises(ValueError, match=f"^{name} = {value}; 0 to 64 bits was expected$"):
        find(pictures, **limits)


def test_an_unreadable_picture_is_named(pictures, tmp_path):
    (tmp_path / "1/c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="c.png: not a readable picture"):
        find(pictures)
