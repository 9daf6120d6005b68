"""Voxtral Realtime over whole windows: a token for each frame of audio, most of them pads, a fixed delay behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from mistral_common.tokens.tokenizers.base import SpecialTokens
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline.models.abilities import Abilities
from pipeline.models.families import voxtral
from pipeline.models.family import Family, Files, LanguageQuestion, Limits
from pipeline.schema import SAMPLE_RATE_HZ

# Nothing is padded to a chunk: this is the default length of windows. Each has some 4 s of silence around it, so that
# shorter windows cost more.
WINDOW_S = 30.0
LONGEST_WINDOW_S = 600.0
FRAMES_PER_S = 12.5
SILENCE_FRAMES = 128  # before and after the audio, with room to spare: 32, and the delay (at most 2.4 s) and 11 more
CONTEXT_TOKENS = 131_072  # of the model card: three hours


class VoxtralRealtime:
    """Prompts for one tokenizer: pads for the silence before the audio and for the delay, whatever the language. The
    answer goes on with a token for each frame that is left."""

    load_arguments: ClassVar[Mapping[str, Any]] = voxtral.Voxtral.load_arguments

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is vLLM's, around one of mistral_common's."""
        mistral: MistralTokenizer = tokenizer.mistral
        instruct = mistral.instruct_tokenizer
        assert instruct.audio_encoder is not None
        self._encoder = instruct.audio_encoder
        self._prompt = [*instruct.start(), *self._encoder.encode_streaming_tokens()]  # pyright: ignore[reportAttributeAccessIssue]
        marks = (SpecialTokens.streaming_pad, SpecialTokens.streaming_word)
        self.pads = frozenset(instruct.tokenizer.get_special_token(mark.value) for mark in marks)

    @staticmethod
    def context(padded_s: float) -> int:
        return math.ceil(padded_s * FRAMES_PER_S) + SILENCE_FRAMES

    def frames(self, audio: np.ndarray) -> int:
        return self._encoder.audio_config.num_audio_tokens(len(audio))

    def padded(self, samples: np.ndarray) -> np.ndarray:
        return self._encoder.pad(samples / np.float32(32768.0), SAMPLE_RATE_HZ)

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        return self._prompt

    def language_questions(self, languages: Sequence[str]) -> Mapping[str, LanguageQuestion]:
        return {}

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {"prompt_token_ids": list(ids), "multi_modal_data": {"audio": [(audio, SAMPLE_RATE_HZ)]}}

    def text(self, written: str) -> str:
        return written


def matches(files: Files) -> bool:
    """Mistral's format, with a causal audio encoder."""
    return "params.json" in files and voxtral.is_causal(voxtral.audio_parameters(files) or {})


def limits(files: Files) -> Limits:
    """Its parameters say how many positions it has."""
    positions = files.read("params.json").get("max_position_embeddings") or CONTEXT_TOKENS
    return Limits(WINDOW_S, min(positions, CONTEXT_TOKENS))


FAMILY = Family(
    runtimes={"vllm": "params.json"},
    abilities=Abilities(longest_window_s=LONGEST_WINDOW_S),
    max_pause_s=30.0,
    limits=limits,
    files=("params.json", "tekken.json"),
    description="params.json with a causal encoder in multimodal.whisper_model_args",
    matches=matches,
    weights=("consolidated*.safetensors", "model*.safetensors"),
    prompts=VoxtralRealtime,
)
