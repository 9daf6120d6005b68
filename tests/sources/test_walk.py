from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.walk import walk


def test_a_walk_names_what_it_cannot_list(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.wav").write_bytes(b"a")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "here")
    found = {Path(name).name: info for name, info in walk(str(tmp_path))}
    assert found.keys() == {"a.wav", "gone.wav", "linked"}
    assert (found["gone.wav"], found["linked"]) == ("dangling link", "linked folder")
    assert isinstance(found["a.wav"], dict)


def test_a_file_renamed_during_a_walk_is_skipped(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    walking = walk(str(tmp_path))
    assert Path(next(walking)[0]).name == "a.wav"
    (tmp_path / "b.wav").rename(tmp_path / "z.wav")
    assert [(Path(name).name, info) for name, info in walking if isinstance(info, str)] == [("b.wav", "vanished")]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open/a.wav").write_bytes(b"a")
    scandir = os.scandir

    def refuse(path: str) -> Any:  # as root every folder can be read
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {Path(name).name: info for name, info in walk(str(tmp_path))}
    assert found["closed"] == "unreadable"
    assert "a.wav" in found
