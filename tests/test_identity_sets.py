"""Leave-one-out sets of equation (4): guards, counts, and the distribution of the draws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.utils.data import DataLoader

from ipa_lib.data.celeba import read_celeba
from ipa_lib.data.identity_sets import (
    PROMPTS,
    STEP,
    LeaveOneOutSets,
    check_pictures_differ,
    check_splits,
    evaluation_sets,
    group_by_person,
    occluded_prompts,
    split_people,
    with_prompts,
)
from ipa_lib.data.picture_table import copies


def table_of(counts):
    """A table in which person 100 + i has counts[i] pictures, in a mixed order and with a foreign index."""
    persons = np.random.default_rng(0).permutation(np.repeat(100 + np.arange(len(counts)), counts))
    files = [f"{row:06d}.jpg" for row in range(len(persons))]
    table = pd.DataFrame({"file": files, "path": files, "person": persons, "split": "train"})
    return table.set_index(np.arange(len(table)) + 7)


def groups_of(counts, min_pictures=1):
    return group_by_person(table_of(counts), min_pictures)


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a) and a.keys() == b.keys()


def same_rows(a, b):
    return {p: own.tolist() for p, own in a.rows.items()} == {p: own.tolist() for p, own in b.rows.items()}


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


@given(counts=sizes, least=st.integers(1, 9))
def test_people_with_fewer_pictures_are_left_out_and_counted(counts, least):
    table = table_of(counts)
    if max(counts) < least:
        with pytest.raises(ValueError, match=f"nobody has {least} pictures; .* is {max(counts)}$"):
            group_by_person(table, least)
        return
    groups = group_by_person(table, least)
    assert groups.left_out == sum(count < least for count in counts)
    assert len(groups.rows) + groups.left_out == len(counts)
    for person, rows in groups.rows.items():
        assert rows.tolist() == np.flatnonzero(table["person"] == person).tolist()


def test_rows_of_one_split_are_rows_of_the_whole_table(tiny_celeba):
    pictures = read_celeba(tiny_celeba)
    groups = group_by_person(pictures, 6, split="val")
    assert sorted(groups.rows) == [9, 10] and groups.left_out == 0
    rows = np.concatenate(list(groups.rows.values()))
    assert set(pictures["person"].iloc[rows]) == {9, 10} and len(rows) == 12
    with pytest.raises(ValueError, match="^nobody has 6 pictures; the most that a person has is 0$"):
        group_by_person(pictures, 6, split="validation")
    with pytest.raises(ValueError, match="^min_pictures = 0; at least 1 was expected$"):
        group_by_person(pictures, 0)


def test_a_person_in_two_splits_is_refused(tiny_celeba):
    pictures = read_celeba(tiny_celeba)
    check_splits(pictures)
    row = pictures.index[pictures["person"] == 5][2]
    pictures.loc[row, "split"] = "test"
    with pytest.raises(ValueError, match="^person 5 is in test and train; one split a person was expected$"):
        check_splits(pictures)
    pictures.loc[pictures.index[pictures["person"] == 6][0], "split"] = "test"
    mixed = pictures.sort_values(["split", "person"])  # of two such people the first is named
    with pytest.raises(ValueError, match="^person 5 is in test and train; "):
        check_splits(mixed)


def copied(pictures):
    """The second picture of person 3 becomes a copy of the first; its name."""
    first, second, *_ = pictures["path"][pictures["person"] == 3]
    Path(second).write_bytes(Path(first).read_bytes())
    return Path(second).name


def test_byte_identical_pictures_of_a_person_are_refused(own_celeba):
    pictures = read_celeba(own_celeba)
    check_pictures_differ(pictures)
    name = copied(pictures)
    with pytest.raises(ValueError, match=f"^{name}: a copy of another picture of person 3; run notebooks/01_prepare"):
        check_pictures_differ(pictures)


def test_people_of_a_split_have_passed_every_guard(own_celeba):
    pictures = read_celeba(own_celeba)
    assert sorted(split_people(pictures, 6, "train").rows) == list(range(1, 9))
    name = copied(pictures)
    with pytest.raises(ValueError, match=f"^{name}: a copy"):
        split_people(pictures, 5, "train")
    pictures.loc[pictures.index[pictures["person"] == 9][0], "split"] = "train"
    with pytest.raises(ValueError, match="^person 9 is in train and val; one split a person was expected$"):
        split_people(pictures, 5, "train")


def test_hashes_of_the_table_are_used_instead_of_files():
    table = table_of([3, 3])
    hashes = ["same" if person == 100 else str(row) for row, person in enumerate(table["person"])]
    copied = copies(table.assign(sha256=hashes))
    assert copied.sum() == 2 and set(table["person"][copied]) == {100} and not copied[table["person"].eq(100).idxmax()]
    check_pictures_differ(table.assign(sha256=[str(row) for row in range(6)]))  # its files do not exist


@given(
    n_max=st.integers(1, 5),
    batch=st.integers(1, 7),
    seed=seeds,
    step=st.integers(0, 999),
    random_n=st.booleans(),
)
def test_a_set_holds_different_pictures_of_one_person(n_max, batch, seed, step, random_n):
    table = table_of([6, 7, 9])
    sets = LeaveOneOutSets(group_by_person(table, 6), n_max, batch, 1000, seed, random_n)
    item, persons = sets[step], table["person"].to_numpy()
    assert item["target"].shape == (batch,) and item["refs"].shape == item["mask"].shape == (batch, n_max)
    assert [item[key].dtype for key in ("target", "refs", "mask")] == [torch.int64, torch.int64, torch.bool]
    rows = zip(item["target"].tolist(), item["refs"].tolist(), item["mask"].tolist(), strict=True)
    for target, refs, mask in rows:
        n = sum(mask)
        assert 1 <= n <= n_max and all(mask[:n]) and (random_n or n == n_max)
        assert len({target, *refs[:n]}) == n + 1  # the target is no prompt, no prompt comes twice
        assert set(refs[n:]) <= {refs[0]}
        assert set(persons[refs]) == {persons[target]}


@settings(max_examples=30)
@given(people=st.integers(1, 9), batch=st.integers(1, 12), seed=seeds)
def test_each_epoch_visits_each_person_once(people, batch, seed):
    sets = LeaveOneOutSets(groups_of([2] * people), 1, batch, 40, seed)
    visits = np.concatenate([sets.people_of(step) for step in range(40)])
    epochs = visits[: len(visits) // people * people].reshape(-1, people)
    assert (np.sort(epochs, axis=1) == 100 + np.arange(people)).all()


def test_the_target_is_of_the_person_whose_turn_it_is():
    table = table_of([3, 4, 5])
    sets = LeaveOneOutSets(group_by_person(table, 3), 2, 4, 20, seed=0)
    for step in range(20):
        assert table["person"].iloc[sets[step]["target"].tolist()].tolist() == sets.people_of(step)


def test_the_order_of_people_changes_with_epoch_and_seed():
    groups = groups_of([2] * 20)
    orders = [LeaveOneOutSets(groups, 1, 20, 2, seed).people_of(step) for seed in (0, 1) for step in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


def test_sets_depend_on_seed_and_step_alone():
    groups = groups_of([6] * 5)
    one, other = (LeaveOneOutSets(groups, 4, 8, 50, seed=3, random_n=True) for _ in range(2))
    forward = [one[step] for step in range(50)]
    np.random.seed(0)
    torch.manual_seed(0)
    assert all(same(other[step], forward[step]) for step in reversed(range(50)))
    longer = LeaveOneOutSets(groups, 4, 8, 99, seed=3, random_n=True)
    assert same(longer[49], forward[49])
    assert not same(LeaveOneOutSets(groups, 4, 8, 50, seed=4, random_n=True)[0], forward[0])
    assert not same(forward[0], forward[5])  # 40 samples later the same people come, with other pictures


def test_worker_processes_change_nothing():
    sets = LeaveOneOutSets(groups_of([6] * 5), 4, 8, 12, seed=3, random_n=True)
    alone, shared = (list(DataLoader(sets, batch_size=None, num_workers=workers)) for workers in (0, 2))
    assert len(alone) == len(shared) == 12
    assert all(map(same, alone, shared))


def test_iteration_ends_with_the_last_step():
    sets = LeaveOneOutSets(groups_of([3]), 1, 1, 5, seed=0)
    assert len(list(sets)) == len(sets) == 5
    with pytest.raises(IndexError, match="^step -1 of 5$"):
        sets[-1]


def test_sets_are_those_of_earlier_versions():
    """What a seed draws is part of every published number: people, targets and prompts as they were first drawn."""
    groups = groups_of([6] * 5)
    drawn = LeaveOneOutSets(groups, 3, 4, 9, seed=7)[5]
    assert drawn["mask"].all()  # N is fixed unless it is asked for
    assert drawn["target"].tolist() == [9, 7, 28, 16]
    assert drawn["refs"].tolist() == [[1, 25, 20], [23, 22, 29], [12, 21, 15], [24, 18, 10]]
    sets = evaluation_sets(groups, 3, 1, seed=7)
    assert sets["person"].tolist() == [103, 100, 102, 104, 101]
    assert sets["target"].tolist() == [24, 5, 17, 11, 4]
    assert sets["prompts"].tolist() == [(10, 3, 16), (0, 15, 28), (19, 22, 7), (13, 27, 6), (9, 25, 20)]


@pytest.mark.parametrize("random_n", [False, True])
def test_every_picture_is_target_and_prompt_of_each_slot_equally_often(random_n):
    sets = LeaveOneOutSets(groups_of([5]), 3, 4000, 1, seed=1, random_n=random_n)
    item = sets[0]
    columns = [
        item["target"],
        *(refs[mask] for refs, mask in zip(item["refs"].T, item["mask"].T, strict=True)),
    ]
    for column in columns:
        assert chisquare(np.bincount(column, minlength=5)).pvalue > 1e-3
    pairs = item["target"] * 5 + item["refs"][:, 0]  # 20 ordered pairs of different pictures
    counts = np.bincount(pairs, minlength=25).reshape(5, 5)
    assert chisquare(counts[~np.eye(5, dtype=bool)]).pvalue > 1e-3 and not counts.diagonal().any()


def test_random_n_is_uniform():
    item = LeaveOneOutSets(groups_of([5]), 4, 4000, 1, seed=1, random_n=True)[0]
    counts = np.bincount(item["mask"].sum(1), minlength=5)
    assert counts[0] == 0 and chisquare(counts[1:]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_max": 5}, "n_max = 5 needs 6 pictures; person 101 has 5"),
        ({"n_max": 0}, "n_max = 0; at least 1"),
        ({"batch_size": 0}, "batch_size = 0; at least 1"),
        ({"steps": -1}, "steps = -1; at least 0"),
        ({"seed": -1}, "seed = -1; 0 to"),
        ({"seed": 2**32}, "seed = 4294967296; 0 to"),
        ({"target": "hidden"}, "target = 'hidden'; one of left_out, shown was expected"),
        ({"target": "shown", "n_max": 5}, "n_max = 5 needs 6 pictures; person 101 has 5"),
    ],
)
def test_arguments_out_of_range_are_named(changed, message):
    arguments = {"n_max": 4, "batch_size": 2, "steps": 3, "seed": 0}
    LeaveOneOutSets(groups_of([6, 5]), **arguments)
    with pytest.raises(ValueError, match=message):
        LeaveOneOutSets(groups_of([6, 5]), **arguments | changed)


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(4, 9), min_size=1, max_size=6),
    n_max=st.integers(1, 3),
    samples=st.integers(1, 7),
    seed=seeds,
)
def test_evaluation_keeps_prompts_and_held_out_pictures_apart(counts, n_max, samples, seed):
    groups = groups_of(counts)
    sets = evaluation_sets(groups, n_max, samples, seed)
    assert list(sets.columns) == ["person", "sample", "target", "prompts", "held_out"]
    assert sorted(sets["person"].unique()) == sorted(groups.rows)
    for person, own in sets.groupby("person"):
        assert own["sample"].tolist() == list(range(samples))
        assert own["prompts"].nunique() == own["held_out"].nunique() == 1
        prompts, held_out = own["prompts"].iloc[0], own["held_out"].iloc[0]
        assert len(prompts) == n_max and sorted(prompts + held_out) == groups.rows[person].tolist()
        assert set(own["target"]) <= set(held_out)
        assert own["target"].nunique() == min(samples, len(held_out))


def test_evaluation_sets_are_stable_where_they_are_compared():
    groups = groups_of([6, 7, 8, 9, 6])
    sets = evaluation_sets(groups, 3, 2, seed=5)
    assert sets.equals(evaluation_sets(groups, 3, 2, seed=5))
    assert not sets.equals(evaluation_sets(groups, 3, 2, seed=6))
    assert sets[:4].equals(evaluation_sets(groups, 3, 2, seed=5, people=2))
    fewer = evaluation_sets(groups, 1, 2, seed=5)
    assert fewer["person"].equals(sets["person"])
    assert [long[:1] for long in sets["prompts"]] == fewer["prompts"].tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"people": 3}, "people = 3; 1 to 2 was expected"),
        ({"people": 0}, "people = 0; 1 to 2 was expected"),
        ({"samples": 0}, "samples = 0; at least 1"),
        ({"n_max": 5}, "n_max = 5 needs 6 pictures; person 101 has 5"),
        ({"seed": -1}, "seed = -1; 0 to"),
    ],
)
def test_impossible_evaluation_sets_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        evaluation_sets(groups_of([6, 5]), **{"n_max": 2, "samples": 1, "seed": 0} | changed)


def test_other_prompts_are_another_persons_and_nothing_else_changes(tiny_celeba):
    table = read_celeba(tiny_celeba)
    sets = evaluation_sets(group_by_person(table, 4), 3, 2, seed=0)
    other = with_prompts(sets, "other")
    whose = [table.person[list(rows)].unique() for rows in other.prompts]
    assert all(len(w) == 1 and w[0] != person for w, person in zip(whose, other.person, strict=True))
    assert other.drop(columns="prompts").equals(sets.drop(columns="prompts"))
    assert with_prompts(sets, "own").equals(sets)
    two = with_prompts(sets[:4], "other")  # two people with two samples each, who change places
    assert two["prompts"].tolist() == sets["prompts"].loc[[2, 3, 0, 1]].tolist()
    with pytest.raises(ValueError, match="^prompts = 'other' needs at least 2 people$"):
        with_prompts(sets[sets.person == sets.person[0]], "other")


@pytest.mark.parametrize("n_refs", [1, 2, 3])
def test_reversed_prompts_are_those_that_are_used_the_other_way_round(n_refs):
    sets = evaluation_sets(groups_of([6, 7, 8]), 3, 2, seed=5)
    turned = with_prompts(sets, "reversed", n_refs)
    for before, after in zip(sets["prompts"], turned["prompts"], strict=True):
        assert after[:n_refs] == tuple(reversed(before[:n_refs])) and after[n_refs:] == before[n_refs:]
    assert turned.drop(columns="prompts").equals(sets.drop(columns="prompts"))
    assert with_prompts(turned, "reversed", n_refs).equals(sets)


def test_occluded_prompts_are_the_persons_own():
    sets = evaluation_sets(groups_of([6, 7, 8]), 3, 2, seed=5)
    assert all(with_prompts(sets, prompts).equals(sets) for prompts in PROMPTS if prompts.startswith("occluded"))


@pytest.mark.parametrize("n_refs", [1, 2, 3, 4])
def test_occluders_alternate_over_slots_and_people(n_refs):
    sets = evaluation_sets(groups_of([6] * 10), 4, 3, seed=2)
    occluded = occluded_prompts(sets, "occluded50", n_refs)
    first, second = ([True, False] * 2)[:n_refs], ([False, True] * 2)[:n_refs]
    assert occluded.dtype == bool and occluded.tolist() == ([first] * 3 + [second] * 3) * 5
    assert (occluded.mean(0) == 0.5).all()
    mixed = sets.sample(frac=1, random_state=0)
    of_person = pd.Series(map(tuple, occluded_prompts(mixed, "occluded50", n_refs))).groupby(mixed.person.to_numpy())
    assert (of_person.nunique() == 1).all()
    assert occluded_prompts(sets, "occluded0", n_refs).tolist() == [[False] * n_refs] * 30
    assert occluded_prompts(sets, "occluded100", n_refs).tolist() == [[True] * n_refs] * 30


def test_stored_prompts_are_not_drawn_anew():
    sets = evaluation_sets(groups_of([6, 7]), 2, 1, seed=0)
    stored = [prompts for prompts in PROMPTS if occluded_prompts(sets, prompts, 2) is None]
    assert stored == [prompts for prompts in PROMPTS if not prompts.startswith("occluded")]


def test_unknown_prompts_are_named():
    sets = evaluation_sets(groups_of([6, 7]), 2, 1, seed=0)
    line = f"^prompts = 'nobody'; one of {', '.join(PROMPTS)} was expected$"
    with pytest.raises(ValueError, match=line):
        with_prompts(sets, "nobody", 2)
    with pytest.raises(ValueError, match=line):
        occluded_prompts(sets, "nobody", 2)
    for n_refs in (None, 0, 3):
        with pytest.raises(ValueError, match=f"^n_refs = {n_refs}; 1 to 2 was expected"):
            with_prompts(sets, "reversed", n_refs)
    with pytest.raises(ValueError, match="^n_refs = 3; 1 to 2 was expected"):
        occluded_prompts(sets, "occluded50", 3)


# --- what a target is ----------------------------------------------------------------------------------------


def drawn_left_out(sets, step):
    """Target, prompts and mask of each sample as they were drawn before there was a choice of targets."""
    rng = np.random.default_rng([sets.seed, STEP, step])
    for person in sets.people_of(step):
        n = int(rng.integers(1, sets.n_max, endpoint=True)) if sets.random_n else sets.n_max
        drawn = rng.choice(sets.rows[person], n + 1, replace=False)
        removed = int(rng.integers(n + 1))
        refs = [row for place, row in enumerate(drawn.tolist()) if place != removed]
        yield drawn[removed], refs + refs[:1] * (sets.n_max - n), [slot < n for slot in range(sets.n_max)]


@settings(max_examples=40)
@given(n_max=st.integers(1, 5), seed=seeds, step=st.integers(0, 99), random_n=st.booleans(), default=st.booleans())
def test_sets_with_the_target_left_out_are_those_of_before(n_max, seed, step, random_n, default):
    more = {} if default else {"target": "left_out"}
    sets = LeaveOneOutSets(groups_of([6, 7, 9]), n_max, 4, 100, seed, random_n, **more)
    columns = zip(*drawn_left_out(sets, step), strict=True)
    for key, column in zip(("target", "refs", "mask"), columns, strict=True):
        assert np.array_equal(sets[step][key], column)


@settings(max_examples=40)
@given(n_max=st.integers(1, 5), seed=seeds, step=st.integers(0, 99), random_n=st.booleans())
def test_a_shown_target_is_one_of_its_prompts(n_max, seed, step, random_n):
    table = table_of([6, 7, 9])
    sets = LeaveOneOutSets(group_by_person(table, 6), n_max, 5, 100, seed, random_n, target="shown")
    item, persons = sets[step], table["person"].to_numpy()
    assert [item[key].dtype for key in ("target", "refs", "mask")] == [torch.int64, torch.int64, torch.bool]
    assert item["refs"].shape == item["mask"].shape == (5, n_max)
    rows = zip(item["target"].tolist(), item["refs"].tolist(), item["mask"].tolist(), sets.people_of(step), strict=True)
    for target, refs, mask, person in rows:
        n = sum(mask)
        assert 1 <= n <= n_max and all(mask[:n]) and (random_n or n == n_max)
        assert refs[:n].count(target) == 1 and len(set(refs[:n])) == n and set(refs[n:]) <= {refs[0]}
        assert set(persons[refs]) == {person}


@pytest.mark.parametrize("random_n", [False, True])
def test_a_shown_target_is_any_picture_in_any_slot(random_n):
    item = LeaveOneOutSets(groups_of([5]), 3, 4000, 1, seed=1, random_n=random_n, target="shown")[0]
    assert chisquare(np.bincount(item["target"], minlength=5)).pvalue > 1e-3
    for n in (2, 3) if random_n else (3,):
        of_n = item["mask"].sum(1) == n
        refs, target = item["refs"][of_n, :n], item["target"][of_n]
        slots = (refs == target[:, None]).long().argmax(1)
        assert chisquare(np.bincount(slots, minlength=n)).pvalue > 1e-3
        assert all(chisquare(np.bincount(column, minlength=5)).pvalue > 1e-3 for column in refs.T)


def test_both_kinds_of_targets_visit_the_same_people():
    left_out, shown = (LeaveOneOutSets(groups_of([4] * 9), 3, 5, 20, 1, target=kind) for kind in ("left_out", "shown"))
    assert all(left_out.people_of(step) == shown.people_of(step) for step in range(20))


# --- partial and foreign prompts ---------------------------------------------------------------------------


def test_some_prompts_show_the_next_person_in_their_places():
    sets = evaluation_sets(groups_of([9, 9, 9, 9, 9]), 4, 2, seed=0)
    other = with_prompts(sets, "other")["prompts"]
    slots = []
    for row, own, theirs in zip(with_prompts(sets, "foreign1", 4)["prompts"], sets["prompts"], other, strict=True):
        changed = [p for p in range(4) if row[p] != own[p]]
        assert len(changed) == 1 and row[changed[0]] == theirs[changed[0]]
        slots.append(changed[0])
    assert slots == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]  # samples of a person share their prompts
    two = with_prompts(sets, "foreign2", 3)["prompts"]
    counts = [sum(a != b for a, b in zip(row, own, strict=True)) for row, own in zip(two, sets["prompts"], strict=True)]
    assert counts == [2] * 10 and all(row[3] == own[3] for row, own in zip(two, sets["prompts"], strict=True))
    with pytest.raises(ValueError, match="^prompts = 'foreign2' needs 2 prompts or more; n_refs = 1$"):
        with_prompts(sets, "foreign2", 1)


def test_mixed_views_are_whole_or_a_window_and_now_and_then_of_somebody_else():
    groups = groups_of([9] * 20)
    sets = LeaveOneOutSets(groups, 4, 20, 60, seed=3, random_n=True, views="mixed", windows=3)
    owner = {row: person for person, rows in groups.rows.items() for row in rows.tolist()}
    views, foreign, present = [], [], []
    for step in range(60):
        batch, people = sets[step], sets.people_of(step)
        theirs = np.array([[owner[row] != person for row in rows] for rows, person in
                           zip(batch["refs"].tolist(), people, strict=True)])  # fmt: skip
        mask = batch["mask"].numpy()
        assert not (theirs & mask).all(1)[mask.all(1)].any() and (~theirs | ~mask).any(1).all()
        assert ((~theirs & mask).any(1)).all()
        views, foreign, present = [*views, batch["view"]], [*foreign, theirs], [*present, mask]
    views, foreign, present = torch.cat(views), np.concatenate(foreign), np.concatenate(present)
    assert views.min() == 0 and views.max() == 3
    assert abs((views == 0).float().mean() - 0.5) < 0.03
    assert 0.02 < foreign[present].mean() < 0.06


def test_whole_views_change_no_set():
    groups = groups_of([6] * 9)
    plain, mixed = (LeaveOneOutSets(groups, 3, 9, 2, seed=3, views=views, windows=2) for views in ("whole", "mixed"))
    assert (plain[1]["view"] == 0).all()
    for name in ("target", "mask"):
        assert torch.equal(plain[1][name], mixed[1][name])


def test_a_slot_with_a_role_always_sees_its_quarter():
    sets = LeaveOneOutSets(groups_of([6] * 5), 4, 5, 1, seed=3, views="roles", windows=2)
    assert sets[0]["view"].tolist() == [[3, 4, 5, 6]] * 5  # after the whole picture and two windows


def test_views_that_cannot_be_are_refused():
    groups = groups_of([9] * 3)
    with pytest.raises(ValueError, match="views = 'mixed' needs windows of the pictures"):
        LeaveOneOutSets(groups, 2, 1, 1, 0, views="mixed")
    with pytest.raises(ValueError, match="views = 'roles' has places for 4 prompts; n_max = 5"):
        LeaveOneOutSets(groups, 5, 1, 1, 0, views="roles")
    with pytest.raises(ValueError, match="views = 'all'; one of whole, mixed, roles was expected"):
        LeaveOneOutSets(groups, 2, 1, 1, 0, views="all")
