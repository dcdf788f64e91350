"""Quality criteria against published numbers, plain oracles, hand-made cases and their own properties."""

import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ipa_lib.evaluation import intervals, metrics, scoring

few = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def features(seed, count=40, width=6, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + shift


def published_fixture():
    """The two fixtures behind the published numbers, rounded to float32 as the features of a network are."""
    r = np.random.RandomState(0)
    x, y = r.randn(512, 256), r.randn(512, 256)
    return [a.astype(np.float32).astype(np.float64) for a in (x, y, y * 1.1 + 0.05)]


def plain_fid(x, y):
    """Eq. (7) with scipy's matrix square root."""
    p, q = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(p @ q).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(p + q - 2 * root)


def plain_kid(x, y):
    """The unbiased estimator as loops over pairs."""

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    same = sum(
        k(z[i], z[j]) / (len(z) * (len(z) - 1))
        for z in (x, y)
        for i in range(len(z))
        for j in range(len(z))
        if i != j
    )
    return same - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def plain_is(probs):
    """Eq. (8), one split."""
    marginal = probs.mean(0)
    return np.exp(
        np.mean([sum(p * np.log(p / m) for p, m in zip(row, marginal, strict=True)) for row in probs])
    )


def class_probs(seed, count=30, classes=5):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=count) * 0.99 + 0.01 / classes


# ---------------------------------------------------------------- FID, KID, IS
# What five published implementations give for the fixtures: pytorch-fid@b9c1811, TTUR@73ab375 and clean-fid@e88c4d6
# agree to the last digit, then torch-fidelity@5e211a9 and tfgan-test@bc369b7. KID: tfgan-test and clean-fid@e88c4d6.
@pytest.mark.parametrize(
    "fake, fids, kids",
    [
        (
            1,
            [65.74272365043504, 65.74272365043532, 65.74272365043507],
            [0.0015023773771090099, 0.001502377377109032],
        ),
        (
            2,
            [75.45570390872524, 75.45570390872587, 75.45570390872521],
            [0.008388614796732696, 0.00838861479673246],
        ),
    ],
)
def test_published_implementations_give_the_same_numbers(fake, fids, kids):
    x, y = published_fixture()[0], published_fixture()[fake]
    np.testing.assert_allclose(metrics.fid(x, y), fids, rtol=1e-11)
    np.testing.assert_allclose(metrics.kid(x, y)[0], kids, rtol=1e-11)


@pytest.mark.parametrize("count, width", [(200, 8), (40, 20), (500, 3)])
def test_fid_equals_the_matrix_square_root(count, width):
    x, y = features(0, count, width), features(1, count, width, shift=0.5)
    assert metrics.fid(x, y) == pytest.approx(plain_fid(x, y), rel=1e-8)


def test_fid_of_gaussians_in_closed_form():
    # Whitened samples have exactly the wanted moments: ‖μ‖² + Σ (σ_p − σ_q)².
    z = features(0, 100, 3)
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    fake = z * np.array([1.0, 2.0, 0.5]) + np.array([3.0, 0.0, 4.0])
    assert metrics.fid(z, fake) == pytest.approx(25 + 1 + 0.25, rel=1e-9)


def test_fid_ignores_a_common_shift_however_large():
    x, y = features(0), features(1)
    for shift in (1e6, 1e6 * np.arange(-3, 3)):
        assert metrics.fid(x + shift, y + shift) == pytest.approx(metrics.fid(x, y), rel=1e-6)


def test_fid_is_biased_upwards_at_small_counts_and_kid_is_not():
    rng = np.random.default_rng(0)
    draw = [(rng.normal(size=(40, 8)), rng.normal(size=(40, 8))) for _ in range(60)]
    kids = [metrics.kid(x, y)[0] for x, y in draw]
    assert min(metrics.fid(x, y) for x, y in draw) > 0.5
    assert abs(np.mean(kids)) < 3 * np.std(kids) / np.sqrt(len(kids)) and min(kids) < 0 < max(kids)


def test_kid_equals_plain_loops():
    x, y = features(0, 15), features(1, 15, shift=0.3)
    mean, deviation = metrics.kid(x, y)
    assert mean == pytest.approx(plain_kid(x, y), rel=1e-10) and deviation == 0
    assert metrics.kid(x[:9], y)[1] > 0  # unequal counts: subsets of the smaller size
    assert metrics.kid(x, y, subset_size=2)[1] > 0  # the least of which a pair can be taken


def test_kid_subsets_scatter_about_the_whole_and_depend_on_the_seed_alone():
    x, y = features(0, 60), features(1, 60, shift=0.3)
    mean, deviation = metrics.kid(x, y, subset_size=30, seed=4)
    assert (
        (mean, deviation)
        == metrics.kid(x, y, subset_size=30, seed=4)
        != metrics.kid(x, y, subset_size=30, seed=5)
    )
    assert abs(mean - metrics.kid(x, y)[0]) < 4 * deviation / 10 and deviation > 0


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    metrics.kid(features(0), features(1), subset_size=5)
    metrics.inception_score(np.log(class_probs(0)))
    assert torch.equal(before, torch.get_rng_state())


def test_inception_score_equals_plain_numpy():
    probs = class_probs(0, count=30)
    assert metrics.inception_score(np.log(probs), splits=1)[0] == pytest.approx(plain_is(probs), rel=1e-12)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(7)).numpy()
    scores = [plain_is(part) for part in np.split(probs[order], 3)]
    mean, deviation = metrics.inception_score(np.log(probs), splits=3, seed=7)
    assert mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert deviation == pytest.approx(np.std(scores, ddof=1), rel=1e-9)


def test_logits_of_any_size_serve():
    logits = 3 * features(0, 20, 5)
    shifts = np.linspace(-2000, 2000, 20)[:, None]  # exp overflows at 710
    score = metrics.inception_score(logits, splits=1)[0]
    assert metrics.inception_score(logits + shifts, splits=1)[0] == pytest.approx(score, rel=1e-9)


def test_inception_score_at_its_ends():
    sure = np.where(np.eye(4, dtype=bool)[np.arange(40) % 4], 0.0, -1e9)
    assert metrics.inception_score(sure, splits=1)[0] == pytest.approx(4)  # sure of each, all classes alike
    assert metrics.inception_score(sure[:4][[2] * 8], splits=1)[0] == pytest.approx(1)  # sure of the one
    assert metrics.inception_score(np.zeros((8, 4)), splits=2)[0] == pytest.approx(1)  # never sure
    logits = features(0, 20, 4)
    assert metrics.inception_score(logits + 7)[0] == pytest.approx(metrics.inception_score(logits)[0])


@few
@given(seeds, st.integers(2, 30), st.integers(1, 12))
def test_fid_properties(seed, count, width):
    x, y = features(seed, count, width), features(seed + 1, count + 3, width, shift=0.1)
    scale = x.var(0).sum() + y.var(0).sum()
    value = metrics.fid(x, y)
    assert value >= 0 and metrics.fid(x, x) == pytest.approx(0, abs=1e-6 * scale)
    assert metrics.fid(y, x) == pytest.approx(value, abs=1e-6 * scale)
    assert metrics.fid(x[::-1], y[::-1]) == pytest.approx(value, abs=1e-6 * scale)
    ones = np.ones(count), np.ones(count + 3)
    fast = metrics._frechet(*metrics._moments(x, ones[0]), *metrics._moments(y, ones[1]))
    assert fast == pytest.approx(value, abs=1e-6 * scale)


@few
@given(seeds, st.integers(2, 40), st.integers(2, 8), st.integers(1, 3))
def test_inception_score_properties(seed, count, classes, splits):
    logits = 5 * np.random.default_rng(seed).normal(size=(count, classes))
    splits = min(splits, count)
    assert (
        1 - 1e-9
        <= metrics.inception_score(logits, splits, seed)[0]
        <= min(classes, -(-count // splits)) + 1e-9
    )
    whole = metrics.inception_score(logits, splits=1)[0]
    assert metrics.inception_score(logits[::-1], splits=1)[0] == pytest.approx(whole, rel=1e-12)
    assert metrics._score_of_weighted(metrics._log_probs(logits), np.ones((1, count)))[0] == pytest.approx(
        whole
    )


def test_arrays_and_tensors_of_any_precision_serve():
    x, y = torch.from_numpy(features(0)), torch.from_numpy(features(1))
    assert metrics.fid(x, y) == metrics.fid(x.numpy(), y.numpy())
    assert metrics.fid(x.float(), y.requires_grad_()) == pytest.approx(metrics.fid(x, y), rel=1e-5)
    assert metrics.fid(x.bfloat16(), y) == pytest.approx(metrics.fid(x, y), rel=0.1)


# ---------------------------------------------------------------- intervals over people
@pytest.mark.parametrize("interval, size", [(metrics.fid_interval, 8), (metrics.kid_interval, 3)])
def test_weighted_formulas_equal_the_metric_of_repeated_rows(interval, size):
    x, y = features(0, 12, size), features(1, 12, size)
    w, v = np.array([0, 2, 1, 0, 3, 1, 1, 0, 2, 1, 1, 0]), np.array([1, 1, 0, 2, 0, 1, 2, 1, 1, 2, 1, 0])
    fast = metrics._frechet(*metrics._moments(x, w), *metrics._moments(y, v))
    assert fast == pytest.approx(metrics.fid(np.repeat(x, w, 0), np.repeat(y, v, 0)), rel=1e-6)
    people = np.arange(12)
    value, low, high = interval(x, y, people, people, resamples=50)
    expected = metrics.fid(x, y) if interval is metrics.fid_interval else metrics.kid(x, y)[0]
    assert value == pytest.approx(expected, rel=1e-10) and low < value < high


def test_weighted_mmd_equals_loops_over_different_pictures():
    x, y, w, v = features(0, 6, 3), features(1, 5, 3), np.array([2, 0, 1, 1, 0, 2]), np.array([1, 1, 0, 2, 1])

    def mean_pair(a, b, u, t, apart):
        pairs = [
            (u[i] * t[j], (a[i] @ b[j] / 3 + 1) ** 3)
            for i in range(len(a))
            for j in range(len(b))
            if i != j or not apart
        ]
        return sum(c * k for c, k in pairs) / sum(c for c, _ in pairs)

    expected = mean_pair(x, x, w, w, True) + mean_pair(y, y, v, v, True) - 2 * mean_pair(x, y, w, v, False)
    kernels = metrics._cubic(x, x), metrics._cubic(x, y), metrics._cubic(y, y)
    assert metrics._mmd(*kernels, w[None], v[None])[0] == pytest.approx(expected, rel=1e-12)


def test_the_same_people_are_drawn_together_whatever_the_order_of_the_rows():
    x, people = features(0, 20), np.repeat(np.arange(10), 2)
    rows = np.random.default_rng(0).permutation(20)
    w, v = metrics._paired_weights(x, x, people, people[rows], 30, 0)
    assert (w[:, rows] == v).all()
    w, v = metrics._paired_weights(x, x, people, people + 1, 30, 0)  # other people: drawn apart
    assert (w != v).any()
    assert metrics.fid_interval(x, x, people, people, resamples=20) == pytest.approx((0, 0, 0), abs=1e-6)


def test_fid_interval_covers_the_expected_value_at_this_count():
    people, trials = np.repeat(np.arange(40), 2), 60
    rng = np.random.default_rng(0)

    def draw():
        person = 0.7 * rng.normal(size=(40, 3)).repeat(2, axis=0)
        return person + rng.normal(size=(80, 3)), person + 1.3 * rng.normal(size=(80, 3))

    truth = np.mean([metrics.fid(*draw()) for _ in range(400)])
    found = [metrics.fid_interval(*draw(), people, people, resamples=80, seed=t)[1:] for t in range(trials)]
    assert 0.85 <= np.mean([low <= truth <= high for low, high in found]) <= 1


def test_fid_interval_is_fast_enough_for_a_grid():
    x, y, people = features(0, 200, 64), features(1, 200, 64), np.repeat(np.arange(100), 2)
    start = time.process_time()
    metrics.fid_interval(x, y, people, people, resamples=200)
    assert time.process_time() - start < 5


def test_inception_score_interval():
    probs, people = class_probs(0, 40), np.repeat(np.arange(20), 2)
    value, low, high = metrics.inception_score_interval(np.log(probs), people)
    assert value == pytest.approx(plain_is(probs), rel=1e-12) and 1 <= low < value < high <= 5
    w = intervals.people_weights(people, 1, seed=0)
    repeated = metrics._score_of_weighted(np.log(probs), w)[0]
    assert repeated == pytest.approx(plain_is(np.repeat(probs, w[0], 0)), rel=1e-10)


def test_intervals_are_those_of_the_resamples_one_by_one():
    x, y, people = features(0, 12, 3), features(1, 12, 3), np.repeat(np.arange(6), 2)
    weights = intervals.people_weights(people, 30, seed=4)
    kernels = metrics._cubic(x, x), metrics._cubic(x, y), metrics._cubic(y, y)
    draws = [metrics._mmd(*kernels, one[None], one[None])[0] for one in weights]
    value, *ends = metrics.kid_interval(x, y, people, people, 30, 0.5, 4)
    assert ends == pytest.approx(intervals.recentred(value, draws, 0.5), rel=1e-9)
    draws = [metrics.fid(np.repeat(x, one, 0), np.repeat(y, one, 0)) for one in weights]
    value, *ends = metrics.fid_interval(x, y, people, people, 30, 0.5, 4)
    assert ends == pytest.approx(intervals.recentred(value, draws, 0.5), rel=1e-6) and ends[0] < value < ends[1]
    probs = class_probs(0, 12)
    draws = [plain_is(np.repeat(probs, one, 0)) for one in weights]
    value, *ends = metrics.inception_score_interval(np.log(probs), people, 30, 0.5, 4)
    assert ends == pytest.approx(intervals.recentred(value, draws, 0.5), rel=1e-9)


def test_one_picture_however_often_has_no_pair():
    found = metrics._mean_pair(np.full((2, 2), 3.0), np.array([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(found, [np.nan, 3])


# ---------------------------------------------------------------- likeness of single samples
def test_identity_similarity_by_hand():
    samples = [[2.0, 0.0], [1.0, 1.0]]
    held_out = [np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[-1.0, -1.0]])]
    np.testing.assert_allclose(metrics.identity_similarity(samples, held_out), [0.5, -1.0], atol=1e-12)


def test_caption_similarity_by_hand():
    found = metrics.caption_similarity([[2.0, 0.0], [1.0, 1.0]], [[0.0, 3.0], [5.0, 0.0]])
    np.testing.assert_allclose(found, [0, np.sqrt(0.5)], atol=1e-12)


def test_nearest_prompt_by_hand():
    prompts = np.array([[[0.0, 1.0], [5.0, 0.0]], [[0.0, 1.0], [-1.0, 0.0]]])  # [S=2, n=2, D=2]
    found = metrics.nearest_prompt([[2.0, 0.0], [1.0, 1.0]], prompts)
    np.testing.assert_allclose(found, [1.0, np.sqrt(0.5)], atol=1e-12)


def test_retrieval_by_hand():
    embeds, people = metrics.gallery({7: [[2.0, 0.0], [1.0, 0.0]], 3: [[0.0, 1.0]], 5: [[0.0, -4.0]]})
    assert people.tolist() == [3, 5, 7]
    np.testing.assert_allclose(embeds, [[0, 1], [0, -1], [1, 0]])
    samples, person = [[1.0, 0.1], [1.0, 0.1], [1.0, 1.0], [0.0, -2.0]], [7, 3, 7, 5]
    found = metrics.retrieval_top1(samples, person, embeds, people)
    assert found.tolist() == [True, False, False, True]  # the third is a tie of 7 and 3
    found = metrics.retrieval_top1(samples, person, embeds[::-1], people[::-1])
    assert found.tolist() == [True, False, False, True]


def test_agreement_by_hand():
    logits = np.array([[3.0, -1, -1, -1], [3, 3, -1, -1], [3, 3, 3, -1], [-1, -1, -1, -1]])
    wanted = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    # all right · both halves: ½ (1 + 2/3) · all are mentioned, 3 of 4 found · none is mentioned, none found
    np.testing.assert_allclose(metrics.attribute_agreement(logits, wanted), [1, 5 / 6, 0.75, 1])


def test_agreement_of_a_sample_that_ignores_its_caption_is_about_one_half():
    rng = np.random.default_rng(0)
    wanted = rng.random((4000, 12)) < 0.2
    nothing = np.full((4000, 12), -1.0)
    mixed = wanted.any(1)
    assert (metrics.attribute_agreement(nothing, wanted)[mixed] == 0.5).all()
    other = np.where(wanted[rng.permutation(4000)], 1.0, -1.0)
    assert metrics.attribute_agreement(other, wanted)[mixed].mean() == pytest.approx(0.5, abs=0.02)


@few
@given(seeds, st.integers(1, 6), st.integers(2, 5))
def test_likeness_properties(seed, count, width):
    rng = np.random.default_rng(seed)
    samples, sets = rng.normal(size=(count, width)), [rng.normal(size=(n + 1, width)) for n in range(count)]
    mean, nearest = metrics.identity_similarity(samples, sets), metrics.nearest_prompt(samples, sets)
    assert (mean <= nearest + 1e-12).all() and (abs(nearest) <= 1 + 1e-12).all()
    np.testing.assert_allclose(
        metrics.identity_similarity(3 * samples, [s[::-1] for s in sets]), mean, atol=1e-12
    )
    with_itself = [np.vstack([s, x]) for s, x in zip(sets, samples, strict=True)]
    np.testing.assert_allclose(metrics.nearest_prompt(samples, with_itself), 1)
    wanted = rng.random((count, width)) < 0.5
    agreement = metrics.attribute_agreement(samples, wanted)
    order = rng.permutation(width)
    np.testing.assert_allclose(metrics.attribute_agreement(samples[:, order], wanted[:, order]), agreement)
    np.testing.assert_allclose(metrics.attribute_agreement(-samples, wanted), 1 - agreement)


# ---------------------------------------------------------------- mistakes
nan_row = np.vstack([np.ones((3, 4)), np.full((1, 4), np.nan)])


@pytest.mark.parametrize(
    "call, line",
    [
        (lambda: metrics.fid(np.ones((1, 4)), np.ones((5, 4))), "real: expected at least 2 rows, got 1"),
        (lambda: metrics.fid(np.ones((5, 4)), np.ones((5, 3))), "widths must agree, got 4 and 3"),
        (lambda: metrics.fid(np.ones((5, 4)), nan_row), "fake: 1 of 4 rows hold values that are not finite"),
        (lambda: metrics.kid(np.vstack([nan_row, nan_row]), np.ones((5, 4))), "real: 2 of 8 rows hold values"),
        (lambda: metrics.fid(np.ones(5), np.ones((5, 4))), r"real: expected a matrix \[rows, width\]"),
        (lambda: metrics.kid(nan_row, nan_row), "not finite"),
        (lambda: metrics.kid(np.ones((5, 4)), np.ones((6, 4)), subset_size=6), "expected 2 to 5"),
        (lambda: metrics.kid(np.ones((5, 4)), np.ones((6, 4)), subset_size=1), "expected 2 to 5"),
        (lambda: metrics.caption_similarity(np.ones((2, 3)), np.ones((1, 3))), "^caption_embeds: expected one matrix"),
        (lambda: metrics.inception_score(class_probs(0)), "^log_probs: these are probabilities.*log-probabilities$"),
        (lambda: metrics.inception_score(np.eye(4)), "^log_probs: these are probabilities"),
        (lambda: metrics.inception_score(np.round(class_probs(0), 5)), "^log_probs: these are probabilities"),
        (lambda: metrics.inception_score(np.zeros((1, 4))), "^log_probs: expected at least 2 rows"),
        (lambda: metrics.inception_score(np.zeros((5, 1))), "^log_probs: expected at least 2 classes, got 1$"),
        (lambda: metrics.inception_score(np.zeros((5, 4)), splits=6), "splits: expected 1 to 5"),
        (
            lambda: metrics.fid_interval(np.ones((4, 2)), np.ones((4, 2)), [1, 1, 2], [1, 1, 2, 2]),
            "^real_person: .*one person for each of 4",
        ),
        (lambda: metrics.fid_interval(np.eye(4), np.eye(4), [1, 1, 2, 2], [1]), "^fake_person: .*one person for each"),
        (
            lambda: metrics.kid_interval(np.ones((4, 2)), np.ones((4, 2)), [1] * 4, [1] * 4),
            "at least 2 people",
        ),
        (lambda: metrics.cosine([[1.0, 0.0]], [[0.0, 0.0]]), "^b: a zero embedding"),
        (lambda: metrics.cosine([[0.0, 0.0]], [[1.0, 0.0]]), "^a: a zero embedding"),
        (lambda: metrics.cosine(nan_row, nan_row), "^a: 1 of 4 rows hold values that are not finite"),
        (lambda: metrics.cosine([[1.0, 0.0]], [[1.0, 0.0, 0.0]]), "widths must agree, got 2 and 3"),
        (
            lambda: metrics.identity_similarity(np.ones((2, 3)), [np.ones((1, 3))]),
            "^held_out: expected one matrix for each of 2 samples, got 1",
        ),
        (lambda: metrics.nearest_prompt(np.ones((1, 3)), [np.ones((0, 3))]), "at least 1 rows"),
        (lambda: metrics.nearest_prompt(np.ones((2, 3)), [np.ones((1, 3))]), "^prompts: expected one matrix"),
        (lambda: metrics.nearest_prompt(nan_row, [np.ones((1, 4))] * 4), "^sample_embeds: 1 of 4 rows"),
        (lambda: metrics.gallery({7: [[0.0, 0.0]]}), r"^held_out\[7\]: a zero embedding"),
        (lambda: metrics.gallery({7: [[1.0, 0.0], [-1.0, 0.0]]}), "^held_out: a zero embedding"),
        (
            lambda: metrics.retrieval_top1(np.ones((1, 2)), [9], np.eye(2), [1, 2]),
            "person 9 has no held-out picture",
        ),
        (
            lambda: metrics.retrieval_top1(np.ones((2, 2)), [1, 9], np.eye(2), [1, 2]),
            "^gallery_person: person 9 has no held-out picture",
        ),
        (lambda: metrics.retrieval_top1(np.ones((2, 2)), [1], np.eye(2), [1, 2]), "^sample_person: expected one"),
        (lambda: metrics.retrieval_top1(np.ones((1, 2)), [1], np.eye(2), [1]), "^gallery_person: expected one"),
        (lambda: metrics.retrieval_top1(np.ones((1, 2)), [1], np.eye(2), [1, 1]), "^gallery_person: .*2 people"),
        (lambda: metrics.inception_score_interval(np.zeros((4, 3)), [1, 2]), "^person: expected one"),
        (lambda: metrics.attribute_agreement(np.ones((2, 3)), np.ones((2, 2), bool)), "expected bool"),
        (lambda: metrics.attribute_agreement(np.ones((2, 3)), np.ones((2, 3))), "got float64"),
        (lambda: metrics.attribute_agreement(nan_row, nan_row > 0), "^attribute_logits: 1 of 4 rows"),
    ],
)
def test_mistakes_end_in_one_line(call, line):
    with pytest.raises(ValueError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- one cell of the grid
@pytest.fixture
def cell():
    """12 people, 2 samples each; embeddings scatter about the person, so identity is recognisable."""
    rng = np.random.default_rng(0)
    person, centre = np.repeat(np.arange(100, 112), 2), {p: rng.normal(size=8) for p in range(100, 112)}

    def near(p, count):
        return centre[p] + 0.3 * rng.normal(size=(count, 8))

    wanted = rng.random((24, 5)) < 0.4
    judged = scoring.Judged(
        identity=np.vstack([near(p, 1) for p in person]),
        features=rng.normal(size=(24, 6)) + 0.5,
        class_logits=3 * rng.normal(size=(24, 4)),
        attribute_logits=np.where(wanted, 1.0, -1.0),
    )
    reference = scoring.Reference(
        person=person,
        sample=np.tile([0, 1], 12),
        wanted=wanted,
        held_out={p: near(p, 5) for p in centre},
        real_features=rng.normal(size=(60, 6)),
        real_person=np.repeat(np.arange(100, 112), 5),
    )
    return judged, reference, np.stack([near(p, 3) for p in person])


def test_evaluate_cell_gives_the_tidy_rows_and_scores(cell):
    judged, reference, prompts = cell
    keys = {"adapter": "mean-own-n4r-s0", "seed": 0, "cell": "n3", "n_refs": 3, "lam": 1.0}
    rows, scores = scoring.evaluate_cell(judged, reference, prompts, keys, resamples=50)
    assert (scores[list(scoring.SCORE_KEYS)] == list(keys.values())).all(axis=None)
    table = scoring.table(rows).set_index("metric")
    assert table.index.tolist() == ["identity", "top1", "text", "copying", "fid", "kid", "is"]
    assert list(scoring.table(rows).columns) == list(scoring.TABLE_COLUMNS)
    assert list(scores.columns) == list(scoring.SCORE_COLUMNS)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert (table["count"] == 24).all() and (table["lam"] == 1).all() and table["profile"].isna().all()
    assert (
        table.loc["identity", "judge"] == "mini identity judge"
        and table.loc["fid", "judge"] == "mini attribute judge"
    )
    assert scores[["faces", "clip_i", "clip_t"]].isna().all(axis=None)  # no judge for them
    for name in ("identity", "top1", "text", "copying"):
        assert table.loc[name, "value"] == pytest.approx(scores[name].mean())
    assert table.loc["top1", "value"] > 0.9 and (scores["text"] == 1).all() and scores["copying"].min() > 0.5
    real = reference.real_features[scoring.matched_rows(reference.real_person, reference.person)]
    assert table.loc["fid", "value"] == metrics.fid(real, judged.features)
    assert table.loc["kid", "value"] == pytest.approx(metrics.kid(real, judged.features)[0])


def test_a_cell_without_judges_of_attributes_and_classes_lacks_their_rows(cell):
    judged, reference, prompts = cell
    bare = replace(judged, class_logits=None, attribute_logits=None)
    rows, scores = scoring.evaluate_cell(bare, replace(reference, wanted=None), prompts, resamples=20)
    whole, _ = scoring.evaluate_cell(judged, reference, prompts, resamples=20)
    assert [row["metric"] for row in rows] == ["identity", "top1", "copying", "fid", "kid"]
    assert rows == [row for row in whole if row["metric"] not in ("text", "is")]
    assert scores["text"].isna().all()


def test_samples_without_a_face_are_counted_and_left_out_of_means(cell):
    """As if they were not there, but in FID, KID, IS and text, which need no face."""
    judged, reference, prompts = cell
    lost = np.isin(np.arange(24), [0, 1, 5, 12])  # both samples of one person, one of two others
    faceless = replace(judged, identity=np.where(lost[:, None], np.nan, judged.identity), faces=~lost)
    rows, scores = scoring.evaluate_cell(faceless, reference, prompts, resamples=20)
    found = scoring.table(rows).set_index("metric")
    whole = scoring.table(scoring.evaluate_cell(judged, reference, prompts, resamples=20)[0]).set_index("metric")
    seen = scoring.sample_scores(judged, reference, prompts)[~lost]
    for name in ("identity", "top1", "copying"):
        assert found.loc[name, "value"] == pytest.approx(seen[name].mean()) and found.loc[name, "count"] == 20
        assert scores[name].isna().tolist() == lost.tolist()
    assert found.loc["faces", ["value", "count"]].tolist() == [20 / 24, 24]
    assert found.loc["faces", "low"] < 20 / 24 < found.loc["faces", "high"]
    others = ["text", "fid", "kid", "is"]
    assert found.loc[others, "value"].equals(whole.loc[others, "value"]) and (found.loc[others, "count"] == 24).all()


def test_real_pictures_without_a_face_are_left_out(cell):
    """A person of whom none shows a face cannot be judged; a sample whose prompts show none has no copying."""
    judged, reference, prompts = cell
    prompts = prompts.copy()
    prompts[3], prompts[4, :2] = np.nan, np.nan
    nobody = replace(reference, held_out=reference.held_out | {105: np.empty((0, 8))})
    scores = scoring.sample_scores(judged, nobody, prompts)
    unknown = reference.person == 105
    assert scores["identity"].isna().tolist() == scores["top1"].isna().tolist() == unknown.tolist()
    assert scores["copying"].isna().tolist() == (unknown | (np.arange(24) == 3)).tolist()
    assert scores["copying"][4] == pytest.approx(metrics.cosine(judged.identity[4:5], prompts[4, 2:])[0, 0])
    assert scoring.with_face(prompts[4]).shape == (1, 8) and scoring.with_face(prompts[3]).shape == (0, 8)


def test_where_nothing_has_a_face_that_is_all_that_is_said_of_identity(cell):
    judged, reference, prompts = cell
    faceless = replace(judged, identity=np.full_like(judged.identity, np.nan), faces=np.zeros(24, bool))
    rows, _ = scoring.evaluate_cell(faceless, reference, prompts, resamples=5)
    assert [row["metric"] for row in rows] == ["text", "faces", "fid", "kid", "is"]
    assert {row["metric"]: row["value"] for row in rows}["faces"] == 0


def test_clip_compares_with_held_out_pictures_and_with_the_own_caption(cell):
    judged, reference, _ = cell
    rng = np.random.default_rng(0)
    seen, said = rng.normal(size=(24, 3)), rng.normal(size=(24, 3))
    held_out = {person: rng.normal(size=(4, 3)) for person in reference.held_out}
    other = replace(reference, clip_held_out=held_out, captions=said, clip_judge="some CLIP")
    rows, scores = scoring.evaluate_cell(replace(judged, clip=seen), other, resamples=5)
    found = scoring.table(rows).set_index("metric")
    assert scores["clip_i"][7] == pytest.approx(metrics.cosine(seen[7:8], held_out[103]).mean())
    assert scores["clip_t"][7] == pytest.approx(metrics.cosine(seen[7:8], said[7:8])[0, 0])
    assert found.loc[["clip_i", "clip_t"], "judge"].tolist() == ["some CLIP"] * 2
    for name in ("clip_i", "clip_t"):
        expected = intervals.bootstrap(scores[name], scores["person"], resamples=50)
        assert found.loc[name, ["value", "low", "high"]].tolist() == list(expected)


def test_evaluate_cell_does_not_depend_on_the_order_of_the_samples(cell):
    judged, reference, prompts = cell
    order = np.random.default_rng(1).permutation(24)
    shuffled = scoring.Judged(
        *(getattr(judged, k)[order] for k in ("identity", "features", "class_logits", "attribute_logits"))
    )
    other = replace(
        reference,
        person=reference.person[order],
        sample=reference.sample[order],
        wanted=reference.wanted[order],
    )
    rows, _ = scoring.evaluate_cell(judged, reference, prompts, resamples=20)
    again, _ = scoring.evaluate_cell(shuffled, other, prompts[order], resamples=20)
    for a, b in zip(rows, again, strict=True):
        assert (a["value"], a["low"], a["high"]) == pytest.approx((b["value"], b["low"], b["high"]), rel=1e-6)


def test_a_reference_cell_without_prompts_has_no_copying(cell):
    judged, reference, _ = cell
    rows, scores = scoring.evaluate_cell(
        judged, reference, keys={"adapter": "real", "n_refs": 0}, resamples=10
    )
    assert (
        "copying" not in {r["metric"] for r in rows}
        and scores["copying"].isna().all()
        and scores["lam"].isna().all()
    )


def test_matched_rows_take_each_person_as_often_as_it_has_samples():
    real, samples = np.array([2, 1, 1, 3, 2, 1, 3]), np.array([1, 2, 1])
    rows = scoring.matched_rows(real, samples)
    assert sorted(real[rows]) == sorted(samples) and len(set(rows)) == 3
    assert (rows == scoring.matched_rows(real, samples[::-1])).all()
    people = np.repeat([1, 2], 6)
    assert sorted(scoring.matched_rows(people, people)) == list(range(12))  # none twice


@pytest.mark.parametrize("count", [2, 6, 7, 40])
def test_a_covariance_without_full_rank_is_said(count):
    lacking = np.linalg.matrix_rank(np.cov(features(3, count), rowvar=False)) < 6
    assert bool(note := metrics.rank_note(count, 6)) == lacking
    assert not lacking or (f"FID of {count} pictures in 6 features: " in note and "\n" not in note)
    assert np.isfinite(metrics.fid(features(3, count), features(4, count)))  # computed all the same


def test_fewer_samples_are_subsets_with_as_many_real_pictures(cell):
    judged, reference, _ = cell
    found = scoring.over_counts(judged, reference, [40, 12, 6], draws=8)
    assert list(found.columns) == ["metric", "count", "value", "low", "high"]
    assert [tuple(row) for row in found[["metric", "count"]].to_numpy()] == [
        (metric, count) for count in (6, 12, 24) for metric in ("fid", "kid")]  # 40 are not there
    fid = found[found.metric == "fid"].set_index("count")
    assert fid.value[6] > fid.value[12] > fid.value[24]  # the same pictures, a larger bias
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    rows, _ = scoring.evaluate_cell(judged, reference, resamples=5)
    whole = {row["metric"]: row["value"] for row in rows}
    assert fid.value[24] == pytest.approx(whole["fid"]) and fid.low[24] == fid.high[24] == fid.value[24]
    assert found.value.iloc[-1] == pytest.approx(whole["kid"])


def test_another_person_s_prompts_are_a_reference_and_side_cells_are_the_adapter_s():
    settings = {"profile": "p", "adapter": "a", "merge": "mean", "seed": 1, "cell": "n4-other", "prompts": "other",
                "n_refs": 4, "guidance": 3.0, "sampling_steps": 20}
    assert scoring.cell_keys(settings) == {
        "profile": "p", "cell": "n4-other", "prompts": "other", "n_refs": 4, "guidance": 3.0, "adapter": "other"}
    keys = scoring.cell_keys(settings | {"cell": "n4-occluded50", "prompts": "occluded50"})
    assert (keys["adapter"], keys["merge"], keys["cell"]) == ("a", "mean", "n4-occluded50")
    assert set(keys) <= set(scoring.KEYS)


def test_evaluate_cell_refuses_what_does_not_fit(cell):
    judged, reference, prompts = cell
    with pytest.raises(ValueError, match="keys: lambda is no column"):
        scoring.evaluate_cell(judged, reference, prompts, {"lambda": 1})
    with pytest.raises(ValueError, match="person 105 has 1 real pictures for 2 samples"):
        scoring.matched_rows([105] + [106] * 5, [105, 105, 106])
    held_out = {p: h for p, h in reference.held_out.items() if p != 103}
    with pytest.raises(ValueError, match="person 103 has no held-out picture"):
        scoring.evaluate_cell(judged, replace(reference, held_out=held_out))


# --- paired differences of whole sets ----------------------------------------------------------------------


@pytest.mark.parametrize("difference", [metrics.fid_difference, metrics.kid_difference])
def test_a_set_is_no_better_than_itself(difference):
    x, a = (np.random.default_rng(seed).normal(size=(30, 4)) for seed in (0, 1))
    people = np.repeat(np.arange(15), 2)
    assert difference(x, a, a, people, people, people, resamples=20) == pytest.approx((0, 0, 0), abs=1e-9)


@pytest.mark.parametrize(
    "difference, interval",
    [(metrics.fid_difference, metrics.fid_interval), (metrics.kid_difference, metrics.kid_interval)],
)
def test_a_paired_difference_is_that_of_the_values_and_narrower_than_their_distance(difference, interval):
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 2)
    real, a = rng.normal(size=(200, 4)), rng.normal(0.5, 1, (200, 4))
    b = a + rng.normal(0.05, 0.05, a.shape)  # the same pictures, hardly changed
    value, low, high = difference(real, a, b, people, people, people)
    one, two = (interval(real, fake, people, people) for fake in (a, b))
    assert value == pytest.approx(one[0] - two[0]) and low < value < high
    assert high - low < 0.3 * ((one[2] - one[1]) + (two[2] - two[1]))
    assert high < 0  # b lies farther off; the distance of the two intervals can't tell
    assert one[2] > two[1]


@pytest.mark.parametrize("difference", [metrics.fid_difference, metrics.kid_difference])
def test_other_people_are_not_paired(difference):
    x = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(ValueError, match="^a_person, b_person: the same people were expected"):
        difference(x, x, x, [1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 4, 4])
