"""Captions: the 40 CelebA attributes of a picture in, one short English sentence out. No torch."""

from collections.abc import Mapping

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
    """One lower-case sentence, such as "a photo of a person with brown hair and glasses, smiling"."""
    wanted = resolve(attributes)
    told = {name for name, value in wanted.items() if value != (name in MENTIONED_WHEN_FALSE)}
    looks = [phrase for name, phrase in (HAIR | LOOKS).items() if name in told]
    states = [phrase for name, phrase in STATES.items() if name in told]
    person = "a photo of a person" + (f" with {_listing(looks)}" if looks else "")
    return ", ".join([person, *states])


def captions(pictures: pd.DataFrame) -> list[str]:
    """The caption of every row of a table with attribute columns; equal rows are worded once."""
    known = [name for name in CAPTIONED if name in pictures]
    rows = list(map(tuple, pictures[known].to_numpy().tolist()))  # [M, K]
    worded = {row: caption(dict(zip(known, row, strict=True))) for row in set(rows)}
    return [worded[row] for row in rows]


def _listing(phrases: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
