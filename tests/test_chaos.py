"""The job is killed at random, and started again until it is done. Ray, ffmpeg and storage are real, the words are not.

`CHAOS_KILLS` sets how many kills there are at least in the long test.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from demo.run import ENGINE as DEMO_ENGINE
from pipeline import planning, store
from pipeline.audio import prepare
from pipeline.command_line import load
from pipeline.models.families.scripted import NO_SCRIPT
from pipeline.models.runtimes.scripted import ScriptedModel
from pipeline.tasks.transcribe.worker import Transcribe
from tests.conftest import DEMO, ROOT, SCRIPTED, JobRun, published, wait_for

RECORDINGS, FEW = 240, 40  # of the long test, and of the short one
KILLS = int(os.environ.get("CHAOS_KILLS", "200"))
PATIENCE_S = 180.0  # without a kill, a job that takes longer has hung
# How Ray names the processes of our stages.
ENGINE, DECODER = "EngineActor", "prepare"


@dataclass
class Monkey:
    """Starts the job until it is done, and kills what it is told to in the meantime."""

    cluster: Cluster
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def run(self, arguments: list[str], targets: list[str], at_most: int) -> int:
        """Returns how often the job was started."""
        starts, left = 0, at_most
        while True:
            starts += 1
            job = subprocess.Popen(
                [sys.executable, "-m", "jobs.transcribe", *arguments],
                cwd=ROOT,
                env=os.environ | {"RAY_ADDRESS": str(self.cluster.address)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            deadline = time.monotonic() + PATIENCE_S
            while left and job.poll() is None:
                time.sleep(self.rng.uniform(0.2, 4.0))
                if self._kill(self.rng.choice(targets), job):
                    left, deadline = left - 1, time.monotonic() + PATIENCE_S
                assert time.monotonic() < deadline, "there is nothing to kill"
            said, _ = job.communicate(timeout=PATIENCE_S)
            if job.returncode == 0:
                return starts
            assert job.returncode == -signal.SIGKILL or "broke down" in said, said

    def _kill(self, target: str, job: subprocess.Popen[str]) -> bool:
        if target == "driver":
            victims = [job.pid]
        elif target == "raylet":
            node = self.rng.choice([node for node in self.cluster.list_all_nodes() if node != self.cluster.head_node])
            self.cluster.remove_node(node, allow_graceful=False)
            self.cluster.add_node(num_cpus=2)
            self.kills[target] += 1
            return True
        else:
            victims = [process.pid for process in _workers() if target in _title(process)]
        if not victims or job.poll() is not None:
            return False
        try:
            os.kill(self.rng.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills[target] += 1
        return True


def _workers() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):  # others may run Ray beside us
        if _title(process).startswith("ray::"):
            yield process


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def monkey(no_ray: None) -> Iterator[Monkey]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    try:
        yield Monkey(cluster, random.Random(7))
    finally:
        cluster.shutdown()


def fill(folder: str, count: int) -> str:
    """So many recordings in a bucket; returns it."""
    clips = sorted((DEMO / "held_out").glob("*.ogg"))
    for number in range(count):
        clip = clips[number % len(clips)]
        store.create(f"s3://test/{folder}/in/{number:04d} {clip.name}", clip.read_bytes())
    return f"s3://test/{folder}"


def texts(output: str, count: int) -> dict[str, str]:
    """Of the published rows by recording; each of so many must have just one."""
    rows = published(output, "transcripts")
    assert max(Counter(row["recording_id"] for row in rows).values()) == 1
    assert Counter(row["outcome"] for row in rows) == {"ok": count}
    assert {row["recording_id"] for row in published(output, "segments")} == {row["recording_id"] for row in rows}
    return {row["uri"]: row["text"] for row in rows}


def calm(place: str) -> dict[str, str]:
    """The texts of the recordings at a place, by recording, without Ray and without a hurry."""
    plan = planning.plan(load(["--input", place, "--output", "unused", *SCRIPTED]))
    transcribe = Transcribe(ScriptedModel(NO_SCRIPT), plan.settings)
    heard: dict[str, str] = {}
    for recording in plan.listing.recordings.to_batches(max_chunksize=1):
        (uri,) = recording["uri"].to_pylist()
        tables = prepare.prepare(pa.Table.from_batches([recording]), plan.settings)
        spoken = [text for table in tables for text in asyncio.run(transcribe(table))["text"].to_pylist() if text]
        heard[str(uri)] = " ".join(spoken)
    return heard


def committed(output: str) -> Counter[str]:
    """How often each recording was ever committed, whether a report lists it or not."""
    ids: Counter[str] = Counter()
    for name in store.filesystem("s3").find(store.split(f"{output}/transcripts")[1]):
        table = pq.read_table(pa.BufferReader(store.read(f"s3://{name}")), columns=["recording_id"])
        ids.update(map(str, table["recording_id"].to_pylist()))
    return ids


@pytest.fixture
def arguments(scripted: Callable[[str], list[str]], tmp_path: Path) -> Callable[[str], list[str]]:
    """Those of a job with such an output, which takes its time."""
    hurried = ["--flush-interval-s", "0.5", "--engine.max-num-seqs", "8", "--engine.max-deaths", "1000"]
    hurried += ["--engine.count", "2", *scripted("delay=0.2")]
    bucket = f"s3://test/{tmp_path.name}"
    return lambda output: ["--input", f"{bucket}/in/", "--output", f"{bucket}/{output}", *hurried]


def test_a_killed_job_goes_on_where_it_stopped(
    monkey: Monkey, s3: str, tmp_path: Path, arguments: Callable[[str], list[str]]
) -> None:
    bucket = fill(tmp_path.name, FEW)
    starts = monkey.run(arguments("chaos"), ["driver", ENGINE, DECODER], 3)
    assert starts == 1 + monkey.kills["driver"]
    assert texts(f"{bucket}/chaos", FEW) == calm(f"{bucket}/in/")
    assert set(committed(f"{bucket}/chaos").values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_kill_loses_or_doubles_a_recording(
    monkey: Monkey, s3: str, tmp_path: Path, arguments: Callable[[str], list[str]]
) -> None:
    bucket = fill(tmp_path.name, RECORDINGS)
    monkey.run(arguments("calm"), [], 0)
    calm, rounds = texts(f"{bucket}/calm", RECORDINGS), 0
    while monkey.kills.total() < KILLS:
        output = f"chaos-{rounds}"
        monkey.run(arguments(output), ["driver", ENGINE, DECODER, "raylet"], 25)
        assert texts(f"{bucket}/{output}", RECORDINGS) == calm
        assert set(committed(f"{bucket}/{output}").values()) == {1}
        rounds += 1
    print(
        f"{rounds} runs of {RECORDINGS} recordings, {monkey.kills.total()} kills ({dict(monkey.kills)}):"
        " none lost, none doubled"
    )


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
