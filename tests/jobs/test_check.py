"""jobs.check, with programs in place of the driver, torch and vLLM; and on a machine without GPUs."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from jobs import check
from pipeline.models import nvidia, readiness
from tests.conftest import DEMO

H100 = "81559, 9.0, 580.65.06, NVIDIA H100 80GB HBM3"
T4 = "15360, 7.5, 580.65.06, Tesla T4"
CUDA_TORCH = ("2.13.0+cu130", "13.0")


def program(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives a machine with such GPUs (lines of nvidia-smi), such a torch and such packages."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    version = metadata.version

    def make(
        *gpus: str, torch: tuple[str, str | None] = CUDA_TORCH, sees: int | None = None, trouble: str | None = None
    ):
        program(tmp_path / "nvidia-smi", *(f"echo '{gpu}'" for gpu in gpus))
        said = json.dumps([*torch, len(gpus) if sees is None else sees, trouble])
        program(tmp_path / "python", "echo a warning of a library", f"echo '{said}'")
        monkeypatch.setattr(readiness.sys, "executable", str(tmp_path / "python"))
        monkeypatch.setattr(metadata, "version", lambda name: "0.32.0" if name == "vllm" else version(name))
        return tmp_path

    return make


def test_a_machine_with_all_that_is_needed_is_ready(machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(H100, H100, H100, H100)
    assert check.main([]) == 0
    said = capsys.readouterr().out
    assert "driver     580.65.06" in said
    assert "4 x NVIDIA H100 80GB HBM3, 86 GB, compute capability 9.0" in said
    assert "2.13.0+cu130, for CUDA 13.0, sees 4 GPU(s)" in said
    (small,) = [line.split(maxsplit=3)[-1] for line in said.splitlines() if "Voxtral-Small" in line]
    assert small == "2: 2 engine(s) here"
    assert said.splitlines()[-1] == "ready"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"torch": ("2.13.0+cpu", None)}, "- torch: 2.13.0+cpu, for the CPU: make setup LOCK=gpu"),
        ({"trouble": "The NVIDIA driver on your system is too old", "sees": 0}, "too old: a driver for CUDA 13.0"),
        ({"sees": 1}, "sees 1 GPU(s): CUDA_VISIBLE_DEVICES hides some"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_remedy(
    machine, given: dict, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(H100, H100, **given)
    assert check.main([]) == 1
    (wrong,) = capsys.readouterr().out.partition("\nmissing:\n")[2].splitlines()
    assert said in wrong


def test_a_driver_that_fails_is_quoted(machine, capsys: pytest.CaptureFixture[str]) -> None:
    folder = machine()
    program(folder / "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'", "exit 18")
    assert check.main([]) == 1
    assert "nvidia-smi fails: Failed to initialize NVML: Driver/library version" in capsys.readouterr().out


def test_memory_that_the_driver_does_not_tell_is_no_broken_driver(machine, capsys: pytest.CaptureFixture[str]) -> None:
    folder = machine()
    program(folder / "nvidia-smi", "echo '[N/A], 12.1, 580.95.05, NVIDIA GB10'")
    assert check.main([]) == 1
    assert "does not tell how much memory they have: set --engine.tensor-parallel-size" in capsys.readouterr().out


def test_a_model_that_is_named_has_to_fit(
    machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(T4)
    assert check.main([]) == 0  # smaller models than Voxtral do
    assert "float16 for bfloat16" in capsys.readouterr().out
    assert check.main(["--engine.model", str(DEMO / "model")]) == 0
    assert "1: 1 engine(s) here" in capsys.readouterr().out
    large = readiness.RELEASED["mistralai/Voxtral-Small-24B-2507"]
    _, (lacking,) = readiness.table({"large": large, "small": 1}, nvidia.gpus())
    assert lacking.subject == "large" and "1 GPU(s) of 16 GB" in lacking.found and lacking.remedy


def test_a_machine_without_gpus_is_told_what_usual_ones_would_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check.main([]) == 1
    said = capsys.readouterr().out
    assert "nvidia-smi is not on the PATH" in said and "no ffmpeg: sh infra/install-system-tools.sh" in said
    (small,) = [line.split()[-4:] for line in said.splitlines() if "Voxtral-Small" in line]
    assert small == ["4", "2", "2", "1"]  # of 24, 48, 80 and 141 GB


def test_there_is_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--engine.model", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    assert "no such folder" in said and "torch" in said  # the machine is looked at all the same
