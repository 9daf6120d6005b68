"""What diarization is measured on has exact turns."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from bench.conversations import Clip, conversation, rttm
from bench.speakers import read, speakers
from pipeline.schema import SAMPLE_RATE_HZ


def clip(level: int, length_s: float) -> Clip:
    """A tone of one level between two tenths of silence."""
    quiet = np.zeros(SAMPLE_RATE_HZ // 10, dtype=np.int16)
    tone = np.full(int(length_s * SAMPLE_RATE_HZ), level, dtype=np.int16)
    return Clip(np.concatenate([quiet, tone, quiet]), ((0.1, 0.1 + length_s),))


@pytest.fixture
def voices() -> dict[str, list[Clip]]:
    return {"a": [clip(1000, 2.0), clip(1000, 3.0)], "b": [clip(2000, 2.5)], "c": [clip(4000, 1.5)]}


def test_turns_are_where_the_sound_is(voices: dict[str, list[Clip]]) -> None:
    samples, spoken = conversation(voices, 60.0, 0.0, np.random.default_rng(0))
    levels = {"a": 1000, "b": 2000, "c": 4000}
    expected = np.zeros(len(samples))
    for start_s, end_s, who in spoken:
        expected[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)] = levels[who]
    wrong = np.abs(samples - expected) > 100  # the noise is far below
    assert wrong.mean() < 1e-4
    assert speakers(spoken) == 3
    assert all(before[2] != after[2] for before, after in itertools.pairwise(spoken))


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.2])
def test_so_much_speech_is_under_other_speech(voices: dict[str, list[Clip]], overlap: float) -> None:
    _, spoken = conversation(voices, 300.0, overlap, np.random.default_rng(1))
    both_s = sum(max(0.0, before[1] - after[0]) for before, after in itertools.pairwise(spoken))
    assert both_s / sum(end - start for start, end, _ in spoken) == pytest.approx(overlap, abs=0.03)


def test_a_seed_makes_the_same_conversation(voices: dict[str, list[Clip]], tmp_path: Path) -> None:
    made = [conversation(voices, 30.0, 0.1, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(made[0][0], made[1][0])
    assert made[0][1] == made[1][1]
    (tmp_path / "a.rttm").write_text(rttm("a", made[0][1]), "utf-8")
    assert np.allclose([turn[:2] for turn in read(tmp_path / "a.rttm")], [turn[:2] for turn in made[0][1]], atol=2e-3)
