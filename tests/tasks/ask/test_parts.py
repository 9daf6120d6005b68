from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import rows
from pipeline.audio import prepare
from pipeline.errors import failure
from pipeline.rows import Window
from pipeline.schema import RECORDING, WINDOW, FailureCode
from pipeline.settings import Segmentation, Settings
from pipeline.sources.groups import MEMBERS
from pipeline.tasks.ask import parts
from pipeline.tasks.ask.schema import PART, Part
from tests.conftest import tone, write_wav

Row = dict[str, Any]
LIMIT = 320  # samples of a part: 20 ms
SETTINGS = Settings(input="in", output="out", segmentation=Segmentation(max_window_s=0.02, max_pause_s=0.02))
BASE = {"recording_id": "r", "place": "/r.wav", "uri": "/r.wav", "content_version": "v1"}


def recording(**more: Any) -> pa.Table:
    schema = pa.schema([*RECORDING, MEMBERS, pa.field("columns", pa.string())])
    return pa.Table.from_pylist([BASE | more], schema)


def of_audio(
    recording: pa.Table, windows: Callable[[str], Sequence[Window]], settings: Settings = SETTINGS
) -> list[Part]:
    """The parts of a recording that is cut into these windows, by recording_id."""

    def prepared(recording: pa.Table, _: Settings) -> Iterator[pa.Table]:
        assert recording.schema == RECORDING
        (row,) = recording.to_pylist()
        *before, last = windows(row["recording_id"])
        yield from (rows.table([window], WINDOW) for window in before)
        known = {"segment_count": len(before) + 1, "duration_s": 9.0, "content_version": row["content_version"]}
        yield rows.table([replace(last, channel_speech_s=5.0, recording_flags=["long_gaps"], **known)], WINDOW)

    with patch.object(prepare, "prepare", prepared):
        tables = list(parts.of_audio(recording, settings))
    assert all(len(table) == 1 and table.schema == PART for table in tables)
    return [part for table in tables for part in rows.read(table, Part)]


def window(samples: np.ndarray, overlap: int = 0, **more: Any) -> Window:
    start_s = 0.0 if not len(samples) else float(samples[0] + overlap) / 16_000
    return Window(
        start_s=start_s,
        end_s=start_s + (len(samples) - overlap) / 16_000,
        speech_s=0.25,
        overlap_s=overlap / 16_000,
        samples=samples.astype("<i2").tobytes(),
        **more,
    )


def heard(part: Part) -> np.ndarray:
    return np.frombuffer(part.samples or b"", "<i2")


SILENT = Window(start_s=0.0, end_s=1.0)
FAILED = Window(start_s=0.0, end_s=1.0, failure_code="decode_error", failure_detail="broken")


@st.composite
def cut(draw: st.DrawFn) -> list[Window]:
    """The windows of a recording whose samples count from 0: what two share, they both have."""
    found: list[Window] = []
    at = 0
    for _ in range(draw(st.integers(1, 30))):
        kind = draw(st.sampled_from(["speech"] * 6 + ["silent", "failed"]))
        if kind != "speech":
            found.append(SILENT if kind == "silent" else FAILED)
            continue
        overlap = 16 * draw(st.sampled_from([0, 0, 0, 1, 5])) if at >= 80 else 0
        length = draw(st.integers(1, LIMIT - overlap))
        found.append(window(np.arange(at - overlap, at + length), overlap))
        at += length
    return found


@given(cut())
@hypothesis_settings(deadline=None)
def test_parts_hold_the_windows_without_what_two_share(windows: list[Window]) -> None:
    found = of_audio(recording(), lambda _: windows)
    spoken = [one for one in windows if one.samples is not None]
    heard_samples = [heard(part) for part in found if part.samples is not None]
    assert all(len(samples) <= LIMIT for samples in heard_samples)
    assert all((np.diff(samples) == 1).all() for samples in heard_samples)
    new = [samples[samples > last[-1]] for last, samples in pairwise([np.array([-1]), *heard_samples])]
    total = sum((len(one.samples or b"") // 2 - round(one.overlap_s * 16_000)) for one in spoken)
    assert np.concatenate([[], *new]).tolist() == list(range(total))
    assert sum(part.speech_s for part in found) == pytest.approx(0.25 * len(spoken))
    for part in found:
        assert part.lengths == ([len(heard(part))] if part.samples is not None else [])


@given(cut())
@hypothesis_settings(deadline=None)
def test_the_last_part_alone_says_what_is_known_of_the_whole(windows: list[Window]) -> None:
    found = of_audio(recording(language="de"), lambda _: windows)
    *before, last = found
    assert [part.segment_index for part in found] == list(range(len(found)))
    assert {(part.recording_id, part.language) for part in found} == {("r", "de")}
    assert all(part.segment_count is None and part.failure_code is None and part.samples for part in before)
    assert last.segment_count == len(found)
    assert (last.duration_s, last.content_version, last.recording_flags) == (9.0, "v1", ["long_gaps"])
    has_failed, has_samples = FAILED in windows, any(one.samples for one in windows)
    assert last.failure_code == ("decode_error" if has_failed else None if has_samples else "no_speech")
    assert (last.samples is not None) == has_samples


def test_a_part_is_as_full_as_it_can_be() -> None:
    lengths = [100, 100, 100, 21, 300, 20, 1]
    ends = np.cumsum([0, *lengths])
    windows = [window(np.arange(*ends[at : at + 2])) for at in range(len(lengths))]
    found = of_audio(recording(), lambda _: windows)
    assert [part.lengths for part in found] == [[300], [21], [320], [1]]


def test_a_listed_failure_is_a_part_that_failed(tmp_path: Path) -> None:
    row = recording(failure_code="not_found", failure_detail="gone", members=[BASE])
    ((part,),) = (rows.read(table, Part) for table in parts.of_audio(row, SETTINGS))
    assert (part.failure_code, part.failure_detail, part.segment_count, part.samples) == ("not_found", "gone", 1, None)


def test_versions_name_the_values_in_the_questions() -> None:
    columns = json.dumps({"customer": "Ann"})
    version = parts.columns_version({"columns": columns})
    (part,) = of_audio(recording(columns=columns, content_version="v1" + version), lambda _: [window(np.arange(9))])
    assert (part.content_version, part.columns) == ("v1" + version, columns)
    assert parts.columns_version({"columns": None}) == parts.columns_version({}) == ""
    assert version != parts.columns_version({"columns": json.dumps({"customer": "Bob"})})


def group(*names: str) -> pa.Table:
    members = [BASE | {"recording_id": name, "place": f"id:{name}", "uri": f"/{name}.wav"} for name in names]
    return recording(members=members)


def test_a_group_is_one_part_with_a_clip_for_each_recording() -> None:
    windows = {"a": [window(np.arange(100)), window(np.arange(84, 110), overlap=16)], "b": [window(np.arange(50))]}
    (part,) = of_audio(group("a", "b"), lambda name: windows[name])
    assert part.lengths == [110, 50]
    assert heard(part).tolist() == [*range(110), *range(50)]
    assert (part.names, part.segment_count, part.duration_s) == (["a", "b"], 1, 18.0)
    assert (part.content_version, part.failure_code, part.recording_flags) == ("v1", None, ["long_gaps"])
    (alone,) = of_audio(group("b"), lambda name: windows[name])
    assert (alone.names, alone.lengths) == (None, [50])


@pytest.mark.parametrize(
    ("b", "code", "detail"),
    [
        ([SILENT], "no_speech", "recording 2 of 2, /b.wav: no speech was found in it"),
        ([FAILED], "decode_error", "recording 2 of 2, /b.wav: broken"),
        (
            [window(np.arange(200)), window(np.arange(21))],
            "context_limit",
            "its recordings have more than 0.02 s of speech together, which one prompt holds",
        ),
    ],
)
def test_a_group_fails_where_one_of_it_cannot_be_heard(b: list[Window], code: str, detail: str) -> None:
    (part,) = of_audio(group("a", "b"), lambda name: [window(np.arange(100))] if name == "a" else b)
    assert (part.failure_code, part.failure_detail, part.samples, part.segment_count) == (code, detail, None, 1)


def test_a_group_whose_recording_breaks_off_is_asked_about_the_rest() -> None:
    (part,) = of_audio(group("a", "b"), lambda name: [window(np.arange(100)), *([FAILED] if name == "b" else [])])
    assert (part.lengths, part.failure_code) == ([100, 100], "decode_error")
    assert part.failure_detail and part.failure_detail.startswith("recording 2 of 2, ")
    assert part.failure_detail.endswith(": broken")


def test_speech_is_really_found(speech_wav: Callable[..., Path], tmp_path: Path) -> None:
    speech, noise = speech_wav(), write_wav(tmp_path / "in" / "tone.wav", tone(3.0))
    (tmp_path / "empty.wav").touch()
    settings = SETTINGS.model_copy(update={"segmentation": Segmentation(max_window_s=30.0, max_pause_s=30.0)})
    uris = [str(speech), str(noise), str(tmp_path / "empty.wav")]
    several = pa.concat_tables([recording(uri=uri, recording_id=uri, content_version=None) for uri in uris])
    one, two, three = (rows.read(table, Part)[0] for table in parts.of_audio(several, settings))
    assert one.samples and one.lengths == [len(one.samples) // 2] and one.failure_code is None
    assert (two.failure_code, three.failure_code) == ("no_speech", "empty_file")
    assert two.duration_s == pytest.approx(3.0)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXTS, st.integers(0, 40))
def test_pieces_lose_nothing_but_spaces(text: str, most: int) -> None:
    found = parts.pieces(text, most)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(len(piece.encode()) <= most or len(piece) == 1 for piece in found)
    assert all(piece == piece.strip() != "" for piece in found)


@given(st.lists(st.text("abcdeßé漢🎙", min_size=1, max_size=2)), st.sampled_from([" ", "\n", "  "]))
def test_pieces_lose_no_word(words: list[str], space: str) -> None:
    found = parts.pieces(space.join(words), 80)
    assert [word for piece in found for word in piece.split()] == words


def test_a_long_text_is_cut_in_time_and_without_a_limit_not_at_all() -> None:
    text = "word " * 400_000
    assert len(parts.pieces(text, 40_000)) == 50
    assert parts.pieces(text, None) == [text.strip()]


def test_texts_become_parts() -> None:
    row = BASE | {"duration_s": 9.0}
    schema = pa.schema([*RECORDING, pa.field("duration_s", pa.float64())])
    given: list[tuple[Row, Any]] = [
        (row, "one two three"),
        (row, " \n"),
        (row | {"failure_code": "truncated", "failure_detail": "x"}, None),
        (row, failure(FailureCode.STORAGE_ERROR, "slow down")),
    ]
    recordings = pa.Table.from_pylist([one for one, _ in given], schema)
    found = [p for table in parts.of_texts(recordings, [text for _, text in given], 8) for p in rows.read(table, Part)]
    assert [(part.text, part.failure_code, part.segment_index, part.segment_count) for part in found] == [
        ("one two", None, 0, None),
        ("three", None, 1, 2),
        (None, "no_speech", 0, 1),
        (None, "truncated", 0, 1),
        (None, "storage_error", 0, 1),
    ]
    assert [part.samples for part in found] == [b"", b"", None, None, None]
    assert [part.duration_s for part in found] == [None, 9.0, 9.0, 9.0, 9.0]


@given(st.integers(0, 4))
@hypothesis_settings(max_examples=5, deadline=None)
def test_what_came_before_decode_workers_died_is_kept(count: int) -> None:
    before = [
        rows.table([Part(start_s=0.0, end_s=1.0, recording_id="r", segment_index=at)], PART) for at in range(count)
    ]
    found = [p for table in parts.decode_died(before, recording(), 3) for p in rows.read(table, Part)]
    assert [part.segment_index for part in found] == list(range(count + 1))
    last = found[-1]
    assert (last.failure_code, last.segment_count, last.content_version) == ("decode_died", count + 1, "v1")
