"""Execute a notebook as a step of the workflow, and write down how a result came about.

    python -m ipa_lib.workflow.runs notebooks/05_generate.ipynb results/mini/05_generate.ipynb -p people 8 -p lam 0.5

Papermill only warns of a misspelt parameter and writes its output in pieces: here the parameters are held
against the notebook first, and the executed copy appears under its name when it is complete.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
import psutil

from ..files import ROOT, atomic, sha256, short, sweep
from .config import check_values, find_notebook

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "torchmetrics", "numpy", "pandas", "pillow")
KERNEL_ENVIRONMENT = {
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment before one in the user's home
    "PYTHONHASHSEED": "0",
}
# What a cell raises, papermill says: of the kernel itself not even its errors, such as the interrupt that ends it.
KERNEL_OPTIONS = {"kernel_name": "python3", "extra_arguments": ["--IPKernelApp.log_level=50"]}
# a user's mistake, a disk that is full or protected, numbers that are none: one line says it all
EXPECTED = ("ValueError", "FileNotFoundError", "OSError", "FloatingPointError")


class NotebookError(Exception):
    """A cell raised. `line` names the notebook, the cell and the exception; `traceback` is the cell's."""

    def __init__(self, line: str, traceback: str = ""):
        super().__init__(line)
        self.line, self.traceback = line, traceback


# --- execute ---


def execute(notebook: Path, output: Path, values: Mapping[str, object], progress: bool = True) -> None:
    """Run `notebook` with `values` as its parameters in a kernel of this environment; `output` is the copy.

    Raises ValueError for a parameter that the notebook lacks or of a wrong type, before anything runs, and
    NotebookError when a cell raises: then the cells until there are kept as `<output stem>.failed.ipynb`.
    Of several processes that torchrun or `accelerate launch` has started each runs the notebook, and the first of them
    keeps the copy.
    """
    values = check_values(find_notebook(notebook), values)
    if int(os.environ.get("RANK", 0)) > 0:
        with tempfile.TemporaryDirectory() as folder:
            return _papermill(notebook, Path(folder) / output.name, values, progress=False)
    failed = output.with_suffix(".failed.ipynb")
    with _locked(output), atomic(output) as temporary:
        sweep(output.parent)
        try:
            _papermill(notebook, temporary, values, progress)
        except NotebookError:
            with suppress(OSError):  # on a full disk the message is all there is
                shutil.copyfile(temporary, failed)
            raise
        _name_paths(temporary, notebook, output)
        failed.unlink(missing_ok=True)


def _name_paths(executed: Path, notebook: Path, output: Path) -> None:
    """Papermill writes down absolute paths, the output's a temporary one; a copy that travels says where it belongs."""
    copy = nbformat.read(executed, as_version=4)
    copy.metadata.papermill.update(input_path=short(notebook.resolve()), output_path=short(output.resolve()))
    nbformat.write(copy, executed)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Wait while another process, such as one left over from a killed workflow, writes the same output."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = open(output.with_name(f".{output.stem}.lock"), "w")
    except OSError as error:
        raise OSError(f"{output}: can't be written ({error.strerror}); a folder to write in was expected") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _papermill(notebook: Path, output: Path, values: Mapping[str, object], progress: bool) -> None:
    import papermill  # takes 3 s, so not before the parameters are checked
    from nbclient.exceptions import DeadKernelError

    for name, value in KERNEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        papermill.execute_notebook(
            notebook, output, values, cwd=notebook.parent, progress_bar=progress, **KERNEL_OPTIONS
        )
    except papermill.PapermillExecutionError as error:
        raise _cell_error(notebook, error) from None
    except DeadKernelError:
        raise NotebookError(f"{short(notebook.resolve())}: the kernel died; was there enough memory?") from None


def _cell_error(notebook: Path, error) -> NotebookError:
    message = " ".join(error.evalue.split())
    line = f"{short(notebook.resolve())}: cell {error.exec_count}: {error.ename}: {message}"
    return NotebookError(line, "" if error.ename in EXPECTED else "\n".join(error.traceback))


# --- where a result comes from ---


def provenance(seed: int, device: str, data_hash: str, **notes: object) -> dict[str, object]:
    """How a result came about; wall time [s] and peak memory [bytes] are those of this process until now."""
    return {
        **commit(),
        "versions": {"python": platform.python_version(), **versions()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "seed": seed,
        "device": str(device),
        "data": data_hash,
        "wall_time": round(time.time() - psutil.Process().create_time(), 1),
        "peak_memory": peak_memory(),
        **notes,
    }


def write_provenance(folder: Path, seed: int, device: str, data_hash: str, **notes: object) -> Path:
    """`folder`/provenance.json, of `provenance(...)`."""
    path = Path(folder) / "provenance.json"
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(provenance(seed, device, data_hash, **notes), indent=1) + "\n")
    return path


def unspoilt(path: str | Path) -> Path:
    """The file itself. ValueError where the provenance.json beside it has another sha256 under the file's name.

    safetensors reads over a flipped bit. A file of which no provenance speaks, such as a published one, is as it is.
    """
    path = Path(path)
    noted = path.with_name("provenance.json")
    if not (path.is_file() and noted.is_file()):
        return path
    try:
        expected = json.loads(noted.read_text()).get("sha256", {}).get(path.name)
    except (ValueError, AttributeError):
        raise ValueError(f"{noted}: damaged; run notebooks/04_train_adapter.ipynb again") from None
    if expected not in (None, sha256(path)):
        raise ValueError(f"{path}: not the bytes that {noted.name} names; run notebooks/04_train_adapter.ipynb again")
    return path


def gather_facts(files: Sequence[str | Path], path: str | Path) -> None:
    """One JSON of several with facts about data, models and runs; of two with one name the later."""
    facts = {name: value for file in files for name, value in json.loads(Path(file).read_text()).items()}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")


def gather_costs(files: Sequence[str | Path], path: str | Path) -> None:
    """What trainings cost, from their provenance.json: CSV with columns adapter, seconds [s of training], steps."""
    runs = {Path(file).parent.name: json.loads(Path(file).read_text()) for file in files}
    rows = [f"{name},{run['train_seconds']},{run['train_steps']}\n" for name, run in runs.items()]
    with atomic(path) as temporary:
        temporary.write_text("".join(["adapter,seconds,steps\n", *rows]))


def write_recipe(provenance: str | Path, log: str | Path, path: str | Path) -> None:
    """How a tracked adapter was made: the provenance of its training, and of its log what was validated."""
    made = json.loads(Path(provenance).read_text())
    validated = [record for record in read_log(Path(log)) if record.get("val_loss") is not None]
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({**made, "log": validated}) + "\n")


def write_picture(notebook: str | Path, path: str | Path) -> None:
    """The first picture that an executed notebook shows, as a PNG. ValueError where it shows none."""
    outputs = [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    if not pictures:
        raise ValueError(f"{notebook}: no picture in it; an executed notebook that shows one was expected")
    with atomic(path) as temporary:
        temporary.write_bytes(b64decode(pictures[0]))


def commit() -> dict[str, object]:
    """The commit of the sources and whether they differ from it; None for both outside a clone."""
    head, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {"commit": head, "dirty": None if head is None else bool(status)}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", ROOT, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def peak_memory() -> int:
    """Bytes of the largest resident set that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# --- logs: one JSON object a line ---


def read_log(path: Path) -> list[dict]:
    """The lines of a log; a last line that was cut off by a crash is left out."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


# --- the command line ---


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        execute(options.notebook, options.output, dict(options.parameters), not options.quiet)
    except NotebookError as error:
        if error.traceback:
            print(error.traceback, file=sys.stderr)
        return _report(error.line)
    except (OSError, ValueError) as error:
        return _report(str(error))
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m ipa_lib.workflow.runs", description="Execute a notebook.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path, help="the executed copy")
    pair = ("NAME", "VALUE")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=pair, dest="parameters")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def _report(line: str) -> int:
    """Print `line`, and hand it to the workflow, which says it again last (scripts/snakemake.sh)."""
    print(line, file=sys.stderr)
    if path := os.environ.get("IPA_FAILURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # nothing half-written stays
    sys.exit(main())
