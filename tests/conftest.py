from __future__ import annotations

import os
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray._private import state
from xdist.scheduler import LoadFileScheduling

from demo.run import ENGINE as DEMO_ENGINE
from demo.s3 import embedded_s3, upload
from jobs import transcribe
from pipeline.flow.cluster import kept_signals
from pipeline.ledger.parts import read_part, reports

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
SCRIPTED = ["--engine.family", "scripted", "--engine.model", "none"]
# Words that must appear in no output: they lie in a file and in the environment beside the hostile recordings.
CANARY = "canary-6f1c9e"
os.environ.setdefault("RAY_ADDRESS", "local")  # another process of tests, or somebody else, may run a cluster here
SECRETS = "CANARY", "OPENAI_API_KEY", "HF_TOKEN"
os.environ |= dict.fromkeys(SECRETS, CANARY)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 server with an empty bucket `test`; yields its endpoint."""
    with embedded_s3("test") as endpoint:
        yield endpoint


class ByFile(LoadFileScheduling):
    """Of several processes one does a whole file, and one all files that need `demo_run`: it is done once."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(super()._split_scope(nodeid))


@cache
def _scope(file: str) -> str:
    return "demo_run" if "demo_run:" in (ROOT / file).read_text("utf-8") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, then what shares a cluster: it is started once."""

    def order(item: pytest.Item) -> int:
        wanted = getattr(item, "fixturenames", ())
        return 0 if "demo_run" in wanted else 1 if "shared_ray" in wanted else 2

    items.sort(key=order)


def start_ray(num_cpus: int | None = None, num_gpus: int | None = None) -> None:
    """A cluster of this machine alone, for jobs in this process."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with kept_signals():
        ray.init("local", num_cpus=num_cpus, num_gpus=num_gpus, include_dashboard=False, log_to_driver=False)


@pytest.fixture
def shared_ray(s3: str) -> Iterator[None]:
    """Ray runs, and goes on after the test: jobs of this process join it, and leave nothing in it. Its workers know the
    server of `s3`."""
    if not ray.is_initialized():
        start_ray()
    yield
    wait_for(lambda: not left_over(), 30.0)


def left_over() -> list[str]:
    """Of our actors, those that live."""
    living = [actor["ActorClassName"] for actor in state.actors().values() if actor["State"] != "DEAD"]
    return [
        name for name in living if name.endswith(("EngineTracker", "DecodeTracker", "GatheringActor", "EngineActor"))
    ]


@pytest.fixture
def no_ray() -> Iterator[None]:
    """Ray does not run in this process, and what the test starts of it ends."""
    ray.shutdown()
    yield
    ray.shutdown()


@dataclass(frozen=True)
class JobRun:
    """A finished job: where it wrote, its report, its rows."""

    arguments: list[str]
    output: str
    report: dict[str, Any]
    transcripts: list[dict[str, Any]]
    segments: list[dict[str, Any]]

    def of(self, name: str) -> dict[str, Any]:
        (row,) = [row for row in self.transcripts if row["uri"].endswith(name)]
        return row


def published(output: str, table: str) -> list[dict[str, Any]]:
    """All rows of one table that published runs below `output` name, the oldest run first."""
    parts = [part for report in reports(output) for part in report[table]]
    return [row for part in parts for row in read_part(output, part).to_pylist()]


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[[str], list[str]]:
    """Makes arguments for an engine that does what a script says (pipeline/models/runtimes/scripted.py)."""

    def write(script: str) -> list[str]:
        path = tmp_path / "script"
        path.write_text(script)
        return [*SCRIPTED[:3], str(path)]

    return write


def run_job(arguments: list[str], output: str) -> JobRun:
    assert transcribe.main([*arguments, "--output", output]) == 0
    (report,) = reports(output)
    return JobRun(arguments, output, report, published(output, "transcripts"), published(output, "segments"))


def told(output: Path) -> list[str]:
    """Files below a folder, tables among them, in which the canary is; of tables the values, which are compressed."""
    found = []
    for path in filter(Path.is_file, output.rglob("*")):
        rows = str(pq.ParquetFile(path).read().to_pylist()) if path.suffix == ".parquet" else ""
        if CANARY in rows or CANARY.encode() in path.read_bytes():
            found.append(str(path))
    return found


def hostile_files(folder: Path, secret: Path) -> None:
    """Files that try to make ffmpeg open something else."""
    folder.mkdir(parents=True, exist_ok=True)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    (folder / "playlist.mp3").write_text(playlist)
    (folder / "script.wav").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    (folder / "concat:name|odd $(touch pwned).mp3").write_text(playlist)


def wait_for(what: Callable[[], Any], seconds: float = 180.0) -> Any:
    """What it returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def demo_run(s3: str, tmp_path_factory: pytest.TempPathFactory) -> JobRun:
    """The job on everything: the demo's recordings, the held-out clips, hostile files; with the one real engine."""
    ray.shutdown()  # with a cluster of its own
    folder = tmp_path_factory.mktemp("hostile")
    write_wav(folder / "secret.wav", tone(2.0))
    hostile_files(folder / "in", folder / "secret.wav")
    upload(DEMO / "recordings", "s3://test/in/recordings")
    upload(DEMO / "held_out", "s3://test/in/held_out")
    upload(folder / "in", "s3://test/in/hostile")
    return run_job(["--input", "s3://test/in/", *DEMO_ENGINE], "s3://test/out")


def tone(seconds: float, rate: int = 16_000) -> np.ndarray:
    return (8000 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)).astype(np.int16)


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", *map(str, arguments)], check=True)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: str) -> str:
    """Somewhere to write, on either kind of storage."""
    return str(tmp_path / "place") if request.param == "local" else f"s3://test/{tmp_path.name}"


@pytest.fixture
def speech_wav(tmp_path: Path) -> Callable[..., Path]:
    """A recording with real (synthetic) speech: one held-out clip, made into a wav of 16 kHz."""
    from pipeline.audio import media
    from pipeline.settings import Audio

    def make(name: str = "in/speech.wav", clip: str = "en-00.ogg") -> Path:
        samples = np.concatenate(list(media.decode(DEMO / "held_out" / clip, Audio())))
        return write_wav(tmp_path / name, samples)

    return make
