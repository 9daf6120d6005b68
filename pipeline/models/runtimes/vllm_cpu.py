"""How vLLM computes on CPUs: its processes and its threads, which it reads from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BOUND = "VLLM_CPU_OMP_THREADS_BIND"


def prepare(ranks: int) -> None:
    """Set what vLLM reads from the environment of this process. What the user has set stays.

    Left alone, vLLM computes in a third process, behind this one and that of its scheduler, so that it can bind its
    threads to CPUs. On one rank the scheduler's process can compute itself: it starts 7 s sooner, since each process
    imports vLLM anew, and is no slower (docs/performance.md). Several ranks must be told their CPUs: vLLM wants a NUMA
    node for each, and leaves one of two CPUs to its scheduler.
    """
    # vLLM's sampler compiles a function even when eager, which takes a C++ compiler and its time
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    if ranks > 1:
        os.environ.setdefault(BOUND, shares(sorted(os.sched_getaffinity(0)), ranks))
    elif BOUND not in os.environ:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


@contextmanager
def threads() -> Iterator[None]:
    """Processes that start meanwhile compute with a thread for each CPU. Ray tells its actors to have one; where
    threads are bound, vLLM counts them itself."""
    kept = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(len(_computing(sorted(os.sched_getaffinity(0)), 1)))
    try:
        yield
    finally:
        if kept is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = kept


def shares(cpus: Sequence[int], ranks: int) -> str:
    """CPU numbers for each rank: "0,1|2,3"."""
    computing = _computing(cpus, ranks)
    return "|".join(",".join(map(str, computing[rank::ranks] or computing)) for rank in range(ranks))


def _computing(cpus: Sequence[int], ranks: int) -> Sequence[int]:
    """All but one, which is left to the scheduler, where that costs less than it gains."""
    return cpus[1:] if len(cpus) > 2 * ranks else cpus
