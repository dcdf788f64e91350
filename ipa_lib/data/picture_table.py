"""The people of an experiment: the pictures that a reader found, some chosen, and one table that all stages share.

    <results>/pictures.csv    file path person split sha256, 40 attributes (CelebA), caption where there are own ones

A picture is its row number in this table. Paths inside the repository are written relative to it. No torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import ROOT, atomic, short
from .celeba import is_celeba, picture_bytes, read_celeba
from .folders import read_folders

COLUMNS = ["file", "path", "person", "split"]


def read(folder: str | Path) -> pd.DataFrame:
    """The pictures of a folder, in CelebA's layout or with a folder a person; errors as the two readers raise."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; CelebA's files or a folder for each person were expected")
    return read_celeba(folder) if is_celeba(folder) else read_folders(folder)


def with_hashes(pictures: pd.DataFrame) -> pd.DataFrame:
    """The table with the column sha256, of the pictures' bytes; one that has it is returned as it is."""
    if "sha256" in pictures:
        return pictures
    return pictures.assign(sha256=[_content(path) for path in pictures["path"]])


def copies(pictures: pd.DataFrame) -> pd.Series:
    """Bool for each row of a table `with_hashes`: do its bytes equal those of an earlier picture of the person?"""
    return pictures.duplicated(["person", "sha256"])


def check_contents(pictures: pd.DataFrame) -> None:
    """ValueError that names the first picture whose bytes are not those of its sha256; nothing without that column."""
    for file, path, expected in zip(pictures["file"], pictures["path"], pictures.get("sha256", []), strict=False):
        if _content(path) != expected:
            raise ValueError(f"{file}: changed since the table was made; run notebooks/01_prepare_data.ipynb again")


def stamp(folder: str | Path) -> str:
    """Digest of names, sizes and times of all files of a folder; empty where there are none."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if files else ""


def _content(path: str | Path) -> str:
    return hashlib.sha256(picture_bytes(path)).hexdigest()


def choose(pictures: pd.DataFrame, min_pictures: int, people: int = 0, seed: int = 0) -> pd.DataFrame:
    """The rows of people with `min_pictures` pictures or more, of about `people` of them (0: of all), row order kept.

    Who stays is drawn at random, in each split the same share, rounded, and one person at least: that may be a few more
    or fewer than `people`. ValueError where nobody has so many pictures.
    """
    counts = pictures.groupby("person")["file"].transform("size")
    enough = pictures[counts >= min_pictures]
    if enough.empty:
        raise ValueError(f"nobody has {min_pictures} pictures; the most are {counts.max() if len(counts) else 0}")
    splits = enough.drop_duplicates("person").set_index("person")["split"]
    if not people or people >= len(splits):
        return enough.reset_index(drop=True)
    rng, share = np.random.default_rng(seed), people / len(splits)
    kept = [rng.permutation(np.sort(own.index))[: max(1, round(share * len(own)))] for _, own in splits.groupby(splits)]
    return enough[enough["person"].isin(np.concatenate(kept))].reset_index(drop=True)


def with_validation(pictures: pd.DataFrame, min_pictures: int, share: float = 0.15, seed: int = 0) -> pd.DataFrame:
    """The same where there are validation people; else training people, drawn at random, become these.

    A part of CelebA may have none. `share` of those with `min_pictures` pictures or more is set aside: the others make
    no set to validate with, and a base can learn from them. Somebody stays in training: with one such person there is
    nobody to take.
    """
    counts = pictures.loc[pictures["split"] == "train", "person"].value_counts()
    people = np.sort(counts.index[counts >= min_pictures])
    if (pictures["split"] == "val").any() or len(people) < 2:
        return pictures
    count = max(1, round(share * len(people)))
    chosen = np.random.default_rng(seed).permutation(people)[:count]
    return pictures.assign(split=pictures["split"].mask(pictures["person"].isin(chosen), "val"))


def for_training(everyone: pd.DataFrame, taking_part: pd.DataFrame, alike: pd.DataFrame) -> pd.DataFrame:
    """The rows of `everyone` that a base may learn from: training people, whom `taking_part` has in no other split.

    everyone: all that a reader found, also people with few pictures; taking_part: the table of the experiment; alike:
    pairs of files that look the same, as `near_duplicates.read_pairs` gives them. Of a pair of one person the second
    goes, as in the experiment; what looks like a picture of a person in another split goes, whoever it is said to show.
    """
    reserved = taking_part.loc[taking_part["split"] != "train", "person"]
    kept = (everyone["split"] == "train") & ~everyone["person"].isin(reserved)
    again = alike.loc[alike["same_person"], "second"]
    pairs, theirs = alike[["first", "second"]], everyone.loc[everyone["person"].isin(reserved), "file"]
    shown = pairs[pairs.isin(theirs.tolist()).any(axis=1)].to_numpy().ravel()
    return everyone[kept & ~everyone["file"].isin([*again, *shown])].reset_index(drop=True)


def set_apart(pictures: pd.DataFrame, people: int, taking_part: pd.DataFrame, seed: int = 0,
              ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the rest, the pictures of `people` persons drawn at random from those who are not among `taking_part`).

    ValueError where there are not so many.
    """
    others = np.setdiff1d(pictures["person"], taking_part["person"])
    if len(others) < people:
        raise ValueError(f"judge_people: {people} were asked for, and {len(others)} take no part in the experiment")
    apart = pictures["person"].isin(np.random.default_rng(seed).permutation(others)[:people])
    return pictures[~apart].reset_index(drop=True), pictures[apart].reset_index(drop=True)


def write_table(pictures: pd.DataFrame, path: str | Path) -> None:
    """Store the table."""
    relative = [short(one) for one in pictures["path"]]
    with atomic(path) as file:
        pictures.assign(path=relative).to_csv(file, index=False)


def read_table(path: str | Path) -> pd.DataFrame:
    """Table that `write_table` stored, with whole paths. FileNotFoundError without it, ValueError without a column."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such table; run notebooks/01_prepare_data.ipynb")
    try:
        pictures = pd.read_csv(path, dtype={"file": str, "name": str, "caption": str}, keep_default_na=False)
    except ValueError as error:  # pandas' own kinds, and bytes that are no text
        raise ValueError(f"{path}: not a table ({error}); run notebooks/01_prepare_data.ipynb") from None
    if missing := [name for name in COLUMNS if name not in pictures]:
        raise ValueError(f"{path}: the column {missing[0]} is missing; expected {', '.join(COLUMNS)}")
    return pictures.assign(path=[str(ROOT / one) for one in pictures["path"]])
