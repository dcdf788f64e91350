"""The session behind the explorer: it draws what the notebooks draw, keeps what it has computed, and can be stopped."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ipa_lib import files
from ipa_lib.data import captions
from ipa_lib.diffusion import galleries
from ipa_lib.drawn import faces
from ipa_lib.evaluation import scoring
from ipa_lib.explore import explorer
from ipa_lib.explore.explorer import Wish
from ipa_lib.workflow import provenance

ADAPTER, STEPS = "mean-own-n4r-s0", 4  # as in `small_results`
CONCAT = "concat-own-n4-s0"


@pytest.fixture(scope="module")
def session(small_results):
    return explorer.open_session(str(small_results))


@pytest.fixture(scope="module")
def who(session):
    return session.subject(session.people[0])


def result(stream):
    """What a stream returns, and the steps that it told."""
    steps = []
    while True:
        try:
            steps.append(next(stream))
        except StopIteration as end:
            return end.value, steps


def drawn(session, subject, rows, adapter=ADAPTER, steps=STEPS, **how):
    return result(session.draw(Wish(adapter, subject, subject.caption, rows, steps=steps, **how)))[0]


def near(a, b):
    """Equal but for what another size of the batch does to the last digits."""
    return np.abs(a.astype(int) - b.astype(int)).max() <= 2


@pytest.mark.parametrize("n", [1, 4])
def test_a_picture_is_that_of_the_run(session, who, small_results, n):
    gallery = small_results / "samples" / ADAPTER / f"n{n}"
    index, _ = galleries.read_index(gallery)
    row = index[(index["person"] == who.number) & (index["lam"] == 1.0)]
    ours = drawn(session, who, explorer.grid(range(n), lam=1.0, samples=1)).pictures
    assert near(ours, galleries.read_pictures(gallery, row))


def test_scores_are_of_pictures_that_are_never_prompts(session, who):
    judged = session.sets.set_index("person").loc[who.number]
    paths = session.table["path"]
    prompts = {paths.iloc[row] for row in judged["prompts"]}
    assert len(who.pictures) + len(who.held_out) + 1 == len(judged["prompts"]) + len(judged["held_out"])
    assert len(prompts) == 4 and (who.held_out @ who.seen.T).max() < 1 - 1e-4
    shown = drawn(session, who, explorer.grid((0, 1), 1.0))
    embeds = session.judges.identify(shown.pictures)
    np.testing.assert_allclose(shown.scores, (embeds @ who.held_out.T).mean(1), atol=1e-5)


def test_the_n_strip_is_the_grids_of_fewer_prompts(session, who):
    strip = drawn(session, who, explorer.over_n((2, 0, 1), lam=0.8, sample=1)).pictures
    for n, picture in enumerate(strip):
        alone = drawn(session, who, explorer.over_lam((2, 0, 1)[:n], [0.8], sample=1)).pictures
        assert near(alone[0], picture)


@pytest.mark.parametrize("adapter", [ADAPTER, CONCAT])
def test_the_strips_begin_with_the_text_alone(session, who, adapter):
    over_lam = drawn(session, who, explorer.over_lam((0, 1, 2), [0.0, 1.0]), adapter).pictures
    over_n = drawn(session, who, explorer.over_n((0, 1, 2), 1.0), adapter).pictures
    assert near(over_lam[0], over_n[0]) and near(over_lam[-1], over_n[-1])
    assert not near(over_lam[0], over_lam[1])


def test_what_was_drawn_is_not_drawn_again(session, who):
    wish = Wish(ADAPTER, who, who.caption, explorer.grid((0, 1), 0.7), steps=STEPS)
    first, steps = result(session.draw(wish))
    assert steps == [1, 2, 3, 4]
    again, steps = result(session.draw(Wish(**vars(wish))))
    assert again is first and steps == []


def test_keys_values_and_text_are_computed_once(session, who, monkeypatch):
    drawn(session, who, explorer.grid((0, 3), 1.0))
    refuse = lambda *_, **__: pytest.fail("computed again")  # noqa: E731
    monkeypatch.setattr(type(session.adapter(ADAPTER)), "guided", refuse)
    monkeypatch.setattr(explorer, "encode_captions", refuse)
    drawn(session, who, explorer.grid((0, 3), 0.4))


def test_a_stream_can_be_left_between_two_steps(session, who):
    before = session.models.unet.attn_processors
    for stream in (session.draw, session.listen):
        begun = stream(Wish(ADAPTER, who, "a photo", explorer.grid((0, 1), 1.1, 1), steps=50))
        assert [next(begun), next(begun)] == [1, 2]
        begun.close()
    after = session.models.unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())


def test_maps_say_which_prompt_was_listened_to(session, who):
    wish = Wish(CONCAT, who, who.caption, explorer.grid((0, 1, 2), 1.0, 1), steps=2)
    shares, _ = result(session.listen(wish))
    assert len(shares) == 1 + len(session.adapter(CONCAT).layers)
    assert all(share.shape[0] == 3 for share in shares.values())
    np.testing.assert_allclose(shares[explorer.EVERYWHERE].sum(0), 1, atol=1e-5)
    assert np.ptp(shares[explorer.EVERYWHERE]) > 1e-3


@pytest.mark.parametrize("rows", [explorer.grid((), 1.0, 1), explorer.grid((0,), 0.0, 1)], ids=["N", "lam"])
def test_without_image_attention_there_is_nothing_to_listen_to(session, who, rows):
    with pytest.raises(ValueError, match="nothing to listen to"):
        next(session.listen(Wish(ADAPTER, who, "", rows)))


def test_occluded_prompts_are_marked(session, who, small_results):
    factors = faces.drawn_factors(small_results / "data")
    rows = session.sets.set_index("person").loc[who.number, "prompts"]
    files = session.table["file"].iloc[list(rows)]
    expected = [factors[int(file.split(".")[0]) - 1][1].occluder for file in files]
    assert [mark or "none" for mark in who.marks[:4]] == expected and any(who.marks)


def test_of_pictures_that_were_not_drawn_hats_are_known(stored):
    table = stored[0]
    assert explorer.marks(table) == tuple("hat" if hat else "" for hat in table["Wearing_Hat"])
    assert not any(explorer.marks(table[["file", "path"]]))


def as_file(size, form):
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(file, form)
    return file.getvalue()


def test_photographs_are_cropped_and_wrong_files_get_a_sentence():
    files = {"a.jpg": as_file((90, 60), "JPEG"), "../b.png": as_file((40, 200), "PNG"), "c.jpg": b"nonsense",
             "d.png": as_file((90, 60), "PNG")[:400], "e.png": b""}  # fmt: skip
    pictures, wrong = explorer.read_photographs(files, 64)
    assert pictures.shape == (2, 64, 64, 3)
    assert [line.split(":")[0] for line in wrong] == ["c.jpg", "d.png", "e.png"]
    assert all("/" not in line and "\n" not in line for line in wrong)


def test_own_photographs_that_are_no_prompts_judge(session):
    own = session.own_subject(session.subject(session.people[1]).pictures[:3], count=1)
    assert drawn(session, own, explorer.grid((0, 1), 1.0)).scores.shape == (4,)
    assert np.isnan(drawn(session, own, explorer.grid((0, 1, 2), 1.0)).scores).all()
    assert len(own.others((0, 1))) == 1


def test_latents_that_are_not_finite_are_a_sentence(session, who, monkeypatch):
    monkeypatch.setattr(explorer.sampling, "denoise", lambda *_: iter([torch.full((1, 4, 8, 8), torch.nan)]))
    with pytest.raises(FloatingPointError, match="lower w or λ"):
        drawn(session, who, explorer.grid((0,), 1.4, 1))


def test_an_adapter_that_is_not_what_was_trained_is_refused(session, small_results, tmp_path):
    file = explorer.adapter_file(tmp_path, ADAPTER)
    shutil.copytree(explorer.adapter_file(small_results, ADAPTER).parent, file.parent)
    provenance.write_provenance(file.parent, 0, "cpu", "", sha256={file.name: files.sha256(file)})
    afresh = replace(session, results=tmp_path, memory={})
    assert afresh.adapter(ADAPTER).config.n_slots == 4
    provenance.write_provenance(file.parent, 0, "cpu", "", sha256={file.name: "another"})
    with pytest.raises(ValueError, match="adapter.safetensors: not the bytes that provenance.json names"):
        replace(afresh, memory={}).adapter(ADAPTER)


def test_people_of_whom_no_attribute_is_known_have_none_ticked(session):
    bare = replace(session, table=session.table.drop(columns=list(captions.CAPTIONED)), memory={})
    who = bare.subject(bare.people[0])
    assert who.caption == "a photo of a person" and captions.caption(who.attributes) == who.caption
    own = session.own_subject(who.pictures[:1])
    assert (own.caption, own.attributes) == (who.caption, who.attributes)


def test_what_shows_no_face_has_no_score():
    here, nowhere = np.array([1.0, 0.0]), np.full(2, np.nan)
    assert explorer.likeness(here, np.array([[0.0, 1.0], [1.0, 0.0]])) == 0.5
    assert np.isnan(explorer.likeness(nowhere, here[None])) and np.isnan(explorer.likeness(here, np.empty((0, 2))))


@pytest.mark.parametrize(("profile", "said"), [("mini", "make report"), ("none", "make report PROFILE=none")])
def test_where_nothing_was_made_the_command_is_named(tmp_path, monkeypatch, profile, said):
    monkeypatch.setattr(explorer, "results_dir", lambda name: tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"run `{said}`$"):
        explorer.open_session(profile)


def test_the_ceiling_is_the_judges_of_the_held_out_picture(session, who):
    reference = scoring.with_face(who.held_out)
    expected = session.judges.identify(who.truth[None]) @ reference.T
    assert session.score_of_truth(who) == pytest.approx(expected.mean(), abs=1e-5)


def test_samples_are_judged_by_whom_the_profile_names():
    assert explorer.own_judges("sd15") == "configs/judges/photographs.yaml"
    assert explorer.own_judges("of nobody") == explorer.own_judges("mini") == "models/mini"
