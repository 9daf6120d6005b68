from __future__ import annotations

from dataclasses import dataclass

import pytest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from tests.conftest import DEMO


@dataclass
class VllmTokenizer:
    """vLLM's tokenizer holds mistral_common's."""

    mistral: MistralTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> VllmTokenizer:
    return VllmTokenizer(MistralTokenizer.from_file(str(DEMO / "model" / "tekken.json")))
