from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import estimate, store
from pipeline.audio import fetch
from pipeline.estimate import Estimate, Speed
from pipeline.settings import Audio
from pipeline.sources import groups, listing
from tests.conftest import tone, write_wav

ABOUT = {"model": "m", "model_revision": "1"}


def report(run_id: str, speed: float, wall_s: float = 100.0, engines: int = 1, **numbers: Any) -> dict[str, Any]:
    facts = {"speed": speed, "wall_s": wall_s, "slot_fill": 0.8, "retried": 5, "segments": 100} | numbers
    return {
        "run_id": run_id,
        "model": "m",
        "model_revision": "1",
        "engines": engines,
        "first_rows_s": 30.0,
        "numbers": facts,
    }


def test_the_last_long_run_of_the_model_counts() -> None:
    runs = [report("a", 50.0), report("b", 200.0, engines=4), report("short", 1.0, wall_s=20.0)]
    found = estimate.measured(runs, ABOUT)
    assert found and found.report and (found.value, found.report["run_id"]) == (50.0, "b")
    assert estimate.measured(runs, {"model": "other", "model_revision": "2"}) is None


def test_another_revision_counts_until_this_one_has_run() -> None:
    runs = [report("old", 50.0), report("new", 80.0) | {"model_revision": "2"}, report("old again", 60.0)]
    for model, revision, expected in (("m", "2", "new"), ("m", "3", "old again"), ("/moved/here", "2", "new")):
        found = estimate.measured(runs, {"model": model, "model_revision": revision})
        assert found and found.report and found.report["run_id"] == expected


def test_a_run_that_computed_alike_counts_before_others() -> None:
    def on(device: str, beams: int = 1) -> dict[str, Any]:
        return {"runtime": "vllm", "settings": {"engine": {"device": device, "beams": beams}}}

    runs = [report("gpu", 500.0) | on("gpu"), report("slow", 2.0) | on("gpu", 5), report("laptop", 9.0) | on("cpu")]
    for kind, expected in ((on("gpu"), "gpu"), (on("gpu", 5), "slow"), (on("cpu"), "laptop"), ({}, "laptop")):
        found = estimate.measured(runs, ABOUT | kind)
        assert found and found.report and found.report["run_id"] == expected


def test_engines_count_for_as_long_as_they_served() -> None:
    """Four were asked for, and machines came for less: 200 engine seconds in all, for 100 s of 50 times real time."""
    elastic = report("a", 50.0, engines=4) | {"engine_s": 200.0, "engine_start_s": 20.0}
    found = estimate.measured([elastic], ABOUT)
    assert found and (found.value, found.start_s) == (25.0, 20.0)
    planned = Estimate(audio_s=25.0 * 3600, speed=found, engines=2, price_per_engine_hour=None)
    assert planned.engine_hours == pytest.approx(1 + 2 * 20 / 3600)
    assert planned.wall_hours == pytest.approx(0.5 + 20 / 3600), "started once, however much there is to do"


def test_the_mean_speed_is_of_all_the_audio_and_all_the_time() -> None:
    runs = [report("a", 50.0) | {"engine_s": 50.0}, report("b", 10.0, engines=2), report("nothing", 0.0)]
    assert estimate.mean_speed(runs[:1]) == 100.0
    assert estimate.mean_speed(runs[:2]) == (5_000 + 1_000) / (50 + 200)
    assert estimate.mean_speed(runs[2:]) is None and estimate.mean_speed([]) is None


def bucket(prefix: str, *files: Path) -> pa.Table:
    """RECORDING rows of files that are put into a bucket."""
    for path in files:
        store.replace(f"{prefix}/{path.name}", path.read_bytes())
    return listing.read(prefix, "elsewhere").recordings


def test_transcripts_have_their_length() -> None:
    recordings = pa.table({"uri": ["a", "b"], "failure_code": pa.nulls(2, pa.string()), "duration_s": [60.0, None]})
    assert estimate.seconds_each(recordings, Audio()).tolist() == [60.0, 0.0]


def test_large_objects_are_estimated_by_their_ends(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object is larger than what is fetched of it."""
    monkeypatch.setattr(fetch, "END_BYTES", 16_384)
    wav = write_wav(tmp_path / "a.wav", tone(60.0))
    flac, m4a, mp3 = tmp_path / "b.flac", tmp_path / "c.m4a", tmp_path / "d.mp3"
    for path in (flac, m4a, mp3):  # an m4a has its index at the end
        subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-b:a", "64k", path], check=True)
    recordings = bucket(f"s3://test/{tmp_path.name}", wav, flac, m4a, mp3)
    assert estimate.seconds_each(recordings, Audio()) == pytest.approx([60.0] * 4, rel=0.02)


def test_what_no_container_states_is_estimated_by_its_size(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "END_BYTES", 10)
    (tmp_path / "x.bin").write_bytes(b"\x00" * 80_000)
    recordings = bucket(f"s3://test/{tmp_path.name}", tmp_path / "x.bin")
    assert estimate.seconds_each(recordings, Audio()).tolist() == [10.0], "never nothing: a budget would admit all"


def test_hours_and_price() -> None:
    found = Estimate(audio_s=3_600_000.0, speed=Speed(100.0), engines=4, price_per_engine_hour=8.0)
    assert (found.engine_hours, found.wall_hours, found.price) == (10.0, 2.5, 80.0)


def test_what_the_time_was_spent_on_is_told_by_size() -> None:
    (padding,) = Speed(50.0, report("a", 50.0)).spent
    assert padding.startswith("20% of the audio computed was padding and second attempts (5% of the windows")
    assert "--segmentation.max-pause-s" in padding
    assert Speed(50.0).spent == []


@pytest.mark.parametrize("numbers", [{"slot_fill": None, "retried": 0, "segments": 0}, {"wall_s": 0.0}])
def test_a_run_without_windows_tells_nothing_of_them(numbers: dict[str, Any]) -> None:
    assert len(Speed(50.0, report("a", 50.0, **numbers)).spent) <= 2


def test_a_group_is_as_long_as_its_recordings(tmp_path: Path) -> None:
    lines = []
    for at, (group, seconds) in enumerate([("a", 2.0), (None, 3.0), ("a", 4.0), ("b", 1.0)]):
        write_wav(tmp_path / f"{at}.wav", tone(seconds))
        lines.append({"path": f"{tmp_path}/{at}.wav", "group_id": group})
    lines.append({"path": f"{tmp_path}/2.wav", "group_id": "b", "start_s": 0.5, "end_s": 2.0})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = groups.collapse(listing.read(f"{tmp_path}/list.jsonl", "out"), 5)
    assert estimate.seconds_each(found.recordings, Audio()) == pytest.approx([6.0, 3.0, 2.5])


def test_nothing_is_looked_into_once_nobody_waits(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(2.0))
    found = listing.read(str(tmp_path), "out").recordings
    size = (tmp_path / "a.wav").stat().st_size
    expected = size / estimate.USUAL_BYTES_PER_S
    assert estimate.seconds_each(found, Audio(), lambda: False) == pytest.approx([expected])
