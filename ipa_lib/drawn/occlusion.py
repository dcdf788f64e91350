"""Prompts of drawn people with sunglasses, a hat or a mask, or without: drawn anew, and encoded as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..data.identity_sets import occluded_prompts
from ..diffusion.backbone import Backbone
from ..diffusion.features import Features, seen_as
from .faces import redrawn


def occluded(features: Features, backbone: Backbone, folder: Path, files: pd.Series, sets: pd.DataFrame, prompts: str,
             n_refs: int) -> Features:
    """Features whose embeddings of prompts are of pictures drawn anew, as "occluded50" asks.

    folder: where the pictures were drawn; files: their names by row of the features; `sets` as
    `identity_sets.evaluation_sets` gives them. Other words than occluded… leave everything as it is.
    """
    chosen = occluded_prompts(sets, prompts, n_refs)  # [S,n]
    if chosen is None:
        return features
    rows = np.array([row[:n_refs] for row in sets["prompts"]])
    rows, first = np.unique(rows, return_index=True)  # samples of a person share their prompts
    pictures = redrawn(folder, files.iloc[rows].tolist(), chosen.ravel()[first])
    return seen_as(features, backbone, rows, pictures)
