from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigurationError
from pipeline.models import checkpoint
from pipeline.models.families import asr, cohere
from pipeline.models.family import Files
from pipeline.settings import Engine

# They have families of their own; the last one is of servers that stream.
ELSEWHERE = {"VoxtralForConditionalGeneration", "WhisperForConditionalGeneration", *cohere.ARCHITECTURES}
STREAMING = {"VoxtralRealtimeGeneration", "Qwen3ASRRealtimeGeneration"}
# They inherit the interface, and write no text.
POOLING = {"ClefOmniForJointSchema", "Qwen3ASRForcedAlignerForTokenClassification"}


def write(folder: Path, **described: dict[str, Any]) -> Files:
    for name, content in described.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Files(folder)


def of(architecture: str, **more: Any) -> dict[str, Any]:
    return {"architectures": [architecture], **more}


def test_the_architectures_are_those_that_vllm_transcribes_with() -> None:
    """Read in its source: its classes cannot all be imported here."""
    spec = find_spec("vllm")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "model_executor" / "models"
    classes = {
        (node.name, path.stem): {base.id for base in node.bases if isinstance(base, ast.Name)}
        for path in folder.glob("*.py")
        if "Transcription" in (text := path.read_text("utf-8")) or "ForConditionalGeneration" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }
    transcribing = {"SupportsTranscription"}
    while more := {name for (name, _), bases in classes.items() if bases & transcribing} - transcribing:
        transcribing |= more
    registered = {
        key.value: tuple(part.value for part in value.elts if isinstance(part, ast.Constant))
        for node in ast.walk(ast.parse((folder / "registry.py").read_text("utf-8")))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
    }
    found = {name for name, (_, written) in registered.items() if written in transcribing}
    assert found - ELSEWHERE - STREAMING - POOLING == asr.ARCHITECTURES
    assert found >= ELSEWHERE | STREAMING | POOLING | asr.PACKAGES.keys()


@pytest.mark.parametrize("architecture", sorted(asr.ARCHITECTURES | cohere.ARCHITECTURES))
def test_a_checkpoint_is_known_by_its_architecture(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr, "PACKAGES", {})
    write(tmp_path, config=of(architecture))
    found = checkpoint.inspect(Engine(model=str(tmp_path)))
    assert found.family == ("cohere" if architecture in cohere.ARCHITECTURES else "asr")
    assert found.chunk_s == 30.0


@pytest.mark.parametrize(
    ("described", "limits"),
    [
        ({}, (30.0, None)),
        ({"preprocessor_config": {"chunk_length": 300}}, (30.0, None)),
        ({"preprocessor_config": {"chunk_length": 20}}, (20.0, None)),
        ({"processor_config": {"feature_extractor": {"chunk_length": 20}}}, (20.0, None)),
        ({"config": of("x", max_position_embeddings=2_048)}, (30.0, 2_048)),
        ({"config": of("x", text_config={"max_position_embeddings": 4_096}, audio_config={})}, (30.0, 4_096)),
        ({"config": of("x", thinker_config={"text_config": {"max_position_embeddings": 8}})}, (30.0, 8)),
    ],
)
def test_the_files_say_how_long_a_window_may_be(
    described: dict[str, dict[str, Any]], limits: tuple[float, int | None], tmp_path: Path
) -> None:
    found = asr.limits(write(tmp_path, **({"config": of("x")} | described)))
    assert (found.chunk_s, found.max_context) == limits


@pytest.mark.parametrize("architecture", ["GraniteSpeechForConditionalGeneration", "CohereAsrForConditionalGeneration"])
def test_a_package_that_vllm_lacks_is_one_clear_line(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(asr.PACKAGES, architecture, "no_such_package")
    write(tmp_path, config=of(architecture))
    with pytest.raises(
        ConfigurationError, match=rf"{architecture} only with no_such_package.*pip install no-such-pack"
    ):
        checkpoint.inspect(Engine(model=str(tmp_path)))


@pytest.mark.parametrize(
    "config", [{}, {"architectures": None}, of("BertModel"), of("VoxtralForConditionalGeneration")]
)
def test_other_checkpoints_are_not_of_these_families(config: dict[str, Any], tmp_path: Path) -> None:
    files = write(tmp_path, config=config)
    assert not asr.matches(files)
    assert not cohere.matches(files)
