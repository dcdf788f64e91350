"""Wording by literal examples, meaning by properties over all attribute patterns."""

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipa_lib.data.captions import (
    CAPTIONED,
    COLOURS,
    COVERS,
    EMPTY,
    FACIAL_HAIR,
    HAIR,
    PORTRAYED,
    VARIANTS,
    caption,
    captions,
    mentioned_names,
    portrait,
    resolve,
)
from ipa_lib.data.celeba import ATTRIBUTES, read_celeba

patterns = st.fixed_dictionaries({name: st.booleans() for name in ATTRIBUTES})
PLAIN = dict.fromkeys(ATTRIBUTES, False) | {"No_Beard": True}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("", "a photo of a person"),
        ("Smiling", "a photo of a person, smiling"),
        ("Young Male Blurry", "a photo of a person"),
        ("Bald", "a photo of a person with a bald head"),
        ("Blond_Hair Bangs", "a photo of a person with blond hair and bangs"),
        (
            "Brown_Hair Eyeglasses Smiling Wearing_Hat",
            "a photo of a person with brown hair and glasses, smiling, wearing a hat",
        ),
        (
            "Black_Hair Mustache Eyeglasses Mouth_Slightly_Open",
            "a photo of a person with black hair, a mustache and glasses, mouth slightly open",
        ),
        ("Bald Brown_Hair Bangs", "a photo of a person with a bald head"),
        ("Black_Hair Brown_Hair Gray_Hair", "a photo of a person with gray hair"),
    ],
)
def test_captions_read_like_this(names, sentence):
    assert caption(PLAIN | dict.fromkeys(names.split(), True)) == sentence


def test_a_beard_is_the_absence_of_no_beard():
    attributes = PLAIN | {"No_Beard": False, "Gray_Hair": True, "Eyeglasses": True}
    assert caption(attributes) == "a photo of a person with gray hair, a beard and glasses"


def test_what_is_not_given_is_not_mentioned():
    assert caption({}) == caption(PLAIN) == "a photo of a person"
    assert caption({"Smiling": True}) == "a photo of a person, smiling"
    assert EMPTY == ""


def test_captioned_names_are_attributes_of_celeba():
    assert set(CAPTIONED) <= set(ATTRIBUTES) and len(set(CAPTIONED)) == len(CAPTIONED) == 12


@given(patterns)
def test_a_caption_is_a_short_clean_sentence(attributes):
    text = caption(attributes)
    assert re.fullmatch(r"a photo of a person( with [a-z]+( [a-z]+|, )*)?(, [a-z ]+)*", text)
    assert "  " not in text and ", ," not in text and len(text.split()) <= 26


@given(patterns)
def test_contradictions_are_resolved(attributes):
    wanted = resolve(attributes)
    assert list(wanted) == list(CAPTIONED)
    assert sum(wanted[name] for name in HAIR) == any(attributes[name] for name in HAIR)
    assert not (wanted["Bald"] and wanted["Bangs"])
    assert all(attributes[name] for name, value in wanted.items() if value)  # nothing is made up
    assert resolve(wanted) == wanted


@given(patterns, patterns)
def test_two_captions_are_equal_exactly_when_they_mean_the_same(one, other):
    assert (caption(one) == caption(other)) == (resolve(one) == resolve(other))
    assert caption(resolve(one)) == caption(one)


@given(patterns, st.sampled_from(CAPTIONED))
def test_flipping_one_captioned_attribute_changes_caption_and_meaning_together(attributes, name):
    flipped = attributes | {name: not attributes[name]}
    assert (caption(attributes) == caption(flipped)) == (resolve(attributes) == resolve(flipped))


def test_a_table_gives_the_caption_of_each_row(tiny_celeba):
    pictures = read_celeba(tiny_celeba)
    expected = [caption(row) for row in pictures.to_dict("records")]
    assert captions(pictures) == expected and len(set(expected)) > 10
    assert captions(pictures[["file"]]) == ["a photo of a person"] * len(pictures)
    assert captions(pd.DataFrame(columns=list(ATTRIBUTES))) == []


MAN = PLAIN | {"Male": True}
BEARDED = MAN | {"No_Beard": False}


def with_true(attributes, names):
    return attributes | dict.fromkeys(names.split(), True)


@pytest.mark.parametrize(
    ("attributes", "names", "sentence"),
    [
        ({}, "", "a photo of a person"),
        (PLAIN, "", "a photo of a woman"),
        (MAN, "Attractive Big_Nose Chubby Pale_Skin Blurry", "a photo of a man"),
        (PLAIN, "Young Wavy_Hair Brown_Hair Smiling", "a photo of a young woman with wavy brown hair, smiling"),
        (MAN, "Young Straight_Hair Bangs", "a photo of a young man with straight hair and bangs"),
        (MAN, "Receding_Hairline Gray_Hair", "a photo of a man with gray hair and a receding hairline"),
        (
            BEARDED,
            "Black_Hair Goatee Mustache Sideburns Eyeglasses",
            "a photo of a man with black hair, a goatee, a mustache, sideburns and eyeglasses",
        ),
        (BEARDED, "Mustache Wearing_Necktie", "a photo of a man with a beard and a mustache, wearing a necktie"),
        (MAN, "5_o_Clock_Shadow Young", "a photo of a young man with a five o'clock shadow"),
        (
            PLAIN,
            "Smiling Mouth_Slightly_Open Wearing_Hat Wearing_Earrings Wearing_Necklace Heavy_Makeup Wearing_Lipstick",
            "a photo of a woman, smiling, mouth slightly open, "
            "wearing a hat, earrings, a necklace, heavy makeup and lipstick",
        ),
        # contradictions
        (PLAIN, "Brown_Hair Blond_Hair Gray_Hair", "a photo of a woman with gray hair"),
        (PLAIN, "Black_Hair Brown_Hair Wavy_Hair Straight_Hair", "a photo of a woman with straight brown hair"),
        (MAN, "Bald Wavy_Hair Black_Hair Bangs Receding_Hairline", "a photo of a man with a bald head"),
        (MAN, "Bangs Receding_Hairline", "a photo of a man with bangs"),
        (MAN, "Goatee", "a photo of a man with a goatee"),
        (BEARDED, "5_o_Clock_Shadow", "a photo of a man with a five o'clock shadow"),
        (BEARDED, "5_o_Clock_Shadow Goatee", "a photo of a man with a goatee"),
        (PLAIN | {"No_Beard": False}, "Mustache Goatee Sideburns 5_o_Clock_Shadow", "a photo of a woman"),
        ({"No_Beard": False, "Young": True}, "", "a photo of a young person with a beard"),
        (BEARDED, "Gray_Hair", "a photo of a man with gray hair and a beard"),
        (BEARDED, "Gray_Hair Bald", "a photo of a man with a bald head and a gray beard"),
        (BEARDED, "Gray_Hair Goatee Wearing_Hat", "a photo of a man with gray hair and a goatee, wearing a hat"),
        (PLAIN | {"No_Beard": False}, "Gray_Hair Bald", "a photo of a woman with a bald head"),
    ],
)
def test_portraits_read_like_this(attributes, names, sentence):
    assert portrait(with_true(attributes, names)) == sentence


def test_a_portrait_has_four_wordings():
    attributes = with_true(
        MAN, "Young Wavy_Hair 5_o_Clock_Shadow Eyeglasses Smiling Mouth_Slightly_Open Wearing_Necktie Heavy_Makeup"
    )
    assert [portrait(attributes, variant) for variant in range(4)] == [
        "a photo of a young man with wavy hair, a five o'clock shadow and eyeglasses, smiling, mouth slightly open, "
        "wearing a necktie and heavy makeup",
        "a portrait of a young man with wavy hair, a five o'clock shadow and eyeglasses, wearing a necktie and "
        "heavy makeup, smiling, mouth slightly open",
        "a picture of a young man wearing a tie and makeup, with wavy hair, stubble and glasses, smiling, lips parted",
        "a close-up photo of a young man with wavy hair, stubble and glasses, wearing a tie and makeup, "
        "smiling, lips parted",
    ]
    hatted = with_true(BEARDED, "Gray_Hair Eyeglasses Wearing_Hat")
    assert portrait(hatted, 1) == "a portrait of a man with a gray beard and eyeglasses, wearing a hat"


@pytest.mark.parametrize("variant", [-1, 4, "0"])
def test_another_variant_is_refused(variant):
    with pytest.raises(ValueError, match=f"variant = {variant!r}; 0 to 3 was expected"):
        portrait(PLAIN, variant)


@given(patterns, st.sampled_from(range(len(VARIANTS))))
def test_a_portrait_is_one_clean_sentence(attributes, variant):
    text = portrait(attributes, variant)
    assert re.fullmatch(r"a [a-z-]+( photo)? of a (young )?(wo)?man( [a-z']+|,)*", text)
    assert "  " not in text and ", ," not in text and ",," not in text and not text.endswith((",", " and", " with"))
    assert len(text.split()) <= 45 and len(re.findall(r"\bwith\b", text)) <= 1 and text.count("wearing") <= 1


@given(patterns, st.sampled_from(range(len(VARIANTS))))
def test_a_portrait_contradicts_neither_itself_nor_the_attributes(attributes, variant):
    text = portrait(attributes, variant)
    assert sum(f"{word} " in text for word in ("gray", "blond", "brown", "black", "bald")) <= 1 + ("bald head" in text)
    assert len(re.findall(r"\b(?:gray|blond|brown|black)\b", text)) <= 1
    assert not ("straight" in text and "wavy" in text)
    assert not ("bald" in text and re.search(r"hair\b|bangs|hairline", text))
    assert sum(kind in text for kind in ("goatee", "stubble", "shadow", " beard")) <= 1
    assert not ("woman" in text and re.search("beard|goatee|stubble|shadow|mustache|sideburns", text))
    assert ("woman" in text) != attributes["Male"] and ("young" in text) == attributes["Young"]


@given(patterns)
def test_a_portrait_makes_nothing_up(attributes):
    names = mentioned_names(attributes)
    derived = {"Beard": "No_Beard", "Woman": "Male"}
    assert all(attributes[name] for name in names - set(derived) - {"Gray_Beard"})
    assert not any(attributes[derived[name]] for name in names & set(derived))
    assert "Gray_Beard" not in names or (attributes["Gray_Hair"] and not attributes["No_Beard"])
    assert len(names & set(COLOURS)) <= 1 and len(names & {"Goatee", "5_o_Clock_Shadow", "Beard", "Gray_Beard"}) <= 1
    assert attributes["Male"] or not names & set(FACIAL_HAIR)


@given(patterns, patterns, st.sampled_from(range(len(VARIANTS))))
def test_two_portraits_are_equal_exactly_when_they_tell_the_same(one, other, variant):
    assert (portrait(one, variant) == portrait(other, variant)) == (mentioned_names(one) == mentioned_names(other))


@given(patterns, st.sampled_from(ATTRIBUTES), st.sampled_from(range(len(VARIANTS))))
def test_flipping_one_attribute_changes_what_is_told_and_said_together(attributes, name, variant):
    flipped = attributes | {name: not attributes[name]}
    same = portrait(attributes, variant) == portrait(flipped, variant)
    assert same == (mentioned_names(attributes) == mentioned_names(flipped))
    assert same or name in PORTRAYED


def test_a_table_gives_portraits_too(tiny_celeba):
    pictures = read_celeba(tiny_celeba)
    expected = [portrait(row) for row in pictures.to_dict("records")]
    assert captions(pictures, "portrait") == expected and len(set(expected)) > 40
    assert captions(pictures, "short") == captions(pictures) != expected
    assert captions(pictures[["file"]], style="portrait") == ["a photo of a person"] * len(pictures)
    varied = captions(pictures, style="portraits")
    variants = [[portrait(row, variant) for variant in range(4)] for row in pictures.to_dict("records")]
    chosen = [said.index(text) for text, said in zip(varied, variants, strict=True)]
    assert len(set(chosen)) > 1 and captions(pictures[::-1], style="portraits") == varied[::-1]  # by the file alone


@pytest.mark.parametrize("style", ["short", "portrait"])
def test_own_captions_come_first(tiny_celeba, style):
    pictures = read_celeba(tiny_celeba)
    own = [f"Anna, number {i}" for i in range(len(pictures))]
    assert captions(pictures.assign(caption=own), style) == own


def test_an_unknown_style_is_named(tiny_celeba):
    with pytest.raises(ValueError, match="^style = 'long'; one of short, portrait, portraits was expected$"):
        captions(read_celeba(tiny_celeba).assign(caption="own"), "long")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("Eyeglasses Sunglasses Smiling", "a photo of a person, smiling, wearing sunglasses"),
        ("Eyeglasses Face_Mask", "a photo of a person with glasses, wearing a face mask"),
    ],
)
def test_what_covers_a_face_is_named_where_the_table_says_so(names, sentence):
    assert caption(PLAIN | dict.fromkeys(names.split(), True)) == sentence


@given(patterns, st.sampled_from([None, *COVERS]))
def test_a_cover_changes_nothing_else_in_a_caption(attributes, cover):
    said = caption(attributes | {cover: True})
    assert [phrase in said for phrase in COVERS.values()] == [name == cover for name in COVERS]
    bare = attributes | {"Eyeglasses": attributes["Eyeglasses"] and cover != "Sunglasses"}
    assert said.removesuffix(f", {COVERS.get(cover)}") == caption(bare)
