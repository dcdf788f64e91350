"""Reader of CelebA's on-disk layout, real or drawn: annotations in, one table row a picture out. No torch.

    <root>/img_align_celeba/000001.jpg …     any part of the pictures
    <root>/identity_CelebA.txt               file person
    <root>/list_attr_celeba.txt              count; 40 names; file ±1 … ±1
    <root>/list_eval_partition.txt           file 0|1|2

Mirrors differ, in any mixture: an annotation file may be a comma-separated `.csv` with a line of column names and no
count; the pictures may lie in `img_align_celeba/img_align_celeba/`, or still packed in `img_align_celeba.zip`, where
the path of one is `<root>/img_align_celeba.zip/img_align_celeba/000001.jpg`. The authors' own shelf keeps the first two
annotation files in `Anno/`, the third in `Eval/` and the archive in `Img/`; they are found there, too.

https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
https://www.kaggle.com/datasets/jessicali9530/celeba-dataset
"""

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO, StringIO
from itertools import permutations
from pathlib import Path
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

PICTURES, IDENTITY = "img_align_celeba", "identity_CelebA.txt"
ATTRIBUTE, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
SHELVES = ("", "Anno", "Eval", "Img")  # folders of the root that a file may lie in
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
LEAST_SIDE = 8  # pixels; less shows nobody
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
BYTE_LIMIT = 64 * 2**20  # a packed "picture" that unpacks to more than this is a bomb, too
ARCHIVES = 4  # that are kept open
SPOILT = (BadZipFile, ZlibError, OSError, EOFError, RuntimeError)  # zipfile: encrypted or unknown is a RuntimeError


def is_celeba(root: str | Path) -> bool:
    """Whether a folder holds anything of CelebA's layout: the identities, or its pictures' folder or archive."""
    names = (f"{Path(IDENTITY).stem}.*", f"{PICTURES}*")
    return any(any((Path(root) / shelf).glob(name)) for shelf in SHELVES for name in names)


def read_celeba(root: str | Path) -> pd.DataFrame:
    """One row a picture that is on disk, sorted by file.

    Columns: file, path (str), person (int), split ("train", "val" or "test": CelebA's own) and the 40
    attributes (bool). `attrs["missing"]` counts annotated files without a picture, `attrs["unlisted"]`
    pictures without annotation.
    Raises FileNotFoundError (folder, file or every picture absent) and ValueError (malformed row, named).
    """
    root = Path(root)
    table = read_annotations(root)
    folder, on_disk = _pictures_on_disk(root)
    here = table["file"].isin(on_disk)
    if not here.any():
        raise FileNotFoundError(f"{folder}: none of the {len(table)} annotated pictures is here")
    pictures = table[here].sort_values("file", ignore_index=True)
    pictures.insert(1, "path", [os.path.join(folder, file) for file in pictures["file"]])
    pictures.attrs = {"missing": int((~here).sum()), "unlisted": len(on_disk) - int(here.sum())}
    return pictures


def read_annotations(root: str | Path) -> pd.DataFrame:
    """The annotation files joined by file name, pictures or not; columns and errors as `read_celeba`."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; CelebA's files and {PICTURES}/ were expected in it")
    paths = [_annotation_file(root, name) for name in (IDENTITY, PARTITION, ATTRIBUTE)]
    readers = (_read_persons, _read_splits, _read_attributes)
    tables = [read(path) for read, path in zip(readers, paths, strict=True)]
    _check_same_files({path: table["file"] for path, table in zip(paths, tables, strict=True)})
    persons, splits, attributes = (table.set_index("file") for table in tables)
    return persons.join([splits, attributes]).rename_axis("file").reset_index()


def people_with(pictures: pd.DataFrame, n: int) -> int:
    """Number of people with at least `n` of the pictures of a table with a column person."""
    return int((pictures["person"].value_counts() >= n).sum())


def load_picture(path: str | Path, size: int) -> np.ndarray:
    """RGB uint8 [size, size, 3].

    An official 178 x 218 picture is cut to its 148 x 148 window, any other one to its central square. A
    square of the wanted size comes back untouched, others are resized by LANCZOS. A path may lead into a zip
    archive. Raises FileNotFoundError, or ValueError for a file that can't be decoded, naming it.
    """
    with _opened_picture(path) as image:
        image.load()  # verify() passes a truncated JPEG, load() does not
        upright = ImageOps.exif_transpose(image)  # a camera that was held on its side says so
        return np.array(_to_square(_to_rgb(upright), size))  # [size, size, 3]


def picture_size(path: str | Path) -> int:
    """The width of a picture, from its head alone; errors as `load_picture`."""
    with _opened_picture(path) as image:
        return image.width


@contextmanager
def _opened_picture(path: str | Path) -> Iterator[Image.Image]:
    """A picture that is large enough and no bomb; whatever goes wrong with it until the end is said of its path."""
    archive = _archive_of(path)
    try:
        with Image.open(path if archive is None else BytesIO(_unpacked(archive, path))) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ValueError(f"{image.width} x {image.height} is more than {PIXEL_LIMIT} pixels")
            if min(image.size) < LEAST_SIDE:
                raise ValueError(f"{image.width} x {image.height} is less than {LEAST_SIDE} pixels a side")
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except (OSError, EOFError, SyntaxError, ValueError, *BOMBS) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from None


def picture_bytes(path: str | Path) -> bytes:
    """The file as it is stored, also where the path leads into a zip archive; errors as `load_picture`."""
    archive = _archive_of(path)
    try:
        return Path(path).read_bytes() if archive is None else _unpacked(archive, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from None


def load_pictures(paths: Iterable[str | Path], size: int) -> np.ndarray:
    """RGB uint8 [M, size, size, 3] in the order of `paths`; errors as `load_picture`."""
    paths = list(paths)
    pictures = np.empty((len(paths), size, size, 3), np.uint8)
    for slot, path in zip(pictures, paths, strict=True):
        slot[:] = load_picture(path, size)
    return pictures


def _to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel; of 16 bits of grey, which Pillow would cut off at 255, the upper half."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("8 or 16 bits a pixel and channel were expected, not 32")
    return image.convert("RGB")


def _to_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    window = WINDOW if image.size == FRAME else (left, top, left + side, top + side)
    return image.crop(window).resize((size, size), Image.Resampling.LANCZOS)


def _archive_of(path: str | Path) -> str | None:
    """The zip archive that a path leads into, None where it leads through folders alone."""
    return next((str(part) for part in Path(path).parents if part.suffix == ".zip" and part.is_file()), None)


def _unpacked(archive: str, path: str | Path) -> bytes:
    """One member of an archive; a FileNotFoundError or a ValueError that says why it can't be had."""
    try:
        members = _opened(archive)
        info = members.getinfo(Path(path).relative_to(archive).as_posix())
        if info.file_size > BYTE_LIMIT:
            raise ValueError(f"unpacks to {info.file_size} bytes, more than {BYTE_LIMIT}")
        with members.open(info) as file:
            return file.read(info.file_size)  # never more than is declared; the checksum is compared at that point
    except KeyError:
        raise FileNotFoundError(path) from None
    except SPOILT as error:
        raise ValueError(f"the archive is damaged or locked: {error}") from None


def _opened(archive: str) -> ZipFile:
    status = os.stat(archive)
    return _open_once(archive, status.st_mtime_ns, status.st_size, os.getpid())


@lru_cache(ARCHIVES)
def _open_once(archive: str, changed: int, size: int, process: int) -> ZipFile:
    """An archive stays open: its table of contents is read once a process, and again when the file has changed.

    A forked worker must not share the parent's file, whose position is common to both: `process` is in the key.
    """
    return ZipFile(archive)


def _pictures_on_disk(root: Path) -> tuple[Path, set[str]]:
    """The place with pictures, of all where they may be, and the names of the pictures in it."""
    shelves = [root / shelf for shelf in SHELVES]
    for folder in [shelf / inner for shelf in shelves for inner in (PICTURES, f"{PICTURES}/{PICTURES}")]:
        if folder.is_dir() and (names := _picture_names(os.listdir(folder))):
            return folder, names
    for archive in [shelf / f"{PICTURES}.zip" for shelf in shelves]:
        if archive.is_file():
            return archive / PICTURES, _packed_names(archive)
    if not (root / PICTURES).is_dir():
        raise FileNotFoundError(f"{root / PICTURES}: no such folder; CelebA's aligned pictures were expected in it")
    return root / PICTURES, set()


def _packed_names(archive: Path) -> set[str]:
    try:
        members = _opened(str(archive)).namelist()
    except SPOILT as error:
        raise ValueError(f"{archive}: not a readable zip archive ({error})") from None
    if outside := [name for name in members if name.startswith("/") or ".." in name.split("/")]:
        raise ValueError(f"{archive}: {outside[0]} leads out of the archive")
    return _picture_names(name.removeprefix(f"{PICTURES}/") for name in members)


def _picture_names(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.lower().endswith(SUFFIXES)}


def _annotation_file(root: Path, name: str) -> Path:
    """Path of an annotation file: in its own spelling, else as `.csv`; in the root itself where there is none."""
    places = [root / shelf / name for shelf in SHELVES]
    spelt = [*places, *(place.with_suffix(".csv") for place in places)]
    return next((path for path in spelt if path.is_file()), root / name)


def _read_persons(path: Path) -> pd.DataFrame:
    lines = _lines(path)
    table = _parse(path, lines, _head(path, lines), ["file", "person"], {"person": str})
    good = table["person"].str.fullmatch("[0-9]{1,18}", na=False)
    _refuse(path, ~good, table["person"], "a person's number was expected")
    return table.astype({"person": np.int64})


def _read_splits(path: Path) -> pd.DataFrame:
    lines = _lines(path)
    table = _parse(path, lines, _head(path, lines), ["file", "split"], {"split": str})
    _refuse(path, ~table["split"].isin(SPLITS), table["split"], "partition 0, 1 or 2 was expected")
    return table.assign(split=table["split"].map(SPLITS))


def _read_attributes(path: Path) -> pd.DataFrame:
    lines = _lines(path)
    names, head = _attribute_names(path, lines)
    table = _parse(path, lines, head, ["file", *names], {})
    if head == 2 and lines[0].split() != [str(len(table))]:
        raise ValueError(f"{path}, row 1: announces {lines[0].strip()!r} rows, the file holds {len(table)}")
    for name in names:
        bad = ~pd.to_numeric(table[name], errors="coerce").isin([-1, 1])
        _refuse(path, bad, table[name], f"1 or -1 was expected for {name}")
    return table[["file"]].join(table[list(ATTRIBUTES)] == 1)


def _attribute_names(path: Path, lines: list[str]) -> tuple[list[str], int]:
    """The 40 names in the order of the columns, and how many lines come before the first picture."""
    head = 1 if path.suffix == ".csv" else 2
    names = lines[head - 1].split(_separator(path)) if len(lines) >= head else []
    names = names[1:] if path.suffix == ".csv" else names  # the column of file names has one, too
    if sorted(names) != sorted(ATTRIBUTES):
        unlike = " ".join(sorted(set(names) ^ set(ATTRIBUTES))) or "one is repeated"
        raise ValueError(f"{path}, row {head}: CelebA's 40 attribute names were expected, these differ: {unlike}")
    return names, head


def _lines(path: Path) -> list[str]:
    """Lines of a text file, at either kind of line end; line i is row i + 1 of every message."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; CelebA's annotation file was expected here")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if "\0" in text:
        raise ValueError(f"{path}, row {text[:text.index(chr(0))].count(chr(10)) + 1}: UTF-8 text was expected")
    return text.rstrip().split("\n")


def _head(path: Path, lines: list[str]) -> int:
    """1 where a `.csv` begins with the names of its columns, else 0."""
    return int(path.suffix == ".csv" and not lines[0].split(",")[0].lower().endswith(SUFFIXES))


def _separator(path: Path) -> str | None:
    """Text between two columns; None is any white space, as in `str.split`."""
    return "," if path.suffix == ".csv" else None


def _parse(path: Path, lines: list[str], head: int, names: list[str], dtype: dict) -> pd.DataFrame:
    """Rows after the first `head` as a table whose index is the row number in the file."""
    if not "".join(lines[head:]).strip():
        raise ValueError(f"{path}, row {head + 1}: the file holds no rows")
    separator = _separator(path)
    for row, line in enumerate(lines[head:], head + 1):
        if (count := len(line.split(separator))) != len(names):
            raise ValueError(f"{path}, row {row}: {count} columns where {len(names)} were expected")
    table = pd.read_csv(
        StringIO("\n".join(lines[head:])),
        sep=separator or r"\s+",
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


def _check_same_files(files: dict[Path, pd.Series]) -> None:
    """Every annotation file must speak of the same pictures."""
    for (here, names), (there, others) in permutations(files.items(), 2):
        if names.array.equals(others.array):  # the usual case, and quick
            continue
        lacking = ~names.isin(others)
        if lacking.any():
            row = lacking.idxmax()
            raise ValueError(f"{here}, row {row}: {names[row]} has no row in {there.name}")
