"""What bench.gpu needs on a host with a GPU, PyTorch and no package registry, gathered in pieces that can be carried
there: vLLM's build for PyTorch 2.11 and CUDA 13, and the packages that the host lacks.

    python -m bench.gpu_bundle FOLDER --have packages.txt [--piece-mb 25] [--architecture 90]

packages.txt is the host's `pip freeze`; a name without a version will do. bench/gpu_install.py unpacks the pieces
there; this repository's checkout comes by itself. Left out is what the measurement of a dense model in bf16 or FP8 on
one architecture never runs: docs/performance.md has the sizes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

from bench import fatbin
from bench.gpu_install import split

VLLM = "vllm==0.26.0"  # of the wheels on PyPI, the one for PyTorch 2.11
PYTHON, GLIBC = "3.12", range(17, 40)  # of the host: wheels for glibc 2.17 to 2.39
# What is imported on the way to an answer about audio, and by bench.gpu; some of it only because vLLM imports all of
# its servers and number formats. Found by importing with nothing else there. What these require comes with them.
NEEDED = """
    apache-tvm-ffi>=0.1.11 blake3 cachetools cbor2 fastapi httpx2 llguidance loguru mistral_common msgspec openai
    openai-harmony opentelemetry-api partial-json-parser pybase64 pycountry pydantic pydantic-extra-types
    pydantic-settings pyzmq soundfile
""".split()  # apache-tvm-ffi is xgrammar's: vLLM's own ==0.1.10 is too old for it
ALONE = "compressed-tensors", "xgrammar"  # they require PyTorch, which the host has
LEFT_OUT = (
    "vllm/_moe_C*.so",  # mixtures of experts
    "vllm/_flashmla*.so",  # DeepSeek's attention
    "vllm/_qutlass*.so",  # 4-bit floats of Blackwell
    "vllm/vllm_flash_attn/_vllm_fa2*.so",  # FlashAttention 3 takes its place on compute capability 9
    "vllm/vllm-rs",  # a server in Rust
    "vllm/third_party/deep_gemm",
    "vllm/third_party/fmha_sm100",
    "pycountry/locales",
    "bin",
)
KERNELS = "vllm/_C*.so", "vllm/vllm_flash_attn/_vllm_fa3*.so"


def had(freeze: str) -> dict[str, str | None]:
    """Normalized names of a host's packages, and their versions where `pip freeze` text names them."""
    found: dict[str, str | None] = {}
    for line in map(str.strip, freeze.splitlines()):
        if line and line[0] not in "#-":
            name, _, version = line.partition("==")
            found[canonicalize_name(name.partition(" @ ")[0])] = version or None
    return found


def requirements(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """`names`, in the versions that vLLM wants where it says so."""
    asked = {canonicalize_name(each.name): each.specifier for each in map(Requirement, wanted)}
    return [f"{name}{asked.get(canonicalize_name(name), '')}" for name in names]


def conflicts(packages: Path, have: dict[str, str | None]) -> list[str]:
    """What the gathered packages ask for in another version than there is. It can work nevertheless."""
    found, gathered = list[str](), metadata.distributions(path=[str(packages)])
    there = have | {canonicalize_name(package.name): package.version for package in gathered}
    for package in metadata.distributions(path=[str(packages)]):
        for each in map(Requirement, package.requires or ()):
            version = there.get(canonicalize_name(each.name))
            if each.marker and not each.marker.evaluate({"extra": "", "python_version": PYTHON}):
                continue
            if version and not each.specifier.contains(version, prereleases=True):
                found.append(f"{package.name} asks for {each}, and there is {version}")
    return found


def gather(packages: Path, have: dict[str, str | None]) -> list[str]:
    """Install what the host lacks into a folder; names and versions."""
    _pip("--no-deps", "--target", str(packages), VLLM)
    wanted = next(iter(metadata.distributions(path=[str(packages)]))).requires or []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        named = requirements(wanted, NEEDED)
        _pip("--dry-run", "--ignore-installed", "--report", str(report), "--target", folder, *named)
        resolved = [each["metadata"] for each in json.loads(report.read_text("utf-8"))["install"]]
    lacking = [f"{each['name']}=={each['version']}" for each in resolved if canonicalize_name(each["name"]) not in have]
    lacking += requirements(wanted, [name for name in ALONE if name not in have])
    _pip("--no-deps", "--no-compile", "--target", str(packages), *lacking)
    return [VLLM, *lacking]


def reduce(packages: Path, architecture: int) -> None:
    """Take away what LEFT_OUT names, and GPU code for other architectures."""
    for pattern in LEFT_OUT:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for cache in packages.rglob("__pycache__"):
        shutil.rmtree(cache)
    for pattern in KERNELS:
        for path in packages.glob(pattern):
            fatbin.keep(path, architecture)


def pack(packages: Path, archive: Path) -> None:
    """One compressed archive of a folder's content."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(packages.iterdir()):
            tar.add(path, path.name)


def _pip(*arguments: str) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC]
    target = [
        "--only-binary=:all:",
        f"--python-version={PYTHON}",
        "--implementation=cp",
        "--platform=manylinux2014_x86_64",
    ]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *target, *platforms]
    subprocess.run([*command, *arguments], check=True)


def main() -> None:
    """Gather, reduce, pack and split; print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pieces go")
    parser.add_argument("--have", type=Path, required=True, help="the host's packages, as pip freeze prints them")
    parser.add_argument("--piece-mb", type=int, default=25, help="the most that one piece may have, in MB")
    parser.add_argument("--architecture", type=int, default=90, help="90 for compute capability 9.0: H100, H200")
    wanted = parser.parse_args()
    console, have = Console(width=120), had(wanted.have.read_text("utf-8"))
    wanted.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        packages, archive = Path(folder, "packages"), Path(folder, "packages.tar.xz")
        console.print(*gather(packages, have), highlight=False)
        for line in conflicts(packages, have):
            console.print(line, highlight=False)
        reduce(packages, wanted.architecture)
        pack(packages, archive)
        pieces = split(archive, wanted.folder, wanted.piece_mb * 1_000_000)
    for piece in pieces:
        console.print(piece, f"{piece.stat().st_size / 1e6:.1f} MB", highlight=False)


if __name__ == "__main__":
    main()
