"""torch-fidelity and torchmetrics without torchvision, and the Inception-v3 of FID and IS, which torch-fidelity holds.

torch-fidelity asks for torchvision as it is imported, for parts that nothing here uses, and torchmetrics imports it
wherever it is installed: so all of the package gets torchmetrics from this module. torch-fidelity itself is optional.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..files import sha256
from ..hub import first_line


def _skip_what_needs_torchvision() -> None:
    """An empty parent package in place of torch-fidelity's own one, which imports all of its parts."""
    spec = importlib.util.find_spec("torch_fidelity") if "torch_fidelity" not in sys.modules else None
    if spec is None or importlib.util.find_spec("torchvision"):
        return
    package = types.ModuleType("torch_fidelity")
    package.__path__, package.__spec__ = list(spec.submodule_search_locations or ()), spec
    sys.modules["torch_fidelity"] = package


_skip_what_needs_torchvision()
from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: E402  after the empty package
from torchmetrics.image.inception import InceptionScore  # noqa: E402
from torchmetrics.image.kid import KernelInceptionDistance  # noqa: E402

__all__ = ["FrechetInceptionDistance", "InceptionScore", "KernelInceptionDistance", "load_inception"]


# https://arxiv.org/abs/1512.00567, in the weights of 2015-12-05 that FID and IS are defined with
def load_inception(weights: str | Path | None = None) -> tuple[torch.nn.Module, str]:
    """(network, its name with the first digits of the weights' sha256; of the published ones 6726825d).

    network(uint8 [B,3,H,W]) → (features [B,2048], class logits without bias [B,1008]), as the reference implementations
    of FID and IS take them; it resizes to 299 × 299 as TensorFlow 1 did. weights: a file of tensors, read without
    unpickling objects; None: where torch-fidelity keeps its own, else its download.
    Raises ModuleNotFoundError without torch-fidelity, FileNotFoundError without weights, ValueError for other ones.
    """
    file = inception_file(weights)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    tensors = BytesIO()  # torch-fidelity would unpickle whatever is in the file: it gets the tensors alone
    torch.save(_read_tensors(file), tensors)
    tensors.seek(0)
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], tensors)
    except RuntimeError as error:
        raise ValueError(f"{file}: not the weights of Inception-v3 ({first_line(error)})") from None
    return network, f"Inception-v3 {sha256(file)[:8]}"


def inception_file(weights: str | Path | None = None, download: bool = True) -> Path:
    """The file of weights that `load_inception` takes, with `download` downloaded at need; errors as there."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Inception-v3 is in torch-fidelity: pip install --no-deps torch-fidelity") from None
    file = Path(weights) if weights else _published(URL_INCEPTION_V3, download)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; the weights of Inception-v3 were expected")
    return file


def _published(url: str, download: bool) -> Path:
    """The file of `url` where torch-fidelity looks for it."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if file.is_file() or not download:
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), file.stem.rsplit("-", 1)[1], progress=False)
    except (OSError, RuntimeError) as error:  # no network, or another hash than the name has
        raise FileNotFoundError(f"{file}: no such file, and its download failed ({first_line(error)}); put it there "
                                f"or name it as `weights`") from None
    return file


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # of many kinds: pickle's, zipfile's, safetensors'
        raise ValueError(f"{file}: a file of nothing but tensors was expected ({first_line(error)})") from None
