import numpy as np
import pytest

from ipa_lib.data.identity_sets import evaluation_sets, group_by_person
from ipa_lib.diffusion import galleries


@pytest.fixture
def gallery(stored, tmp_path):
    table, _ = stored
    sets = evaluation_sets(group_by_person(table, 4, "test"), 2, 2, seed=0)
    rows = sets.loc[sets.index.repeat(2)].assign(lam=[0.0, 1.0] * len(sets))
    pictures = np.random.default_rng(0).integers(0, 256, (len(rows), 64, 64, 3), np.uint8)
    galleries.write_pictures(tmp_path, rows, pictures)
    return tmp_path, table, sets, pictures


def test_pictures_come_back_as_they_went(gallery):
    folder, table, sets, pictures = gallery
    galleries.write_index(folder, sets, [0.0, 1.0], table.file, n_refs=2)
    index, settings = galleries.read_index(folder)
    assert np.array_equal(galleries.read_pictures(folder, index), pictures)
    assert settings == {"n_refs": 2}
    assert index.target.tolist() == table.file.loc[sets.target.repeat(2)].tolist()
    assert index.prompts[0] == table.file.loc[list(sets.prompts[0])].tolist()


def test_an_unfinished_gallery_is_refused(gallery):
    with pytest.raises(FileNotFoundError, match="no finished gallery"):
        galleries.read_index(gallery[0])


def test_shown_pictures_belong_together(gallery):
    folder, table, sets, pictures = gallery
    galleries.write_index(folder, sets, [0.0, 1.0], table.file)
    index, _ = galleries.read_index(folder)
    prompts, truths, samples, lams = galleries.shown(folder, index, table, n_refs=2, people=2)
    assert prompts.shape == (2, 2, 64, 64, 3) and truths.shape == (2, 64, 64, 3) and lams == [0.0, 1.0]
    second = 2 * sets.index[sets.person == sets.person.unique()[1]][0]
    assert np.array_equal(samples[1], pictures[second:second + 2])


def test_samples_over_n_are_of_the_same_people_and_noise(gallery, tmp_path):
    _, table, sets, pictures = gallery
    rows = sets.loc[sets.index.repeat(2)].assign(lam=[0.0, 1.0] * len(sets))
    for n, shade in ((1, 0), (2, 1)):  # the second gallery is the first in its complement
        galleries.write_pictures(tmp_path / f"n{n}", rows, pictures ^ (255 * shade))
        galleries.write_index(tmp_path / f"n{n}", sets, [0.0, 1.0], table.file)
    found = galleries.over_n(tmp_path, [1, 2], people=2)
    first = 2 * np.flatnonzero(sets["sample"] == 0)[:2]  # rows of λ = 0; those of λ = 1 follow them
    expected = [pictures[first], pictures[first + 1], 255 - pictures[first + 1]]
    assert np.array_equal(found, np.stack(expected, axis=1))


def test_cases_are_found_by_person_sample_and_lam(gallery):
    folder, table, sets, pictures = gallery
    galleries.write_index(folder, sets, [0.0, 1.0], table.file)
    index, _ = galleries.read_index(folder)
    cases = index.iloc[[3, 0]][["person", "sample", "lam"]].assign(n_refs=1)
    prompts, truths, samples = galleries.of_cases(folder, index, table, cases)
    assert prompts.shape == (2, 1, 64, 64, 3)
    assert np.array_equal(samples, pictures[[3, 0]])


def test_an_interrupted_gallery_goes_on_and_another_begins_anew(gallery):
    folder, table, sets, pictures = gallery
    index = sets.loc[sets.index.repeat(2)].assign(lam=[0.0, 1.0] * len(sets))
    galleries.begin(folder, weights="a", lams=[0.0, 1.0])  # nobody knows how the pictures there were made
    assert not list(folder.glob("lam*")) and not galleries.are_made(folder, index)
    galleries.write_pictures(folder, index[:6], pictures[:6])
    galleries.begin(folder, weights="a", lams=[0.0, 1.0])
    assert galleries.are_made(folder, index[:6]) and not galleries.are_made(folder, index[4:8])
    galleries.begin(folder, weights="b", lams=[0.0, 1.0])
    assert not galleries.are_made(folder, index[:1])


def test_a_finished_gallery_that_is_begun_again_is_made_anew(gallery):
    folder, table, sets, pictures = gallery
    index = sets.loc[sets.index.repeat(2)].assign(lam=[0.0, 1.0] * len(sets))
    for _ in range(2):
        galleries.begin(folder, weights="a")
        assert not galleries.are_made(folder, index[:1])
        with pytest.raises(FileNotFoundError, match="no finished gallery"):
            galleries.read_index(folder)
        galleries.write_pictures(folder, index, pictures)
        galleries.write_index(folder, sets, [0.0, 1.0], table.file)
        assert galleries.are_made(folder, galleries.read_index(folder)[0])
