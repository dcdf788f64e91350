"""The captions that a base learns from, several of each picture; of a drawn portrait all that it shows. No torch.

A base that is worth freezing has words for more than the forty attributes of CelebA: skin, cut, shape of the face,
light, background. Experiments use the short sentence of `captions`, which every long caption begins with.
"""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.captions import STYLES, captions
from ..data.celeba import read_celeba
from .faces import SHOWN_UNDER_A_HAT, Identity, Nuisance, drawn_factors, is_drawn, occluders

Colour = tuple[int, int, int]
COLOURS = {
    "red": (200, 40, 40), "orange": (225, 130, 40), "yellow": (225, 205, 60), "green": (60, 150, 70),
    "teal": (50, 150, 150), "blue": (50, 80, 190), "purple": (125, 60, 160), "pink": (215, 110, 165),
    "brown": (115, 75, 45), "gray": (130, 130, 130), "black": (35, 35, 35), "white": (225, 225, 225),
}  # fmt: skip
# least mean of red and green
SKINS = {"very pale": 215, "pale": 195, "tan": 165, "brown": 125, "dark brown": 90, "very dark": 0}

# A factor in the lowest and in the highest third of its range has a word; between them there is nothing to say.
OF_THE_FACE = {
    "face_width": ("narrow face", "wide face", 0.205, 0.262), "face_height": ("short face", "long face", 0.275, 0.315),
    "jaw": ("slim jaw", "strong jaw", 0.68, 1.0), "volume": ("flat hair", "thick hair", 0.03, 0.07),
    "brow_thickness": ("thin brows", "thick brows", 0.007, 0.024),
    "brow_slope": ("sad brows", "angry brows", -0.3, 0.3),
}  # fmt: skip
OF_THE_EYES = {
    "eye_size": ("small eyes", "large eyes", 0.042, 0.062), "eye_slant": ("drooping eyes", "slanted eyes", -0.28, 0.28),
    "eye_spacing": ("close eyes", "wide-set eyes", 0.078, 0.112),
    "eye_openness": ("narrow eyes", "open eyes", 0.45, 0.85),
}  # fmt: skip
OF_THE_MOUTH = {
    "mouth_width": ("small mouth", "wide mouth", 0.058, 0.105),
    "lip_fullness": ("thin lips", "full lips", 0.009, 0.026),
    "nose_width": ("narrow nose", "broad nose", 0.022, 0.05),
}  # fmt: skip
OF_THE_PICTURE = {
    "yaw": ("turned left", "turned right", -0.36, 0.36), "tilt": ("tilted left", "tilted right", -0.16, 0.16),
    "brightness": ("dark picture", "bright picture", 0.94, 1.12),
    "scale": ("far away", "close up", 1.24, 1.38), "warmth": ("cold light", "warm light", -0.07, 0.07),
}  # fmt: skip


def describe(identity: Identity, nuisance: Nuisance) -> list[str]:
    """Phrases for all that can be seen of the person and of the picture."""
    i, n = identity, nuisance
    return [*_of_person(i), *_of_head(i, n.occluder), *_of_eyes(i, n), *_of_lower_face(i, n.occluder), *_of_picture(n)]


def _of_person(i: Identity) -> list[str]:
    tone = (i.skin[0] + i.skin[1]) / 2
    skin = next(name for name, least in SKINS.items() if tone >= least)
    return [f"{skin} skin", "man" if i.male else "woman", "young" if i.young else "old"]


def _of_head(i: Identity, occluder: str) -> list[str]:
    phrases = _thirds(i, OF_THE_FACE)
    if i.cut != "bald" and (occluder != "hat" or i.cut in SHOWN_UNDER_A_HAT):
        phrases += [f"{i.cut} cut", *["red hair"] * (i.hair_colour == "red")]
        phrases += [f"fringe {i.fringe}"] * (occluder != "hat" and i.fringe != "up")
    earrings = [] if i.earring is None else [f"{colour_name(i.earring)} earrings"]
    return [*phrases, *earrings, *["freckles"] * i.freckles]


def _of_eyes(i: Identity, n: Nuisance) -> list[str]:
    if n.occluder == "sunglasses":
        return ["sunglasses"]
    glasses = [] if i.glasses == "none" else [f"{i.glasses} {colour_name(i.glasses_colour)} glasses"]
    return [*glasses, f"{colour_name(i.eye_colour)} eyes", *_thirds(i, OF_THE_EYES), *["eyes closed"] * n.blink]


def _of_lower_face(i: Identity, occluder: str) -> list[str]:
    if occluder == "mask":
        return ["face mask"]
    beard = [] if i.beard == "none" else [f"{i.beard} beard"]
    lips = [f"{colour_name(i.lip_colour)} lips"] if i.lipstick else []
    mole = [] if i.mole is None else ["mole"]
    return [*beard, *lips, *mole, f"{i.nose_shape} nose", *_thirds(i, OF_THE_MOUTH), *["rosy cheeks"] * i.rosy]


def _of_picture(n: Nuisance) -> list[str]:
    backdrop = np.mean(n.background, axis=0)
    worn = [] if n.occluder in ("none", "sunglasses") else [f"{colour_name(n.occluder_colour)} {n.occluder}"]
    lit = _third(n.light[0], "lit from the left", "lit from the right", -0.3, 0.3)
    return [f"{colour_name(backdrop)} background", f"{colour_name(n.shirt)} shirt", *worn, *lit,
            *_thirds(n, OF_THE_PICTURE), *["necktie"] * n.necktie]


def colour_name(colour: Sequence[float]) -> str:
    """The nearest of `COLOURS` to an RGB triple of 0…255."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))


def _thirds(factors: Identity | Nuisance, table: dict[str, tuple[str, str, float, float]]) -> list[str]:
    return [phrase for name, row in table.items() for phrase in _third(getattr(factors, name), *row)]


def _third(value: float, low_phrase: str, high_phrase: str, low: float, high: float) -> list[str]:
    share = (value - low) / (high - low)
    return [low_phrase] if share < 1 / 3 else [high_phrase] if share > 2 / 3 else []


def with_covers(pictures: pd.DataFrame, folder: str | Path) -> pd.DataFrame:
    """The table with the columns of `captions.COVERS` where the `folder` was drawn; any other as it is."""
    if not is_drawn(folder):
        return pictures
    worn = np.array(occluders(folder, pictures["file"]))
    return pictures.assign(Sunglasses=worn == "sunglasses", Face_Mask=worn == "mask")


def versions(pictures: pd.DataFrame, folder: str | Path, seed: int = 0) -> np.ndarray:
    """Captions [V,M] of rows of a table of `folder`: the short ones, and others that say more.

    Three of `lengthen` where the folder was drawn, else those of every style of `captions`.
    """
    if not is_drawn(folder):
        return np.array([captions(pictures, style) for style in STYLES])
    everyone, rng = with_covers(read_celeba(folder), folder), np.random.default_rng(seed)
    short = captions(everyone)
    all_of_them = np.array([short, *(lengthen(short, folder, rng) for _ in range(3))])
    return all_of_them[:, pd.Index(everyone["file"]).get_indexer(pictures["file"])]


def lengthen(short: Sequence[str], folder: str | Path, rng: np.random.Generator) -> list[str]:
    """The `short` captions of the files of a mini-CelebA `folder`, in their order, each with some phrases more.

    A share of the phrases, uniform between none and all, in random order: so the base learns every word alone and in
    company, and the short caption by itself. Raises ValueError unless there is one caption a file.
    """
    factors = drawn_factors(folder)
    if len(short) != len(factors):
        raise ValueError(f"{folder}: {len(factors)} pictures, but {len(short)} captions")
    return [", ".join([text, *_some(describe(*pair), rng)]) for text, pair in zip(short, factors, strict=True)]


def _some(phrases: list[str], rng: np.random.Generator) -> list[str]:
    return rng.permutation(phrases)[: rng.integers(len(phrases) + 1)].tolist()
