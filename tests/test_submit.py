"""`ray job submit` to a cluster of several nodes: stopped, submitted again, and a node lost on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from ray._private.authentication_test_utils import reset_auth_token_state
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient

from demo.s3 import upload
from infra import local_cluster
from pipeline import store
from pipeline.flow import metrics
from tests.conftest import DEMO, ROOT, SCRIPTED, published, run_job, wait_for

PATIENCE_S = 180.0


@pytest.fixture(params=["disabled", "token"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_ray: None) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_AUTH_MODE", request.param)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right-0123456789")
    reset_auth_token_state()
    with local_cluster.started() as found:
        yield found


def submit(address: str, submission_id: str, arguments: list[str]) -> None:
    runtime_env = yaml.safe_load((ROOT / "infra/runtime-env.yaml").read_text())
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", address, "--no-wait"]
    command += ["--submission-id", submission_id, "--working-dir", str(ROOT)]
    command += ["--runtime-env-json", json.dumps(runtime_env), "--", sys.executable, "-m", "jobs.transcribe"]
    subprocess.run([*command, *arguments], check=True, cwd="/", capture_output=True, timeout=PATIENCE_S)


def scraped() -> set[str]:
    """The names of the metrics that Prometheus would find on the nodes of the cluster."""
    found: set[str] = set()
    groups = json.loads(local_cluster.DISCOVERY.read_text())
    for target in [target for group in groups for target in group["targets"]]:
        with suppress(OSError), urllib.request.urlopen(f"http://{target}/metrics", timeout=5) as answer:
            found |= set(re.findall(r"^ray_(voxtral_\w+)\{", answer.read().decode(), re.M))
    return found


@pytest.mark.slow
def test_submitted_stopped_and_submitted_again_with_a_node_lost(
    cluster: Cluster,
    s3: str,
    tmp_path: Path,
    scripted: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = f"s3://test/{tmp_path.name}"
    upload(DEMO / "held_out", f"{bucket}/in")
    output = f"{bucket}/out"
    arguments = ["--input", f"{bucket}/in/", "--output", output, "--engine.max-num-seqs", "4"]
    arguments += ["--flush-interval-s", "2", "--log-format", "json", *scripted("delay=1")]
    address = f"http://{cluster.webui_url}"
    client = JobSubmissionClient(address)

    def parts() -> int:
        return len(store.filesystem("s3").find(store.split(f"{output}/transcripts")[1]))

    submit(address, "first", arguments)
    wait_for(parts)
    client.stop_job("first")
    wait_for(lambda: client.get_job_status("first").is_terminal())
    assert client.get_job_status("first") is JobStatus.STOPPED
    kept = parts()

    submit(address, "second", arguments)
    wait_for(lambda: parts() > kept)
    idle = {"voxtral_engine_deaths", "voxtral_retried_windows"}  # they have counted nothing yet
    expected = {f"{name}_total" for name in metrics.COUNTERS.keys() - idle} | set(metrics.GAUGES)
    wait_for(lambda: expected <= scraped())
    lost = next(node for node in cluster.list_all_nodes() if node != cluster.head_node)
    cluster.remove_node(lost, allow_graceful=False)
    wait_for(lambda: client.get_job_status("second").is_terminal())
    logs = client.get_job_logs("second")
    assert client.get_job_status("second") is JobStatus.SUCCEEDED, logs
    lines = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    assert any("is resumed" in line["message"] for line in lines)
    assert (lines[-1]["message"], lines[-1]["recordings"]) == ("finished", 80)

    monkeypatch.setenv("RAY_ADDRESS", "local")
    alone = run_job(["--input", f"{bucket}/in/", *SCRIPTED], f"{bucket}/alone")
    rows = published(output, "transcripts")
    assert max(Counter(row["recording_id"] for row in rows).values()) == 1
    assert {row["uri"]: row["text"] for row in rows} == {row["uri"]: row["text"] for row in alone.transcripts}
