"""Nothing that a job uses reports to its makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import REPORTS_OFF

HEAR = "import numpy as np; from pipeline.audio.vad import Detector; Detector()(np.zeros((4, 512), dtype=np.int16))"


def run(code: str, home: Path, **environment: str) -> str:
    """What a program prints whose environment says nothing of reports, and does not call itself a test's."""
    kept = {name: value for name, value in os.environ.items() if name not in REPORTS_OFF and name != "CI"}
    mine = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=kept | mine | environment, check=True, capture_output=True, text=True).stdout


def test_a_detector_keeps_nothing_to_report(tmp_path: Path) -> None:
    run(HEAR, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]


@pytest.mark.slow  # it does report, where there is a network
def test_it_would_without_the_variable(tmp_path: Path) -> None:
    """Else the test above shows nothing; a release of onnxruntime without reports may end it."""
    run(HEAR, tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]


def test_ray_is_told(tmp_path: Path) -> None:
    code = "import pipeline; from ray._common.usage import usage_lib; print(usage_lib.usage_stats_enabled())"
    assert run(code, tmp_path) == "False\n"


@pytest.mark.parametrize("name", REPORTS_OFF)
def test_what_the_user_wants_stays(name: str, tmp_path: Path) -> None:
    code = f"import os, pipeline; print(os.environ[{name!r}])"
    assert run(code, tmp_path) == f"{REPORTS_OFF[name]}\n"
    assert run(code, tmp_path, **{name: "other"}) == "other\n"
