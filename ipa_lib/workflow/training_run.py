"""A run of 04_train_adapter: what its training was made from, where its state is kept, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from accelerate import Accelerator

from ..diffusion.backbone import Source
from ..diffusion.features import DENOISER, read_manifest
from ..diffusion.training import P_DROP, WEIGHT_DECAY, Checkpoint
from ..files import atomic, sha256
from ..model.adapter import MultiImageAdapter
from ..model.exchange import origin
from . import code, provenance

NOTEBOOK = "04_train_adapter"


@dataclass(frozen=True)
class TrainingRun:
    """The training of the adapter that goes to `folder`, on cached `features` of the models of `source`.

    `start`: a kind of projection or a published file; `settings`: steps, batch_size, lr, snr_gamma.
    """

    folder: Path
    features: Path
    source: Source
    start: str
    settings: Mapping[str, float]

    def checkpoint(self) -> Checkpoint:
        """The state of the training; one made with other settings, features, weights or code is not resumed."""
        made_from = {"start": origin(self.start), "features": read_manifest(self.features),
                     "denoiser": self.source.digest(DENOISER), "code": code.digest(NOTEBOOK)}
        return Checkpoint(self.folder / "training.state", {**self.settings, **made_from})

    def keep(self, adapter: MultiImageAdapter, records: Sequence[Mapping], checkpoint: Checkpoint,
             accelerator: Accelerator, profile: str, seed: int, random_n: bool, target: str,
             views: str = "whole") -> None:
        """Store adapter, log and provenance of a finished training, and forget its state; one process writes."""
        if not accelerator.is_main_process:
            return
        notes = {"trained_on": profile, "random_n": str(random_n), "seed": str(seed), "target": target,
                 "views": views, "start": origin(self.start)}
        adapter.save(self.folder / "adapter.safetensors", notes)
        with atomic(self.folder / "log.jsonl") as file:
            pd.DataFrame(records).to_json(file, orient="records", lines=True)
        checkpoint.remove()
        facts = self._facts(adapter, checkpoint.seconds, accelerator.num_processes)
        data = read_manifest(self.features)["data"]
        provenance.write_provenance(self.folder, seed, accelerator.device, data, notebook=NOTEBOOK, **facts)

    def _facts(self, adapter: MultiImageAdapter, seconds: float, processes: int) -> dict:
        return {
            "train_steps": self.settings["steps"], "train_seconds": round(seconds, 1),
            "batch_size": self.settings["batch_size"], "learning_rate": self.settings["lr"],
            "snr_gamma": self.settings["snr_gamma"], "weight_decay": WEIGHT_DECAY, "drop": P_DROP,
            "processes": processes, "tokens": adapter.config.tokens,
            "adapter_params": sum(p.numel() for p in adapter.parameters()),
            "sha256": {"adapter.safetensors": sha256(self.folder / "adapter.safetensors")},
        }
