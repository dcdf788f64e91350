"""Captions: the 40 CelebA attributes of a picture in, one English sentence out, short or a portrait. No torch.

Judgements of taste and of build (Attractive, Chubby, Big_Nose, Pale_Skin …) are never mentioned.
"""

from collections.abc import Mapping
from zlib import crc32

import pandas as pd

EMPTY = ""  # the unconditional text of equations (2) and (5)

# Of several hair attributes the first in this order is kept: the rarest in CelebA says the most.
HAIR = {
    "Bald": "a bald head",
    "Gray_Hair": "gray hair",
    "Blond_Hair": "blond hair",
    "Brown_Hair": "brown hair",
    "Black_Hair": "black hair",
}
LOOKS = {"Bangs": "bangs", "No_Beard": "a beard", "Mustache": "a mustache", "Eyeglasses": "glasses"}
STATES = {"Smiling": "smiling", "Mouth_Slightly_Open": "mouth slightly open", "Wearing_Hat": "wearing a hat"}

CAPTIONED = (*HAIR, *LOOKS, *STATES)
MENTIONED_WHEN_FALSE = frozenset({"No_Beard"})
# CelebA counts sunglasses among Eyeglasses and has no attribute of a mask; a table of drawn faces has both columns.
COVERS = {"Sunglasses": "wearing sunglasses", "Face_Mask": "wearing a face mask"}

# ---- what `portrait` says ------------------------------------------------------------------------
# "Beard" is No_Beard being false, "Woman" Male being false; "Gray_Beard" see `mentioned_names`.

COLOURS = {"Gray_Hair": "gray", "Blond_Hair": "blond", "Brown_Hair": "brown", "Black_Hair": "black"}
FORMS = {"Straight_Hair": "straight", "Wavy_Hair": "wavy"}
ON_THE_HEAD = {"Bald": "a bald head", "Bangs": "bangs", "Receding_Hairline": "a receding hairline"}
FACIAL_HAIR = {
    "Goatee": "a goatee",
    "5_o_Clock_Shadow": "a five o'clock shadow",
    "Gray_Beard": "a gray beard",
    "Beard": "a beard",
    "Mustache": "a mustache",
    "Sideburns": "sideburns",
}
FEATURES = ON_THE_HEAD | FACIAL_HAIR | {"Eyeglasses": "eyeglasses"}
WORN = {
    "Wearing_Hat": "a hat",
    "Wearing_Earrings": "earrings",
    "Wearing_Necklace": "a necklace",
    "Wearing_Necktie": "a necktie",
    "Heavy_Makeup": "heavy makeup",
    "Wearing_Lipstick": "lipstick",
}
EXPRESSIONS = {"Smiling": "smiling", "Mouth_Slightly_Open": "mouth slightly open"}
OTHER_WORDS = {
    "5_o_Clock_Shadow": "stubble",
    "Eyeglasses": "glasses",
    "Wearing_Necktie": "a tie",
    "Heavy_Makeup": "makeup",
    "Mouth_Slightly_Open": "lips parted",
}

# Contradictions, settled from top to bottom: where the left is true, the right is taken for false. Of hair, as in
# `HAIR`, the rarest in CelebA is kept; a bald head has no hair, bangs hide the hairline, a woman has no beard, and
# a kind of beard says more than that there is one, or that there is none.
OVERRULES = {
    "Woman": tuple(FACIAL_HAIR),
    "Bald": (*COLOURS, *FORMS, "Bangs", "Receding_Hairline"),
    "Gray_Hair": ("Blond_Hair", "Brown_Hair", "Black_Hair"),
    "Blond_Hair": ("Brown_Hair", "Black_Hair"),
    "Brown_Hair": ("Black_Hair",),
    "Straight_Hair": ("Wavy_Hair",),
    "Bangs": ("Receding_Hairline",),
    "Goatee": ("5_o_Clock_Shadow", "Beard"),
    "5_o_Clock_Shadow": ("Beard",),
}
PORTRAYED = (*COLOURS, *FORMS, *ON_THE_HEAD, "Goatee", "5_o_Clock_Shadow", "Mustache", "Sideburns", "No_Beard",
             "Eyeglasses", *WORN, *EXPRESSIONS, "Male", "Young")  # fmt: skip
# opening, order of the clauses, words that differ from the tables
VARIANTS: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("a photo of", ("features", "expression", "worn"), {}),
    ("a portrait of", ("features", "worn", "expression"), {}),
    ("a picture of", ("worn", "features", "expression"), OTHER_WORDS),
    ("a close-up photo of", ("features", "worn", "expression"), OTHER_WORDS),
)


def resolve(attributes: Mapping[str, bool]) -> dict[str, bool]:
    """The values of `CAPTIONED` that a caption stands for: what a judge of text agreement looks for.

    Contradictions are settled by one rule: a head has one hair attribute, the first of `HAIR` that is set,
    and a bald head has no bangs. An attribute that is not given counts as nothing to mention.
    """
    wanted = {name: bool(attributes.get(name, name in MENTIONED_WHEN_FALSE)) for name in CAPTIONED}
    kept = next((name for name in HAIR if wanted[name]), None)
    wanted.update({name: name == kept for name in HAIR})
    wanted["Bangs"] &= kept != "Bald"
    return wanted


def caption(attributes: Mapping[str, bool]) -> str:
    """One lower-case sentence, such as "a photo of a person with brown hair and glasses, smiling".

    Where `attributes` has the names of `COVERS`, sunglasses are not called glasses, and a mask is mentioned.
    """
    wanted = resolve(attributes)
    mentioned = {name for name, value in wanted.items() if value != (name in MENTIONED_WHEN_FALSE)}
    mentioned |= {name for name in COVERS if attributes.get(name, False)}
    if "Sunglasses" in mentioned:
        mentioned -= {"Eyeglasses"}
    looks = [phrase for name, phrase in (HAIR | LOOKS).items() if name in mentioned]
    states = [phrase for name, phrase in (STATES | COVERS).items() if name in mentioned]
    person = "a photo of a person" + (f" with {_listing(looks)}" if looks else "")
    return ", ".join([person, *states])


def mentioned_names(attributes: Mapping[str, bool]) -> set[str]:
    """The names of the tables above that a portrait mentions, contradictions settled by `OVERRULES`.

    The beard of somebody gray-haired is gray where a bald head or a hat leaves little hair to be gray ("Gray_Beard").
    An attribute that is not given counts as nothing to mention.
    """
    names = {name for name in PORTRAYED if attributes.get(name, False)}
    names |= {to for name, to in (("No_Beard", "Beard"), ("Male", "Woman")) if not attributes.get(name, True)}
    for name, others in OVERRULES.items():
        names -= set(others) if name in names else set()
    if "Beard" in names and attributes.get("Gray_Hair", False) and names & {"Bald", "Wearing_Hat"}:
        names = names - {"Beard", "Gray_Hair"} | {"Gray_Beard"}
    return names - {"No_Beard"}


def portrait(attributes: Mapping[str, bool], variant: int = 0) -> str:
    """One sentence of age, sex, hair, beard, expression and what is worn, for models that have seen the real world.

    Such as "a photo of a young woman with wavy brown hair, smiling". `variant` 0 … 3: other openings, orders and words
    for the same. ValueError for any other variant.
    """
    if variant not in range(len(VARIANTS)):
        raise ValueError(f"variant = {variant!r}; 0 to {len(VARIANTS) - 1} was expected")
    opening, order, words = VARIANTS[variant]
    clauses = _clauses(names := mentioned_names(attributes), words)
    said = ", ".join(clauses[clause] for clause in order if clauses[clause])
    mark = " " if said.startswith(("with ", "wearing ")) else ", "
    return f"{opening} a {_person(names)}" + (mark + said if said else "")


STYLES = {  # a wording and what it looks at
    "short": (lambda attributes, _: caption(attributes), (*CAPTIONED, *COVERS)),
    "portrait": (portrait, PORTRAYED),
    "portraits": (portrait, PORTRAYED),
}


def captions(pictures: pd.DataFrame, style: str = "short") -> list[str]:
    """The caption of every row: its own where the table has a column caption, else worded from its attributes.

    `style` is "short" (`caption`), "portrait", or "portraits", of which a hash of the file's name chooses the variant.
    Equal rows are worded once. ValueError for any other style.
    """
    if style not in STYLES:
        raise ValueError(f"style = {style!r}; one of {', '.join(STYLES)} was expected")
    if "caption" in pictures:
        return pictures["caption"].tolist()
    wording, names = STYLES[style]
    known = [name for name in names if name in pictures]
    variants = [0] * len(pictures)
    if style == "portraits":
        variants = [crc32(file.encode()) % len(VARIANTS) for file in pictures["file"]]
    rows = list(zip(map(tuple, pictures[known].to_numpy().tolist()), variants, strict=True))  # [M, K], [M]
    worded = {row: wording(dict(zip(known, row[0], strict=True)), row[1]) for row in set(rows)}
    return [worded[row] for row in rows]


def _clauses(names: set[str], words: Mapping[str, str]) -> dict[str, str]:
    """The parts of a portrait, empty where there is nothing to say."""
    features, worn, expression = (
        [words.get(name, phrase) for name, phrase in table.items() if name in names]
        for table in (FEATURES, WORN, EXPRESSIONS)
    )
    features = _hair(names) + features
    return {
        "features": f"with {_listing(features)}" if features else "",
        "worn": f"wearing {_listing(worn)}" if worn else "",
        "expression": ", ".join(expression),
    }


def _hair(names: set[str]) -> list[str]:
    """Nothing, or one phrase such as "wavy brown hair"."""
    words = [word for name, word in (FORMS | COLOURS).items() if name in names]
    return [" ".join([*words, "hair"])] if words else []


def _person(names: set[str]) -> str:
    sex = "woman" if "Woman" in names else "man" if "Male" in names else "person"
    return f"young {sex}" if "Young" in names else sex


def _listing(phrases: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
