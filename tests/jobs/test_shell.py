"""How jobs end."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import shell
from pipeline.errors import ConfigurationError, JobError
from pipeline.log import Log
from tests.conftest import DEMO, ROOT


@pytest.mark.parametrize(
    ("error", "status"), [(None, 0), (ConfigurationError("why"), 2), (JobError("why"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_statuses(error: BaseException | None, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(log: Log) -> int:
        log.as_json = True
        if error:
            raise error
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert shell.run(work) == status
    assert signal.getsignal(signal.SIGTERM) is before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == (error is not None)
    if status in (1, 2):
        assert (lines[0]["message"], lines[0]["level"]) == ("error: why", "error")


def test_warnings_of_libraries_are_shown_while_a_job_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def work(log: Log) -> int:
        logging.getLogger("botocore.retries").warning("throttled")
        return 0

    assert shell.run(work) == 0
    assert capsys.readouterr().err == "warning (botocore.retries): throttled\n"


@pytest.mark.slow
def test_a_terminated_job_keeps_what_is_finished(
    no_ray: None, tmp_path: Path, scripted: Callable[[str], list[str]]
) -> None:
    output = str(tmp_path / "out")
    arguments = ["--input", str(DEMO / "held_out"), "--output", output, "--engine.max-num-seqs", "4"]
    arguments += scripted("delay=1")
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs.transcribe", *arguments, "--flush-interval-s", "5", "--log-format", "json"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(Path(output).glob("transcripts/*/*.parquet")):
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.1)
    time.sleep(2.0)  # more is finished, and not written
    job.terminate()
    said = job.communicate(timeout=60)[1]
    assert job.returncode == 143
    parts = list(Path(output).glob("transcripts/*/*.parquet"))
    assert len(parts) >= 2, "what was finished behind the last part is written, too"
    saved = sum(pq.read_metadata(path).num_rows for path in parts)
    assert json.loads(said.splitlines()[-1])["message"] == (
        f"interrupted: {saved} of 80 recordings are saved below {output}, {80 - saved} are left;"
        " run the same command again to continue"
    )
    phases = [line["phase"] for line in map(json.loads, said.splitlines()) if "phase" in line]
    assert list(dict.fromkeys(phases))[:3] == ["starting Ray", "starting engines", "processing"]
