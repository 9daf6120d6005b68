from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, JobError
from pipeline.flow import gpus, metrics
from pipeline.flow.cluster import decide as decided
from pipeline.flow.cluster import kept_signals
from pipeline.flow.device import device
from pipeline.flow.tracker import DECODE_KILLS, ENGINE_KILLS, DecodeTracker, EngineTracker
from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import Engine, Settings
from tests.conftest import ROOT, wait_for


def decide(*nodes: dict[str, float], **engine: object) -> tuple[str, int | None, int | None]:
    found = decided(Settings(input="in", output="out", engine=Engine.model_validate(engine)), nodes)
    return found.device, found.count, found.tensor_parallel_size


def test_engines_follow_the_cluster() -> None:
    assert decide({"CPU": 2}) == ("cpu", 1, 1)
    assert decide({"CPU": 16, "GPU": 2}) == ("gpu", 1, 2)
    assert decide({"CPU": 64, "GPU": 9}) == ("gpu", 4, 2)
    assert decide({"CPU": 8, "GPU": 3}, {"CPU": 8, "GPU": 3}, {"CPU": 8}) == ("gpu", 2, 2)
    assert decide({"CPU": 1}) == ("cpu", 1, 1)
    assert decide({"CPU": 64, "GPU": 8}, tensor_parallel_size=1) == ("gpu", 8, 1)
    assert decide({"CPU": 64, "GPU": 8}, count=2) == ("gpu", 2, 2)
    assert decide({"CPU": 4, "GPU": 2}, device="cpu", tensor_parallel_size=2) == ("cpu", 1, 2)
    assert decide({"CPU": 2}, device="gpu", count=8, elastic=True) == ("gpu", 8, 2)


@pytest.mark.parametrize(
    ("available", "engine", "words"),
    [
        ({"CPU": 8, "GPU": 1}, {}, "of 2 GPU"),
        ({"CPU": 8}, {"device": "gpu"}, "0 GPU"),
        ({"CPU": 8, "GPU": 4}, {"count": 3}, "3 engine"),
        ({"CPU": 0.5}, {}, "CPUs"),
        ({"CPU": 2, "GPU": 8}, {}, "4 engine.* of 4 CPUs each .* need 17 CPUs; the cluster has 2: set --engine.count"),
        ({"CPU": 2}, {"elastic": True}, "needs --engine.count"),
        ([{"CPU": 8, "GPU": 8}, {"CPU": 64}], {}, "4 engine.* of 4 CPUs and 2 GPU.* room for 2; set --engine.count"),
        ([{"CPU": 3, "GPU": 2}, {"CPU": 64}], {"count": 1}, "room for 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    available: dict[str, float] | list[dict[str, float]], engine: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        decide(*(available if isinstance(available, list) else [available]), **engine)


def test_elastic_engines_need_a_device_where_there_is_no_gpu(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(ConfigurationError, match=r"name --engine\.device"):
        device(Engine(elastic=True, count=4))
    assert device(Engine()) == "cpu"
    assert device(Engine(elastic=True, count=4, device="gpu")) == "gpu"


@pytest.mark.parametrize(
    ("facts", "weights", "given", "expected", "words"),
    [
        (
            (85_000_000_000, (9, 0)),
            48_600_000_000,
            {},
            (2, "auto"),
            "2 GPUs an engine: weights of 48.6 GB, 85 GB a GPU",
        ),
        ((151_000_000_000, (9, 0)), 48_600_000_000, {}, (1, "auto"), "1 GPU an engine"),
        ((25_000_000_000, (8, 9)), 9_400_000_000, {}, (1, "auto"), "1 GPU an engine"),
        ((16_000_000_000, (7, 0)), 3_000_000_000, {}, (1, "float16"), "float16 for bfloat16"),
        ((16_000_000_000, (7, 0)), 3_000_000_000, {"dtype": "float32"}, (1, "float32"), "1 GPU an engine"),
        (None, 48_600_000_000, {}, (2, "auto"), "no GPU of the cluster could be asked"),
        ((85_000_000_000, (9, 0)), 48_600_000_000, {"tensor_parallel_size": 4}, (4, "auto"), ""),
    ],
)
def test_gpus_per_engine_follow_weights_and_memory(
    facts: Any, weights: int, given: dict[str, Any], expected: tuple[int, str], words: str
) -> None:
    said: list[str] = []
    checkpoint = Checkpoint("m", "voxtral", "r", 30.0, "vllm", weights_bytes=weights)
    with patch.object(gpus, "_first_gpu", lambda: facts):
        found = gpus.placed(Engine.model_validate({"device": "gpu"} | given), checkpoint, said.append)
    assert (found.tensor_parallel_size, found.dtype) == expected
    assert words in " ".join(said)


def test_a_look_for_a_cluster_keeps_the_jobs_own_end(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        device(Engine())
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, own)


def test_an_interruption_that_ray_loses_comes_behind_it() -> None:
    with pytest.raises(KeyboardInterrupt), kept_signals():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 3), st.booleans()), max_size=40))
def test_a_busy_share_is_a_share(steps: list[tuple[int, int, bool]]) -> None:
    """However late and however many at once windows come and go."""
    now, busy_s, asked = 0.0, 0.0, 0.0
    measured = metrics.BusyTime(now)
    for seconds, change, ask in steps:
        now, busy_s = now + seconds, busy_s + seconds * (measured.inside > 0)
        measured.change(max(change, -measured.inside), now)
        if ask and now > asked:
            share = measured.share(now)
            assert 0.0 <= share <= 1.0
            assert share == pytest.approx(busy_s / (now - asked), abs=1e-6)
            busy_s, asked = 0.0, now


def tracker(**more: Any) -> EngineTracker:
    return EngineTracker(**({"engines": 2, "elastic": False, "max_deaths": 3} | more))


def test_of_the_windows_inside_a_dead_engine_those_alone_are_to_blame() -> None:
    deaths = tracker()
    assert deaths.suspects("one", ["a", "b"]) == {}
    deaths.enter("one", ["a", "b"])
    deaths.leave("one", ["a"])
    deaths.enter("one", ["c"])
    assert deaths.suspects("one", ["b"]) == {}, "it came to the same engine twice"
    assert deaths.suspects("two", ["a", "b"]) == {"b": 0}
    assert deaths.suspects("two", ["c"]) == {"c": 0}
    for kills, engine, following in ((1, "two", "three"), (2, "three", "four")):
        deaths.enter(engine, ["b"])
        assert deaths.suspects(following, ["b", "c"]) == {"b": kills, "c": 0}
    deaths.enter("four", ["d"])
    deaths.explain("it caught fire")
    with pytest.raises(
        JobError, match=r"4 engines have died, more than --engine.max-deaths 3; the last because it caught"
    ):
        deaths.suspects("five", ["d"])


def test_a_model_that_dies_by_itself_blames_no_window() -> None:
    deaths = tracker(max_deaths=1)
    deaths.ready("one")
    deaths.enter("one", ["a", "b"])
    deaths.died("one", "its servers are gone")
    deaths.died("one", "its servers are gone")
    assert deaths.suspects("two", ["a", "b"]) == {}
    assert deaths.facts()["engine_deaths"] == 1
    deaths.ready("two")
    deaths.died("two", "its servers are gone")
    with pytest.raises(JobError, match=r"2 engines have died.* because its servers are gone"):
        deaths.starting("three", "actor of three")


def test_where_no_window_ever_left_an_engine_it_is_not_the_window() -> None:
    deaths = tracker(max_deaths=9)
    for engine, following in ((0, 1), (1, 2), (2, 3), (3, 4)):
        deaths.enter(str(engine), ["a"])
        assert deaths.suspects(str(following), ["a"])["a"] < ENGINE_KILLS
    deaths.enter("4", ["b"])
    deaths.leave("4", ["b"])
    assert deaths.suspects("4", ["a"]) == {"a": ENGINE_KILLS}


def test_a_job_ends_only_where_no_engine_starts() -> None:
    both = tracker()
    both.starting("one", "actor of one")
    assert both.start_failed("one", "no memory", again=False) is None, "the other one may start"
    both.starting("two", "actor of two")
    both.ready("two")
    assert both.facts() | {"engine_s": 0, "engine_start_s": 0} == {
        "engines_served": 1,
        "engine_s": 0,
        "engine_start_s": 0,
        "engine_deaths": 0,
        "engine_start_failures": ["no memory"],
    }
    neither = tracker()
    assert neither.start_failed("one", "no memory", again=False) is None
    assert neither.start_failed("two", "no driver", again=False) == "no driver"
    elastic = tracker(engines=8, elastic=True)
    for name in ("one", "two"):
        elastic.starting(name, f"actor of {name}")
    assert elastic.start_failed("one", "no memory", again=False) is None
    assert elastic.start_failed("two", "no driver", again=False) == "no driver", "six have no machine"


def test_an_engine_that_never_starts_again_ends_the_job() -> None:
    deaths = tracker(max_deaths=1)
    for name in ("one", "two"):
        deaths.starting(name, f"actor of {name}")
        assert deaths.start_failed(name, "it hung", again=True) is None
    with pytest.raises(JobError, match=r"2 engines have died, more than --engine.max-deaths 1; the last because it hu"):
        deaths.starting("three", "actor of three")


def test_a_decode_task_that_crashed_goes_one_by_one() -> None:
    found = DecodeTracker()
    assert found.begin("first", ["a", "b"]) == {}
    assert found.begin("second", ["a", "b"]) == {"a": (0, 0), "b": (0, 0)}
    found.enter("second", ["a"])
    found.leave("second", ["a"])
    for kills in range(1, DECODE_KILLS + 1):
        found.enter(f"try {kills}", ["b"])
        found.yields("b", 3)
        assert found.begin(f"try {kills + 1}", ["a", "b"])["b"] == (kills, 3)
    found.enter("again", ["b"])
    assert found.begin("last", ["a", "b"])["b"] == (DECODE_KILLS, 0), "to give them again ended a worker, too"
    found.enter("last", ["a"])
    assert found.begin("really", ["a", "b"])["b"] == (DECODE_KILLS, 0), "another one did: it gives the same again"


def test_decode_tasks_lost_with_their_node_are_done_again() -> None:
    found = DecodeTracker()
    for task in range(64):
        assert found.begin(f"first {task}", [f"{task} a", f"{task} b"]) == {}
    for task in range(64):
        assert found.begin(f"second {task}", [f"{task} a", f"{task} b"]) == {f"{task} a": (0, 0), f"{task} b": (0, 0)}


def test_decode_workers_that_only_crash_end_the_job() -> None:
    found = DecodeTracker()
    with pytest.raises(JobError, match="21 decode workers have crashed, and no recording is done; the last on a"):
        for attempt in range(100):
            found.begin(str(attempt), ["a"])
            found.enter(str(attempt), ["a"])


JOIN = """
from pipeline.flow.cluster import cluster
from pipeline.models.checkpoint import Checkpoint
from pipeline.errors import ConfigurationError
from pipeline.command_line import load
try:
    wanted = load(["--input", "/in", "--output", "/out", "--engine.model", "none", "--engine.device", "cpu"])
    with cluster(wanted, Checkpoint("m", "scripted", "r", 30.0, "scripted")):
        print("joined")
except ConfigurationError as error:
    print(error)
"""


def joined(home: Path, address: str, **environment: str) -> str:
    """What a job says that joins a cluster."""
    given = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_ADDRESS": address, **environment}
    found = subprocess.run(
        [sys.executable, "-c", JOIN], env=given, cwd=ROOT, check=True, capture_output=True, text=True
    )
    (line,) = found.stdout.splitlines()
    return line


def test_a_missing_token_is_one_line_that_says_what_to_set(tmp_path: Path) -> None:
    line = joined(tmp_path, "127.0.0.1:1", RAY_AUTH_MODE="token")
    assert "no authentication token was found" in line and "RAY_AUTH_MODE=token" in line and "~/.ray/auth_token" in line


@pytest.mark.slow
def test_a_cluster_with_a_token_is_joined_with_that_token_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right-0123456789"}
    given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **token}
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--port", address.split(":")[1], "--num-cpus=2"]
    with subprocess.Popen(
        [*command, "--include-dashboard=false", "--block"], env=given, start_new_session=True
    ) as head:
        try:
            wait_for(lambda: joined(tmp_path, address, **token) == "joined")
            for wrong in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong-0123456789"}, {}):
                line = joined(tmp_path, address, **wrong)
                assert "Failed to connect to Ray cluster" in line and "set RAY_AUTH_MODE=token" in line
        finally:
            os.killpg(head.pid, signal.SIGKILL)
