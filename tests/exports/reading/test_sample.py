from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import export
from pipeline.errors import ConfigurationError
from pipeline.exports.reading import sample
from pipeline.exports.reading.sample import LEAST_OF_STRATUM, MIN_OF_STRATUM, Sample, allocate
from pipeline.scoring import bootstrap
from tests.exports.reading.rows import segment, transcript, write_transcripts

Row = dict[str, Any]
STRATA = st.dictionaries(st.tuples(st.sampled_from("abcdef"), st.booleans()), st.integers(1, 500), min_size=1)


@settings(max_examples=200, deadline=None)
@given(STRATA, st.integers(2, 3_000))
def test_sizes_are_proportional_above_a_minimum(counts: dict[tuple[str, bool], int], size: int) -> None:
    total = sum(counts.values())
    if size < min(total, LEAST_OF_STRATUM * len(counts)):
        with pytest.raises(ConfigurationError, match=f"ask for {LEAST_OF_STRATUM * len(counts)} or more"):
            allocate(counts, size)
        return
    drawn = allocate(counts, size)
    assert sum(drawn.values()) == min(size, total)
    least = min(MIN_OF_STRATUM, max(LEAST_OF_STRATUM, size // (2 * len(counts))))
    for stratum, count in counts.items():
        assert min(count, least) <= drawn[stratum] <= count
    above = [stratum for stratum, count in drawn.items() if least < count < counts[stratum]]
    for one in above:  # neither could give one to the other and be nearer to its share
        for other in above:
            assert drawn[one] - 0.5 <= (drawn[other] + 0.5) * counts[one] / counts[other] + 1e-9


def population(rng: np.random.Generator) -> tuple[list[Row], dict[tuple[str, int], tuple[int, int]]]:
    """Recordings of 20 segments, and errors and tokens of each; flagged ones are few and much worse."""
    rows: list[Row] = []
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for at in range(60):
        segments = []
        for index in range(20):
            is_flagged = bool(rng.random() < 0.08)
            tokens = int(rng.integers(3, 25))
            counts[str(at), index] = int(rng.binomial(tokens, 0.6 if is_flagged else 0.05)), tokens
            segments.append(segment(index, index, index + 1.0, "a", flags=["repetition"] if is_flagged else []))
        rows.append(transcript(str(at), segments))
    return rows, counts


def drawn(found: Sample, rows: list[Row]) -> Iterator[tuple[tuple[str, int], Row]]:
    for row in rows:
        for (_, index), facts in found.of(row).items():
            yield (row["recording_id"], index), facts


def test_the_weighted_rate_is_unbiased_and_its_interval_holds_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, counts = population(np.random.default_rng(0))
    everything = np.array(list(counts.values()))
    truth = everything[:, 0].sum() / everything[:, 1].sum()
    monkeypatch.setattr(bootstrap, "MAX_RESAMPLES", 1_000)
    rates, plain, inside = [], [], 0
    for seed in range(100):
        monkeypatch.setattr(sample, "SEED", seed)
        taken = list(drawn(Sample(rows, lambda row: row["uri"], 80), rows))
        assert len(taken) == 80
        errors, tokens = np.array([counts[key] for key, _ in taken]).T
        weights, strata = (np.array([facts[name] for _, facts in taken]) for name in ("weight", "stratum"))
        assert weights.sum() == pytest.approx(len(counts))
        found = bootstrap.stratified_rate(errors, tokens, weights, strata)
        rates.append(found.value)
        plain.append(errors.sum() / tokens.sum())
        inside += found.low <= truth <= found.high
    error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - truth) < 3 * error
    assert abs(np.mean(plain) - truth) > 10 * error, "without weights, the flagged ones count too much"
    assert 88 <= inside <= 100


def test_the_same_tables_have_the_same_sample() -> None:
    rows, _ = population(np.random.default_rng(1))
    one, again = (Sample(each, lambda row: row["uri"], 50) for each in (rows, rows[::-1]))
    assert one.facts() == again.facts()
    assert one.facts() != Sample(rows, lambda row: row["uri"], 51).facts()
    names = sorted({key for (key, _), _ in drawn(one, rows)})
    assert [one.beside(name) for name in names] == list(zip([None, *names[:-1]], [*names[1:], None], strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--formats", "txt", "--sample-for-review", "9"], "--sample-for-review 9: only pages use this.* add html to"),
        (["--formats", "html", "--sample-for-review", "3"], "there are 2 strata .* ask for 4 or more"),
        (["--formats", "html", "--sample-for-review", "1"], "must be at least 2"),
    ],
)
def test_what_cannot_be_drawn(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segments = [segment(at, at, at + 1.0, "a", language="en" if at % 2 else "de") for at in range(8)]
    write_transcripts(tmp_path / "out", [transcript("/in/a.wav", segments)], "/in")
    assert export.main(["--input", str(tmp_path / "out"), "--output", str(tmp_path / "pages"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error), error
