"""A dataset of the `datasets` library, on the hub or in a folder, written once as a folder a person. No torch.

    <folder>/<identity>/<row>.jpg …          the stored bytes where they are JPEG, PNG or WebP, else PNG
    <folder>/hub_data.json                   which dataset and columns, and whether all of it is here

https://huggingface.co/docs/datasets/loading
"""

import json
import re
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from ..files import atomic
from .celeba import BOMBS
from .folders import read_folders

STAMP = "hub_data.json"
STORED = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}  # formats that are kept as they are
UNFIT = re.compile(r"[/\\%\x00-\x1f]|^\.")  # in the name of a folder: written as %2F, so that no two names become one


def read_hub_dataset(
    name_or_folder: str | Path, identity_column: str, image_column: str, folder: str | Path
) -> pd.DataFrame:
    """The pictures of all splits of a dataset, in `folder`, as `folders.read_folders` reads them.

    `name_or_folder`: a name on the hub, or a local folder that `load_dataset` or `load_from_disk` reads. A person is a
    value of `identity_column`, a class label its name. A finished folder is left alone, the dataset not even opened;
    an interrupted one is continued. Remove the folder to read a dataset anew.
    Raises ImportError without `datasets`; ValueError for an absent column, a row without identity or readable picture,
    and a folder that holds something else; and what `datasets` raises where there is no such dataset.
    """
    folder = Path(folder)
    source = {"dataset": str(name_or_folder), "identity": identity_column, "image": image_column}
    if not _finished(folder, source):
        rows = _load(source)
        people = _folder_names(rows, source)
        _write_stamp(folder, source, finished=False)
        _write_pictures(rows, people, source, folder)
        _write_stamp(folder, source, finished=True)
    return read_folders(folder)


def _load(source: dict):
    """All rows of a dataset: a `datasets.Dataset` of the two columns, its pictures as they are stored."""
    datasets, name, columns = _library(), source["dataset"], [source["identity"], source["image"]]
    saved = any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json"))
    found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    rows = datasets.concatenate_datasets(list(found.values())) if isinstance(found, dict) else found
    if absent := [column for column in columns if column not in rows.column_names]:
        raise ValueError(f"{name}: no column {absent[0]!r}; it has {', '.join(rows.column_names)}")
    try:
        return rows.select_columns(columns).cast_column(source["image"], datasets.Image(decode=False))
    except (TypeError, NotImplementedError):
        raise ValueError(f"{name}: column {source['image']!r} holds no pictures") from None


def _library():
    try:
        import datasets
    except ImportError:
        raise ImportError("datasets of the hub are read by the package `datasets`: pip install datasets") from None
    return datasets


def _folder_names(rows, source: dict) -> list[str]:
    """The name of a person's folder for each row."""
    values, feature = rows[source["identity"]][:], rows.features[source["identity"]]
    if hasattr(feature, "int2str"):  # a class label
        values = [value if value is None else feature.int2str(value) for value in values]
    texts = ["" if value is None else str(value) for value in values]
    if "" in texts:
        row = texts.index("")
        raise ValueError(f"{source['dataset']}, row {row}: an identity was expected in column {source['identity']!r}")
    return [UNFIT.sub(lambda found: f"%{ord(found[0]):02X}", text) for text in texts]


def _write_pictures(rows, people: list[str], source: dict, folder: Path) -> None:
    for person in set(people):
        (folder / person).mkdir(exist_ok=True)
    here = {str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/[!.]*")}
    for row, person in enumerate(tqdm(people, desc="pictures", unit="picture", mininterval=2)):
        stem = f"{person}/{row:06d}"
        if stem not in here:
            data, suffix = _stored(rows[row][source["image"]], f"{source['dataset']}, row {row}")
            with atomic(folder / f"{stem}{suffix}") as path:
                path.write_bytes(data)


def _stored(value: dict | None, place: str) -> tuple[bytes, str]:
    """The bytes of a picture and the suffix of their format."""
    try:
        data = value["bytes"] or Path(value["path"]).read_bytes()
        with Image.open(BytesIO(data)) as image:
            return (data, STORED[image.format]) if image.format in STORED else (_as_png(image), ".png")
    except (TypeError, OSError, *BOMBS) as error:
        raise ValueError(f"{place}: not a readable picture ({error})") from None


def _as_png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue()


def _finished(folder: Path, source: dict) -> bool:
    """Whether `folder` holds all of the dataset; ValueError where it holds something else."""
    path = folder / STAMP
    if not path.is_file():
        if folder.is_dir() and any(not found.name.startswith(".") for found in folder.iterdir()):
            raise ValueError(f"{folder}: holds files but no {STAMP}; a new or empty folder was expected")
        return False
    found = json.loads(path.read_text())
    finished = found.pop("finished", False)
    if found != source:
        raise ValueError(f"{path}: says {found}, expected {source}; choose another folder or remove this one")
    return finished


def _write_stamp(folder: Path, source: dict, finished: bool) -> None:
    with atomic(folder / STAMP) as path:
        path.write_text(json.dumps(source | {"finished": finished}, indent=1) + "\n")
