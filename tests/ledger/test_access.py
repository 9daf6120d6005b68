from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import store
from pipeline.errors import ConfigurationError
from pipeline.ledger import access, parts, starts


def everything(place: str) -> list[str]:
    scheme, path = store.split(place)
    return list(store.filesystem(scheme).find(path))


def test_a_probe_leaves_nothing_behind(place: str) -> None:
    access.probe(f"{place}/out")
    assert everything(place) == []
    assert parts.reports(f"{place}/out") == []


def test_a_probe_makes_no_folder(tmp_path: Path) -> None:
    access.probe(str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def test_without_the_right_to_delete_one_object_stays(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uri: str) -> None:
        raise PermissionError(uri)

    monkeypatch.setattr(store, "remove", refuse)
    place = f"s3://test/{tmp_path.name}"
    for _ in range(2):
        access.probe(place)
    assert everything(place) == [f"test/{tmp_path.name}/started/probe"]
    assert starts.begun(place, []) == []


def test_what_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that can be looked at, and takes no object: a right is missing, or its file system has no links."""

    def refuse(uri: str, data: bytes) -> None:
        raise PermissionError(uri)

    monkeypatch.setattr(store, "create", refuse)
    with pytest.raises(ConfigurationError, match="it may not be written: access denied"):
        access.probe(str(tmp_path / "out"))


def test_a_server_that_overwrites_is_told_and_the_probe_removed(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3://test/{tmp_path.name}"
    monkeypatch.setattr(store, "refuses_overwriting", lambda uri: False)
    with pytest.raises(ConfigurationError, match="ignores conditional writes"):
        access.probe(place)
    assert everything(place) == []
