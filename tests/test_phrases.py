"""Long captions: they say what is drawn, hide what is hidden, and begin with the short ones."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ipa_lib.data.captions import captions
from ipa_lib.data.celeba import read_celeba
from ipa_lib.drawn.faces import drawn_factors, identity_factors, nuisance_factors, write_mini_celeba
from ipa_lib.drawn.phrases import COLOURS, OF_THE_PICTURE, colour_name, describe, lengthen, versions, with_covers

PERSON = replace(identity_factors(0, 1), cut="bob", hair_colour="red", beard="none", glasses="none", freckles=True)
PICTURE = replace(nuisance_factors(0, 1, 0), occluder="none", yaw=0.3, light=(0.4, 0.0), shirt=(220, 40, 40),
                  blink=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_mini_celeba(tmp_path_factory.mktemp("mini") / "set", 4, 6, seed=3, workers=1, progress=False)


def test_phrases_name_what_is_drawn():
    told = describe(PERSON, PICTURE)
    assert {"bob cut", "red hair", "freckles", "turned right", "lit from the right", "red shirt"} <= set(told)
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    ("occluder", "word", "hidden"),
    [("mask", "face mask", "nose"), ("sunglasses", "sunglasses", " eyes"), ("hat", " hat", "fringe")],
)
def test_what_is_covered_is_not_told(occluder, word, hidden):
    person = replace(PERSON, fringe="left")
    bare, covered = describe(person, PICTURE), describe(person, replace(PICTURE, occluder=occluder))
    assert any(hidden in phrase for phrase in bare) and not any(hidden in phrase for phrase in covered)
    assert any(word in phrase for phrase in covered) and not any(word in phrase for phrase in bare)


def test_the_middle_of_a_range_needs_no_word():
    told = [describe(replace(PERSON, face_width=width), PICTURE) for width in (0.206, 0.2335, 0.261)]
    assert [[phrase for phrase in x if phrase in ("narrow face", "wide face")] for x in told] == [
        ["narrow face"], [], ["wide face"]
    ]  # fmt: skip


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_has_its_own_name(name):
    assert colour_name(np.array(COLOURS[name]) + 4) == name


def test_factors_are_those_of_the_files(folder):
    table = read_celeba(folder)
    assert [person.male for person, _ in drawn_factors(folder)] == table["Male"].tolist()
    worn = [picture.occluder == "hat" for _, picture in drawn_factors(folder)]
    assert worn == table["Wearing_Hat"].tolist() and any(worn)


def test_every_long_caption_begins_with_the_short_one(folder):
    short = captions(read_celeba(folder))
    long = lengthen(short, folder, np.random.default_rng(0))
    assert all(a.startswith(b) for a, b in zip(long, short, strict=True)) and long != short
    assert long == lengthen(short, folder, np.random.default_rng(0))
    counts = [text.count(",") for text in long]
    assert min(counts) < 6 and max(counts) > 12  # from few phrases to nearly all


def test_a_base_learns_a_drawn_picture_by_its_short_caption_and_three_long_ones(folder):
    table = read_celeba(folder)
    some = table.iloc[[5, 2, 9]]
    four = versions(some, folder, seed=1)
    assert four.shape == (4, 3) and four[0].tolist() == captions(with_covers(some, folder))
    assert all(text.startswith(short) for row in four for text, short in zip(row, four[0], strict=True))
    assert (four == versions(table, folder, seed=1)[:, [5, 2, 9]]).all() and (four != versions(some, folder, 2)).any()


SAID = {"glasses": "and glasses|with glasses", "sunglasses": "wearing sunglasses", "hat": "wearing a hat",
        "mask": "wearing a face mask"}  # fmt: skip


def test_a_short_caption_names_each_cover_exactly_when_it_is_drawn(tmp_path):
    """Of so many people that each occurs."""
    many = write_mini_celeba(tmp_path / "many", 40, 4, seed=3, workers=1, progress=False)
    texts, factors = captions(with_covers(read_celeba(many), many)), drawn_factors(many)
    drawn = {name: [on.occluder == name for _, on in factors] for name in ("sunglasses", "hat", "mask")}
    drawn["glasses"] = [person.glasses != "none" and on.occluder != "sunglasses" for person, on in factors]
    assert {name: [bool(re.search(words, text)) for text in texts] for name, words in SAID.items()} == drawn
    assert all(map(any, drawn.values()))


def test_photographs_have_no_covers(folder, tmp_path):
    table = read_celeba(folder)
    assert with_covers(table, tmp_path) is table


def test_a_photograph_has_the_captions_of_every_style(folder, tmp_path):
    table = read_celeba(folder)
    styles = [captions(table, style) for style in ("short", "portrait", "portraits")]
    assert versions(table, tmp_path).tolist() == styles


def test_what_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="24 pictures, but 1 captions"):
        lengthen(["a photo"], folder, np.random.default_rng(0))
    with pytest.raises(FileNotFoundError, match="a folder of mini-CelebA was expected"):
        drawn_factors(tmp_path)


@pytest.mark.parametrize("name", OF_THE_PICTURE)
def test_ranges_are_those_that_are_drawn(name):
    """Each of the two words is said of about a third of the pictures."""
    low, high, *_ = OF_THE_PICTURE[name]
    told = [describe(PERSON, nuisance_factors(0, 1, picture)) for picture in range(300)]
    for word in (low, high):
        assert 0.25 < sum(word in phrases for phrases in told) / len(told) < 0.42, word
