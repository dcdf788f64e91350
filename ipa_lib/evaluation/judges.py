"""The judges: networks trained apart from the base model, on other people, that score pictures.

An identity judge gives unit vectors; an attribute judge gives the features of FID and KID, the classes of IS and one
logit for each attribute that a caption can mention. A file can name other networks, as for photographs
(`photo_judges`): an identity network, one of features and classes, and CLIP beside the attributes or in their place.
S pictures (B of a batch), D, F, K, A, C the widths of what is said about each.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Outputs of the judges for S pictures, in their order; None where there is no judge for it."""
    identity: np.ndarray  # [S,D] unit vectors; the cosine of two is the similarity of the persons; NaN: no face
    features: np.ndarray  # [S,F] pooled, for FID and KID
    class_logits: np.ndarray | None = None      # [S,K] over the kinds, for IS
    attribute_logits: np.ndarray | None = None  # [S,A] above 0: the picture shows what a caption would mention
    clip: np.ndarray | None = None              # [S,C] unit vectors in one space with those of captions
    faces: np.ndarray | None = None             # bool [S] was a face found? None: faces are not searched for


Columns = dict[str, Any]  # arrays of `Judged`, by name


@dataclass(frozen=True)
class Judges:
    """Networks on uint8 pictures [S,H,W,3], made by `load_judges`; their names stand beside each number they give."""
    identity: Callable[[np.ndarray], np.ndarray]  # → [S,D]
    others: Sequence[Callable[[np.ndarray], Columns]]  # → columns of `Judged`; where two give one, the later's
    identity_name: str
    attribute_name: str  # of the network of the features
    text_name: str = ""  # of the network that says whether a sample follows its caption
    clip: Clip | None = None
    misses_faces: bool = False  # then `Judged.faces` says which pictures show a face

    @property
    def clip_name(self) -> str:
        """The name of CLIP, empty without it."""
        return "" if self.clip is None else self.clip.name

    def look(self, pictures: np.ndarray) -> Judged:
        """All judges on uint8 pictures [S,H,W,3]."""
        identity = self.identify(pictures)
        clip = None if self.clip is None else self.clip.look(pictures)
        faces = np.isfinite(identity).all(1) if self.misses_faces else None
        columns = {name: values for network in self.others for name, values in network(pictures).items()}
        return Judged(identity, clip=clip, faces=faces, **columns)

    def identify(self, pictures: np.ndarray) -> np.ndarray:
        """Identity embeddings [S,D] alone, NaN without a face. ValueError where the judge gives something else."""
        identity = np.asarray(self.identity(pictures))
        if identity.ndim != 2 or len(identity) != len(pictures):
            raise ValueError(f"{self.identity_name}: [{len(pictures)},D] was expected, got {list(identity.shape)}")
        return identity

    def read(self, captions: Sequence[str]) -> np.ndarray | None:
        """Unit vectors [S,C] of captions, for CLIP-T; None without CLIP."""
        return None if self.clip is None else self.clip.read(captions)


@torch.no_grad()
def identities(net: RegNetForImageClassification, pictures: np.ndarray) -> np.ndarray:
    """Unit vectors [S,D] of uint8 pictures [S,H,W,3], by a network of 02_train_base."""
    parts = [F.normalize(net(x.to(net.device)).logits, dim=-1) for x in as_batches(pictures)]  # [B,D]
    return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def attributes(net: RegNetForImageClassification, pictures: np.ndarray) -> Columns:
    """Features [S,F], class logits [S,K] and attribute logits [S,A] of `Judged`, by a network of 02_train_base."""
    parts = [_attributes(net, x.to(net.device)) for x in as_batches(pictures)]
    names = ("features", "class_logits", "attribute_logits")
    return {name: torch.cat(column).cpu().numpy() for name, *column in zip(names, *parts, strict=True)}


def _attributes(net: RegNetForImageClassification, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    features = net.regnet(x).pooler_output.flatten(1)                                               # [B,F]
    kinds, mentions = net.classifier(features).split([KINDS, len(CAPTIONED)], dim=-1)               # [B,K], [B,A]
    return features, kinds, mentions * torch.tensor(POLARITY, device=features.device)


def features(look: Callable, pictures: np.ndarray) -> Columns:
    """Features and class logits of `Judged`, by what `photo_judges.load_features` gives."""
    pooled, logits = look(pictures)
    return {"features": pooled, "class_logits": logits}


def load_judges(spec: str | Path, device: torch.device | str = "cpu") -> Judges:
    """The judges that `spec` names, in float32: a folder with trained ones, or a .yaml or .json file with others.

    A folder holds `identity_judge` and `attribute_judge`; what a file says is in `photo_judges.read_spec`.
    Raises FileNotFoundError that names the folder or file which is absent, ValueError that names file and key,
    ModuleNotFoundError for a package that a network needs.
    """
    if Path(spec).suffix in (".yaml", ".yml", ".json"):
        return _load_file(Path(spec), device)
    identity, attribute = (_load_net(Path(spec) / part, device) for part in ("identity_judge", "attribute_judge"))
    return Judges(partial(identities, identity), [partial(attributes, attribute)], "mini identity judge",
                  "mini attribute judge", "mini attribute judge")


def _load_net(folder: Path, device: torch.device | str) -> RegNetForImageClassification:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder}: no judge here; notebooks/02_train_base.ipynb trains one")
    net = RegNetForImageClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return net.eval().to(device)


def _load_file(path: Path, device: torch.device | str) -> Judges:
    """Text agreement is the attribute judge's matter where the file names one, else CLIP's."""
    from . import photo_judges  # CLIP, torchmetrics: 2 s that drawn faces don't need

    spec, folder = photo_judges.read_spec(path), path.parent
    try:
        identity, identity_name, misses_faces = photo_judges.load_identity(spec, folder)
        look, features_name = photo_judges.load_features(spec, folder, device)
        clip = photo_judges.load_clip(spec["text"], folder, device) if "text" in spec else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    others, text_name = [partial(features, look)], "" if clip is None else clip.name
    if net := spec.get("attributes"):
        others.insert(0, partial(attributes, _load_net(folder / net, device)))
        text_name = Path(net).name.replace("_", " ")
    return Judges(identity, others, identity_name, features_name, text_name, clip, misses_faces)


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
