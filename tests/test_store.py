from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError


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


def test_a_file_replaces_an_object(place: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for text in ("first", "second", "x" * 10_000_000):
        source.write_text(text)
        store.replace_from(f"{place}/deep/object", source)
        assert store.read(f"{place}/deep/object").decode() == text


def test_storage_refuses_to_overwrite(place: str) -> None:
    store.create(f"{place}/a.bin", b"first")
    assert store.refuses_overwriting(f"{place}/a.bin")
    assert store.read(f"{place}/a.bin") == b"first"


def test_a_call_is_made_again_while_its_error_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.time, "sleep", lambda _: None)
    calls: list[int] = []
    warned: list[BaseException] = []

    def refused() -> str:
        calls.append(1)
        if len(calls) < 4:
            raise PermissionError("expired")
        return "answer"

    assert store.patiently(refused, storage_errors.access_refused, warned.append) == "answer"
    assert (len(calls), len(warned)) == (4, 1)
    with pytest.raises(FileNotFoundError):
        store.patiently(lambda: Path("/no/such/file").read_bytes(), storage_errors.access_refused)  # pyright: ignore
    monkeypatch.setattr(store, "PATIENCE_S", 0.0)
    calls.clear()
    with pytest.raises(PermissionError):
        store.patiently(refused, storage_errors.access_refused)


def test_an_archived_object_is_told_as_such() -> None:
    """To s3fs it is forbidden, and nobody who may read it would look there."""
    answered = PermissionError("13")
    answered.__cause__ = ClientError({"Error": {"Code": "InvalidObjectState"}}, "GetObject")
    assert storage_errors.explain(answered).startswith("archived, in a storage class such as Glacier")
    assert storage_errors.explain(PermissionError("13")) == "access denied"


def test_versions_of_objects_are_refused() -> None:
    """s3fs would leave the version out, and read the newest."""
    with pytest.raises(ConfigurationError, match="versions of objects are not supported"):
        store.split("s3://bucket/a.wav?versionId=3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY")
