"""The networks that judge photographs: a file that names them in, and parts of `judges.Judges` out.

    identity: MobileFaceNet.onnx      # or a callable, module:function or file.py:function
    features: inception               # or a callable
    text: clip                        # optional: folder of a CLIPModel, or its name on the hub
    attributes: attribute_judge       # optional: folder of the judge of captions that 02_train_base trains

Paths are relative to the file. Weights are read from ONNX, from safetensors, or as tensors alone: nothing is unpickled.
A callable is code that the file's author asks to run: trust it as you would a script of theirs.

S pictures uint8 [S,H,W,3] (or B of a batch), D, F, K, C the widths of identity, features, class logits and CLIP.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from ..files import read_yaml
from ..hub import first_line, local_folder
from .alignment import SIDE, crop, known_points

REQUIRED = ("identity", "features")
OF_ONNX = ("points", "detector", "mean", "std")  # how an ONNX identity network is shown its faces
KEYS = (*REQUIRED, *OF_ONNX, "weights", "text", "attributes")
WORDS = (*REQUIRED, "detector", "weights", "text", "attributes")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
BATCH = 64


# ---------------------------------------------------------------- the file that names the judges
def read_spec(path: str | Path) -> dict[str, Any]:
    """The keys of a YAML or JSON file, of which `identity` and `features` are there and none is unknown.

    identity, features, text, attributes: see above. points: "celeba" (the default) or five [x, y] of the face as shares
    0…1 of a picture; detector: a callable that finds them; mean, std: of RGB in 0…1, ImageNet's by default. weights: a
    file, where features is inception.
    Raises FileNotFoundError, or ValueError that names file and key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a YAML file that names judges was expected")
    spec = read_yaml(path)
    _check_keys(path, spec)
    return spec


def _check_keys(path: Path, spec: object) -> None:
    if not isinstance(spec, dict):
        raise ValueError(f"{path}: {' and '.join(REQUIRED)} were expected, each with the name of a network")
    if unknown := [key for key in spec if key not in KEYS]:
        raise ValueError(f"{path}: {unknown[0]} is no key; expected some of {', '.join(KEYS)}")
    if missing := [key for key in REQUIRED if key not in spec]:
        raise ValueError(f"{path}: {missing[0]} is missing; {' and '.join(REQUIRED)} were expected")
    if wrong := [key for key in WORDS if key in spec and not (isinstance(spec[key], str) and spec[key])]:
        raise ValueError(f"{path}: {wrong[0]}: a name was expected, got {spec[wrong[0]]!r}")
    if is_callable(spec["identity"]) and (idle := [key for key in OF_ONNX if key in spec]):
        raise ValueError(f"{path}: {idle[0]} goes with an ONNX file; a callable finds faces itself, NaN where none is")
    if spec["features"] != "inception" and "weights" in spec:
        raise ValueError(f"{path}: weights goes with features: inception")


def is_callable(name: str) -> bool:
    """Is it of the form module:function?"""
    return ":" in name


def load_callable(name: str, folder: Path) -> Callable:
    """What "module:function" or "file.py:function" names; of a class an object, made without arguments.

    A file is sought in `folder`. ValueError of one line where it can't be imported, or the object not be made.
    """
    where, _, attribute = name.rpartition(":")
    try:
        module = _import_file(folder / where) if where.endswith(".py") else importlib.import_module(where)
        network = getattr(module, attribute)
        return network() if isinstance(network, type) else network
    except Exception as error:  # of any kind: it is code of the user's
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"{name}: a function that can be imported was expected ({cause})") from None


def _import_file(file: Path):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: not a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- identity
def load_identity(spec: Mapping, folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str, bool]:
    """(pictures → [S,D], name, can it miss a face?) of `spec`; a row of NaN says that a picture shows no face."""
    name = spec["identity"]
    if is_callable(name):
        return load_callable(name, folder), Path(name).name, True
    settings = {key: spec[key] for key in OF_ONNX if key in spec}
    if "detector" in settings:
        settings["detector"] = load_callable(settings["detector"], folder)
    return OnnxIdentity(folder / name, **settings), Path(name).stem, "detector" in settings


class OnnxIdentity:
    """An identity network in an ONNX file, through onnxruntime on the CPU: aligned faces in, unit vectors out.

    Its input is float [B,3,112,112], RGB scaled by `mean` and `std`, faces at the usual five points (`faces.TEMPLATE`).
    points: where a face is, see `alignment.known_points`; detector: uint8 [S,H,W,3] → float [S,5,2] in pixels in its
    place, NaN where there is no face. https://arxiv.org/abs/1801.07698
    Raises FileNotFoundError, ModuleNotFoundError without onnxruntime, ValueError for another file or other settings.
    """

    def __init__(self, file: str | Path, points: str | Sequence = "celeba", detector: Callable | None = None,
                 mean: Sequence[float] = IMAGENET["mean"], std: Sequence[float] = IMAGENET["std"]):
        known_points(points, 1, 1)
        self.session, self.points, self.detector = _open_onnx(Path(file)), points, detector
        self.mean, self.std = (_of_channels(name, values) for name, values in (("mean", mean), ("std", std)))
        self.width = self._run(np.zeros((1, 3, SIDE, SIDE), np.float32)).shape[-1]

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [S,D] unit vectors of uint8 pictures [S,H,W,3]; NaN for those without a face."""
        points, size = self._points(pictures), 1 if self.session.get_inputs()[0].shape[0] == 1 else BATCH
        with_points = np.flatnonzero(np.isfinite(points).all((1, 2)))
        embeds = np.full((len(pictures), self.width), np.nan, np.float32)
        for start in range(0, len(with_points), size):
            rows = with_points[start:start + size]
            embeds[rows] = self._run(self._faces(pictures[rows], points[rows]))
        return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)

    def _run(self, faces: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.session.get_inputs()[0].name: faces})[0]  # [B,D]

    def _points(self, pictures: np.ndarray) -> np.ndarray:
        if self.detector is None:
            height, width = pictures.shape[1:3]
            return np.tile(known_points(self.points, width, height), (len(pictures), 1, 1))
        points = np.asarray(self.detector(pictures), dtype=float)
        if points.shape != (len(pictures), 5, 2):
            raise ValueError(f"detector: points [{len(pictures)},5,2] were expected, got shape {list(points.shape)}")
        return points

    def _faces(self, pictures: np.ndarray, points: np.ndarray) -> np.ndarray:
        crops = torch.stack([crop(*pair) for pair in zip(pictures, points, strict=True)])  # [B,3,112,112] 0…255
        return ((crops / 255 - self.mean) / self.std).numpy()


def _open_onnx(file: Path):
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; an identity network in ONNX was expected")
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{file}: an ONNX file needs onnxruntime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen kinds of its own
        raise ValueError(f"{file}: not a network that onnxruntime can read ({first_line(error)})") from None
    shapes = [given.shape for given in session.get_inputs()]
    if len(shapes) != 1 or shapes[0][1:] != [3, SIDE, SIDE] or isinstance(shapes[0][0], int) and shapes[0][0] != 1:
        raise ValueError(f"{file}: one input [1 or batch, 3, {SIDE}, {SIDE}] was expected, got {shapes}")
    return session


def _of_channels(name: str, values: Sequence[float]) -> torch.Tensor:
    channels = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if channels.shape != (3,) or not channels.isfinite().all() or name == "std" and not channels.all():
        raise ValueError(f"{name}: three numbers were expected, of red, green and blue in 0 to 1, got {values}")
    return channels[:, None, None]


# ---------------------------------------------------------------- features of FID and KID, classes of IS
def load_features(spec: Mapping, folder: Path, device: torch.device | str = "cpu") -> tuple[Callable, str]:
    """(pictures → (features [S,F], class logits [S,K] or None), name) of `spec`: Inception-v3, or a callable.

    A callable takes uint8 [B,3,H,W] and gives features [B,F], or a pair of them and class logits or probabilities.
    """
    name = spec["features"]
    if is_callable(name):
        return partial(look, load_callable(name, folder)), Path(name).name
    if name != "inception":
        raise ValueError(f'features: "inception" or a callable, module:function, was expected, got {name!r}')
    from .inception import load_inception

    network, name = load_inception(folder / spec["weights"] if "weights" in spec else None)
    return partial(look, network.to(device), device=device), name


@torch.no_grad()
def look(network: Callable, pictures: np.ndarray, device: torch.device | str = "cpu",
         ) -> tuple[np.ndarray, np.ndarray | None]:
    """(features [S,F], class logits [S,K] or None) of uint8 pictures [S,H,W,3], a batch at a time."""
    batches = torch.as_tensor(pictures).permute(0, 3, 1, 2).split(BATCH)
    seen = [network(batch.contiguous().to(device)) for batch in batches]
    pairs = [one if isinstance(one, (tuple, list)) else (one, None) for one in seen]
    features, classes = zip(*pairs, strict=True)
    logits = None if classes[0] is None else as_logits(torch.cat(classes).float().cpu().numpy())
    return torch.cat(features).float().cpu().numpy(), logits


def as_logits(classes: np.ndarray) -> np.ndarray:
    """Class logits [S,K] of logits or of probabilities, whose rows sum to 1: these become logarithms."""
    if (classes >= 0).all() and np.allclose(classes.sum(1), 1, atol=1e-3):
        return np.log(np.maximum(classes, np.finfo(np.float32).tiny))
    return classes


# ---------------------------------------------------------------- pictures and captions in one space
# https://arxiv.org/abs/2103.00020
@dataclass(frozen=True)
class Clip:
    """A CLIP model: pictures and captions become unit vectors whose cosines are CLIP-I and CLIP-T."""
    model: CLIPModel
    tokenizer: CLIPTokenizer
    processor: CLIPImageProcessorPil
    name: str

    @torch.no_grad()
    def look(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [S,C] of uint8 pictures [S,H,W,3], through the model's own image processor."""
        batches = (list(pictures[start:start + BATCH]) for start in range(0, len(pictures), BATCH))
        pixels = (self.processor(batch, return_tensors="pt").pixel_values.to(self.model.device) for batch in batches)
        seen = [self.model.get_image_features(x).pooler_output for x in pixels]
        return F.normalize(torch.cat(seen), dim=-1).cpu().numpy()

    @torch.no_grad()
    def read(self, captions: Sequence[str]) -> np.ndarray:
        """float32 [S,C] of captions, cut where they are longer than the model reads; equal ones are read once."""
        different = list(dict.fromkeys(captions))
        parts = [different[start:start + BATCH] for start in range(0, len(different), BATCH)]
        read = torch.cat([self._read(part) for part in parts])
        return F.normalize(read, dim=-1).cpu().numpy()[[different.index(caption) for caption in captions]]

    def _read(self, captions: list[str]) -> torch.Tensor:
        config: Any = self.model.config.text_config
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt",
                                max_length=config.max_position_embeddings)
        return self.model.get_text_features(**tokens.to(self.model.device)).pooler_output


def clip_folder(name: str, folder: Path, download: bool = True) -> Path:
    """Where the CLIPModel of this name is, see `load_clip`. FileNotFoundError where it lacks a file, too."""
    place = folder / name if (folder / name).is_dir() else local_folder(name, download=download)
    if missing := [file for file in ("config.json", "model.safetensors") if not (place / file).is_file()]:
        raise FileNotFoundError(f"{place / missing[0]}: no such file; a CLIPModel in safetensors was expected here")
    return place


def load_clip(name: str, folder: Path, device: torch.device | str = "cpu") -> Clip:
    """The CLIPModel in `folder`/name, else what `hub.local_folder` gives, from safetensors alone and in float32.

    Raises FileNotFoundError that names the folder, ValueError where it holds no whole CLIP model.
    """
    place = clip_folder(name, folder)
    try:
        loaded: Any = CLIPModel.from_pretrained(place, dtype=torch.float32, use_safetensors=True,
                                                local_files_only=True, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=True)
        processor = CLIPImageProcessorPil.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ValueError(f"{place}: not a whole CLIP model ({first_line(error)})") from None
    model, loading = loaded
    if loading["missing_keys"]:
        raise ValueError(f"{place}: not a whole CLIP model ({min(loading['missing_keys'])} is missing)")
    return Clip(model.eval().requires_grad_(False).to(device), tokenizer, processor, Path(name).name)
