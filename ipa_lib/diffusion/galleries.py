"""Pictures that a run has made, on disk: one PNG a sample and an index that is written last.

    <folder>/lam0.5/000123_0.png     person 123, sample 0, λ = 0.5
    <folder>/index.csv               a row a picture, with the files of its target, prompts and held-out pictures
    <folder>/settings.json           the parameters of the run
    <folder>/.begun.json             how the pictures of an unfinished gallery are made
"""
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ..data.celeba import load_pictures, picture_size
from ..data.windows import prompt_windows, visible
from ..files import atomic

LISTS = ("prompts", "held_out")  # columns of the index with several files, as JSON: a name may hold anything
BEGUN = ".begun.json"


def picture_file(person: int, sample: int, lam: float) -> str:
    """Name of a picture within its gallery."""
    return f"lam{lam:g}/{person:06d}_{sample}.png"


def begin(folder: Path, **how: object) -> None:
    """Open a gallery for pictures that are made in this way (of JSON's kinds).

    Those that an interrupted run has made in the very same way are kept; all others go, and a finished one's index.
    """
    begun, text = folder / BEGUN, json.dumps(how, indent=1) + "\n"
    (folder / "index.csv").unlink(missing_ok=True)
    if begun.is_file() and begun.read_text() == text:
        return
    for old in folder.glob("lam*"):
        shutil.rmtree(old)
    with atomic(begun) as file:
        file.write_text(text)


def are_made(folder: Path, rows: pd.DataFrame) -> bool:
    """Tell whether the pictures of all `rows` are there. Columns person, sample, lam."""
    return all((folder / picture_file(row.person, row.sample, row.lam)).is_file() for row in rows.itertuples())


def write_pictures(folder: Path, rows: pd.DataFrame, pictures: np.ndarray) -> None:
    """Store uint8 `pictures` [S,H,W,3]; `rows` [S] has the columns person, sample, lam."""
    for row, picture in zip(rows.itertuples(), pictures, strict=True):
        with atomic(folder / picture_file(row.person, row.sample, row.lam)) as file:
            Image.fromarray(picture).save(file)


def named_sets(sets: pd.DataFrame, files: pd.Series) -> pd.DataFrame:
    """Evaluation sets with row numbers turned into `files`: target a file, prompts and held_out lists of files."""
    named = sets.assign(target=files.loc[sets["target"]].to_numpy())
    return named.assign(**{column: [list(files.loc[list(rows)]) for rows in sets[column]] for column in LISTS})


def write_index(folder: Path, sets: pd.DataFrame, lams: Sequence[float], files: pd.Series, **settings) -> None:
    """Finish a gallery: a row for each set and λ, λ running fastest, and the settings of the run."""
    index = named_sets(sets, files)
    index[list(LISTS)] = index[list(LISTS)].map(partial(json.dumps, ensure_ascii=False))
    with atomic(folder / "settings.json") as file:
        file.write_text(json.dumps(settings, indent=1) + "\n")
    with atomic(folder / "index.csv") as file:
        index.merge(pd.DataFrame({"lam": list(lams)}), how="cross").to_csv(file, index=False)
    (folder / BEGUN).unlink(missing_ok=True)  # made again, a finished gallery is made from its first picture on


def read_index(folder: Path) -> tuple[pd.DataFrame, dict]:
    """Index and settings of a finished gallery.

    FileNotFoundError where the run has not come to its end, ValueError where one of the two is damaged.
    """
    if not (folder / "index.csv").is_file():
        raise FileNotFoundError(f"{folder}: no finished gallery here; run notebooks/05_generate.ipynb")
    try:
        index = pd.read_csv(folder / "index.csv")
        for column in LISTS:
            index[column] = index[column].map(json.loads)
        return index, json.loads((folder / "settings.json").read_text())
    except (ValueError, KeyError, OSError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{folder}: the gallery is damaged ({why}); run notebooks/05_generate.ipynb again") from None


def read_pictures(folder: Path, index: pd.DataFrame) -> np.ndarray:
    """uint8 pictures [S,H,W,3] of the rows of an index; ValueError where there are none."""
    if index.empty:
        raise ValueError(f"{folder}: no picture is meant; people, samples and λ of its index.csv were expected")
    files = [folder / picture_file(row.person, row.sample, row.lam) for row in index.itertuples()]
    return load_pictures(files, picture_size(files[0]))


def shown(folder: Path, index: pd.DataFrame, pictures: pd.DataFrame, n_refs: int, people: int) -> tuple:
    """Pictures of the first `people` of an index for `grids.sample_grid`.

    `pictures` is the table of `picture_table.read_table`. Returns prompts [R,N,H,W,3] as they were shown, truths
    [R,H,W,3], samples [R,Λ,H,W,3] and the Λ values of λ.
    """
    lams = index["lam"].unique().tolist()
    rows = index[index["person"].isin(index["person"].unique()[:people]) & (index["sample"] == 0)]
    samples = read_pictures(folder, rows)
    size, sets = samples.shape[1], rows.drop_duplicates("person")
    paths = pictures.set_index("file")["path"]
    _, settings = read_index(folder)
    prompts = np.stack([load_pictures(paths.loc[files[:n_refs]], size) for files in sets["prompts"]])
    truths = load_pictures(paths.loc[sets["target"]], size)
    samples = samples.reshape(len(sets), len(lams), *samples.shape[1:])
    return as_shown(prompts, sets, settings.get("prompts", "own")), truths, samples, lams


def as_shown(pictures: np.ndarray, sets: pd.DataFrame, prompts: str) -> np.ndarray:
    """Prompts [R,N,H,W,3] of `sets` [R] with what the condition `prompts` hides in grey."""
    windows = prompt_windows(sets, prompts, *pictures.shape[1:3])                       # [R,N,3]
    if windows is None:
        return pictures
    flat = windows.reshape(-1, 3)
    return visible(pictures.reshape(-1, *pictures.shape[2:]), flat[:, 0], flat[:, 1:]).reshape(pictures.shape)


def over_n(folder: Path, n_refs: Sequence[int], people: int) -> np.ndarray:
    """Samples [R,1+K,H,W,3] of the first people of an adapter's galleries n<N> in `folder`, for
    `grids.generated_grid`: of the text alone (λ = 0), then of each of K `n_refs` at λ = 1, with the same noise."""
    columns = []
    for lam, n in [(0, n_refs[0]), *((1, n) for n in n_refs)]:
        index, _ = read_index(folder / f"n{n}")
        first = index[(index["lam"] == lam) & (index["sample"] == 0)].head(people)
        columns.append(read_pictures(folder / f"n{n}", first))
    return np.stack(columns, axis=1)


def of_cases(folder: Path, index: pd.DataFrame, pictures: pd.DataFrame, cases: pd.DataFrame) -> tuple:
    """Prompts [K,N,H,W,3], truths and samples [K,H,W,3] of the K `cases`, for `grids.failure_cases`.

    `cases` has the columns person, sample, lam, n_refs; `pictures` is the table of `picture_table.read_table`.
    """
    rows = cases[["person", "sample", "lam", "n_refs"]].merge(index, on=["person", "sample", "lam"])
    samples, paths = read_pictures(folder, rows), pictures.set_index("file")["path"]
    size = samples.shape[1]
    prompts = [load_pictures(paths.loc[row.prompts[:row.n_refs]], size) for row in rows.itertuples()]
    return np.stack(prompts), load_pictures(paths.loc[rows["target"]], size), samples
