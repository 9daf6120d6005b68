from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from pipeline.errors import ConfigurationError
from pipeline.exports.manifests import audio_root, audiofolder, nemo
from tests.exports.rows import row, said, segment, talks


def read(lines: list[str]) -> list[dict[str, Any]]:
    assert all(line.endswith("}\n") for line in lines)
    return [json.loads(line) for line in "".join(lines).split("\n")[:-1]]


def test_nemo_has_a_line_for_each_segment_with_text() -> None:
    spoken = [segment("Yes.", (1.0, 2.5)), segment("", (3.0, 4.0)), segment(None, (5.0, 6.0))]
    made = row(*spoken, segment("No.", (7.0, 9.25), channel=1, language=None), uri="s3://b/in/a b.wav", language="de")
    assert read(list(nemo(made, ""))) == [
        {"audio_filepath": "s3://b/in/a b.wav", "offset": 1.0, "duration": 1.5, "text": "Yes.", "lang": "en"},
        {
            "audio_filepath": "s3://b/in/a b.wav",
            "offset": 7.0,
            "duration": 2.25,
            "text": "No.",
            "lang": "de",
            "channel": 1,
        },
    ]


@given(talks())
def test_nemo_has_every_word(talk: dict[str, Any]) -> None:
    made = read(list(nemo(talk | {"uri": 'a"\n.wav'}, "")))
    assert "".join("".join(one["text"].split()) for one in made) == said(talk)
    assert all(len(one["text"].splitlines()) == 1 for one in made)


def test_audiofolder_has_a_line_for_each_whole_recording_with_a_text() -> None:
    made = row(segment("Yes.", (1.0, 2.5)), uri="s3://b/in/x/a b.wav", flags=["low_confidence", "long_gaps"])
    (line,) = read(list(audiofolder(made, "s3://b/in/")))
    assert line == {
        "file_name": "x/a b.wav",
        "text": "Yes.",
        "language": "en",
        "duration_s": 60.0,
        "recording_id": "a1",
        "outcome": "ok",
        "flags": "low_confidence long_gaps",
    }
    assert not list(audiofolder(made | {"outcome": "failed"}, "s3://b/in/"))
    assert not list(audiofolder(made | {"range_end_s": 5.0}, "s3://b/in/"))


@pytest.mark.parametrize(
    ("inputs", "uris", "root"),
    [
        (["s3://b/in/"], ["s3://b/in/x/a.wav", "s3://b/in/x/b.wav"], "s3://b/in/"),
        (["s3://b/in"], ["s3://b/in/x/a.wav"], "s3://b/in/"),
        (["s3://b/in/list.jsonl"], ["s3://b/in/x/a.wav"], "s3://b/in/"),
        (["s3://b/in/2024/", "s3://b/in/2025/"], ["s3://b/in/2024/a.wav", "s3://b/in/2025/a.wav"], "s3://b/in/"),
        (["s3://b/in-1/", "s3://b/in-2/"], ["s3://b/in-1/a.wav", "s3://b/in-2/a.wav"], "s3://b/"),
        (["s3://lists/a.csv"], ["s3://b/x/y/a.wav", "s3://b/x/z.wav"], "s3://b/x/"),
        (["/data/in/a.wav"], ["/data/in/a.wav"], "/data/in/"),
        (["/data/in/"], ["/data/in/a.wav", "/data/in/ü.wav"], "/data/in/"),
    ],
)
def test_the_folder_of_the_audio(inputs: list[str], uris: list[str], root: str) -> None:
    assert audio_root(inputs, min(uris), max(uris)) == root


def test_recordings_without_a_folder_in_common() -> None:
    with pytest.raises(ConfigurationError, match="have no folder in common"):
        audio_root(["s3://a/x/"], "s3://a/x.wav", "s3://b/x.wav")
