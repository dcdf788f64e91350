"""Which reader a folder gets, who is chosen, and a table that comes back as it was stored."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ipa_lib import files
from ipa_lib.data import near_duplicates, picture_table
from ipa_lib.data.celeba import read_celeba
from ipa_lib.data.folders import read_folders
from ipa_lib.workflow import paths, runs


@pytest.fixture
def people(tmp_path):
    for file in ("Ada/1.png", "Ada/2.png", "NA/1.png", "007/null.png"):
        (tmp_path / "people" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), "teal").save(tmp_path / "people" / file)
    return tmp_path / "people"


def table(counts):
    """`counts[person] = (split, pictures)` as rows in mixed order."""
    rows = [(f"{person}/{i}.png", f"/p/{person}/{i}.png", person, split)
            for person, (split, pictures) in counts.items() for i in range(pictures)]  # fmt: skip
    return pd.DataFrame(rows, columns=picture_table.COLUMNS).sample(frac=1, random_state=0, ignore_index=True)


def test_the_layout_says_which_reader(own_celeba, people, tmp_path):
    assert picture_table.read(own_celeba).equals(read_celeba(own_celeba))
    assert picture_table.read(people).equals(read_folders(people))
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; CelebA's files or a folder for each person"):
        picture_table.read(tmp_path / "nowhere")
    (own_celeba / "identity_CelebA.txt").unlink()
    with pytest.raises(FileNotFoundError, match="identity_CelebA.txt"):  # CelebA with a file missing, not one person
        picture_table.read(own_celeba)


def test_people_with_too_few_pictures_go_and_the_order_of_rows_stays():
    pictures = table({1: ("train", 3), 2: ("train", 2), 3: ("val", 4), 4: ("test", 1)})
    chosen = picture_table.choose(pictures, 3)
    assert set(chosen.person) == {1, 3} and len(chosen) == 7
    assert chosen.equals(pictures[pictures.person.isin([1, 3])].reset_index(drop=True))
    with pytest.raises(ValueError, match="nobody has 5 pictures; the most are 4"):
        picture_table.choose(pictures, 5)


@given(st.integers(1, 60), st.integers(0, 99))
def test_each_split_gives_the_same_share_and_nobody_loses_a_picture(wanted, seed):
    splits = ["train"] * 8 + ["val", "test"]
    pictures = table({i: (splits[i % 10], 2 + i % 3) for i in range(50)})
    chosen = picture_table.choose(pictures, 2, wanted, seed)
    kept = chosen.groupby("split")["person"].nunique()
    assert kept.min() >= 1 and abs(kept.sum() - min(wanted, 50)) <= 3  # rounding, and nobody's split is empty
    assert kept["train"] >= 3 * max(kept["val"], kept["test"]) or wanted < 10
    counts = pictures.person.value_counts()
    assert chosen.person.value_counts().sort_index().equals(counts[sorted(chosen.person.unique())])
    assert picture_table.choose(pictures, 2, wanted, seed).equals(chosen)


def test_other_seeds_take_other_people():
    pictures = table({i: ("train", 2) for i in range(40)})
    drawn = [frozenset(picture_table.choose(pictures, 2, 10, seed).person) for seed in range(5)]
    assert len(set(drawn)) == 5 and all(len(one) == 10 for one in drawn)


def test_a_part_without_validation_people_gets_some_of_the_training_people():
    pictures = table({i: ("train" if i < 20 else "test", 3 - i % 2) for i in range(25)})
    divided = picture_table.with_validation(pictures, 3, seed=1)
    moved = set(divided[divided.split == "val"].person)
    assert len(moved) == 2 and moved < set(range(0, 20, 2)) and divided.drop(columns="split").equals(
        pictures.drop(columns="split"))
    assert divided.equals(picture_table.with_validation(pictures, 3, seed=1))
    assert divided[~divided.person.isin(moved)].equals(pictures[~pictures.person.isin(moved)])
    assert picture_table.with_validation(divided, 3) is divided
    alone = table({1: ("train", 3), 2: ("test", 3), 4: ("train", 2)})
    assert picture_table.with_validation(alone, 3) is alone  # 4 could not be taken and left to train with


def test_a_stored_table_comes_back_with_names_as_they_were(people, tmp_path):
    pictures = read_folders(people).assign(caption=["", "NA", "null", 'a photo of Ada, "the first"'])
    picture_table.write_table(pictures, tmp_path / "pictures.csv")
    pd.testing.assert_frame_equal(picture_table.read_table(tmp_path / "pictures.csv"), pictures)


def test_attributes_and_paths_in_the_repository_come_back(own_celeba, tmp_path, monkeypatch):
    for module in (picture_table, files):  # one reads with it, the other writes
        monkeypatch.setattr(module, "ROOT", own_celeba.parent)
    pictures = read_celeba(own_celeba)
    picture_table.write_table(pictures, tmp_path / "pictures.csv")
    assert "celeba/img_align_celeba/000001.jpg" in (tmp_path / "pictures.csv").read_text()
    assert str(own_celeba) not in (tmp_path / "pictures.csv").read_text()
    back = picture_table.read_table(tmp_path / "pictures.csv")
    assert back.equals(pictures) and back["Smiling"].dtype == np.bool_


def test_a_table_that_is_absent_or_lacks_a_column_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="pictures.csv: no such table; run notebooks/01_prepare_data"):
        picture_table.read_table(tmp_path / "pictures.csv")
    (tmp_path / "pictures.csv").write_text("file,path,split\na,b,train\n")
    with pytest.raises(ValueError, match="pictures.csv: the column person is missing; expected file, path, person"):
        picture_table.read_table(tmp_path / "pictures.csv")


# ---- the notebook ------------------------------------------------------------------------------------------


@pytest.fixture
def prepared():
    """Function(folder, more parameters) → the table and the summary that 01_prepare_data leaves."""
    here, results = paths.data_dir("read"), paths.results_dir("read")

    def run(folder, **values):
        here.parent.mkdir(exist_ok=True)
        here.unlink(missing_ok=True)
        here.symlink_to(folder)
        values = {"profile": "read", "draw": False, "people": 0} | values
        runs.execute(paths.NOTEBOOKS / "01_prepare_data.ipynb", results / "01.ipynb", values, progress=False)
        return picture_table.read_table(results / "pictures.csv"), json.loads((results / "data.json").read_text())

    yield run
    here.unlink(missing_ok=True)
    shutil.rmtree(results, ignore_errors=True)


def test_the_notebook_reads_celeba(prepared, tiny_celeba):
    found, summary = prepared(tiny_celeba, max_refs=2, style="portraits", near=0)
    assert len(found) == 72 and found.person.nunique() == 12 and found.caption.nunique() > 40
    assert (summary["people_train"], summary["people_val"], summary["people_test"]) == (8, 2, 2)
    assert (summary["near_duplicates"], summary["near_pairs_across"]) == (0, 0)
    assert [summary[f"people_with_{n}"] for n in (2, 3, 5)] == [12, 12, 12]


def test_the_notebook_reads_a_few_people_of_ones_own(prepared, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("Ada", "Bo Li", "Cem"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8)).save(tmp_path / name / f"{i} .png")
    found, summary = prepared(tmp_path, max_refs=3)
    assert found.groupby("person").size().tolist() == [4, 4, 4] and set(found.caption) == {"a photo of a person"}
    assert (summary["people"], summary["people_with_4"], summary["people_with_7"]) == (3, 3, 0)
    assert "near_duplicates" not in summary  # nobody looked
    assert near_duplicates.read_pairs(paths.results_dir("read") / "near_duplicates.csv").equals(near_duplicates.NONE)


def test_the_notebook_keeps_how_many_pictures_look_alike(prepared, tmp_path):
    """Ada's fifth is her first in another size, and so is Cem's: one to drop, and Cem's two pairs across people."""
    rng = np.random.default_rng(0)
    for name in ("Ada", "Bo Li", "Cem"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    first = Image.open(tmp_path / "Ada" / "0.png")
    for name in ("Ada", "Cem"):
        first.resize((40, 40), Image.Resampling.NEAREST).save(tmp_path / name / "4.png")
    found, summary = prepared(tmp_path, max_refs=3, near=2)
    assert (summary["near_duplicates"], summary["near_pairs_across"], summary["people_with_4"]) == (1, 2, 3)
    assert len(found) == 13
    alike = near_duplicates.read_pairs(paths.results_dir("read") / "near_duplicates.csv")
    found = {frozenset(pair): same for *pair, same in alike[["first", "second", "same_person"]].values.tolist()}
    ada, again, cem = "Ada/0.png", "Ada/4.png", "Cem/4.png"
    assert found == {frozenset({ada, again}): True, frozenset({ada, cem}): False, frozenset({again, cem}): False}


def everyone():
    """Five training people, the last two with one picture, a test person, and one whom the experiment validates."""
    people = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 6, 7, 7]
    split = ["train"] * 11 + ["test"] * 2 + ["train"] * 2
    return pd.DataFrame({"file": [f"{i}.jpg" for i in range(15)], "person": people, "split": split})


def test_a_base_learns_from_training_people_whom_the_experiment_does_not_keep_for_itself():
    table = everyone()
    taking_part = table[table.person.isin([1, 2, 3, 7])].assign(split=lambda t: t.split.mask(t.person == 7, "val"))
    kept = picture_table.for_training(table, taking_part, near_duplicates.NONE)
    assert kept.equals(table[table.person <= 5])


def test_a_base_sees_no_photograph_twice_and_none_of_an_evaluated_person():
    """0 and 1 are one photograph of person 1; 3 of person 2 shows who is tested, 10 of person 5 who is validated; 6 and
    9 are of two training people, and which label is wrong nobody knows."""
    table = everyone()
    taking_part = table[table.person.isin([1, 2, 6, 7])].assign(split=lambda t: t.split.mask(t.person == 7, "val"))
    pairs = pd.DataFrame({"first": [0, 3, 6, 10, 11], "second": [1, 12, 9, 13, 12], "distance": 1})
    alike = near_duplicates.named(table, pairs.assign(same_person=[True, False, False, False, True]))
    files = picture_table.for_training(table, taking_part, alike).file.tolist()
    assert files == [f"{i}.jpg" for i in (0, 2, 4, 5, 6, 7, 8, 9)]


def test_a_base_does_not_learn_from_a_copy_that_the_experiment_leaves_out():
    """1 is a copy of 0, which looks like a picture of an evaluated person: pHash compares 0 alone with it."""
    table = everyone()
    table["sha256"] = ["0", "0", *table["file"][2:]]
    taking_part = table[table.person.isin([1, 6, 7]) & (table.index != 1)]
    taking_part = taking_part.assign(split=taking_part.split.mask(taking_part.person == 7, "val"))
    looking = pd.DataFrame({"first": [0], "second": [12], "distance": 1, "same_person": False})
    alike = pd.concat([near_duplicates.copies(table), near_duplicates.named(table, looking)])
    files = picture_table.for_training(table, taking_part, alike).file
    assert files.tolist() == table.file[(table.person <= 5) & (table.index > 1)].tolist()


def test_judges_are_set_apart_from_those_who_take_no_part():
    table = picture_table.for_training(everyone(), everyone().head(9), near_duplicates.NONE)
    for seed in range(5):
        rest, apart = picture_table.set_apart(table, 2, table.head(9), seed)
        assert set(apart.person) < {4, 5, 7} and len(set(apart.person)) == 2
        assert sorted([*rest.file, *apart.file]) == sorted(table.file) and not set(rest.person) & set(apart.person)
    with pytest.raises(ValueError, match="judge_people: 4 were asked for, and 3 take no part"):
        picture_table.set_apart(table, 4, table.head(9))
