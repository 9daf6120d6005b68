"""The whole corridor with a scripted engine: Ray, ffmpeg and storage are real, the words are not."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from jobs import transcribe
from pipeline import planning, run, store
from pipeline.flow import stream
from pipeline.ledger.parts import reports
from pipeline.log import Log
from pipeline.settings import Settings
from tests.conftest import CANARY, DEMO, SCRIPTED, published, run_job, start_ray

ENGINE = {"family": "scripted", "model": "none"}


def test_a_manifest_is_carried_through(shared_ray: None, tmp_path: Path) -> None:
    clips = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()][::20]
    entries = [
        {
            "path": str(DEMO / "held_out" / clip["path"]),
            "language": clip["language"],
            "speaker": at,
            "token_count": "few",
            "tags": ["a", "b"],
        }
        for at, clip in enumerate(clips)
    ]
    entries += [{"path": "missing.wav", "speaker": 99}, {"uri": 5}]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(entry) for entry in entries))
    done = run_job(["--input", str(tmp_path / "list.jsonl"), *SCRIPTED], str(tmp_path / "out"))
    assert Counter(row["outcome"] for row in done.transcripts) == {"ok": len(clips), "failed": 2}
    by_speaker = {row["speaker"]: row for row in done.transcripts}
    assert by_speaker[0]["tags"] == ["a", "b"]
    assert by_speaker[0]["language_source"] == "declared"
    assert by_speaker[99]["failure_code"] == "not_found"
    assert by_speaker[99]["text"] is None
    assert {row["recording_id"] for row in done.segments} == {row["recording_id"] for row in done.transcripts}


@pytest.mark.slow
@pytest.mark.parametrize(
    "elastic",
    [
        [],
        # The third has no place, and is not waited for.
        pytest.param(["--engine.count", "3", "--engine.elastic"], marks=pytest.mark.slow),
    ],
)
def test_each_engine_owns_one_pair_of_gpus(
    elastic: list[str], no_ray: None, tmp_path: Path, scripted: Callable[[str], list[str]]
) -> None:
    start_ray(num_cpus=9, num_gpus=4)  # logical ones: there are none
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "24", "--audio.workers", "1", *elastic]
    arguments += ["--engine.max-num-seqs", "4", *scripted("gpus,slots=1,delay=0.7")]  # time for both to start
    done = run_job(arguments, str(tmp_path / "out"))
    owners: dict[str, set[str]] = {}
    for row in done.segments:
        process, gpus, *_ = row["text"].split()
        owners.setdefault(process, set()).add(gpus)
    assert len(owners) == 2, "four GPUs hold two engines"
    assert all(len(gpus) == 1 for gpus in owners.values())
    pairs = [set(next(iter(gpus)).split(",")) for gpus in owners.values()]
    assert sorted(len(pair) for pair in pairs) == [2, 2]
    assert not pairs[0] & pairs[1]


def test_failures_past_the_limit_set_the_exit_status(
    shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(DEMO / "recordings/odd"), "--output", str(tmp_path / "out"), *SCRIPTED]
    assert transcribe.main([*arguments, "--max-failed-share", "0.5"]) == 1
    assert "--max-failed-share 0.5 is reached" in capsys.readouterr().err
    # Published all the same: the rows say what failed.
    assert Counter(row["outcome"] for row in published(str(tmp_path / "out"), "transcripts")) == {
        "ok": 1,
        "failed": 2,
        "partial": 1,
    }
    # The same command again: nothing to do.
    assert transcribe.main([*arguments, "--max-failed-share", "0.5"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_an_engine_that_does_not_start_ends_the_job_in_one_line(
    shared_ray: None,
    tmp_path: Path,
    scripted: Callable[[str], list[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "3", "--output", str(tmp_path / "out")]
    assert transcribe.main([*arguments, *scripted("broken")]) == 1
    error = capfd.readouterr().err
    assert f"error: an engine or a worker broke down: JobError: {tmp_path}/script did not start" in error
    assert "(on 1" in error, "the machine is named"
    assert "the script says: broken" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_an_engine_that_does_not_start_leaves_its_work_to_the_others(
    shared_ray: None,
    tmp_path: Path,
    scripted: Callable[[str], list[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "6", "--engine.count", "2"]
    done = run_job([*arguments, *scripted(f"broken={tmp_path / 'marker'}")], str(tmp_path / "out"))
    assert Counter(row["outcome"] for row in done.transcripts) == {"ok": 6}
    (reason,) = done.report["engine_start_failures"]
    assert "the script says: broken" in reason
    assert done.report["engines_served"] == 1
    assert f"engines      1 of 2 started; {tmp_path}/script did not start: RuntimeError" in capfd.readouterr().err


@pytest.mark.slow
def test_an_engine_that_hangs_while_it_starts_is_started_again(
    shared_ray: None,
    tmp_path: Path,
    scripted: Callable[[str], list[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "2", "--output", str(tmp_path / "out")]
    arguments += scripted("stuck")
    assert transcribe.main([*arguments, "--engine.start-timeout-s", "2", "--engine.max-deaths", "1"]) == 1
    error = capfd.readouterr().err
    assert "2 engines have died, more than --engine.max-deaths 1" in error
    assert "it did not start within --engine.start-timeout-s 2 seconds" in error


PROBE = """#!/bin/sh
case $(stat -Lc %s recording) in {size}) kill -9 $PPID;; esac
exec {ffprobe} "$@"
"""


@pytest.mark.slow
def test_a_recording_that_ends_decode_workers_is_given_up_and_nothing_else_is_lost(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that takes all memory would: whoever looks at it is killed."""
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:8]
    for clip in clips:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "bin").mkdir()
    probe = tmp_path / "bin" / "ffprobe"
    probe.write_text(PROBE.format(size=clips[3].stat().st_size, ffprobe=shutil.which("ffprobe")))
    probe.chmod(0o755)
    monkeypatch.setenv("PATH", f"{probe.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(stream, "BLOCKS", 2)  # four recordings in a task
    limited = ["--audio.max-duration-s", "59"]  # so that ffprobe looks at them, however short they are
    done = run_job(["--input", str(tmp_path / "in"), *limited, *SCRIPTED], str(tmp_path / "out"))
    failed = [row for row in done.transcripts if row["outcome"] != "ok"]
    assert [(Path(row["uri"]).name, row["failure_code"], row["text"]) for row in failed] == [
        (clips[3].name, "decode_died", None)
    ]
    assert len(done.transcripts) == len(clips)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["die=5.0", "hang=5.0"])
def test_a_window_that_ends_engines_is_given_up_and_nothing_else_is_lost(
    script: str, shared_ray: None, tmp_path: Path, scripted: Callable[[str], list[str]]
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "6", "--engine.stall-timeout-s", "10"]
    done = run_job([*arguments, *scripted(script)], str(tmp_path / "out"))
    killers = {row["recording_id"] for row in done.transcripts if row["outcome"] == "failed"}
    assert 1 <= len(killers) <= 3
    for row in done.transcripts:
        if row["recording_id"] in killers:
            assert (row["failure_code"], row["text"]) == ("engine_died", None)
        else:
            assert row["text"]
            assert not row["text"].startswith("5.0 s")
    # It is not tried again by itself, but when it is asked for.
    arguments += SCRIPTED
    assert transcribe.main([*arguments, "--output", done.output]) == 0
    assert len(published(done.output, "transcripts")) == 6
    assert transcribe.main([*arguments, "--output", done.output, "--retry", "engine_died"]) == 0
    again = published(done.output, "transcripts")[6:]
    assert {row["recording_id"] for row in again} == killers
    assert all(row["outcome"] == "ok" and row["text"].startswith("5.0 s") for row in again)


@pytest.mark.slow
def test_engines_that_only_die_end_the_job(
    shared_ray: None,
    tmp_path: Path,
    scripted: Callable[[str], list[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "3", "--output", str(tmp_path / "out")]
    arguments += scripted("die=any")
    assert transcribe.main([*arguments, "--engine.max-deaths", "1"]) == 1
    error = capfd.readouterr().err
    assert "2 engines have died, more than --engine.max-deaths 1; the last because RuntimeError: the script" in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("s3", "no_ray")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "s3://no-such-bucket/x", *SCRIPTED], "no-such-bucket"),
        (["--input", str(DEMO / "held_out"), "--engine.model", "/no/such/model"], "/no/such/model"),
        (["--input", str(DEMO / "nothing"), *SCRIPTED], "nothing"),
        (["--input", str(DEMO / "held_out"), *SCRIPTED[:3], "/no/script"], "/no/script: no file with a script"),
        ([], "--input is missing"),
    ],
)
def test_a_wrong_command_stops_at_once(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transcribe.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
    assert not ray.is_initialized()
    assert not (tmp_path / "out").exists()


def test_a_deadline_counts_while_nothing_comes(
    shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Engines that wait for machines which never come: an empty report is published, and all is left to do."""
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "2", "--output", str(tmp_path / "out"), *SCRIPTED]
    waiting = ["--engine.device", "gpu", "--engine.count", "1", "--engine.elastic", "--max-hours", "0.002"]
    assert transcribe.main([*arguments, *waiting]) == 0
    assert "not reached  2 recordings" in capsys.readouterr().err
    (report,) = reports(str(tmp_path / "out"))
    assert (report["numbers"]["recordings"], report["not_reached"], report["transcripts"]) == (0, 2, [])
    assert transcribe.main([*arguments, "--dry-run"]) == 0
    assert "0 done already, 2 to do" in capsys.readouterr().err


@pytest.mark.slow
def test_an_object_that_was_replaced_since_it_was_listed_is_done(shared_ray: None, tmp_path: Path) -> None:
    """What was read is what the row says, and what the next run looks for."""
    bucket = f"s3://test/{tmp_path.name}"
    clips = sorted((DEMO / "held_out").glob("*.ogg"))[:2]
    store.create(f"{bucket}/in/a.ogg", clips[0].read_bytes())
    plan = planning.plan(
        Settings.model_validate({"input": f"{bucket}/in", "output": f"{bucket}/out", "engine": ENGINE})
    )
    store.replace(f"{bucket}/in/a.ogg", clips[1].read_bytes())
    run.execute(plan, Log())
    (row,) = published(f"{bucket}/out", "transcripts")
    listed = plan.listing.recordings["content_version"].to_pylist()
    now = planning.plan(plan.settings)
    everything = now.task.recordings(now.settings).recordings
    assert [row["content_version"]] == everything["content_version"].to_pylist() != listed
    assert now.is_settled


@pytest.mark.slow
def test_settings_that_come_back_are_done_again(
    shared_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(DEMO / "held_out"), "--limit", "1", "--output", str(tmp_path / "out"), *SCRIPTED]
    for limit in ("7", "6", "7"):
        assert transcribe.main([*arguments, "--guards.min-chars-per-s", limit]) == 0
    rows = published(str(tmp_path / "out"), "transcripts")
    assert rows[0]["fingerprint"] == rows[2]["fingerprint"] != rows[1]["fingerprint"]
    assert transcribe.main([*arguments, "--guards.min-chars-per-s", "7"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", str(DEMO / "recordings"), "--output", str(tmp_path / "out"), "--dry-run", *SCRIPTED]
    assert transcribe.main(arguments) == 0
    said = capsys.readouterr().err
    assert "17 recordings" in said
    assert "17 to do" in said
    assert "1 .txt" in said
    assert re.search(r"^about \d min \d\d s of audio to do", said, re.M)
    assert CANARY not in said
    assert not (tmp_path / "out").exists()
