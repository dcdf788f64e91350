"""The reader against a plain-loop oracle, in the layouts of mirrors, and with spoilt files."""

import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from ipa_lib.data.celeba import (
    ATTRIBUTE,
    ATTRIBUTES,
    IDENTITY,
    PARTITION,
    PICTURES,
    is_celeba,
    load_picture,
    load_pictures,
    people_with,
    picture_bytes,
    read_annotations,
    read_celeba,
)

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


def test_sixteen_bits_of_grey_are_not_cut_off(tmp_path):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(grey * 257).save(tmp_path / "a.png")
    assert np.array_equal(load_picture(tmp_path / "a.png", 16), np.repeat(grey[..., None], 3, 2))


def test_a_photograph_of_a_camera_on_its_side_is_upright(tmp_path, noise):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(noise[:40, :60]).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.rot90(noise[:40, :60], -1).copy()).save(tmp_path / "b.png")
    assert np.array_equal(load_picture(tmp_path / "a.png", 40), load_picture(tmp_path / "b.png", 40))


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


HEADERS = {IDENTITY: "image_id,identity", PARTITION: "image_id,partition"}


def mirror(root, name, header=True):
    """Rewrite an annotation file as the comma-separated one of a mirror."""
    rows = [",".join(line.split()) for line in (root / name).read_text().splitlines()]
    if name == ATTRIBUTE:
        rows[:2] = [f"image_id,{rows[1]}"]
    elif header:
        rows.insert(0, HEADERS[name])
    (root / name).unlink()
    path = (root / name).with_suffix(".csv")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("names", [[IDENTITY], [PARTITION, ATTRIBUTE], ANNOTATIONS])
def test_comma_separated_annotations_of_mirrors_say_the_same(own_celeba, names):
    expected = read_celeba(own_celeba)
    for name in names:
        mirror(own_celeba, name)
    assert read_celeba(own_celeba).equals(expected)


@pytest.mark.parametrize("name", [IDENTITY, PARTITION])
def test_a_mirror_may_leave_out_the_names_of_columns(own_celeba, name):
    expected = read_celeba(own_celeba)
    mirror(own_celeba, name, header=False)
    assert read_celeba(own_celeba).equals(expected)


def test_of_both_spellings_the_original_is_read(own_celeba):
    expected = read_celeba(own_celeba)
    (own_celeba / IDENTITY).with_suffix(".csv").write_text("not this one")
    assert read_celeba(own_celeba).equals(expected)


@pytest.mark.parametrize(
    ("name", "row", "line", "message"),
    [
        (IDENTITY, 10, f"{FILE},anna", "identity_CelebA.csv, row 10: anna is wrong, a person's number was expected"),
        (IDENTITY, 10, f"{FILE} 3", "identity_CelebA.csv, row 10: 1 columns where 2 were expected"),
        (IDENTITY, 10, "abc.jpg,1", "identity_CelebA.csv, row 10: abc.jpg has no row in list_eval_partition.txt"),
        (PARTITION, 73, "000072.jpg,3", "list_eval_partition.csv, row 73: 3 is wrong, partition 0, 1 or 2"),
        (PARTITION, 73, None, "identity_CelebA.txt, row 72: 000072.jpg has no row in list_eval_partition.csv"),
        (ATTRIBUTE, 1, "image_id,Young", "list_attr_celeba.csv, row 1: CelebA's 40 attribute names were expected"),
        (ATTRIBUTE, 10, f"{FILE},0" + ",-1" * 39, "list_attr_celeba.csv, row 10: 0 is wrong, 1 or -1 was expected"),
        (ATTRIBUTE, 10, f"{FILE}" + ",-1" * 41, "list_attr_celeba.csv, row 10: 42 columns where 41 were expected"),
    ],
)
def test_a_malformed_row_of_a_mirror_is_named(own_celeba, name, row, line, message):
    change(own_celeba, mirror(own_celeba, name).name, row, line)
    with pytest.raises(ValueError, match=message) as error:
        read_celeba(own_celeba)
    only_line(error)


def test_a_mirror_with_nothing_but_names_of_columns_is_named(own_celeba):
    mirror(own_celeba, PARTITION).write_text("image_id,partition\n")
    with pytest.raises(ValueError, match="list_eval_partition.csv, row 2: the file holds no rows"):
        read_celeba(own_celeba)


def pack(root, method=zipfile.ZIP_STORED):
    """Put the pictures in the archive that the authors offer."""
    archive = root / f"{PICTURES}.zip"
    with zipfile.ZipFile(archive, "w", method) as members:
        members.writestr(f"{PICTURES}/", "")
        for path in sorted((root / PICTURES).iterdir()):
            members.write(path, f"{PICTURES}/{path.name}")
    shutil.rmtree(root / PICTURES)
    return archive


def test_the_doubled_folder_of_a_mirror_is_read(own_celeba):
    expected = read_celeba(own_celeba)
    (own_celeba / PICTURES).rename(own_celeba / "inner")
    (own_celeba / PICTURES).mkdir()
    (own_celeba / "inner").rename(own_celeba / PICTURES / PICTURES)
    pictures = read_celeba(own_celeba)
    assert pictures["path"].tolist() == [str(own_celeba / PICTURES / PICTURES / file) for file in expected["file"]]
    assert pictures.drop(columns="path").equals(expected.drop(columns="path"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_packed_folder_gives_the_same_pictures(own_celeba, method):
    expected = read_celeba(own_celeba)
    seen = load_pictures(expected["path"], 32)
    contents = [Path(path).read_bytes() for path in expected["path"]]
    archive = pack(own_celeba, method)
    pictures = read_celeba(own_celeba)
    assert pictures["path"].tolist() == [f"{archive}/{PICTURES}/{file}" for file in expected["file"]]
    assert pictures.drop(columns="path").equals(expected.drop(columns="path"))
    assert pictures.attrs == {"missing": 0, "unlisted": 0}
    assert np.array_equal(load_pictures(pictures["path"], 32), seen)
    assert [picture_bytes(path) for path in pictures["path"]] == contents


def test_the_folders_of_the_authors_are_read(own_celeba):
    expected = read_celeba(own_celeba)
    archive = pack(own_celeba)
    for shelf, names in {"Anno": (IDENTITY, ATTRIBUTE), "Eval": (PARTITION,), "Img": (archive.name,)}.items():
        (own_celeba / shelf).mkdir()
        for name in names:
            (own_celeba / name).rename(own_celeba / shelf / name)
    assert is_celeba(own_celeba)
    pictures = read_celeba(own_celeba)
    assert pictures["path"][0] == f"{own_celeba}/Img/{archive.name}/{PICTURES}/000001.jpg"
    assert pictures.drop(columns="path").equals(expected.drop(columns="path"))


def test_unpacked_pictures_go_before_the_archive(own_celeba, tmp_path):
    shutil.copytree(own_celeba / PICTURES, tmp_path / "aside")
    archive = pack(own_celeba)
    (tmp_path / "aside").rename(own_celeba / PICTURES)
    assert str(archive) not in read_celeba(own_celeba)["path"][0]
    for picture in (own_celeba / PICTURES).iterdir():
        picture.unlink()
    assert read_celeba(own_celeba)["path"][0] == f"{archive}/{PICTURES}/000001.jpg"


def test_an_archive_with_a_part_of_the_pictures_is_enough(own_celeba):
    everything = read_celeba(own_celeba)["file"]
    for file in everything[10:]:
        (own_celeba / PICTURES / file).unlink()
    (own_celeba / PICTURES / "999999.jpg").touch()
    pack(own_celeba)
    pictures = read_celeba(own_celeba)
    assert pictures["file"].tolist() == everything[:10].tolist()
    assert pictures.attrs == {"missing": 62, "unlisted": 1}


def test_workers_read_an_archive_that_is_open_already(own_celeba):
    expected = load_pictures(read_celeba(own_celeba)["path"], 32)
    pack(own_celeba)
    paths = read_celeba(own_celeba)["path"].tolist() * 8
    load_picture(paths[0], 32)  # opens the archive in this process
    many = [paths[i : i + 24] for i in range(0, len(paths), 24)]
    workers = DataLoader(many, 1, num_workers=2, collate_fn=read_batch, multiprocessing_context="fork")
    assert np.array_equal(np.concatenate(list(workers)), np.tile(expected, (8, 1, 1, 1)))


def read_batch(batch):
    return load_pictures(batch[0], 32)


def test_an_archive_that_was_replaced_is_read_anew(own_celeba, noise):
    pack(own_celeba)
    path = read_celeba(own_celeba)["path"][0]
    load_picture(path, 148)
    Image.fromarray(noise).save(own_celeba / "noise.png")
    with zipfile.ZipFile(own_celeba / "new.zip", "w") as members:
        members.write(own_celeba / "noise.png", f"{PICTURES}/000001.jpg")
    (own_celeba / "new.zip").replace(own_celeba / f"{PICTURES}.zip")
    assert np.array_equal(load_picture(path, 148), noise[35:183, 15:163])


def test_a_folder_may_be_called_like_an_archive(own_celeba, noise):
    (own_celeba / "pictures.zip").mkdir()
    Image.fromarray(noise).save(own_celeba / "pictures.zip/a.png")
    assert np.array_equal(load_picture(own_celeba / "pictures.zip/a.png", 148), noise[35:183, 15:163])
    with pytest.raises(FileNotFoundError, match="pictures.zip/b.png: no such picture"):
        load_picture(own_celeba / "pictures.zip/b.png", 64)


def test_an_absent_member_is_named(own_celeba):
    archive = pack(own_celeba)
    for read in (lambda path: load_picture(path, 64), picture_bytes):
        with pytest.raises(FileNotFoundError, match="img_align_celeba.zip/img_align_celeba/000000.jpg: no such pict"):
            read(archive / PICTURES / "000000.jpg")


def test_an_archive_of_something_else_is_named(own_celeba):
    shutil.rmtree(own_celeba / PICTURES)
    with zipfile.ZipFile(own_celeba / f"{PICTURES}.zip", "w") as members:
        members.writestr("somewhere/000001.jpg", "")
    with pytest.raises(FileNotFoundError, match="img_align_celeba.zip/img_align_celeba: none of the 72 annotated"):
        read_celeba(own_celeba)
    (own_celeba / f"{PICTURES}.zip").write_bytes(b"a download that was cut")
    with pytest.raises(ValueError, match="img_align_celeba.zip: not a readable zip archive") as error:
        read_celeba(own_celeba)
    only_line(error)


def bomb(path, declared):
    """An archive whose one member holds 80 MiB of zeros; `declared` is the size that its tables state."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a.png", bytes(80 * 2**20))
    true = struct.pack("<I", 80 * 2**20)
    path.write_bytes(path.read_bytes().replace(true, struct.pack("<I", declared)))
    return path / "a.png"


@pytest.mark.parametrize(
    ("declared", "why"),
    [(80 * 2**20, "unpacks to 83886080 bytes, more than 67108864"), (1000, "damaged or locked: Bad CRC-32")],
    ids=["honest", "lying"],
)
def test_a_packed_bomb_is_refused(tmp_path, declared, why):
    path = bomb(tmp_path / "a.zip", declared)
    for read in (lambda path: load_picture(path, 64), picture_bytes):
        with pytest.raises(ValueError, match=f"a.zip/a.png: not a readable picture .*{why}") as error:
            read(path)
        only_line(error)


@settings(max_examples=60)
@given(place=st.integers(0, 400), byte=st.integers(0, 255), method=st.sampled_from([0, 8]))
def test_whatever_byte_of_an_archive_is_spoilt_the_error_is_one_line(place, byte, method):
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "a.zip"
        with zipfile.ZipFile(archive, "w", method) as members:
            members.writestr("a.png", png_that_claims(9, 9) * 3)
        data = bytearray(archive.read_bytes())
        data[place % len(data)] = byte
        archive.write_bytes(data)
        with pytest.raises((ValueError, FileNotFoundError), match="a.zip/a.png: no") as error:  # the picture is cut
            load_picture(archive / "a.png", 64)
    only_line(error)


def test_people_with_enough_pictures_are_counted(tiny_celeba):
    pictures = read_celeba(tiny_celeba)
    assert [people_with(pictures, n) for n in (1, 6, 7)] == [12, 12, 0]
    assert [people_with(pictures[:3], n) for n in (1, 2)] == [pictures["person"][:3].nunique(), 0]
