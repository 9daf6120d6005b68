from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from pipeline import fetch, store
from pipeline.errors import RecordingError
from pipeline.schema import FailureCode


def test_create_never_overwrites(place: str) -> None:
    store.create(f"{place}/sub dir/ü.bin", b"first")
    with pytest.raises(FileExistsError):
        store.create(f"{place}/sub dir/ü.bin", b"second")
    assert store.read(f"{place}/sub dir/ü.bin") == b"first"


def test_of_many_writers_one_wins(place: str) -> None:
    def write(number: int) -> bool:
        try:
            store.create(f"{place}/race.bin", f"{number}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(16)))
    assert sum(won) == 1
    assert store.read(f"{place}/race.bin") == str(won.index(True)).encode()
    scheme, path = store.split(place)
    assert [Path(name).name for name in store.filesystem(scheme).ls(path, detail=False)] == ["race.bin"]


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


@pytest.mark.parametrize("status", [409, 412])
def test_a_server_that_refuses_by_status_alone(status: int, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("s3://test/taken.bin", b"first")

    def refuse(*_: object, **__: object) -> None:
        answer = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise OSError(22, "PreconditionFailed") from ClientError(answer, "PutObject")  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(store.filesystem("s3"), "pipe_file", refuse)
    store.create("s3://test/taken.bin", b"first")
    with pytest.raises(FileExistsError):
        store.create("s3://test/taken.bin", b"second")


def test_a_fetched_copy_is_gone_afterwards(s3: str) -> None:
    store.create("s3://test/copy/a.bin", b"abc")
    with fetch.local_copy("s3://test/copy/a.bin") as copy:
        assert copy.path.read_bytes() == b"abc"
    assert not copy.path.exists()
