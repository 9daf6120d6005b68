from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.flow import gpus
from tests.conftest import start_ray


@pytest.mark.slow
def test_a_node_is_asked_for_its_gpus(no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is real, the GPU is a number that a program of nvidia-smi's name gives."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 81559, 9.0, 580.65.06, NVIDIA H100\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    start_ray(num_cpus=1, num_gpus=2)
    assert gpus._first_gpu() == (81559 << 20, (9, 0))
    program.write_text("#!/bin/sh\nexit 1\n")
    assert gpus._first_gpu() is None
