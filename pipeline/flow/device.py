"""Whether engines run on GPUs or on the CPU, before the job joins or starts a cluster."""

from __future__ import annotations

import logging
import os
from typing import Literal

import ray
from ray._private.accelerators import NvidiaGPUAcceleratorManager
from ray.exceptions import AuthenticationError

from pipeline.errors import ConfigurationError
from pipeline.flow.cluster import kept_signals
from pipeline.settings import Engine


def device(engine: Engine) -> Literal["gpu", "cpu"]:
    """What `--engine.device auto` means: gpu where the cluster that the job will run on has any, else cpu. That is the
    one that RAY_ADDRESS names or that runs on this machine, else one of this machine alone. A server's model takes no
    GPU of it.

    Raises:
        ConfigurationError: it says nothing of a cluster whose machines are yet to come.
    """
    if engine.server:
        return "cpu"
    if engine.device != "auto":
        return engine.device
    found = _found()
    if engine.elastic and found == "cpu":
        raise ConfigurationError(
            "--engine.elastic: there is no GPU yet, so that --engine.device auto would mean cpu; name --engine.device"
        )
    return found


def _found() -> Literal["gpu", "cpu"]:
    if ray.is_initialized():
        return _of_cluster()
    if os.environ.get("RAY_ADDRESS") != "local":
        try:
            with kept_signals():
                ray.init(address="auto", log_to_driver=False, logging_level=logging.CRITICAL)
            return _of_cluster()
        except (ConnectionError, RuntimeError, ValueError, AuthenticationError):
            pass  # none runs; what else is wrong with it shows when the job joins it
        finally:
            ray.shutdown()
    return "gpu" if NvidiaGPUAcceleratorManager.get_current_node_num_accelerators() else "cpu"


def _of_cluster() -> Literal["gpu", "cpu"]:
    return "gpu" if ray.cluster_resources().get("GPU", 0) else "cpu"
