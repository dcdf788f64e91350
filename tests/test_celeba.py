"""The reader against a plain-loop oracle, spoilt files, and the real annotations where they are at hand."""

import struct
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipa_lib.celeba import (
    ATTRIBUTE,
    ATTRIBUTES,
    IDENTITY,
    PARTITION,
    PICTURES,
    load_picture,
    load_pictures,
    read_annotations,
    read_celeba,
)
from ipa_lib.paths import ROOT

REAL = ROOT.parent / "shared/data"
ANNOTATIONS = (IDENTITY, PARTITION, ATTRIBUTE)


def read_slowly(root):
    """file => (person, split, attributes), line by line."""
    lines = {name: (root / name).read_text().splitlines() for name in ANNOTATIONS}
    persons = {file: int(person) for file, person in map(str.split, lines[IDENTITY])}
    splits = {file: ["train", "val", "test"][int(part)] for file, part in map(str.split, lines[PARTITION])}
    names = lines[ATTRIBUTE][1].split()
    signs = {row.split()[0]: row.split()[1:] for row in lines[ATTRIBUTE][2:]}
    return {
        file: (persons[file], splits[file], {n: s == "1" for n, s in zip(names, signs[file], strict=True)})
        for file in persons
    }


def change(root, name, row, line):
    """Put `line` in the place of a row (counted from 1); None removes the row."""
    lines = (root / name).read_text().splitlines()
    lines[row - 1 : row] = [] if line is None else [line]
    (root / name).write_text("\n".join(lines) + "\n")


def only_line(error):
    """The message of an error, which must be one line."""
    assert "\n" not in str(error.value).strip()
    return str(error.value)


def test_every_cell_is_what_a_plain_loop_reads(tiny_celeba):
    pictures, truth = read_celeba(tiny_celeba), read_slowly(tiny_celeba)
    assert list(pictures.columns) == ["file", "path", "person", "split", *ATTRIBUTES]
    assert pictures["file"].tolist() == sorted(truth)
    for row in pictures.to_dict("records"):
        assert (row["person"], row["split"], {n: row[n] for n in ATTRIBUTES}) == truth[row["file"]]
        assert row["path"] == str(tiny_celeba / PICTURES / row["file"])
    assert all(pictures[name].dtype == np.bool_ for name in ATTRIBUTES)
    assert pictures["person"].dtype == np.int64
    assert pictures.attrs == {"missing": 0, "unlisted": 0}


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_change_nothing(own_celeba, start, end):
    expected = read_celeba(own_celeba)
    for name in ANNOTATIONS:
        text = start + (own_celeba / name).read_text().replace("\n", end) + end * 2
        (own_celeba / name).write_bytes(text.encode())
    assert read_celeba(own_celeba).equals(expected)


def test_the_order_of_annotation_rows_changes_nothing(own_celeba):
    expected = read_celeba(own_celeba)
    lines = (own_celeba / IDENTITY).read_text().splitlines()
    (own_celeba / IDENTITY).write_text("\n".join(reversed(lines)))
    assert read_celeba(own_celeba).equals(expected)


def test_a_part_of_the_pictures_is_enough(own_celeba):
    everything = read_celeba(own_celeba)
    for file in everything["file"][10:]:
        (own_celeba / PICTURES / file).unlink()
    (own_celeba / PICTURES / "999999.jpg").touch()
    (own_celeba / PICTURES / "Thumbs.db").touch()
    pictures = read_celeba(own_celeba)
    assert pictures.equals(everything[:10])
    assert pictures.attrs == {"missing": 62, "unlisted": 1}


FILE = "000009.jpg"
SIGNS = " ".join(["-1"] * 40)


@pytest.mark.parametrize(
    ("name", "row", "line", "message"),
    [
        (IDENTITY, 9, FILE, "row 9: 1 columns where 2 were expected"),
        (IDENTITY, 9, f"{FILE} 1 2", "row 9: 3 columns where 2 were expected"),
        (IDENTITY, 9, "", "row 9: 0 columns where 2 were expected"),
        (IDENTITY, 9, f"{FILE} anna", "row 9: anna is wrong, a person's number was expected"),
        (IDENTITY, 9, f"{FILE} 1.5", "row 9: 1.5 is wrong"),
        (IDENTITY, 9, f"{FILE} -3", "row 9: -3 is wrong"),
        (IDENTITY, 9, f"{FILE} {10**30}", "row 9: 1000"),
        (IDENTITY, 9, "000003.jpg 1", "row 9: 000003.jpg is wrong, every file may occur once"),
        (IDENTITY, 9, "abc.jpg 1", "row 9: abc.jpg has no row in list_eval_partition.txt"),
        (IDENTITY, 9, None, "has no row in identity_CelebA.txt"),
        (PARTITION, 72, "000072.jpg 3", "row 72: 3 is wrong, partition 0, 1 or 2 was expected"),
        (PARTITION, 72, "000072.jpg 1.0", "row 72: 1.0 is wrong"),
        (PARTITION, 72, "000071.jpg 1", "row 72: 000071.jpg is wrong, every file may occur once"),
        (PARTITION, 72, None, "has no row in list_eval_partition.txt"),
        (ATTRIBUTE, 1, "71", "row 1: announces '71' rows, the file holds 72"),
        (ATTRIBUTE, 1, "many", "row 1: announces 'many' rows"),
        (ATTRIBUTE, 2, " ".join(ATTRIBUTES[1:]), "row 2: .*these differ: 5_o_Clock_Shadow"),
        (ATTRIBUTE, 11, f"{FILE} {SIGNS[3:]}", "row 11: 40 columns where 41 were expected"),
        (ATTRIBUTE, 11, f"{FILE} 1 {SIGNS}", "row 11: 42 columns where 41 were expected"),
        (
            ATTRIBUTE,
            11,
            f"{FILE} 0 {SIGNS[3:]}",
            "row 11: 0 is wrong, 1 or -1 was expected for 5_o_Clock_Shadow",
        ),
        (ATTRIBUTE, 11, f"{FILE} {SIGNS[3:]} yes", "row 11: yes is wrong, 1 or -1 was expected for Young"),
        (ATTRIBUTE, 11, f"{FILE} nan {SIGNS[3:]}", "row 11: nan is wrong"),
        (ATTRIBUTE, 11, f"000008.jpg {SIGNS}", "row 11: 000008.jpg is wrong, every file may occur once"),
        (ATTRIBUTE, 11, f"abc.jpg {SIGNS}", f"row 9: {FILE} has no row in list_attr_celeba.txt"),
    ],
)
def test_a_malformed_row_is_named(own_celeba, name, row, line, message):
    change(own_celeba, name, row, line)
    with pytest.raises(ValueError, match=message) as error:
        read_celeba(own_celeba)
    assert any(name in only_line(error) for name in ANNOTATIONS)


@settings(max_examples=40)
@given(name=st.sampled_from(ANNOTATIONS), row=st.integers(1, 72), line=st.text(max_size=30))
def test_whatever_stands_in_a_row_the_error_is_one_line(tiny_celeba, name, row, line):
    with tempfile.TemporaryDirectory() as folder:
        for other in ANNOTATIONS:
            (Path(folder) / other).write_bytes((tiny_celeba / other).read_bytes())
        lines = (tiny_celeba / name).read_text().splitlines()
        lines[row - 1] = line
        (Path(folder) / name).write_text("\n".join(lines), encoding="utf-8", errors="replace")
        with pytest.raises(ValueError, match="row [0-9]+: ") as error:
            read_annotations(folder)
    assert str(error.value).startswith(folder) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_an_empty_or_absent_annotation_file_is_named(own_celeba, name):
    (own_celeba / name).write_text("\n")
    with pytest.raises(ValueError, match=name):
        read_celeba(own_celeba)
    (own_celeba / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        read_celeba(own_celeba)


def test_absent_folders_and_pictures_are_named(own_celeba, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        read_celeba(tmp_path / "nowhere")
    for picture in (own_celeba / PICTURES).iterdir():
        picture.unlink()
    with pytest.raises(FileNotFoundError, match="none of the 72 annotated pictures"):
        read_celeba(own_celeba)
    (own_celeba / PICTURES).rmdir()
    with pytest.raises(FileNotFoundError, match="img_align_celeba: no such folder") as error:
        read_celeba(own_celeba)
    only_line(error)


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (218, 178, 3), np.uint8)  # [H, W, 3]


def test_an_official_picture_is_cut_to_its_window(tmp_path, noise):
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert np.array_equal(load_picture(tmp_path / "a.png", 148), noise[35:183, 15:163])
    small = Image.fromarray(noise[35:183, 15:163]).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(load_picture(tmp_path / "a.png", 64), np.asarray(small))


@pytest.mark.parametrize("height, width", [(40, 40), (40, 61), (70, 40)])
def test_other_pictures_are_cut_to_their_central_square(tmp_path, noise, height, width):
    Image.fromarray(noise[:height, :width]).save(tmp_path / "a.png")
    top, left = (height - 40) // 2, (width - 40) // 2
    assert np.array_equal(load_picture(tmp_path / "a.png", 40), noise[top : top + 40, left : left + 40])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, noise, mode):
    image = Image.fromarray(noise[:32, :32]).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    picture = load_picture(path, 32)
    assert picture.flags.writeable and picture.dtype == np.uint8
    assert np.array_equal(picture, np.asarray(image.convert("RGB")))


def test_pictures_come_in_the_order_of_their_paths(tiny_celeba):
    paths = read_celeba(tiny_celeba)["path"][::-7]
    pictures = load_pictures(iter(paths), 16)
    assert pictures.shape == (len(paths), 16, 16, 3)
    assert all(np.array_equal(a, load_picture(path, 16)) for a, path in zip(pictures, paths, strict=True))
    assert load_pictures([], 16).shape == (0, 16, 16, 3)


def png_that_claims(width, height):
    head = b"IHDR" + struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", png_that_claims(9, 9), png_that_claims(8000, 8000), png_that_claims(60000, 60000)],
    ids=["empty", "text", "header", "too_large", "bomb"],
)
def test_an_unreadable_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="a.png: not a readable picture") as error:
        load_pictures([tmp_path / "a.png"], 64)
    only_line(error)


def test_a_truncated_jpeg_and_an_absent_one_are_named(own_celeba):
    path = own_celeba / PICTURES / "000001.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="000001.jpg: not a readable picture .*truncated"):
        load_picture(path, 64)
    with pytest.raises(FileNotFoundError, match="000000.jpg: no such picture"):
        load_picture(own_celeba / PICTURES / "000000.jpg", 64)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real annotations with 6 296 pictures at 64 px and, in a folder of their own, 800 at 178 x 218."""
    if not REAL.is_dir():
        pytest.skip("the real CelebA annotations are not beside the repository")
    root = tmp_path_factory.mktemp("real")
    for name, to in (("annotations.tar.xz", ""), ("people_64.tar", ""), ("people_178x218.tar", "large")):
        with tarfile.open(REAL / f"celeba_{name}") as tar:
            tar.extractall(root / to, filter="data")
    return root


def test_the_real_annotations_give_their_known_facts(real):
    table = read_annotations(real)
    counts = table["person"].value_counts()
    assert (len(table), len(counts), counts.max()) == (202_599, 10_177, 35)
    assert table["split"].value_counts().to_dict() == {"train": 162_770, "val": 19_867, "test": 19_962}
    people = table.groupby("split")["person"].nunique()
    assert people.to_dict() == {"train": 8_192, "val": 985, "test": 1_000}
    at_least = [int((counts >= k).sum()) for k in (2, 3, 5, 9, 12, 20, 30)]
    assert at_least == [10_133, 9_809, 9_343, 8_556, 7_968, 6_348, 2_360]
    shares = 100 * table[["Smiling", "Male", "Eyeglasses"]].mean()
    assert shares.round(2).tolist() == [48.21, 41.68, 6.51]


def test_the_real_annotations_are_read_in_3_seconds(real):
    def seconds():
        start = time.process_time()
        read_annotations(real)
        return time.process_time() - start

    assert any(seconds() < 3 for _ in range(3))  # 1.8 alone on a core; neighbours slow it down


def test_real_pictures_join_their_annotations(real):
    pictures = read_celeba(real)
    counts = pictures["person"].value_counts()
    assert (len(pictures), pictures.attrs) == (6_296, {"missing": 196_303, "unlisted": 0})
    assert [int((counts >= k).sum()) for k in (1, 5, 9, 12)] == [299, 278, 255, 243]
    assert pictures.groupby("split")["person"].nunique().to_dict() == {"train": 241, "test": 58}


def test_the_window_of_a_real_picture_is_its_64_px_copy(real):
    large = sorted((real / "large").rglob("*.jpg"))[:20]
    small = [real / PICTURES / path.name for path in large]
    error = np.abs(load_pictures(large, 64).astype(float) - load_pictures(small, 64)).mean()
    assert error < 4  # 2.9: other rounds of JPEG and of resampling; a window that is 1 pixel off gives 5.9
