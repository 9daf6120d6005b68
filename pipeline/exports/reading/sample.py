"""A stratified sample of segments for people to review, so that their corrections say how good all texts are.

Strata are the languages, each with and without a flag. Within a stratum every set of so many segments is drawn with the
same probability: each segment has a random number, a hash of what it is, and the smallest are taken. So the same tables
give the same sample, and of each stratum no more than the sample's size is in memory.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.exports.reading.page import SegmentKey

UNKNOWN = "unknown"  # language, as scoring.tables has it
# Of a stratum, where half of the sample is enough for that; two are what an interval needs.
MIN_OF_STRATUM, LEAST_OF_STRATUM = 10, 2
SEED = 0

Row = dict[str, Any]
Stratum = tuple[str, bool]  # language, and whether it is flagged or failed
Ranked = tuple[int, str, str, str, SegmentKey]  # the random number, negated; name of the files, run_id, recording_id


class Sample:
    """The segments that are drawn: `size` says of how many how many."""

    def __init__(self, recordings: Iterable[Row], name: Callable[[Row], str], size: int) -> None:
        """Draw `size` segments, or all, of rows of the transcripts about whole recordings. `name` gives the path of a
        recording's files without extension.

        Raises:
            ConfigurationError: there are too many strata for so few segments, or no segments.
        """
        counts = Counter[Stratum]()
        smallest: dict[Stratum, list[Ranked]] = defaultdict(list)
        for row in recordings:
            for segment in row["segments"] or []:
                key = (segment["channel"], segment["segment_index"])
                stratum = (segment["language"] or UNKNOWN, bool(segment["flags"] or segment["failure_code"]))
                counts[stratum] += 1
                rank, heap = -_random(row["recording_id"], key), smallest[stratum]
                if len(heap) < size or rank > heap[0][0]:
                    entry = (rank, name(row), str(row["run_id"]), row["recording_id"], key)
                    (heapq.heappush if len(heap) < size else heapq.heapreplace)(heap, entry)
        self._counts, self._drawn = counts, allocate(counts, size)
        self._segments: dict[tuple[str, str], dict[SegmentKey, Stratum]] = defaultdict(dict)
        names = set[str]()
        for stratum, heap in smallest.items():
            for _, path, run_id, recording_id, key in heapq.nlargest(self._drawn[stratum], heap):
                self._segments[run_id, recording_id][key] = stratum
                names.add(path)
        self._names = sorted(names)
        told = repr(
            (sorted(counts.items()), sorted((each, sorted(of, key=repr)) for each, of in self._segments.items()))
        )
        sample_id = hashlib.sha256(told.encode()).hexdigest()[:12]
        self.size = {"sample_id": sample_id, "drawn": sum(self._drawn.values()), "segments": counts.total()}

    def of(self, row: Row) -> Mapping[SegmentKey, Row]:
        """Of the segments of a recording that are drawn, what a correction says of the sample."""
        found = self._segments.get((str(row["run_id"]), row["recording_id"]), {})
        return {key: self.size | self._facts(stratum) for key, stratum in found.items()}

    def beside(self, name: str) -> tuple[str | None, str | None]:
        """The names before and after one, of recordings with segments that are drawn."""
        before, after = bisect_left(self._names, name) - 1, bisect_right(self._names, name)
        return (
            self._names[before] if before >= 0 else None,
            self._names[after] if after < len(self._names) else None,
        )

    def facts(self) -> dict[str, Any]:
        """All of it as JSON: strata, and segments with their weights."""
        segments = [
            {"run_id": run_id, "recording_id": recording_id, "channel": channel, "segment_index": index}
            | {name: value for name, value in self._facts(stratum).items() if name in ("stratum", "weight")}
            for (run_id, recording_id), drawn in sorted(self._segments.items())
            for (channel, index), stratum in sorted(drawn.items(), key=lambda item: repr(item[0]))
        ]
        return self.size | {"strata": [self._facts(stratum) for stratum in sorted(self._counts)], "of": segments}

    def _facts(self, stratum: Stratum) -> dict[str, Any]:
        language, is_flagged = stratum
        segments, drawn = self._counts[stratum], self._drawn[stratum]
        return {
            "stratum": f"{language}, {'flagged' if is_flagged else 'not flagged'}",
            "stratum_drawn": drawn,
            "stratum_segments": segments,
            "weight": segments / drawn,
        }


def allocate(counts: Mapping[Stratum, int], size: int) -> dict[Stratum, int]:
    """How many of the segments of each stratum to draw: in proportion, by the method of Webster, but MIN_OF_STRATUM at
    least, or as many as half of the sample is enough for, or LEAST_OF_STRATUM; and no more than there are.

    Raises:
        ConfigurationError: there are not LEAST_OF_STRATUM for each, or no segments.
    """
    if not counts:
        raise ConfigurationError("--sample-for-review: the transcripts have no segments")
    total = min(size, sum(counts.values()))
    least = min(MIN_OF_STRATUM, max(LEAST_OF_STRATUM, size // (2 * len(counts))))
    if size < min(sum(counts.values()), LEAST_OF_STRATUM * len(counts)):
        raise ConfigurationError(
            f"--sample-for-review {size}: there are {len(counts)} strata (languages, each with and without flags), and"
            f" each needs {LEAST_OF_STRATUM} segments: ask for {LEAST_OF_STRATUM * len(counts)} or more"
        )
    drawn = {stratum: min(count, least) for stratum, count in counts.items()}
    waiting = [(-count / (drawn[each] + 0.5), each) for each, count in counts.items() if drawn[each] < count]
    heapq.heapify(waiting)
    for _ in range(total - sum(drawn.values())):
        _, stratum = heapq.heappop(waiting)
        drawn[stratum] += 1
        if drawn[stratum] < counts[stratum]:
            heapq.heappush(waiting, (-counts[stratum] / (drawn[stratum] + 0.5), stratum))
    return drawn


def _random(recording_id: str, key: SegmentKey) -> int:
    told = repr((SEED, recording_id, key)).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest())
