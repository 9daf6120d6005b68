"""What all folders of the pipeline agree on: recordings and windows as rows of tables, outcomes, failure codes, flags.

Spans are half-open `[start_s, end_s)`, in seconds of the recording's own clock. `text` is null where transcription
failed and "" where nothing was said: a failure is never an empty transcript.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

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
    TOO_LARGE = "too_large"  # an object of more than audio.max_object_gb
    DECODE_LIMIT = "decode_limit"  # ffmpeg passed its time, memory or output limit
    NO_SPEECH = "no_speech"  # there is nothing in it to ask about
    CONTEXT_LIMIT = "context_limit"  # the questions and what they are about are longer than the model's context
    INVALID_ANSWER = "invalid_answer"  # it breaks the schema of answers or of a tool, or was cut before it was whole
    DECODE_DIED = "decode_died"  # three decode workers died of it
    ENGINE_ERROR = "engine_error"
    ENGINE_DIED = "engine_died"  # two engines died of it
    INCOMPLETE = "incomplete"  # some of its segments never came back
    INTERNAL_ERROR = "internal_error"  # a fault of ours: please report it


# Failures that say nothing of the recording: the next run tries again. See errors.TransientError.
TRANSIENT = (
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


class Flag(StrEnum):
    """What makes a transcript, or a part of it, suspicious: look before you trust it."""

    NO_TEXT = "no_text"  # speech without a word
    LITTLE_TEXT = "little_text"  # fewer than guards.min_chars_per_s
    MUCH_TEXT = "much_text"  # more than guards.max_chars_per_s
    REPETITION = "repetition"  # it repeats itself
    LENGTH_LIMIT = "length_limit"  # it reached engine.max_tokens_per_s: its end may be missing
    OTHER_SCRIPT = "other_script"  # letters of none of the languages that it may have
    LOW_CONFIDENCE = "low_confidence"  # mean_logprob below guards.min_mean_logprob
    NO_SPEECH = "no_speech"  # low confidence, and the model doubts that anybody speaks: its text is dropped
    LANGUAGE_DISPUTED = "language_disputed"  # the methods that find the language disagree
    UNEXPECTED_LANGUAGE = "unexpected_language"  # its text is in none of the languages that were expected
    UNSUPPORTED_WORDS = "unsupported_words"  # words that are not in the audio, as far as the aligner can tell
    NOT_ALIGNED = (
        "not_aligned"  # words have no times: the aligner failed, or knows none of their letters, or they are too many
    )
    NO_SPEAKERS = "no_speakers"  # of a recording: its speakers could not be told apart, and it has no turns
    TIMESTAMPS_CORRECTED = "timestamps_corrected"  # of a recording: wrong timestamps were ignored
    LONG_GAPS = "long_gaps"  # of a recording: its timestamps leave more silence than it has audio
    MIXED_LANGUAGES = "mixed_languages"  # of a recording: a second language holds a tenth of its speech


# One row per recording to do. `content_version` is the object's etag, or size and modification time; null where the
# object could not be looked at, with failure_code saying why. `place` is what the recording is, whatever its content:
# see identity.place.
RECORDING = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("content_version", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_at", pa.timestamp("us", tz="UTC")),
        pa.field("language", pa.string()),
        pa.field("range_start_s", pa.float64()),
        pa.field("range_end_s", pa.float64()),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
    ]
)

SPANS = pa.list_(pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64())]))

# Who speaks when: ordered by start.
TURNS = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64(), nullable=False),
            pa.field("end_s", pa.float64(), nullable=False),
            pa.field("speaker", pa.string(), nullable=False),
        ]
    )
)

# One row per window, on its way to an engine. The last window of a recording alone carries `segment_count`,
# `duration_s`, `content_version`, that of the content that was read, and `turns`, where speakers are asked for: a
# recording is complete when that row and as many segments as it says have arrived. The last window of each channel
# carries `channel_speech_s`, all speech that the voice activity detector found in it, and `recording_flags`, what is
# suspicious about its decoding.
# A window without samples does not go to an engine: it failed, or nothing is said in it.
_WINDOW_FIELDS = [
    pa.field("recording_id", pa.string(), nullable=False),
    pa.field("channel", pa.int32()),
    pa.field("segment_index", pa.int32(), nullable=False),
    pa.field("start_s", pa.float64(), nullable=False),
    pa.field("end_s", pa.float64(), nullable=False),
    pa.field("speech_s", pa.float64(), nullable=False),
    pa.field("spans", SPANS),  # where speech was found in it
    pa.field("overlap_s", pa.float64(), nullable=False),  # audio before start_s, which the window before has too
    pa.field("language", pa.string()),
    pa.field("failure_code", pa.string()),
    pa.field("failure_detail", pa.string()),
    pa.field("segment_count", pa.int32()),
    pa.field("duration_s", pa.float64()),
    pa.field("content_version", pa.string()),
    pa.field("channel_speech_s", pa.float64()),
    pa.field("recording_flags", pa.list_(pa.string())),
    pa.field("turns", TURNS),
]
WINDOW = pa.schema([*_WINDOW_FIELDS, pa.field("samples", pa.binary())])  # int16 little-endian mono 16 kHz
# What every task's answers begin with: a window without its samples.
ANSWERED = pa.schema(_WINDOW_FIELDS)
# Those that say something of the whole recording or channel.
OF_RECORDING = ("segment_count", "duration_s", "content_version", "channel_speech_s", "recording_flags", "turns")

# Where a row comes from; on every row of every table.
PROVENANCE = [
    pa.field("content_version", pa.string()),
    pa.field("model", pa.string(), nullable=False),
    pa.field("model_revision", pa.string(), nullable=False),
    pa.field("runtime", pa.string()),  # what ran the model; null in tables of 0.1
    pa.field("runtime_version", pa.string()),
    pa.field("fingerprint", pa.string(), nullable=False),
    pa.field("pipeline_version", pa.string(), nullable=False),
    # A dictionary, since that is what pandas and pyarrow make of the folder run_id=<id>: the two must agree.
    pa.field("run_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
]

# What the ledger reads of a task's table of recordings, to tell which of them are done; see ledger.done. A row with a
# channel is about that channel alone. `place` is missing in tables of 0.1.
KEYS = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("content_version", pa.string()),
        pa.field("range_start_s", pa.float64()),
        pa.field("range_end_s", pa.float64()),
        pa.field("declared_language", pa.string()),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("failure_code", pa.string()),
        pa.field("channel", pa.int32()),
    ]
)
