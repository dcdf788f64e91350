"""Where a result comes from: provenance.json beside it, and what is gathered from these. No torch."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from ..files import ROOT, atomic, sha256

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "torchmetrics", "numpy", "pandas", "pillow")


def provenance(seed: int, device: str, data_hash: str, **notes: object) -> dict[str, object]:
    """Origin of a result; wall time [s] and peak memory [bytes] are those of this process until now."""
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
    """Write the costs of trainings, from their provenance.json: a CSV with the columns adapter, seconds, steps."""
    runs = {Path(file).parent.name: json.loads(Path(file).read_text()) for file in files}
    rows = [f"{name},{run['train_seconds']},{run['train_steps']}\n" for name, run in runs.items()]
    with atomic(path) as temporary:
        temporary.write_text("".join(["adapter,seconds,steps\n", *rows]))


def write_recipe(provenance: str | Path, log: str | Path, path: str | Path) -> None:
    """Write how a tracked adapter was made: the provenance of its training, and of its log what was validated."""
    made = json.loads(Path(provenance).read_text())
    validated = [record for record in read_log(Path(log)) if record.get("val_loss") is not None]
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({**made, "log": validated}) + "\n")


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
    """Versions of packages; None for one that is not installed."""
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


def read_log(path: Path) -> list[dict]:
    """The lines of a log; a last line that was cut off by a crash is left out."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
