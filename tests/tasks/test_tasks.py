"""What a task gets from runs: shown with a second one (speech.py), which has nothing but its own few lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest

from pipeline import nightly, planning, registry, run, tasks
from pipeline.flow import metrics
from pipeline.ledger import parts
from pipeline.log import Log
from pipeline.models.checkpoint import Checkpoint
from pipeline.schema import KEYS, PROVENANCE
from pipeline.settings import Engine, Settings
from pipeline.tasks.ask.settings import AskSettings
from pipeline.writer import Writer
from tests.conftest import DEMO, ROOT, SCRIPTED, published, wait_for
from tests.tasks.speech import SpeechSeconds, SpeechSettings

ENGINE = Engine(model="none", family="scripted", device="cpu")


def wanted(folder: Path, **facts: Any) -> SpeechSettings:
    for clip in sorted((DEMO / "held_out").glob("*.ogg"))[:6]:
        if not (folder / "in" / clip.name).exists():
            (folder / "in").mkdir(exist_ok=True)
            (folder / "in" / clip.name).write_bytes(clip.read_bytes())
    return SpeechSettings.model_validate({"input": f"{folder}/in", "output": f"{folder}/out", "engine": ENGINE} | facts)


KINDS = {"transcribe": Settings, "speech": SpeechSettings, "ask": partial(AskSettings, question=("Who?",))}


@pytest.mark.parametrize("name", registry.TASKS)
def test_every_task_has_what_runs_rely_on(name: str) -> None:
    settings = KINDS[name](input="in", output="out", engine=ENGINE)
    task = tasks.load(settings)
    assert task.name == settings.task_name == name
    assert set(task.carrying) <= set(task.tables)
    *_, of_recordings = task.tables.values()
    needed = {*KEYS.names, *(field.name for field in PROVENANCE), "outcome", "duration_s"} - {"channel"}
    assert needed <= set(of_recordings.names)
    facts = task.fingerprint(settings, Checkpoint("m", "scripted", "r", 30.0, "scripted"))
    assert planning.fingerprint(
        task, settings, Checkpoint("elsewhere", "scripted", "r", 30.0, "scripted")
    ) == planning.fingerprint(task, settings, Checkpoint("m", "scripted", "r", 30.0, "scripted"))
    assert facts


def test_a_second_task_is_run_and_done(tmp_path: Path, shared_ray: None) -> None:
    settings, log = wanted(tmp_path), Log()
    (tmp_path / "in" / "empty.wav").touch()
    report = run.execute(planning.plan(settings), log)
    rows = published(settings.output, "speech")
    assert Counter(row["outcome"] for row in rows) == {"ok": 6, "failed": 1}
    assert all(0.5 < row["seconds"] <= row["duration_s"] for row in rows if row["outcome"] == "ok")
    assert report["tables"] == ["speech"]
    assert report["numbers"]["speech_seconds"] == pytest.approx(sum(row["seconds"] or 0.0 for row in rows), abs=0.01)
    assert report["numbers"]["failures"] == {"empty_file": 1}
    again = planning.plan(settings)
    assert again.is_settled and again.why == {"done": 7}
    # Another task over the same recordings and output has its own rows, and its own idea of what is done.
    other = Settings(input=settings.input, output=settings.output, engine=ENGINE)
    assert planning.plan(other).count == 7
    changed = wanted(tmp_path, segmentation={"min_speech_s": 0.5})
    assert planning.plan(changed).why == {"model or settings changed": 7}
    assert nightly.choose(planning.plan(changed), None).plan.count == 7


def answers(plan: planning.Plan) -> pa.Table:
    """One window of a second for each recording to do."""
    recordings = plan.listing.recordings["recording_id"].to_pylist()
    window = {"segment_index": 0, "segment_count": 1, "start_s": 0.0, "end_s": 1.0, "speech_s": 1.0, "overlap_s": 0.0}
    rows = [window | {"recording_id": name, "duration_s": 1.0, "seconds": 1.0} for name in recordings]
    return pa.Table.from_pylist(rows, plan.task.answers)


def test_two_drivers_of_a_run_commit_each_recording_once(tmp_path: Path) -> None:
    settings = wanted(tmp_path, run_id="one")
    plans = [planning.plan(settings) for _ in range(2)]
    for plan in plans:
        plan.output.start(plan.about)
    first, second = map(Writer, plans)
    first.add(answers(plans[0]).slice(0, 2))
    first.flush()
    second.add(answers(plans[1]))
    second.finish()
    done = {"finished_at": "1", "engines": 1, "tables": ["speech"], "numbers": plans[1].tally.facts(1.0)}
    plans[1].output.publish(plans[1].about | done | plans[1].output.files)
    first.add(answers(plans[0]).slice(2, 2))
    first.finish()  # there is nothing left for it
    assert len(plans[1].output.files["speech"]) == 2
    assert max(Counter(row["recording_id"] for row in published(settings.output, "speech")).values()) == 1
    assert planning.plan(settings.model_copy(update={"run_id": None})).is_settled


def test_what_a_stopped_driver_has_committed_is_resumed(tmp_path: Path) -> None:
    settings = wanted(tmp_path)
    stopped = planning.plan(settings)
    stopped.output.start(stopped.about)
    writer = Writer(stopped)
    writer.add(answers(stopped).slice(0, 2))
    writer.flush()
    plan = planning.plan(settings)
    assert plan.resumed and plan.output.run_id == stopped.output.run_id
    assert (plan.count, plan.tally.recordings, plan.tally.facts(1.0)["speech_seconds"]) == (4, 2, 2.0)


def test_metrics_count_what_a_task_has() -> None:
    one = {"recording_id": "a", "segment_index": 0, "start_s": 0.0, "end_s": 4.0, "speech_s": 1.0, "overlap_s": 1.0}
    counted: Counter[str] = Counter()
    with patch.object(metrics, "_add", lambda name, value, **_: counted.update({name: value})):
        metrics.EngineMetrics().count(pa.Table.from_pylist([one], SpeechSeconds.answers))
    assert counted == {"voxtral_window_seconds": 5.0, "voxtral_windows": 1}


@pytest.mark.slow
def test_a_second_task_that_is_killed_is_resumed(tmp_path: Path) -> None:
    settings = wanted(tmp_path)
    command = [sys.executable, "-m", "tests.tasks.speech", "--input", settings.input, "--output", settings.output]
    command += ["--flush-interval-s", "0.1", "--engine.stall-timeout-s", "100", "--engine.max-num-seqs", "4", *SCRIPTED]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    job = subprocess.Popen(command, cwd=ROOT, env=environment)
    wait_for(lambda: list(Path(settings.output).glob("speech/*/*.parquet")))
    job.kill()
    job.wait()
    assert not list(Path(settings.output).glob("runs/*"))
    subprocess.run(command, cwd=ROOT, env=environment, timeout=120, check=True)
    (report,) = parts.reports(settings.output)
    assert report["resumed"] > 0
    rows = published(settings.output, "speech")
    assert len({row["recording_id"] for row in rows}) == len(rows) == 6
