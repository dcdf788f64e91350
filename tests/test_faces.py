import hashlib
import io
import json
import re
import tarfile
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipa_lib.data import celeba
from ipa_lib.drawn import faces
from ipa_lib.drawn.faces import (
    ATTRIBUTES,
    Identity,
    attributes,
    identity_factors,
    nuisance_factors,
    occluder,
    redrawn,
    render,
    split_of,
    write_mini_celeba,
)

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "celeba_annotations.tar.xz"
PEOPLE, PICTURES = 12, 4
TEXTS = ("identity_CelebA.txt", "list_attr_celeba.txt", "list_eval_partition.txt")
PLAIN = replace(
    identity_factors(0, 1), skin=(228, 174, 124), hair_colour="black", hair=(28, 24, 30), cut="short",
    fringe="up", beard="none", glasses="none", lip_colour=(200, 90, 90), mole=None, freckles=False,
    earring=None,
)  # fmt: skip
FRONTAL = replace(
    nuisance_factors(0, 1, 0), occluder="none", occluder_style=0, occluder_colour=(230, 0, 230),
    yaw=0.0, pitch=0.0, tilt=0.0, scale=1.1, shift=(0.0, 0.0),
    smiling=False, smile=0.0, mouth_open=False, gap=0.0, blink=False, light=(0.0, 0.0), warmth=0.0,
    brightness=1.0, background=((90, 120, 90),) * 4, necktie=False, necklace=False,
)  # fmt: skip


def draw_picture(seed, person, picture, size=64):
    return render(identity_factors(seed, person), nuisance_factors(seed, person, picture), size)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "mini"
    return write_mini_celeba(root, PEOPLE, PICTURES, seed=5, size=48, workers=1, progress=False)


def rows(root: Path, name: str) -> list[str]:
    return (root / name).read_bytes().decode("ascii").split("\r\n")[:-1]


def digest(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def pixels(identity: Identity = PLAIN, **nuisance) -> np.ndarray:
    return np.asarray(render(identity, replace(FRONTAL, **nuisance)), np.int16)


def share_near(picture: np.ndarray, colour: tuple[int, int, int], within: int = 30) -> float:
    return float((np.abs(picture - colour).max(2) <= within).mean())


# ---- a pure function -----------------------------------------------------------------------------


def test_a_picture_depends_on_its_arguments_alone():
    first = draw_picture(3, 7, 2).tobytes()
    identity_factors.cache_clear()
    draw_picture(3, 8, 1)
    assert draw_picture(3, 7, 2).tobytes() == first
    others = {draw_picture(*key).tobytes() for key in ((4, 7, 2), (3, 8, 2), (3, 7, 3), (7, 3, 2))}
    assert len(others | {first}) == 5


@pytest.mark.parametrize("size", [32, 64, 100])
def test_a_picture_is_rgb_of_the_asked_size(size):
    picture = draw_picture(0, 1, 0, size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")


def test_identity_is_fixed_and_nuisance_fresh():
    assert len(fields(Identity)) >= 25
    assert identity_factors(0, 3) == identity_factors(0, 3) != identity_factors(0, 4)
    fresh = [asdict(nuisance_factors(0, 3, picture)) for picture in range(20)]
    for name in fresh[0]:
        assert len({str(one[name]) for one in fresh}) > 1, name


def test_the_cheap_occluder_is_the_one_drawn():
    keys = [(0, person, picture) for person in range(30) for picture in range(3)]
    assert [occluder(*key) for key in keys] == [nuisance_factors(*key).occluder for key in keys]
    assert {occluder(*key) for key in keys} == {"none", "sunglasses", "hat", "mask"}


# ---- attributes agree with the picture -----------------------------------------------------------


def test_attributes_are_celebas_forty_in_order():
    assert len(ATTRIBUTES) == 40
    assert sorted(ATTRIBUTES, key=str.lower) == list(ATTRIBUTES)  # CelebA's order is the alphabet's
    assert tuple(attributes(PLAIN, FRONTAL)) == ATTRIBUTES


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("Smiling", 0.40, 0.50), ("Mouth_Slightly_Open", 0.20, 0.30), ("Eyeglasses", 0.18, 0.30),
        ("Bald", 0.05, 0.11), ("Wearing_Hat", 0.08, 0.16), ("Bangs", 0.08, 0.2),
        ("Mustache", 0.1, 0.25), ("No_Beard", 0.75, 0.9), ("Black_Hair", 0.13, 0.27),
        ("Brown_Hair", 0.13, 0.27), ("Blond_Hair", 0.13, 0.27), ("Gray_Hair", 0.05, 0.16),
    ],
)  # fmt: skip
def test_captioned_attributes_are_neither_rare_nor_common(name, low, high):
    drawn = [attributes(identity_factors(1, k), nuisance_factors(1, k, 0))[name] for k in range(800)]
    assert low < np.mean(drawn) < high


def test_about_a_third_of_the_pictures_carry_an_occluder():
    assert 0.30 < np.mean([occluder(1, person, 0) != "none" for person in range(1000)]) < 0.40


@pytest.mark.parametrize(
    "name, identity, nuisance, when",
    [
        ("Bald", {"cut": "bald"}, {}, True),
        ("Bangs", {"fringe": "bangs"}, {}, True),
        ("Black_Hair", {"hair": (236, 198, 98), "hair_colour": "blond"}, {}, False),
        ("Brown_Hair", {"hair": (112, 66, 34), "hair_colour": "brown"}, {}, True),
        ("Gray_Hair", {"hair": (172, 174, 180), "hair_colour": "gray"}, {}, True),
        ("No_Beard", {"beard": "goatee"}, {}, False),
        ("Mustache", {"beard": "mustache"}, {}, True),
        ("Mustache", {"beard": "full"}, {}, True),
        ("Eyeglasses", {"glasses": "round", "glasses_colour": (20, 20, 25)}, {}, True),
        ("Eyeglasses", {}, {"occluder": "sunglasses"}, True),
        ("Wearing_Hat", {}, {"occluder": "hat"}, True),
        ("Smiling", {}, {"smiling": True, "smile": 0.04}, True),
        ("Mouth_Slightly_Open", {}, {"mouth_open": True, "gap": 0.04}, True),
    ],
)
def test_an_attribute_flips_together_with_pixels(name, identity, nuisance, when):
    changed, seen = replace(PLAIN, **identity), replace(FRONTAL, **nuisance)
    assert attributes(changed, seen)[name] is when and attributes(PLAIN, FRONTAL)[name] is not when
    moved = np.abs(pixels(changed, **nuisance) - pixels()).max(2) > 25  # [H, W]
    assert moved.sum() >= 20


def test_hair_colour_attributes_exclude_each_other():
    names = ("Bald", "Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
    for person in range(200):
        seen = attributes(identity_factors(2, person), nuisance_factors(2, person, 0))
        assert sum(seen[name] for name in names) <= 1


@pytest.mark.parametrize("style", [0, 1, 2])
def test_a_hat_is_drawn_in_its_colour_above_the_eyes(style):
    bare, hat = pixels(), pixels(occluder="hat", occluder_style=style)
    assert share_near(hat[:32], (230, 0, 230)) > 0.1 > share_near(bare[:32], (230, 0, 230))
    assert np.array_equal(hat[40:], bare[40:])


def test_an_open_mouth_is_dark_inside_and_changes_the_lower_half_only():
    shut, wide = pixels(), pixels(mouth_open=True, gap=0.05)
    inside = (70, 12, 22)
    assert share_near(wide[38:], inside) > 0.003 and share_near(shut[38:], inside) == 0
    assert np.array_equal(shut[:38], wide[:38])


def test_a_smile_lifts_the_corners_of_the_mouth():
    def corners_above_middle(picture: np.ndarray) -> float:
        lips = np.argwhere(np.abs(picture[38:52] - (200, 90, 90)).max(2) < 45)  # [n, (row, column)]
        edge = np.abs(lips[:, 1] - 31.5) > 4
        return float(lips[~edge, 0].mean() - lips[edge, 0].mean())

    drawn = replace(PLAIN, mouth_width=0.1, mouth_height=0.18, nose_length=0.08)
    neutral, smile = pixels(drawn, smile=-0.005), pixels(drawn, smiling=True, smile=0.04)
    assert corners_above_middle(smile) > corners_above_middle(neutral) + 0.5


# ---- what is hidden changes no pixel -------------------------------------------------------------


@pytest.mark.parametrize("beard", ["mustache", "goatee", "full"])
def test_a_mask_hides_mouth_and_beard(beard):
    hidden = pixels(
        replace(PLAIN, beard=beard), occluder="mask", smiling=True, smile=0.04, mouth_open=True, gap=0.05
    )
    assert np.array_equal(hidden, pixels(occluder="mask"))
    seen = attributes(
        replace(PLAIN, beard=beard), replace(FRONTAL, occluder="mask", smiling=True, mouth_open=True)
    )
    assert seen["No_Beard"]
    assert not (seen["Smiling"] or seen["Mouth_Slightly_Open"] or seen["Mustache"] or seen["Goatee"])


@pytest.mark.parametrize("style", [0, 1, 2])
def test_sunglasses_hide_the_eyes(style):
    worn = {"occluder": "sunglasses", "occluder_style": style}
    other = replace(PLAIN, eye_colour=(40, 150, 70), glasses="square")
    assert np.array_equal(pixels(other, gaze=(1.0, 0.5), **worn), pixels(**worn))


@pytest.mark.parametrize("style", [0, 1, 2])
def test_a_hat_hides_short_cuts_and_their_attributes(style):
    worn = {"occluder": "hat", "occluder_style": style}
    bald = pixels(replace(PLAIN, cut="bald"), **worn)
    for cut in ("short", "receding", "quiff", "spiky", "afro", "ponytail"):
        assert np.array_equal(pixels(replace(PLAIN, cut=cut), **worn), bald)
        seen = attributes(replace(PLAIN, cut=cut, fringe="bangs"), replace(FRONTAL, **worn))
        assert not (seen["Bald"] or seen["Bangs"] or seen["Black_Hair"] or seen["Receding_Hairline"])


@pytest.mark.parametrize("cut", sorted(faces.SHOWN_UNDER_A_HAT))
def test_long_hair_shows_its_colour_under_a_hat(cut):
    long = replace(PLAIN, cut=cut)
    assert attributes(long, replace(FRONTAL, occluder="hat"))["Black_Hair"]
    hair = share_near(pixels(long, occluder="hat"), PLAIN.hair, 20)
    assert hair > share_near(pixels(occluder="hat"), PLAIN.hair, 20) + 0.02


# ---- the set on disk -----------------------------------------------------------------------------


def test_the_bytes_do_not_depend_on_the_run_or_the_workers(written, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "CHUNK", 7)
    again = write_mini_celeba(tmp_path / "two", PEOPLE, PICTURES, 5, 48, workers=2, progress=False)
    assert digest(again) == digest(written)
    other = write_mini_celeba(tmp_path / "seed", PEOPLE, PICTURES, 6, 48, workers=1, progress=False)
    assert digest(other) != digest(written)


def test_rows_have_celebas_form(written):
    count, names, first = rows(written, "list_attr_celeba.txt")[:3]
    assert count == "48" and names == " ".join(ATTRIBUTES) + " "
    assert first[:11] == "000001.jpg " and len(first) == 10 + 40 * 3
    assert {first[k : k + 3] for k in range(10, 130, 3)} == {" -1", "  1"}
    assert [row.split(" ")[0] for row in rows(written, "identity_CelebA.txt")][:2] == [
        "000001.jpg",
        "000002.jpg",
    ]
    assert len(rows(written, "identity_CelebA.txt")) == len(rows(written, "list_eval_partition.txt")) == 48


@pytest.mark.skipif(not REAL.exists(), reason="the real CelebA annotations are not here")
def test_rows_have_the_form_of_the_real_files(written):
    with tarfile.open(REAL) as archive:
        files = {Path(member.name).name: archive.extractfile(member) for member in archive if member.isfile()}
        real = {name: file.read(4000).decode("ascii").split("\r\n")[:-1] for name, file in files.items()}
    assert rows(written, "list_attr_celeba.txt")[1] == real["list_attr_celeba.txt"][1]
    forms = (r"\d{6}\.jpg \d+", r"\d{6}\.jpg (-1|1)( -1|  1){39}", r"\d{6}\.jpg [012]")
    for name, form in zip(TEXTS, forms, strict=True):
        start = 2 if "attr" in name else 0
        for line in rows(written, name)[start:] + real[name][start:]:
            assert re.fullmatch(form, line)


def test_files_hold_the_pictures_and_attributes_they_name(written):
    attribute_rows = rows(written, "list_attr_celeba.txt")[2:]
    order = faces.file_order(PEOPLE, PICTURES, 5)
    assert sorted(map(tuple, order.tolist())) == [
        (p, k) for p in range(1, PEOPLE + 1) for k in range(PICTURES)
    ]
    for row, (person, picture) in enumerate(order.tolist()):
        assert rows(written, "identity_CelebA.txt")[row] == f"{row + 1:06d}.jpg {person}"
        wanted = attributes(identity_factors(5, person), nuisance_factors(5, person, picture))
        assert [value == "1" for value in attribute_rows[row].split()[1:]] == list(wanted.values())
        drawn = np.asarray(draw_picture(5, person, picture, 48), np.float32)
        with Image.open(written / "img_align_celeba" / f"{row + 1:06d}.jpg") as file:
            assert file.format == "JPEG" and np.abs(np.asarray(file, np.float32) - drawn).mean() < 3


def test_file_order_says_nothing_about_identity(written):
    persons = [int(row.split()[1]) for row in rows(written, "identity_CelebA.txt")]
    assert persons != sorted(persons) and len(set(persons[:PEOPLE])) > 3


@pytest.mark.parametrize(
    "people, counts", [(3, (1, 1, 1)), (12, (10, 1, 1)), (100, (80, 10, 10)), (57, (47, 5, 5))]
)
def test_splits_are_by_person(people, counts):
    splits = [split_of(person, people) for person in range(1, people + 1)]
    assert tuple(map(splits.count, (0, 1, 2))) == counts
    assert splits == sorted(splits)


def test_the_partition_file_follows_the_person(written):
    for identity, partition in zip(*(rows(written, TEXTS[k]) for k in (0, 2)), strict=True):
        assert int(partition.split()[1]) == split_of(int(identity.split()[1]), PEOPLE)


def test_a_finished_folder_is_left_alone(written, monkeypatch):
    monkeypatch.setattr(faces, "_draw_files", lambda *_: pytest.fail("drawn again"))
    assert write_mini_celeba(written, PEOPLE, PICTURES, 5, 48) == written


def test_an_interrupted_folder_is_drawn_again(written, tmp_path, monkeypatch):
    root = tmp_path / "mini"
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(faces, "_write_annotations", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        write_mini_celeba(root, PEOPLE, PICTURES, 5, 48, workers=1, progress=False)
    assert not json.loads((root / faces.STAMP).read_text())["finished"]
    write_mini_celeba(root, PEOPLE, PICTURES, 5, 48, workers=1, progress=False)
    assert digest(root) == digest(written)


def test_a_folder_that_other_code_has_drawn_is_drawn_again(tmp_path, monkeypatch):
    def draw(code):
        root = write_mini_celeba(tmp_path, 3, 2, 0, 48, workers=1, progress=False, code=code)
        return digest(root / "img_align_celeba")

    first = draw("1")
    with monkeypatch.context() as changed:
        changed.setattr(faces, "JPEG", faces.JPEG | {"quality": 50})
        assert draw("1") == first
        second = draw("2")
    assert second != first and draw("3") == first


@pytest.mark.parametrize("change", [{"people": 13}, {"pictures": 5}, {"seed": 6}, {"size": 64}])
def test_a_folder_of_other_parameters_is_refused(written, change):
    asked = {"people": PEOPLE, "pictures": PICTURES, "seed": 5, "size": 48} | change
    with pytest.raises(ValueError, match="mini_celeba.json says .* expected"):
        write_mini_celeba(written, **asked)


def test_another_drawing_version_is_refused(written, monkeypatch):
    monkeypatch.setattr(faces, "VERSION", faces.VERSION + 1)
    with pytest.raises(ValueError, match="'version'"):
        write_mini_celeba(written, PEOPLE, PICTURES, 5, 48)


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "list_attr_celeba.txt").write_text("real")
    with pytest.raises(ValueError, match="no mini_celeba.json"):
        write_mini_celeba(tmp_path, 3, 2, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["list_attr_celeba.txt"]


@pytest.mark.parametrize(
    "change, message",
    [({"people": 2}, "people must be at least 3, got 2"), ({"pictures": 1}, "pictures must be at least 2"),
     ({"size": 31}, "size must be at least 32"), ({"seed": -1}, "seed must be at least 0"),
     ({"workers": 0}, "workers must be at least 1")],
)  # fmt: skip
def test_writing_refuses_what_it_cannot_draw(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_mini_celeba(tmp_path / "mini", **({"people": 3, "pictures": 2, "seed": 0} | change))
    assert not (tmp_path / "mini").exists()


def test_drawing_refuses_small_sizes_and_negative_numbers():
    with pytest.raises(ValueError, match="size must be at least 32 pixels, got 31"):
        draw_picture(0, 0, 0, 31)
    for key in ((-1, 0, 0), (0, -1, 0), (0, 0, -1)):
        with pytest.raises(ValueError, match="must be >= 0"):
            draw_picture(*key)


# ---- drawn anew with a given occluder ------------------------------------------------------------


@pytest.fixture(scope="module")
def both_ways(written) -> tuple[np.ndarray, np.ndarray]:
    """Every picture of the folder without and with an occluder, each [48, H, W, 3]."""
    every = celeba.read_celeba(written)["file"].tolist()
    return tuple(redrawn(written, every, [worn] * len(every)) for worn in (False, True))


@pytest.fixture(scope="module")
def own_occluders() -> np.ndarray:
    return np.array([occluder(5, *key) for key in faces.file_order(PEOPLE, PICTURES, 5).tolist()])


def jpeg_of(row: int, worn: str) -> np.ndarray:
    """The picture of a row as it would be stored with this occluder, all other factors its own."""
    person, picture = faces.file_order(PEOPLE, PICTURES, 5)[row].tolist()
    nuisance = replace(nuisance_factors(5, person, picture), occluder=worn)
    file = io.BytesIO()
    render(identity_factors(5, person), nuisance, 48).save(file, "JPEG", quality=95, subsampling=0)
    return np.asarray(Image.open(file))


def test_a_picture_that_is_as_asked_equals_the_stored_file(written, both_ways, own_occluders):
    stored = celeba.load_pictures(celeba.read_celeba(written)["path"], 48)
    bare, worn = both_ways
    has = own_occluders != "none"
    assert 5 < has.sum() < 43 and bare.dtype == worn.dtype == np.uint8
    assert np.array_equal(np.where(has[:, None, None, None], worn, bare), stored)
    changed = np.where(has[:, None, None, None], bare, worn) != stored
    assert changed.any(axis=(1, 2, 3)).all()


def test_only_the_occluder_is_drawn_anew(both_ways, own_occluders):
    bare, worn = both_ways
    for row in range(0, len(worn), 2):
        assert np.array_equal(bare[row], jpeg_of(row, "none"))
        kinds = [kind for kind in ("sunglasses", "hat", "mask") if np.array_equal(worn[row], jpeg_of(row, kind))]
        assert len(kinds) == 1 and own_occluders[row] in ("none", *kinds)


def test_what_lies_far_from_the_occluder_keeps_its_pixels(both_ways):
    bare, worn = both_ways
    differs = (bare != worn).any(axis=3)  # [48, H, W]
    far = {"sunglasses": np.s_[40:], "mask": np.s_[:16]}
    for kind, where in far.items():
        keys = faces.file_order(PEOPLE, PICTURES, 5).tolist()
        rows = [row for row, key in enumerate(keys) if faces.with_occluder(5, *key, True).occluder == kind]
        assert len(rows) > 3 and differs[rows].any(axis=(1, 2)).all() and not differs[rows][:, where].any()


def test_the_order_of_the_files_changes_no_picture(written, both_ways):
    bare, worn = both_ways
    again = redrawn(written, ["000031.jpg", "000003.jpg", "000003.jpg", "000048.jpg"], [True, False, True, False])
    assert np.array_equal(again, [worn[30], bare[2], worn[2], bare[47]])
    assert redrawn(written, [], []).shape == (0, 48, 48, 3)


def test_given_occluders_are_as_frequent_as_drawn_ones():
    keys = [(1, person, picture) for person in range(300) for picture in range(10)]
    given = [faces.other_occluder(*key) for key in keys if occluder(*key) == "none"]
    shares = {kind: given.count(kind) / len(given) for kind in given}
    assert shares == pytest.approx({"sunglasses": 12 / 35, "hat": 12 / 35, "mask": 11 / 35}, abs=0.04)
    of_seeds = [[faces.other_occluder(seed, 1, picture) for picture in range(9)] for seed in range(3)]
    assert len(set(map(tuple, of_seeds))) == 3


def test_hair_and_mouth_follow_a_given_occluder(written):
    order = faces.file_order(PEOPLE, PICTURES, 5).tolist()
    hats = [key for key in order if faces.other_occluder(5, *key) == "hat" and occluder(5, *key) == "none"]
    masks = [key for key in order if faces.other_occluder(5, *key) == "mask" and occluder(5, *key) == "none"]
    for person, picture in hats:
        worn = faces.with_occluder(5, person, picture, True)
        afro = replace(identity_factors(5, person), cut="afro")
        assert render(afro, worn).tobytes() == render(replace(afro, cut="bald"), worn).tobytes()
    for person, picture in masks:
        worn, open_ = faces.with_occluder(5, person, picture, True), {"mouth_open": True, "gap": 0.05}
        assert render(identity_factors(5, person), replace(worn, **open_)) == render(identity_factors(5, person), worn)
    assert hats and masks


def test_only_drawn_faces_are_drawn_anew(tiny_celeba):
    line = f"^{re.escape(str(tiny_celeba))}: .* only drawn faces can be drawn anew with another occluder$"
    with pytest.raises(ValueError, match=line):
        redrawn(tiny_celeba, ["000001.jpg"], [True])


def test_pictures_of_another_version_are_not_drawn_anew(written, monkeypatch):
    monkeypatch.setattr(faces, "VERSION", faces.VERSION + 1)
    with pytest.raises(ValueError, match="finished, was expected; found"):
        redrawn(written, ["000001.jpg"], [True])


@pytest.mark.parametrize(
    "files, occluded, message",
    [(["000049.jpg"], [True], "000049.jpg is no picture of it; 000001.jpg to 000048.jpg were expected"),
     (["000001.jpg", "1.jpg"], [True] * 2, "1.jpg is no picture of it"),
     (["000001.jpg", "000002.jpg"], [True], "2 files, 1 occluded: one each a picture")],
)  # fmt: skip
def test_foreign_files_are_refused(written, files, occluded, message):
    with pytest.raises(ValueError, match=message):
        redrawn(written, files, occluded)
