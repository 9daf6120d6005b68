from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import temporary

HOLD = """
from pipeline import temporary
with temporary.folder() as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    input()
"""


def holding(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder, and its folder."""
    command = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": {"TMPDIR": str(parent)}}
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "voxtral-abcdefgh").mkdir()  # of version 0.1, which may be at work
    killed, left = holding(tmp_path)
    killed.kill()
    killed.wait()
    assert (left / "half").exists()
    working, kept = holding(tmp_path)
    other, _ = holding(tmp_path)
    try:
        assert not left.exists()
        assert (kept / "half").exists()
    finally:
        for process in (working, other):
            process.communicate("\n", timeout=30)
    assert [path.name for path in tmp_path.iterdir()] == ["voxtral-abcdefgh"]


def test_a_folder_goes_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError), temporary.folder() as folder:
        (folder / "file").touch()
        raise ValueError
    assert not folder.exists()
