"""The task of asking, as runs see it."""

# pyright: reportArgumentType=false
# (pyarrow's stubs know no plain values beside columns.)

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline import models
from pipeline.errors import ConfigurationError
from pipeline.flags import settings_of
from pipeline.models import family
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand
from pipeline.models.demand import context as context_of
from pipeline.models.protocol import Model
from pipeline.registry import ASK
from pipeline.schema import RECORDING
from pipeline.settings import Settings
from pipeline.sources import groups, listing, manifest
from pipeline.sources.columns import plain
from pipeline.sources.kept import Keep
from pipeline.sources.listing import Listing
from pipeline.tasks import windows
from pipeline.tasks.ask import numbers as answer_numbers
from pipeline.tasks.ask import parts, transcripts, values, worker
from pipeline.tasks.ask.answers import rows
from pipeline.tasks.ask.schema import ASKED, REPLIED, answer_schema
from pipeline.tasks.ask.settings import ABOUT_TRANSCRIPTS, WithTask
from pipeline.tasks.protocol import Gather

ASKING_VERSION = 1  # raised when a change of ours makes other answers
# A text of so many bytes takes a token at least, but for the rarest; one that takes more is told by its failure.
BYTES_PER_TOKEN = 2
SHORTEST_TEXT = 256  # tokens of a transcript that a prompt has room for
TEMPLATE_BYTES = 512  # around a question or tool: see prompts.py
COLUMNS = "columns"  # the listing's column with the values that stand in questions, as JSON
OURS = ("uri", "recording_id", "language")  # columns of RECORDING that may stand in questions, beside the manifest's

Row = dict[str, Any]


class Asking:
    """Questions about recordings, groups of them, or their transcripts; the answers, and what became of each
    recording."""

    name: ClassVar[str] = ASK
    requires: Sequence[Ability] = (Ability.CHAT,)  # and more where answers follow a schema
    carrying: Sequence[str] = ("answers", "recordings")
    answers: pa.Schema = REPLIED

    def __init__(self, settings: Settings) -> None:
        """The settings are of a job that asks.

        Raises:
            ConfigurationError: they do not say what to ask, or what cannot be asked.
        """
        assert isinstance(settings, WithTask)
        self._questions, self._over_texts = settings.questions(), settings.over == "transcripts"
        if self._questions.system and not self._over_texts:
            why = "the model takes no system prompt together with audio; say it in the question, or --over transcripts"
            raise ConfigurationError(f"task {self._questions.name}: system: {why}")
        schema = self._questions.answer_schema
        if schema or self._questions.tool_choice != "auto":
            self.requires = (*self.requires, Ability.FOLLOW_SCHEMA)
        self._value = values.arrow_type(schema) if schema else pa.string()
        self.tables: Mapping[str, pa.Schema] = {"answers": answer_schema(self._value), "recordings": ASKED}
        self.facts: Row = {"asked": {"name": self._questions.name, **self._questions.facts()}}
        self._most_audios = self._audios = 1  # of one prompt: what the model takes, and what it is given
        self._text_bytes: int | None = None  # of a transcript's part
        self._longest_s = math.inf  # of audio that the context has room for

    def fit(self, settings: Settings, checkpoint: Checkpoint) -> Settings:
        if settings.channels == "split":
            raise ConfigurationError("--channels split: questions are about the mix of a recording's channels")
        for each in settings_of(type(settings)):
            if each.key in ABOUT_TRANSCRIPTS and attrgetter(each.key)(settings) != each.field.default:
                raise ConfigurationError(f"{each.flag}: is about transcripts; leave it out")
        for key, schema in self._schemas():
            if why := models.refusal(checkpoint, schema):
                raise ConfigurationError(
                    f"task {self._questions.name}: {key}: {checkpoint.runtime} can make no answer follow it ({why})"
                )
        found = family.family(checkpoint.family)
        longest_s, chunk_s = found.abilities.longest_chat_s or 0.0, checkpoint.chunk_s
        self._most_audios = found.abilities.audios_per_chat
        context, own = context_of(settings.engine, checkpoint), self._own_tokens()
        if context:
            room = context - own - self._around(found, 0.0)
            per_chunk = self._around(found, chunk_s) - self._around(found, 0.0)
            if room < max(1, SHORTEST_TEXT if self._over_texts else per_chunk):
                raise ConfigurationError(
                    f"task {self._questions.name}: the questions, their answers (max_tokens) and tools may take {own}"
                    f" tokens, and the context has {context}: that leaves no room for what they are about"
                )
            self._text_bytes = room * BYTES_PER_TOKEN
            self._longest_s = room // per_chunk * chunk_s if per_chunk else math.inf
            longest_s = min(longest_s, self._longest_s)
        elif self._over_texts:
            raise ConfigurationError(
                "--over transcripts: the model does not tell how long its context is, by which transcripts are parted:"
                " --engine.max-model-len says it"
            )
        if self._over_texts:
            return settings
        limit = settings.segmentation.max_window_s or longest_s
        if limit > longest_s:
            raise ConfigurationError(
                f"--segmentation.max-window-s {limit:g}: beside the questions a prompt has room for {longest_s:g} s"
            )
        chosen = {"max_window_s": limit, "max_pause_s": settings.segmentation.max_pause_s or limit}
        return settings.model_copy(update={"segmentation": settings.segmentation.model_copy(update=chosen)})

    def demand(self, settings: Settings, checkpoint: Checkpoint) -> Demand:
        if self._over_texts:
            context = context_of(settings.engine, checkpoint) or 0
            return Demand(0.0, context - self._around(family.family(checkpoint.family), 0.0))
        # Each of a group's recordings is padded. One for which there is no room then fails alone.
        padded_s = (settings.segmentation.max_window_s or 0.0) + (self._audios - 1) * checkpoint.chunk_s
        return Demand(min(padded_s, self._longest_s), self._own_tokens(), self._audios)

    def fingerprint(self, settings: Settings, checkpoint: Checkpoint) -> Mapping[str, Any]:
        return {
            "asking_version": ASKING_VERSION,
            **windows.of_model(settings, checkpoint),
            "asked": self._questions.facts(),
            **({"text_bytes": self._text_bytes} if self._over_texts else windows.of_audio(settings)),
        }

    def recordings(self, settings: Settings, keep: Keep | None = None) -> Listing:
        early = None if self._questions.columns else keep  # what they hold belongs to what is done
        if self._over_texts:
            found = transcripts.listing(settings.input, settings.limit, early)
        else:
            if settings.input.lower().endswith(manifest.FORMATS):
                early = None  # groups are made of all rows
            found = groups.collapse(self._listed(settings, settings.limit, early), self._most_audios)
            if settings.limit and groups.GROUP_ID in found.extra.column_names:  # the last one may miss recordings
                found = groups.collapse(self._listed(settings, None, early), self._most_audios)
                found = found.take(np.arange(min(settings.limit, len(found.recordings))))
            self._audios = groups.largest(found)
        found = self._with_columns(found, settings)
        if not keep or early:
            return found
        return found.take(np.flatnonzero(keep(found.recordings.select(RECORDING.names))))

    def prepare(self, recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
        if not self._over_texts:
            return parts.of_audio(recordings, settings)
        return parts.of_texts(recordings, transcripts.texts(settings.input, recordings), self._text_bytes)

    def decode_died(self, given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
        return parts.decode_died(given, recording, kills)

    def worker(self, model: Model | None, settings: Settings, gather: Gather) -> worker.Ask:
        assert model
        return worker.Ask(model, self._questions, gather)

    def engine_died(self, windows: pa.Table, deaths: int) -> pa.Table:
        return worker.engine_died(windows, deaths)

    def rows(
        self, recording: Row, answers: Sequence[Row], settings: Settings, complete: bool
    ) -> Mapping[str, Sequence[Row]]:
        return rows(recording, answers, self._questions, self._value, complete)

    def _schemas(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """That answers must follow, by their keys in a task file."""
        asked = self._questions
        if asked.answer_schema:
            yield "schema", asked.answer_schema
        if asked.tool_choice != "auto":
            yield "tools", values.calls_schema(asked.tools, asked.tool_choice)

    def _listed(self, settings: Settings, limit: int | None, keep: Keep | None) -> Listing:
        taken = {COLUMNS, *(name for schema in self.tables.values() for name in schema.names)}
        return listing.read(settings.input, settings.output, limit, settings.allow, sorted(taken), keep=keep)

    def _own_tokens(self) -> int:
        """Tokens at most that a prompt and its answers take beside the audio or transcript that they are about; a byte
        is never more than one."""
        asked = self._questions
        turns = max(asked.conversations, key=lambda turns: sum(len(turn.question.encode()) for turn in turns))
        texts = [turn.question for turn in turns] + [tool.model_dump_json() for tool in asked.tools]
        around = TEMPLATE_BYTES * len(texts) + len((asked.system or "").encode())
        return around + sum(len(text.encode()) for text in texts) + asked.max_tokens * len(turns)

    @staticmethod
    def _around(of: family.Family, audio_s: float) -> int:
        """Tokens of a prompt with so much audio and no text."""
        return of.prompts.context(audio_s) if of.prompts else 0

    def _with_columns(self, found: Listing, settings: Settings) -> Listing:
        """The listing with a column `columns`: what stands in the questions, as JSON."""
        wanted, extra = self._questions.columns, found.extra.column_names
        lacking = [name for name in wanted if name not in extra and name not in OURS]
        if lacking:
            own = ", ".join(extra) or "none of its own"
            raise ConfigurationError(
                f"--input {settings.input}: no column {', '.join(lacking)}, which the questions name; it has {own}"
            )
        if not wanted:
            return found
        given = zip(*(plain(found.extra if name in extra else found.recordings, name) for name in wanted), strict=True)
        texts = [json.dumps(dict(zip(wanted, row, strict=True)), default=str) for row in given]
        table = found.recordings.append_column(COLUMNS, pa.array(texts, pa.string()))
        pairs = table.select(["content_version", COLUMNS]).to_pylist()
        versions = [row["content_version"] and row["content_version"] + parts.columns_version(row) for row in pairs]
        at = table.schema.get_field_index("content_version")
        return replace(found, recordings=table.set_column(at, RECORDING.field(at), pa.array(versions, pa.string())))

    def numbers(self) -> answer_numbers.Numbers:
        return answer_numbers.Numbers()

    def summary(self, numbers: Row) -> list[tuple[str, str]]:
        return answer_numbers.summary(numbers)
