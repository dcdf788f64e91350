"""Quality criteria: pure functions of feature matrices, embeddings and logits; no network is run here.

S samples, M pictures, F feature width, D embedding width, K classes, A attributes, P people, R resamples.
Every function takes arrays or tensors and computes in float64. FID, KID and IS go through torchmetrics with
the features handed in, so the network behind them is the caller's and has to be named beside the number.

**Counts.** FID is biased upwards at finite counts, by about a constant over M, and far more where M is below
the feature width (the covariances lose rank). FID values are comparable between sets of *equal* counts only;
read KID, which has no such bias, beside it. IS is bounded by the pictures of a split and grows with them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from .intervals import Interval, people_weights, recentred

LOWEST_LOG_PROB = -600.0  # exp(-600) is still a normal float64: 0 · log 0 never becomes NaN


# ---------------------------------------------------------------- distances between sets of pictures
# Equation (7): FID = ‖μ_p − μ_q‖² + Tr(Σ_p + Σ_q − 2 (Σ_p Σ_q)^½).                https://arxiv.org/abs/1706.08500
def fid(real, fake) -> float:
    """Fréchet distance of the Gaussians fitted to features real [M,F] and fake [M',F], through torchmetrics.

    Covariances are unbiased, as in all published implementations. Compare values of equal M and M' only; where
    these do not exceed F it is computed all the same, and `rank_note` has the line to say so.
    Raises ValueError: fewer than 2 pictures, widths that differ, features that are not finite.
    """
    from .inception import FrechetInceptionDistance

    real, fake = _pair(real, fake)
    origin = real.mean(0)  # the distance ignores a common shift; torchmetrics' raw moments do not
    metric = FrechetInceptionDistance(feature=_GivenFeatures(real.shape[1]))
    metric.update(torch.from_numpy(real - origin), real=True)
    metric.update(torch.from_numpy(fake - origin), real=False)
    return max(float(metric.compute()), 0.0)  # rounding can leave −1e-12


def rank_note(count: int, width: int) -> str:
    """One line where the covariance of `count` pictures can't have the rank of `width` features, "" where it can.

    It has rank count − 1 at most: features then seem never to vary in some directions, and FID is mostly bias.
    """
    if count > width:
        return ""
    return (f"FID of {count} pictures in {width} features: the covariances lack rank, so it may be held against FID of "
            f"{count} others and nothing else; KID leads")


# Unbiased squared maximum mean discrepancy, kernel (x·y / F + 1)³.                https://arxiv.org/abs/1801.01401
def kid(real, fake, subset_size: int | None = None, seed: int = 0, subsets: int = 100) -> tuple[float, float]:
    """(mean, standard deviation) over random subsets of the kernel distance of real [M,F] and fake [M',F].

    subset_size None: all pictures, or as many as the smaller set has. Unbiased, so it may be negative.
    Raises ValueError as `fid`, and for a subset_size outside 2…min(M, M').
    """
    from .inception import KernelInceptionDistance

    real, fake = _pair(real, fake)
    smaller = min(len(real), len(fake))
    size = smaller if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size: expected 2 to {smaller} (the smaller set), got {size}")
    repeats = 1 if size == len(real) == len(fake) else subsets  # all of both sets: every subset is the same
    with _seeded(seed):
        metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=repeats, subset_size=size)
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


# Equation (8): IS = exp E_x KL(p(y|x) ‖ p(y)), p(y) the empirical marginal.       https://arxiv.org/abs/1606.03498
def inception_score(log_probs, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """(mean, standard deviation) over `splits` of the score of log_probs [M,K], through torchmetrics.

    Logits serve as well as log-probabilities: the softmax is taken here. A score lies between 1 and
    min(K, pictures of a split): at a few hundred pictures use splits=1 (its deviation is NaN) and the
    interval. Splits are equal where M is a multiple of `splits`; else the last is smaller (torch.chunk).
    Raises ValueError: probabilities instead of logarithms, fewer than 2 pictures or classes, M < splits.
    """
    from .inception import InceptionScore

    log_probs = _log_probs(log_probs)
    if not 1 <= splits <= len(log_probs):
        raise ValueError(f"splits: expected 1 to {len(log_probs)} (the pictures), got {splits}")
    with _seeded(seed):
        metric = InceptionScore(feature=torch.nn.Identity(), splits=splits)
        metric.update(torch.from_numpy(log_probs))
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


# ---------------------------------------------------------------- their intervals over people
def fid_interval(
    real, fake, real_person, fake_person, resamples: int = 200, level: float = 0.95, seed: int = 0
) -> Interval:
    """(FID, low, high), people drawn anew `resamples` times; the same people in both sets are drawn together.

    real [M,F], fake [M',F], persons [M], [M']. The interval is about the expected FID *at these counts*
    (`intervals.recentred`). About 1 ms a resample for 200 × 64 features.
    Raises ValueError as `fid`, and for fewer than 2 people.
    """
    real, fake = _pair(real, fake)
    weights = _paired_weights(real, fake, real_person, fake_person, resamples, seed)
    draws = [_frechet(*_moments(real, w), *_moments(fake, v)) for w, v in zip(*weights, strict=True)]
    value = fid(real, fake)
    low, high = recentred(value, draws, level)
    return value, max(low, 0.0), max(high, 0.0)


def kid_interval(
    real, fake, real_person, fake_person, resamples: int = 200, level: float = 0.95, seed: int = 0
) -> Interval:
    """(KID of all pictures, low, high), people drawn anew as in `fid_interval`; shapes and errors as there.

    The value equals `kid` with all pictures where both sets have the same count.
    """
    real, fake = _pair(real, fake)
    w, v = _paired_weights(real, fake, real_person, fake_person, resamples, seed)
    kernels = _cubic(real, real), _cubic(real, fake), _cubic(fake, fake)
    value = float(_mmd(*kernels, np.ones((1, len(real))), np.ones((1, len(fake))))[0])
    return value, *recentred(value, _mmd(*kernels, w, v), level)


def fid_difference(real, a, b, real_person, a_person, b_person, resamples: int = 200, level: float = 0.95,
                   seed: int = 0) -> Interval:
    """FID of `a` minus FID of `b` to the same `real` pictures, with its interval: people are drawn once for all three.

    real [M,F], a [M',F], b [M'',F] and their persons. What is common to both, the pictures of a person and the bias of
    the count, falls out: the interval is narrower than the distance of the two intervals. Raises ValueError as
    `fid_interval`, and where a and b do not show the same people.
    """
    _check_same_people(a_person, b_person)
    value, draws = fid(real, a) - fid(real, b), []
    for fake, person in ((a, a_person), (b, b_person)):
        x, y = _pair(real, fake)
        weights = _paired_weights(x, y, real_person, person, resamples, seed)
        draws.append(np.array([_frechet(*_moments(x, w), *_moments(y, v)) for w, v in zip(*weights, strict=True)]))
    return value, *recentred(value, draws[0] - draws[1], level)


def kid_difference(real, a, b, real_person, a_person, b_person, resamples: int = 200, level: float = 0.95,
                   seed: int = 0) -> Interval:
    """The same of KID, of all pictures."""
    _check_same_people(a_person, b_person)
    values, draws = [], []
    for fake, person in ((a, a_person), (b, b_person)):
        x, y = _pair(real, fake)
        kernels = _cubic(x, x), _cubic(x, y), _cubic(y, y)
        values.append(float(_mmd(*kernels, np.ones((1, len(x))), np.ones((1, len(y))))[0]))
        draws.append(_mmd(*kernels, *_paired_weights(x, y, real_person, person, resamples, seed)))
    value = values[0] - values[1]
    return value, *recentred(value, draws[0] - draws[1], level)


def inception_score_interval(
    log_probs, person, resamples: int = 200, level: float = 0.95, seed: int = 0
) -> Interval:
    """(IS of all pictures as one split, low, high), people drawn anew; log_probs [M,K], person [M]."""
    log_probs = _log_probs(log_probs)
    weights = people_weights(_persons(person, log_probs, "person"), resamples, seed)  # [R, M]
    value = inception_score(log_probs, splits=1)[0]
    low, high = recentred(value, _score_of_weighted(log_probs, weights), level)
    return value, max(low, 1.0), max(high, 1.0)


# ---------------------------------------------------------------- likeness of single samples
def cosine(a, b) -> np.ndarray:
    """Cosines [I,J] of the rows of a [I,D] and b [J,D]. Raises ValueError: widths that differ, a zero row."""
    a, b = _unit(a, "a"), _unit(b, "b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings: widths must agree, got {a.shape[1]} and {b.shape[1]}")
    return a @ b.T


def identity_similarity(sample_embeds, held_out: Sequence) -> np.ndarray:
    """[S] mean cosine of a sample to *held-out* pictures of its person: identity, not likeness to a prompt.

    In the embeddings of CLIP it is CLIP-I, which also sees dress, light and background.
    sample_embeds [S,D]; held_out S matrices [H_i,D], none of them a prompt or the judged picture itself.
    """
    return np.array([cosine(s[None], h).mean() for s, h in _with_sets(sample_embeds, held_out, "held_out")])


# CLIP-T; CLIPScore is 2.5 times what of it is above 0.                          https://arxiv.org/abs/2104.08718
def caption_similarity(sample_embeds, caption_embeds) -> np.ndarray:
    """[S] cosine of a sample to its own caption, of embeddings [S,D] in one space."""
    pairs = _with_sets(sample_embeds, np.asarray(caption_embeds), "caption_embeds")
    return np.array([cosine(sample[None], caption[None])[0, 0] for sample, caption in pairs])


def nearest_prompt(sample_embeds, prompts: Sequence) -> np.ndarray:
    """[S] cosine of a sample to the nearest of its prompts: a copy scores far above its identity similarity.

    sample_embeds [S,D]; prompts S matrices [N_i,D], or [S,N,D]. A maximum grows with N by itself: read it
    against the same score of real pictures.
    """
    return np.array([cosine(s[None], p).max() for s, p in _with_sets(sample_embeds, prompts, "prompts")])


def gallery(held_out: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """(unit embeddings [P,D], people [P] sorted): the mean direction of each person's held-out pictures."""
    people = sorted(held_out)
    means = [_unit(held_out[p], f"held_out[{p}]").mean(0) for p in people]
    return _unit(means, "held_out"), np.array(people)


def retrieval_top1(sample_embeds, sample_person, gallery_embeds, gallery_person) -> np.ndarray:
    """[S] bool: is the sample nearer to its own person than to every other of the gallery? A tie is a miss.

    sample_embeds [S,D], sample_person [S], gallery_embeds [P,D], gallery_person [P]. Chance is 1/P.
    Raises ValueError: a sample whose person is not in the gallery, lengths that differ, one person alone.
    """
    similarity = cosine(sample_embeds, gallery_embeds)  # [S, P]
    sample_person = _persons(sample_person, similarity, "sample_person")
    gallery_person = _persons(gallery_person, similarity.T, "gallery_person")
    own = sample_person[:, None] == gallery_person[None]  # [S, P]
    if not own.any(1).all():
        raise ValueError(f"gallery_person: person {sample_person[~own.any(1)][0]} has no held-out picture")
    if own.all(1).any():
        raise ValueError("gallery_person: retrieval needs at least 2 people")
    return np.where(own, similarity, -np.inf).max(1) > np.where(own, -np.inf, similarity).max(1)


def attribute_agreement(attribute_logits, wanted) -> np.ndarray:
    """[S] how far the judge confirms a sample's caption, balanced over what is mentioned and what is not.

    attribute_logits [S,A] (above 0: present), wanted bool [S,A] in the caption's polarity (for "beard" hand
    in the negated No_Beard column). ½ (share of mentioned attributes found + share of unmentioned ones not
    found); the one share alone where a caption mentions none or all. Balanced, since most faces lack most
    attributes: a generator that ignores the text would get a high plain share, here it gets about ½.
    """
    logits = _matrix(attribute_logits, "attribute_logits", at_least=1)
    wanted = np.asarray(wanted)
    if wanted.shape != logits.shape or wanted.dtype != bool:
        raise ValueError(f"wanted: expected bool {logits.shape}, got {wanted.dtype} {wanted.shape}")
    right = (logits > 0) == wanted  # [S, A]
    return _mean_of_defined([_share(right, wanted), _share(right, ~wanted)])


# ---------------------------------------------------------------- the formulas that the bootstrap repeats
def _moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and a factor R with Σ = RᵀR, of rows that count w times."""
    x, w = x[w > 0], w[w > 0]
    mu = w @ x / w.sum()
    rows = np.sqrt(w / (w.sum() - 1))[:, None] * (x - mu)  # [m, F], Σ = rowsᵀ rows
    return mu, np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


# Equation (7) from factors: Tr (Σ_p Σ_q)^½ is the sum of the singular values of R_p R_qᵀ.
def _frechet(mu_p, r_p, mu_q, r_q) -> float:
    root = np.linalg.svd(r_p @ r_q.T, compute_uv=False).sum()
    return float(((mu_p - mu_q) ** 2).sum() + (r_p**2).sum() + (r_q**2).sum() - 2 * root)


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mmd(k_xx, k_xy, k_yy, w, v) -> np.ndarray:
    """[R] unbiased discrepancies of rows counting w [R,M] and v [R,M'] times; no picture meets itself."""
    cross = ((w @ k_xy) * v).sum(1) / (w.sum(1) * v.sum(1))
    return _mean_pair(k_xx, w) + _mean_pair(k_yy, v) - 2 * cross


def _mean_pair(k: np.ndarray, w: np.ndarray) -> np.ndarray:
    pairs = w.sum(1) ** 2 - (w**2).sum(1)
    total = ((w @ k) * w).sum(1) - w**2 @ np.diag(k)
    return np.divide(total, pairs, out=np.full(len(w), np.nan), where=pairs > 0)  # NaN: one picture only


# Equation (8) as one split: log IS = E Σ_y p(y|x) log p(y|x) − Σ_y p(y) log p(y).
def _score_of_weighted(log_probs: np.ndarray, w: np.ndarray) -> np.ndarray:
    p, share = np.exp(log_probs), w / w.sum(1, keepdims=True)  # [M, K], [R, M]
    marginal = share @ p  # [R, K]
    return np.exp(share @ (p * log_probs).sum(1) - (marginal * np.log(marginal)).sum(1))


def _share(right: np.ndarray, among: np.ndarray) -> np.ndarray:
    count = among.sum(1)
    return np.divide((right & among).sum(1), count, out=np.full(len(right), np.nan), where=count > 0)


def _mean_of_defined(shares: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(shares)  # [2, S], of which at least one a sample is defined
    return np.nansum(stacked, 0) / np.isfinite(stacked).sum(0)


# ---------------------------------------------------------------- boundaries: any array => checked float64
def _matrix(x, name: str, at_least: int = 2) -> np.ndarray:
    x = x.detach().double().cpu().numpy() if torch.is_tensor(x) else np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(f"{name}: expected a matrix [rows, width], got shape {x.shape}")
    if len(x) < at_least:
        raise ValueError(f"{name}: expected at least {at_least} rows, got {len(x)}")
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: {(~np.isfinite(x)).any(1).sum()} of {len(x)} rows hold values that are not finite"
        )
    return x


def _pair(real, fake) -> tuple[np.ndarray, np.ndarray]:
    real, fake = _matrix(real, "real"), _matrix(fake, "fake")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real, fake: feature widths must agree, got {real.shape[1]} and {fake.shape[1]}")
    return real, fake


def _unit(x, name: str) -> np.ndarray:
    x = _matrix(x, name, at_least=1)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.all():
        raise ValueError(f"{name}: a zero embedding has no direction")
    return x / length


def _log_probs(x) -> np.ndarray:
    x = _matrix(x, "log_probs")
    if x.shape[1] < 2:
        raise ValueError("log_probs: expected at least 2 classes, got 1")
    if (x >= 0).all() and np.allclose(x.sum(1), 1, atol=1e-4):
        raise ValueError("log_probs: these are probabilities; expected logits or log-probabilities")
    x = x - x.max(1, keepdims=True)
    return np.maximum(x - np.log(np.exp(x).sum(1, keepdims=True)), LOWEST_LOG_PROB)


def _persons(person, rows: np.ndarray, name: str) -> np.ndarray:
    person = np.asarray(person)
    if person.shape != (len(rows),):
        raise ValueError(
            f"{name}: expected one person for each of {len(rows)} rows, got shape {person.shape}"
        )
    return person


def _check_same_people(a_person, b_person) -> None:
    if set(np.asarray(a_person).tolist()) != set(np.asarray(b_person).tolist()):
        raise ValueError("a_person, b_person: the same people were expected; a paired difference is of the same people")


def _with_sets(sample_embeds, sets: Sequence | np.ndarray, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    samples = _matrix(sample_embeds, "sample_embeds", at_least=1)
    if len(sets) != len(samples):
        raise ValueError(f"{name}: expected one matrix for each of {len(samples)} samples, got {len(sets)}")
    return zip(samples, sets, strict=True)


def _paired_weights(real, fake, real_person, fake_person, resamples: int, seed: int):
    """Weights [R,M] and [R,M']: the same draws where both sets show the same people, else apart."""
    real_person = _persons(real_person, real, "real_person")
    fake_person = _persons(fake_person, fake, "fake_person")
    shared = set(real_person.tolist()) == set(fake_person.tolist())
    fake_weights = people_weights(fake_person, resamples, seed)  # [R, M']
    return people_weights(real_person, resamples, seed if shared else [seed, 1]), fake_weights


class _GivenFeatures(torch.nn.Identity):
    """Features that are computed already pass through in torchmetrics' place for a network."""

    def __init__(self, width: int):
        super().__init__()
        self.num_features = width


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torchmetrics permutes with the global generator: seed it, restore it, and hush its note on buffers."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features in buffer.*")
        warnings.filterwarnings("ignore", message=".*degrees of freedom is <= 0.*")
        torch.default_generator.manual_seed(seed)
        yield
