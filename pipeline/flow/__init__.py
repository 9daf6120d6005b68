"""The only folder that knows Ray: recordings through decode workers and engine actors, streamed."""

from pipeline.flow.background import ticking
from pipeline.flow.cluster import cluster
from pipeline.flow.device import device
from pipeline.flow.metrics import count_recording
from pipeline.flow.stream import answers
from pipeline.flow.tracker import EngineStates

__all__ = ["EngineStates", "answers", "cluster", "count_recording", "device", "ticking"]
