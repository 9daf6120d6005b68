"""How vLLM computes on CPUs: its processes and its threads, which it reads from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

BOUND, PROCESSES = "VLLM_CPU_OMP_THREADS_BIND", "VLLM_ENABLE_V1_MULTIPROCESSING"


@contextmanager
def environment(arguments: Mapping[str, Any]) -> Iterator[None]:
    """The environment for an engine with these arguments of vLLM's, while its processes start. What the user has set
    stays, but for OMP_NUM_THREADS, which Ray sets for its actors.

    Left alone, vLLM computes in a third process, behind this one and that of its scheduler, so that it can bind its
    threads to CPUs. On one rank the scheduler's process can compute itself: it starts 7 s sooner, since each process
    imports vLLM anew, and is no slower (docs/performance.md). Processes of their own must be told their CPUs: vLLM
    wants a NUMA node for each rank, and leaves one of two CPUs to its scheduler.
    """
    cpus, ranks = sorted(os.sched_getaffinity(0)), arguments["tensor_parallel_size"]
    # vLLM's sampler compiles a function even when eager, which takes a C++ compiler and its time
    wanted = {"TORCH_COMPILE_DISABLE": os.environ.get("TORCH_COMPILE_DISABLE", "1")}
    apart = os.environ.get(PROCESSES, "0") != "0" or arguments.get("distributed_executor_backend") == "mp"
    if apart or BOUND in os.environ:
        wanted[BOUND] = os.environ.get(BOUND) or shares(cpus, ranks)
    else:
        wanted |= {PROCESSES: "0", "OMP_NUM_THREADS": str(len(_computing(cpus, 1)))}
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def shares(cpus: Sequence[int], ranks: int) -> str:
    """CPU numbers for each rank: "0,1|2,3"."""
    computing = _computing(cpus, ranks)
    return "|".join(",".join(map(str, computing[rank::ranks] or computing)) for rank in range(ranks))


def _computing(cpus: Sequence[int], ranks: int) -> Sequence[int]:
    """All but one, which is left to the scheduler, where that costs less than it gains."""
    return cpus[1:] if len(cpus) > 2 * ranks else cpus
