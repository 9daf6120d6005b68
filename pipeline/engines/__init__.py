"""Speech models behind one small protocol (base.py). `start` picks the one that a checkpoint needs."""

from pipeline.engines.base import Engine
from pipeline.engines.checkpoint import Checkpoint
from pipeline.settings import Settings


def start(settings: Settings, checkpoint: Checkpoint, in_ray: bool = False) -> Engine:
    """Load the model in this process; takes a minute or more. `in_ray`: Ray's metrics export those of vLLM, too."""
    if checkpoint.family == "scripted":
        from pipeline.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    from pipeline.engines.vllm_engine import VllmEngine

    return VllmEngine(settings, checkpoint, in_ray)
