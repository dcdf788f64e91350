"""A run of 05_generate: which adapter and cell a gallery is of, and what makes it stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..diffusion import galleries
from ..diffusion.features import DENOISER, read_manifest, source_of
from ..files import sha256
from ..model.adapter import MultiImageAdapter
from . import code, provenance
from .config import usual_guidance
from .grid import Cell
from .paths import results_dir

NOTEBOOK = "05_generate"


@dataclass(frozen=True)
class GalleryRun:
    """Pictures of one adapter under one condition: the parameters of the notebook. `cell` may name the gallery."""

    profile: str
    adapter: str
    n_refs: int
    prompts: str
    lams: list[float]
    guidance: float
    steps: int
    max_refs: int
    people: int
    samples: int
    seed: int
    cell: str = ""

    @property
    def name(self) -> str:
        """Name of the cell; w is in it where it is not the profile's."""
        w = None if self.guidance == usual_guidance(self.profile) else self.guidance
        return self.cell or Cell(self.adapter, self.n_refs, tuple(self.lams), self.prompts, w).name

    @property
    def folder(self) -> Path:
        """Folder of the gallery."""
        return results_dir(self.profile) / "samples" / self.adapter / self.name

    @property
    def weights(self) -> Path:
        """File of the adapter. ValueError where it is damaged."""
        return provenance.unspoilt(results_dir(self.profile) / "adapters" / self.adapter / "adapter.safetensors")

    @property
    def features(self) -> Path:
        """Folder of the cached features."""
        return results_dir(self.profile) / "features"

    def settings(self, adapter: MultiImageAdapter) -> dict:
        """Contents of the gallery's settings.json, and with it keys of the tidy table."""
        config = adapter.config
        settings = {"profile": self.profile, "adapter": self.adapter, "merge": config.merge, "slots": config.slots,
                    "order": config.order, "n_max": config.n_slots, **adapter.notes, "cell": self.name}
        return settings | {"prompts": self.prompts, "n_refs": self.n_refs, "guidance": self.guidance,
                           "sampling_steps": self.steps, "noise_seed": self.seed}

    def begin(self, adapter: MultiImageAdapter) -> None:
        """Open the gallery. Pictures made from other weights, features, people, λ, settings or code are removed."""
        galleries.begin(self.folder, **self.settings(adapter), weights=sha256(self.weights), lams=self.lams,
                        features=read_manifest(self.features), denoiser=source_of(self.features).digest(DENOISER),
                        sets=[self.max_refs, self.people, self.samples], code=code.digest(NOTEBOOK))

    def finish(self, adapter: MultiImageAdapter, sets: pd.DataFrame, files: pd.Series, device: object) -> None:
        """Write index, settings and provenance; sets as drawn, files: names of the pictures by row of their table."""
        galleries.write_index(self.folder, sets, self.lams, files, **self.settings(adapter))
        data = read_manifest(self.features)["data"]
        provenance.write_provenance(self.folder, self.seed, device, data, notebook=NOTEBOOK)
