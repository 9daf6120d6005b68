"""How sure an error rate is: bootstrap over recordings (Bisani and Ney, ICASSP 2004), and over a stratified sample
(Rao and Wu, JASA 83, 1988). Counts in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MAX_RESAMPLES, MIN_RESAMPLES = 10_000, 1_000
DRAWS = 50_000_000  # in all: less resamples for more recordings
DRAWS_AT_ONCE = 1_000_000  # 8 MB an array
SEED = 0


@dataclass(frozen=True)
class Rate:
    """Errors per token, its interval of CONFIDENCE, and the resampled rates: NaN where there is too little to say."""

    value: float
    low: float
    high: float
    resampled: np.ndarray


def rate(errors: np.ndarray, tokens: np.ndarray) -> Rate:
    """The rate of a set of recordings, drawn again and again with replacement; (N,) counts of each.

    Recordings are the unit, since the errors within one depend on each other.
    """
    total = tokens.sum()
    value = float(errors.sum() / total) if total else np.nan
    if len(errors) < 2 or not total:
        return Rate(value, np.nan, np.nan, np.empty(0))
    drawn = _resampled((errors, tokens), lambda e, t, axis: e.sum(axis) / np.maximum(t.sum(axis), 1))
    return Rate(value, *_interval(drawn), drawn)


def stratified_rate(errors: np.ndarray, tokens: np.ndarray, weights: np.ndarray, strata: np.ndarray) -> Rate:
    """The rate of a population of which a stratified sample was drawn: for each of it (N,) counts, how many of the
    population it stands for, and its stratum.

    It is the combined ratio estimator, weighted errors by weighted tokens (Cochran, Sampling Techniques, 3rd edition,
    1977, section 6.11). Of each stratum with n in the sample, n - 1 are drawn with replacement, and weigh n / (n - 1)
    as much: of n drawn ones the variance would be too low. A stratum with one in the sample is drawn together with
    others, which makes the interval wider rather than narrower. There is no correction for a sample that is much of
    its population.
    """
    wrong, of = errors * weights, tokens * weights
    value = float(wrong.sum() / of.sum()) if of.sum() else np.nan
    if len(errors) < 2 or not of.sum():
        return Rate(value, np.nan, np.nan, np.empty(0))
    rng = np.random.default_rng(SEED)
    drawn = np.zeros((2, _resamples(len(errors))))
    for group in _groups(strata):
        size, scale = len(group), len(group) / (len(group) - 1)
        at_once = max(1, DRAWS_AT_ONCE // size)
        for begin in range(0, drawn.shape[1], at_once):
            end = min(begin + at_once, drawn.shape[1])
            which = group[rng.integers(size, size=(end - begin, size - 1))]
            drawn[:, begin:end] += scale * np.stack([wrong[which].sum(1), of[which].sum(1)])
    resampled = drawn[0] / np.where(drawn[1] > 0, drawn[1], np.inf)
    return Rate(value, *_interval(resampled), resampled)


def mean(rates: list[Rate]) -> Rate:
    """The mean of independent rates, each counting alike: the macro average over languages. Those that are NaN, since
    they have no tokens, are left out."""
    rates = [rate for rate in rates if not np.isnan(rate.value)]
    value = float(np.mean([rate.value for rate in rates])) if rates else np.nan
    if not rates or any(len(rate.resampled) == 0 for rate in rates):
        return Rate(value, np.nan, np.nan, np.empty(0))
    count = min(len(rate.resampled) for rate in rates)
    rng = np.random.default_rng(SEED)  # rates of equally many recordings were drawn alike
    drawn = np.mean([rng.permutation(rate.resampled)[:count] for rate in rates], axis=0)
    return Rate(value, *_interval(drawn), drawn)


def difference(errors: np.ndarray, baseline_errors: np.ndarray, tokens: np.ndarray) -> tuple[Rate, float]:
    """How much higher the rate is than that of a baseline on the same recordings, and its p-value.

    Both systems are drawn with the same recordings.
    """
    gap = rate(errors - baseline_errors, tokens)
    return gap, p_value(gap)


def p_value(gap: Rate) -> float:
    """Two-sided: how often the resampled difference has the other sign, or none; 1 where nothing was resampled."""
    if not len(gap.resampled):
        return 1.0
    other = min((gap.resampled <= 0).sum(), (gap.resampled >= 0).sum())
    return float(min(1.0, 2 * (other + 1) / (len(gap.resampled) + 1)))


def _resampled(samples: tuple[np.ndarray, ...], statistic: Any) -> np.ndarray:
    size = len(samples[0])
    found = stats.bootstrap(
        tuple(sample.astype(float) for sample in samples),
        statistic,
        n_resamples=_resamples(size),
        batch=max(1, DRAWS_AT_ONCE // size),
        vectorized=True,
        paired=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return found.bootstrap_distribution


def _resamples(size: int) -> int:
    return int(np.clip(DRAWS // size, MIN_RESAMPLES, MAX_RESAMPLES))


def _groups(strata: np.ndarray) -> list[np.ndarray]:
    """Which of a sample of two or more are drawn together: by stratum; those that are alone in theirs with each other,
    or, where there is one such, with the largest."""
    found = [np.flatnonzero(strata == each) for each in np.unique(strata)]
    groups = [group for group in found if len(group) > 1]
    alone = [group for group in found if len(group) == 1]
    if len(alone) == 1:
        groups.sort(key=len)
        alone.append(groups.pop())
    return [*groups, np.concatenate(alone)] if alone else groups


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
