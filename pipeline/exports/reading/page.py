"""One recording as a page: a small HTML file with the data in it, which assets/recording.js shows.

Transcripts are hostile: nothing of them stands in the HTML but the title, escaped, and JSON in which no tag can begin.
The page's policy lets no script run and nothing be loaded but the export's own files and the recording.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from string import Template
from types import MappingProxyType
from typing import Any

from pipeline.exports.reading.audio import Source
from pipeline.schema import KEYS
from pipeline.tasks.transcribe.schema import TRANSCRIPT
from pipeline.text import writable

OF_RECORDING = """recording_id uri outcome failure_code failure_detail flags language language_probability
    language_source unexpected_language languages declared_language duration_s speech_s range_start_s range_end_s
    content_version model model_revision runtime runtime_version fingerprint pipeline_version run_id""".split()
OF_SEGMENT = """segment_index channel start_s end_s text language flags failure_code speaker mean_logprob""".split()
# Of the table of segments: what the row in the transcript has not.
TRIED = """attempts kept_attempt retried_for failure_detail low_probability_share no_speech_probability
    finish_reason unexpected_language""".split()

Row = Mapping[str, Any]
SegmentKey = tuple[int | None, int]  # channel and segment_index


def asset(name: str) -> bytes:
    """A file of pipeline/exports/reading/assets; exported pages have it in page/."""
    return files("pipeline.exports.reading").joinpath("assets", name).read_bytes()


TEMPLATE = Template(asset("recording.html").decode())


def recording_page(facts: Row, audio: Source, title: str, root: str) -> bytes:
    """The page. `facts` are what `page_facts` gives, and in `review` the links to the pages before and after it that
    have segments to review; `root` leads from the page's folder to the index ("../")."""
    own = {"audio": {"url": audio.url, "why": audio.why, "offset_s": audio.offset_s}}
    return TEMPLATE.substitute(
        title=html.escape(title), root=root, media=audio.origin or "'self'", data=inline_json({**facts, **own})
    ).encode()


def page_facts(
    row: Row,
    segments: Mapping[SegmentKey, Row],
    answers: Sequence[Row],
    date: datetime,
    drawn: Mapping[SegmentKey, Row] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a page shows. `row` is of the transcripts; `segments` are the rows of the recording in the other table;
    `drawn` says of the segments to review which sample they are in."""
    known = set(TRANSCRIPT.names) | set(KEYS.names)
    return {
        **{name: row.get(name) for name in OF_RECORDING},
        "transcribed_at": date.isoformat(timespec="minutes"),
        "segments": [
            _segment(segment, segments.get(key, {}), drawn.get(key))
            for segment in row["segments"] or []
            for key in [(segment["channel"], segment["segment_index"])]
        ],
        "answers": list(answers),
        # Pairs, since the names are hostile, too: in JavaScript, some mean something to objects.
        "columns": [[name, str(value)] for name, value in row.items() if name not in known and value is not None],
    }


def _segment(segment: Row, tried: Row, sample: Row | None) -> dict[str, Any]:
    words = tried.get("words")
    return {
        **({"sample": sample} if sample else {}),
        **{name: segment.get(name) for name in OF_SEGMENT},
        **{name: tried[name] for name in TRIED if tried.get(name) is not None},
        "spans": [[round(span["start_s"], 3), round(span["end_s"], 3)] for span in segment["spans"] or []],
        "words": words and [[w["word"], w["start_s"], w["end_s"], w["score"], w.get("speaker")] for w in words],
    }


def inline_json(value: Any) -> str:
    """JSON for a script element of an HTML page or a .js file: no tag, comment or end of line can begin in it."""
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), default=str)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return writable(text)


def _finite(value: Any) -> Any:
    """The value with short numbers; those that JSON has not are None."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
