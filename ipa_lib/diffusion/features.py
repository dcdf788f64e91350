"""Cached features: latents, text states and image embeddings, once per picture, keyed by content and by encoder.

A cache that does not match its pictures, encoders and code, or whose bytes have changed, is never used: it is made
again. Its manifest is what trainings and galleries were made from, so it also speaks of what encoders do not read: who
is on a picture, in which split.
M pictures, U different captions; c/h/w, L, D, E as in `backbone`. With `patches` embeddings are hidden states
[patches,E] of the image encoder, which a resampler takes.
"""
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from ..bars import tqdm
from ..data.captions import EMPTY, captions
from ..data.celeba import load_pictures
from ..data.picture_table import check_contents, with_hashes
from ..files import atomic, sha256
from .backbone import Backbone, Source, embed_pictures, encode_captions, encode_pictures, no_picture

ENCODERS = ("vae", "text_encoder", "tokenizer", "image_encoder", "feature_extractor")
DENOISER = ("unet", "scheduler")  # the other parts of a base: no feature depends on them, and what comes after does


@dataclass(frozen=True)
class Features:
    """Tensors that training needs of M pictures; a picture is its row number in their table."""
    latents: torch.Tensor  # [M,c,h,w] scaled
    embeds: torch.Tensor   # [M,E], or [M,patches,E] with `patches`
    nothing: torch.Tensor  # [E] or [patches,E], what stands for no picture
    texts: torch.Tensor    # [U,L,D] one for each caption, the empty text first
    caption: torch.Tensor  # [M] row of `texts`

    def text(self, rows: torch.Tensor) -> torch.Tensor:
        """Text states [B,L,D] of the captions of `rows` [B]."""
        return self.texts[self.caption[rows]]

    @property
    def empty(self) -> torch.Tensor:
        """Text states [L,D] of the empty text."""
        return self.texts[0]

    def to(self, device: torch.device | str) -> "Features":
        """The same on another device."""
        return Features(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def data_hash(pictures: pd.DataFrame) -> str:
    """sha256 over names, contents and captions of the pictures of a table."""
    data, pictures = new_sha256(), with_hashes(pictures)
    for file, content, text in zip(pictures["file"], pictures["sha256"], captions(pictures), strict=True):
        data.update(f"{file} {content} {text}\n".encode())
    return data.hexdigest()


def table_hash(pictures: pd.DataFrame) -> str:
    """sha256 over all columns of a table but the path: people, splits and attributes too."""
    return new_sha256(pictures.drop(columns="path").to_csv(index=False).encode()).hexdigest()


def fingerprint(pictures: pd.DataFrame, source: Source, patches: bool = False, code: str = "") -> dict:
    """Key of a cache: contents and captions of the pictures, their table, the encoders' files, size, dtype, code."""
    return {"data": data_hash(pictures), "table": table_hash(pictures), "encoders": source.digest(ENCODERS),
            "size": source.size, "dtype": source.dtype, "patches": patches, "count": len(pictures), "code": code}


def cached_features(pictures: pd.DataFrame, backbone: Backbone, source: Source, folder: Path, patches: bool = False,
                    code: str = "", batch_size: int = 256) -> Features:
    """Features of `pictures`, read from `folder` if they are there and match, else computed and stored there.

    `backbone` is what `source` says; `code` is a digest of the code that computes. An interrupted computation resumes:
    its batches are kept in `folder`/parts.
    """
    key = fingerprint(pictures, source, patches, code)
    if fault(folder, key) is None:
        return read_features(folder)
    parts = _parts(folder, key | {"batch_size": batch_size})
    features = compute_features(pictures, backbone, patches, batch_size, parts)
    with atomic(folder / "features.safetensors") as file:
        save_file({name: tensor.contiguous() for name, tensor in vars(features).items()}, file)
    with atomic(folder / "manifest.json") as file:
        more = {"sha256": sha256(folder / "features.safetensors"), "source": asdict(source)}
        file.write_text(json.dumps(key | more, indent=1) + "\n")
    shutil.rmtree(parts)
    return features


def _parts(folder: Path, key: dict) -> Path:
    """The folder for the batches of a computation by `key`, without those of another one."""
    parts, text = folder / "parts", json.dumps(key)
    if not (parts / "key").is_file() or (parts / "key").read_text() != text:
        shutil.rmtree(parts, ignore_errors=True)
        with atomic(parts / "key") as file:
            file.write_text(text)
    return parts


def source_of(folder: Path) -> Source:
    """The models that a cache was made with. ValueError where there is no cache."""
    if "source" not in (manifest := read_manifest(folder)):
        raise ValueError(f"{folder}: no cached features here; run notebooks/03_cache_features.ipynb")
    return Source(**manifest["source"])


def load_features(pictures: pd.DataFrame, source: Source, folder: Path, patches: bool = False, code: str = "",
                  ) -> Features:
    """Features that must be there already. ValueError that says why they can't be used."""
    if (why := fault(folder, fingerprint(pictures, source, patches, code))) is not None:
        raise ValueError(f"{folder}: {why}; run notebooks/03_cache_features.ipynb again")
    return read_features(folder)


def fault(folder: Path, key: dict) -> str | None:
    """Reason why the cache in `folder` is not the one of `key`; None where it is."""
    manifest = read_manifest(folder)
    if not manifest:
        return "no cached features here"
    if changed := [name for name, value in key.items() if manifest.get(name) != value]:
        return f"the cached features were made from other {' and '.join(changed)}"
    file = folder / "features.safetensors"
    if not file.is_file() or sha256(file) != manifest.get("sha256"):
        return f"{file.name} is damaged"
    return None


def read_manifest(folder: Path) -> dict:
    """Manifest of the cache in `folder`, its key and more; empty where there is none."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def read_features(folder: Path) -> Features:
    """The tensors of a cache that `fault` has found sound."""
    return Features(**load_file(folder / "features.safetensors"))


def compute_features(pictures: pd.DataFrame, backbone: Backbone, patches: bool = False, batch_size: int = 256,
                     parts: Path | None = None) -> Features:
    """Features of all pictures, through the frozen encoders. FloatingPointError naming one that is not finite.

    Batches that lie in the folder `parts` are taken from there, the others are put there.
    """
    latents, embeds = zip(*_encoded(pictures, backbone, patches, batch_size, parts), strict=True)
    texts = captions(pictures)
    different = [EMPTY, *sorted(set(texts))]
    row = {text: i for i, text in enumerate(different)}
    states = torch.cat([encode_captions(backbone, different[i:i + 256]) for i in range(0, len(different), 256)])
    _refuse_odd("text states", states, different)
    return Features(torch.cat(latents), torch.cat(embeds), no_picture(backbone, patches), states,
                    torch.tensor([row[text] for text in texts]))


def _encoded(pictures: pd.DataFrame, backbone: Backbone, patches: bool, batch_size: int, parts: Path | None,
             ) -> Iterator[tuple]:
    """Latents and image embeddings, a batch at a time. ValueError for a picture that is not as its sha256 says."""
    with tqdm(total=len(pictures), desc="features", unit="picture", mininterval=2) as bar:
        for start in range(0, len(pictures), batch_size):
            batch = pictures.iloc[start:start + batch_size]
            if (kept := parts and parts / f"{start}.safetensors") and kept.is_file():
                part = load_file(kept)
            else:
                check_contents(batch)
                part = _encode(batch["path"], backbone, patches)
                _keep(part, kept)
            yield part["latents"], part["embeds"]
            bar.update(len(batch))


def _encode(paths: Sequence[str], backbone: Backbone, patches: bool) -> dict[str, torch.Tensor]:
    batch = load_pictures(paths, backbone.picture_size)                                             # [B,H,W,3]
    latents, embeds = encode_pictures(backbone.vae, batch), embed_pictures(backbone, batch, patches=patches)
    _refuse_odd("latents", latents, paths)
    _refuse_odd("embeddings", embeds, paths)
    return {"latents": latents.contiguous(), "embeds": embeds.contiguous()}


def _keep(part: dict[str, torch.Tensor], path: Path | None) -> None:
    if path is not None:
        with atomic(path) as file:
            save_file(part, file)


def _refuse_odd(what: str, values: torch.Tensor, names: Sequence[str]) -> None:
    """FloatingPointError that names the first of `names` [B] whose `values` [B,…] are not finite."""
    if not values.isfinite().all():
        first = int((~values.isfinite().flatten(1).all(1)).nonzero()[0])
        raise FloatingPointError(f"{list(names)[first]}: its {what} are not finite; take dtype float32 or bfloat16")
