"""The NVIDIA GPUs of this machine, as their driver tells them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

QUESTION = "--query-gpu=memory.total,compute_cap,driver_version,name"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: all its memory, its compute capability (major, minor), and the versions and names that people know."""

    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str
    name: str


def gpus() -> list[Gpu]:
    """All of them, whatever CUDA_VISIBLE_DEVICES says.

    Raises:
        OSError: there is no nvidia-smi, and so no driver.
        subprocess.SubprocessError: nvidia-smi fails, or does not answer.
        ValueError: it does not tell the memory, which the GPUs may share with the CPU.
    """
    asked = ["nvidia-smi", QUESTION, "--format=csv,noheader,nounits"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [_gpu(*map(str.strip, line.split(",", 3))) for line in lines if "," in line]


def _gpu(memory_mib: str, capability: str, driver: str, name: str) -> Gpu:
    major, minor = capability.split(".")
    return Gpu(int(memory_mib) << 20, (int(major), int(minor)), driver, name)
