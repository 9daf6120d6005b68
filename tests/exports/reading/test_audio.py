from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile

from demo.s3 import upload
from pipeline.audio import fetch, media
from pipeline.errors import RecordingError
from pipeline.exports.reading.audio import CHANGED, Places
from pipeline.schema import FailureCode
from pipeline.settings import Audio
from tests.conftest import tone, write_wav

PAGE = "recordings/a/b c.html"


def row(uri: str, start_s: float | None = None, end_s: float | None = None) -> dict[str, Any]:
    return {"uri": uri, "range_start_s": start_s, "range_end_s": end_s, "failure_code": None, "content_version": None}


@pytest.mark.parametrize(
    ("output", "uri", "url"),
    [
        ("/data/pages", "/data/in/ä #1?.wav", "../../../in/%C3%A4%20%231%3F.wav"),
        ("/data/pages/", "/data/pages/x:y.wav", "../../x%3Ay.wav"),
        ("s3://b/pages", "s3://b/in/a.wav", "../../../in/a.wav"),
        ("s3://b/pages", "s3://b/in//a.wav", "../../../in//a.wav"),
        ("s3://b/pages", "s3://b//a.wav", "../../..//a.wav"),
    ],
)
def test_recordings_on_the_same_storage_have_relative_paths(output: str, uri: str, url: str) -> None:
    assert Places(output, ["/data/in/"]).source(row(uri), PAGE, Audio()).url == url


@pytest.mark.parametrize(
    ("output", "uri", "reason"),
    [
        ("/data/pages", "s3://b/a.wav", "object storage"),
        ("s3://b/pages", "s3://c/a.wav", "another bucket"),
        ("s3://b/pages", "/data/a.wav", "a local folder"),
        ("/data/pages", "row 3 of the manifest", "no file"),
    ],
)
def test_where_there_is_no_path_the_page_says_why(output: str, uri: str, reason: str) -> None:
    source = Places(output, []).source(row(uri), PAGE, Audio())
    assert source.url is None
    assert reason in (source.why or "")


def test_a_base_has_the_paths_below_the_input() -> None:
    places = Places("out", ["s3://b/in/"], base="https://media.test:8443/calls/")
    source = places.source(row("s3://b/in/x/ü.wav"), PAGE, Audio())
    assert (source.url, source.origin) == ("https://media.test:8443/calls/x/%C3%BC.wav", "https://media.test:8443")
    assert places.source(row("s3://b/in/x//y.wav"), PAGE, Audio()).url == "https://media.test:8443/calls/x//y.wav"
    assert places.source(row("s3://other/y.wav"), PAGE, Audio()).url == "https://media.test:8443/calls/other/y.wav"
    assert Places("out", [], base="https://a.test;script-src *").source(row("s3://b/a"), PAGE, Audio()).url is None


def test_a_signed_url_opens_the_recording(s3: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "in/a b.wav", tone(0.5))
    upload(tmp_path / "in", "s3://test/signed")
    source = Places(str(tmp_path), [], signed_hours=1.0).source(row("s3://test/signed/a b.wav"), PAGE, Audio())
    assert source.url and source.origin == s3.rstrip("/")
    assert "X-Amz-Expires=3600" in source.url or "Expires=" in source.url
    with urlopen(source.url) as answer:
        assert answer.read() == (tmp_path / "in/a b.wav").read_bytes()


def test_a_copy_has_the_recordings_clock(tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "a.wav", tone(10.0))
    places = Places(str(tmp_path / "out"), [], copied="opus")
    whole = places.source(row(str(recording)), PAGE, Audio())
    assert whole.url == "../../audio/a/b%20c.opus"
    data, rate = soundfile.read(tmp_path / "out/audio/a/b c.opus")
    assert (len(data) / rate, rate) == (10.0, 16_000)
    part = places.source(row(str(recording), 2.0, 5.0), PAGE, Audio())
    assert part.offset_s == 2.0
    data, rate = soundfile.read(tmp_path / "out/audio/a/b c.opus")
    assert len(data) / rate == 3.0


@pytest.mark.parametrize("options", [{}, {"base": "https://a.test"}, {"signed_hours": 1.0}, {"copied": "opus"}])
@pytest.mark.parametrize("failure_code", ["invalid_row", "forbidden", "duplicate_id"])
def test_what_a_manifest_had_no_right_to_name_has_no_audio(
    tmp_path: Path, failure_code: str, options: dict[str, Any]
) -> None:
    secret = write_wav(tmp_path / "secret.wav", tone(0.5))
    places = Places(str(tmp_path / "out"), [], **options)
    for uri in (str(secret), "s3://private/secret.wav", "https://a.test/a.wav", "gs://b/a.wav"):
        source = places.source(row(uri) | {"failure_code": failure_code}, PAGE, Audio())
        assert source.url is None
        assert source.why
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.parametrize("content", [b"", b"no audio", None])
def test_what_cannot_be_copied_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    source = Places(str(tmp_path / "out"), [], copied="opus").source(row(str(path)), PAGE, Audio())
    assert source.url is None
    assert "could not be copied" in (source.why or "")


def test_what_was_replaced_since_is_not_copied(tmp_path: Path) -> None:
    """The page would play one recording beside the text of another."""
    path = write_wav(tmp_path / "a.wav", tone(0.5))
    with fetch.local_copy(str(path)) as copy:
        version = copy.content_version
    places = Places(str(tmp_path / "out"), [], copied="opus")
    assert places.source(row(str(path)) | {"content_version": version}, PAGE, Audio()).url
    write_wav(path, tone(0.7))
    source = places.source(row(str(path)) | {"content_version": version}, PAGE, Audio())
    assert (source.url, source.why) == (None, CHANGED)


def test_a_copy_goes_as_far_as_the_run_went(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(3.0))
    Places(str(tmp_path / "out"), [], copied="opus").source(row(str(path)), PAGE, Audio(max_duration_s=2.0))
    data, rate = soundfile.read(tmp_path / "out/audio/a/b c.opus")
    assert len(data) / rate == 2.0


def test_a_copy_that_ends_early_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "a.wav", tone(3.0))
    places = Places(str(tmp_path / "out"), [], copied="opus")
    assert places.source(row(str(path)), PAGE, Audio()).why is None
    decode = media.decode

    def breaking_off(*given: Any) -> Iterator[np.ndarray]:
        yield next(decode(*given))
        raise RecordingError(FailureCode.DECODE_LIMIT, "ffmpeg passed a limit")

    monkeypatch.setattr(media, "decode", breaking_off)
    source = places.source(row(str(path)), PAGE, Audio())
    assert source.url and source.why
    assert source.why.startswith("The copy of the audio ends early: ") and "ffmpeg passed a limit" in source.why
