"""Cached features: latents, text states and image embeddings, once per picture, keyed by content and by encoder.

A cache that does not match its pictures, encoders and code, or whose bytes have changed, is never used: it is made
again. Its manifest is what trainings and galleries were made from, so it also speaks of what encoders do not read: who
is on a picture, in which split.
M pictures, U different captions; c/h/w, L, D, E as in `backbone`. With `patches` embeddings are hidden states
[patches,E] of the image encoder, which a resampler takes. V views of a picture: it whole, then through R random
windows, then through its four quarters (`data.windows`), as far as they were asked for.
"""
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256 as new_sha256
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from ..bars import tqdm
from ..data.captions import EMPTY, captions
from ..data.celeba import load_pictures
from ..data.picture_table import check_contents, with_hashes
from ..data.windows import prompt_windows, random_windows, visible
from ..data.windows import quarters as in_quarters
from ..files import atomic, sha256
from .backbone import Backbone, Source, embed_pictures, encode_captions, encode_pictures, no_picture

ENCODERS = ("vae", "text_encoder", "tokenizer", "image_encoder", "feature_extractor")
DENOISER = ("unet", "scheduler")  # the other parts of a base: no feature depends on them, and what comes after does


@dataclass(frozen=True)
class Features:
    """Tensors that training needs of M pictures; a picture is its row number in their table."""
    latents: torch.Tensor  # [M,c,h,w] scaled
    embeds: torch.Tensor   # [M,E], or [M,patches,E] with `patches`; of the whole pictures
    nothing: torch.Tensor  # [E] or [patches,E], what stands for no picture
    texts: torch.Tensor    # [U,L,D] one for each caption, the empty text first
    caption: torch.Tensor  # [M] row of `texts`
    windows: torch.Tensor = torch.empty(0)   # [M,R,E] through random windows; [0] where none were asked for
    quarters: torch.Tensor = torch.empty(0)  # [M,4,E]

    def prompts(self, rows: torch.Tensor, view: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings [B,N,E] of `rows` [B,N], each in its `view` [B,N]: 0 whole, 1…R a window, R+1… a quarter.

        None: all whole.
        """
        whole = self.embeds[rows]
        if view is None:
            return whole
        parts = [part for part in (self.windows, self.quarters) if len(part)]
        views = torch.cat([whole.unsqueeze(2), *(part[rows] for part in parts)], 2)                 # [B,N,V,E]
        return torch.take_along_dim(views, view.view(*view.shape, 1, *[1] * (whole.ndim - 2)), 2).squeeze(2)

    def text(self, rows: torch.Tensor) -> torch.Tensor:
        """Text states [B,L,D] of the captions of `rows` [B]."""
        return self.texts[self.caption[rows]]

    @property
    def window_count(self) -> int:
        """R, the cached random windows of a picture."""
        return self.windows.shape[1] if len(self.windows) else 0

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


def fingerprint(pictures: pd.DataFrame, source: Source, patches: bool = False, code: str = "", windows: int = 0,
                quarters: bool = False) -> dict:
    """Key of a cache: contents and captions of the pictures, their table, the encoders' files, size, dtype, code."""
    return {"data": data_hash(pictures), "table": table_hash(pictures), "encoders": source.digest(ENCODERS),
            "size": source.size, "dtype": source.dtype, "patches": patches, "count": len(pictures), "code": code,
            "windows": windows, "quarters": quarters}


def cached_features(pictures: pd.DataFrame, backbone: Backbone, source: Source, folder: Path, patches: bool = False,
                    code: str = "", batch_size: int = 256, windows: int = 0, quarters: bool = False) -> Features:
    """Features of `pictures`, read from `folder` if they are there and match, else computed and stored there.

    `backbone` is what `source` says; `code` is a digest of the code that computes; `windows` and `quarters` as in
    `compute_features`. An interrupted computation resumes: its batches are kept in `folder`/parts.
    """
    key = fingerprint(pictures, source, patches, code, windows, quarters)
    if fault(folder, key) is None:
        return read_features(folder)
    parts = _parts(folder, key | {"batch_size": batch_size})
    features = compute_features(pictures, backbone, patches, batch_size, parts, windows, quarters)
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
    made = read_manifest(folder)  # which views there are is for the caller to ask
    key = fingerprint(pictures, source, patches, code, made.get("windows", 0), made.get("quarters", False))
    if (why := fault(folder, key)) is not None:
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


def seen_as(features: Features, backbone: Backbone, rows: np.ndarray, pictures: np.ndarray) -> Features:
    """The same where the pictures of `rows` [R] look like `pictures` [R,H,W,3] to the image encoder."""
    embeds = features.embeds.clone()
    embeds[rows] = embed_pictures(backbone, pictures, patches=embeds.ndim == 3)
    return replace(features, embeds=embeds)


def through_windows(features: Features, backbone: Backbone, pictures: pd.DataFrame, sets: pd.DataFrame, prompts: str,
                    n_refs: int) -> Features:
    """Features whose embeddings of prompts are of what `windows.prompt_windows` leaves of them.

    `sets` as `identity_sets.evaluation_sets` gives them, of rows of the table `pictures`. Words that hide nothing
    leave everything as it is. Errors of `prompt_windows`.
    """
    windows = prompt_windows(sets, prompts, n_refs, backbone.picture_size)                          # [S,N,3]
    if windows is None:
        return features
    rows = np.array([row[:n_refs] for row in sets["prompts"]])
    rows, first = np.unique(rows, return_index=True)  # samples of a person share their prompts
    chosen = windows.reshape(-1, 3)[first]
    whole = load_pictures(pictures["path"].iloc[rows], backbone.picture_size)
    return seen_as(features, backbone, rows, visible(whole, chosen[:, 0], chosen[:, 1:]))


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
                     parts: Path | None = None, windows: int = 0, quarters: bool = False) -> Features:
    """Features of all pictures, through the frozen encoders. FloatingPointError naming one that is not finite.

    windows: how many random windows of each picture are embedded too; quarters: its four quarters too. Batches that
    lie in the folder `parts` are taken from there, the others are put there.
    """
    batches = list(_encoded(pictures, backbone, patches, batch_size, parts, windows, quarters))
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    texts = captions(pictures)
    different = [EMPTY, *sorted(set(texts))]
    row = {text: i for i, text in enumerate(different)}
    states = torch.cat([encode_captions(backbone, different[i:i + 256]) for i in range(0, len(different), 256)])
    _refuse_odd("text states", states, different)
    return Features(nothing=no_picture(backbone, patches), texts=states,
                    caption=torch.tensor([row[text] for text in texts]), **whole)


def _encoded(pictures: pd.DataFrame, backbone: Backbone, patches: bool, batch_size: int, parts: Path | None,
             windows: int, quarters: bool) -> Iterator[dict[str, torch.Tensor]]:
    """What is computed of each picture, a batch at a time. ValueError for one that is not as its sha256 says."""
    with tqdm(total=len(pictures), desc="features", unit="picture", mininterval=2) as bar:
        for start in range(0, len(pictures), batch_size):
            batch = pictures.iloc[start:start + batch_size]
            if (kept := parts and parts / f"{start}.safetensors") and kept.is_file():
                part = load_file(kept)
            else:
                check_contents(batch)
                part = _encode(batch["path"], backbone, patches, windows, quarters, start)
                _keep(part, kept)
            yield part
            bar.update(len(batch))


def _encode(paths: Sequence[str], backbone: Backbone, patches: bool, windows: int, quarters: bool, start: int,
            ) -> dict[str, torch.Tensor]:
    """Of pictures from row `start` on, which chooses their windows."""
    batch = load_pictures(paths, backbone.picture_size)                                             # [B,H,W,3]
    part = {"latents": encode_pictures(backbone.vae, batch), "embeds": embed_pictures(backbone, batch, patches=patches)}
    _refuse_odd("latents", part["latents"], paths)
    if windows:
        rng = np.random.default_rng(start)
        part["windows"] = _views([random_windows(batch, rng) for _ in range(windows)], backbone, patches)
    if quarters:
        part["quarters"] = _views(list(in_quarters(batch).swapaxes(0, 1)), backbone, patches)
    for name in part.keys() - {"latents"}:
        _refuse_odd("embeddings", part[name], paths)
    return {name: tensor.contiguous() for name, tensor in part.items()}


def _views(views: Sequence[np.ndarray], backbone: Backbone, patches: bool) -> torch.Tensor:
    """Embeddings [B,V,E] of V views [B,H,W,3]."""
    return torch.stack([embed_pictures(backbone, view, patches=patches) for view in views], 1)


def _keep(part: dict[str, torch.Tensor], path: Path | None) -> None:
    if path is not None:
        with atomic(path) as file:
            save_file(part, file)


def _refuse_odd(what: str, values: torch.Tensor, names: Sequence[str]) -> None:
    """FloatingPointError that names the first of `names` [B] whose `values` [B,…] are not finite."""
    if not values.isfinite().all():
        first = int((~values.isfinite().flatten(1).all(1)).nonzero()[0])
        raise FloatingPointError(f"{list(names)[first]}: its {what} are not finite; take dtype float32 or bfloat16")
