"""Reader of CelebA's on-disk layout, real or drawn: annotations in, one table row a picture out. No torch.

    <root>/img_align_celeba/000001.jpg …     any part of the pictures
    <root>/identity_CelebA.txt               file person
    <root>/list_attr_celeba.txt              count; 40 names; file ±1 … ±1
    <root>/list_eval_partition.txt           file 0|1|2

https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
"""

import csv
import os
from collections.abc import Iterable
from io import StringIO
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PICTURES, IDENTITY = "img_align_celeba", "identity_CelebA.txt"
ATTRIBUTE, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
SPLITS = {"0": "train", "1": "val", "2": "test"}
SUFFIXES = (".jpg", ".jpeg", ".png")
ATTRIBUTES = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
    Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair
    Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face
    Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair
    Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young""".split()
)

FRAME = (178, 218)  # width and height of an official aligned picture
WINDOW = (15, 35, 163, 183)  # the 148 x 148 window around the face
PIXEL_LIMIT = 50_000_000  # a "picture" above this is a decompression bomb, not a photograph
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_celeba(root: str | Path) -> pd.DataFrame:
    """One row a picture that is on disk, sorted by file.

    Columns: file, path (str), person (int), split ("train", "val" or "test": CelebA's own) and the 40
    attributes (bool). `attrs["missing"]` counts annotated files without a picture, `attrs["unlisted"]`
    pictures without annotation.
    Raises FileNotFoundError (folder, file or every picture absent) and ValueError (malformed row, named).
    """
    root = Path(root)
    table = read_annotations(root)
    found = _pictures_on_disk(root)
    here = table["file"].isin(found)
    if not here.any():
        raise FileNotFoundError(f"{root / PICTURES}: none of the {len(table)} annotated pictures is here")
    pictures = table[here].sort_values("file", ignore_index=True)
    pictures.insert(1, "path", [str(root / PICTURES / file) for file in pictures["file"]])
    pictures.attrs = {"missing": int((~here).sum()), "unlisted": len(found) - int(here.sum())}
    return pictures


def read_annotations(root: str | Path) -> pd.DataFrame:
    """The annotation files joined by file name, pictures or not; columns and errors as `read_celeba`."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; CelebA's files and {PICTURES}/ were expected in it")
    persons, splits, attributes = _read_persons(root), _read_splits(root), _read_attributes(root)
    _check_same_files(root, {IDENTITY: persons, PARTITION: splits, ATTRIBUTE: attributes})
    return persons.join([splits, attributes]).rename_axis("file").reset_index()


def load_picture(path: str | Path, size: int) -> np.ndarray:
    """RGB uint8 [size, size, 3].

    An official 178 x 218 picture is cut to its 148 x 148 window, any other one to its central square. A
    square of the wanted size comes back untouched, others are resized by LANCZOS. Raises FileNotFoundError,
    or ValueError for a file that can't be decoded, naming it.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ValueError(f"{image.width} x {image.height} is more than {PIXEL_LIMIT} pixels")
            image.load()  # verify() passes a truncated JPEG, load() does not
            return np.array(_to_square(image.convert("RGB"), size))  # [size, size, 3]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except (OSError, EOFError, SyntaxError, ValueError, *BOMBS) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from None


def load_pictures(paths: Iterable[str | Path], size: int) -> np.ndarray:
    """RGB uint8 [M, size, size, 3] in the order of `paths`; errors as `load_picture`."""
    paths = list(paths)
    pictures = np.empty((len(paths), size, size, 3), np.uint8)
    for slot, path in zip(pictures, paths, strict=True):
        slot[:] = load_picture(path, size)
    return pictures


def _to_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    window = WINDOW if image.size == FRAME else (left, top, left + side, top + side)
    return image.crop(window).resize((size, size), Image.Resampling.LANCZOS)


def _pictures_on_disk(root: Path) -> set[str]:
    folder = root / PICTURES
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; CelebA's aligned pictures were expected in it")
    return {name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES)}


def _read_persons(root: Path) -> pd.DataFrame:
    path = root / IDENTITY
    table = _parse(path, _lines(path), 0, ["file", "person"], {"person": str})
    good = table["person"].str.fullmatch("[0-9]{1,18}", na=False)
    _refuse(path, ~good, table["person"], "a person's number was expected")
    return table.set_index("file").astype({"person": np.int64})


def _read_splits(root: Path) -> pd.DataFrame:
    path = root / PARTITION
    table = _parse(path, _lines(path), 0, ["file", "split"], {"split": str})
    _refuse(path, ~table["split"].isin(SPLITS), table["split"], "partition 0, 1 or 2 was expected")
    return table.assign(split=table["split"].map(SPLITS)).set_index("file")


def _read_attributes(root: Path) -> pd.DataFrame:
    path = root / ATTRIBUTE
    lines = _lines(path)
    names = lines[1].split() if len(lines) > 1 else []
    if sorted(names) != sorted(ATTRIBUTES):
        unlike = " ".join(sorted(set(names) ^ set(ATTRIBUTES))) or "one is repeated"
        raise ValueError(f"{path}, row 2: CelebA's 40 attribute names were expected, these differ: {unlike}")
    table = _parse(path, lines, 2, ["file", *names], {})
    if lines[0].split() != [str(len(table))]:
        raise ValueError(f"{path}, row 1: announces {lines[0].strip()!r} rows, the file holds {len(table)}")
    for name in names:
        bad = ~pd.to_numeric(table[name], errors="coerce").isin([-1, 1])
        _refuse(path, bad, table[name], f"1 or -1 was expected for {name}")
    return table.set_index("file")[list(ATTRIBUTES)] == 1


def _lines(path: Path) -> list[str]:
    """Lines of a text file, at either kind of line end; line i is row i + 1 of every message."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; CelebA's annotation file was expected here")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").rstrip().split("\n")
    return lines


def _parse(path: Path, lines: list[str], head: int, names: list[str], dtype: dict) -> pd.DataFrame:
    """Rows after the first `head` as a table whose index is the row number in the file."""
    if not "".join(lines[head:]).strip():
        raise ValueError(f"{path}, row {head + 1}: the file holds no rows")
    for row, line in enumerate(lines[head:], head + 1):
        if (count := len(line.split())) != len(names):
            raise ValueError(f"{path}, row {row}: {count} columns where {len(names)} were expected")
    table = pd.read_csv(
        StringIO("\n".join(lines[head:])),
        sep=r"\s+",
        header=None,
        names=names,
        dtype={"file": str, **dtype},
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        low_memory=False,
    )
    table.index = pd.RangeIndex(head + 1, head + 1 + len(table))
    _refuse(path, table["file"].duplicated(), table["file"], "every file may occur once")
    return table


def _refuse(path: Path, bad: pd.Series, values: pd.Series, expected: str) -> None:
    if bad.any():
        row = bad.idxmax()
        raise ValueError(f"{path}, row {row}: {values[row]!s} is wrong, {expected}")


def _check_same_files(root: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Every annotation file must speak of the same pictures."""
    for (here, rows), (there, others) in permutations(tables.items(), 2):
        if rows.index.equals(others.index):  # the usual case, and quick
            continue
        lacking = ~rows.index.isin(others.index)
        if lacking.any():
            row = int(lacking.argmax()) + (3 if here == ATTRIBUTE else 1)
            raise ValueError(f"{root / here}, row {row}: {rows.index[lacking][0]} has no row in {there}")
