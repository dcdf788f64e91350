"""Small local datasets in the layouts that `datasets` reads, written as folders and read back."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ipa_lib.data.celeba import load_picture
from ipa_lib.data.hub_data import STAMP, read_hub_dataset
from ipa_lib.files import ROOT

NAMES = ["anna", "bo", "anna", "J. Smith/2", "J. Smith%2F2", ".dot"]
WITHOUT = """
import sys
sys.modules["datasets"] = None  # as if it were not installed
from ipa_lib.data.hub_data import read_hub_dataset
read_hub_dataset("somebody/faces", "name", "image", sys.argv[1])
"""


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    library = pytest.importorskip("datasets", reason="the package datasets is not installed")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


def encoded(row, format):
    picture = np.random.default_rng(row).integers(0, 256, (12, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format)
    return file.getvalue()


def made(datasets, **columns):
    images = [{"bytes": encoded(i, format)} for i, format in enumerate(["JPEG", "PNG", "WEBP", "BMP", "PNG", "TIFF"])]
    data = datasets.Dataset.from_dict({"name": NAMES, "image": images, **columns})
    return data.cast_column("image", datasets.Image())


@pytest.fixture
def source(datasets, tmp_path):
    """A folder with one parquet file: pictures in five formats, of people with awkward names."""
    (tmp_path / "source").mkdir()
    made(datasets).to_parquet(tmp_path / "source/train.parquet")
    return tmp_path / "source"


def test_a_dataset_becomes_a_folder_a_person(source, tmp_path):
    pictures = read_hub_dataset(source, "name", "image", tmp_path / "faces")
    assert pictures["file"].tolist() == [
        "%2Edot/000005.png", "J. Smith%252F2/000004.png", "J. Smith%2F2/000003.png",
        "anna/000000.jpg", "anna/000002.webp", "bo/000001.png",
    ]  # fmt: skip
    assert pictures["person"].tolist() == [0, 1, 2, 3, 3, 4]
    assert (tmp_path / "faces/anna/000000.jpg").read_bytes() == encoded(0, "JPEG")
    assert (tmp_path / "faces/anna/000002.webp").read_bytes() == encoded(2, "WEBP")
    bitmap = np.asarray(Image.open(io.BytesIO(encoded(3, "BMP"))))
    assert np.array_equal(load_picture(pictures["path"][2], 12), bitmap)
    assert json.loads((tmp_path / "faces" / STAMP).read_text()) == {
        "dataset": str(source), "identity": "name", "image": "image", "finished": True
    }  # fmt: skip


def test_a_finished_folder_is_not_made_again(source, tmp_path):
    first = read_hub_dataset(source, "name", "image", tmp_path / "faces")
    (source / "train.parquet").unlink()
    (tmp_path / "faces/bo/000001.png").unlink()
    again = read_hub_dataset(str(source), "name", "image", str(tmp_path / "faces"))
    assert again["file"].tolist() == first["file"].tolist()[:-1]


def test_an_interrupted_folder_is_continued(source, tmp_path):
    folder = tmp_path / "faces"
    first = read_hub_dataset(source, "name", "image", folder)
    stamp = json.loads((folder / STAMP).read_text())
    (folder / STAMP).write_text(json.dumps(stamp | {"finished": False}))
    (folder / "bo/000001.png").unlink()
    (folder / "anna/000000.jpg").write_bytes(b"what is there is not written again")
    (folder / "anna/.000002.abc.webp").touch()  # what a killed process may leave
    assert read_hub_dataset(source, "name", "image", folder).equals(first)
    assert (folder / "bo/000001.png").read_bytes() == encoded(1, "PNG")
    assert (folder / "anna/000000.jpg").read_bytes() == b"what is there is not written again"
    assert json.loads((folder / STAMP).read_text())["finished"]


def test_all_splits_of_a_saved_dataset_are_read(datasets, tmp_path):
    labels = datasets.ClassLabel(names=["zoe", "yan"])
    data = made(datasets, label=[0, 1, 0, 1, 0, 1]).cast_column("label", labels)
    parts = datasets.DatasetDict(train=data.select(range(4)), test=data.select([4, 5]))
    parts.save_to_disk(tmp_path / "both")
    data.save_to_disk(tmp_path / "one")
    both = read_hub_dataset(tmp_path / "both", "label", "image", tmp_path / "a")
    one = read_hub_dataset(tmp_path / "one", "label", "image", tmp_path / "b")
    assert both["name"].tolist() == ["yan", "yan", "yan", "zoe", "zoe", "zoe"]
    assert both["file"].tolist() == one["file"].tolist()
    assert (tmp_path / "a/zoe/000004.png").read_bytes() == encoded(4, "PNG")


def test_numbers_are_names_and_an_imagefolder_is_a_dataset(datasets, tmp_path):
    rows = ["file_name,identity"]
    (tmp_path / "source").mkdir()
    for row, person in enumerate([7, 11, 7]):
        (tmp_path / f"source/{row}.png").write_bytes(encoded(row, "PNG"))
        rows.append(f"{row}.png,{person}")
    (tmp_path / "source/metadata.csv").write_text("\n".join(rows))
    pictures = read_hub_dataset(tmp_path / "source", "identity", "image", tmp_path / "faces")
    assert pictures["file"].tolist() == ["11/000001.png", "7/000000.png", "7/000002.png"]
    assert (tmp_path / "faces/7/000002.png").read_bytes() == encoded(2, "PNG")


def error_of(*arguments):
    with pytest.raises(ValueError) as error:
        read_hub_dataset(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_columns_are_named(source, tmp_path):
    folder = tmp_path / "faces"
    assert error_of(source, "who", "image", folder) == f"{source}: no column 'who'; it has name, image"
    assert error_of(source, "name", "img", folder) == f"{source}: no column 'img'; it has name, image"
    assert not folder.exists()


def test_a_column_without_pictures_is_named(datasets, tmp_path):
    made(datasets, age=range(6)).save_to_disk(tmp_path / "source")
    message = error_of(tmp_path / "source", "name", "age", tmp_path / "faces")
    assert message == f"{tmp_path}/source: column 'age' holds no pictures"


@pytest.mark.parametrize("name", [None, ""])
def test_a_row_without_identity_is_named(datasets, tmp_path, name):
    made(datasets, who=["a", "b", name, "c", name, "d"]).save_to_disk(tmp_path / "source")
    message = error_of(tmp_path / "source", "who", "image", tmp_path / "faces")
    assert message == f"{tmp_path}/source, row 2: an identity was expected in column 'who'"


@pytest.mark.parametrize("value", [None, {"bytes": b"no picture"}])
def test_an_unreadable_picture_is_named(datasets, tmp_path, value):
    data = datasets.Dataset.from_dict({"name": ["a", "b"], "image": [{"bytes": encoded(0, "PNG")}, value]})
    data.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "source")
    message = error_of(tmp_path / "source", "name", "image", tmp_path / "faces")
    assert message.startswith(f"{tmp_path}/source, row 1: not a readable picture (")
    assert not json.loads((tmp_path / "faces" / STAMP).read_text())["finished"]


def test_a_folder_of_something_else_is_left_alone(source, tmp_path):
    read_hub_dataset(source, "name", "image", tmp_path / "faces")
    assert f"{STAMP}: says {{'dataset': " in error_of("other/faces", "name", "image", tmp_path / "faces")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/letter.txt").touch()
    message = error_of(source, "name", "image", tmp_path / "own")
    assert message == f"{tmp_path}/own: holds files but no {STAMP}; a new or empty folder was expected"


def test_without_the_library_one_line_says_how_to_install_it(tmp_path):
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "faces")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: ")
    assert result.stderr.endswith("read by the package `datasets`: pip install datasets\n")
    assert not (tmp_path / "faces").exists()
