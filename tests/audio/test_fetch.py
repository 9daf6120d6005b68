from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pipeline import store
from pipeline.audio import fetch
from pipeline.errors import RecordingError
from pipeline.schema import FailureCode


def test_what_cannot_be_fetched_says_why(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(uri: str) -> FailureCode:
        with pytest.raises(RecordingError) as caught, fetch.local_copy(uri):
            pass
        assert uri in caught.value.detail
        return caught.value.code

    assert code("s3://test/nothing here.wav") is FailureCode.NOT_FOUND
    assert code(str(tmp_path / "nothing here.wav")) is FailureCode.NOT_FOUND

    for name in ("secret", "slow"):
        store.create(f"s3://test/{name}.wav", b"x")

    def refuse(*_: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(store.filesystem("s3"), "get_file", refuse)
    assert code("s3://test/secret.wav") is FailureCode.FORBIDDEN

    def break_off(*_: object) -> None:
        raise TimeoutError("too slow")

    monkeypatch.setattr(store.filesystem("s3"), "get_file", break_off)
    assert code("s3://test/slow.wav") is FailureCode.STORAGE_ERROR


def test_a_fetched_copy_is_gone_afterwards(s3: str) -> None:
    store.create("s3://test/copy/a.bin", b"abc")
    with fetch.local_copy("s3://test/copy/a.bin") as copy:
        assert copy.path.read_bytes() == b"abc"
    assert not copy.path.exists()


def version_of(uri: str) -> str | None:
    scheme, path = store.split(uri)
    return store.content_version(store.filesystem(scheme).info(path))


def test_the_version_is_that_of_what_was_fetched(s3: str) -> None:
    uri = "s3://test/version/a.bin"
    store.replace(uri, b"listed")
    listed = version_of(uri)
    with fetch.local_copy(uri, listed, 6) as copy:
        assert (copy.path.read_bytes(), copy.content_version) == (b"listed", listed)
    store.replace(uri, b"replaced since")
    with fetch.local_copy(uri, listed, 6) as copy:
        assert (copy.path.read_bytes(), copy.content_version) == (b"replaced since", version_of(uri))


def test_a_copy_is_of_one_version(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "s3://test/version/b.bin"
    store.replace(uri, b"0")
    files, fetches = store.filesystem("s3"), 0
    get_file, changes = files.get_file, 1

    def changing(*arguments: Any) -> None:
        nonlocal fetches
        fetches += 1
        get_file(*arguments)
        if fetches <= changes:
            store.replace(uri, b"%d" % fetches)

    monkeypatch.setattr(files, "get_file", changing)
    with fetch.local_copy(uri, version_of(uri), 1) as copy:
        assert (copy.path.read_bytes(), copy.content_version) == (b"1", version_of(uri))
    changes = 100
    with pytest.raises(RecordingError, match="changed 3 times") as caught, fetch.local_copy(uri):
        pass
    assert caught.value.code is FailureCode.STORAGE_ERROR


def test_a_local_file_that_changes_while_it_is_read_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    path = tmp_path / "growing.wav"
    path.write_bytes(b"one")
    with (
        pytest.raises(RecordingError, match="changed while it was read") as caught,
        fetch.local_copy(str(path)) as copy,
    ):
        assert copy.content_version == version_of(str(path))
        path.write_bytes(b"one two")
    assert caught.value.code is FailureCode.STORAGE_ERROR


def test_what_is_too_large_is_not_fetched(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "s3://test/large/a.bin"
    store.replace(uri, bytes(2_000))
    monkeypatch.setattr(store.filesystem("s3"), "get_file", None)
    with (
        pytest.raises(RecordingError, match=r"--audio.max-object-gb 1e-06") as caught,
        fetch.local_copy(uri, max_bytes=1_000),
    ):
        pass
    assert caught.value.code is FailureCode.TOO_LARGE
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, fetch.SPARE_BYTES))
    with pytest.raises(RecordingError, match="do not fit") as caught, fetch.local_copy(uri):
        pass
    assert caught.value.code is FailureCode.STORAGE_ERROR


def test_the_ends_of_an_object_stand_where_they_do_in_it(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "END_BYTES", 10)
    data = bytes(range(100))
    store.create("s3://test/ends/long.bin", data)
    store.create("s3://test/ends/short.bin", data[:15])
    with fetch.ends_of("s3://test/ends/long.bin") as (path, complete):
        assert path.read_bytes() == data[:10] + bytes(80) + data[90:]
        assert not complete
    with fetch.ends_of("s3://test/ends/short.bin") as (path, complete):
        assert (path.read_bytes(), complete) == (data[:15], True)
