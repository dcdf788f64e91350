"""Pictures that look the same though their bytes differ: another size or compression of one photograph. No torch.

A picture is its row number in a table with the columns path and person. Two pictures are compared by the 64 bits of
pHash, the signs of the low frequencies of the picture at 32 x 32: https://www.phash.org,
https://github.com/JohannesBuchner/imagehash. Byte-identical copies are the special case of distance 0.

Aligned faces resemble one another, and there are a thousand times as many pairs across people as within. Of 17 096
pictures of CelebA nearly all pairs within a person up to 6 bits are one photograph, and more than half of those at 8;
across people those up to 2 are, and those at 4 are two people who look alike. Hence two limits. Of 318 photographs
that were aligned twice, about one degree apart, 8 bits find 43 %.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from ..bars import tqdm
from ..files import atomic
from . import picture_table
from .celeba import load_picture

SIDE = 32  # what pHash looks at
BITS = 64
BLOCK = 256  # rows compared at a time: about 1 GB for all of CelebA
NAMED = {"first": str, "second": str, "distance": int, "same_person": bool}  # a pair, by the names of its files
NONE = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in NAMED.items()})


def find(pictures: pd.DataFrame, limit: int = 8, limit_across: int = 2) -> pd.DataFrame:
    """Pairs of pictures that differ in at most `limit` bits within a person, `limit_across` across people.

    Columns: first, second (row numbers of `pictures`, first < second), distance (bits) and same_person (bool); sorted
    by first, then second. Raises ValueError for a limit outside 0 … 64, and as `celeba.load_picture`.
    """
    for name, value in (("limit", limit), ("limit_across", limit_across)):
        if not 0 <= value <= BITS:
            raise ValueError(f"{name} = {value}; 0 to {BITS} bits was expected")
    people = pd.factorize(pictures["person"])[0]
    parts = list(_close_pairs(hashes(pictures["path"]), people, limit, limit_across))
    first, second, distance = np.concatenate([np.empty((3, 0), int), *parts], axis=1)  # [3, P]
    same = people[first] == people[second]
    return pd.DataFrame({"first": first, "second": second, "distance": distance, "same_person": same})


def drop(pictures: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The pictures without those that are `second` of a pair of one person: of look-alikes the first is kept.

    Rows are numbered anew. `attrs["near_duplicates"]` counts the pictures left out, `attrs["across_people"]` the pairs
    of two people, of which both stay: which of the two labels is wrong can't be told from the pictures.
    """
    again = pairs.loc[pairs["same_person"], "second"].unique()
    kept = pictures.drop(index=pictures.index[again]).reset_index(drop=True)
    counts = {"near_duplicates": len(again), "across_people": int((~pairs["same_person"]).sum())}
    kept.attrs = pictures.attrs | counts
    return kept


def copies(pictures: pd.DataFrame) -> pd.DataFrame:
    """`named` pairs of distance 0: each byte-identical copy within a person, after the picture that is kept of it.

    `pictures` has the column sha256. Without these pairs a base would learn from copies that an experiment leaves out.
    """
    again = picture_table.copies(pictures)
    first = pictures.groupby(["person", "sha256"])["file"].transform("first")
    pairs = pd.DataFrame({"first": first, "second": pictures["file"], "distance": 0, "same_person": True})
    return pairs[again].astype(NAMED).reset_index(drop=True)


def named(pictures: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with the names of the files in place of row numbers, which another table of the people has otherwise."""
    first, second = (pictures["file"].to_numpy()[pairs[column]] for column in ("first", "second"))
    return pairs.assign(first=first, second=second)


def write_pairs(pairs: pd.DataFrame, path: str | Path) -> None:
    """Store `named` pairs, or `NONE`."""
    with atomic(path) as file:
        pairs.to_csv(file, index=False)


def read_pairs(path: str | Path) -> pd.DataFrame:
    """Table that `write_pairs` stored. FileNotFoundError without it, ValueError where it is no such table."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such table; run notebooks/01_prepare_data.ipynb")
    try:
        return pd.read_csv(path, usecols=list(NAMED), dtype=NAMED, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path}: not a table of pairs ({error}); run notebooks/01_prepare_data.ipynb") from None


def hashes(paths: Iterable[str]) -> np.ndarray:
    """pHash of each picture: uint64 [M]."""
    bar = tqdm(list(paths), desc="hashes", unit="picture", mininterval=2)
    bits = [imagehash.phash(Image.fromarray(load_picture(path, SIDE))).hash.ravel() for path in bar]
    packed = np.packbits(np.reshape(bits, (-1, BITS)).astype(bool), axis=1)  # [M, 8] bytes
    return packed.view(np.uint64).ravel()


def _close_pairs(codes: np.ndarray, people: np.ndarray, limit: int, limit_across: int) -> Iterator[np.ndarray]:
    """(first, second, distance) [3, p] of the pairs whose first picture is in a block of rows, block after block."""
    for start in range(0, len(codes), BLOCK):
        block, rest = slice(start, start + BLOCK), slice(start, None)
        distance = np.bitwise_count(codes[block, None] ^ codes[rest])  # [b, M - start]
        allowed = np.where(people[block, None] == people[rest], limit, limit_across)
        row, column = np.nonzero(np.triu(distance <= allowed, k=1))
        yield np.stack([start + row, start + column, distance[row, column]])
