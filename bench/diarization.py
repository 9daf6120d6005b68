"""Diarization error rate: the share of speech that is missed, invented or given to the wrong speaker."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

# When somebody speaks: start and end in seconds, and who. Turns of different speakers may overlap.
Spoken = tuple[float, float, Hashable]


@dataclass(frozen=True)
class DiarizationError:
    """Seconds of speech, each speaker's counted: of the reference, and of each kind of error."""

    reference_s: float
    missed_s: float
    false_alarm_s: float
    confusion_s: float

    @property
    def rate(self) -> float:
        """All errors as a share of the reference; may be above 1. Not a number where the reference is empty."""
        errors_s = self.missed_s + self.false_alarm_s + self.confusion_s
        return errors_s / self.reference_s if self.reference_s else float("nan")

    def __add__(self, other: DiarizationError) -> DiarizationError:
        """Of two recordings together."""
        return DiarizationError(
            self.reference_s + other.reference_s,
            self.missed_s + other.missed_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confusion_s + other.confusion_s,
        )


def diarization_error(
    reference: Sequence[Spoken], hypothesis: Sequence[Spoken], collar_s: float = 0.0
) -> DiarizationError:
    """NIST's diarization error, overlapping speech included, under the mapping of speakers that has the least.

    Within `collar_s` on either side of where a turn of the reference begins or ends, nothing is scored (md-eval's
    collar; half of the one that pyannote.metrics takes).
    """
    edges = {edge for start_s, end_s, _ in reference for edge in (start_s, end_s)} if collar_s else ()
    unscored: list[Spoken] = [(edge - collar_s, edge + collar_s, "") for edge in edges]
    times = np.unique([edge for start_s, end_s, _ in (*reference, *hypothesis, *unscored) for edge in (start_s, end_s)])
    if not len(times):
        return DiarizationError(0.0, 0.0, 0.0, 0.0)
    lengths_s = np.diff(times)
    if unscored:
        lengths_s[_speaking(unscored, times)[0] > 0] = 0.0
    theirs, ours = (_speaking(turns, times) for turns in (reference, hypothesis))
    shared = (theirs * lengths_s) @ ours.T  # seconds that both speak, by pairs
    correct_s = float(shared[linear_sum_assignment(-shared)].sum())
    expected, given = theirs.sum(axis=0), ours.sum(axis=0)
    return DiarizationError(
        reference_s=float(expected @ lengths_s),
        missed_s=float(np.maximum(expected - given, 0) @ lengths_s),
        false_alarm_s=float(np.maximum(given - expected, 0) @ lengths_s),
        confusion_s=max(0.0, float(np.minimum(expected, given) @ lengths_s) - correct_s),  # of rounding
    )


def _speaking(turns: Sequence[Spoken], times: np.ndarray) -> np.ndarray:
    """(speakers, len(times) - 1) of 0 and 1: who speaks between each two times."""
    rows = {who: row for row, who in enumerate(dict.fromkeys(who for _, _, who in turns))}
    found = np.zeros((len(rows), len(times) - 1))
    for start_s, end_s, who in turns:
        found[rows[who], slice(*np.searchsorted(times, [start_s, end_s]))] = 1
    return found
