"""Bootstrap intervals over people: pictures of one person are not independent, so people are resampled.

M scores or pictures, P people, R resamples. Source: B. Efron, R. J. Tibshirani, An Introduction to the
Bootstrap, 1993; for grouped data A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997,
section 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

Interval = tuple[float, float, float]  # estimate, low, high


def bootstrap(
    values,
    groups,
    statistic: Callable[[np.ndarray], float] = np.mean,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate and percentile interval of `statistic(values)` when people are drawn anew with replacement.

    values [M] finite scores, groups [M] the person of each; statistic maps [m] to a number.
    Raises ValueError: lengths that differ, a score that is not finite, fewer than 2 people.
    """
    values, groups = _scores(values, groups)
    weights = people_weights(groups, resamples, seed)  # [R, M]
    if statistic is np.mean:
        draws = weights @ values / weights.sum(1)  # [R]
    else:
        draws = np.array([statistic(np.repeat(values, w)) for w in weights])
    return float(statistic(values)), *_quantiles(draws, level)


def paired(a, b, groups, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean difference a − b of scores of the same samples, with its interval: what an ablation claims.

    a, b, groups [M], row i of all three is the same sample. Raises ValueError as `bootstrap`.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired: a and b must score the same samples, got shapes {a.shape} and {b.shape}")
    return bootstrap(a - b, groups, resamples=resamples, level=level, seed=seed)


def contrast(a: pd.DataFrame, b: pd.DataFrame, metric: str, **settings) -> Interval:
    """`paired` for two cells of the score table: rows are matched by (person, sample), whatever their order.

    a, b have the columns person, sample and `metric`; settings go to `paired`.
    Raises ValueError: a missing column, a repeated sample, or samples that only one of the cells has.
    """
    for cell in (a, b):
        _check_cell(cell, metric)
    both = a.merge(b, on=["person", "sample"], suffixes=("_a", "_b"))
    if not len(a) == len(b) == len(both):
        raise ValueError(
            f"contrast: {len(a)} and {len(b)} samples of which {len(both)} are shared; expected all of them"
        )
    return paired(both[f"{metric}_a"], both[f"{metric}_b"], both["person"], **settings)


# Owen 2007, The pigeonhole bootstrap, https://arxiv.org/abs/0712.1111: seeds and people are crossed, each is drawn anew
def crossed(values, people, seeds, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean of `values` with its percentile interval when people and the seeds of trainings are drawn anew.

    values [M] finite scores or paired differences, people [M], seeds [M]: whose it is, and of which training. What a
    claim about a kind of adapter rests on: it holds for other people and for trainings of another seed. With one seed
    it is `bootstrap`, about this very adapter. Few seeds (2 or 3) say little of how trainings differ: then it is
    narrower than it should be. Raises ValueError as `bootstrap`.
    """
    values, draws = _crossed_draws(values, people, seeds, resamples, seed)
    return float(values.mean()), *_quantiles(draws, level)


def p_value(values, people, seeds, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of a mean of 0, by the draws of `crossed` that lie on the other side of it; at least 2 / (R + 1)."""
    _, draws = _crossed_draws(values, people, seeds, resamples, seed)
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))


# Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70
def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p [K] of a family of K tests: all of them below α are significant at a family-wise error of α."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: expected numbers from 0 to 1, got {p_values}")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _crossed_draws(values, people, seeds, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked values [M] and the mean of each resample [R]."""
    values, people = _scores(values, people)
    runs, row_run = np.unique(np.asarray(seeds), return_inverse=True)
    if row_run.shape != values.shape:
        raise ValueError(f"seeds: expected one for each of {len(values)} scores, got shape {row_run.shape}")
    weights = people_weights(people, resamples, seed)  # [R, M]
    if len(runs) > 1:
        share = np.full(len(runs), 1 / len(runs))
        weights = weights * np.random.default_rng([seed, 1]).multinomial(len(runs), share, resamples)[:, row_run]
    count = weights.sum(1)
    return values, (weights @ values)[count > 0] / count[count > 0]


def people_weights(groups, resamples: int, seed: int | Sequence[int] = 0) -> np.ndarray:
    """Number of times that each row counts in each resample, int64 [R, M]; all rows of one person count alike.

    A function of (the sorted people, resamples, seed): two sets of the same people get the same draws.
    Raises ValueError: fewer than 2 people (one person says nothing about the next), resamples < 1.
    """
    people, row_person = np.unique(np.asarray(groups), return_inverse=True)  # [P], [M]
    if len(people) < 2:
        raise ValueError(f"groups: an interval over people needs at least 2 people, got {len(people)}")
    if resamples < 1:
        raise ValueError(f"resamples: expected at least 1, got {resamples}")
    share = np.full(len(people), 1 / len(people))
    drawn = np.random.default_rng(seed).multinomial(len(people), share, size=resamples)  # [R, P]
    return drawn[:, row_person]  # [R, M]


def recentred(estimate: float, draws, level: float = 0.95) -> tuple[float, float]:
    """(low, high) of a statistic biased at finite counts, such as FID: the draws' spread about it.

    A resample repeats pictures, so its bias is larger than that of the set itself, and plain percentiles
    would lie above the estimate. Moved to a mean equal to the estimate they cover the expected value *at this
    count*; the bias of the count itself stays in, alike in every set of the same count. Undefined draws (NaN)
    are left out. Raises ValueError: no draw is defined, a level outside (0, 1).
    """
    draws = np.asarray(draws, dtype=float)
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        raise ValueError("draws: not one resample gave a value; more people or pictures are needed")
    return _quantiles(draws - draws.mean() + estimate, level)


def _quantiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _scores(values, groups) -> tuple[np.ndarray, np.ndarray]:
    values, groups = np.asarray(values, dtype=float), np.asarray(groups)
    if values.ndim != 1 or values.shape != groups.shape:
        raise ValueError(
            f"values, groups: expected one person a score, got shapes {values.shape} and {groups.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"values: {(~np.isfinite(values)).sum()} of {len(values)} scores are not finite")
    return values, groups


def _check_cell(cell: pd.DataFrame, metric: str) -> None:
    missing = {"person", "sample", metric} - set(cell.columns)
    if missing:
        raise ValueError(f"contrast: the score table lacks the column {min(missing)}")
    if cell.duplicated(["person", "sample"]).any():
        raise ValueError("contrast: a (person, sample) occurs twice; expected the rows of one cell")
