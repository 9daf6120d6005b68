"""Voxtral's prompts, built by mistral_common; and how to ask it for the language."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline.schema import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class LanguageQuestion:
    """Where the strings `lang:xx` part: after `prefix` token ids, `following` are the next ids to be scored."""

    prefix: tuple[int, ...]
    following: tuple[int, ...]


class VoxtralPrompt:
    """Prompts for one Voxtral tokenizer."""

    def __init__(self, tokenizer: MistralTokenizer, languages: Sequence[str]) -> None:
        encoder = tokenizer.instruct_tokenizer.audio_encoder
        assert encoder is not None and encoder.audio_config.chunk_length_s is not None
        self._instruct = tokenizer.instruct_tokenizer
        self.chunk_s: float = encoder.audio_config.chunk_length_s
        self._languages = languages
        self._ids = cache(self._build_ids)

    def padded(self, samples: np.ndarray) -> np.ndarray:
        """int16 samples -> float32 in [-1, 1], filled with silence to a whole number of chunks."""
        length = max(1, math.ceil(len(samples) / self._chunk)) * self._chunk
        audio = np.zeros(length, dtype=np.float32)
        audio[: len(samples)] = samples / np.float32(32768.0)
        return audio

    def transcription(self, padded: np.ndarray, language: str | None) -> list[int]:
        """Token ids that ask for a transcript; `lang:xx` stands in them only where a language is given."""
        return self._ids(len(padded), language)

    def before_language(self, padded: np.ndarray) -> list[int]:
        """Token ids up to [/INST], behind which `lang:xx` may stand."""
        return self._ids(len(padded), None)[:-1]  # all but [TRANSCRIBE]

    @cached_property
    def questions(self) -> list[LanguageQuestion]:
        """The questions whose answers give every language's whole string a probability.

        Most `lang:xx` differ in one token, but not all (Dutch's is longer in Voxtral's vocabulary), so the strings
        are followed as a tree: one question for each place at which they part or go on alone.
        """
        first_parting = len(_common_prefix([self._language_ids[language] for language in self._languages]))
        following: dict[tuple[int, ...], set[int]] = {}
        for ids in self._language_ids.values():
            for at in range(min(first_parting, len(ids) - 1), len(ids)):
                following.setdefault(tuple(ids[:at]), set()).add(ids[at])
        return [LanguageQuestion(prefix, tuple(sorted(ids))) for prefix, ids in following.items()]

    def language(self, answers: Mapping[tuple[int, ...], Mapping[int, float]]) -> tuple[str, float]:
        """The most likely language and its probability among those asked for.

        `answers` holds, for each question's prefix, the log-probability of each following id.
        """
        scores = np.array([self._score(self._language_ids[language], answers) for language in self._languages])
        shares = np.exp(scores - scores.max())
        best = int(shares.argmax())
        return self._languages[best], float(shares[best] / shares.sum())

    def _score(self, ids: Sequence[int], answers: Mapping[tuple[int, ...], Mapping[int, float]]) -> float:
        steps = ((tuple(ids[:at]), ids[at]) for at in range(len(ids)))
        return sum(answers[prefix][following] for prefix, following in steps if prefix in answers)

    @property
    def _chunk(self) -> int:
        return int(self.chunk_s * SAMPLE_RATE_HZ)

    @cached_property
    def _language_ids(self) -> dict[str, list[int]]:
        plain, hinted = self._ids(self._chunk, None), {x: self._ids(self._chunk, x) for x in self._languages}
        return {language: ids[len(plain) - 1 : -1] for language, ids in hinted.items()}

    def _build_ids(self, length: int, language: str | None) -> list[int]:
        # The ids depend on the audio's length alone, so silence of that length serves for all.
        request = TranscriptionRequest(model="voxtral", audio=_silence(length), language=language)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return list(self._instruct.encode_transcription(request).tokens)


def _common_prefix(strings: list[list[int]]) -> list[int]:
    shortest, longest = min(strings), max(strings)
    for at, token in enumerate(shortest):
        if token != longest[at]:
            return shortest[:at]
    return shortest


def _silence(length: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(bytes(2 * length))
    return buffer.getvalue()
