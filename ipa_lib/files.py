"""Files that another stage reads: written whole or not at all, and told apart by their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_REPOSITORY = Path(__file__).resolve().parent.parent
ROOT = _REPOSITORY if (_REPOSITORY / "notebooks").is_dir() else Path.cwd()  # cwd: of an installed package
HOST = platform.node()


def short(path: str | Path) -> str:
    """From the root of the repository where it lies in it."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else str(path)


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
    """Remove what processes of this machine that are no more were writing in a folder and those in it."""
    for file in folder.rglob(f".*.{HOST}+*"):
        process = file.name.split(f".{HOST}+")[-1].split(".")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            file.unlink(missing_ok=True)


def _is_full(error: Exception, temporary: Path) -> bool:
    """Is it for want of space that a file was not written? Not all writers say so; the file is still there."""
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
