"""How long a stage takes to start: from `python -m ipa_lib.workflow.runs NOTEBOOK …` until its imports are done.

    python benchmarks/stage_start.py                   # three minutes on two cores
    python benchmarks/stage_start.py --before FOLDER   # and the stages of another checkout of this repository

A stage is a copy of a notebook that holds its parameters, its imports and a cell that reads the clocks. It starts in a
kernel of its own (`plain`) and in one forked from the warm process that a workflow has (`warm`), A B A B.

How to read `results/bench/stage_start.csv`: a row is a stage and a way to start it. `seconds` is the median over the
rounds by the clock, `slowest` the largest; `cpu` the median of what papermill and the kernel take of the processor, the
warm process not counted: that takes `serves_after` seconds once a workflow until it serves, while the first stage runs.
`memory_mb` is the median of the largest resident set of the kernel (MB = 10^6 bytes); of a forked one most of it is
shared with the warm process. Without --before its rows stay as they were.
"""

import argparse
import ast
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd
from tqdm import tqdm

from ipa_lib import files
from ipa_lib.workflow import paths, runs, warm

STAGES = ("04_train_adapter", "05_generate", "06_evaluate", "10_ablate_n_refs", "14_write_paper")
ROUNDS = 5
MEASURED = files.ROOT / "results/bench/stage_start.csv"
READ_CLOCKS = """
import json, resource, time
print(json.dumps([time.time(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""
ENVIRONMENT = runs.KERNEL_ENVIRONMENT | dict(os.environ) | warm.ONE_THREAD  # of a job of one thread
ENVIRONMENT.pop("IPA_WARM", None)


def imports_alone(notebook: Path, folder: Path) -> Path:
    """A copy of a notebook in `folder`: parameters, all of its imports, and the clocks."""
    copy = nbformat.read(notebook, as_version=4)
    cells = [cell for cell in copy.cells if cell.cell_type == "code"]
    body = [node for cell in cells[1:] if not cell.source.startswith("%") for node in ast.parse(cell.source).body]
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    copy.cells = [cells[0], nbformat.v4.new_code_cell("\n".join(imports)), nbformat.v4.new_code_cell(READ_CLOCKS)]
    nbformat.write(copy, folder / notebook.name)
    return folder / notebook.name


def start(notebook: Path, tree: Path, **variables: str) -> dict[str, float]:
    """One start by the sources of `tree`: seconds by the clock and by the processor, MB of memory."""
    output = notebook.with_suffix(".out.ipynb")
    command = [sys.executable, "-m", "ipa_lib.workflow.runs", str(notebook), str(output), "-q"]
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    subprocess.run(command, cwd=tree, env=ENVIRONMENT | {"PYTHONPATH": str(tree)} | variables, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ready, kernel, memory = json.loads(nbformat.read(output, as_version=4).cells[-1].outputs[0].text)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime  # with the kernel where that is a child
    return {"seconds": ready - began, "cpu": cpu + kernel * ("IPA_WARM" in variables), "memory_mb": memory / 1e6}


@contextmanager
def warm_process(folder: Path) -> Iterator[tuple[str, float]]:
    """(socket, seconds until it serves) of a server that ends with the block."""
    path, began = str(folder / "warm"), time.time()
    command = [sys.executable, "-m", "ipa_lib.workflow.warm", path, str(os.getpid())]
    server = subprocess.Popen(command, cwd=files.ROOT, env=ENVIRONMENT | {"PYTHONPATH": str(files.ROOT)},
                              stderr=subprocess.DEVNULL)  # fmt: skip
    notebook = imports_alone(paths.NOTEBOOKS / f"{STAGES[0]}.ipynb", folder)
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        start(notebook, files.ROOT, IPA_WARM=path)
        yield path, time.time() - began
    finally:
        server.terminate()
        server.wait()


def measure(before: Path | None, rounds: int) -> pd.DataFrame:
    """A row a start, every stage in every way once a round."""
    rows = []
    with tempfile.TemporaryDirectory() as name, warm_process(folder := Path(name)) as (socket, serves_after):
        ways = {"plain": (files.ROOT, {}), "warm": (files.ROOT, {"IPA_WARM": socket})}
        ways |= {"before": (before, {})} if before else {}
        notebooks = {stage: imports_alone(paths.NOTEBOOKS / f"{stage}.ipynb", folder) for stage in STAGES}
        for _ in tqdm(range(rounds), mininterval=5):
            rows += [{"stage": stage, "way": way, **start(notebook, tree, **variables), "serves_after": serves_after}
                     for stage, notebook in notebooks.items() for way, (tree, variables) in ways.items()]  # fmt: skip
    return pd.DataFrame(rows)


def summary(starts: pd.DataFrame) -> pd.DataFrame:
    groups = starts.groupby(["stage", "way"], as_index=False)
    table = groups.agg(seconds=("seconds", "median"), slowest=("seconds", "max"), cpu=("cpu", "median"),
                       memory_mb=("memory_mb", "median"), rounds=("cpu", "size"),
                       serves_after=("serves_after", "first"))  # fmt: skip
    table.loc[table["way"] != "warm", "serves_after"] = float("nan")
    return table.assign(hardware=f"{platform.machine()}, {os.cpu_count()} cores").round(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--before", type=Path, help="a checkout of another commit, whose stages start the plain way")
    options = parser.parse_args()
    table = summary(measure(options.before, options.rounds))
    if MEASURED.is_file() and not options.before:
        earlier = pd.read_csv(MEASURED)
        table = pd.concat([table, earlier[earlier["way"] == "before"]])
    table = table.sort_values(["stage", "way"])
    with files.atomic(MEASURED) as file:
        table.to_csv(file, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
