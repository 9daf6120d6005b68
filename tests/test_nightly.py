from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jobs import nightly as job
from pipeline import nightly, planning
from pipeline.errors import ConfigurationError
from pipeline.ledger.lease import LEASE
from pipeline.nightly import Nightly
from tests.conftest import DEMO, SCRIPTED, published, tone, write_wav

DAY_S = 86_400.0
NOW = time.time()


def aged(path: Path, days: float) -> Path:
    os.utime(path, (NOW - days * DAY_S, NOW - days * DAY_S))
    return path


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Six recordings of 10 s, from 0 to 5 days old."""
    for days in range(6):
        aged(write_wav(tmp_path / "in" / f"{days} days.wav", tone(10.0)), days)
    return tmp_path


def wanted(bucket: Path, **settings: object) -> Nightly:
    engine = {"family": "scripted", "model": "none"}
    return Nightly.model_validate(
        {"input": str(bucket / "in"), "output": str(bucket / "out"), "engine": engine} | settings
    )


def names(night: nightly.Night) -> list[str]:
    return [Path(str(uri)).name for uri in night.plan.listing.recordings["uri"].to_pylist()]


def test_the_newest_come_first_within_the_budget(bucket: Path) -> None:
    plan = planning.plan(wanted(bucket, engine_speed=10.0, price_per_engine_hour=36.0))
    all_of_it = nightly.choose(plan, None)
    assert names(all_of_it) == [f"{days} days.wav" for days in range(6)]
    assert all_of_it.waiting == 0 and all_of_it.plan.count == 6
    assert names(nightly.choose(plan, 0.1 / 3600)) == ["0 days.wav"], "one at least"
    night = nightly.choose(plan, 3.5 / 3600)  # engine hours: 35 s of audio at ten times real time
    assert names(night) == ["0 days.wav", "1 days.wav", "2 days.wav"]
    assert (night.waiting, night.waiting_audio_s) == (3, pytest.approx(30.0, abs=0.1))
    assert night.estimate and night.estimate.engine_hours == pytest.approx(3.0 / 3600, rel=0.01)
    assert night.estimate.price == pytest.approx(0.03, rel=0.01)
    assert night.plan.about["night"] == {"to_do": 6, "chosen": 3}


def test_a_budget_needs_a_speed(bucket: Path) -> None:
    plan = planning.plan(wanted(bucket))
    with pytest.raises(ConfigurationError, match="--engine-speed says it"):
        nightly.choose(plan, 1.0)
    assert nightly.choose(plan, None).estimate is None


@pytest.mark.slow
def test_three_nights(shared_ray: None, bucket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ray, ffmpeg and storage are real; each night does what it needs and nothing else."""
    for days, clip in enumerate(sorted((DEMO / "held_out").glob("*.ogg"))[:4]):
        copy = bucket / "speech" / f"{days}.ogg"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(clip.read_bytes())
        aged(copy, days)
    (bucket / "speech" / "broken.wav").write_bytes(b"not a recording")
    aged(bucket / "speech" / "broken.wav", 9)
    arguments = ["--input", str(bucket / "speech"), "--output", str(bucket / "out"), *SCRIPTED]

    assert job.main(arguments) == 0
    assert len(published(str(bucket / "out"), "transcripts")) == 5

    assert job.main([*arguments, "--dry-run", "--price-per-engine-hour", "5"]) == 0
    said = capsys.readouterr().err
    assert "5 done already, 0 to do" in said and "nothing to do" in said
    assert "price 0.00 (an engine does" in said, "the first night's speed is known now"

    # One is new, one changed; a budget leaves the older of them for the next night.
    new = bucket / "speech" / "new.ogg"
    new.write_bytes((bucket / "speech/0.ogg").read_bytes())
    (bucket / "speech/1.ogg").write_bytes((bucket / "speech/2.ogg").read_bytes())
    aged(bucket / "speech/1.ogg", 1)
    assert job.main([*arguments, "--engine-speed", "1", "--max-engine-hours", "0.001"]) == 0
    said = capsys.readouterr().err
    assert "1 new" in said and "1 content changed" in said
    assert "1 recordings" in said and "wait for the next night" in said
    rows = published(str(bucket / "out"), "transcripts")
    assert [Path(row["uri"]).name for row in rows[5:]] == ["new.ogg"]

    # Other settings: all of it again, but for what the night before did with them. And no lease is left.
    assert job.main([*arguments, "--guards.min-chars-per-s", "7"]) == 0
    assert "5 model or settings changed" in capsys.readouterr().err
    assert len(published(str(bucket / "out"), "transcripts")) == 5 + 1 + 6
    assert not (bucket / "out" / LEASE).exists()
