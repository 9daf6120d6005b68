from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline import registry
from pipeline.models.abilities import Abilities
from pipeline.models.family import Family, Limits
from pipeline.models.runtime import Runtime
from tests.conftest import DEMO


@dataclass
class VllmTokenizer:
    """vLLM's tokenizer holds mistral_common's."""

    mistral: MistralTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> VllmTokenizer:
    return VllmTokenizer(MistralTokenizer.from_file(str(DEMO / "model" / "tekken.json")))


def register(monkeypatch: pytest.MonkeyPatch, name: str, abilities: Abilities) -> None:
    """Add a family and a runtime of its own, as a file of each and two lines of the registry do."""
    family = Family(
        runtimes={name: ""},
        abilities=abilities,
        max_pause_s=5.0,
        limits=lambda files: Limits(files.read("tiny.json")["chunk_s"], 99),
        files=("tiny.json",),
        description="tiny.json",
        matches=lambda files: "tiny.json" in files,
        weights=("*.tiny",),
    )
    runtime = Runtime(version=lambda: None, start=lambda *_: SimpleNamespace(abilities=abilities), uses_gpus=False)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(sys.modules, f"added_{name}", SimpleNamespace(FAMILY=family, RUNTIME=runtime))  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(registry.FAMILIES, name, f"added_{name}:FAMILY")
    monkeypatch.setitem(registry.RUNTIMES, name, f"added_{name}:RUNTIME")
