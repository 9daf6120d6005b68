"""How vLLM computes on CPUs: its processes and its threads, which it reads from the environment."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

BOUND, PROCESSES, METHOD = (
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_WORKER_MULTIPROC_METHOD",
)
SCHEDULER = "vllm.v1.engine.core"  # what its process imports


@contextmanager
def processes(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Within it an engine with these arguments of vLLM's is started, and vLLM imported first."""
    with environment(arguments), nullcontext() if _apart(arguments) or METHOD in os.environ else _importing_at_once():
        yield


@contextmanager
def _importing_at_once() -> Iterator[None]:
    """The scheduler's process is forked from one that imports vLLM while this one does. vLLM would start it afterwards,
    to import everything anew: first rows would come after 64 s in place of 52 (docs/performance.md)."""
    multiprocessing.set_forkserver_preload([SCHEDULER])
    with _set({"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1", **_preloaded()}):
        forkserver.ensure_running()
    utils: Any = import_module("vllm.v1.engine.utils")
    kept = utils.get_mp_context
    utils.get_mp_context = lambda: multiprocessing.get_context("forkserver")
    try:
        yield
    finally:
        utils.get_mp_context = kept


def _preloaded() -> dict[str, str]:
    """The libraries that vLLM preloads into processes that it starts on CPUs (vllm/platforms/cpu.py): PyTorch's OpenMP,
    of which other packages bring their own, and tcmalloc where its build has it."""
    openmp = _first("torch", "../torch.libs/libgomp*.so*", "lib/libgomp*.so*")
    malloc = _first("vllm", "libs/libtcmalloc_minimal*.so*", "libs/libtcmalloc.so*")
    given = [os.environ["LD_PRELOAD"]] if "LD_PRELOAD" in os.environ else []
    libraries = [*malloc, *given, *openmp]
    return {"LD_PRELOAD": ":".join(libraries)} if libraries else {}


def _first(package: str, *patterns: str) -> list[str]:
    """The first file of a package that is not imported yet; none where it has none, or is not installed."""
    spec = find_spec(package)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    return [str(file) for pattern in patterns for file in folder.glob(pattern)][:1] if folder else []


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
    if _apart(arguments):
        wanted[BOUND] = os.environ.get(BOUND) or shares(cpus, ranks)
    else:
        wanted |= {PROCESSES: "0", "OMP_NUM_THREADS": str(len(_computing(cpus, 1)))}
    with _set(wanted):
        yield


@contextmanager
def _set(wanted: Mapping[str, str]) -> Iterator[None]:
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


def _apart(arguments: Mapping[str, Any]) -> bool:
    """Whether vLLM computes in other processes than its scheduler's."""
    wanted = os.environ.get(PROCESSES, "0") != "0" or arguments.get("distributed_executor_backend") == "mp"
    return wanted or BOUND in os.environ


def shares(cpus: Sequence[int], ranks: int) -> str:
    """CPU numbers for each rank: "0,1|2,3"."""
    computing = _computing(cpus, ranks)
    return "|".join(",".join(map(str, computing[rank::ranks] or computing)) for rank in range(ranks))


def _computing(cpus: Sequence[int], ranks: int) -> Sequence[int]:
    """All but one, which is left to the scheduler, where that costs less than it gains."""
    return cpus[1:] if len(cpus) > 2 * ranks else cpus
