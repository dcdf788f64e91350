"""Intervals over people: by hand, by a slow oracle, and by what they promise (coverage)."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipa_lib.evaluation import intervals


def slow_bootstrap(values, groups, statistic, resamples, seed):
    """Every resample built picture by picture from the drawn counts of people."""
    people = sorted(set(groups))
    counts = np.random.default_rng(seed).multinomial(
        len(people), [1 / len(people)] * len(people), size=resamples
    )
    draws = []
    for row in counts:
        picked = [
            v
            for p, c in zip(people, row, strict=True)
            for v, g in zip(values, groups, strict=True)
            for _ in range(c)
            if g == p
        ]
        draws.append(statistic(picked))
    return np.quantile(draws, [0.025, 0.975])


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_bootstrap_equals_a_slow_oracle(statistic):
    values, groups = np.random.default_rng(1).normal(size=12), [5, 5, 5, 2, 2, 9, 9, 9, 9, 7, 7, 2]
    estimate, low, high = intervals.bootstrap(values, groups, statistic, resamples=200, seed=3)
    assert estimate == statistic(values)
    np.testing.assert_allclose([low, high], slow_bootstrap(values, groups, statistic, 200, 3), rtol=1e-12)


def test_two_people_by_hand():
    # Two people with scores 0 and 1: a resample's mean is 0, ½ or 1 with chances ¼, ½, ¼.
    estimate, low, high = intervals.bootstrap([0, 0, 1, 1], ["a", "a", "b", "b"], resamples=4000)
    assert (estimate, low, high) == (0.5, 0.0, 1.0)
    assert intervals.bootstrap([0, 0, 1, 1], [1, 1, 2, 2], resamples=4000, level=0.3)[1:] == (0.5, 0.5)


def test_people_are_drawn_whole_and_as_many_as_there_are():
    groups = np.array([3, 1, 3, 2, 1])
    weights = intervals.people_weights(groups, resamples=50, seed=0)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    again = intervals.people_weights(groups[::-1], resamples=50, seed=0)
    assert (again[:, ::-1] == weights).all()  # the order of the rows says nothing
    assert (intervals.people_weights(groups, 50, seed=1) != weights).any()


def test_coverage_over_people_where_resampling_pictures_fails():
    rng, people, pictures, trials = np.random.default_rng(0), 30, 4, 300
    groups, hits, naive_hits = np.repeat(np.arange(people), pictures), 0, 0
    for trial in range(trials):
        values = (rng.normal(size=people)[:, None] + 0.3 * rng.normal(size=(people, pictures))).ravel()
        _, low, high = intervals.bootstrap(values, groups, resamples=300, seed=trial)
        _, naive_low, naive_high = intervals.bootstrap(
            values, np.arange(len(values)), resamples=300, seed=trial
        )
        hits, naive_hits = hits + (low <= 0 <= high), naive_hits + (naive_low <= 0 <= naive_high)
    assert 0.89 <= hits / trials <= 0.985
    assert naive_hits / trials < 0.8


def test_paired_sees_a_difference_that_two_intervals_hide():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 2)
    b = np.repeat(rng.normal(size=40), 2)
    a = b + 0.1 + 0.05 * rng.normal(size=80)
    difference, low, high = intervals.paired(a, b, groups)
    assert difference == pytest.approx(np.mean(a - b)) and 0 < low < difference < high < 0.2
    assert intervals.bootstrap(a, groups)[1] < intervals.bootstrap(b, groups)[2]  # apart, they overlap
    assert intervals.paired(a, a, groups) == (0, 0, 0)


def test_contrast_matches_samples_whatever_their_order():
    rng = np.random.default_rng(0)
    a = pd.DataFrame(
        {
            "person": np.repeat(np.arange(10), 2),
            "sample": np.tile([0, 1], 10),
            "identity": rng.normal(size=20),
        }
    )
    b = a.assign(identity=rng.normal(size=20))
    expected = intervals.paired(a["identity"], b["identity"], a["person"])
    found = intervals.contrast(a, b.sample(frac=1, random_state=0), "identity")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="20 and 19 samples of which 19"):
        intervals.contrast(a, b[1:], "identity")
    with pytest.raises(ValueError, match="lacks the column text"):
        intervals.contrast(a, b, "text")
    with pytest.raises(ValueError, match="occurs twice"):
        intervals.contrast(pd.concat([a, a]), b, "identity")


def test_recentred_keeps_the_spread_and_moves_the_mean():
    draws = np.array([10.0, 11, 12, 13, 14, np.nan])
    assert intervals.recentred(5.0, draws, level=0.5) == (4.0, 6.0)
    with pytest.raises(ValueError, match="not one resample"):
        intervals.recentred(5.0, [np.nan])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=4, max_size=20), st.floats(-3, 3))
def test_bootstrap_properties(rows, shift):
    values, groups = np.array([v for v, _ in rows]), [g for _, g in rows]
    if len(set(groups)) < 2:
        with pytest.raises(ValueError, match="at least 2 people"):
            intervals.bootstrap(values, groups)
        return
    estimate, low, high = intervals.bootstrap(values, groups, resamples=100)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    moved = intervals.bootstrap(values + shift, groups, resamples=100)
    np.testing.assert_allclose(moved, np.array([estimate, low, high]) + shift, atol=1e-9)
    backwards = intervals.bootstrap(values[::-1], groups[::-1], resamples=100)
    np.testing.assert_allclose(backwards, (estimate, low, high), atol=1e-9)
    wider = intervals.bootstrap(values, groups, resamples=100, level=0.99)
    assert wider[1] <= low and high <= wider[2]


@pytest.mark.parametrize(
    "call, line",
    [
        (lambda: intervals.bootstrap([1, 2, 3], [1, 2]), "one person a score"),
        (lambda: intervals.bootstrap([1, np.nan, 3], [1, 2, 3]), "1 of 3 scores are not finite"),
        (
            lambda: intervals.bootstrap([1, 2], [1, 2], level=95),
            "level: expected a number between 0 and 1, got 95",
        ),
        (lambda: intervals.bootstrap([1, 2], [1, 2], resamples=0), "resamples: expected at least 1, got 0"),
        (lambda: intervals.paired([1, 2], [1], [1, 2]), "same samples"),
    ],
)
def test_mistakes_end_in_one_line(call, line):
    with pytest.raises(ValueError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- people and seeds, crossed -----------------------------------------------------------------------------


def test_crossed_with_one_seed_is_the_bootstrap_over_people():
    values, people = np.random.default_rng(1).normal(size=40), np.repeat(np.arange(20), 2)
    assert intervals.crossed(values, people, np.zeros(40)) == pytest.approx(intervals.bootstrap(values, people))


def test_crossed_against_a_plain_loop():
    rng = np.random.default_rng(2)
    seeds, people = (x.ravel() for x in np.meshgrid([7, 3, 5], np.arange(6), indexing="ij"))
    values = rng.normal(size=18)
    mean, low, high = intervals.crossed(values, people, seeds, resamples=50, seed=4)
    drawn_people = np.random.default_rng(4).multinomial(6, [1 / 6] * 6, 50)
    drawn_seeds = np.random.default_rng([4, 1]).multinomial(3, [1 / 3] * 3, 50)
    draws = []
    for of_people, of_seeds in zip(drawn_people, drawn_seeds, strict=True):
        count = dict(zip([3, 5, 7], of_seeds, strict=True))
        picked = [v for v, p, s in zip(values, people, seeds, strict=True) for _ in range(of_people[p] * count[s])]
        draws.append(np.mean(picked))
    assert mean == pytest.approx(values.mean())
    np.testing.assert_allclose([low, high], np.quantile(draws, [0.025, 0.975]), rtol=1e-12)


def test_trainings_that_differ_widen_the_interval():
    """Where the seeds differ and people do not, an interval over people alone would claim far too much."""
    seeds, people = (x.ravel() for x in np.meshgrid(np.arange(5), np.arange(50), indexing="ij"))
    values = np.random.default_rng(0).normal(0.3, 1, 5)[seeds] + np.random.default_rng(1).normal(0, 0.1, len(seeds))
    both, alone = intervals.crossed(values, people, seeds), intervals.bootstrap(values, people)
    assert both[2] - both[1] > 10 * (alone[2] - alone[1])


def test_crossed_intervals_cover_the_mean():
    rng, inside, trials = np.random.default_rng(5), 0, 200
    seeds, people = (x.ravel() for x in np.meshgrid(np.arange(8), np.arange(30), indexing="ij"))
    for trial in range(trials):
        values = rng.normal(0, 0.5, 8)[seeds] + rng.normal(0, 0.5, 30)[people] + rng.normal(0, 0.5, len(seeds))
        _, low, high = intervals.crossed(values, people, seeds, resamples=300, seed=trial)
        inside += low <= 0 <= high
    assert 0.85 < inside / trials <= 1


@pytest.mark.parametrize("seeds", [[1, 2], [[1, 2, 3]]])
def test_seeds_that_do_not_fit_are_refused(seeds):
    with pytest.raises(ValueError, match="^seeds: expected one for each of 3 scores"):
        intervals.crossed([0.1, 0.2, 0.3], [1, 2, 3], seeds)


def test_p_values_are_small_far_from_zero_and_uniform_at_it():
    people, seeds = np.arange(60), np.zeros(60)
    noise = np.random.default_rng(0).normal(0, 1, 60)
    assert intervals.p_value(noise - noise.mean() + 1, people, seeds) == pytest.approx(2 / 10_001)
    assert intervals.p_value(noise - noise.mean(), people, seeds) > 0.9
    spread = [intervals.p_value(np.random.default_rng(t).normal(0, 1, 60), people, seeds, 500, t) for t in range(200)]
    assert 0.4 < np.mean(spread) < 0.6


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.5, 0.9]) == pytest.approx([1, 1]) and len(intervals.holm([])) == 0
    with pytest.raises(ValueError, match="^p_values: expected numbers from 0 to 1"):
        intervals.holm([0.5, 1.2])
