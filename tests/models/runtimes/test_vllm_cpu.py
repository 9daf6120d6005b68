from __future__ import annotations

import os

import pytest

from pipeline.models.runtimes import vllm_cpu

PROCESSES = "VLLM_ENABLE_V1_MULTIPROCESSING"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets ends with it."""
    for name in (vllm_cpu.BOUND, PROCESSES, "TORCH_COMPILE_DISABLE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_one_rank_computes_in_the_schedulers_process() -> None:
    vllm_cpu.prepare(ranks=1)
    assert os.environ[PROCESSES] == "0"
    assert vllm_cpu.BOUND not in os.environ


def test_threads_that_the_user_binds_need_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_cpu.BOUND, "0")
    vllm_cpu.prepare(ranks=1)
    assert PROCESSES not in os.environ
    assert os.environ[vllm_cpu.BOUND] == "0"


def test_several_ranks_get_cpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    vllm_cpu.prepare(ranks=2)
    assert PROCESSES not in os.environ
    assert os.environ[vllm_cpu.BOUND] == "1,3|2,4"


@pytest.mark.parametrize(
    ("cpus", "ranks", "expected"),
    [((0, 1), 1, "0,1"), ((0, 1, 2), 1, "1,2"), ((4,), 2, "4|4"), ((0, 1, 2, 3), 2, "0,2|1,3")],
)
def test_one_cpu_is_left_to_the_scheduler_where_there_are_enough(
    cpus: tuple[int, ...], ranks: int, expected: str
) -> None:
    assert vllm_cpu.shares(cpus, ranks) == expected


@pytest.mark.parametrize("before", [None, "1"])
def test_processes_compute_on_all_cpus_only_while_they_start(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    with vllm_cpu.threads():
        assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ.get("OMP_NUM_THREADS") == before
