"""Execute a notebook as a step of the workflow, and write down how a result came about.

    python -m ipa_lib.workflow.runs notebooks/05_generate.ipynb results/mini/05_generate.ipynb -p people 8 -p lam 0.5

Papermill only warns of a misspelt parameter and writes its output in pieces: here the parameters are held
against the notebook first, and the executed copy appears under its name when it is complete.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from .. import bars
from ..files import atomic, short, sweep
from .parameters import check_values, find_notebook

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
    if status := bars.status_file(output):  # the workflow shows how far the kernel's bars are
        os.environ[bars.FILE], progress = str(status), False
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
    import nbformat  # takes 1 s or more, and notebooks import this module too

    copy = nbformat.read(executed, as_version=4)
    copy.metadata.papermill.update(input_path=short(notebook.resolve()), output_path=short(output.resolve()))
    nbformat.write(copy, executed)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Wait while another process, such as one left over from a killed workflow, writes the same output."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output.with_name(f".{output.stem}.lock"))
        lock.acquire()
    except OSError as error:
        raise OSError(f"{output}: can't be written ({error.strerror}); a folder to write in was expected") from None
    try:
        yield
    finally:
        lock.release()


def _papermill(notebook: Path, output: Path, values: Mapping[str, object], progress: bool) -> None:
    sys.modules.setdefault("rfc3987_syntax", None)  # absent for jsonschema: a grammar that takes 1.5 s to build
    import papermill  # takes half a second, so not before the parameters are checked
    from nbclient.exceptions import DeadKernelError

    for name, value in KERNEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "IPA_WARM" in os.environ:
        from .warm import fork_kernels

        fork_kernels()
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


def write_picture(notebook: str | Path, path: str | Path) -> None:
    """The first picture that an executed notebook shows, as a PNG. ValueError where it shows none."""
    import nbformat

    outputs = [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    if not pictures:
        raise ValueError(f"{notebook}: no picture in it; an executed notebook that shows one was expected")
    with atomic(path) as temporary:
        temporary.write_bytes(b64decode(pictures[0]))


# --- the command line ---


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
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
