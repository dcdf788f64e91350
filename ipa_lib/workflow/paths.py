"""Where the parts of the repository lie, and the folders of a profile."""

from __future__ import annotations

from pathlib import Path

from ..files import ROOT

CONFIGS = ROOT / "configs"
NOTEBOOKS = ROOT / "notebooks"
MODELS = ROOT / "models"
PAPER = ROOT / "paper"
PUBLISHED = "full"  # the profile whose results the preprint shows


def data_dir(profile: str) -> Path:
    """Folder with the pictures of a profile."""
    return ROOT / "data" / profile


def results_dir(profile: str) -> Path:
    """Folder with the results of a profile."""
    return ROOT / "results" / profile


def paper_dir(profile: str) -> Path:
    """Folder of a profile's figures, tables and numbers: `paper/` for the published one, else beside the results."""
    return PAPER if profile == PUBLISHED else results_dir(profile) / "paper"


def figures_dir(profile: str, language: str = "ru") -> Path:
    """Folder of a profile's figures: the paper's in Russian; those in another language lie with the results."""
    return paper_dir(profile) / "figures" if language == "ru" else results_dir(profile) / f"figures-{language}"
