"""Wording by literal examples, meaning by properties over all attribute patterns."""

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipa_lib.captions import CAPTIONED, EMPTY, HAIR, caption, captions, resolve
from ipa_lib.celeba import ATTRIBUTES, read_celeba

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
