"""The rows that travel through the corridor, and the two tables that come out of it.

Spans are half-open `[start_s, end_s)`, in seconds of the recording's own clock. `text` is null where transcription
failed and "" where nothing was said: a failure is never an empty transcript.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

SCHEMA_VERSION = 1
SAMPLE_RATE_HZ = 16_000


class FailureCode(StrEnum):
    """Why a recording, or a part of it, has no transcript."""

    INVALID_ROW = "invalid_row"  # the manifest's row cannot be used
    DUPLICATE_ID = "duplicate_id"  # the manifest gives one recording_id to two different recordings
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    STORAGE_ERROR = "storage_error"  # the object could not be read for another reason
    EMPTY_FILE = "empty_file"
    NOT_MEDIA = "not_media"  # no allowed container format recognises it
    NO_AUDIO = "no_audio"  # media, without an audio stream
    DECODE_ERROR = "decode_error"  # ffmpeg failed on it
    TRUNCATED = "truncated"  # it ends before the duration that its header states
    TOO_LONG = "too_long"  # past audio.max_duration_s
    DECODE_LIMIT = "decode_limit"  # ffmpeg passed its time, memory or output limit
    ENGINE_ERROR = "engine_error"
    INCOMPLETE = "incomplete"  # some of its segments never came back
    INTERNAL_ERROR = "internal_error"  # a fault of ours: please report it


# Failures that say nothing of the recording itself: the next run tries again.
PASSING = (
    FailureCode.FORBIDDEN,
    FailureCode.STORAGE_ERROR,
    FailureCode.ENGINE_ERROR,
    FailureCode.INCOMPLETE,
    FailureCode.INTERNAL_ERROR,
)


class Outcome(StrEnum):
    """How a recording ended."""

    OK = "ok"
    PARTIAL = "partial"  # some segments have text, some failed
    FAILED = "failed"


class LanguageSource(StrEnum):
    """Who says which language it is."""

    DECLARED = "declared"  # the manifest says so
    MODEL = "model"  # the most likely of engine.languages, by the model's own score


# One row per recording to do. `content_version` is the object's etag, or size and modification time;
# null where the object could not be looked at, with failure_code saying why.
RECORDING = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("channel", pa.int32()),  # null: all channels mixed
        pa.field("content_version", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("language", pa.string()),
        pa.field("range_start_s", pa.float64()),
        pa.field("range_end_s", pa.float64()),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
    ]
)

# One row per window, on its way to an engine. The last window of a recording alone carries `segment_count` and
# `duration_s`: a recording is complete when that row and as many segments as it says have arrived.
# A window without samples does not go to an engine: it failed, or nothing is said in it.
_WINDOW_FIELDS = [
    pa.field("recording_id", pa.string(), nullable=False),
    pa.field("segment_index", pa.int32(), nullable=False),
    pa.field("start_s", pa.float64(), nullable=False),
    pa.field("end_s", pa.float64(), nullable=False),
    pa.field("speech_s", pa.float64(), nullable=False),
    pa.field("language", pa.string()),
    pa.field("failure_code", pa.string()),
    pa.field("failure_detail", pa.string()),
    pa.field("segment_count", pa.int32()),
    pa.field("duration_s", pa.float64()),
]
WINDOW = pa.schema([*_WINDOW_FIELDS, pa.field("samples", pa.binary())])  # int16 little-endian mono 16 kHz

# One row per window, back from an engine.
_HYPOTHESIS_FIELDS = [
    pa.field("text", pa.string()),
    pa.field("language_probability", pa.float32()),
    pa.field("language_source", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("token_count", pa.int32()),
    pa.field("mean_logprob", pa.float32()),
    pa.field("padded_s", pa.float64()),  # audio seconds the engine computed for it, padding included
]
HYPOTHESIS = pa.schema([*_WINDOW_FIELDS, *_HYPOTHESIS_FIELDS])

# Where a row comes from; on every row of both tables.
PROVENANCE = [
    pa.field("content_version", pa.string()),
    pa.field("model", pa.string(), nullable=False),
    pa.field("model_revision", pa.string(), nullable=False),
    pa.field("fingerprint", pa.string(), nullable=False),
    pa.field("pipeline_version", pa.string(), nullable=False),
    # A dictionary, since that is what pandas and pyarrow make of the folder run_id=<id>: the two must agree.
    pa.field("run_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
]

SEGMENT = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("channel", pa.int32()),
        *(field for field in HYPOTHESIS if field.name not in ("recording_id", "segment_count", "duration_s")),
        *PROVENANCE,
    ]
)

TRANSCRIPT = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("channel", pa.int32()),
        pa.field("range_start_s", pa.float64()),  # of the manifest, where it means a part of the recording
        pa.field("range_end_s", pa.float64()),
        pa.field("duration_s", pa.float64()),
        pa.field("speech_s", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("language_probability", pa.float32()),
        pa.field("language_source", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [
                        pa.field("segment_index", pa.int32(), nullable=False),
                        pa.field("start_s", pa.float64(), nullable=False),
                        pa.field("end_s", pa.float64(), nullable=False),
                        pa.field("text", pa.string()),
                        pa.field("language", pa.string()),
                        pa.field("failure_code", pa.string()),
                    ]
                )
            ),
        ),
        *PROVENANCE,
    ]
)
