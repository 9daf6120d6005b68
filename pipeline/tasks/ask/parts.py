"""Recordings and texts as prompts take them: whole where they fit, else in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline import rows
from pipeline.audio import prepare
from pipeline.errors import RecordingError
from pipeline.rows import Window
from pipeline.schema import RECORDING, SAMPLE_RATE_HZ, FailureCode
from pipeline.settings import Settings
from pipeline.tasks.ask.schema import PART, Part

BYTES_PER_SAMPLE = 2

Row = dict[str, Any]


def of_audio(recordings: pa.Table, settings: Settings) -> Iterator[pa.Table]:
    """RECORDING rows, some with members -> PART rows, a table each."""
    for row in recordings.to_pylist():
        if row.get("members") and not row["failure_code"]:
            parts: Iterable[Part] = [_of_group(row, settings)]
        else:
            parts = _joined(_windows(row, settings), settings.segmentation.max_window_s or 0.0)
        for part in numbered(parts, row):
            yield rows.table([part], PART)


def of_texts(
    recordings: pa.Table, texts: Iterable[str | RecordingError | None], most_bytes: int | None
) -> Iterator[pa.Table]:
    """RECORDING rows and the text of each, or why there is none -> PART rows, a table each; see pieces."""
    for row, text in zip(recordings.to_pylist(), texts, strict=True):
        if row["failure_code"]:
            parts = [_failed(row["failure_code"], row["failure_detail"])]
        elif isinstance(text, RecordingError):
            parts = [_failed(text.code, text.detail)]
        elif text is None or not text.strip():
            parts = [_failed(FailureCode.NO_SPEECH, "its transcript is empty")]
        else:
            parts = [Part(start_s=0.0, end_s=0.0, samples=b"", text=piece) for piece in pieces(text, most_bytes)]
        *before, last = parts
        known = {"duration_s": row.get("duration_s"), "content_version": row["content_version"]}
        for part in numbered([*before, replace(last, **known)], row):
            yield rows.table([part], PART)


def columns_version(row: Row) -> str:
    """What a recording's content version ends in where the manifest's columns stand in the questions: other values make
    other answers."""
    columns = row.get("columns")
    return f"#{hashlib.sha256(columns.encode()).hexdigest()[:12]}" if columns else ""


def pieces(text: str, most_bytes: int | None) -> list[str]:
    """A text cut at spaces, or where there are none anywhere, into pieces of at most so many bytes of UTF-8 (but of one
    character at least); whole where there is no limit."""
    found, rest = list[str](), text.strip()
    while most_bytes is not None and len(rest[: most_bytes + 1].encode()) > most_bytes:
        head = rest[:most_bytes].encode()[:most_bytes].decode("utf-8", "ignore") or rest[:1]
        cut = max(head.rfind(" "), head.rfind("\n"))
        cut = cut if cut > len(head) // 2 else len(head)
        found.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [piece for piece in [*found, rest] if piece]


def numbered(parts: Iterable[Part], row: Row) -> Iterator[Part]:
    """Give each part its number and its recording's facts; the last one says how many there are."""
    of_recording = {name: row.get(name) for name in ("recording_id", "language", "columns")}
    held, count = None, 0
    for part in parts:
        if held is not None:
            yield held
        held, count = replace(part, segment_index=count, **of_recording), count + 1
    assert held is not None, "every recording has at least one part"
    version = held.content_version and held.content_version.removesuffix(columns_version(row)) + columns_version(row)
    yield replace(held, segment_count=count, content_version=version)


@dataclass
class _Gathered:
    """Windows that follow each other in one prompt, and what was said of those that failed."""

    windows: list[Window] = field(default_factory=list)
    samples: int = 0
    failure: tuple[str, str | None] | None = None
    facts: Row = field(default_factory=dict)  # of the whole recording

    def fits(self, window: Window, limit_s: float) -> bool:
        return not self.windows or self.samples + _own(window) <= limit_s * SAMPLE_RATE_HZ

    def add(self, window: Window) -> None:
        """A window with samples."""
        self.samples += len(window.samples or b"") // BYTES_PER_SAMPLE if not self.windows else _own(window)
        self.windows.append(window)

    def note(self, window: Window) -> None:
        """What a window, with samples or not, says of its recording."""
        if window.failure_code and not self.failure:
            self.failure = window.failure_code, window.failure_detail
        if window.segment_count is not None:
            flags = window.recording_flags
            self.facts = {"duration_s": window.duration_s, "content_version": window.content_version}
            self.facts |= {"channel_speech_s": window.channel_speech_s, "recording_flags": flags}

    def audio(self) -> bytes:
        """The samples, what two windows share but once."""
        first, *others = self.windows
        return b"".join([first.samples or b"", *((one.samples or b"")[_overlap(one) :] for one in others)])

    def part(self) -> Part:
        """All of it as a part."""
        audio = self.audio()
        return Part(
            start_s=self.windows[0].start_s,
            end_s=self.windows[-1].end_s,
            speech_s=sum(window.speech_s for window in self.windows),
            spans=[span for window in self.windows for span in window.spans],
            samples=audio,
            lengths=[len(audio) // BYTES_PER_SAMPLE],
        )

    def last(self) -> Part:
        """All of it as the recording's last part, with what is known of the whole; a failure where it is empty."""
        code, detail = self.failure or (None, None)
        if self.windows:
            part = self.part()
        else:
            part = _failed(code, detail) if code else _failed(FailureCode.NO_SPEECH, "no speech was found in it")
        failure = {"failure_code": code, "failure_detail": detail} if code else {}
        return replace(part, **self.facts, **failure)


def _windows(row: Row, settings: Settings) -> Iterator[Window]:
    version = (row["content_version"] or "").removesuffix(columns_version(row))
    recording = pa.Table.from_pylist([row | {"content_version": version or None}], RECORDING)
    for table in prepare.prepare(recording, settings):
        yield from rows.read(table, Window)


def _joined(windows: Iterable[Window], limit_s: float) -> Iterator[Part]:
    """The windows of a recording, as many in a part as fit."""
    now = _Gathered()
    for window in windows:
        now.note(window)
        if window.samples is None:
            continue
        if not now.fits(window, limit_s):
            yield now.part()
            now = _Gathered(failure=now.failure, facts=now.facts)
        now.add(window)
    yield now.last()


def _of_group(row: Row, settings: Settings) -> Part:
    """The recordings of a group, all in one prompt."""
    members, limit_s = row["members"], settings.segmentation.max_window_s or 0.0
    found: list[_Gathered] = []
    for number, member in enumerate(members, 1):
        found.append(own := _Gathered())
        for window in _windows(member, settings):
            own.note(window)
            if window.samples is not None:
                own.add(window)
            if sum(each.samples for each in found) > limit_s * SAMPLE_RATE_HZ:
                detail = f"its recordings have more than {limit_s:g} s of speech together, which one prompt holds"
                return _failed(FailureCode.CONTEXT_LIMIT, detail)
        if not own.windows:
            own.failure = own.failure or (FailureCode.NO_SPEECH.value, "no speech was found in it")
        if own.failure:
            code, detail = own.failure
            own.failure = code, f"recording {number} of {len(members)}, {member['uri']}: {detail}"
            if not own.windows:
                return _failed(*own.failure)
    code, detail = next((each.failure for each in found if each.failure), (None, None))
    audio = [each.audio() for each in found]
    durations = [each.facts.get("duration_s") or 0.0 for each in found]
    flags = {flag for each in found for flag in each.facts.get("recording_flags") or []}
    return Part(
        start_s=0.0,
        end_s=sum(durations),
        speech_s=sum(window.speech_s for each in found for window in each.windows),
        samples=b"".join(audio),
        lengths=[len(each) // BYTES_PER_SAMPLE for each in audio],
        names=[_name(member) for member in members] if len(members) > 1 else None,
        failure_code=code,
        failure_detail=detail,
        duration_s=sum(durations),
        content_version=row["content_version"],
        channel_speech_s=sum(each.facts.get("channel_speech_s") or 0.0 for each in found),
        recording_flags=sorted(flags),
    )


def _name(member: Row) -> str:
    """What a recording of a group is called in a prompt: the manifest's recording_id, else the name of its file."""
    return member["recording_id"] if member["place"].startswith("id:") else member["uri"].rpartition("/")[2]


def _failed(code: str, detail: str | None) -> Part:
    return Part(start_s=0.0, end_s=0.0, failure_code=str(code), failure_detail=detail)


def _overlap(window: Window) -> int:
    return round(window.overlap_s * SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE


def _own(window: Window) -> int:
    """Samples that the window before it does not have."""
    return (len(window.samples or b"") - _overlap(window)) // BYTES_PER_SAMPLE


def decode_died(given: Iterable[pa.Table], recording: pa.Table, kills: int) -> Iterator[pa.Table]:
    """The PART rows of a row that decode workers died of: those that came before, and one that failed."""
    (row,), count = recording.to_pylist(), 0
    for table in given:
        count += len(table)
        yield table
    failed = _failed(FailureCode.DECODE_DIED, f"{kills} decode workers died of it")
    (last,) = numbered([replace(failed, content_version=row["content_version"])], row)
    yield rows.table([replace(last, segment_index=count, segment_count=count + 1)], PART)
