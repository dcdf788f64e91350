"""The judges: networks trained apart from the base model, on other people, that score pictures.

An identity judge gives unit vectors; an attribute judge gives the features of FID and KID, the classes of IS and one
logit for each attribute that a caption can mention. S pictures, D, F, K, A the widths of what is said about each.
"""
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from transformers import RegNetForImageClassification

from .captions import CAPTIONED, HAIR, MENTIONED_WHEN_FALSE, resolve

KINDS = 2 * 2 * (len(HAIR) + 1)  # classes of IS: hair (5 attributes or none) × beard × glasses
IDENTITY_WIDTH = 128
POLARITY = [-1.0 if name in MENTIONED_WHEN_FALSE else 1.0 for name in CAPTIONED]


@dataclass(frozen=True)
class Judged:
    """What the judges say about S pictures, in their order."""
    identity: np.ndarray          # [S,D] unit vectors; the cosine of two is the similarity of the persons
    features: np.ndarray          # [S,F] pooled, for FID and KID
    class_logits: np.ndarray      # [S,K] over the kinds, for IS
    attribute_logits: np.ndarray  # [S,A] above 0: the picture shows what a caption would mention


@dataclass(frozen=True)
class Judges:
    """The two networks; their names stand beside every number that they give."""
    identity_net: RegNetForImageClassification
    attribute_net: RegNetForImageClassification
    identity_name: str = "mini identity judge"
    attribute_name: str = "mini attribute judge"

    @torch.no_grad()
    def look(self, pictures: np.ndarray) -> Judged:
        """Both judges on uint8 pictures [S,H,W,3]."""
        parts = [self._look(x) for x in as_batches(pictures)]
        return Judged(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))

    def _look(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        identity = F.normalize(self.identity_net(x).logits, dim=-1)                                 # [B,D]
        features = self.attribute_net.regnet(x).pooler_output.flatten(1)                            # [B,F]
        kinds, attributes = self.attribute_net.classifier(features).split([KINDS, len(CAPTIONED)], dim=-1)
        return identity, features, kinds, attributes * torch.tensor(POLARITY)


def load_judges(folder: str | Path) -> Judges:
    """The judges in `folder/identity_judge` and `folder/attribute_judge`, in float32.

    Raises FileNotFoundError that names the folder which is absent.
    """
    nets = []
    for part in ("identity_judge", "attribute_judge"):
        if not (Path(folder) / part / "config.json").is_file():
            raise FileNotFoundError(f"{Path(folder) / part}: no judge here; `make base` trains one")
        nets.append(RegNetForImageClassification.from_pretrained(Path(folder) / part, dtype=torch.float32).eval())
    return Judges(*nets)


def as_batches(pictures: np.ndarray, size: int = 256) -> Iterator[torch.Tensor]:
    """float [B,3,H,W] in −1…1, `size` pictures at a time."""
    for start in range(0, len(pictures), size):
        yield torch.as_tensor(pictures[start:start + size]).permute(0, 3, 1, 2).float() / 127.5 - 1


def attribute_labels(pictures: pd.DataFrame) -> np.ndarray:
    """bool [M,A]: the captioned attributes of each row, contradictions settled, in the order of `CAPTIONED`."""
    return np.array([list(resolve(row).values()) for row in pictures[list(CAPTIONED)].to_dict("records")])


def mentioned(pictures: pd.DataFrame) -> np.ndarray:
    """bool [M,A]: what the caption of each row mentions: "a beard" where `No_Beard` is false."""
    return attribute_labels(pictures) ^ (np.array(POLARITY) < 0)


def kinds(pictures: pd.DataFrame) -> np.ndarray:
    """int [M]: the class of each row among `KINDS`."""
    labels = pd.DataFrame(attribute_labels(pictures), columns=CAPTIONED)
    hair = labels[list(HAIR)].to_numpy() @ np.arange(1, len(HAIR) + 1)
    return ((hair * 2 + ~labels["No_Beard"]) * 2 + labels["Eyeglasses"]).to_numpy()


def facts(folder: str | Path) -> dict[str, int]:
    """What the paper states of the judges in `folder`: people they were trained on, widths of what they say."""
    judges = load_judges(folder)
    recipe = json.loads((Path(folder) / "recipes" / "identity_judge.json").read_text())
    return {"people_judges": recipe["judge_people"], "feature_dim": judges.attribute_net.config.hidden_sizes[-1],
            "is_classes": KINDS}
