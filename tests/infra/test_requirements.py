"""Pinned lists: what run time, scoring and development need, apart; and that jobs run with the first alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

INFRA = ROOT / "infra"
RUNTIME = "cpu", "gpu"
SCORING = "jiwer scipy whisper_normalizer".split()


PYTHONS = "3.11", "3.12", "3.13"
MACHINES = "x86_64", "aarch64"
every_python = pytest.mark.parametrize("python", PYTHONS)
every_machine = pytest.mark.parametrize("machine", MACHINES)


def environment(python: str, machine: str) -> dict[str, str]:
    """What markers see there; of the rest they see what is here, which is CPython on Linux, too."""
    return {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": machine}


def pins(name: str) -> dict[str, set[str]]:
    """The lines of a lock that name a package, each with the hashes that follow it."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines():
        if line.startswith(" "):
            found[list(found)[-1]].add(line.strip(" \\"))
        else:
            found[line.removesuffix(" \\")] = set()
    return found


def locked(name: str, python: str = "3.11", machine: str = "x86_64") -> dict[str, str]:
    """The versions that pip takes from a lock. Every pin in it names one package and its version."""
    wanted = map(Requirement, pins(name))
    here = [each for each in wanted if not each.marker or each.marker.evaluate(environment(python, machine))]
    found = {each.name: str(each.specifier).removeprefix("==") for each in here}
    assert len(found) == len(here)
    return found


def test_the_versions_of_python_are_named_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    all_of_them = [f"3.{minor}" for minor in range(9, 20)]
    assert [each for each in all_of_them if each in SpecifierSet(project["requires-python"])] == list(PYTHONS)
    words = f"{', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}"
    for page in ("Makefile", "README.md", "docs/operations.md"):
        assert f"Python {words}" in (ROOT / page).read_text(), page


@every_python
@pytest.mark.parametrize("name", RUNTIME)
def test_the_runtime_lock_has_neither_development_nor_scoring_packages(name: str, python: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    unwanted = {re.split(r"[\[<>=; ]", wanted)[0] for wanted in extras["dev"] + extras["evaluate"]}
    assert {"pytest", "moto", "pyright", "jiwer"} <= unwanted
    assert not unwanted & locked(name, python).keys()


@every_python
@every_machine
@pytest.mark.parametrize("name", RUNTIME)
@pytest.mark.parametrize("beside", ["evaluate", "dev"])
def test_locks_that_are_installed_together_agree(name: str, beside: str, python: str, machine: str) -> None:
    one, other = locked(name, python, machine), locked(beside, python, machine)
    assert not {package: version for package, version in other.items() if one.get(package, version) != version}


@pytest.mark.parametrize("name", ["cpu", "gpu", "evaluate", "dev"])
def test_every_pin_has_hashes_but_the_build_of_torch_that_comes_from_anywhere(name: str) -> None:
    without = [pin for pin, hashes in pins(name).items() if not hashes]
    assert without == (["torch==2.13.0+cpu"] if name == "cpu" else [])
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for hashes in pins(name).values() for each in hashes)


@pytest.mark.parametrize("beside", ["evaluate", "dev"])
@pytest.mark.parametrize("name", RUNTIME)
def test_locks_that_are_installed_together_have_the_same_hashes(name: str, beside: str) -> None:
    one, other = pins(name), pins(beside)
    shared = one.keys() & other.keys()
    assert len(shared) > 50 and not [pin for pin in shared if one[pin] != other[pin]]


@every_python
@every_machine
@pytest.mark.parametrize("name", ["cpu", "gpu", "evaluate", "dev"])
def test_each_lock_has_all_that_its_packages_require(name: str, python: str, machine: str) -> None:
    """Versions that are not installed here (those for GPUs, where .venv is for the CPU) are not asked."""
    found, unneeded = locked(name, python, machine), {"torchvision", "torchaudio", "torchcodec"}  # pyproject.toml
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = project["dependencies"] + project["optional-dependencies"][name]
    waiting, seen, missing = [Requirement(root) for root in roots], set[tuple[str, str]](), set[str]()
    while waiting:
        wanted = waiting.pop()
        package = canonicalize_name(wanted.name)
        if package in unneeded:
            continue
        if package not in found or not wanted.specifier.contains(found[package], prereleases=True):
            missing.add(str(wanted))
            continue
        for extra_name in {"", *wanted.extras}:
            if (package, extra_name) not in seen:
                seen.add((package, extra_name))
                for needed in map(Requirement, required(package, found[package])):
                    if not needed.marker or needed.marker.evaluate(
                        {**environment(python, machine), "extra": extra_name}
                    ):
                        waiting.append(needed)
    assert not missing
    assert len(seen) > 100


def required(package: str, version: str) -> list[str]:
    try:
        installed = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return []
    return installed.requires or [] if installed.version == version else []


def make(folder: Path, python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """make in a folder without a .venv, where the command `python9` is a Python that takes itself for this version."""
    major, minor = python.split(".")
    program = folder / "python9"
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = ({major}, {minor}, 1)\n"
        """exec(sys.argv[1])' "$2"\n"""
    )
    program.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements"):
        (folder / name).symlink_to(ROOT / name)
    command = ["make", "--no-print-directory", *arguments, "PYTHON=./python9"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # `make test`
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=outside)


@pytest.mark.parametrize("python", ["3.10", "3.14"])
def test_make_names_the_versions_that_work(python: str, tmp_path: Path) -> None:
    ended = make(tmp_path, python, "demo")
    assert ended.returncode == 2 and not ended.stdout
    said = f"Python 3.11, 3.12 or 3.13 is needed, and ./python9 is {python}: make setup PYTHON=python3.11"
    assert ended.stderr.splitlines()[0] == said


@every_python
def test_make_takes_the_python_that_it_is_given(python: str, tmp_path: Path) -> None:
    ended = make(tmp_path, python, "--dry-run", "setup")
    assert not ended.returncode, ended.stderr
    assert "./python9 -m venv --clear .venv" in ended.stdout and f"touch .venv/.installed-cpu-{python}" in ended.stdout


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
"""


def test_jobs_but_for_evaluate_run_without_the_packages_of_scoring() -> None:
    code = BLOCKED + "import jobs.transcribe, jobs.nightly, jobs.export, pipeline.run"
    subprocess.run([sys.executable, "-c", code, ",".join(SCORING)], check=True, cwd=ROOT)


def test_evaluate_names_the_package_that_is_missing() -> None:
    code = BLOCKED + "from jobs import evaluate; sys.exit(evaluate.main(['--input', 'x', '--output', 'y']))"
    command = [sys.executable, "-c", code, ",".join(SCORING)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1 and "requirements/evaluate.txt" in ended.stderr


def test_the_gpu_image_has_a_compiler_and_the_runtime_lock_alone() -> None:
    targets = (INFRA / "Containerfile").read_text().split("\nFROM ")
    (gpu,) = [target for target in targets if target.startswith("base AS gpu")]
    assert "gcc" in gpu and "dev.txt" not in "".join(targets)
