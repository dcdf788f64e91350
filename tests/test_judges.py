import numpy as np
import pandas as pd
import pytest

from ipa_lib.data import captions, celeba
from ipa_lib.data.identity_sets import evaluation_sets, group_by_person
from ipa_lib.diffusion import galleries
from ipa_lib.evaluation import judges, scoring


@pytest.fixture(scope="module")
def judge(base_folder):
    return judges.load_judges(base_folder)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def test_shapes_and_unit_length(judge, pictures):
    seen = judge.look(pictures)
    assert seen.identity.shape == (5, 128) and seen.class_logits.shape == (5, judges.KINDS)
    assert seen.attribute_logits.shape == (5, len(captions.CAPTIONED)) and seen.features.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(seen.identity, axis=1), 1, atol=1e-5)


def test_a_picture_is_judged_alike_in_any_batch(judge, pictures):
    whole, alone = judge.look(pictures), judge.look(pictures[3:4])
    np.testing.assert_allclose(whole.identity[3], alone.identity[0], atol=1e-5)


def test_what_is_mentioned_is_what_the_caption_says():
    bearded = dict.fromkeys(captions.CAPTIONED, False) | {"Eyeglasses": True}
    shaven = dict.fromkeys(captions.CAPTIONED, False) | {"No_Beard": True, "Smiling": True}
    said = pd.DataFrame(judges.mentioned(pd.DataFrame([bearded, shaven])), columns=captions.CAPTIONED)
    assert said.loc[0, said.loc[0]].index.tolist() == ["No_Beard", "Eyeglasses"]
    assert said.loc[1, said.loc[1]].index.tolist() == ["Smiling"]
    assert captions.caption(bearded) == "a photo of a person with a beard and glasses"


def test_kinds_are_all_different_and_in_range():
    hair = [*captions.HAIR, None]
    rows = [
        dict.fromkeys(captions.CAPTIONED, False) | {"No_Beard": beard, "Eyeglasses": glasses} | {name: True}
        for name in hair
        for beard in (False, True)
        for glasses in (False, True)
    ]
    numbers = judges.kinds(pd.DataFrame(rows))
    assert sorted(numbers) == list(range(judges.KINDS))


def test_what_the_paper_states_of_the_judges(base_folder):
    assert judges.facts(base_folder) == {"people_judges": 3, "feature_dim": 16, "is_classes": judges.KINDS}


def test_judges_of_drawn_faces_read_no_captions_and_search_for_no_faces(judge, pictures):
    seen = judge.look(pictures)
    assert seen.clip is None and seen.faces is None and judge.read(["a photo of a person"]) is None


def test_a_missing_judge_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="identity_judge: no judge here"):
        judges.load_judges(tmp_path)


def test_targets_and_prompts_are_not_in_the_reference(stored, judge):
    table = stored[0]
    sets = evaluation_sets(group_by_person(table, 4, "test"), 2, 2, seed=0)
    reference = scoring.make_reference(galleries.named_sets(sets, table.file), table, judge, 64)
    for person, rows in sets.groupby("person"):
        rest = set(rows.held_out.iloc[0]) - set(rows.target)
        shown = judge.look(celeba.load_pictures(table.path.loc[sorted(rest)], 64)).identity
        assert len(reference.held_out[person]) == 6 - 2 - 2 == len(rest)
        np.testing.assert_allclose(
            np.sort(reference.held_out[person], axis=0), np.sort(shown, axis=0), atol=1e-5
        )


def test_a_person_without_a_free_picture_is_named(stored, judge):
    table = stored[0]
    sets = evaluation_sets(group_by_person(table, 4, "test"), 4, 2, seed=0)
    with pytest.raises(ValueError, match="every held-out picture is a target"):
        scoring.make_reference(galleries.named_sets(sets, table.file), table, judge, 64)


def test_how_much_an_order_changes(judge, tmp_path):
    """Galleries with equal pictures differ by nothing; one other picture of four by its distance over four."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    sets = pd.DataFrame({"person": [1, 1, 2, 2], "sample": [0, 1, 0, 1], "target": [0, 1, 2, 3], "prompts": [(4,)] * 4,
                         "held_out": [(5,)] * 4})
    files = pd.Series([f"{i}.jpg" for i in range(6)])
    turned = np.concatenate([drawn[:3], drawn[:1]])
    for name, pictures in {"n1": drawn, "n1-w5": drawn, "n1-reversed": turned, "n1-reversed-w5": turned}.items():
        for lam in (0.0, 1.0):
            shown = pictures if lam else drawn
            galleries.write_pictures(tmp_path / name, sets.assign(lam=lam), shown)
        galleries.write_index(tmp_path / name, sets, [0.0, 1.0], files)
    a, b = judge.look(drawn[[3, 0]]).identity
    for name in ("n1-reversed", "n1-reversed-w5"):
        change = scoring.order_change(judge, tmp_path / name.replace("-reversed", ""), tmp_path / name)
        assert change == pytest.approx((1 - a @ b) / 4, abs=1e-5)
    assert scoring.order_change(judge, tmp_path / "n1", tmp_path / "n1-reversed", lam=0.0) == pytest.approx(0, abs=1e-5)
    galleries.write_index(tmp_path / "n1", sets.assign(target=[1, 0, 2, 3]), [0.0, 1.0], files)
    with pytest.raises(ValueError, match="n1-reversed: other samples than in n1"):
        scoring.order_change(judge, tmp_path / "n1", tmp_path / "n1-reversed")


def test_prompts_drawn_anew_have_no_copying(stored, judge):
    table = stored[0]
    sets = galleries.named_sets(evaluation_sets(group_by_person(table, 4, "test"), 2, 2, seed=0), table.file)
    assert scoring.prompt_embeds(sets, table, judge, 64, {"n_refs": 2, "prompts": "occluded50"}) is None
    shown = scoring.prompt_embeds(sets, table, judge, 64, {"n_refs": 2, "prompts": "reversed"})
    assert len(shown) == len(sets) and shown[0].shape == (2, judges.IDENTITY_WIDTH)
