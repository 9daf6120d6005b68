"""The two tables of transcripts, and the rows on their way there."""

from __future__ import annotations

import pyarrow as pa

from pipeline.schema import ANSWERED, OF_RECORDING, PROVENANCE, SPANS, TURNS

DECLARED = "declared"  # language_source where the manifest says which language it is

LANGUAGE_SHARES = pa.list_(pa.struct([pa.field("language", pa.string()), pa.field("share", pa.float32())]))

WORDS = pa.list_(
    pa.struct(
        [
            pa.field("word", pa.string(), nullable=False),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("score", pa.float32()),
            pa.field("speaker", pa.string()),
        ]
    )
)

# One row per window, back from an engine.
_HYPOTHESIS_FIELDS = [
    pa.field("text", pa.string()),
    pa.field("language_probability", pa.float32()),
    pa.field("language_source", pa.string()),
    pa.field("language_shares", LANGUAGE_SHARES),  # of this window alone
    pa.field("unexpected_language", pa.string()),  # of its text, where that is in none of those expected
    pa.field("no_speech_probability", pa.float32()),
    pa.field("finish_reason", pa.string()),
    pa.field("token_count", pa.int32()),
    pa.field("mean_logprob", pa.float32()),
    pa.field("low_probability_share", pa.float32()),
    pa.field("padded_s", pa.float64()),  # audio seconds the engine computed for it, padding and all attempts included
    pa.field("flags", pa.list_(pa.string())),
    pa.field("retried_for", pa.list_(pa.string())),  # the flags of the first attempt
    pa.field("attempts", pa.list_(pa.string())),
    pa.field("kept_attempt", pa.string()),
    pa.field("words", WORDS),  # null unless they were asked for
]
HYPOTHESIS = pa.schema([*ANSWERED, *_HYPOTHESIS_FIELDS])

_SEGMENT_FIELDS = [
    *(field for field in HYPOTHESIS if field.name not in ("recording_id", *OF_RECORDING)),
    pa.field("speaker", pa.string()),  # who says most of it; null unless speakers were asked for
]
SEGMENT_OWN = [field.name for field in _SEGMENT_FIELDS]
SEGMENT = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        *_SEGMENT_FIELDS,
        *PROVENANCE,
    ]
)

TRANSCRIPT = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),  # of rows with one place and channel, the newest counts
        pa.field("uri", pa.string(), nullable=False),
        pa.field("channel", pa.int32()),
        pa.field("range_start_s", pa.float64()),  # of the manifest, where it means a part of the recording
        pa.field("range_end_s", pa.float64()),
        pa.field("declared_language", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("speech_s", pa.float64()),  # that the voice activity detector found
        pa.field("windowed_s", pa.float64()),  # of it, what came into windows
        pa.field("transcribed_s", pa.float64()),  # of it, what is in windows that returned text
        pa.field("text", pa.string()),
        pa.field("language", pa.string()),
        pa.field("language_probability", pa.float32()),
        pa.field("language_source", pa.string()),
        pa.field("unexpected_language", pa.string()),
        pa.field(
            "languages",
            pa.list_(
                pa.struct(
                    [
                        pa.field("language", pa.string(), nullable=False),
                        pa.field("speech_s", pa.float64(), nullable=False),
                        pa.field("probability", pa.float32(), nullable=False),
                    ]
                )
            ),
        ),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("failure_code", pa.string()),
        pa.field("failure_detail", pa.string()),
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [
                        pa.field("segment_index", pa.int32(), nullable=False),
                        pa.field("channel", pa.int32()),
                        pa.field("start_s", pa.float64(), nullable=False),
                        pa.field("end_s", pa.float64(), nullable=False),
                        pa.field("text", pa.string()),
                        pa.field("language", pa.string()),
                        pa.field("mean_logprob", pa.float32()),
                        pa.field("flags", pa.list_(pa.string())),
                        pa.field("failure_code", pa.string()),
                        pa.field("spans", SPANS),
                    ]
                )
            ),
        ),
        pa.field("words", WORDS),  # of all segments
        pa.field("turns", TURNS),  # null unless speakers were asked for
        *PROVENANCE,
    ]
)
