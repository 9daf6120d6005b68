from __future__ import annotations

import os
from typing import Any

import pytest

from pipeline.models.runtimes import vllm_cpu
from pipeline.models.runtimes.vllm_cpu import BOUND, PROCESSES

NAMES = (BOUND, PROCESSES, "TORCH_COMPILE_DISABLE", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def five_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))


def seen(ranks: int = 1, **arguments: Any) -> dict[str, str]:
    """What processes see that start for such an engine; nothing of it is left afterwards."""
    before = dict(os.environ)
    with vllm_cpu.environment({"tensor_parallel_size": ranks} | arguments):
        found = {name: os.environ[name] for name in NAMES if name in os.environ}
    assert dict(os.environ) == before
    return found


def test_one_rank_computes_in_the_schedulers_process_on_all_cpus_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {PROCESSES: "0", "TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": "4"}
    assert seen() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray does in its actors
    assert seen() == expected


def test_several_ranks_get_cpus_of_their_own() -> None:
    assert seen(2, distributed_executor_backend="mp") == {BOUND: "1,3|2,4", "TORCH_COMPILE_DISABLE": "1"}


def test_a_process_of_its_own_gets_all_cpus_but_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(distributed_executor_backend="mp")[BOUND] == "1,2,3,4"
    monkeypatch.setenv(PROCESSES, "1")
    assert seen() == {PROCESSES: "1", BOUND: "1,2,3,4", "TORCH_COMPILE_DISABLE": "1"}


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BOUND, "0")
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "0")
    assert seen() == {BOUND: "0", "TORCH_COMPILE_DISABLE": "0"}, "bound threads need a process of their own"


@pytest.mark.parametrize(
    ("cpus", "ranks", "expected"),
    [((0, 1), 1, "0,1"), ((0, 1, 2), 1, "1,2"), ((4,), 2, "4|4"), ((0, 1, 2, 3), 2, "0,2|1,3")],
)
def test_one_cpu_is_left_to_the_scheduler_where_there_are_enough(
    cpus: tuple[int, ...], ranks: int, expected: str
) -> None:
    assert vllm_cpu.shares(cpus, ranks) == expected
