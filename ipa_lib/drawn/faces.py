"""Mini-CelebA: drawn portraits in CelebA's on-disk layout, reproducible to the byte.

*Identity* factors are fixed for a person, *nuisance* factors are fresh for each picture; a picture is a
pure function of (seed, person, picture, size).  Attributes say what can be seen in the picture:

- a hat hides bald heads, bangs and every cut that ends above the ears (then no hair colour is true);
- a face mask hides mouth and beard (No_Beard is true; Smiling, Mouth_Slightly_Open, Mustache and Goatee
  are false);
- Eyeglasses is true for glasses and for sunglasses;
- a beard that covers the cheeks: No_Beard false, Mustache true; a goatee (chin only): No_Beard false,
  Mustache false; a mustache alone: No_Beard true, Mustache true.  Red hair is none of CelebA's four colours.

`redrawn` gives pictures of a drawn folder anew with a given occluder, all other factors equal.

Lengths are shares of the picture's width, measured from the centre of the head, x to the right and y down.
"""

import functools
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..bars import tqdm
from ..data.celeba import ATTRIBUTES
from ..files import atomic

VERSION = 3  # of the drawing; a folder drawn by another version is refused
SUPERSAMPLING = 4  # shapes are drawn this many times larger, then averaged down
CHUNK = 256  # pictures a task of a worker
STAMP = "mini_celeba.json"
JPEG = {"format": "JPEG", "quality": 95, "subsampling": 0}  # no colour is shared between pixels

# ---- palettes ------------------------------------------------------------------------------------

SKIN = ((255, 226, 204), (246, 203, 165), (228, 174, 124), (192, 133, 84), (141, 90, 54), (88, 54, 36))
HAIR = {
    "black": (28, 24, 30), "brown": (112, 66, 34), "blond": (236, 198, 98), "gray": (172, 174, 180),
    "red": (196, 76, 26),
}  # fmt: skip
EYES = ((70, 40, 20), (30, 110, 200), (40, 150, 70), (120, 125, 135), (170, 110, 30), (20, 18, 20))
FRAMES = ((20, 20, 25), (120, 20, 30), (20, 50, 140), (200, 140, 10), (240, 240, 240))
LIPSTICKS = ((190, 20, 50), (225, 70, 120), (130, 20, 70), (225, 90, 60))
CUTS_MALE = {
    "bald": 0.15, "receding": 0.08, "buzz": 0.12, "short": 0.19, "quiff": 0.12, "spiky": 0.10, "curly": 0.09,
    "afro": 0.05, "long": 0.05, "bun": 0.05,
}  # fmt: skip
CUTS_FEMALE = {
    "bald": 0.01, "short": 0.08, "curly": 0.09, "afro": 0.09, "bob": 0.19, "long": 0.19, "wavy": 0.14,
    "bun": 0.08, "ponytail": 0.07, "pigtails": 0.06,
}  # fmt: skip
FRINGES = {"up": 0.22, "left": 0.17, "right": 0.17, "centre": 0.14, "widow": 0.08, "bangs": 0.22}
BEARDS = {"none": 0.42, "mustache": 0.18, "goatee": 0.16, "full": 0.24}  # of men
OCCLUDERS = {"none": 0.65, "sunglasses": 0.12, "hat": 0.12, "mask": 0.11}
SHOWN_UNDER_A_HAT = {"bob", "long", "wavy", "pigtails"}
NO_FRINGE = {"bald", "receding", "buzz", "quiff", "spiky", "afro"}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Identity:
    """Factors that are fixed for a person."""

    male: bool
    young: bool
    skin: Colour
    hair_colour: str
    hair: Colour
    cut: str
    fringe: str
    hairline: float
    volume: float
    face_width: float  # half width
    face_height: float  # half height
    jaw: float
    chin: float
    squareness: float
    ear_size: float
    eye_colour: Colour
    eye_spacing: float
    eye_size: float
    eye_openness: float
    eye_slant: float
    eye_height: float
    lashes: bool
    brow_thickness: float
    brow_slope: float
    brow_arch: float
    brow_height: float
    nose_shape: str
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    lip_fullness: float
    lip_colour: Colour
    lipstick: bool
    beard: str
    beard_length: float
    glasses: str
    glasses_colour: Colour
    mole: tuple[float, float] | None
    freckles: bool
    rosy: bool
    earring: Colour | None
    neck: float


@dataclass(frozen=True)
class Nuisance:
    """Factors that are fresh for each picture."""

    occluder: str
    occluder_style: int
    occluder_colour: Colour
    yaw: float
    pitch: float
    tilt: float
    scale: float
    shift: tuple[float, float]
    smiling: bool
    smile: float
    mouth_open: bool
    gap: float
    blink: bool
    gaze: tuple[float, float]
    light: tuple[float, float]
    warmth: float
    brightness: float
    background: tuple[Colour, ...]
    shirt: Colour
    collar: int
    necktie: bool
    necklace: bool


# ---- drawing lots --------------------------------------------------------------------------------


def _rng(stream: int, *key: int) -> np.random.Generator:
    if min(key) < 0:
        raise ValueError(f"seed, person and picture must be >= 0, got {key}")
    return np.random.default_rng((stream, *key))


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    edges = np.cumsum(list(weights.values()))
    return list(weights)[min(int(np.searchsorted(edges, rng.random() * edges[-1], "right")), len(edges) - 1)]


def _choice(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _rgb(values) -> Colour:
    r, g, b = (min(255, max(0, round(float(v)))) for v in values)
    return r, g, b


def _mix(a, b, t: float) -> Colour:
    return _rgb(x + (y - x) * t for x, y in zip(a, b, strict=True))


def _shade(colour: Colour, factor: float) -> Colour:
    return _rgb(c * factor for c in colour)


def _any_colour(rng: np.random.Generator, low: int = 30, high: int = 235) -> Colour:
    return _rgb(rng.integers(low, high, 3))


def _skin(rng: np.random.Generator) -> Colour:
    at = rng.uniform(0, len(SKIN) - 1)
    pink = rng.uniform(-1, 1)
    tone = _mix(SKIN[int(at)], SKIN[int(at) + 1], at % 1)
    return _rgb((tone[0] + 4 * pink, tone[1] - 7 * pink, tone[2] + 5 * pink))


def _hair(rng: np.random.Generator, young: bool) -> tuple[str, Colour]:
    weights = {"black": 0.26, "brown": 0.26, "blond": 0.22, "red": 0.16, "gray": 0.08 if young else 0.5}
    name = _pick(rng, weights)
    return name, _shade(HAIR[name], rng.uniform(0.86, 1.12))


def _fringe(rng: np.random.Generator, cut: str) -> str:
    fringe = _pick(rng, FRINGES)
    return "up" if cut in NO_FRINGE else fringe


def _lips(rng: np.random.Generator, skin: Colour, male: bool) -> tuple[Colour, bool]:
    lipstick = not male and rng.random() < 0.55
    natural = _mix(skin, (170, 50, 60), rng.uniform(0.35, 0.65))
    return (_choice(rng, LIPSTICKS) if lipstick else natural), lipstick


@functools.lru_cache(maxsize=4096)
def identity_factors(seed: int, person: int) -> Identity:
    """The factors fixed for ``person``; raises ValueError for negative numbers."""
    rng = _rng(1, seed, person)
    u = rng.uniform
    male, young = bool(rng.random() < 0.5), bool(rng.random() < 0.8)
    skin = _skin(rng)
    hair_colour, hair = _hair(rng, young)
    cut = _pick(rng, CUTS_MALE if male else CUTS_FEMALE)
    lip_colour, lipstick = _lips(rng, skin, male)
    jewel = _choice(rng, ((250, 210, 60), (235, 235, 245), (60, 190, 200), (220, 60, 90)))
    side = 1 if rng.random() < 0.5 else -1
    return Identity(
        male=male, young=young, skin=skin, hair_colour=hair_colour, hair=hair,
        cut=cut, fringe=_fringe(rng, cut), hairline=u(-0.21, -0.165), volume=u(0.03, 0.07),
        face_width=u(0.205, 0.262), face_height=u(0.275, 0.315), jaw=u(0.68, 1.0), chin=u(0.75, 1.1),
        squareness=u(0.72, 1.0), ear_size=u(0.036, 0.068),
        eye_colour=_choice(rng, EYES), eye_spacing=u(0.078, 0.112), eye_size=u(0.042, 0.062),
        eye_openness=u(0.45, 0.85), eye_slant=u(-0.28, 0.28), eye_height=u(-0.045, 0.0),
        lashes=not male and bool(rng.random() < 0.7),
        brow_thickness=u(0.007, 0.024), brow_slope=u(-0.3, 0.3), brow_arch=u(0.0, 0.025),
        brow_height=u(0.052, 0.078),
        nose_shape=_choice(rng, ("button", "long", "wide", "pointy")), nose_length=u(0.075, 0.12),
        nose_width=u(0.022, 0.05),
        mouth_width=u(0.058, 0.105), mouth_height=u(0.165, 0.195), lip_fullness=u(0.009, 0.026),
        lip_colour=lip_colour, lipstick=lipstick,
        beard=_pick(rng, BEARDS) if male else "none", beard_length=u(0.0, 0.07),
        glasses=_pick(rng, {"none": 0.85, "round": 0.06, "square": 0.06, "cat": 0.03}),
        glasses_colour=_choice(rng, FRAMES),
        mole=(side * u(0.06, 0.13), u(0.05, 0.13)) if rng.random() < 0.22 else None,
        freckles=bool(rng.random() < 0.15), rosy=bool(rng.random() < 0.3),
        earring=jewel if rng.random() < (0.12 if male else 0.5) else None, neck=u(0.085, 0.125),
    )  # fmt: skip


def occluder(seed: int, person: int, picture: int) -> str:
    """Name of what covers the face in this picture: "none", "sunglasses", "hat" or "mask"."""
    return _pick(_rng(2, seed, person, picture), OCCLUDERS)


def other_occluder(seed: int, person: int, picture: int) -> str:
    """Occluder of a picture that is to have one and has none; as frequent as in `OCCLUDERS`."""
    return _pick(_rng(5, seed, person, picture), {name: share for name, share in OCCLUDERS.items() if name != "none"})


def nuisance_factors(seed: int, person: int, picture: int) -> Nuisance:
    """The factors of one picture; raises ValueError for negative numbers."""
    rng = _rng(3, seed, person, picture)
    u = rng.uniform
    smiling, mouth_open = bool(rng.random() < 0.5), bool(rng.random() < 0.28)
    backdrop = _any_colour(rng, 40, 230)
    return Nuisance(
        occluder=occluder(seed, person, picture), occluder_style=int(rng.integers(3)),
        occluder_colour=_any_colour(rng),
        yaw=u(-0.36, 0.36), pitch=u(-0.018, 0.018), tilt=u(-0.16, 0.16), scale=u(1.24, 1.38),
        shift=(u(-0.035, 0.035), u(-0.02, 0.025)),
        smiling=smiling, smile=u(0.042, 0.06) if smiling else u(-0.012, 0.004),
        mouth_open=mouth_open, gap=u(0.04, 0.065) if mouth_open else 0.0,
        blink=bool(rng.random() < 0.07), gaze=(u(-1, 1), u(-0.5, 0.5)),
        light=(u(-0.3, 0.3), u(-0.15, 0.1)), warmth=u(-0.07, 0.07), brightness=u(0.94, 1.12),
        background=tuple(_mix(backdrop, _any_colour(rng), 0.45) for _ in range(4)),
        shirt=_any_colour(rng), collar=int(rng.integers(3)),
        necktie=bool(rng.random() < 0.1), necklace=bool(rng.random() < 0.1),
    )  # fmt: skip


def with_occluder(seed: int, person: int, picture: int, occluded: bool) -> Nuisance:
    """`nuisance_factors` with an occluder, the picture's own or that of `other_occluder`, or without one."""
    nuisance = nuisance_factors(seed, person, picture)
    if occluded == (nuisance.occluder != "none"):
        return nuisance
    return replace(nuisance, occluder=other_occluder(seed, person, picture) if occluded else "none")


# ---- attributes ----------------------------------------------------------------------------------


def attributes(identity: Identity, nuisance: Nuisance) -> dict[str, bool]:
    """CelebA's 40 attributes, in CelebA's order, as they can be seen in the picture."""
    true = _hair_attributes(identity, nuisance.occluder == "hat") | _mouth_attributes(identity, nuisance)
    true |= _face_attributes(identity) | _worn_attributes(identity, nuisance)
    return {name: name in true for name in ATTRIBUTES}


def _named(**flags: bool) -> set[str]:
    return {name for name, flag in flags.items() if flag}


def _hair_attributes(i: Identity, hat: bool) -> set[str]:
    if hat and i.cut not in SHOWN_UNDER_A_HAT:
        return set()
    if i.cut == "bald":
        return {"Bald"}
    colour, wavy = f"{i.hair_colour.title()}_Hair", i.cut in ("wavy", "curly", "afro")
    return {colour} | _named(
        Bangs=i.fringe == "bangs" and not hat, Receding_Hairline=i.cut == "receding",
        Wavy_Hair=wavy, Straight_Hair=not wavy,
    )  # fmt: skip


def _mouth_attributes(i: Identity, n: Nuisance) -> set[str]:
    if n.occluder == "mask":
        return {"No_Beard"}
    return _named(
        Smiling=n.smiling, Mouth_Slightly_Open=n.mouth_open, Big_Lips=i.lip_fullness > 0.02,
        Wearing_Lipstick=i.lipstick, Heavy_Makeup=i.lipstick and i.lashes,
        No_Beard=i.beard in ("none", "mustache"), Goatee=i.beard == "goatee",
        Mustache=i.beard in ("mustache", "full"), Sideburns=i.beard == "full",
    )  # fmt: skip


def _face_attributes(i: Identity) -> set[str]:
    return _named(
        Male=i.male, Young=i.young,
        Arched_Eyebrows=i.brow_arch > 0.017, Bushy_Eyebrows=i.brow_thickness > 0.018,
        Narrow_Eyes=i.eye_openness < 0.55, Big_Nose=i.nose_width > 0.042,
        Pointy_Nose=i.nose_shape == "pointy",
        Oval_Face=i.face_width < 0.225 and i.jaw < 0.9, Chubby=i.face_width > 0.25 and i.jaw > 0.85,
        Pale_Skin=i.skin[1] > 214, Rosy_Cheeks=i.rosy,
    )  # fmt: skip


def _worn_attributes(i: Identity, n: Nuisance) -> set[str]:
    return _named(
        Eyeglasses=n.occluder == "sunglasses" or i.glasses != "none",
        Wearing_Hat=n.occluder == "hat", Wearing_Earrings=i.earring is not None,
        Wearing_Necklace=n.necklace and not n.necktie, Wearing_Necktie=n.necktie,
    )  # fmt: skip


# ---- geometry ------------------------------------------------------------------------------------

_TURN = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_ROUND = np.stack([np.cos(_TURN[::2]), np.sin(_TURN[::2])], 1)  # [24, 2]
_ACROSS = np.linspace(-1, 1, 13)
_BOW = 1 - _ACROSS**2
_FRECKLES = np.array([(0.08, 0.06), (0.115, 0.05), (0.1, 0.085), (0.135, 0.075)])
_FRECKLES = np.concatenate([_FRECKLES * (-1, 1), _FRECKLES])  # on both cheeks, [8, 2]


def _oval(x: float, y: float, rx: float, ry: float, slant: float = 0.0) -> np.ndarray:
    points = _ROUND * (rx, ry)  # [24, 2]
    points[:, 1] += slant * points[:, 0]
    return points + (x, y)


def _box(x: float, y: float, rx: float, ry: float, corner: float = 0.4) -> np.ndarray:
    return np.sign(_ROUND) * np.abs(_ROUND) ** corner * (rx, ry) + (x, y)  # [24, 2]


def _outline(i: Identity, wider: float = 1.0, taller: float = 1.0, longer: float = 0.0) -> np.ndarray:
    """The contour of the head, clockwise from its right side, [48, 2]."""
    lower = np.clip(_SIN, 0, 1)
    x = np.sign(_COS) * np.abs(_COS) ** i.squareness * (1 - (1 - i.jaw) * lower**1.5)
    y = np.where(_SIN > 0, lower**i.chin * (i.face_height + longer), _SIN * i.face_height * taller)
    return np.stack([x * i.face_width * wider, y], 1)


def _ribbon(xs, top, bottom) -> np.ndarray:
    """The closed polygon between two curves over the same xs, [2 n, 2]."""
    return np.concatenate([np.stack([xs, top], 1), np.stack([xs, bottom], 1)[::-1]])


class Portrait:
    """A canvas with the pose of one picture: takes head coordinates to pixels and fills polygons."""

    def __init__(self, image: Image.Image, identity: Identity, nuisance: Nuisance):
        self.pen = ImageDraw.Draw(image)
        self.i, self.n, self.side = identity, nuisance, image.width
        self.radius = identity.face_width * 1.04
        cos, sin = np.cos(nuisance.tilt), np.sin(nuisance.tilt)
        self.rotation = np.array([[cos, sin], [-sin, cos]]) * nuisance.scale * self.side
        self.centre = np.array([0.5 + nuisance.shift[0], 0.51 + nuisance.shift[1]]) * self.side
        self.turn = np.cos(nuisance.yaw), np.sin(nuisance.yaw)

    def head(self, points: np.ndarray) -> np.ndarray:
        """Head coordinates [n, 2] to pixels [n, 2]."""
        return points @ self.rotation + self.centre

    def face(self, points: np.ndarray) -> np.ndarray:
        """The same for points on the front of the face, which turn with the head as on a cylinder."""
        x = np.clip(points[:, 0], -self.radius, self.radius)
        x = x * self.turn[0] + np.sqrt(self.radius**2 - x**2) * self.turn[1]
        return self.head(np.stack([x, points[:, 1] + self.n.pitch], 1))

    def fill(self, pixels: np.ndarray, colour: Colour) -> None:
        """Fill the polygon through points in pixels."""
        self.pen.polygon(pixels.ravel().tolist(), fill=colour)

    def stroke(self, pixels: np.ndarray, colour: Colour, width: float) -> None:
        """Draw a line of a width in pixels through points."""
        width *= self.n.scale * self.side
        self.pen.line(pixels.ravel().tolist(), fill=colour, width=max(1, round(width)))

    def disc(self, pixel: np.ndarray, radius: float, colour: Colour) -> None:
        """Draw a filled circle around a point; pixels."""
        (x, y), r = pixel, radius * self.n.scale * self.side
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)


# ---- behind the face -----------------------------------------------------------------------------


def _backdrop(n: Nuisance, side: int) -> Image.Image:
    corners = np.array(n.background, np.uint8).reshape(2, 2, 3)
    return Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR)


def _blobs(xs: np.ndarray, ys: np.ndarray, p: Portrait, radius: float, colour: Colour) -> None:
    for pixel in p.head(np.stack([xs, ys], 1)):
        p.disc(pixel, radius, colour)


def _back_curtain(p: Portrait, bottom: float, flare: float) -> None:
    i = p.i
    top = -0.1 if p.n.occluder == "hat" else -i.face_height * (1.02 + i.volume)
    y = np.linspace(top, bottom, 12)
    t = np.linspace(0, 1, 12)
    x = i.face_width * (1.06 + 1.5 * i.volume) * np.minimum(1, 0.35 + 2.8 * t) + flare * t
    if i.cut == "wavy":
        x = x + 0.022 * np.sin(np.arange(12) * 1.7)
    points = np.concatenate([np.stack([x, y], 1), np.stack([-x, y], 1)[::-1]])
    points[:, 0] -= p.n.yaw * 0.04
    p.fill(p.head(points), _shade(i.hair, 0.72))


def _back_afro(p: Portrait) -> None:
    grow = 1.28 + 3 * p.i.volume
    points = _outline(p.i, grow, 1.18 + 2 * p.i.volume)[[*range(24, 48), *range(0, 5), *range(20, 24)]]
    p.fill(p.head(points), p.i.hair)
    _blobs(points[::2, 0], points[::2, 1], p, 0.05, p.i.hair)


def _back_tails(p: Portrait) -> None:
    w, dark = p.i.face_width, _shade(p.i.hair, 0.8)
    sides = (-1, 1) if p.i.cut == "pigtails" else ((1,) if p.i.hairline > -0.19 else (-1,))
    for s in sides:
        tail = _oval(s * (w + 0.045), 0.06, 0.065, 0.2, -s * 0.2)
        p.fill(p.head(tail), dark)
        p.disc(p.head(np.array([[s * (w + 0.03), -0.13]]))[0], 0.032, (200, 60, 90))


def draw_back_hair(p: Portrait) -> None:
    """Draw the hair behind head and shoulders."""
    cut, hat = p.i.cut, p.n.occluder == "hat"
    if cut == "bob":
        _back_curtain(p, 0.2, 0.02)
    elif cut in ("long", "wavy"):
        _back_curtain(p, 0.55, 0.03)
    elif cut == "afro" and not hat:
        _back_afro(p)
    elif cut == "pigtails" or (cut == "ponytail" and not hat):
        _back_tails(p)
    elif cut == "bun" and not hat:
        p.fill(p.head(_oval(0, -p.i.face_height - 0.075, 0.085, 0.07)), _shade(p.i.hair, 0.85))


def draw_body(p: Portrait) -> None:
    """Draw neck, shoulders and clothes."""
    i, n, s = p.i, p.n, p.side
    x, skin = (0.5 + n.shift[0] * 0.6), _shade(i.skin, 0.82)
    neck, wide = i.neck, 0.3 if not i.male else 0.36
    p.fill(np.array([(x - wide, 1.05), (x - wide + 0.05, 0.93), (x - neck, 0.87), (x + neck, 0.87),
                     (x + wide - 0.05, 0.93), (x + wide, 1.05)]) * s, n.shirt)  # fmt: skip
    p.fill(
        np.array([(x - neck, 0.6), (x + neck, 0.6), (x + neck, 0.89), (x, 0.98), (x - neck, 0.89)]) * s, skin
    )
    if n.collar == 1:
        light = _mix(n.shirt, (255, 255, 255), 0.6)
        p.fill(np.array([(x - neck, 0.86), (x, 0.98), (x - neck - 0.03, 1.0)]) * s, light)
        p.fill(np.array([(x + neck, 0.86), (x, 0.98), (x + neck + 0.03, 1.0)]) * s, light)
    if n.necktie:
        p.fill(
            np.array([(x - 0.035, 0.93), (x + 0.035, 0.93), (x + 0.05, 1.05), (x - 0.05, 1.05)]) * s,
            n.background[0],
        )
    elif n.necklace:
        p.stroke(np.array([(x - neck, 0.87), (x, 0.95), (x + neck, 0.87)]) * s, (250, 215, 80), 0.016)


# ---- the face ------------------------------------------------------------------------------------


def draw_head(p: Portrait) -> None:
    """Draw face and ears in the colour of the skin."""
    i, yaw = p.i, p.n.yaw
    for s in (-1, 1):
        x = s * (i.face_width + 0.012) - yaw * 0.06
        p.fill(p.head(_oval(x, 0.0, i.ear_size * 0.75, i.ear_size)), _shade(i.skin, 0.92))
        p.fill(p.head(_oval(x, 0.0, i.ear_size * 0.4, i.ear_size * 0.6)), _shade(i.skin, 0.76))
        if i.earring is not None:
            p.disc(p.head(np.array([[x + s * 0.006, i.ear_size + 0.012]]))[0], 0.019, i.earring)
    contour = _outline(i)
    p.fill(p.head(contour), _shade(i.skin, 0.88))
    p.fill(p.head(contour * (0.94, 0.955) + (0.008 * np.sign(p.n.light[0]), -0.01)), i.skin)


def draw_cheeks(p: Portrait) -> None:
    """Draw cheeks, mole and what else lies on the skin."""
    i = p.i
    if i.rosy:
        for s in (-1, 1):
            p.fill(p.face(_oval(s * 0.135, 0.085, 0.042, 0.03)), _mix(i.skin, (235, 80, 90), 0.35))
    if i.freckles:
        for pixel in p.face(_FRECKLES):
            p.disc(pixel, 0.0085, _shade(i.skin, 0.66))
    if not i.young:
        for s in (-1, 1):
            p.stroke(p.face(np.array([(s * 0.06, 0.1), (s * 0.095, 0.15)])), _shade(i.skin, 0.74), 0.009)
    if i.mole is not None:
        p.disc(p.face(np.array([i.mole]))[0], 0.0165, (60, 34, 26))


def draw_eyes(p: Portrait) -> None:
    """Draw eyes and brows."""
    for s in (-1, 1):
        _draw_eye(p, s)
        _draw_brow(p, s)


def _draw_eye(p: Portrait, s: int) -> None:
    i, n = p.i, p.n
    x, y, r = s * i.eye_spacing, i.eye_height, i.eye_size
    high, slant = r * i.eye_openness, s * -i.eye_slant
    lid = np.stack([_ACROSS * r * 1.1 + x, y - high * _BOW + slant * _ACROSS * r], 1)  # [13, 2]
    if n.blink:
        lid[:, 1] = y + high * 0.5 * _BOW + slant * _ACROSS * r
        return p.stroke(p.face(lid), _shade(i.skin, 0.35), 0.014)
    p.fill(p.face(_oval(x, y, r, high, slant)), (250, 250, 248))
    iris = min(high * 0.98, r * 0.62)
    centre = p.face(np.array([[x + n.gaze[0] * (r - iris) * 0.7, y + n.gaze[1] * (high - iris)]]))[0]
    p.disc(centre, iris, i.eye_colour)
    p.disc(centre, iris * 0.5, (10, 10, 14))
    p.disc(centre + np.array([0.3, -0.35]) * iris * p.side, iris * 0.25, (255, 255, 255))
    p.stroke(p.face(lid), (25, 18, 20) if i.lashes else _shade(i.skin, 0.42), 0.018 if i.lashes else 0.009)


def _draw_brow(p: Portrait, s: int) -> None:
    i = p.i
    xs = s * i.eye_spacing + _ACROSS * i.eye_size * 1.2
    middle = i.eye_height - i.brow_height - i.brow_arch * _BOW + s * i.brow_slope * _ACROSS * i.eye_size
    taper = i.brow_thickness * (0.55 + 0.45 * _BOW)
    colour = _shade(i.hair, 0.7) if i.hair_colour != "gray" else (105, 105, 112)
    p.fill(p.face(_ribbon(xs, middle - taper, middle + taper)), colour)


def draw_nose(p: Portrait) -> None:
    """Draw the nose."""
    i = p.i
    y, w = i.eye_height + i.nose_length, i.nose_width
    dark, deep = _shade(i.skin, 0.8), _shade(i.skin, 0.5)
    lean = np.array([p.n.yaw * 0.06, 0.0])
    if i.nose_shape == "pointy":
        p.fill(
            p.face(np.array([(-0.01, y - 0.09), (0.012, y - 0.09), (w, y), (0, y + 0.026), (-w, y)]) + lean),
            dark,
        )
    elif i.nose_shape == "long":
        p.fill(
            p.face(np.array([(0.0, y - 0.1), (0.016, y - 0.09), (w, y + 0.02), (-w, y + 0.02)]) + lean), dark
        )
    p.fill(p.face(_oval(0, y, w * (1.25 if i.nose_shape == "wide" else 1), 0.026) + lean), dark)
    p.fill(p.face(_oval(0, y - 0.008, w * 0.7, 0.016) + lean), _mix(i.skin, (255, 255, 255), 0.12))
    for s in (-1, 1):
        p.disc(p.face(np.array([[s * w * 0.55, y + 0.014]]) + lean)[0], 0.0085, deep)


def draw_mouth(p: Portrait) -> None:
    """Draw the mouth, open or closed, smiling or not."""
    i, n = p.i, p.n
    half = i.mouth_width * (1.15 if n.smiling else 1.0)
    xs = _ACROSS * half
    middle = i.mouth_height + n.smile * (_BOW - 0.6)
    gap, lip = n.gap * np.sqrt(_BOW), i.lip_fullness * np.sqrt(_BOW) + 0.003
    top, bottom = middle - gap * 0.4, middle + gap * 0.6
    bow = lip * (1 - 0.35 * np.exp(-((_ACROSS / 0.22) ** 2)))
    p.fill(p.face(_ribbon(xs, top - bow, bottom + lip * 1.15)), i.lip_colour)
    if n.mouth_open:
        p.fill(p.face(_ribbon(xs * 0.9, top, bottom)), (70, 12, 22))
        p.fill(p.face(_ribbon(xs * 0.75, top, top + n.gap * 0.3 * np.sqrt(_BOW))), (250, 248, 240))
    else:
        p.stroke(p.face(np.stack([xs, middle], 1)), _shade(i.lip_colour, 0.5), 0.01)


def draw_beard(p: Portrait) -> None:
    """Draw beard and moustache."""
    i, colour = p.i, _mix(p.i.hair, (85, 42, 16), 0.36)
    if p.n.occluder == "mask":
        return
    if i.beard == "full":
        jaw = _outline(i, 1.035, 1.0, 0.012 + i.beard_length)[:25]  # right ear, chin, left ear
        cheek = np.stack([_ACROSS * i.face_width, i.mouth_height - 0.055 - 0.13 * np.abs(_ACROSS) ** 3], 1)
        p.fill(np.concatenate([p.head(jaw), p.face(cheek)]), colour)
    elif i.beard == "goatee":
        p.fill(p.face(_oval(0, i.face_height - 0.02, 0.07, 0.055 + i.beard_length * 0.5)), colour)
    elif i.beard == "mustache":
        y = i.mouth_height - 0.047 + 0.03 * _ACROSS**2
        taper = 0.021 * np.sqrt(_BOW) + 0.004
        p.fill(p.face(_ribbon(_ACROSS * (i.mouth_width + 0.03), y - taper, y + taper)), colour)


# ---- hair in front -------------------------------------------------------------------------------


def _hairline(i: Identity) -> np.ndarray:
    """Lower edge of the hair over the forehead, from left to right, [13]."""
    side = np.abs(_ACROSS)
    if i.fringe == "bangs":
        return np.full(13, i.eye_height - i.brow_height - 0.005) + 0.02 * (np.arange(13) % 2)
    if i.fringe in ("left", "right"):
        slope = _ACROSS if i.fringe == "left" else -_ACROSS
        return i.hairline - 0.02 + 0.075 * (slope + 0.4) ** 2 + 0.08 * side**4
    if i.fringe == "centre":
        return i.hairline - 0.06 + 0.16 * side**0.8
    if i.fringe == "widow":
        return i.hairline - 0.035 + 0.07 * np.exp(-((_ACROSS / 0.28) ** 2)) + 0.1 * side**3
    return i.hairline + 0.09 * side**3


def _locks(i: Identity) -> float:
    """Depth to which the hair reaches beside the face."""
    return {"bob": 0.16, "long": 0.26, "wavy": 0.24, "buzz": -0.06, "curly": 0.02, "afro": -0.02}.get(
        i.cut, -0.02
    )


def _cap(p: Portrait, volume: float, colour: Colour) -> None:
    i, low = p.i, _locks(p.i)
    crown = _outline(i, 1.03 + volume * 1.2, 1.02 + volume * 3.2)[24:]  # left ear, top, right ear
    crown = np.concatenate([[[crown[0, 0], low]], crown, [[-crown[0, 0], low]]])
    line = np.stack([_ACROSS * i.face_width * 0.97, _hairline(i)], 1)
    inner = i.face_width * (0.86 if low > 0.1 else 0.96)
    line[[0, -1], 0] = -inner, inner
    line = np.concatenate([[[-inner, low]], line, [[inner, low]]])
    p.fill(np.concatenate([p.head(crown), p.face(line[::-1])]), colour)


def _receding(p: Portrait) -> None:
    i = p.i
    for s in (-1, 1):
        side = np.array([(0.8, 0.03), (1.1, 0.03), (1.12, -0.1), (0.98, -0.21), (0.72, -0.25), (0.86, -0.12)])
        p.fill(p.head(side * (s * i.face_width, 1.0) - (p.n.yaw * 0.05, 0.0)), i.hair)


def _tuft(p: Portrait) -> None:
    i, top = p.i, -p.i.face_height
    if i.cut == "quiff":
        lean = 0.05 if i.hairline > -0.19 else -0.05
        p.fill(p.head(_oval(lean, top - 0.02, 0.17, 0.085, lean * 3)), i.hair)
    elif i.cut == "spiky":
        xs = np.linspace(-0.95, 0.95, 13) * i.face_width
        ys = top * np.sqrt(1 - (xs / i.face_width) ** 2 * 0.7) + np.where(np.arange(13) % 2, -0.1, 0.03)
        p.fill(p.head(np.concatenate([np.stack([xs, ys], 1), [[0, -0.2]]])), i.hair)
    elif i.cut == "curly":
        ring = _outline(i, 1.12, 1.1 + i.volume)[[*range(23, 48, 2), 1]]
        _blobs(ring[:, 0], ring[:, 1], p, 0.058, i.hair)
        _blobs(ring[2:-2:2, 0] * 0.8, ring[2:-2:2, 1] * 0.88, p, 0.03, _mix(i.hair, (255, 255, 255), 0.18))


def draw_hair(p: Portrait) -> None:
    """Draw the hair in front."""
    i, hat = p.i, p.n.occluder == "hat"
    if i.cut == "bald" or (hat and i.cut not in SHOWN_UNDER_A_HAT):
        return
    if i.cut == "receding":
        return _receding(p)
    _cap(p, 0.0 if hat or i.cut == "buzz" else i.volume, _shade(i.hair, 0.9) if i.cut == "buzz" else i.hair)
    if not hat:
        _tuft(p)
        _shine(p)


def _shine(p: Portrait) -> None:
    i = p.i
    if i.cut in ("buzz", "curly", "afro", "spiky"):
        return
    arc = _outline(i, 0.8, 0.97)[27:36] if p.n.light[0] < 0 else _outline(i, 0.8, 0.97)[37:46]
    p.stroke(p.head(arc), _mix(i.hair, (255, 255, 255), 0.2), 0.022)


# ---- what is worn --------------------------------------------------------------------------------


def _lens(style: str, x: float, y: float, r: float) -> np.ndarray:
    if style == "round":
        return _oval(x, y, r, r)
    if style == "square":
        return _box(x, y, r * 1.1, r * 0.78)
    return _oval(x, y, r * 1.15, r * 0.75, -0.35 if x > 0 else 0.35)


def _bridge(p: Portrait, x: float, y: float, r: float, colour: Colour, width: float) -> None:
    p.stroke(p.face(np.array([(-x + r, y), (0, y - 0.012), (x - r, y)])), colour, width)
    for s in (-1, 1):
        p.stroke(p.face(np.array([(s * (x + r), y), (s * p.i.face_width, y - 0.015)])), colour, width)


def draw_glasses(p: Portrait) -> None:
    """Draw the person's own glasses."""
    i = p.i
    if i.glasses == "none" or p.n.occluder == "sunglasses":
        return
    x, r = i.eye_spacing + 0.002, 0.072
    for s in (-1, 1):
        ring = p.face(_lens(i.glasses, s * x, i.eye_height, r))
        p.stroke(np.concatenate([ring, ring[:2]]), i.glasses_colour, 0.023)
    _bridge(p, x, i.eye_height, r, i.glasses_colour, 0.018)


def draw_sunglasses(p: Portrait) -> None:
    """Draw sunglasses, an occluder."""
    i, style = p.i, ("round", "square", "cat")[p.n.occluder_style]
    dark = _mix((14, 14, 20), p.n.occluder_colour, 0.12)
    frame = _mix((14, 14, 20), p.n.occluder_colour, 0.5)
    for s in (-1, 1):
        p.fill(p.face(_lens(style, s * i.eye_spacing, i.eye_height, 0.092)), frame)
        p.fill(p.face(_lens(style, s * i.eye_spacing, i.eye_height, 0.079)), dark)
        glint = np.array(
            [(s * i.eye_spacing - 0.03, i.eye_height + 0.01), (s * i.eye_spacing, i.eye_height - 0.035)]
        )
        p.stroke(p.face(glint), _mix(dark, (255, 255, 255), 0.4), 0.012)
    _bridge(p, i.eye_spacing, i.eye_height, 0.07, frame, 0.024)


def draw_mask(p: Portrait) -> None:
    """Draw a face mask, an occluder."""
    i = p.i
    cloth = ((165, 210, 230), (245, 245, 245), p.n.occluder_colour)[p.n.occluder_style]
    jaw = _outline(i, 1.01, 1.0, 0.012)[2:23]
    edge = np.stack([_ACROSS * i.face_width * 0.97, 0.07 + 0.035 * _ACROSS**2 - 0.025 * _BOW**2], 1)
    p.fill(np.concatenate([p.head(jaw), p.face(edge)]), cloth)
    for y in (0.13, 0.18):
        p.stroke(
            p.face(np.stack([_ACROSS * i.face_width * 0.75, y + 0.012 * _BOW], 1)), _shade(cloth, 0.82), 0.008
        )
    for s in (-1, 1):
        p.stroke(
            p.face(np.array([(s * i.face_width * 0.95, 0.1), (s * i.face_width, 0.0)])),
            _shade(cloth, 0.9),
            0.012,
        )


def draw_hat(p: Portrait) -> None:
    """Draw a hat, an occluder."""
    (_beanie, _baseball_cap, _brimmed_hat)[p.n.occluder_style](p, p.n.occluder_colour)


def _beanie(p: Portrait, colour: Colour) -> None:
    w, h = p.i.face_width, p.i.face_height
    p.fill(p.head(_outline(p.i, 1.13, 1.2)[25:48]), colour)
    p.fill(p.head(_box(0, -0.165, w * 1.12, 0.05)), _shade(colour, 0.75))
    p.disc(p.head(np.array([[0, -h * 1.2]]))[0], 0.045, _mix(colour, (255, 255, 255), 0.5))


def _baseball_cap(p: Portrait, colour: Colour) -> None:
    w = p.i.face_width
    p.fill(p.head(_outline(p.i, 1.12, 1.2)[26:47]), colour)
    p.fill(p.head(_box(0, -0.18, w * 1.11, 0.045)), colour)
    visor = _oval(p.n.yaw * 0.35, -0.135, w * 1.0, 0.055)
    p.fill(p.head(visor), _shade(colour, 0.62))


def _brimmed_hat(p: Portrait, colour: Colour) -> None:
    w, h = p.i.face_width, p.i.face_height
    p.fill(p.head(_box(0, -h * 0.93, w * 0.98, 0.12, 0.5)), colour)
    p.fill(p.head(_box(0, -0.21, w * 0.99, 0.04)), _shade(colour, 0.45))
    p.fill(p.head(_oval(0, -0.165, w * 1.65, 0.052)), _shade(colour, 0.85))


def draw_occluder(p: Portrait) -> None:
    """Draw the occluder of this picture, if it has one."""
    worn = {"sunglasses": draw_sunglasses, "hat": draw_hat, "mask": draw_mask}
    if p.n.occluder in worn:
        worn[p.n.occluder](p)


# ---- a picture -----------------------------------------------------------------------------------

LAYERS = (  # from back to front
    draw_back_hair, draw_body, draw_head, draw_cheeks, draw_beard, draw_nose, draw_mouth, draw_eyes,
    draw_hair, draw_glasses, draw_occluder,
)  # fmt: skip


def render(identity: Identity, nuisance: Nuisance, size: int = 64) -> Image.Image:
    """The picture of these factors, RGB, size x size; raises ValueError for size < 32."""
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, got {size}")
    image = _backdrop(nuisance, size * SUPERSAMPLING)
    portrait = Portrait(image, identity, nuisance)
    for draw in LAYERS:
        draw(portrait)
    return _lit(image.reduce(SUPERSAMPLING), nuisance)


def _lit(image: Image.Image, n: Nuisance) -> Image.Image:
    across = np.linspace(-1, 1, image.width, dtype=np.float32)
    level = n.brightness + n.light[0] * across[None, :] + n.light[1] * across[:, None]  # [H, W]
    tint = np.array([1 + n.warmth, 1.0, 1 - n.warmth], np.float32)
    lit = np.asarray(image) * level[:, :, None].astype(np.float32) * tint  # [H, W, 3]
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


# ---- the set on disk -----------------------------------------------------------------------------


def file_order(people: int, pictures: int, seed: int) -> np.ndarray:
    """(person, picture) of each file in turn, [people * pictures, 2]: people from 1, pictures from 0."""
    every = np.stack(np.divmod(np.arange(people * pictures), pictures), 1) + (1, 0)
    return np.random.default_rng((4, seed)).permutation(every)


def split_of(person: int, people: int) -> int:
    """0 train, 1 validation, 2 test: the last tenth of the people are test, the tenth before validation."""
    tenth = max(1, people // 10)
    return 2 if person > people - tenth else 1 if person > people - 2 * tenth else 0


def write_mini_celeba(root, people: int, pictures: int, seed: int, size: int = 64, workers: int | None = None,
                      progress: bool = True, code: str = "") -> Path:  # fmt: skip
    """Draw ``people`` x ``pictures`` portraits into ``root`` as CelebA lays them out; returns ``root``.

    A finished folder of the same parameters and code is returned at once; one that was interrupted, or that other code
    has drawn, is drawn again.  ``code``: a digest of the code that draws.
    The bytes do not depend on ``workers`` (processes; None: one a core).  Raises ValueError for people < 3,
    pictures < 2, seed < 0, size < 32, workers < 1, and for a folder that holds anything else.
    """
    workers = os.cpu_count() or 1 if workers is None else workers
    _check(people=(people, 3), pictures=(pictures, 2), seed=(seed, 0), size=(size, 32), workers=(workers, 1))
    root, stamp = Path(root), dict(version=VERSION, people=people, pictures=pictures, seed=seed, size=size)
    if _finished(root, stamp, code):
        return root
    (root / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    _write_stamp(root, stamp, code, finished=False)
    order = file_order(people, pictures, seed)
    rows = _draw_files(root, order, seed, size, workers, progress)
    _write_annotations(root, order, rows, people)
    _write_stamp(root, stamp, code, finished=True)
    return root


def is_drawn(root: str | Path) -> bool:
    """Tell whether `write_mini_celeba` has begun or finished a folder."""
    return (Path(root) / STAMP).is_file()


def drawn_factors(root: str | Path) -> list[tuple[Identity, Nuisance]]:
    """The factors behind each file of a folder that `write_mini_celeba` finished, in file order.

    Raises FileNotFoundError where nothing of this kind was drawn, ValueError for an unfinished or older drawing.
    """
    stamp = _read_stamp(root)
    seed, order = stamp["seed"], file_order(stamp["people"], stamp["pictures"], stamp["seed"]).tolist()
    return [(identity_factors(seed, person), nuisance_factors(seed, person, picture)) for person, picture in order]


def _read_stamp(root: str | Path) -> dict:
    path = Path(root) / STAMP
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; a folder of mini-CelebA was expected")
    stamp = json.loads(path.read_text())
    if not stamp["finished"] or stamp["version"] != VERSION:
        raise ValueError(f"{path}: version {VERSION}, finished, was expected; found {stamp}")
    return stamp


def occluders(root: str | Path, files: Sequence[str]) -> list[str]:
    """Names of what covers the face in each of `files` of a finished drawn folder; empty: nothing.

    Errors as `drawn_factors`.
    """
    seed = _read_stamp(root)["seed"]
    return [occluder(seed, *key).removeprefix("none") for key in _keys(Path(root), files)]


def redrawn(root: str | Path, files: Sequence[str], occluded: Sequence[bool]) -> np.ndarray:
    """Pictures of a folder that `write_mini_celeba` finished, each with or without an occluder: uint8 [S, H, W, 3].

    `files` [S]: names of its pictures, such as "000031.jpg", in any order, also repeated.  `occluded` [S]: True gives a
    picture its own occluder, or that of `other_occluder` where it has none; False takes it off, and what it hid can be
    seen. Pose, light, background and all else are equal, and one that is already as asked equals the stored file to the
    byte. Raises ValueError for a folder not drawn or not of this version, and for other names.
    """
    root = Path(root)
    if not is_drawn(root):
        raise ValueError(f"{root}: no {STAMP} in it; only drawn faces can be drawn anew with another occluder")
    if len(files) != len(occluded):
        raise ValueError(f"{len(files)} files, {len(occluded)} occluded: one each a picture was expected")
    stamp = _read_stamp(root)
    pictures = np.empty((len(files), stamp["size"], stamp["size"], 3), np.uint8)
    for drawn, (person, picture), worn in zip(pictures, _keys(root, files), occluded, strict=True):
        nuisance = with_occluder(stamp["seed"], person, picture, bool(worn))
        drawn[:] = _through_jpeg(render(identity_factors(stamp["seed"], person), nuisance, stamp["size"]))
    return pictures


def _keys(root: Path, files: Sequence[str]) -> list[list[int]]:
    """[person, picture] of each of `files` of a drawn folder. ValueError for a name that it does not have."""
    stamp = _read_stamp(root)
    order = file_order(stamp["people"], stamp["pictures"], stamp["seed"]).tolist()
    by_name = {_file_name(row): key for row, key in enumerate(order)}
    if unknown := [file for file in files if file not in by_name]:
        raise ValueError(f"{root}: {unknown[0]} is no picture of it; {_file_name(0)} to {_file_name(len(order) - 1)} "
                         "were expected")
    return [by_name[file] for file in files]


def _through_jpeg(image: Image.Image) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, **JPEG)
    return np.array(Image.open(file))  # [H, W, 3]


def _check(**limits: tuple[int, int]) -> None:
    for name, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _finished(root: Path, stamp: dict, code: str) -> bool:
    path = root / STAMP
    if not path.exists():
        if root.exists() and any(not file.name.startswith(".") for file in root.iterdir()):
            raise ValueError(f"{root} holds files but no {STAMP}: expected a new or empty folder")
        return False
    made = json.loads(path.read_text())
    finished, drawn_by = made.pop("finished", False), made.pop("code", "")
    if made != stamp:
        raise ValueError(f"{path} says {made}, expected {stamp}: choose another folder or remove this one")
    return finished and drawn_by == code


def _write_stamp(root: Path, stamp: dict, code: str, finished: bool) -> None:
    with atomic(root / STAMP) as path:
        path.write_text(json.dumps(stamp | {"code": code, "finished": finished}, indent=1) + "\n")


def _file_name(row: int) -> str:
    return f"{row + 1:06d}.jpg"


def _draw_chunk(folder: str, start: int, keys: list, seed: int, size: int) -> list[str]:
    lines = []
    for row, (person, picture) in enumerate(keys, start):
        identity, nuisance = identity_factors(seed, person), nuisance_factors(seed, person, picture)
        image = render(identity, nuisance, size)
        image.save(f"{folder}/{_file_name(row)}", **JPEG)
        flags = attributes(identity, nuisance).values()
        signs = " ".join(" 1" if flag else "-1" for flag in flags).lstrip()  # only the first is not padded
        lines.append(f"{_file_name(row)} {signs}")
    return lines


def _draw_files(root: Path, order: np.ndarray, seed: int, size: int, workers: int, progress: bool):
    """Draw every file; returns the attribute rows in file order."""
    folder, lines, starts = str(root / "img_align_celeba"), [], range(0, len(order), CHUNK)
    jobs = [(folder, start, order[start : start + CHUNK].tolist(), seed, size) for start in starts]
    with tqdm(total=len(order), desc="drawing", unit="picture", disable=not progress) as bar:
        for chunk in _run(jobs, min(workers, len(jobs))):
            lines += chunk
            bar.update(len(chunk))
    return lines


def _run(jobs: list[tuple], workers: int):
    if workers == 1:
        yield from (_draw_chunk(*job) for job in jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_draw_chunk, *zip(*jobs, strict=True))


def _write_annotations(root: Path, order: np.ndarray, rows: list[str], people: int) -> None:
    names = [_file_name(row) for row in range(len(order))]
    persons = order[:, 0].tolist()
    identity = [f"{name} {person}" for name, person in zip(names, persons, strict=True)]
    partition = [f"{name} {split_of(person, people)}" for name, person in zip(names, persons, strict=True)]
    header = [str(len(order)), " ".join(ATTRIBUTES) + " "]
    _write_lines(root / "identity_CelebA.txt", identity)
    _write_lines(root / "list_attr_celeba.txt", header + rows)
    _write_lines(root / "list_eval_partition.txt", partition)


def _write_lines(path: Path, lines: list[str]) -> None:
    """Text with CelebA's line ends (carriage return, line feed)."""
    with atomic(path) as temporary:
        temporary.write_bytes("".join(line + "\r\n" for line in lines).encode("ascii"))
