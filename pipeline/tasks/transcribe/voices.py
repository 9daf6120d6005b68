"""Telling voices apart, in decode workers: they have the audio of whole recordings. The turns of a recording come with
its last window."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ConfigurationError
from pipeline.rows import Turn
from pipeline.schema import SAMPLE_RATE_HZ, TURNS
from pipeline.settings import Settings
from pipeline.speakers import turns as speaker_turns
from pipeline.speakers.clustering import cluster
from pipeline.speakers.embeddings import MODEL, Embedder
from pipeline.tasks.transcribe.speakers import name


def check(settings: Settings) -> None:
    """See that the speakers can be told apart.

    Raises:
        ConfigurationError: they cannot, or nobody asks for them.
    """
    model = settings.diarization.model
    if model and not settings.speakers:
        raise ConfigurationError(f"--diarization.model {model}: is for --speakers, which is not there")
    if model and settings.channels == "split":
        raise ConfigurationError(f"--diarization.model {model}: with --channels split each channel is a speaker")
    if settings.speakers and settings.channels == "mix":
        noise = np.random.default_rng(0).integers(-1000, 1000, 2 * SAMPLE_RATE_HZ).astype(np.int16)
        try:
            heard = all(np.isfinite(voice.embedding).all() for voice in Embedder(model)(noise, [(0.0, 2.0)]))
        except ConfigurationError:
            raise
        except Exception as error:  # onnxruntime's have no common class
            raise ConfigurationError(f"--diarization.model {model}: it fails: {error}") from error
        if not heard:
            raise ConfigurationError(f"--diarization.model {model}: its embeddings are not finite numbers")


def facts(settings: Settings) -> dict[str, Any]:
    """What changes turns, of `settings`: part of the fingerprint."""
    if not settings.speakers:
        return {}
    if settings.channels == "split":
        return {"speakers": "channels"}
    model = hashlib.sha256(Path(settings.diarization.model or MODEL).read_bytes()).hexdigest()
    return {"speakers": [*settings.speaker_counts, model]}


def with_turns(windows: Iterable[pa.Table], settings: Settings) -> Iterator[pa.Table]:
    """WINDOW rows as they come from a decode worker -> the same; the last window of each recording has its turns.

    Where the voices cannot be told apart the turns stay null: what is said is worth having without.
    """
    embedder = Embedder(settings.diarization.model)
    recording = _Recording()
    for table in windows:
        turns: list[list[Turn] | None] = []
        for at in range(len(table)):
            window = table.slice(at, 1)
            if window["samples"][0].is_valid:
                recording.listen(window, embedder)
            is_last = window["segment_count"][0].is_valid
            turns.append(recording.turns(settings) if is_last else None)
            if is_last:
                recording = _Recording()
        yield table.set_column(table.schema.get_field_index("turns"), "turns", pa.array(turns, TURNS))


class _Recording:
    """The voices of a recording, window by window, by its own clock."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._times: list[tuple[float, float]] = []
        self._embeddings: list[np.ndarray] = []
        self._has_failed = False

    def listen(self, window: pa.Table, embedder: Embedder) -> None:
        """Take in the only row of a WINDOW table."""
        if self._has_failed:
            return
        from_s = window["start_s"][0].as_py() - window["overlap_s"][0].as_py()
        spans = [(span["start_s"], span["end_s"]) for span in window["spans"][0].as_py()]
        self._spans += spans
        try:
            samples = np.frombuffer(window["samples"][0].as_buffer(), dtype="<i2")
            voices = embedder(samples, [(start - from_s, end - from_s) for start, end in spans])
        except Exception:
            self._fail()
            return
        self._times += [(from_s + voice.start_s, from_s + voice.end_s) for voice in voices]
        self._embeddings += [voice.embedding for voice in voices]

    def turns(self, settings: Settings) -> list[Turn] | None:
        """Those of all windows; None where they could not be found."""
        if self._has_failed or not self._embeddings:
            return None if self._has_failed else []
        try:
            labels = cluster(np.stack(self._embeddings), *settings.speaker_counts)
            found = speaker_turns.turns(self._times, labels, self._spans)
        except Exception:
            self._fail()
            return None
        numbers: dict[int, int] = {}  # in the order of the turns: smoothing may have left a speaker without any
        return [
            {
                "start_s": round(turn.start_s, 3),
                "end_s": round(turn.end_s, 3),
                "speaker": name(numbers.setdefault(turn.speaker, len(numbers))),
            }
            for turn in found
        ]

    def _fail(self) -> None:
        self._has_failed = True
        _warn_once()


@cache  # the flag says how often
def _warn_once() -> None:
    logging.getLogger(__name__).warning("the speakers of a recording were not found", exc_info=True)
