"""Whisper: its four prompt tokens, and the language token that it was trained to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.models import protocol
from pipeline.models.candidates import Choice
from pipeline.models.protocol import EngineError, Witness
from pipeline.schema import SAMPLE_RATE_HZ

CHUNK_S = 30.0
START, TASK, NO_TIMES = "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # large-v3's name for it, and that of the earlier ones


class Whisper:
    """Prompts for one Whisper tokenizer. The language stands in the prompt, so it is asked for first ("token")."""

    load_arguments: ClassVar[Mapping[str, Any]] = {}
    needs_language: ClassVar[bool] = True

    def __init__(self, tokenizer: Any, languages: Sequence[str]) -> None:
        """`tokenizer` is one of transformers'.

        Raises:
            ConfigurationError: a language that this model does not know.
        """
        vocabulary = tokenizer.get_vocab()
        if unknown := [language for language in languages if f"<|{language}|>" not in vocabulary]:
            raise ConfigurationError(f"--language.expected: this Whisper does not know {', '.join(unknown)}")
        self._start, self._task, self._no_times = (vocabulary[name] for name in (START, TASK, NO_TIMES))
        self._vocabulary = vocabulary
        tokens = {language: [vocabulary[f"<|{language}|>"]] for language in languages}
        silent = next((vocabulary[name] for name in NO_SPEECH if name in vocabulary), None)
        choice = Choice(tokens | ({"": [silent]} if silent is not None else {}))
        self.witnesses: Mapping[str, Witness] = {"token": Witness(lambda _: [self._start], choice)}

    @staticmethod
    def context(padded_s: float) -> int:
        return 4  # the audio is not part of the decoder's prompt

    def padded(self, samples: np.ndarray) -> np.ndarray:
        return protocol.padded(samples, CHUNK_S)

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        if (token := self._vocabulary.get(f"<|{language}|>")) is None:
            raise EngineError(f"this Whisper does not know the language {language}")
        return [self._start, token, self._task, self._no_times]

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {
            "encoder_prompt": {
                "prompt": "",
                "multi_modal_data": {"audio": (audio, SAMPLE_RATE_HZ)},
                "multi_modal_uuids": {"audio": [str(audio_id)]},
            },
            "decoder_prompt": {"prompt_token_ids": list(ids)},
        }
