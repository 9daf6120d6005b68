"""What tasks have in common that ask a model about windows of audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.audio import prepare
from pipeline.models import demand, vllm_arguments
from pipeline.models.checkpoint import Checkpoint, fit
from pipeline.settings import Settings
from pipeline.sources import listing
from pipeline.sources.kept import Keep


def of_model(settings: Settings, checkpoint: Checkpoint) -> dict[str, Any]:
    """What of a fingerprint is about the model, whatever it is asked. It is meant by its revision: a commit of the hub,
    or the digest of a folder, wherever that lies. The settings say the device."""
    engine = settings.engine
    assert engine.device != "auto", "see flow.device"
    return {
        "family": checkpoint.family,
        "model_revision": checkpoint.revision,
        "dtype": engine.resolved_dtype,
        **vllm_arguments.in_texts(engine),
    }


def of_audio(settings: Settings) -> dict[str, Any]:
    """What of a fingerprint is about the audio that the model is given."""
    return {
        "max_duration_s": settings.audio.max_duration_s,
        "segmentation": settings.segmentation.model_dump(),
        **({"server_audio": settings.engine.server_audio} if settings.engine.server else {}),
    }


class OverWindows:
    """Half of a tasks.protocol.Task: the recordings that --input names, cut into windows as the checkpoint takes
    them."""

    tables: Mapping[str, pa.Schema]

    def __init__(self, settings: Settings) -> None:
        self.facts: dict[str, Any] = {}

    def fit(self, settings: Settings, checkpoint: Checkpoint) -> Settings:
        return fit(settings, checkpoint)

    def demand(self, settings: Settings, checkpoint: Checkpoint) -> demand.Demand:
        return demand.of_windows(settings, checkpoint)

    def recordings(self, settings: Settings, keep: Keep | None = None) -> listing.Listing:
        *_, taken = self.tables.values()
        return listing.read(settings.input, settings.output, settings.limit, settings.allow, taken.names, keep=keep)

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        return prepare.prepare(recordings, settings)

    def decode_died(self, given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
        return prepare.decode_died(given, recording, kills)
