"""Models by name: a folder or a file of this machine, else of the hub's cache, else of the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download

from .files import ROOT


def local_folder(name: str, pipeline: bool = False, download: bool = True) -> Path:
    """A model's folder on this machine: of that path, else from the hub's cache, else, with `download`, put there.

    "owner/repository" names a repository of the hub, "owner/repository/folder" a folder in it. FileNotFoundError of
    one line where there is neither such a folder nor such a repository, or no network.
    """
    for path in (Path(name).expanduser(), ROOT / name):
        if path.is_dir():
            return path
    repository, inside = _on_the_hub(name)
    try:
        if pipeline:
            from diffusers import StableDiffusionPipeline

            return Path(StableDiffusionPipeline.download(repository, use_safetensors=True, safety_checker=None,
                                                         local_files_only=not download))
        wanted = [f"{inside}/*.{suffix}".lstrip("/") for suffix in ("json", "txt", "safetensors")]
        there = snapshot_download(repository, allow_patterns=wanted, local_files_only=not download)
        return Path(there) / inside
    except Exception as error:  # of many kinds: no network, no such name, no leave
        raise FileNotFoundError(f"{name}: no such folder, {_nor(error, download)}") from None


def local_file(name: str, download: bool = True) -> Path:
    """A file on this machine: of that path, else owner/repository/folder/file of the hub; errors as `local_folder`."""
    for path in (Path(name).expanduser(), ROOT / name):
        if path.is_file():
            return path
    repository, inside = _on_the_hub(name)
    try:
        return Path(hf_hub_download(repository, inside, local_files_only=not download))
    except Exception as error:  # as above
        raise FileNotFoundError(f"{name}: no such file, {_nor(error, download)}") from None


def _on_the_hub(name: str) -> tuple[str, str]:
    """Repository and the path in it of "owner/repository/path"."""
    parts = name.split("/", 2)
    return "/".join(parts[:2]), "".join(parts[2:])


def _nor(error: Exception, download: bool) -> str:
    """Reason why the hub has not helped either, in the first sentence of its message."""
    why = first_line(error).split(". ")[0]
    return f"and the hub does not give it either ({why})" if download else "nor is it in the hub's cache"


def first_line(error: Exception) -> str:
    """First line of a message of several."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
