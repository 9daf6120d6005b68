"""How a measurement gets to a host with a GPU, and what it does there when time is short. No GPU is needed."""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from pathlib import Path

import pytest

from bench import fatbin
from bench.budget import Step, kept, run
from bench.gpu_bundle import conflicts, had, pack, requirements
from bench.gpu_install import install, split, wrong
from bench.gpu_plan import PLAN


def bundle(folder: Path) -> tuple[Path, list[Path]]:
    packages, pieces = folder / "packages", folder / "pieces"
    (packages / "one/two").mkdir(parents=True)
    (packages / "one/two/three.py").write_text("VALUE = 3\n")
    (packages / "noise").write_bytes(random.Random(0).randbytes(5_000))
    pieces.mkdir()
    pack(packages, folder / "packages.tar.xz")
    return pieces, split(folder / "packages.tar.xz", pieces, 2_000)


def test_pieces_join_to_what_was_packed(tmp_path: Path) -> None:
    pieces, made = bundle(tmp_path)
    assert len(made) > 2 and max(piece.stat().st_size for piece in made) <= 2_000
    install(pieces, tmp_path / "there")
    assert (tmp_path / "there/one/two/three.py").read_text() == "VALUE = 3\n"
    assert (tmp_path / "there/noise").read_bytes() == (tmp_path / "packages/noise").read_bytes()


def test_nothing_is_unpacked_while_a_piece_is_missing_or_damaged(tmp_path: Path) -> None:
    pieces, made = bundle(tmp_path)
    damaged = bytearray(made[0].read_bytes())
    damaged[100] ^= 1
    made[0].write_bytes(damaged)
    made[1].unlink()
    with pytest.raises(ValueError, match=r"piece\.00, piece\.01"):
        install(pieces, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert wrong(tmp_path) == ["SHA256SUMS"]


def test_what_the_host_has_and_what_vllm_asks_for() -> None:
    have = had("# host\nnumpy==2.5.2\nPy_Arrow\n-e git+x\nfoo @ file:///foo.whl\n")
    assert have == {"numpy": "2.5.2", "py-arrow": None, "foo": None}
    assert requirements(['llguidance<1.8,>=1.7; platform_machine == "x86_64"'], ["msgspec", "llguidance"]) == [
        "msgspec",
        "llguidance<1.8,>=1.7",
    ]


def test_what_was_gathered_and_does_not_fit_is_named(tmp_path: Path) -> None:
    for name, version, wants in (("one", "1.0", "two>=2"), ("two", "1.5", "three<4"), ("four", "1.0", "five")):
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {wants}\n"
        (tmp_path / f"{name}-{version}.dist-info/METADATA").write_text(text)
    found = conflicts(tmp_path, {"three": "4.1", "five": None})
    assert sorted(found) == ["one asks for two>=2, and there is 1.5", "two asks for three<4, and there is 4.1"]


def elf(*containers: list[tuple[int, int, bytes]]) -> bytes:
    """An ELF file with GPU code: kind, architecture and content of each container's entries."""
    code = b""
    for entries in containers:
        body = b"".join(struct.pack("<HHIQ12xI32x", kind, 1, 64, len(c), arch) + c for kind, arch, c in entries)
        code += struct.pack("<IHHQ", fatbin.MAGIC, 1, 16, len(body)) + body
    names = b"\0.nv_fatbin\0.names\0"
    table = 64 + len(code) + len(names)
    head = b"\x7fELF".ljust(0x28, b"\0") + struct.pack("<Q", table) + bytes(10) + struct.pack("<HHH", 64, 3, 2)
    rows = [(0, 0, 0), (1, 64, len(code)), (12, 64 + len(code), len(names))]
    return (
        head.ljust(64, b"\0")
        + code
        + names
        + b"".join(struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, size, 0, 0, 0, 0) for name, at, size in rows)
    )


def test_machine_code_of_one_architecture_stays_and_ptx_where_there_is_none(tmp_path: Path) -> None:
    ptx, code = fatbin.PTX, fatbin.MACHINE_CODE
    file = tmp_path / "kernels.so"
    own = [(ptx, 80, b"a" * 8), (code, 80, b"b" * 8), (code, 90, b"c" * 8)]
    lacking = [(ptx, 80, b"d" * 8), (code, 120, b"e" * 8)]
    file.write_bytes(before := elf(own, lacking))
    assert fatbin.keep(file, 90) == 24
    assert file.read_bytes() == before.replace(b"a" * 8, bytes(8)).replace(b"b" * 8, bytes(8)).replace(
        b"e" * 8, bytes(8)
    )


def step(name: str, code: str, expected_s: float = 0.0, limit_s: float = 30.0) -> Step:
    return Step(name, (sys.executable, "-c", code), expected_s, limit_s)


def test_what_fails_or_hangs_takes_no_other_along_and_keeps_what_it_found(tmp_path: Path) -> None:
    steps = [
        step("fails", "print('{\"found\": 1}', flush=True); raise OSError('no such kernel')"),
        step("hangs", "import time; print('{\"found\": 2}', flush=True); time.sleep(60)", limit_s=1.0),
        step("works", "print('by the way'); print('{\"found\": 3}')"),
    ]
    results, log = tmp_path / "results.jsonl", tmp_path / "log.txt"
    lines = list(run(steps, results, log, time.monotonic() + 60))
    assert [line["found"] for line in lines if "found" in line] == [1, 2, 3]
    assert {line["step"]: line["outcome"] for line in lines if "outcome" in line} == {
        "fails": "failed",
        "hangs": "timeout",
        "works": "done",
    }
    assert "no such kernel" in next(line["end"] for line in lines if line.get("outcome") == "failed")
    assert kept(results) == lines
    assert "by the way" in log.read_text()


def test_the_rest_goes_on_later_and_what_failed_comes_last(tmp_path: Path) -> None:
    results, log = tmp_path / "results.jsonl", tmp_path / "log.txt"
    steps = [step("first", ""), step("fails", "exit(1)"), step("long", "", expected_s=1e6), step("short", "")]
    first = [line["step"] for line in run(steps, results, log, time.monotonic() + 60)]
    assert first == ["first", "fails", "short"]
    with results.open("a") as file:
        file.write('{"step": "lo')  # a writer that was cut off
    assert [line["step"] for line in run(steps, results, log, time.monotonic() + 2e6)] == ["long", "fails"]
    assert [line["step"] for line in kept(results)] == ["first", "fails", "short", "long", "fails"]


def test_nothing_begins_without_time_for_it(tmp_path: Path) -> None:
    soon = time.monotonic() + 5
    assert not list(run([step("long", "", expected_s=6.0)], tmp_path / "results", tmp_path / "log", soon))


def test_a_plan_of_half_an_hour_begins_with_what_tells_most() -> None:
    assert [engines.name for engines in PLAN[:3]] == ["mini bf16 64", "small bf16 64", "small bf16 64 bare"]
    names = {engines.name for engines in PLAN}
    assert len(names) == len(PLAN) and not any("," in name for name in names)  # --only has commas between names
    assert sum(engines.expected_s for engines in PLAN) < 30 * 60
    assert all(engines.expected_s < engines.limit_s < 10 * 60 for engines in PLAN)
    json.dumps([dict(engines.overrides) for engines in PLAN])
