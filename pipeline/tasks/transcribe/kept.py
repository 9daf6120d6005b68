"""Transcription of recordings whose texts are there: they are cut again, and only what lies beside texts is found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import rows, storage_errors
from pipeline.alignment.protocol import Aligner
from pipeline.errors import ConfigurationError, failure
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.protocol import Model
from pipeline.rows import Window
from pipeline.schema import RECORDING, WINDOW, FailureCode, Flag
from pipeline.settings import Settings
from pipeline.sources.kept import Keep
from pipeline.sources.listing import Listing
from pipeline.tasks.protocol import Gather, Left
from pipeline.tasks.transcribe import aligners, assemble, texts, words, worker
from pipeline.tasks.transcribe import numbers as transcript_numbers
from pipeline.tasks.transcribe.answers import Answer, hypotheses
from pipeline.tasks.transcribe.schema import HYPOTHESIS
from pipeline.tasks.transcribe.segments import Segment
from pipeline.tasks.transcribe.task import Transcription
from pipeline.tasks.transcribe.texts import KEPT, LEFT, TEXTS_FINGERPRINT

OF_WORDS = (Flag.NOT_ALIGNED, Flag.UNSUPPORTED_WORDS)  # what an aligner says of a text

Row = dict[str, Any]


def transcription(settings: Settings) -> Transcription:
    """The task that settings mean."""
    return KeptTexts(settings) if settings.keep_texts else Transcription(settings)


class KeptTexts(Transcription):
    """Every window with the text that an earlier run has published, and what is found beside it now. A recording whose
    windows and texts are not of one piece is left as it is."""

    answers: pa.Schema = pa.schema([*HYPOTHESIS, LEFT])

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.requires: Sequence[Ability] = ()
        self._finds_words = settings.words

    def fit(self, settings: Settings, checkpoint: Checkpoint) -> Settings:
        if not (settings.words or settings.speakers):
            raise ConfigurationError(
                "--keep-texts: nothing is to be added to the texts; name --words or --speakers, too"
            )
        if settings.retry:
            raise ConfigurationError("--keep-texts: recordings that failed have no text; leave --retry out")
        settings = super().fit(settings, checkpoint)
        # The device has had its say in the fingerprint.
        dtype = {} if settings.engine.server else {"dtype": settings.engine.resolved_dtype}
        engine = settings.engine.model_copy(update={"device": "cpu", "tensor_parallel_size": 1} | dtype)
        return settings.model_copy(update={"engine": engine})

    def recordings(self, settings: Settings, keep: Keep | None = None) -> Listing:
        if not keep:
            return super().recordings(settings)
        with storage_errors.errors_as(ConfigurationError, f"--output {settings.output}", storage_errors.READ_ERRORS):
            published = texts.Published(settings.output, self.facts[TEXTS_FINGERPRINT])
        without = 0

        def with_text(recordings: pa.Table) -> np.ndarray:
            nonlocal without
            todo, has = keep(recordings), published.has(recordings)
            without += int((todo & ~has).sum())
            return todo & has

        found = published.beside(super().recordings(settings, with_text))
        for name in published.passes(found):
            if not getattr(settings, name):
                raise ConfigurationError(
                    f"--keep-texts: texts in {settings.output} have {name}, which the new rows would lack: add --{name}"
                )
        return replace(found, without_texts=without)

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        versions = dict(zip(*(recordings[x].to_pylist() for x in ("recording_id", "content_version")), strict=True))
        listed = recordings.select(RECORDING.names)
        found: texts.Texts = {}
        try:
            found = texts.read(settings.output, recordings)
        except storage_errors.READ_ERRORS as error:
            why = failure(storage_errors.failure_code(error), storage_errors.explain(error))
            for name, value in (("failure_code", why.code.value), ("failure_detail", why.detail)):
                at, field = RECORDING.get_field_index(name), RECORDING.field(name)
                listed = listed.set_column(at, field, pa.array([value] * len(listed), pa.string()))
        for windows in super().prepare(listed, settings):
            yield texts.beside(windows, found, versions)

    def decode_died(self, given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
        for windows in super().decode_died(given, recording.select(RECORDING.names), kills):
            yield windows if KEPT.name in windows.column_names else texts.beside(windows, {}, {})

    def worker(self, model: Model | None, settings: Settings, gather: Gather) -> Passes:
        return Passes(settings, aligners.load(settings))

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        kept = [_without_words(row) for row in windows[KEPT.name].to_pylist()]
        died_of = [Flag.NOT_ALIGNED] if self._finds_words else []
        return _answers(windows, [replace(one, flags=[*(one.flags or ()), *died_of]) for one in kept])

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        answers = [dict(row) for row in answers]
        left = [why for row in answers if (why := row.pop(LEFT.name))]
        if left or not complete:
            raise Left(left[0] if left else FailureCode.INCOMPLETE.value)
        return super().rows(recording, answers, settings, complete)

    def settle(self, found: Sequence[Segment]) -> list[Segment]:
        return assemble.order_words(found)

    def numbers(self) -> transcript_numbers.Numbers:
        return transcript_numbers.Numbers(is_computed=False)

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        lines = super().summary(numbers)
        if left := numbers.get("left"):
            why = ", ".join(f"{count} {reason}" for reason, count in left.items())
            lines.append(("left as is", f"{sum(left.values())}: {why}; a run without --keep-texts does them"))
        return lines


class Passes:
    """Windows with their texts -> rows of KeptTexts.answers, as many and in the same order."""

    def __init__(self, settings: Settings, aligner: Aligner | None) -> None:
        """`aligner` finds the times of words, where they are asked for."""
        self.finished = 0
        self._word_times = words.WordTimes(aligner, settings.alignment.min_score) if aligner else None

    async def __call__(self, windows: pa.Table) -> pa.Table:
        given = rows.read(windows.select(WINDOW.names), Window)
        return _answers(windows, await asyncio.gather(*map(self._one, given, windows[KEPT.name].to_pylist())))

    async def _one(self, window: Window, kept: Row | None) -> Answer:
        answer = _without_words(kept)
        if kept and answer.text is not None and window.samples is not None:
            if self._word_times:
                ends_s = window.overlap_s, kept["next_overlap_s"]  # words there may be in the text beside this one
                speech = worker.speech(window, window.samples)
                found, doubts = await self._word_times.of(speech, answer.text, answer.language, ends_s)
                answer = replace(answer, words=found, flags=[*(answer.flags or ()), *doubts])
            self.finished += 1
        return answer


def _without_words(kept: Row | None) -> Answer:
    """An answer with the text of a KEPT value, and nothing of what an earlier aligner said of it."""
    if not kept:
        return Answer(text=None, language=None)
    answer = Answer(**{name: kept[name] for name in texts.ANSWER})
    return replace(answer, flags=answer.flags and [flag for flag in answer.flags if flag not in OF_WORDS])


def _answers(windows: pa.Table, answers: Sequence[Answer]) -> pa.Table:
    return hypotheses(windows, answers).append_column(LEFT, windows[LEFT.name])
