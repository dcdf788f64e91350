"""The judges: networks trained apart from the base model, on other people, that score pictures.

An identity judge gives unit vectors; an attribute judge gives the features of FID and KID, the classes of IS and one
logit for each attribute that a caption can mention. Photographs have judges of their own (`photo_judges`), with CLIP
beside the attributes or in their place. S pictures, D, F, K, A, C the widths of what is said about each.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from transformers import RegNetForImageClassification

from ..data.captions import CAPTIONED, HAIR, MENTIONED_WHEN_FALSE, resolve

if TYPE_CHECKING:
    from .photo_judges import Clip

KINDS = 2 * 2 * (len(HAIR) + 1)  # classes of IS: hair (5 attributes or none) × beard × glasses
IDENTITY_WIDTH = 128
POLARITY = [-1.0 if name in MENTIONED_WHEN_FALSE else 1.0 for name in CAPTIONED]


@dataclass(frozen=True)
class Judged:
    """What the judges say about S pictures, in their order; None where there is no judge for it."""
    identity: np.ndarray          # [S,D] unit vectors; the cosine of two is the similarity of the persons; NaN: no face
    features: np.ndarray          # [S,F] pooled, for FID and KID
    class_logits: np.ndarray | None      # [S,K] over the kinds, for IS
    attribute_logits: np.ndarray | None  # [S,A] above 0: the picture shows what a caption would mention
    clip: np.ndarray | None = None       # [S,C] unit vectors in one space with those of captions
    faces: np.ndarray | None = None      # bool [S] was a face found? None: faces are not searched for


@dataclass(frozen=True)
class Judges:
    """The two networks that are trained on drawn faces; their names stand beside every number that they give."""
    identity_net: RegNetForImageClassification
    attribute_net: RegNetForImageClassification
    identity_name: str = "mini identity judge"
    attribute_name: str = "mini attribute judge"
    text_name: str = "mini attribute judge"
    clip_name: str = ""

    @torch.no_grad()
    def look(self, pictures: np.ndarray) -> Judged:
        """Both judges on uint8 pictures [S,H,W,3]."""
        parts = [self._look(x.to(self.identity_net.device)) for x in as_batches(pictures)]
        return Judged(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def identify(self, pictures: np.ndarray) -> np.ndarray:
        """Identity embeddings [S,D] alone."""
        parts = [F.normalize(self.identity_net(x.to(self.identity_net.device)).logits, dim=-1).cpu()
                 for x in as_batches(pictures)]
        return torch.cat(parts).numpy()

    def read(self, captions: Sequence[str]) -> None:
        """No judge of drawn faces reads captions: there is no CLIP-T."""

    def _look(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        identity = F.normalize(self.identity_net(x).logits, dim=-1)                                 # [B,D]
        features = self.attribute_net.regnet(x).pooler_output.flatten(1)                            # [B,F]
        return identity, features, *told(self.attribute_net, features)


def told(attribute_net: RegNetForImageClassification, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits [B,K] and attribute logits [B,A], as in `Judged`, of the judge's pooled features [B,F]."""
    kinds, attributes = attribute_net.classifier(features).split([KINDS, len(CAPTIONED)], dim=-1)
    return kinds, attributes * torch.tensor(POLARITY, device=features.device)


@dataclass(frozen=True)
class PhotoJudges:
    """Networks for photographs, see `photo_judges`. Text agreement is the attribute net's matter, else CLIP's."""
    identity: Callable[[np.ndarray], np.ndarray]  # uint8 [S,H,W,3] → [S,D]
    features: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]  # → [S,F], [S,K]
    clip: Clip | None
    misses_faces: bool  # then what is judged says which pictures show a face
    identity_name: str
    attribute_name: str  # of the network of the features
    clip_name: str = ""
    attribute_net: RegNetForImageClassification | None = None
    text_name: str = ""  # of the network that says whether a sample follows its caption

    def look(self, pictures: np.ndarray) -> Judged:
        """All judges on uint8 pictures [S,H,W,3]."""
        identity = self.identify(pictures)
        clip = None if self.clip is None else self.clip.look(pictures)
        faces = np.isfinite(identity).all(1) if self.misses_faces else None
        return Judged(identity, *self.features(pictures), self._attributes(pictures), clip, faces)

    @torch.no_grad()
    def _attributes(self, pictures: np.ndarray) -> np.ndarray | None:
        if (net := self.attribute_net) is None:
            return None
        parts = [told(net, net.regnet(x.to(net.device)).pooler_output.flatten(1))[1] for x in as_batches(pictures)]
        return torch.cat(parts).cpu().numpy()

    def identify(self, pictures: np.ndarray) -> np.ndarray:
        """Identity embeddings [S,D] alone, NaN without a face. ValueError where the judge gives something else."""
        identity = np.asarray(self.identity(pictures))
        if identity.ndim != 2 or len(identity) != len(pictures):
            raise ValueError(f"{self.identity_name}: [{len(pictures)},D] was expected, got {list(identity.shape)}")
        return identity

    def read(self, captions: Sequence[str]) -> np.ndarray | None:
        """Unit vectors [S,C] of captions, for CLIP-T; None without CLIP."""
        return None if self.clip is None else self.clip.read(captions)


def load_judges(spec: str | Path, device: torch.device | str = "cpu") -> Judges | PhotoJudges:
    """The judges that `spec` names, in float32: a folder with trained ones, or a .yaml or .json file with others.

    A folder holds `identity_judge` and `attribute_judge`; what a file says is in `photo_judges.read_spec`.
    Raises FileNotFoundError that names the folder or file which is absent, ValueError that names file and key,
    ModuleNotFoundError for a package that a network needs.
    """
    if Path(spec).suffix in (".yaml", ".yml", ".json"):
        return _load_photo_judges(Path(spec), device)
    return Judges(*(_load_net(Path(spec) / part, device) for part in ("identity_judge", "attribute_judge")))


def _load_net(folder: Path, device: torch.device | str) -> RegNetForImageClassification:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder}: no judge here; notebooks/02_train_base.ipynb trains one")
    net = RegNetForImageClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return net.eval().to(device)


def _load_photo_judges(path: Path, device: torch.device | str) -> PhotoJudges:
    from . import photo_judges  # CLIP, torchmetrics: 2 s that drawn faces don't need

    spec, folder = photo_judges.read_spec(path), path.parent
    try:
        identity, identity_name, misses_faces = photo_judges.load_identity(spec, folder)
        features, features_name = photo_judges.load_features(spec, folder, device)
        clip = photo_judges.load_clip(spec["text"], folder, device) if "text" in spec else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    attributes, clip_name = spec.get("attributes"), "" if clip is None else clip.name
    net = _load_net(folder / attributes, device) if attributes else None
    return PhotoJudges(identity, features, clip, misses_faces, identity_name, features_name, clip_name, net,
                       Path(attributes).name.replace("_", " ") if attributes else clip_name)


def as_batches(pictures: np.ndarray, size: int = 256) -> Iterator[torch.Tensor]:
    """float [B,3,H,W] in −1…1, `size` pictures at a time."""
    for start in range(0, len(pictures), size):
        yield torch.as_tensor(pictures[start:start + size]).permute(0, 3, 1, 2).float() / 127.5 - 1


def attribute_labels(pictures: pd.DataFrame) -> np.ndarray:
    """bool [M,A]: the captioned attributes of each row, contradictions settled, in the order of `CAPTIONED`.

    An attribute that the table does not have is nothing to mention.
    """
    known = [name for name in CAPTIONED if name in pictures]
    return np.array([list(resolve(row).values()) for row in pictures[known].to_dict("records")])


def mentioned(pictures: pd.DataFrame) -> np.ndarray:
    """bool [M,A]: what the caption of each row mentions: "a beard" where `No_Beard` is false."""
    return attribute_labels(pictures) ^ (np.array(POLARITY) < 0)


def kinds(pictures: pd.DataFrame) -> np.ndarray:
    """int [M]: the class of each row among `KINDS`."""
    labels = pd.DataFrame(attribute_labels(pictures), columns=CAPTIONED)
    hair = labels[list(HAIR)].to_numpy() @ np.arange(1, len(HAIR) + 1)
    return ((hair * 2 + ~labels["No_Beard"]) * 2 + labels["Eyeglasses"]).to_numpy()


def facts(spec: str | Path) -> dict[str, int]:
    """What the paper states of the judges that `spec` names: widths of what they say, and, where these were trained
    here, on how many people."""
    seen = load_judges(spec).look(np.zeros((1, 64, 64, 3), np.uint8))
    recipe = Path(spec) / "recipes" / "identity_judge.json"
    people = {"people_judges": json.loads(recipe.read_text())["judge_people"]} if Path(spec).is_dir() else {}
    classes = {} if seen.class_logits is None else {"is_classes": seen.class_logits.shape[1]}
    return people | {"feature_dim": seen.features.shape[1]} | classes
