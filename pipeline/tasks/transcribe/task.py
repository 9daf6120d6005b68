"""The task of transcription, as runs see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import pyarrow as pa

from pipeline import identity
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.protocol import Model
from pipeline.registry import TRANSCRIBE
from pipeline.settings import Settings
from pipeline.tasks.protocol import Gather, Worker
from pipeline.tasks.transcribe import aligners, assemble, fingerprint, speakers, voices, worker
from pipeline.tasks.transcribe import numbers as transcript_numbers
from pipeline.tasks.transcribe.schema import HYPOTHESIS, SEGMENT, SEGMENT_OWN, TRANSCRIPT
from pipeline.tasks.transcribe.segments import Segment, segments
from pipeline.tasks.transcribe.texts import TEXTS_FINGERPRINT
from pipeline.tasks.windows import OverWindows

Row = dict[str, Any]


class Transcription(OverWindows):
    """Every window's text and language; segments, and the transcripts that they make."""

    name: ClassVar[str] = TRANSCRIBE
    requires: Sequence[Ability] = (Ability.TRANSCRIBE, Ability.FIND_LANGUAGE)
    tables: Mapping[str, pa.Schema] = MappingProxyType({"segments": SEGMENT, "transcripts": TRANSCRIPT})
    carrying: Sequence[str] = ("transcripts",)
    answers: pa.Schema = HYPOTHESIS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.language.translate:
            self.requires = (*self.requires, Ability.TRANSLATE)

    def fit(self, settings: Settings, checkpoint: Checkpoint) -> Settings:
        voices.check(settings)
        settings = aligners.fit(super().fit(settings, checkpoint))
        self.facts = {TEXTS_FINGERPRINT: identity.fingerprint(self.name, fingerprint.of_texts(settings, checkpoint))}
        return settings

    def fingerprint(self, settings: Settings, checkpoint: Checkpoint) -> Mapping[str, Any]:
        return fingerprint.facts(settings, checkpoint)

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        windows = super().prepare(recordings, settings)
        return voices.with_turns(windows, settings) if settings.speakers and settings.channels == "mix" else windows

    def worker(self, model: Model | None, settings: Settings, gather: Gather) -> Worker:
        assert model
        return worker.Transcribe(model, settings, aligners.load(settings))

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        return worker.engine_died(windows, deaths)

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        recording_id, settled = recording["recording_id"], self.settle(segments(answers))
        settled, turns = speakers.labelled(settled, settings) if settings.speakers else (settled, None)
        transcripts = assemble.transcripts(recording_id, settled, settings.guards, complete, turns)
        return {
            "segments": [
                recording  # first: a column of the manifest may have the name of one of ours
                | {name: getattr(segment, name) for name in SEGMENT_OWN}
                | {"recording_id": identity.channel_id(recording_id, segment.channel)}
                for segment in settled
            ],
            "transcripts": [recording | transcript for transcript in transcripts],
        }

    def settle(self, found: Sequence[Segment]) -> list[Segment]:
        """What a recording's segments, in order, know of each other."""
        return assemble.settle(found)

    def numbers(self) -> transcript_numbers.Numbers:
        return transcript_numbers.Numbers()

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        return transcript_numbers.summary(numbers)
