from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, JobError
from pipeline.flow.actors import KILLS, Deaths
from pipeline.flow.cluster import decide as decided
from pipeline.settings import Engine, Settings
from tests.conftest import ROOT


def decide(*nodes: dict[str, float], **engine: object) -> tuple[str, int | None, int | None]:
    settings = Settings(input="in", output="out", engine=Engine.model_validate(engine))
    found = decided(settings, nodes)
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
        ({"CPU": 2, "GPU": 8}, {}, "5 CPUs; the cluster has 2"),
        ({"CPU": 2}, {"elastic": True}, "needs --engine.count"),
    ],
)
def test_what_does_not_fit_is_refused(available: dict[str, float], engine: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        decide(available, **engine)


def test_of_the_windows_inside_a_dead_engine_those_alone_are_to_blame() -> None:
    deaths = Deaths(max_deaths=3)
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


def test_where_no_window_ever_left_an_engine_it_is_not_the_window() -> None:
    deaths = Deaths(max_deaths=9)
    for engine, following in ((0, 1), (1, 2), (2, 3), (3, 4)):
        deaths.enter(str(engine), ["a"])
        assert deaths.suspects(str(following), ["a"])["a"] < KILLS
    deaths.enter("4", ["b"])
    deaths.leave("4", ["b"])
    assert deaths.suspects("4", ["a"]) == {"a": KILLS}


def test_a_missing_token_is_one_line_that_says_what_to_set(tmp_path: Path) -> None:
    job = f"""
from pipeline import flow
from pipeline.errors import ConfigurationError
from pipeline.settings import load
try:
    with flow.cluster(load(["--input", {str(tmp_path)!r}, "--output", {str(tmp_path)!r}, "--engine.model", "none"])):
        pass
except ConfigurationError as error:
    print(error)
"""
    environment = {
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_ADDRESS": "127.0.0.1:1",
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-c", job]
    found = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    (line,) = found.stdout.splitlines()
    assert "no authentication token was found" in line and "RAY_AUTH_MODE=token" in line and "~/.ray/auth_token" in line
