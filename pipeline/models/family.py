"""What a family of models says of itself: each file of families/ holds one Family, and the registry names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np

from pipeline import registry
from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Abilities
from pipeline.models.candidates import Candidates
from pipeline.models.protocol import Chat, Request


class Files:
    """What lies at the place that --engine.model names: the JSON files in a checkpoint's folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __contains__(self, name: str) -> bool:
        return (self.place / name).is_file()

    def read(self, name: str) -> dict[str, Any]:
        """The object in one of them.

        Raises:
            ConfigurationError: there is no such file, or it is not JSON.
        """
        try:
            return json.loads((self.place / name).read_text("utf-8"))
        except OSError as error:
            raise ConfigurationError(f"--engine.model {self.place}: no {name} ({error.strerror})") from error
        except ValueError as error:
            raise ConfigurationError(f"--engine.model {self.place}: {name} is not JSON ({error})") from error


@dataclass(frozen=True, slots=True)
class Limits:
    """`chunk_s`: the seconds to whose multiples the model pads every window, None where its files do not say them.
    `max_context`: the tokens that it takes, None where they are more than any window needs."""

    chunk_s: float | None
    max_context: int | None = None


@dataclass(frozen=True, slots=True)
class LanguageQuestion:
    """A way to ask the model for the language: after the token ids that `ask` gives for padded audio comes one of the
    candidates. They are named by language; the name "" stands for no speech."""

    ask: Callable[[np.ndarray], list[int]]
    candidates: Candidates


class Prompts(Protocol):
    """What a family's models are given by a runtime that takes token ids."""

    load_arguments: ClassVar[Mapping[str, Any]]
    """How vLLM loads a checkpoint."""

    @staticmethod
    def context(padded_s: float) -> int:
        """Tokens that a prompt with so many seconds of audio takes."""
        ...

    def padded(self, samples: np.ndarray) -> np.ndarray:
        """int16 samples -> float32 in [-1, 1] of the length that the model computes."""
        ...

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        """Token ids that ask for a transcript of padded audio.

        Raises:
            LanguageError: the model does not know the language.
        """
        ...

    def language_questions(self, languages: Sequence[str]) -> Mapping[str, LanguageQuestion]:
        """The questions for these languages (ISO 639-1), by their method.

        Raises:
            ConfigurationError: a language that the model does not know.
        """
        ...

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        """vLLM's prompt for these ids and this audio; `audio_id` spares it hashing the audio."""
        ...

    def text(self, written: str) -> str:
        """The transcript in what the model wrote."""
        ...


class TokenizerPrompts(Prompts, Protocol):
    """Prompts that are made from a checkpoint's tokenizer, as the runtime loads it."""

    def __init__(self, tokenizer: Any) -> None: ...


class Translations(Prompts, Protocol):
    """The prompts of families with Ability.TRANSLATE."""

    def translation(self, audio: np.ndarray, language: str | None) -> list[int]:
        """Token ids that ask for an English text of padded audio in a language.

        Raises:
            LanguageError: the model does not know the language.
        """
        ...


def asking(prompts: Prompts, request: Request, audio: np.ndarray) -> list[int]:
    """Token ids that ask for what a request wants of its padded audio: a transcript or, of a family with
    Ability.TRANSLATE, an English text.

    Raises:
        LanguageError: the model does not know the language.
    """
    if request.translate:
        return cast(Translations, prompts).translation(audio, request.language)
    return prompts.transcription(audio, request.language)


@runtime_checkable
class Frames(Prompts, Protocol):
    """The prompts of models that write one token for each frame of audio."""

    pads: frozenset[int]
    """Tokens that stand for no text."""

    def frames(self, audio: np.ndarray) -> int:
        """Of padded audio: how many tokens a prompt and its answer have together, and one more."""
        ...


class Chats(Prompts, Protocol):
    """The prompts of families with Ability.CHAT."""

    begin_calls: int
    """The token after which function calls stand in an answer."""

    def chat(self, chat: Chat, padded: Sequence[np.ndarray]) -> list[int]:
        """Token ids of a conversation, whose clips are padded.

        Raises:
            RequestError: the conversation is not one that the model can be asked.
        """
        ...

    def chat_prompt(self, ids: Sequence[int], padded: Sequence[np.ndarray], audio_ids: Sequence[int]) -> dict[str, Any]:
        """vLLM's prompt for these ids and this audio."""
        ...

    def reply(self, ids: Sequence[int]) -> tuple[str, str | None]:
        """An answer's token ids -> its text, and that of its function calls where it has any."""
        ...


def _no_checkpoint(files: Files) -> bool:
    return False


@dataclass(frozen=True)
class Family:
    """One family of models.

    runtimes: the runtimes that run it, by name, each with the file that shows that a checkpoint is in its form, "" for
        none. The first whose file is there runs it, unless --engine.runtime names another.
    abilities: what its models can do.
    max_pause_s: by default no window holds a longer pause, in seconds; see checkpoint.fit.
    limits: reads a checkpoint's limits from its files.
    files: the JSON files that describe a checkpoint; a family without any has no checkpoints.
    description: how a user recognises a checkpoint of it.
    matches: whether files are those of a checkpoint of it.
    weights: patterns of the files with the weights. Those of the first pattern that fits any are loaded: a repository
        may hold the weights in many forms.
    prompts: what vLLM is given; None where vLLM's own class for the model says it (runtimes/vllm_speech.py).
    untold: what its models do not tell, and what follows for a job, in one line.
    """

    runtimes: Mapping[str, str]
    abilities: Abilities
    max_pause_s: float
    limits: Callable[[Files], Limits]
    files: tuple[str, ...] = ()
    description: str = ""
    matches: Callable[[Files], bool] = _no_checkpoint
    weights: tuple[str, ...] = ()
    prompts: type[TokenizerPrompts] | None = None
    untold: str = ""


def family(name: str) -> Family:
    """The registered family of that name; its file is imported now."""
    return resolve_name(registry.FAMILIES[name])
