"""Pinned lists: what run time, scoring and development need, apart; and that jobs run with the first alone."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

INFRA = ROOT / "infra"
RUNTIME = "cpu", "gpu"
SCORING = "jiwer plotly scipy whisper_normalizer".split()


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / f"requirements/{name}.txt").read_text().split()
    return {package: version for package, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("name", RUNTIME)
def test_the_runtime_lock_has_neither_development_nor_scoring_packages(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    unwanted = {re.split(r"[\[<>=; ]", wanted)[0] for wanted in extras["dev"] + extras["evaluate"]} - {"jinja2"}
    assert {"pytest", "moto", "pyright", "plotly"} <= unwanted
    assert not unwanted & locked(name).keys()  # jinja2 is vLLM's, too


@pytest.mark.parametrize("name", RUNTIME)
@pytest.mark.parametrize("beside", ["evaluate", "dev"])
def test_locks_that_are_installed_together_agree(name: str, beside: str) -> None:
    one, other = locked(name), locked(beside)
    assert not {package: version for package, version in other.items() if one.get(package, version) != version}


@pytest.mark.parametrize(("name", "extra"), [("cpu", "cpu"), ("evaluate", "evaluate"), ("dev", "dev")])
def test_each_lock_has_all_that_its_packages_require(name: str, extra: str) -> None:
    found, unneeded = locked(name), {"torchvision", "torchaudio", "torchcodec"}  # pyproject.toml, tool.uv
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = project["dependencies"] + project["optional-dependencies"][extra]
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
                for text in metadata.requires(package) or []:
                    needed = Requirement(text)
                    if not needed.marker or needed.marker.evaluate({"extra": extra_name}):
                        waiting.append(needed)
    assert not missing


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
"""


def test_jobs_but_for_evaluate_run_without_the_packages_of_scoring() -> None:
    code = BLOCKED + "import jobs.transcribe, jobs.nightly, jobs.export, pipeline.run, pipeline.flow"
    subprocess.run([sys.executable, "-c", code, ",".join([*SCORING, "jinja2"])], check=True, cwd=ROOT)


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
