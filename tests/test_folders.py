"""Small folders of people: every cell, captions from either place, and who stays where when somebody is added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ipa_lib.data.captions import captions
from ipa_lib.data.celeba import load_pictures, people_with
from ipa_lib.data.folders import read_folders, split_of
from ipa_lib.data.identity_sets import check_splits

FILES = ("Ada Byron/b.PNG", "Ada Byron/a.jpg", "Émile/x.webp", "bo/2.JPEG", "bo/10.jpeg")


def write(root, files, colour=(200, 60, 20)):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), colour).save(root / file)
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "people", FILES)


def test_every_cell_of_a_small_folder(root):
    pictures = read_folders(root)
    assert pictures.columns.tolist() == ["file", "path", "person", "name", "split"]
    assert pictures["file"].tolist() == [
        "Ada Byron/a.jpg", "Ada Byron/b.PNG", "bo/10.jpeg", "bo/2.JPEG", "Émile/x.webp"
    ]  # fmt: skip
    assert pictures["path"].tolist() == [str(root / file) for file in pictures["file"]]
    assert pictures["person"].tolist() == [0, 0, 1, 1, 2] and pictures["person"].dtype == np.int64
    assert pictures["name"].tolist() == ["Ada Byron", "Ada Byron", "bo", "bo", "Émile"]
    assert pictures["split"].tolist() == [split_of(name) for name in pictures["name"]]
    assert pictures.attrs == {"without_pictures": 0}
    assert load_pictures(pictures["path"], 8).shape == (5, 8, 8, 3)
    assert (people_with(pictures, 1), people_with(pictures, 2), people_with(pictures, 3)) == (3, 2, 0)
    assert captions(pictures) == ["a photo of a person"] * 5


def test_what_is_hidden_or_no_picture_is_passed_over(root):
    expected = read_folders(root)
    write(root, ["bo/._2.jpg", ".trash/1.jpg", "loose.jpg", "nested/deep/1.jpg"])
    for file in ("bo/notes.txt", "bo/2.mp4", "bo/Thumbs.db", "empty/.keep"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()
    (root / "bo/folder.jpg").mkdir()
    pictures = read_folders(root)
    assert pictures.equals(expected)
    assert pictures.attrs == {"without_pictures": 2}  # "nested" and "empty"


def test_splits_are_those_of_the_names():
    names = ["Aaron_Eckhart", "Zydrunas_Ilgauskas", "bo", "anna", "George_W_Bush", "12"]
    assert [split_of(name) for name in names] == ["val", "test", "train", "train", "train", "train"]
    shares = np.unique([split_of(f"person {i}") for i in range(20_000)], return_counts=True)[1] / 20_000
    assert np.abs(shares - [0.1, 0.8, 0.1]).max() < 0.01  # test, train, val: deviation 0.003
    assert split_of("Zoe\u0308") == split_of("Zo\u00eb")  # decomposed and composed, as file systems differ


@given(st.sets(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=2, max_size=6))
def test_whoever_is_added_nobody_else_moves(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("people")
    added, *others = names
    before = read_folders(write(root, [f"{name}/1.png" for name in others]))
    after = read_folders(write(root, [f"{added}/1.png"]))
    check_splits(after)
    stayed = after[after["name"] != added].reset_index(drop=True)
    columns = ["file", "path", "name", "split"]
    assert stayed[columns].equals(before[columns])
    assert after["person"].tolist() == list(range(len(names))) and after["name"].tolist() == sorted(names)


def test_texts_beside_the_pictures_are_captions(root):
    for file in FILES:
        (root / file).with_suffix(".txt").write_text(f"\ufeffportrait of\n {file}\n", encoding="utf-8")
    pictures = read_folders(root)
    assert pictures["caption"].tolist() == [f"portrait of {file}" for file in pictures["file"]]
    assert captions(pictures, "portrait") == pictures["caption"].tolist()


def test_a_table_of_captions_goes_before_the_texts(root):
    (root / "bo/2.txt").write_text("not this one")
    rows = ["file,caption", 'bo/2.JPEG,"one, two  and three"', "", "nobody/1.jpg,elsewhere"]
    rows += [f"{file},of {file}" for file in FILES if file != "bo/2.JPEG"]
    (root / "captions.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    found = read_folders(root).set_index("file")["caption"]
    assert found["bo/2.JPEG"] == "one, two and three"
    assert found.drop("bo/2.JPEG").to_dict() == {file: f"of {file}" for file in FILES if file != "bo/2.JPEG"}


def error_of(root):
    with pytest.raises(ValueError) as error:
        read_folders(root)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("text", [None, " \n"])
def test_the_first_picture_without_a_caption_is_named(root, text):
    for file in ("Ada Byron/a.jpg", "bo/2.JPEG"):
        (root / file).with_suffix(".txt").write_text("a caption")
    if text is not None:
        (root / "Ada Byron/b.txt").write_text(text)
    assert error_of(root) == f"{root}/Ada Byron/b.PNG: no caption; other pictures have one, so each was expected to"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: the columns file,caption were expected, found "),
        ("picture;text\n", "row 1: the columns file,caption were expected, found picture;text"),
        ("file,caption\nbo/2.JPEG,a\n\nbo/2.JPEG,b\n", "row 4: bo/2.JPEG: a second caption of it"),
        ("file,caption\nbo/2.JPEG,one, two\n", "row 2: bo/2.JPEG: 3 columns where 2 were expected"),
        ("file,caption\nbo/2.JPEG\n", "row 2: bo/2.JPEG: 1 columns where 2 were expected"),
    ],
)
def test_a_malformed_table_of_captions_is_named(root, text, message):
    (root / "captions.csv").write_text(text)
    assert error_of(root) == f"{root}/captions.csv, {message}"


def test_an_empty_table_of_captions_is_no_absent_one(root):
    (root / "captions.csv").write_text("file,caption\n")
    assert error_of(root).startswith(f"{root}/Ada Byron/a.jpg: no caption")


def test_a_text_that_is_not_utf_8_is_named(root):
    (root / "bo/2.txt").write_bytes("Émile".encode("latin-1"))
    assert error_of(root).startswith(f"{root}/bo/2.txt: UTF-8 text was expected")


def test_absent_folders_and_pictures_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; a folder for each person was expected"):
        read_folders(tmp_path / "nowhere")
    (tmp_path / "people/anna").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "people/loose.jpg")
    with pytest.raises(FileNotFoundError, match="people: no pictures here; <person>/<picture>.jpg was expected"):
        read_folders(tmp_path / "people")
