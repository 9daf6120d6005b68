"""Speech models behind one small protocol (base.py). `start` picks the one that a checkpoint needs."""

from pipeline.engines.base import Engine
from pipeline.engines.checkpoint import Checkpoint
from pipeline.settings import Settings


def start(settings: Settings, checkpoint: Checkpoint) -> Engine:
    """Load the model in this process; takes a minute or more."""
    if checkpoint.family == "scripted":
        from pipeline.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    from pipeline.engines.vllm_engine import VllmEngine

    return VllmEngine(settings, checkpoint)
