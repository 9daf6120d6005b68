"""A bucket that is too large for one driver, done by several commands at once into one output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from pipeline import planning, store
from pipeline.command_line import load
from pipeline.ledger.done import Status
from pipeline.ledger.parts import reports
from tests.conftest import DEMO, ROOT, SCRIPTED, published

SHARDS, EACH = ("a", "b", "c", "d"), 12
PATIENCE_S = 500.0


@pytest.fixture
def address(no_ray: None) -> Iterator[str]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    try:
        yield str(cluster.address)
    finally:
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shards_at_once_make_one_table(address: str, s3: str, tmp_path: Path) -> None:
    """Two are prefixes, two are manifests."""
    bucket, clips = f"s3://test/{tmp_path.name}", sorted((DEMO / "held_out").glob("*.ogg"))
    for shard in SHARDS:
        for number in range(EACH):
            store.create(f"{bucket}/in/{shard}/{number:02d}.ogg", clips[number].read_bytes())
    inputs = {shard: f"{bucket}/in/{shard}/" for shard in SHARDS}
    for shard in SHARDS[2:]:
        rows = [json.dumps({"uri": f"{inputs[shard]}{number:02d}.ogg"}) for number in range(EACH)]
        inputs[shard] = str(tmp_path / f"{shard}.jsonl")
        Path(inputs[shard]).write_text("\n".join(rows))
    output = f"{bucket}/out"
    command = [sys.executable, "-m", "jobs.transcribe", "--output", output, "--audio.workers", "1", *SCRIPTED]
    jobs = [
        subprocess.Popen([*command, "--input", name], cwd=ROOT, env=os.environ | {"RAY_ADDRESS": address})
        for name in inputs.values()
    ]
    assert [job.wait(PATIENCE_S) for job in jobs] == [0] * len(SHARDS)

    found = reports(output)
    assert sorted(report["input"] for report in found) == sorted(inputs.values())
    assert [report["numbers"]["recordings"] for report in found] == [EACH] * len(SHARDS)
    rows = published(output, "transcripts")
    assert Counter(row["uri"] for row in rows) == {
        f"{bucket}/in/{shard}/{number:02d}.ogg": 1 for shard in SHARDS for number in range(EACH)
    }
    assert {row["outcome"] for row in rows} == {"ok"}

    # Later on, one command sees all of it.
    plan = planning.plan(load(["--input", f"{bucket}/in/", "--output", output, *SCRIPTED]))
    assert plan.why == {Status.DONE: EACH * len(SHARDS)} and plan.is_settled
