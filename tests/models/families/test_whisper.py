from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.models.families import whisper
from pipeline.models.protocol import RequestError


class WhisperVocabulary:
    """What our Whisper family asks of transformers' tokenizer."""

    def __init__(self, *names: str) -> None:
        fixed = ("startoftranscript", "transcribe", "notimestamps", "nocaptions", "en", "de", "translate", *names)
        self._ids = {f"<|{name}|>": number for number, name in enumerate(fixed)}

    def get_vocab(self) -> dict[str, int]:
        return self._ids


def test_whisper_is_told_the_language_and_asked_for_it() -> None:
    prompts = whisper.Whisper(WhisperVocabulary())
    candidates = prompts.language_questions(["en", "de"])["token"].candidates
    audio = prompts.padded(np.zeros(16_000, np.int16))
    assert len(audio) == 30 * 16_000
    assert prompts.transcription(audio, "de") == [0, 5, 1, 2]
    assert prompts.translation(audio, "de") == [0, 5, 6, 2]
    (question,) = candidates.questions
    assert question.following == (3, 4, 5)
    assert candidates.logprobs({(): {3: -3.0, 4: -1.0, 5: -2.0}}) == {"en": -1, "de": -2, "": -3}
    with pytest.raises(RequestError, match="xx"):
        prompts.transcription(audio, "xx")
    with pytest.raises(ConfigurationError, match="fr"):
        prompts.language_questions(["en", "fr"])
