"""How long CelebA's annotations take to read, held against pandas, which reads the same columns unchecked.

    python benchmarks/read_annotations.py [FOLDER]    # half a minute on one core

A B A B in one process, on annotations of CelebA's real size made at random and on the real ones, if they are in FOLDER
(data/sd15 by default): no picture is needed. How to read `results/bench/read_annotations.csv`: a row is a set of
annotations; `seconds` is the median of the rounds for our reader by the clock, `slowest` the largest, `cpu` the median
by the processor, which is what it takes where nothing else runs; `unchecked` is the processor's median for pandas,
`ratio` the median of the paired ratios, `low` and `high` its quartiles. Without the real annotations their row stays
as it was.
"""
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ipa_lib import files
from ipa_lib.data import celeba
from ipa_lib.workflow import paths

ROWS, PEOPLE, ROUNDS = 202_599, 10_177, 7
MEASURED = files.ROOT / "results/bench/read_annotations.csv"


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
        pd.read_csv(root / name, sep=r"\s+", header=None, index_col=0, skiprows=head)


def seconds(read, root: Path) -> tuple[float, float]:
    """By the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    read(root)
    return time.perf_counter() - clock, time.process_time() - processor


def measured(name: str, root: Path) -> dict[str, object]:
    """One row of the table."""
    table = celeba.read_annotations(root)
    times = np.array([[seconds(read, root) for read in (celeba.read_annotations, read_unchecked)]
                      for _ in range(ROUNDS)])  # rounds, ours and pandas, clock and processor
    clock, cpu, unchecked = times[:, 0, 0], times[:, 0, 1], times[:, 1, 1]
    low, ratio, high = np.quantile(cpu / unchecked, [0.25, 0.5, 0.75])
    found = {"seconds": np.median(clock), "slowest": clock.max(), "cpu": np.median(cpu),
             "unchecked": np.median(unchecked), "ratio": ratio, "low": low, "high": high}
    return {"annotations": name, "rows": len(table), "people": table["person"].nunique(),
            **{key: round(float(value), 2) for key, value in found.items()}, "rounds": ROUNDS,
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores", "pandas": pd.__version__}


def kept() -> list[dict]:
    """The row of the real annotations of an earlier run."""
    table = pd.read_csv(MEASURED) if MEASURED.is_file() else pd.DataFrame({"annotations": []})
    return table[table["annotations"] == "real"].to_dict("records")


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        write_annotations(Path(made))
        rows = [measured("made at random", Path(made))]
    try:
        rows.append(measured("real", folder))
    except FileNotFoundError as error:
        print(f"real annotations: left out. {error}")
        rows += kept()
    table = pd.DataFrame(rows)
    table.to_csv(MEASURED, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else paths.data_dir("sd15"))
