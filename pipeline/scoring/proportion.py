"""How sure a share is, and how two of the same recordings differ. Counts in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats

from pipeline.scoring.bootstrap import CONFIDENCE


@dataclass(frozen=True)
class Share:
    """A share, and its interval of CONFIDENCE."""

    value: float
    low: float
    high: float


def share(right: int, count: int) -> Share:
    """The share of `count`, at least 1, with the score interval of Wilson (JASA 22, 1927, 209-212): unlike a bootstrap
    it has a width where all are right, or none."""
    interval = stats.binomtest(right, count).proportion_ci(CONFIDENCE, "wilson")
    return Share(right / count, float(interval.low), float(interval.high))


def p_value(worse: int, better: int) -> float:
    """Of the difference of two shares of the same recordings, two-sided, by McNemar's exact test (Psychometrika 12,
    1947, 153-157): `worse` are right only in the first, `better` only in the second; 1 where there are neither."""
    if not worse + better:
        return 1.0
    return float(stats.binomtest(worse, worse + better, 0.5).pvalue)
