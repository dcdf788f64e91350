"""Reader of a folder a person, such as LFW or own photographs: one table row a picture out. No torch.

    <root>/<person>/<picture>.jpg            also .jpeg, .png, .webp, in any case
    <root>/<person>/<picture>.txt            own captions, one beside each picture, or
    <root>/captions.csv                      file,caption with a file as <person>/<picture>.jpg

https://vis-www.cs.umass.edu/lfw/ is laid out so.
"""

import csv
import os
from collections.abc import Mapping
from hashlib import sha256
from io import StringIO
from pathlib import Path
from unicodedata import normalize

import pandas as pd

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CAPTIONS = "captions.csv"


def read_folders(root: str | Path) -> pd.DataFrame:
    """One row a picture, sorted by person and file name.

    Columns: file ("person/picture.jpg"), path (str), person (int, 0… in the order of the names), name (str), split
    ("train", "val" or "test", see `split_of`) and, where there are own captions, caption (str).
    `attrs["without_pictures"]` counts folders without a picture. Hidden files are passed over.
    Raises FileNotFoundError (folder or every picture absent) and ValueError (a caption that is absent or unreadable).
    """
    root = Path(root)
    people = {name: _picture_names(root / name) for name in _person_names(root)}
    names = [name for name, files in people.items() if files]
    if not names:
        raise FileNotFoundError(f"{root}: no pictures here; <person>/<picture>.jpg was expected")
    rows = [(f"{name}/{file}", i, name) for i, name in enumerate(names) for file in people[name]]
    pictures = pd.DataFrame(rows, columns=["file", "person", "name"])
    pictures.insert(1, "path", [os.path.join(root, file) for file in pictures["file"]])
    pictures["split"] = pictures["name"].map({name: split_of(name) for name in names})
    if (captions := _read_captions(root, pictures["file"].tolist())) is not None:
        pictures["caption"] = captions
    pictures.attrs = {"without_pictures": len(people) - len(names)}
    return pictures


def picture_files(folder: str | Path) -> list[Path]:
    """The pictures in one folder, by name. FileNotFoundError where there is no such folder, or none in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; pictures of one person were expected in it")
    if not (names := _picture_names(folder)):
        raise FileNotFoundError(f"{folder}: no picture here; files ending in {', '.join(SUFFIXES)} were expected")
    return [folder / name for name in names]


def split_of(name: str) -> str:
    """The split of a person, by the hash of the name alone: 80 % train, 10 % val, 10 % test of many people.

    Whoever is added, everybody else stays. Of few people a split may hold nobody.
    """
    digest = sha256(normalize("NFC", name).encode(errors="surrogateescape")).digest()  # NFC: as on any file system
    tenth = int.from_bytes(digest[:8], "big") % 10
    return {8: "val", 9: "test"}.get(tenth, "train")


def _person_names(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; a folder for each person was expected in it")
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _picture_names(folder: Path) -> list[str]:
    files = (entry.name for entry in os.scandir(folder) if entry.is_file())
    return sorted(name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def _read_captions(root: Path, files: list[str]) -> list[str] | None:
    """The caption of each file, from `captions.csv` if it is there, else from the texts beside; None without any."""
    table = root / CAPTIONS
    captions = _captions_of_table(table) if table.is_file() else _captions_beside(root, files)
    if not captions and not table.is_file():
        return None
    return [_caption_of(root, file, captions) for file in files]


def _caption_of(root: Path, file: str, captions: Mapping[str, str]) -> str:
    if not (text := captions.get(file)):
        raise ValueError(f"{root / file}: no caption; other pictures have one, so each was expected to")
    return text


def _captions_beside(root: Path, files: list[str]) -> dict[str, str]:
    paths = {file: (root / file).with_suffix(".txt") for file in files}
    return {file: _one_line(_text(path)) for file, path in paths.items() if path.is_file()}


def _captions_of_table(path: Path) -> dict[str, str]:
    """file => caption; pictures that are not here may be spoken of."""
    reader = csv.reader(StringIO(_text(path)))
    if (head := next(reader, [])) != ["file", "caption"]:
        raise ValueError(f"{path}, row 1: the columns file,caption were expected, found {','.join(head)}")
    captions: dict[str, str] = {}
    for row in filter(None, reader):
        if len(row) != 2 or row[0] in captions:
            why = "a second caption of it" if row[0] in captions else f"{len(row)} columns where 2 were expected"
            raise ValueError(f"{path}, row {reader.line_num}: {row[0]}: {why}")
        captions[row[0]] = _one_line(row[1])
    return captions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: UTF-8 text was expected ({error.reason} at byte {error.start})") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())
