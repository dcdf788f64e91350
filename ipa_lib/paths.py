"""Where things lie, and how a file that another stage reads is written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
NOTEBOOKS = ROOT / "notebooks"
MODELS = ROOT / "models"
PAPER = ROOT / "paper"
PUBLISHED = "full"  # the profile whose results the preprint shows


def data_dir(profile: str) -> Path:
    return ROOT / "data" / profile


def results_dir(profile: str) -> Path:
    return ROOT / "results" / profile


def paper_dir(profile: str) -> Path:
    """Where figures, tables and numbers of a profile go: `paper/` for the published one, else beside the results."""
    return PAPER if profile == PUBLISHED else results_dir(profile) / "paper"


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`: it becomes `path` if the block succeeds, and goes if it fails.

    It keeps the suffix, because many writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _reserve(path)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # a result is readable like any other file; some writers make it 0600
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _reserve(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Make the contents of a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sources() -> str:
    """Digest of the code of this package."""
    files = sorted((ROOT / "ipa_lib").glob("*.py"))
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
