"""How long CelebA's annotations take to read, held against pandas, which reads the same columns unchecked.

A B A B in one process on annotations of CelebA's real size, made at random; prints the seconds of each and the median
of the paired ratios with its quartiles.
"""
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ipa_lib import celeba

ROWS, PEOPLE, ROUNDS = 202_599, 10_177, 7


def write_annotations(root: Path) -> None:
    """Three files in CelebA's own layout."""
    rng = np.random.default_rng(0)
    names = np.array([f"{i:06d}.jpg" for i in range(1, ROWS + 1)])
    person = rng.permutation(np.arange(ROWS) % PEOPLE + 1)
    attributes = pd.DataFrame(rng.choice([-1, 1], (ROWS, len(celeba.ATTRIBUTES))), names)
    pd.Series(person, names).to_csv(root / celeba.IDENTITY, sep=" ", header=False)
    pd.Series(person % 3, names).to_csv(root / celeba.PARTITION, sep=" ", header=False)
    with open(root / celeba.ATTRIBUTE, "w") as file:
        file.write(f"{ROWS}\n{' '.join(celeba.ATTRIBUTES)}\n")
        attributes.to_csv(file, sep=" ", header=False)


def read_unchecked(root: Path) -> None:
    for name, head in ((celeba.IDENTITY, 0), (celeba.PARTITION, 0), (celeba.ATTRIBUTE, 2)):
        pd.read_csv(root / name, sep=" ", header=None, index_col=0, skiprows=head)


def seconds(read, root: Path) -> float:
    start = time.perf_counter()
    read(root)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(root := Path(folder))
        ours, pandas = np.array([[seconds(read, root) for read in (celeba.read_annotations, read_unchecked)]
                                 for _ in range(ROUNDS)]).T
    low, middle, high = np.quantile(ours / pandas, [0.25, 0.5, 0.75])
    print(f"{ROWS} rows: {np.median(ours):.2f} s checked, {np.median(pandas):.2f} s unchecked, "
          f"{middle:.2f} times as long [{low:.2f}; {high:.2f}]")


if __name__ == "__main__":
    main()
