"""Whisper: its checkpoints and limits, its four prompt tokens, and the language token that it was trained to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.models import padding
from pipeline.models.abilities import Abilities
from pipeline.models.candidates import Candidates
from pipeline.models.family import Family, Files, LanguageQuestion, Limits
from pipeline.models.protocol import LanguageError
from pipeline.schema import SAMPLE_RATE_HZ

CHUNK_S = 30.0
START, TASK, TRANSLATE, NO_TIMES = "<|startoftranscript|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"
ENGLISH_VOCABULARY = 51_864  # tokens of the models of English alone; the others have more
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # large-v3's name for it, and that of the earlier ones


class Whisper:
    """Prompts for one Whisper tokenizer. They name the language, so that it is asked for first ("token")."""

    load_arguments: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is one of transformers'."""
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._start, self._no_times = self._vocabulary[START], self._vocabulary[NO_TIMES]

    @staticmethod
    def context(padded_s: float) -> int:
        return 4  # the audio is not part of the decoder's prompt

    def padded(self, samples: np.ndarray) -> np.ndarray:
        return padding.padded(samples, CHUNK_S)

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        return self._asking(language, TASK)

    def translation(self, audio: np.ndarray, language: str | None) -> list[int]:
        return self._asking(language, TRANSLATE)

    def _asking(self, language: str | None, task: str) -> list[int]:
        if (token := self._vocabulary.get(_name(language))) is None:
            raise LanguageError(f"this Whisper does not know the language {language}")
        return [self._start, token, self._vocabulary[task], self._no_times]

    def language_questions(self, languages: Sequence[str]) -> Mapping[str, LanguageQuestion]:
        if unknown := [language for language in languages if _name(language) not in self._vocabulary]:
            raise ConfigurationError(f"--language.expected: this Whisper does not know {', '.join(unknown)}")
        tokens = {language: [self._vocabulary[_name(language)]] for language in languages}
        silent = next((self._vocabulary[name] for name in NO_SPEECH if name in self._vocabulary), None)
        candidates = Candidates(tokens | ({"": [silent]} if silent is not None else {}))
        return {"token": LanguageQuestion(lambda _: [self._start], candidates)}

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {
            "encoder_prompt": {
                "prompt": "",
                "multi_modal_data": {"audio": (audio, SAMPLE_RATE_HZ)},
                "multi_modal_uuids": {"audio": [str(audio_id)]},
            },
            "decoder_prompt": {"prompt_token_ids": list(ids)},
        }

    def text(self, written: str) -> str:
        return written


def _name(language: str | None) -> str:
    """Of a language's token; that of Javanese has an older code."""
    return f"<|{'jw' if language == 'jv' else language}|>"


def matches(files: Files) -> bool:
    """The format of transformers."""
    return "config.json" in files and files.read("config.json").get("model_type") == "whisper"


def limits(files: Files) -> Limits:
    """Its preprocessor says how long a chunk is, and its decoder takes few tokens.

    Raises:
        ConfigurationError: it knows English alone: the tokens that prompts are made of were not trained.
    """
    config, preprocessor = files.read("config.json"), files.read("preprocessor_config.json")
    if config.get("vocab_size") == ENGLISH_VOCABULARY:
        raise ConfigurationError("--engine.model: this Whisper knows English alone; take one without .en in its name")
    return Limits(preprocessor.get("chunk_length"), config.get("max_target_positions"))


FAMILY = Family(
    runtimes={"vllm": "config.json", "transformers": "config.json"},
    abilities=Abilities(
        longest_window_s=CHUNK_S,
        translates=True,
        needs_language=True,
        language_methods=("token",),
        detects_silence=True,
    ),
    max_pause_s=30.0,
    limits=limits,
    files=("config.json", "preprocessor_config.json"),
    description="config.json with model_type whisper",
    matches=matches,
    weights=("model.safetensors", "model-*-of-*.safetensors", "pytorch_model*.bin"),
    prompts=Whisper,
)
