"""Files that another stage reads: written whole or not at all, and told apart by their bytes; files of settings."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

PARTS = ("configs", "ipa_lib", "notebooks")  # folders of the repository
HOST = platform.node()


def repository(folder: Path) -> Path | None:
    """The repository in which a folder lies, itself included; None where it lies in none."""
    return next((one for one in (folder, *folder.parents) if all((one / part).is_dir() for part in PARTS)), None)


# The package lies in a checkout, or is installed: then its notebooks may run in one, and else it serves any folder.
REPOSITORY = repository(Path(__file__).resolve().parent) or repository(Path.cwd())
ROOT = REPOSITORY or Path.cwd()


def short(path: str | Path) -> str:
    """A path from the root of the repository where it lies in it, else as it is."""
    return str(Path(path).relative_to(ROOT)) if REPOSITORY and Path(path).is_relative_to(ROOT) else str(path)


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`: it becomes `path` if the block succeeds, and goes if it fails.

    It keeps the suffix, because many writers choose their format by it. OSError of one line where nothing can be
    written there, or not all of it.
    """
    path = Path(path)
    temporary = _reserve(path)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # a result is readable like any other file; some writers make it 0600
        _sync(temporary)
        os.replace(temporary, path)
    except Exception as error:
        if _is_full(error, temporary):
            raise OSError(f"{path}: the disk is full; make room and run it again: what is whole is kept") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _reserve(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix,
                                        prefix=f".{path.stem}.{HOST}+{os.getpid()}.")
    except OSError as error:
        raise OSError(f"{path}: can't be written ({error.strerror}); a folder to write in was expected") from None
    os.close(handle)
    return Path(name)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are no more were writing in a folder and those in it.

    safetensors writes to .tmpXXXXXX of its own first, which names no process: one that is an hour old is removed.
    """
    for file in folder.rglob(f".*.{HOST}+*"):
        process = file.name.split(f".{HOST}+")[-1].split(".")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            file.unlink(missing_ok=True)
    for file in folder.rglob(".tmp??????"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > 3600:
                file.unlink()


def _is_full(error: Exception, temporary: Path) -> bool:
    """Tell whether a file was not written for want of space. Not all writers say so; the file is still there."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return True
    return isinstance(error, OSError | RuntimeError) and shutil.disk_usage(temporary.parent).free < 2**16


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


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- YAML ---


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. ValueError with the line of the file where it is none or a key stands there twice."""
    try:
        return _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path.name}{line}: not YAML: {' '.join(problem.split())}") from None


class _Loader(yaml.SafeLoader):
    """YAML of plain values, in which a key that stands twice is an error: PyYAML keeps the last one."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.composer.ComposerError(None, None, f"{key.value} stands there twice", key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node
