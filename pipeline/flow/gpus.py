"""What GPUs a cluster has, asked on one of its nodes, and what follows for the engines of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import ray
from ray.exceptions import RayError

from pipeline import models
from pipeline.models import nvidia
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.placement import UNKNOWN_SIZE, supported_dtype, tensor_parallel_size
from pipeline.settings import Engine

ANSWER_S = 120.0


def placed(engine: Engine, checkpoint: Checkpoint, say: Callable[[str], None]) -> Engine:
    """The engine's settings, with GPUs per engine and number format that suit the checkpoint and the GPUs, where they
    were left open. `say` is told what was chosen and why.

    Raises:
        ConfigurationError: the weights are too large for these GPUs.
    """
    if engine.device != "gpu" or not models.uses_gpus(checkpoint):
        return engine
    chosen: dict[str, object] = {}
    facts = _first_gpu()
    if not models.shards(checkpoint):
        engine = engine.model_copy(update={"tensor_parallel_size": 1})
    if engine.tensor_parallel_size is None and facts is None:
        chosen["tensor_parallel_size"] = UNKNOWN_SIZE
        say(f"{UNKNOWN_SIZE} GPUs an engine: no GPU of the cluster could be asked for its memory")
    elif engine.tensor_parallel_size is None and facts is not None:
        chosen["tensor_parallel_size"], reason = tensor_parallel_size(checkpoint.weights_bytes, facts[0])
        say(reason)
    if engine.dtype == "auto" and facts is not None:
        dtype, reason = supported_dtype(engine.resolved_dtype, facts[1])
        if reason:
            chosen["dtype"] = dtype
            say(reason)
    return engine.model_copy(update=chosen)


def _first_gpu() -> tuple[int, tuple[int, int]] | None:
    """Bytes of memory and compute capability of a GPU of the cluster; None where there is none that answers."""
    if not ray.cluster_resources().get("GPU", 0):
        return None
    question = ray.remote(num_cpus=0, num_gpus=0.01, max_retries=0)(_ask).remote()
    try:
        return ray.get(question, timeout=ANSWER_S)
    except RayError:
        ray.cancel(question, force=True)
        return None


def _ask() -> tuple[int, tuple[int, int]]:
    first = nvidia.gpus()[0]
    return first.memory_bytes, first.compute_capability
