from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import models, registry
from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Abilities
from pipeline.models.checkpoint import Checkpoint, fit, inspect
from pipeline.models.demand import of_windows
from pipeline.models.family import Files
from pipeline.models.family import family as load_family
from pipeline.settings import Engine, Settings
from tests.models.conftest import register


def test_a_family_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.json").write_text('{"chunk_s": 40}')
    (tmp_path / "weights.tiny").write_bytes(bytes(7))
    with pytest.raises(ConfigurationError, match="no known family"):
        inspect(Engine(model=str(tmp_path)))
    register(monkeypatch, "tiny", Abilities(longest_window_s=80.0))
    found = inspect(Engine(model=str(tmp_path)))
    assert found == Checkpoint(str(tmp_path), "tiny", found.revision, 40.0, "tiny", 99, 7)
    segmentation = fit(Settings(input="in", output="out"), found).segmentation
    assert (segmentation.max_window_s, segmentation.max_pause_s) == (40.0, 5.0)


def test_a_runtime_is_one_file_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    abilities = Abilities(80.0)
    register(monkeypatch, "tiny", abilities)
    found = Checkpoint("a/b", "tiny", "r", 40.0, "tiny")
    settings = Settings(input="in", output="out")
    assert models.start(settings, found, of_windows(settings, found)).abilities is abilities
    assert not models.uses_gpus(found)
    with pytest.raises(ConfigurationError, match="tiny is not installed"):
        models.runtime(settings.engine, found)


@pytest.mark.parametrize("name", list(registry.FAMILIES))
def test_every_registered_family_has_a_runtime_that_is_installed(name: str) -> None:
    family = load_family(name)
    for runtime in family.runtimes:
        told, version = models.runtime(Engine(), Checkpoint("m", name, "r", 30.0, runtime))
        assert told == runtime
        assert version or runtime == "server"
    assert bool(family.files) == bool(family.description) == bool(family.weights)


def test_a_file_that_is_not_there_matches_no_family(tmp_path: Path) -> None:
    assert not any(load_family(name).matches(Files(tmp_path)) for name in registry.FAMILIES)


def test_settings_take_their_choices_from_the_registry() -> None:
    for name in ("auto", *registry.FAMILIES):
        assert load(["--input", "i", "--output", "o", "--engine.family", name]).engine.family == name
    with pytest.raises(
        ConfigurationError, match="one of auto, voxtral, voxtral_realtime, whisper, cohere, asr, server, scripted"
    ):
        load(["--input", "i", "--output", "o", "--engine.family", "bert"])


def test_settings_import_no_family_and_no_runtime() -> None:
    code = "import sys, pipeline.settings; print([x for x in sys.modules if x.startswith('pipeline.models.')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
