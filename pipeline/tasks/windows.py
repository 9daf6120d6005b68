"""What tasks have in common that ask something of every window, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.audio import prepare
from pipeline.models import demand
from pipeline.models.checkpoint import Checkpoint, fit
from pipeline.settings import Settings
from pipeline.sources import listing
from pipeline.sources.kept import Keep


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
