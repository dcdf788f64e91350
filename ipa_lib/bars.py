"""Progress bars that also keep in a file how far they are: a notebook's bar lives in its kernel, out of sight.

    for record in tqdm(stream, total=steps): ...

`workflow.progress` reads the file and shows it beside the running stage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tqdm import auto

FOLDER = "IPA_PROGRESS"  # of the environment: where stages keep how far they are; the workflow names it
FILE = "IPA_PROGRESS_FILE"  # of a stage's environment: its file there


def status_file(output: str | Path) -> Path | None:
    """The file of the stage whose executed notebook is `output`; None where no workflow looks at it."""
    folder = os.environ.get(FOLDER)
    return Path(folder, f"{str(output).replace('/', '+')}.json") if folder else None


class tqdm(auto.tqdm):
    """tqdm's bar for a notebook or a terminal; each time it is drawn, the file of `FILE` is written anew."""

    def display(self, *args, **kwargs):
        super().display(*args, **kwargs)
        if path := os.environ.get(FILE):
            write(Path(path), {"n": self.n, "total": self.total, "unit": self.unit})


def write(path: Path, values: Mapping[str, object]) -> None:
    """Put `values` into `path`, whole or not at all. No error: that a bar is not seen stops no training."""
    with suppress(OSError):
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps(dict(values)), encoding="utf-8")
        os.replace(temporary, path)


def read(path: Path | None) -> str:
    """How far a stage is, such as "64 of 200 pictures"; empty where nothing is known."""
    if not (path and path.is_file()):
        return ""
    values = json.loads(path.read_text(encoding="utf-8"))
    n, total, unit = values["n"], values["total"], values["unit"]
    unit = "" if unit == "it" else f" {unit}s"
    return f"{n} of {total}{unit}" if total else f"{n}{unit}"
