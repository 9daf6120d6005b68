"""Joining a cluster, and deciding which engines fit it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType

import psutil
import ray
from ray.exceptions import AuthenticationError

from pipeline.errors import ConfigurationError
from pipeline.flow.actors import EngineActor
from pipeline.flow.gpus import placed
from pipeline.flow.head import watched
from pipeline.flow.messages import logged
from pipeline.log import through_root
from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import Engine, Settings

ENGINE_END_S = 30.0
AUTHENTICATION = (
    "set RAY_AUTH_MODE=token, and give the cluster's token in RAY_AUTH_TOKEN, in the file that RAY_AUTH_TOKEN_PATH"
    " names, or in ~/.ray/auth_token"
)


def engine_cpus(engine: Engine) -> float:
    """CPUs that an engine asks Ray for. On GPUs a process for each of them is busy, vLLM's scheduler, and ours. On the
    CPU an engine computes on all of them, beside the decode workers."""
    return (engine.tensor_parallel_size or 1) + 2.0 if engine.device == "gpu" else 0.0


@contextmanager
def cluster(
    settings: Settings, checkpoint: Checkpoint, say: Callable[..., None] = lambda *_, **__: None
) -> Iterator[Settings]:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine, or start one; leave it at the end. Yields
    the settings with what `placed` and `decide` say of the engines; `say` is told what was chosen and why.

    Raises:
        ConfigurationError: there is no cluster, its token is missing or wrong, or the engines asked for do not fit it.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not settings.verbose:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    level = logging.INFO if settings.verbose else logging.WARNING
    joined = ray.is_initialized()
    if not joined:
        try:
            with watched(_named(), say), kept_signals(), nullcontext() if settings.verbose else _silent_stderr():
                ray.init(log_to_driver=settings.verbose, logging_level=level, include_dashboard=False)
        except AuthenticationError as error:
            raise ConfigurationError(f"no Ray cluster: {error.message.splitlines()[0]}; {AUTHENTICATION}") from error
        except ConnectionError as error:  # Ray says no more where the token is wrong, or was not sent
            reason = f"no Ray cluster: {error}".splitlines()[0]
            raise ConfigurationError(f"{reason}; should it run and ask for a token: {AUTHENTICATION}") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"no Ray cluster: {error}".splitlines()[0]) from error
    through_root("ray.data", "ray", level=level)
    with nullcontext() if settings.verbose else logged():
        try:
            # The cause of an error is in our own message, in one line.
            logging.getLogger("ray.data.exceptions").setLevel(level if settings.verbose else logging.CRITICAL)
            settings = settings.model_copy(update={"engine": placed(settings.engine, checkpoint, say)})
            engine = decide(settings, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            with watched(ray.get_runtime_context().gcs_address, say):
                yield settings.model_copy(update={"engine": engine})
        finally:
            if not joined:
                engines = _engine_processes()
                ray.shutdown()
                _end(engines)


def _named() -> str:
    """The head's address as it was given. For this machine's loopback Ray takes another address of the machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    return "" if address.startswith(("127.", "localhost", "[::1]")) else address


def _engine_processes() -> list[psutil.Process]:
    """Those of a local cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if EngineActor.__name__ in "".join(process.cmdline()) or process.name().startswith("VLLM"):
                found.append(process)
    return found


def _end(processes: list[psutil.Process]) -> None:
    """No process outlives the job: Ray ends the actors, vLLM's processes end with them (models/runtimes/orphans.py)."""
    for process in psutil.wait_procs(processes, timeout=ENGINE_END_S)[1]:
        with suppress(psutil.Error):
            process.kill()


@contextmanager
def kept_signals() -> Iterator[None]:
    """Ray makes SIGTERM an immediate end, also where it joins nothing; whoever runs the job knows better. And it loses
    what a signal's handler raises inside its compiled code: that is raised behind it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    raised: list[BaseException] = []

    def note(number: int, frame: FrameType | None) -> None:
        handler = kept[signal.Signals(number)]
        try:
            if callable(handler):
                handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    for number, handler in kept.items():
        if callable(handler):
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if raised:
            raise raised[0]


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ core announces its log level whatever that level is."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def decide(settings: Settings, nodes: Sequence[Mapping[str, float]]) -> Engine:
    """Decide device, count and tensor_parallel_size of the engines from the nodes' CPUs and GPUs. Each needs one node.

    Raises:
        ConfigurationError: the engines asked for do not fit.
    """
    engine = settings.engine
    gpus, cpus = [int(node.get("GPU", 0)) for node in nodes], sum(node.get("CPU", 0) for node in nodes)
    device = ("gpu" if any(gpus) else "cpu") if engine.device == "auto" else engine.device
    ranks = engine.tensor_parallel_size or (2 if device == "gpu" else 1)
    if engine.elastic:  # what is missing may come
        if not engine.count:
            raise ConfigurationError("--engine.elastic needs --engine.count, the most engines that there may be")
        return engine.model_copy(update={"device": device, "tensor_parallel_size": ranks})
    if device == "gpu":
        room = sum(number // ranks for number in gpus)
        count = engine.count or room
        if not count or count > room:
            raise ConfigurationError(
                f"{max(1, count)} engine(s) of {ranks} GPU(s) on one node do not fit the cluster's {sum(gpus)} GPU(s);"
                " set --engine.count, --engine.tensor-parallel-size or --engine.device"
            )
    else:
        count = engine.count or 1
    engine = engine.model_copy(update={"device": device, "count": count, "tensor_parallel_size": ranks})
    each = engine_cpus(engine)
    needed = count * each + 1
    if cpus < needed:
        raise ConfigurationError(
            f"{count} engine(s) of {each:g} CPUs each and a decode worker need {needed:g} CPUs;"
            f" the cluster has {cpus:g}: set --engine.count"
        )
    if device == "gpu":
        room = sum(min(int(node.get("GPU", 0)) // ranks, int(node.get("CPU", 0) // each)) for node in nodes)
        if count > room:
            raise ConfigurationError(
                f"{count} engine(s) of {each:g} CPUs and {ranks} GPU(s) each do not fit the nodes with GPUs: their CPUs"
                f" have room for {room}; set --engine.count"
            )
    return engine
