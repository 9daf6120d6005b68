"""Jobs are killed at random, and started again until they are done: a short one of `python -m bench.chaos`, and what it
checks. And the real engine is killed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from bench.chaos import checks
from bench.chaos.__main__ import HURRIED, check, fill, scene, undisturbed
from bench.chaos.monkey import Diary
from demo.run import ENGINE as DEMO_ENGINE
from pipeline import store
from pipeline.ledger.parts import Output, parquet
from tests.conftest import DEMO, ROOT, SCRIPTED, JobRun, published, wait_for

RECORDINGS, KILLS = 24, 3
TEXTS = {f"{name}.wav": [f"text of {name}"] for name in "abc"}


def test_a_killed_job_goes_on_where_it_stopped(no_ray: None, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("delay=0.2")
    diary = Diary(None)
    with scene(["driver", "engine", "decoder"], random.Random(7), diary) as monkey:
        place, output = fill("s3://chaos", RECORDINGS), "s3://chaos/out"
        command = ["--input", place, "--output", output, *HURRIED, *SCRIPTED[:3], str(tmp_path / "script")]
        starts = monkey.run([("transcribe", command)], ["driver", "engine", "decoder"], KILLS)
        assert diary.kills.total() == KILLS
        assert starts == 1 + diary.kills["driver"]
        calm = undisturbed("transcribe", ["--input", place, "--engine.device", "cpu", *SCRIPTED], "s3://chaos/calm")
        check(monkey, output, RECORDINGS, calm)
    assert diary.findings == []


def rows(*names: str) -> pa.Table:
    """Of recordings that are done."""
    return pa.table(
        {
            "recording_id": list(names),
            "place": [f"{name}.wav" for name in names],
            "uri": [f"{name}.wav" for name in names],
            "outcome": ["ok"] * len(names),
            "failure_code": pa.nulls(len(names), pa.string()),
            "text": [f"text of {name}" for name in names],
        }
    )


def written(place: str, *parts: pa.Table) -> None:
    """A run with these parts, published."""
    output = Output(place, "run", ["segments", "transcripts"])
    store.create(output.started_uri, b'{"run_id": "run", "started_at": "2026-11-26T20:00:00+00:00"}')
    for part in parts:
        output.write({"segments": part, "transcripts": part})
    facts = {"run_id": "run", "task": "transcribe", "finished_at": "2026-11-26T21:00:00+00:00"}
    count = sum(len(part) for part in parts)
    output.publish(facts | {"tables": list(output.files), "numbers": {"recordings": count}, **output.files})


def found(place: str, count: int = 3) -> str:
    return "; ".join([*checks.published(place, count, TEXTS), *checks.committed(place), *checks.tidied(place)])


def test_what_is_lost_doubled_or_left_is_found(tmp_path: Path) -> None:
    written(str(tmp_path / "right"), rows("a"), rows("b", "c"))
    assert found(str(tmp_path / "right")) == ""
    written(str(tmp_path / "lost"), rows("a", "b"))
    assert "2 recordings are published, of 3" in found(str(tmp_path / "lost"))
    written(str(tmp_path / "doubled"), rows("a", "b"), rows("b", "c"))
    assert "publishes 1 recordings more than once" in found(str(tmp_path / "doubled"))
    assert "1 recordings were committed more than once" in found(str(tmp_path / "doubled"))
    other = rows("a", "b", "c").set_column(5, "text", [["text of a", "text of b", "other"]])
    written(str(tmp_path / "other"), other)
    assert "1 texts differ, such as c.wav" in found(str(tmp_path / "other"))
    written(str(tmp_path / "half"), rows("a", "b", "c"))
    torn = tmp_path / "half/transcripts/run_id=other/part-000000.parquet"
    torn.parent.mkdir()
    torn.write_bytes(parquet(rows("a"))[:-9])
    assert "is half-written" in found(str(tmp_path / "half"))


def vllm_processes() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["name"]) if (process.info["name"] or "").startswith("VLLM")]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("victim", ["engine", "driver"])
def test_the_real_engine_is_killed(victim: str, demo_run: JobRun, tmp_path: Path) -> None:
    for number in range(6):
        for clip in (DEMO / "held_out").glob("*.ogg"):
            (tmp_path / "in").mkdir(exist_ok=True)
            (tmp_path / "in" / f"{number} {clip.name}").write_bytes(clip.read_bytes())
    output = tmp_path / "out"
    command = [sys.executable, "-m", "jobs.transcribe", "--input", str(tmp_path / "in"), "--output", str(output)]
    command += ["--flush-interval-s", "0.2", *DEMO_ENGINE, "--engine.max-num-seqs", "4"]
    job = subprocess.Popen(command, cwd=ROOT)
    wait_for(lambda: list(output.glob("transcripts/*/*.parquet")), 300)
    if victim == "engine":
        next(process for process in vllm_processes() if "EngineCore" in process.name()).kill()
    else:
        job.kill()
        job.wait()
        wait_for(lambda: not vllm_processes(), 30)
        assert not (output / "runs").exists()
        job = subprocess.Popen(command, cwd=ROOT)
    assert job.wait(timeout=600) == 0
    known = {Path(row["uri"]).name: row["text"] for row in demo_run.transcripts if "/held_out/" in row["uri"]}
    rows = published(str(output), "transcripts")
    assert len({row["recording_id"] for row in rows}) == len(rows) == 6 * len(known)
    differing = [row for row in rows if row["text"] != known[Path(row["uri"]).name.split(" ", 1)[1]]]
    # Sums in another order may tip a draw between two words; nothing else may differ.
    assert len(differing) <= len(rows) // 50, differing
