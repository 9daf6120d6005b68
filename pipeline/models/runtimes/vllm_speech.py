"""Prompts of the models that vLLM's own servers transcribe with: vLLM's class for a model (SupportsTranscription) makes
them, and cleans the texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.models.candidates import Candidates, common
from pipeline.models.family import LanguageQuestion
from pipeline.models.protocol import LanguageError
from pipeline.schema import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

TOKENS_PER_S = 25.0  # of audio, at most: the models take 6 to 17
PROMPT_TOKENS = 256  # around the audio, and in place of shorter audio, with room to spare
SHORTEST_S = 0.5  # encoders need a few frames


class SpeechToText:
    """Prompts for one model. Their audio is one token each, for which vLLM puts as many as the audio takes."""

    load_arguments: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, model: Any, ask: Callable[[np.ndarray, str | None], Any], encode: Callable[[str], Sequence[int]]
    ) -> None:
        """`model` is vLLM's class. `ask` returns its prompt for audio in a language (ISO 639-1): token ids, a text or,
        of a model with an encoder, both prompts. `encode`: a text as token ids."""
        self._model, self._ask, self._encode = model, ask, encode

    @classmethod
    def of(cls, llm: AsyncLLM) -> SpeechToText:
        """Those of the model that vLLM runs."""
        from vllm.config.speech_to_text import SpeechToTextParams
        from vllm.inputs import TextPrompt
        from vllm.model_executor.model_loader import get_model_cls

        config, renderer = llm.model_config, llm.renderer
        model: Any = get_model_cls(config)
        asked = partial(
            SpeechToTextParams,
            stt_config=model.get_speech_to_text_config(config, "transcribe"),
            model_config=config,
        )

        def ask(audio: np.ndarray, language: str | None) -> Any:
            return model.get_generation_prompt(asked(audio=audio, language=language))

        def encode(text: str) -> Sequence[int]:
            prompt: Any = renderer.tokenize_prompt(TextPrompt(prompt=text), renderer.default_cmpl_tok_params)
            return prompt["prompt_token_ids"]

        return cls(model, ask, encode)

    @staticmethod
    def context(padded_s: float) -> int:
        return math.ceil(padded_s * TOKENS_PER_S) + PROMPT_TOKENS

    def padded(self, samples: np.ndarray) -> np.ndarray:
        """Of their own length, but for the shortest."""
        audio = np.zeros(max(len(samples), int(SHORTEST_S * SAMPLE_RATE_HZ)), dtype=np.float32)
        audio[: len(samples)] = samples / np.float32(32768.0)
        return audio

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        try:
            prompt = self._ask(audio, self._model.validate_language(language))
        except ValueError as error:
            raise LanguageError(f"no prompt for the language {language}: {error}") from error
        # An encoder's prompt is the audio alone.
        asked = prompt.get("decoder_prompt", prompt)
        if isinstance(asked, str):
            return list(self._encode(asked))
        return list(asked["prompt_token_ids"] if "prompt_token_ids" in asked else self._encode(asked["prompt"]))

    def language_questions(self, languages: Sequence[str]) -> Mapping[str, LanguageQuestion]:
        """One question, of models that write down the language before the text, or have to be told it."""
        silence = self.padded(np.zeros(0, np.int16))
        try:
            asked = {language: self.transcription(silence, language) for language in languages}
        except LanguageError as error:
            raise ConfigurationError(f"--language.expected: {error}") from error
        others = [language for language in self._model.supported_languages if language not in asked]
        prompts = [*asked.values(), *(self.transcription(silence, language) for language in others[:1])]
        start, untold = common(prompts), self._untold(silence)
        writes_it = untold is None or all(prompt[: len(untold)] == untold for prompt in prompts)
        if not writes_it or start == min(map(len, prompts)):
            return {}
        strings = {}
        for language, ids in asked.items():  # up to where each differs from all others
            same = max(common([ids, other]) for other in prompts if other is not ids)
            strings[language] = ids[start : same + 1]
        before = prompts[0][:start]
        return {"token": LanguageQuestion(lambda _: before, Candidates(strings))}

    def _untold(self, audio: np.ndarray) -> list[int] | None:
        """The prompt without a language; None of a model that has to be told it."""
        try:
            return None if self._model.validate_language(None) else self.transcription(audio, None)
        except LanguageError:
            return None

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {
            "prompt_token_ids": list(ids),
            "multi_modal_data": {"audio": (audio, SAMPLE_RATE_HZ)},
            "multi_modal_uuids": {"audio": [str(audio_id)]},
        }

    def text(self, written: str) -> str:
        if self._model.supports_diarized_transcription and (said := self._model.parse_diarized_transcript(written)):
            return " ".join(segment.text for segment in said)
        return self._model.post_process_output(written)
