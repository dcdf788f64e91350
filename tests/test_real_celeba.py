"""The real annotations and a part of the real pictures, where they are at hand: their known facts come out.

The folder is the one that IPA_REAL_DATA names, else `shared/data` beside the repository. Nothing of it is kept.
"""

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ipa_lib.data import near_duplicates
from ipa_lib.data.captions import captions
from ipa_lib.data.celeba import (
    ATTRIBUTE,
    ATTRIBUTES,
    IDENTITY,
    PARTITION,
    PICTURES,
    load_pictures,
    people_with,
    read_annotations,
    read_celeba,
)
from ipa_lib.data.identity_sets import check_splits
from ipa_lib.files import ROOT

REAL = Path(os.environ.get("IPA_REAL_DATA", ROOT.parent / "shared/data"))
if not (REAL / "celeba_annotations.tar.xz").is_file():
    pytest.skip(f"no real CelebA: celeba_annotations.tar.xz is not in {REAL}", allow_module_level=True)


def unpack(name, folder):
    with tarfile.open(REAL / name) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    return unpack("celeba_annotations.tar.xz", tmp_path_factory.mktemp("annotations"))


@pytest.fixture(scope="module")
def table(annotations):
    return read_annotations(annotations)


@pytest.fixture(scope="module")
def with_pictures(annotations, tmp_path_factory):
    """A function: the annotations together with the pictures of a tar file."""

    def folder(tar):
        root = unpack(tar, tmp_path_factory.mktemp(Path(tar).stem))
        for name in (IDENTITY, PARTITION, ATTRIBUTE):
            os.link(annotations / name, root / name)
        return root

    return folder


@pytest.fixture(scope="module")
def people(with_pictures):
    return with_pictures("celeba_people_64.tar")


def mirrored(annotations, root):
    """The comma-separated spelling of mirrors."""
    for name, header in ((IDENTITY, "image_id,identity"), (PARTITION, "image_id,partition"), (ATTRIBUTE, "image_id")):
        rows = [",".join(line.split()) for line in (annotations / name).read_text().splitlines()]
        rows = [f"{header},{rows[1]}", *rows[2:]] if name == ATTRIBUTE else [header, *rows]
        (root / name).with_suffix(".csv").write_text("\n".join(rows) + "\n")
    return root


def test_the_annotations_give_their_known_facts(table):
    counts = table["person"].value_counts()
    assert (len(table), len(counts), counts.max(), len(ATTRIBUTES)) == (202_599, 10_177, 35, 40)
    assert table["split"].value_counts().to_dict() == {"train": 162_770, "val": 19_867, "test": 19_962}
    assert table.groupby("split")["person"].nunique().to_dict() == {"train": 8_192, "val": 985, "test": 1_000}
    at_least = [people_with(table, n) for n in (2, 3, 5, 9, 12, 20, 30)]
    assert at_least == [10_133, 9_809, 9_343, 8_556, 7_968, 6_348, 2_360]
    shares = 100 * table[["Smiling", "Male", "Eyeglasses"]].mean()
    assert shares.round(2).tolist() == [48.21, 41.68, 6.51]
    check_splits(table)  # no person is in two


def test_the_spelling_of_mirrors_gives_the_same_table(annotations, table, tmp_path):
    assert read_annotations(mirrored(annotations, tmp_path)).equals(table)


def test_no_attribute_pattern_of_the_world_makes_a_strange_portrait(table):
    texts = pd.Series(captions(table, "portrait"))
    assert texts.nunique() == 12_112
    assert not texts.str.contains(r"  |,,|woman.*(?:beard|goatee|mustache)|bald head.*hair").any()
    assert texts.str.split().str.len().max() == 29
    assert texts.str.contains("a gray beard").sum() == 112


def test_pictures_join_their_annotations(people):
    pictures = read_celeba(people)
    assert (len(pictures), pictures.attrs) == (6_296, {"missing": 196_303, "unlisted": 0})
    assert [people_with(pictures, n) for n in (1, 5, 9, 12)] == [299, 278, 255, 243]
    assert pictures.groupby("split")["person"].nunique().to_dict() == {"train": 241, "test": 58}
    known = pd.read_csv(REAL / "celeba_people.csv").sort_values("file", ignore_index=True)
    assert pictures["file"].tolist() == known["file"].tolist()
    assert pictures["person"].tolist() == known["identity"].tolist()
    assert pictures["split"].tolist() == known["partition"].map({0: "train", 1: "val", 2: "test"}).tolist()


def test_packed_pictures_are_the_same_pictures(people, tmp_path):
    shutil.make_archive(tmp_path / PICTURES, "zip", people, PICTURES)
    for name in (IDENTITY, PARTITION, ATTRIBUTE):
        os.link(people / name, tmp_path / name)
    loose, packed = read_celeba(people), read_celeba(tmp_path)
    assert packed.drop(columns="path").equals(loose.drop(columns="path"))
    some = slice(None, None, 50)
    assert np.array_equal(load_pictures(packed["path"][some], 64), load_pictures(loose["path"][some], 64))


def test_the_first_10_000_share_318_photographs_with_the_people(people, with_pictures):
    pictures = read_celeba(with_pictures("celeba_10k_64.tar"))
    assert (len(pictures), people_with(pictures, 1), people_with(pictures, 5)) == (10_000, 5_429, 104)
    assert pictures["file"].tolist() == [f"{number:06d}.jpg" for number in range(1, 10_001)]
    assert len(set(pictures["file"]) & set(os.listdir(people / PICTURES))) == 318


def test_the_window_of_an_official_picture_is_its_64_px_copy(people, with_pictures):
    large = read_celeba(with_pictures("celeba_people_178x218.tar"))
    assert (len(large), people_with(large, 1)) == (800, 50)
    small = [people / PICTURES / file for file in large["file"][:20]]
    error = np.abs(load_pictures(large["path"][:20], 64).astype(float) - load_pictures(small, 64)).mean()
    assert error < 4  # 2.9: other rounds of JPEG and of resampling; a window that is 1 pixel off gives 5.9


def test_near_duplicates_of_the_people_are_few_and_leave_everybody_enough(people):
    pictures = read_celeba(people)
    pairs = near_duplicates.find(pictures)
    kept = near_duplicates.drop(pictures, pairs)
    counts = (kept.attrs["near_duplicates"], kept.attrs["across_people"])
    assert (len(kept), counts) == (6_174, (122, 11))
    assert [people_with(kept, n) for n in (1, 5, 9, 12)] == [299, 277, 255, 243]
