"""Mutants of healthy files through the preparation; `python -m bench.hostile` does the same with thousands."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from bench.hostile import bare, mutations, seeds
from bench.hostile.promises import CODES, Carrier, broken_rows

FILES = ("pcm.wav", "plain.flac", "xing.mp3", "aac.m4a", "opus.ogg", "opus.webm", "pcm.aiff", "aac.ts")
MUTANTS = 32


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    seeds.make(folder, FILES)
    return folder


@pytest.fixture
def files(healthy: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in healthy.iterdir()}


def test_mutants_break_no_promise(
    healthy: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    carrier = Carrier(tmp_path)
    for name in ("pcm.wav", "aac.m4a", "not there"):
        carrier.carry(healthy / name)
    carrier.settle()
    codes: Counter[str] = Counter()
    for number in range(MUTANTS):
        name, data = mutations.mutant(files, seed=7, number=number)
        (tmp_path / name).write_bytes(data)
        found = carrier.carry(tmp_path / name)
        assert not found.broken, (name, found)
        codes.update(found.codes or ["whole"])
    assert codes["whole"] > 5
    assert len(codes.keys() & CODES) > 1


def test_mutants_are_the_same_every_time(files: dict[str, bytes]) -> None:
    made = [mutations.mutant(files, seed=3, number=number) for number in range(100)]
    assert made == [mutations.mutant(files, seed=3, number=number) for number in range(100)]
    assert made != [mutations.mutant(files, seed=4, number=number) for number in range(100)]
    assert sum(data not in files.values() for _, data in made) > 90


def test_a_healthy_file_has_as_much_audio_as_ffmpeg_finds(healthy: Path, tmp_path: Path) -> None:
    path = healthy / "aac.m4a"
    found = Carrier(tmp_path).carry(path)
    assert (found.broken, bare.difference(path, found)) == ([], "as much audio")
    found.duration_s -= 0.2
    assert bare.difference(path, found) == "less audio: without a remark"


def test_a_broken_promise_is_found() -> None:
    window = {"segment_index": 0, "segment_count": 1, "start_s": 0.0, "end_s": 1.0, "duration_s": 1.0, "spans": None}
    window |= {"samples": bytes(32_000), "failure_code": None, "failure_detail": None}
    assert broken_rows([window]) == []
    for wrong in (
        {"segment_count": 2},
        {"end_s": 2.0},
        {"samples": bytes(31_998)},
        {"duration_s": 43_201.0},
        {"spans": [{"start_s": 0.5, "end_s": 1.5}]},
        {"failure_code": "internal_error", "failure_detail": "oops"},
        {"failure_code": "truncated", "failure_detail": ""},
    ):
        assert broken_rows([window | wrong]), wrong
    assert broken_rows([]) == ["no window"]
