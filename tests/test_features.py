import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from ipa_lib.data import celeba
from ipa_lib.data.captions import captions
from ipa_lib.data.identity_sets import evaluation_sets, group_by_person, occluded_prompts
from ipa_lib.data.picture_table import with_hashes
from ipa_lib.data.windows import prompt_windows, quarters
from ipa_lib.diffusion import features
from ipa_lib.diffusion.backbone import Source, embed_pictures, encode_captions, encode_pictures
from ipa_lib.drawn import occlusion
from ipa_lib.drawn.faces import redrawn, write_mini_celeba
from ipa_lib.files import sha256


@pytest.fixture
def cache(own_celeba, base, base_folder, tmp_path):
    """A folder with the features of a set that a test may spoil, and a function that asks for them again."""
    folder = tmp_path / "features"

    def ask():
        return features.cached_features(celeba.read_celeba(own_celeba), base, Source(str(base_folder)), folder)

    ask()
    return folder, ask


def stamp(folder):
    return (folder / "features.safetensors").stat().st_mtime_ns


def test_cached_features_equal_live_ones(stored, base):
    table, cached = stored
    rows = torch.tensor([5, 0, 17])
    pictures = celeba.load_pictures(table.path.iloc[rows.tolist()], 64)
    torch.testing.assert_close(cached.latents[rows], encode_pictures(base.vae, pictures), atol=1e-5, rtol=0)
    torch.testing.assert_close(cached.embeds[rows], embed_pictures(base, pictures), atol=1e-5, rtol=0)
    texts = [captions(table)[i] for i in rows]
    torch.testing.assert_close(cached.text(rows), encode_captions(base, texts), atol=1e-5, rtol=0)
    torch.testing.assert_close(cached.empty, encode_captions(base, [""])[0], atol=1e-5, rtol=0)


def test_a_cache_that_matches_is_read(cache):
    folder, ask = cache
    before = stamp(folder)
    ask()
    assert stamp(folder) == before


def test_a_changed_picture_makes_it_anew(cache, own_celeba):
    folder, ask = cache
    before, latents = stamp(folder), ask().latents[0]
    pictures = sorted((own_celeba / "img_align_celeba").iterdir())
    pictures[0].write_bytes(pictures[1].read_bytes())
    assert not torch.equal(ask().latents[0], latents)
    assert stamp(folder) != before


def test_a_flipped_bit_makes_it_anew(cache):
    folder, ask = cache
    good, file = ask(), folder / "features.safetensors"
    spoilt = bytearray(file.read_bytes())
    spoilt[-100] ^= 1
    file.write_bytes(spoilt)
    assert torch.equal(ask().latents, good.latents)
    assert torch.equal(features.read_features(folder).latents, good.latents)


@pytest.mark.parametrize("key", ["data", "table", "encoders", "size", "dtype", "count"])
def test_what_does_not_match_is_named(cache, key):
    folder, _ = cache
    expected = json.loads((folder / "manifest.json").read_text())
    expected.pop("sha256")
    assert features.fault(folder, expected) is None
    assert features.fault(folder, expected | {key: "other"}).endswith(f"made from other {key}")


def test_other_encoder_weights_are_noticed(own_celeba, base_folder, tmp_path):
    import shutil

    table = celeba.read_celeba(own_celeba)
    other = shutil.copytree(base_folder, tmp_path / "base")
    weights = other / "image_encoder" / "model.safetensors"
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(spoilt)
    ours, theirs = (features.fingerprint(table, Source(str(folder))) for folder in (base_folder, other))
    assert ours["encoders"] != theirs["encoders"] and ours["data"] == theirs["data"]


def test_features_of_other_code_or_of_a_changed_picture_are_not_used(own_celeba, base, base_folder, tmp_path):
    table, source = with_hashes(celeba.read_celeba(own_celeba)).iloc[:5], Source(str(base_folder))
    features.cached_features(table, base, source, tmp_path, code="1")
    features.load_features(table, source, tmp_path, code="1")
    with pytest.raises(ValueError, match="the cached features were made from other code; run notebooks/03_cache_feat"):
        features.load_features(table, source, tmp_path, code="2")
    Path(table["path"].iloc[3]).write_bytes(Path(table["path"].iloc[0]).read_bytes())
    with pytest.raises(ValueError, match="000004.jpg: changed since the table was made; run notebooks/01_prepare_data"):
        features.cached_features(table, base, source, tmp_path, code="2")


@pytest.mark.parametrize("column, value", [("person", 999), ("split", "test"), ("Smiling", True)])
def test_who_is_on_a_picture_counts_and_where_it_lies_does_not(own_celeba, base_folder, column, value):
    """What trainings and galleries are made from; files, contents and captions are those of before."""
    table, source = with_hashes(celeba.read_celeba(own_celeba)), Source(str(base_folder))
    table["caption"] = captions(table)
    before, row = features.fingerprint(table, source), table.index[table[column] != value][0]
    after = features.fingerprint(table.assign(**{column: table[column].where(table.index != row, value)}), source)
    assert {name for name in before if before[name] != after[name]} == {"table"}
    assert features.fingerprint(table.assign(path="elsewhere/" + table["file"]), source) == before


def test_missing_features_say_what_to_run(own_celeba, base_folder, tmp_path):
    with pytest.raises(ValueError, match="no cached features here; run notebooks/03_cache_features.ipynb"):
        features.load_features(celeba.read_celeba(own_celeba), Source(str(base_folder)), tmp_path / "none")


def test_occluded_prompts_are_embedded_anew_and_nothing_else_is(tmp_path, base):
    folder = write_mini_celeba(tmp_path / "drawn", 4, 5, seed=3, workers=1, progress=False)
    table = celeba.read_celeba(folder)
    table = table.drop(index=[0, 5, 11]).reset_index(drop=True)  # as near-duplicates are dropped
    cached, sets = features.compute_features(table, base), evaluation_sets(group_by_person(table, 4), 3, 1, seed=0)
    assert occlusion.occluded(cached, base, folder, table.file, sets, "reversed", 2) is cached
    other = occlusion.occluded(cached, base, folder, table.file, sets, "occluded50", 2)
    assert torch.equal(other.latents, cached.latents) and torch.equal(other.caption, cached.caption)
    used = sorted({row for rows in sets.prompts for row in rows[:2]})
    rest = [row for row in range(len(table)) if row not in used]
    assert torch.equal(other.embeds[rest], cached.embeds[rest])
    assert not torch.equal(other.embeds[used], cached.embeds[used])
    hidden = occluded_prompts(sets, "occluded50", 2)
    for row, slot in product((0, len(sets) - 1), (0, 1)):
        prompt = sets.prompts[row][slot]
        seen = embed_pictures(base, redrawn(folder, [table.file[prompt]], [hidden[row, slot]]))[0]
        torch.testing.assert_close(other.embeds[prompt], seen, atol=1e-5, rtol=0)


def test_features_that_are_not_finite_name_the_picture(stored, base, monkeypatch):
    table, odd = stored[0].iloc[:6], torch.zeros(6, 128)
    odd[4, 7] = torch.nan
    monkeypatch.setattr(features, "embed_pictures", lambda *args, **how: odd)
    with pytest.raises(FloatingPointError, match=f"{table.path.iloc[4]}: its embeddings are not finite"):
        features.compute_features(table, base)


def test_what_was_encoded_before_a_crash_is_not_encoded_again(stored, base, base_folder, tmp_path, monkeypatch):
    """The same bytes at the end; parts of other pictures are not taken, and none are left."""
    table, source, encoded = stored[0].iloc[:9], Source(str(base_folder)), []

    def encode(vae, pictures):
        encoded.append(len(pictures))
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return encode_pictures(vae, pictures)

    whole = features.cached_features(table, base, source, tmp_path / "whole", batch_size=2)
    monkeypatch.setattr(features, "encode_pictures", encode)
    with pytest.raises(KeyboardInterrupt):
        features.cached_features(table, base, source, tmp_path / "cut", batch_size=2)
    resumed = features.cached_features(table, base, source, tmp_path / "cut", batch_size=2)
    assert encoded == [2, 2, 2, 2, 2, 1]  # the third batch twice
    assert all(torch.equal(x, getattr(resumed, name)) for name, x in vars(whole).items())
    digests = [sha256(tmp_path / name / "features.safetensors") for name in ("whole", "cut")]
    assert digests[0] == digests[1] and sorted(path.name for path in (tmp_path / "cut").iterdir()) == [
        "features.safetensors", "manifest.json"]


# --- partial prompts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_views(stored, base, base_folder, tmp_path_factory):
    """The table, and its features with two windows and the quarters of each picture."""
    table, folder = stored[0], tmp_path_factory.mktemp("views")
    return table, features.cached_features(table, base, Source(str(base_folder)), folder, windows=2, quarters=True)


def test_a_prompt_is_seen_in_the_view_that_is_asked_for(with_views, base):
    table, cached = with_views
    assert cached.window_count == 2 and cached.quarters.shape == (len(table), 4, cached.embeds.shape[1])
    rows, view = torch.tensor([[5, 0], [5, 17]]), torch.tensor([[0, 2], [6, 3]])
    seen = cached.prompts(rows, view)
    assert torch.equal(seen[0], torch.stack([cached.embeds[5], cached.windows[0, 1]]))
    assert torch.equal(seen[1], torch.stack([cached.quarters[5, 3], cached.quarters[17, 0]]))
    assert torch.equal(cached.prompts(rows), cached.embeds[rows])
    shown = quarters(celeba.load_pictures(table.path.iloc[[5]], 64))[0]
    torch.testing.assert_close(cached.quarters[5], embed_pictures(base, shown), atol=1e-5, rtol=0)
    assert not torch.isclose(cached.windows[:, 0], cached.windows[:, 1]).all(1).any()


def test_a_cache_without_the_views_is_another_one(stored, base, base_folder, tmp_path):
    table, source = stored[0], Source(str(base_folder))
    plain = features.cached_features(table, base, source, tmp_path)
    assert plain.window_count == 0 and not len(plain.quarters)
    assert features.fault(tmp_path, features.fingerprint(table, source, windows=1)).endswith("from other windows")
    again = features.cached_features(table, base, source, tmp_path, windows=1)
    assert again.window_count == 1 and torch.equal(again.embeds, plain.embeds)
    assert features.load_features(table, source, tmp_path).window_count == 1  # who reads it takes what is there


@pytest.mark.parametrize("prompts", ["window25", "complementary", "roles"])
def test_prompts_are_embedded_through_their_windows(stored, base, prompts):
    table, cached = stored
    sets = evaluation_sets(group_by_person(table, 4), 3, 2, seed=0)
    seen = features.through_windows(cached, base, table, sets, prompts, 2)
    of_person = sets.drop_duplicates("person")
    used = [row for rows in of_person["prompts"] for row in rows[:2]]
    changed = (seen.embeds != cached.embeds).any(1)
    assert sorted(changed.nonzero().flatten().tolist()) == sorted(used)
    side, top, left = prompt_windows(sets, prompts, 2, 64)[0, 1]
    row = sets["prompts"].iloc[0][1]
    whole, shown = celeba.load_pictures(table.path.iloc[[row]], 64)[0], np.full((64, 64, 3), 128, np.uint8)
    shown[top : top + side, left : left + side] = whole[top : top + side, left : left + side]
    torch.testing.assert_close(seen.embeds[row], embed_pictures(base, shown[None])[0], atol=1e-5, rtol=0)


def test_whole_prompts_stay_as_they_are(stored, base):
    table, cached = stored
    sets = evaluation_sets(group_by_person(table, 4), 3, 1, seed=0)
    assert features.through_windows(cached, base, table, sets, "own", 2) is cached
